"""What an evaluation measured: frozen, free of arrays, and a plain dict on request."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from fractions import Fraction
from typing import Any, NamedTuple

from pytest_aerobust.errors import UndecidedError

WRONG = "-"  # misclassified before any attack
PENDING = "?"  # not attacked yet
SURVIVED = "s"
BEATEN = "b"
AT_TARGET = "t"  # beaten, and seen as the target
EXEMPT = "e"  # right, and its label is the target: nothing to attack


class Interval(NamedTuple):
    """The smallest and the largest value that a share can still take, both exact."""

    low: Fraction
    high: Fraction

    @property
    def decided(self) -> bool:
        return self.low == self.high

    def __sub__(self, other: "Interval") -> "Interval":
        return Interval(self.low - other.high, self.high - other.low)


@dataclass(frozen=True)
class Arm:
    """One side of the comparison, `unfiltered` or `filtered`.

    Attributes:
        outcomes: One letter a sample, in the order of the data: ``-`` wrong before any attack,
            ``s`` survived, ``b`` beaten, ``t`` beaten and seen as the target, ``e`` right and
            of the target class (nothing to attack), ``?`` not attacked yet.
    """

    outcomes: str

    @property
    def samples(self) -> int:
        return len(self.outcomes)

    @property
    def correct(self) -> int:
        """Samples that are right before any attack."""
        return self.samples - self.outcomes.count(WRONG)

    @property
    def beaten(self) -> int:
        """Samples for which an adversarial example is known."""
        return self.outcomes.count(BEATEN) + self.outcomes.count(AT_TARGET)

    @property
    def survivors(self) -> int:
        """Samples that have withstood the whole attack so far."""
        return self.outcomes.count(SURVIVED) + self.outcomes.count(EXEMPT)

    @property
    def pending(self) -> int:
        """Samples that nothing is known of yet."""
        return self.outcomes.count(PENDING)

    @property
    def clean_accuracy(self) -> float:
        """Share of the samples that are right before any attack; always exact."""
        return self.correct / self.samples

    @property
    def clean_interval(self) -> Interval:
        clean = Fraction(self.correct, self.samples)
        return Interval(clean, clean)

    @property
    def accuracy_interval(self) -> Interval:
        """What the robust accuracy can still be."""
        return self._share(self.survivors, self.samples)

    @property
    def accuracy(self) -> float:
        """Robust accuracy, survivors / samples.

        Raises:
            UndecidedError: The arm stopped early, so it is an interval.
        """
        return _one_number(self.accuracy_interval, "accuracy")

    @property
    def drop_interval(self) -> Interval:
        """What clean minus robust accuracy can still be."""
        return self._share(self.beaten, self.samples)

    @property
    def target_hits_interval(self) -> Interval:
        """What the share of the attacked samples that reach the target can still be."""
        attacked = self.correct - self.outcomes.count(EXEMPT)
        return self._share(self.outcomes.count(AT_TARGET), attacked)

    @property
    def target_hits(self) -> float:
        """Share of the attacked samples (right, and not of the target class) at the target.

        Raises:
            UndecidedError: The arm stopped early, so it is an interval.
        """
        return _one_number(self.target_hits_interval, "target_hits")

    def _share(self, known: int, of: int) -> Interval:
        if not of:
            return Interval(Fraction(0), Fraction(0))
        return Interval(Fraction(known, of), Fraction(known + self.pending, of))


def _one_number(interval: Interval, name: str) -> float:
    if not interval.decided:
        raise UndecidedError(
            f"{name} lies in [{float(interval.low):.4g}, {float(interval.high):.4g}]: the run "
            f"stopped once the verdict was certain. Ask for {name}_interval, or measure in "
            "full with robustness() in the test's body or --aerobust-full"
        )
    return float(interval.low)


@dataclass(frozen=True)
class Evidence:
    """One finding about the run itself.

    Attributes:
        name: What was looked at, such as ``gradients``.
        arm: ``filtered`` or ``unfiltered``.
        void: Whether a pass may not rest on this arm.
        text: The finding in words, with its numbers.
    """

    name: str
    arm: str
    void: bool
    text: str


@dataclass(frozen=True)
class Evaluation:
    """The measured outcome of one attack at one budget.

    Attributes:
        attack: Name of the attack.
        label: Attack and norm for people, such as ``BIM Linf``.
        norm: ``linf``, ``l2``, ``l1`` or ``l0``.
        eps: Budget, in the units of the data.
        threat: What the attacker knew.
        target: The class the attacker wanted, if any.
        arguments: What the attack was told, as text.
        seed: Seed of everything random.
        unfiltered: The bare model, attacked and judged.
        filtered: The pipeline, attacked under the threat; None where there is no filter.
        evidence: What was found about the run itself.
        notes: What a reader should know about inputs and settings.
        seconds: Wall-clock time of the measurement.
    """

    attack: str
    label: str
    norm: str
    eps: float
    threat: str
    target: int | None
    arguments: Mapping[str, str]
    seed: int
    unfiltered: Arm
    filtered: Arm | None
    evidence: tuple[Evidence, ...] = ()
    notes: tuple[str, ...] = ()
    seconds: float = field(default=0.0, compare=False)

    @property
    def pipeline(self) -> Arm:
        """The arm that floors speak of: what is deployed."""
        return self.unfiltered if self.filtered is None else self.filtered

    @property
    def arms(self) -> dict[str, Arm]:
        named = {"unfiltered": self.unfiltered, "filtered": self.filtered}
        return {name: arm for name, arm in named.items() if arm is not None}

    @property
    def complete(self) -> bool:
        """Whether every sample of every arm has an outcome."""
        return not any(arm.pending for arm in self.arms.values())

    def to_dict(self) -> dict[str, Any]:
        """Plain lists, dicts and scalars, for JSON and for other processes."""
        return asdict(self) | {
            "arguments": dict(self.arguments),
            "evidence": [asdict(finding) for finding in self.evidence],
            "notes": list(self.notes),
        }

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> "Evaluation":
        """The inverse of :meth:`to_dict`."""
        filtered = plain["filtered"]
        built = {
            "unfiltered": Arm(**plain["unfiltered"]),
            "filtered": None if filtered is None else Arm(**filtered),
            "evidence": tuple(Evidence(**finding) for finding in plain["evidence"]),
            "notes": tuple(plain["notes"]),
        }
        return cls(**{**plain, **built})
