"""What one test item demands of one pipeline."""

from dataclasses import dataclass, field, replace
from fractions import Fraction

from pytest_aerobust.contract.arguments import FeatureBounds, FilterGradient, Mask, Statistics
from pytest_aerobust.contract.attack import AttackChoice, chosen
from pytest_aerobust.contract.budgets import Budgets, Drawn, Epsilons
from pytest_aerobust.contract.catalogue import FILTER_THREATS, NOTHING, Threat, fitting
from pytest_aerobust.contract.floors import FLOOR_NAMES, Floors
from pytest_aerobust.contract.targets import Target
from pytest_aerobust.contract.vary import Strategies, check_fit
from pytest_aerobust.contract.waivers import Strength, Waivers
from pytest_aerobust.errors import ContractError

_NEEDS = {
    "gradient": "the gradients of what it attacks",
    "score": "nothing but the scores of what it attacks",
    "decision": "nothing but the decisions of what it attacks",
}


@dataclass(frozen=True)
class Contract:
    """What one item demands of one pipeline.

    Attributes:
        attack: How the attacker searches.
        eps: One budget, a range of them, or a strategy that draws them, in the units of the data.
        threat: What the attacker knows; None leaves it to the options and the attack.
        target: What the attacker wants to see, if anything.
        floors: What must hold.
        model: Name of the fixture that gives the model; `data` and `filter` likewise.
        bounds: Smallest and largest value of an input, or of each of its features; None asks the
            fixture.
        mutable: Which features may change: a mask, or the name of the fixture that gives it; None
            where all may.
        mean: Subtracted from an input in front of the model; one number or one a channel.
        std: What the result is divided by.
        filter_gradient: How gradients pass the filter; None lets its own gradient decide.
        eot: How many random answers are averaged; None takes each answer as it comes.
        samples: How many samples to draw; None asks the options.
        seed: Seed of everything random; None asks the options.
        waivers: Checks of the evidence that are turned off, with the reasons.
        strength: Whether a pass needs the dear checks, too.
        queries: The most answers that a black-box attacker gets for one sample; None: no limit.
        vary: What Hypothesis varies beside the budget.
        confidence: How sure a verdict about the population must be; None judges the samples.
        sequential: Whether samples are looked at in random order until that is known.
    """

    attack: AttackChoice
    eps: Budgets
    threat: Threat | None = None
    target: Target | None = None
    floors: Floors = field(default_factory=Floors)
    model: str = "aerobust_model"
    data: str = "aerobust_data"
    filter: str | None = "aerobust_filter"
    bounds: FeatureBounds | None = None
    mutable: Mask | str | None = "aerobust_mutable"
    mean: Statistics | None = None
    std: Statistics | None = None
    filter_gradient: FilterGradient | None = None
    eot: int | None = None
    samples: int | None = None
    seed: int | None = None
    waivers: Waivers = ()
    strength: Strength = "standard"
    queries: int | None = None
    vary: Strategies = ()
    confidence: Fraction | None = None
    sequential: bool = False

    @property
    def id(self) -> str:
        """A readable name for the case; what is by default is left out."""
        return self.named(self.attack.spec.name, f"eps{self.eps_text}")

    @property
    def steps(self) -> int | None:
        """Steps of the attack that the mark states; None where it states none."""
        stated: int | None = self.attack.arguments.get("steps")
        return stated

    @property
    def draws(self) -> int | None:
        """How many budgets the mark wants drawn; None where it does not say."""
        return self.eps.max_examples if isinstance(self.eps, Epsilons) else None

    def paced(self, steps: int | None) -> "Contract":
        """The contract with so many steps of its attack, where it has steps."""
        attack, spec = self.attack, self.attack.spec
        if steps is None or attack.ready is not None or "steps" not in spec.arguments:
            return self
        if "steps" in dict(self.vary):
            return self
        told = {**attack.arguments, "steps": steps}
        return replace(self, attack=chosen(spec.name, attack.norm, None, told))

    @property
    def single(self) -> bool:
        """Whether it asks one question: one budget, and nothing that varies."""
        return isinstance(self.eps, float) and not self.vary

    @property
    def eps_text(self) -> str:
        return f"{self.eps:g}" if isinstance(self.eps, float) else str(self.eps)

    def named(self, attack: str, eps: str) -> str:
        """The id with names of the user's own for attack and budget."""
        spec, choice = self.attack.spec, self.attack
        varied = "-".join(name for name, _ in self.vary)
        parts = [varied] if spec is NOTHING else [attack]
        parts += [choice.norm] if choice.norm != spec.default_norm else []
        parts += [] if spec is NOTHING else [eps]
        parts += [f"vary-{varied}"] if varied and spec is not NOTHING else []
        parts += [self.threat] if self.threat not in (None, spec.threats[0]) else []
        parts += [_target_id(self.target.plain)] if self.target is not None else []
        parts += [f"queries{self.queries}"] if self.queries is not None else []
        parts += [self.model] if self.model != "aerobust_model" else []
        parts += [self.data] if self.data != "aerobust_data" else []
        parts += [self.filter or "unfiltered"] if self.filter != "aerobust_filter" else []
        return "-".join(parts)

    def settled(self, floors: Floors) -> "Contract":
        """The contract with the options' floors where it states none of its own.

        Raises:
            ContractError: Neither states a floor.
        """
        # A baseline holds one number a contract: an option's demand passes by where there are more.
        applicable = floors if self.single else replace(floors, max_regression=None)
        contract = replace(self, floors=self.floors.or_else(applicable))
        if not contract.floors:
            raise ContractError(
                f"{self.id}: the contract has no floor, so it could only pass; "
                f"state one of {', '.join(FLOOR_NAMES)}, or aerobust_min_acc in the ini file"
            )
        return contract

    def threat_under(self, preferred: Threat | None, filtered: bool) -> Threat:
        """Its own threat; else the preferred one where that means something; else the attack's.

        Args:
            preferred: What the options say.
            filtered: Whether there is a filter that an attacker could not know.
        """
        spec = self.attack.spec
        if self.threat is not None:
            return self.threat
        if self.queries is not None:
            return "black-box"
        fits = preferred in spec.threats and (filtered or preferred not in FILTER_THREATS)
        return preferred if preferred is not None and fits else spec.threats[0]

    def check(self) -> None:
        """Refuse what each argument allows alone and not together.

        Raises:
            ContractError: A pairing that means nothing.
        """
        spec = self.attack.spec
        if self.threat is not None and self.threat not in spec.threats:
            raise ContractError(
                f"{spec.name} under threat={self.threat!r} means nothing: it asks for "
                f"{_NEEDS[spec.access]}. Its threats are {' and '.join(spec.threats)}; attacks "
                f"that fit {self.threat} are {', '.join(fitting(self.threat)[:6])}, ..."
            )
        if self.target is not None and spec.target == "no":
            takers = [name for name in ("fgsm", "bim", "pgd", "mi-fgsm") if name != spec.name]
            raise ContractError(
                f"{spec.name} takes no target (target={self.target.plain}); "
                f"attacks that do are {', '.join(takers)}, carlini-wagner, ..."
            )
        self._check_queries()
        self._check_curves()
        self._check_vary()
        self._check_confidence()
        if self.floors.max_regression is not None and not self.single:
            raise ContractError(
                "max_regression compares one measurement with the baseline's: state one number as "
                "eps and leave vary= out, or write two marks"
            )
        if self.target is not None and self.target.derived and spec.target == "only":
            raise ContractError(
                f"target={self.target.plain!r} is derived from the untargeted attack, but "
                f"{spec.name} is targeted only; state a class or a mapping such as {{3: 8}}"
            )
        if self.target is None and spec.target == "only":
            raise ContractError(f"{spec.name} is targeted only; state target=, the wanted class")
        if self.target is None and self.floors.max_target_hits is not None:
            raise ContractError("max_target_hits needs target=, the class that the attacker wants")
        if self.filter is None and self.floors.min_gain is not None:
            raise ContractError("min_gain compares with and without the filter, but filter=None")
        if self.filter is None and self.filter_gradient is not None:
            raise ContractError(
                f"filter_gradient={self.filter_gradient!r} says how gradients pass the filter, but "
                "filter=None; leave filter_gradient out"
            )
        if self.filter is None and self.threat is not None and self.threat in FILTER_THREATS:
            raise ContractError(
                f"threat={self.threat!r} is {FILTER_THREATS[self.threat]}, but filter=None; "
                "leave the threat out"
            )

    def _check_curves(self) -> None:
        """A strategy's budgets are known only once they are drawn."""
        if isinstance(self.eps, Epsilons):
            self.floors.check_curves(self.eps.points())
        elif not isinstance(self.eps, Drawn):
            self.floors.check_curves((self.eps,))

    def _check_vary(self) -> None:
        check_fit(self.vary, self.attack.spec, self.attack.ready is not None)
        if self.vary and not isinstance(self.eps, float):
            raise ContractError(
                f"eps={self.eps} varies, and vary= varies {', '.join(dict(self.vary))}: state one "
                "budget, or two marks"
            )

    def _check_confidence(self) -> None:
        if self.confidence is None:
            if self.sequential:
                raise ContractError(
                    "sequential=True stops as soon as the population is known well enough: state "
                    "how well, as in confidence=0.95"
                )
            return
        if not self.single:
            raise ContractError(
                f"confidence={float(self.confidence):g} speaks of one budget and one attack: state "
                "one number as eps and leave vary= out, or write two marks"
            )
        for name in ("min_gain", "max_regression"):
            if self.sequential and getattr(self.floors, name) is not None:
                raise ContractError(
                    f"sequential=True can't test {name}, which compares pairs: leave it out, and "
                    "all samples are measured"
                )

    def _check_queries(self) -> None:
        if self.queries is None:
            return
        spec, asking = self.attack.spec, fitting("black-box")
        if spec.access == "gradient":
            raise ContractError(
                f"queries={self.queries} limits what an attacker asks the pipeline, but "
                f"{spec.name} follows gradients; attacks that only ask are "
                f"{', '.join(asking[:6])}, ..."
            )
        if self.threat not in (None, "black-box"):
            raise ContractError(
                f"queries={self.queries} limits what an attacker asks the pipeline; under "
                f"threat={self.threat!r} he asks a copy of his own. Leave one of them out"
            )


def _target_id(plain: int | str) -> str:
    if isinstance(plain, int):
        return f"target{plain}"
    return "target-" + plain.replace("→", "to").replace(" ...", "-more").replace(" ", "-")
