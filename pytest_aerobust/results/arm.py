"""One arm of a measurement: what became of each sample, and the accuracy that follows."""

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, NamedTuple

from pytest_aerobust.errors import UndecidedError

WRONG = "-"  # misclassified before any attack
PENDING = "?"  # not attacked yet
SURVIVED = "s"
BEATEN = "b"
HUNTED = "h"  # beaten, and its target is still searched for
AT_TARGET = "t"  # beaten, and seen as the target
EXEMPT = "e"  # right, and its label is the target or has none: nothing to attack
FELL = "f"  # the same, and wrong once it is disturbed
UNDECIDED = "u"  # right before any attack; a tie or rounding decides whether it is beaten
NEAR_TARGET = "n"  # beaten; a tie or rounding decides whether it is seen as the target

_BEATEN = (BEATEN, HUNTED, AT_TARGET, FELL, NEAR_TARGET)

Confusion = tuple[tuple[int, int, int], ...]
"""The cells above 0 of a confusion matrix: actual class, answered class, count; sorted."""


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
            ``s`` survived, ``b`` beaten, ``t`` beaten and seen as the target, ``e`` right and with
            no class to be sent to (nothing to attack), ``f`` the same but wrong once it is
            disturbed, ``?`` not attacked yet; ``h`` beaten in a search that stopped before it was
            known whether the target is reached; ``u`` undecided, since a tie or rounding decides
            whether its answer is right or its example one; ``n`` beaten, while these decide
            whether it is at the target.
        clean_confusion: Actual against answered classes before any attack.
        confusion: The same where each beaten sample is answered as its adversarial example is,
            the one at the target where there is one; every other sample as before the attack.
        unsure: Places of the samples of which rounding decides whether they are right before any
            attack.
    """

    outcomes: str
    clean_confusion: Confusion = ()
    confusion: Confusion = ()
    unsure: tuple[int, ...] = ()

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
        return sum(self.outcomes.count(letter) for letter in _BEATEN)

    @property
    def survivors(self) -> int:
        """Samples that have withstood the whole attack so far."""
        return self.outcomes.count(SURVIVED) + self.outcomes.count(EXEMPT)

    @property
    def pending(self) -> int:
        """Samples that nothing is known of yet."""
        return self.outcomes.count(PENDING)

    @property
    def undecided(self) -> int:
        """Samples of which a tie or rounding decides whether they withstand the attack."""
        return self.outcomes.count(UNDECIDED) + self._unsure_among(WRONG)

    @property
    def exempt(self) -> int:
        """Samples that are right and that the attacker has no target for: nothing to attack."""
        return self.outcomes.count(EXEMPT)

    @property
    def attackable(self) -> int:
        """Samples that are right and that the attacker, where he has targets, has one for."""
        return self.correct - self.exempt - self.outcomes.count(FELL)

    @property
    def complete(self) -> bool:
        """Whether every sample has its final outcome."""
        return not self.pending and HUNTED not in self.outcomes

    @property
    def clean_accuracy(self) -> float:
        """Share of the samples that are right before any attack; always exact."""
        return self.correct / self.samples

    @property
    def clean_interval(self) -> Interval:
        """What the clean accuracy is whatever rounding decides."""
        wrong = self._unsure_among(WRONG)
        right = len(self.unsure) - wrong
        return self._share(self.correct - right, right + wrong, self.samples)

    @property
    def accuracy_interval(self) -> Interval:
        """What the robust accuracy can still be; undecided samples count on both sides."""
        return self._share(self.survivors, self.pending + self.undecided, self.samples)

    @property
    def accuracy(self) -> float:
        """Robust accuracy, survivors / samples; undecided samples are no survivors.

        Raises:
            UndecidedError: The arm stopped early, so it is an interval.
        """
        return _one_number(self, self.accuracy_interval, "accuracy")

    @property
    def drop_interval(self) -> Interval:
        """What clean minus robust accuracy can still be."""
        beaten = self._unsure_among(*_BEATEN)
        possible = self.pending + self.undecided + beaten
        return self._share(self.beaten - beaten, possible, self.samples)

    @property
    def target_hits_interval(self) -> Interval:
        """What the share of the attacked samples that reach the target can still be."""
        open_ = (PENDING, HUNTED, UNDECIDED, NEAR_TARGET)
        possible = sum(self.outcomes.count(letter) for letter in open_)
        return self._share(self.outcomes.count(AT_TARGET), possible, self.attackable)

    @property
    def target_hits(self) -> float:
        """Share of the attacked samples (right, and sent to another class) at the target.

        Undecided ones do not count.

        Raises:
            UndecidedError: The arm stopped early, so it is an interval.
        """
        return _one_number(self, self.target_hits_interval, "target_hits")

    def to_dict(self) -> dict[str, Any]:
        """Plain lists and text."""
        return {
            "outcomes": self.outcomes,
            "clean_confusion": [list(cell) for cell in self.clean_confusion],
            "confusion": [list(cell) for cell in self.confusion],
            "unsure": list(self.unsure),
        }

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> "Arm":
        """The inverse of :meth:`to_dict`."""
        clean, attacked = (
            tuple(map(tuple, plain[name])) for name in ("clean_confusion", "confusion")
        )
        return cls(plain["outcomes"], clean, attacked, tuple(plain.get("unsure", ())))

    def _unsure_among(self, *letters: str) -> int:
        """How many of the unsure samples came to one of these outcomes."""
        return sum(self.outcomes[place] in letters for place in self.unsure)

    def _share(self, known: int, possible: int, of: int) -> Interval:
        if not of:
            return Interval(Fraction(0), Fraction(0))
        return Interval(Fraction(known, of), Fraction(known + possible, of))


def _one_number(arm: Arm, interval: Interval, name: str) -> float:
    if not (interval.decided or arm.complete):
        raise UndecidedError(
            f"{name} lies in [{float(interval.low):.4g}, {float(interval.high):.4g}]: the run "
            "stopped once the verdict was certain, or because the answers can't be trusted (see "
            f"the evidence). Ask for {name}_interval, or measure in full with robustness() in the "
            "test's body or --aerobust-full"
        )
    return float(interval.low)
