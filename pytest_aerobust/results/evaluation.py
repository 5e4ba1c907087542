"""What an evaluation measured: frozen, free of arrays, and a plain dict on request."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from fractions import Fraction
from itertools import pairwise
from math import ceil
from typing import Any, Literal

from pytest_aerobust.contract.disturbances import Disturbances
from pytest_aerobust.errors import ContractError
from pytest_aerobust.results.arm import Arm, Interval

Weight = Literal["sound", "void", "noted", "skipped", "waived"]


@dataclass(frozen=True)
class Evidence:
    """One finding about the run itself.

    Attributes:
        name: What was looked at, such as ``gradients``.
        arm: ``filtered`` or ``unfiltered``.
        weight: ``sound``; ``void``, a pass may not rest on this arm; ``noted``, a reader should
            know, also of a failure, and it voids nothing; ``skipped``, the check says nothing
            here; ``waived``, the contract turns it off.
        text: The finding in words, with its numbers, or the reason why there is none.
    """

    name: str
    arm: str
    weight: Weight
    text: str

    @property
    def void(self) -> bool:
        return self.weight == "void"


@dataclass(frozen=True)
class Queries:
    """What a black-box attacker asked the pipeline, over the samples that he asked about.

    Attributes:
        limit: The most answers that the contract grants for one sample; None where it sets none.
        most: The most that he took for one.
        mean: What he took on average.
    """

    limit: int | None
    most: int
    mean: float


@dataclass(frozen=True)
class Regression:
    """A pipeline against what the baseline holds of it, sample by sample.

    Attributes:
        status: ``compared``; ``new``, the baseline has no entry; ``stale``, its entry is of
            another contract or other data; ``stored``, this run makes the entry.
        reason: Why nothing was compared, in words.
        required: Whether an entry must be there and fit.
        samples: How many samples were compared.
        before: How many of them withstood the attack then.
        lost: Places in the data of those that withstood it then and do not now.
        won: Places of those that withstand it only now.
        undecided: How many withstood it then, and how many did not, of whom nothing may be
            claimed now.
        distinct: The same of distinct inputs, each counted once by the worst of its copies: at
            least lost and at most won, then at most lost and at least won.
        p: McNemar's exact two-sided p: how likely at least so lopsided a change is where losing
            and winning are equally likely.
    """

    status: Literal["compared", "new", "stale", "stored"]
    reason: str = ""
    required: bool = False
    samples: int = 0
    before: int = 0
    lost: tuple[int, ...] = ()
    won: tuple[int, ...] = ()
    undecided: tuple[int, int] = (0, 0)
    distinct: tuple[int, int, int, int] = (0, 0, 0, 0)
    p: float = 1.0

    @property
    def drop(self) -> Fraction:
        """Accuracy lost since, in [-1, 1], where the undecided stay what they were."""
        return Fraction(len(self.lost) - len(self.won), self.samples)

    @property
    def drop_interval(self) -> Interval:
        """The same, whatever the undecided are."""
        stood, fell = (Fraction(count, self.samples) for count in self.undecided)
        return Interval(self.drop - fell, self.drop + stood)

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> "Regression":
        """The inverse of ``dataclasses.asdict``, also after a round trip through JSON."""
        pairs = {"undecided": (0, 0), "distinct": (0, 0, 0, 0), **plain}
        places = {name: tuple(pairs[name]) for name in ("lost", "won", "undecided", "distinct")}
        return cls(**{**plain, **places})


@dataclass(frozen=True)
class Memory:
    """What adversarial examples of earlier runs do to the pipeline of today.

    Attributes:
        tried: How many were tried: those of samples that the pipeline has right.
        fell: Places in the data of the samples that fall to them, and to nothing that was found
            in this run.
        attacked: Whether this run's attack has looked for examples of these samples, too, and
            found none; else they were left out, since they had fallen already.
    """

    tried: int
    fell: tuple[int, ...]
    attacked: bool

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> "Memory":
        """The inverse of ``dataclasses.asdict``, also after a round trip through JSON."""
        return cls(plain["tried"], tuple(plain["fell"]), plain["attacked"])


@dataclass(frozen=True)
class Evaluation:
    """The measured outcome of one attack at one budget.

    Attributes:
        attack: Name of the attack.
        label: Attack and norm for people, such as ``BIM Linf``.
        norm: ``linf``, ``l2``, ``l1`` or ``l0``.
        eps: Budget, in the units of the data.
        threat: What the attacker knew.
        target: What the attacker wanted, if anything: a class, a mapping in words, ``natural`` or
            ``non-natural``.
        arguments: What the attack was told, as text.
        seed: Seed of everything random.
        unfiltered: The bare model, attacked and judged.
        filtered: The pipeline, attacked under the threat; None where there is no filter.
        evidence: What was found about the run itself.
        notes: What a reader should know about inputs and settings.
        targets: The target of each class from 0, None for one whose samples are not attacked;
            None where the attack has no target.
        classes: Name of each class from 0: the model's own, or its number.
        queries: What a black-box attacker asked; None under every other threat.
        disturbances: What happened to every input before the attack: name and severity.
        regression: The pipeline against the baseline, where the contract asks for it.
        memory: What examples of earlier runs did, where the suite keeps any.
        seconds: Wall-clock time of the measurement.
        cached: Whether it was taken from the cache of an earlier run.
        follow: Measures other budgets; None where the evaluation came from a file or another
            process.
    """

    attack: str
    label: str
    norm: str
    eps: float
    threat: str
    target: int | str | None
    arguments: Mapping[str, str]
    seed: int
    unfiltered: Arm
    filtered: Arm | None
    evidence: tuple[Evidence, ...] = ()
    notes: tuple[str, ...] = ()
    targets: tuple[int | None, ...] | None = None
    classes: tuple[str, ...] = ()
    queries: Queries | None = None
    disturbances: Disturbances = ()
    regression: Regression | None = None
    memory: Memory | None = None
    seconds: float = field(default=0.0, compare=False)
    cached: bool = field(default=False, compare=False)
    follow: "Callable[[Sequence[float] | None], Curve] | None" = field(
        default=None, compare=False, repr=False
    )

    def curve(self, budgets: Sequence[float] | None = None) -> "Curve":
        """Accuracy over the budgets, attacked in full wherever other budgets do not settle it.

        Args:
            budgets: Numbers of at least 0 in the units of the data; by default ten equal steps
                up to this evaluation's own.

        Raises:
            ContractError: A budget that is none, or nothing that could be attacked again.
        """
        if self.follow is None:
            raise ContractError(
                "this evaluation was read from a file or came from another process, which leaves "
                "nothing to attack: ask what robustness() or evaluate() returned"
            )
        return self.follow(budgets)

    @property
    def pipeline(self) -> Arm:
        """The arm that floors speak of: what is deployed."""
        return self.unfiltered if self.filtered is None else self.filtered

    @property
    def without_memory(self) -> Interval:
        """What the pipeline's robust accuracy can be where no earlier run left anything."""
        low, high = self.pipeline.accuracy_interval
        if self.memory is None:
            return Interval(low, high)
        fell = Fraction(len(self.memory.fell), self.pipeline.samples)
        return Interval(low + fell if self.memory.attacked else low, high + fell)

    @property
    def arms(self) -> dict[str, Arm]:
        named = {"unfiltered": self.unfiltered, "filtered": self.filtered}
        return {name: arm for name, arm in named.items() if arm is not None}

    @property
    def complete(self) -> bool:
        """Whether every sample of every arm has an outcome."""
        return all(arm.complete for arm in self.arms.values())

    def to_dict(self) -> dict[str, Any]:
        """Plain lists, dicts and scalars, for JSON and for other processes."""
        # Not `asdict` of the whole: it would copy every cell of the confusions to no end.
        plain = {each.name: getattr(self, each.name) for each in fields(self)}
        del plain["follow"]
        return plain | {
            "arguments": dict(self.arguments),
            "unfiltered": self.unfiltered.to_dict(),
            "filtered": None if self.filtered is None else self.filtered.to_dict(),
            "evidence": [asdict(finding) for finding in self.evidence],
            "notes": list(self.notes),
            "targets": None if self.targets is None else list(self.targets),
            "classes": list(self.classes),
            "queries": None if self.queries is None else asdict(self.queries),
            "regression": None if self.regression is None else asdict(self.regression),
            "memory": None if self.memory is None else asdict(self.memory),
            "disturbances": [[name, list(severity)] for name, severity in self.disturbances],
        }

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> "Evaluation":
        """The inverse of :meth:`to_dict`."""
        filtered, targets, queries = plain["filtered"], plain["targets"], plain["queries"]
        regression, memory = plain["regression"], plain["memory"]
        built = {
            "unfiltered": Arm.from_dict(plain["unfiltered"]),
            "filtered": None if filtered is None else Arm.from_dict(filtered),
            "evidence": tuple(Evidence(**finding) for finding in plain["evidence"]),
            "notes": tuple(plain["notes"]),
            "targets": None if targets is None else tuple(targets),
            "classes": tuple(plain["classes"]),
            "queries": None if queries is None else Queries(**queries),
            "regression": None if regression is None else Regression.from_dict(regression),
            "memory": None if memory is None else Memory.from_dict(memory),
            "disturbances": tuple(
                (name, tuple(severity)) for name, severity in plain["disturbances"]
            ),
        }
        return cls(**{**plain, **built})


@dataclass(frozen=True)
class ArmCurve:
    """One arm's robust accuracy over the budgets.

    Attributes:
        eps: The budgets, rising.
        accuracy: Robust accuracy at each, where undecided samples count as beaten; it never
            rises.
        clean_accuracy: The same at budget 0.
        nearest: Of each sample the smallest budget known to beat it: 0 for one that is wrong
            before any attack, infinite for one that withstood them all.
    """

    eps: tuple[float, ...]
    accuracy: tuple[float, ...]
    clean_accuracy: float
    nearest: tuple[float, ...]

    def quantile(self, share: float) -> float:
        """The smallest budget known to beat a share of all samples; infinite where none does.

        Args:
            share: In [0, 1].

        Raises:
            ContractError: It is no such share.
        """
        if not 0 <= share <= 1:
            raise ContractError(f"quantile({share!r}): expected a share of the samples, in [0, 1]")
        return sorted(self.nearest)[max(ceil(share * len(self.nearest)) - 1, 0)]

    @property
    def median(self) -> float:
        """The smallest budget known to beat half of the samples."""
        return self.quantile(0.5)

    @property
    def area(self) -> float:
        """Area under the curve from 0 to the largest budget, as a share of that range: its mean."""
        # Who is wrong without an attack: by itself, or by a disturbance.
        start = sum(eps > 0 for eps in self.nearest) / len(self.nearest)
        eps, accuracy = (0.0, *self.eps), (start, *self.accuracy)
        if not eps[-1]:
            return start
        heights = ((left + right) / 2 for left, right in pairwise(accuracy))
        widths = (right - left for left, right in pairwise(eps))
        return sum(h * w for h, w in zip(heights, widths, strict=True)) / eps[-1]


@dataclass(frozen=True)
class Curve:
    """What :meth:`Evaluation.curve` measures.

    Attributes:
        evaluations: One for each budget, rising; ``figures.accuracy_curves`` draws them.
        unfiltered: The bare model.
        filtered: The pipeline; None where there is no filter.
    """

    evaluations: tuple[Evaluation, ...]
    unfiltered: ArmCurve
    filtered: ArmCurve | None
