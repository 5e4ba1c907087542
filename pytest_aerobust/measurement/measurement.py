"""What is measured, without what is demanded of it, and how far that has come."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from pytest_aerobust.contract.attack import AttackChoice
from pytest_aerobust.contract.catalogue import Threat
from pytest_aerobust.contract.contract import Contract
from pytest_aerobust.contract.disturbances import Disturbances
from pytest_aerobust.contract.targets import Target
from pytest_aerobust.contract.waivers import Strength, Waivers
from pytest_aerobust.results.conditions import Conditions
from pytest_aerobust.subjects.randomness import seed_of


@dataclass(frozen=True)
class Progress:
    """How far a measurement has come.

    Attributes:
        label: Attack and norm for people, such as ``BIM Linf``.
        eps: Budget, in the units of the data.
        samples: How many samples there are.
        decided: Of how many the outcome in the pipeline's arm is known.
        survivors: How many of those stand.
        seconds: Wall-clock time so far.
        finished: Whether the measurement is over, whatever it found.
    """

    label: str
    eps: float
    samples: int
    decided: int
    survivors: int
    seconds: float
    finished: bool = False


OnProgress = Callable[[Progress], None]


def silent(progress: Progress) -> None:
    """Nobody waits."""


@dataclass(frozen=True)
class Measurement:
    """What is measured, without what is demanded of it.

    Attributes:
        attack: How the attacker searches.
        eps: Radius of the ball, in the units of the data.
        threat: What the attacker knows.
        target: What the attacker wants to see, or None.
        seed: Seed of everything random.
        waivers: Checks of the evidence that are turned off, with the reasons.
        strength: Whether the dear checks are asked for, too.
        queries: The most answers that a black-box attacker gets for one sample, or None.
        disturbances: What happens to every input before the attack.
        compared: Whether searches of the evidence look at both arms, or at the pipeline's alone.
    """

    attack: AttackChoice
    eps: float
    threat: Threat
    target: Target | None = None
    seed: int = 0
    waivers: Waivers = ()
    strength: Strength = "standard"
    queries: int | None = None
    disturbances: Disturbances = ()
    compared: bool = True

    @classmethod
    def of(
        cls,
        contract: Contract,
        eps: float,
        threat: Threat,
        seed: int,
        disturbances: Disturbances = (),
        compared: bool = True,
    ) -> "Measurement":
        """What a contract has measured at a budget, under a threat and by a seed."""
        return cls(
            contract.attack,
            eps,
            threat,
            contract.target,
            seed,
            contract.waivers,
            contract.strength,
            contract.queries,
            disturbances,
            compared,
        )

    def conditions(self, strength: Mapping[str, str]) -> Conditions:
        """The same for people and programs.

        Args:
            strength: What the attack does, as text.
        """
        return Conditions(
            attack=self.attack.spec.name,
            label=self.attack.label,
            norm=self.attack.norm,
            eps=self.eps,
            threat=self.threat,
            target=None if self.target is None else self.target.plain,
            arguments=dict(strength),
            seed=self.seed,
        )

    @property
    def behind_filter(self) -> bool:
        """Whether the attacker changes what the filter puts out."""
        return self.threat == "behind-filter"

    @property
    def attack_seed(self) -> int:
        """Seed of this attack's own draws.

        The budget is left out on purpose: every budget starts in the same directions.
        """
        return seed_of(self.seed, self.attack.spec.name, self.attack.norm)
