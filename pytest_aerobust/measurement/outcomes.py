"""What becomes of each sample of one arm, from the clean pass to the last claim."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from pytest_aerobust.contract.targets import Mistakes, Table
from pytest_aerobust.measurement.carried import CarriedArm
from pytest_aerobust.measurement.ledger import Ledger
from pytest_aerobust.results.arm import (
    AT_TARGET,
    BEATEN,
    EXEMPT,
    FELL,
    HUNTED,
    NEAR_TARGET,
    PENDING,
    SURVIVED,
    UNDECIDED,
    WRONG,
    Arm,
    Confusion,
)

# Letters of samples whose attack is over.
_OVER = (SURVIVED, BEATEN, AT_TARGET, UNDECIDED, NEAR_TARGET)


class Outcomes:
    """A letter of :class:`~pytest_aerobust.results.arm.Arm` for each sample of one arm.

    A sample is open while it is pending, or, where the attacker has targets, hunted: beaten but
    not yet seen as its target.

    Args:
        labels: ``(N,)``.
        logits: What the side says to the clean samples ``(N, K)``.
        eps: Budget of the measurement.
        carried: What is known from other budgets; it learns what is found here.

    Attributes:
        right: Who is right before any attack, a mask ``(N,)``.
        closed: Whose attack is over in this run, likewise.
        fallen: Who errs on the disturbed sample itself, likewise.
        remembered: Who fell to an example of an earlier run, likewise.
        unsure: Of whom rounding decides whether he is right before any attack, likewise.
        targets: The class that the attacker wants of each sample ``(N,)``, below 0 for one that
            is not attacked; None where any wrong answer will do.
        withstood_before: How many count as survivors because of another budget.
        beaten_before: How many count as beaten likewise.
    """

    targets: Tensor | None = None

    def __init__(self, labels: Tensor, logits: Tensor, eps: float, carried: CarriedArm) -> None:
        self._labels, self._logits = labels, logits
        self._eps, self._carried = eps, carried
        self._clean_answers = logits.argmax(dim=1)
        self._answers = self._clean_answers.clone()
        self.right = self._clean_answers == labels
        self._letters = torch.where(self.right, ord(PENDING), ord(WRONG))
        nobody = torch.zeros_like(self.right)
        self.closed, self.fallen, self.remembered = (nobody.clone() for _ in range(3))
        self.withstood_before = self.beaten_before = 0
        self._near, self._near_target, self._near_at_start = (nobody.clone() for _ in range(3))
        self.unsure, self._unsure_rows = nobody, ()

    def doubt(self, near: Tensor, unsure: Tensor) -> None:
        """Enter of whom a tie or rounding decides what he is before any attack.

        Args:
            near: Who is right so: an attacker may send a sample as it is, a mask ``(N,)``.
            unsure: Of whom rounding alone decides it, likewise.
        """
        self._near_at_start, self._near = near, near.clone()
        self.unsure, self._unsure_rows = unsure, tuple(unsure.nonzero().flatten().tolist())

    def aim(self, table: Table) -> None:
        """Send each class where the attacker wants it, before any search."""
        wanted = torch.tensor([-1 if target is None else target for target in table])
        self.targets = wanted.to(self._labels)[self._labels]
        left_alone = (self.targets < 0) | (self.targets == self._labels)
        self._letters[self.right & left_alone] = ord(EXEMPT)

    @property
    def _ledger(self) -> Ledger:
        if self._carried.ledger is None:
            self._carried.ledger = Ledger(len(self._labels), self.targets is not None)
        return self._carried.ledger

    def recall(self, anew: Tensor) -> None:
        """Take over what is known from other measurements; call it once it is aimed.

        Args:
            anew: Of whom only searches at this very budget count, a mask ``(N,)``.
        """
        start = self._near_at_start.nonzero().flatten().cpu()
        self._ledger.saw_undecided(start, torch.zeros(len(start), dtype=torch.float64))
        known = self._ledger.outcomes(self._eps).to(self._letters)
        attacked = self.right & ~self._among((EXEMPT, FELL))
        own = self._ledger.faced(self._eps).to(attacked.device)
        attacked &= own | ~anew
        news = attacked & (known != self._letters)
        survived = news & (known == ord(SURVIVED))
        undecided = news & (known == ord(UNDECIDED))
        beaten = news & ~survived & ~undecided & (known != ord(PENDING))
        self.withstood_before += int((survived & ~own).sum())
        self.beaten_before += int((beaten & ~own).sum())
        self._letters = torch.where(news, known, self._letters)
        self._answers = torch.where(beaten, self._ledger.answers.to(self._answers), self._answers)
        if self.targets is not None:
            hit = beaten & (known == ord(AT_TARGET))
            self._answers = torch.where(hit, self.targets, self._answers)

    def start_elsewhere(self) -> None:
        """Attacks start from disturbed samples: what ties decided of the clean ones is void."""
        self._near_at_start = torch.zeros_like(self.right)
        self._near = self._near_at_start.clone()

    def fall(self, fallen: Tensor, exempt: Tensor) -> None:
        """Enter who errs on the disturbed sample itself, and whom of them nobody attacks, masks."""
        self.fallen = fallen
        self._letters[exempt & fallen] = ord(FELL)

    def _among(self, letters: Sequence[str], rows: Tensor | None = None) -> Tensor:
        """Who has one of some letters, a mask."""
        own = self._letters if rows is None else self._letters[rows]
        return torch.isin(own, own.new_tensor([ord(letter) for letter in letters]))

    @property
    def exempt(self) -> Tensor:
        """Whom nobody attacks, though he is right, a mask ``(N,)``."""
        return self._letters == ord(EXEMPT)

    @property
    def nearest(self) -> Tensor:
        """The smallest budget known to beat each sample, from whatever measurement ``(N,)``."""
        return self._ledger.beaten_from.to(self.right.device)

    def open(self, rows: Tensor) -> Tensor:
        """Which of `rows` the attacker still wants, as a mask."""
        letters = self._letters[rows]
        return (letters == ord(PENDING)) | (letters == ord(HUNTED))

    @property
    def survivors(self) -> Tensor:
        """Whom the whole attack has not beaten so far, undecided or not, a mask ``(N,)``."""
        return (self._letters == ord(SURVIVED)) | (self._letters == ord(UNDECIDED))

    @property
    def undecided(self) -> Tensor:
        """Of whom a tie or rounding decides what the attack makes of him, a mask ``(N,)``."""
        return self._among((UNDECIDED, NEAR_TARGET)) | self.unsure

    def attacked(self) -> Tensor:
        """The samples whose attack is over; who fell to a disturbance had none."""
        over = self._among(_OVER) & ~self.fallen & ~self.remembered
        return over.nonzero().flatten()

    def near(self, rows: Tensor, distances: Tensor, at_target: bool = False) -> None:
        """Enter candidates of which a tie or rounding decides what they are.

        Args:
            rows: Their samples.
            distances: Budget whose ball holds each of them ``(n,)``.
            at_target: Whether they are examples, and it is their class that is open.
        """
        (self._near_target if at_target else self._near)[rows] = True
        self._ledger.saw_undecided(rows.cpu(), distances, at_target)

    def beat(self, rows: Tensor, answers: Tensor, at_target: Tensor) -> None:
        """Enter who is beaten in this run.

        Args:
            rows: The samples ``(n,)``.
            answers: What each example is taken for ``(n,)``.
            at_target: Whose example is at its target, a mask ``(n,)``.
        """
        self._letters[rows] = ord(BEATEN if self.targets is None else HUNTED)
        self._letters[rows[at_target]] = ord(AT_TARGET)
        self._answers[rows] = answers

    def learn(self, rows: Tensor, distances: Tensor, answers: Tensor, at_target: Tensor) -> None:
        """Hand verified examples on to other budgets, as :meth:`beat` with their distances."""
        self._ledger.saw_examples(rows.cpu(), distances, answers.cpu(), at_target.cpu())
        self._ledger.saw_search(rows.cpu(), self._eps)

    def learn_minimum(self, rows: Tensor) -> None:
        """No smaller ball holds an example of `rows` that this attack would find."""
        self._ledger.saw_minimum(rows.cpu())

    def close(self, rows: Tensor) -> None:
        """The attack on `rows` is over: who is pending has survived it, who is hunted got away.

        Unless a tie or rounding decides that.
        """
        letters = self._letters[rows]
        away = rows[letters == ord(PENDING)]
        got = rows[letters == ord(HUNTED)]
        self._letters[away], self._letters[got] = ord(SURVIVED), ord(BEATEN)
        self._letters[got[self._near_target[got]]] = ord(NEAR_TARGET)
        standing = rows[self._letters[rows] == ord(SURVIVED)]
        self._letters[standing[self._near[standing]]] = ord(UNDECIDED)
        over = torch.cat([away, got])
        self.closed[over] = True
        self._ledger.saw_search(over.cpu(), self._eps)
        self._ledger.saw_end(over.cpu(), self._eps)

    def arm(self) -> Arm:
        """What is known of every sample now, as cheaply as a verdict needs it."""
        letters = self._letters.to("cpu", torch.uint8).numpy().tobytes().decode("ascii")
        return Arm(letters, unsure=self._unsure_rows)

    @property
    def confusions(self) -> tuple[Confusion, Confusion]:
        """The confusion matrices before and under attack."""
        return self._confusion(self._clean_answers), self._confusion(self._answers)

    def mistakes(self, classes: int) -> Mistakes:
        """What the attack made of each of the first `classes`, the others left out."""
        others = self._logits.scatter(1, self._labels[:, None], -torch.inf)
        runners_up = others[:, :classes].argmax(dim=1)
        return Mistakes(self._counts(self._answers, classes), self._counts(runners_up, classes))

    def _counts(self, answers: Tensor, classes: int) -> list[list[int]]:
        counts = np.zeros((classes, self._logits.shape[1]), dtype=int)
        for actual, answered, count in self._confusion(answers):
            counts[actual, answered] = count
        found: list[list[int]] = counts[:, :classes].tolist()
        return found

    def _confusion(self, answers: Tensor) -> Confusion:
        classes = self._logits.shape[1]
        cells = (self._labels * classes + answers).cpu().numpy()
        filled, counts = np.unique(cells, return_counts=True)
        return tuple(
            (*divmod(cell, classes), count)
            for cell, count in zip(filled.tolist(), counts.tolist(), strict=True)
        )
