"""Evidence that the run itself gives: counted while it lasts, at no cost worth the name."""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from pytest_aerobust.attacks.losses import margin
from pytest_aerobust.counterexamples.verification import correct
from pytest_aerobust.results.evaluation import Evidence
from pytest_aerobust.subjects.bpda import have_direction

# Above this share of samples without a gradient, a gradient attack proves nothing.
# (Croce & Hein 2020 and Pintor et al. 2022 flag any; one in a hundred may saturate in float32.)
_BLIND_SHARE = 0.01
# Above this share of survivors whose margin never fell, the steps led nowhere.
_STUCK_SHARE = 0.05
# Fewer samples than this are rounding.
FEWEST = 3


class GradientTally:
    """``gradients``: samples whose gradient gives an attack no direction.

    Seen at the start of each search, after the margin loss was tried where the cross entropy
    gives none. Void above one sample in a hundred (Croce & Hein 2020; Pintor et al. 2022,
    "Indicators of attack failure"). Costs nothing: the attack needs these gradients anyway.
    """

    def __init__(self) -> None:
        self._seen = 0
        self._blind = 0

    def add(self, gradients: Tensor) -> None:
        """Count gradients ``(n, ...)`` of the attack's loss at its start."""
        self._seen += len(gradients)
        self._blind += int((~have_direction(gradients.detach())).sum())

    def evidence(self, attack: str, arm: str) -> list[Evidence]:
        """What was seen; nothing where no gradient was asked for."""
        if not self._seen:
            return []
        if self._blind <= _BLIND_SHARE * self._seen:
            text = f"{self._blind} of {self._seen} attacked samples have no gradient"
            return [Evidence("gradients", arm, "sound", text)]
        text = (
            f"{self._blind / self._seen:.0%} of the attacked samples have no gradient (zero or not "
            f"finite, of cross entropy and margin), so {attack} could not move them: this is no "
            "evidence of robustness. Look for saturated probabilities, rounding or detach in the "
            "model; for a filter try filter_gradient='identity'; an attack that needs no gradients "
            "(threat='black-box', such as square) can still test it"
        )
        return [Evidence("gradients", arm, "void", text)]


class CandidateTally:
    """``candidates``: claims that an attack handed in without having found a number.

    Void above one claim in a hundred. (NewtonFool and VAT of Foolbox divide by gradients that may
    vanish.) Costs nothing.
    """

    def __init__(self) -> None:
        self._seen = 0
        self._broken = 0

    def add(self, candidates: Tensor) -> None:
        """Count candidates ``(n, ...)`` that claim to be adversarial examples."""
        self._seen += len(candidates)
        self._broken += int((~candidates.flatten(1).isfinite()).any(dim=1).sum())

    def evidence(self, attack: str, arm: str) -> list[Evidence]:
        """Void where too many samples were answered with NaN or infinity; else nothing."""
        if not self._seen or self._broken <= _BLIND_SHARE * self._seen:
            return []
        text = (
            f"{self._broken / self._seen:.0%} of the candidates of {attack} are NaN or infinite, "
            "so it tried nothing on those samples; choose another attack"
        )
        return [Evidence("candidates", arm, "void", text)]


class MarginTally:
    """``loss``: survivors whose margin the attack never lowered.

    An attack that climbs its loss lowers the margin of the true class at some iterate; one that
    does so at none of them went in circles, or the wrong way. Void above 5 % of the survivors,
    from three samples on (Pintor et al. 2022, indicators I3 and I4; Carlini et al. 2019, section
    4.6). Costs a comparison of logits that the attack needs anyway.

    Args:
        logits: The clean ones ``(N, K)``.
        labels: ``(N,)``.
    """

    def __init__(self, logits: Tensor, labels: Tensor) -> None:
        self._labels = labels
        self._start = margin(logits, labels)
        self._best = torch.full_like(self._start, -torch.inf)

    def add(self, rows: Tensor, logits: Tensor) -> None:
        """See what the judged side says to iterates of `rows`."""
        reached = margin(logits, self._labels[rows])
        self._best[rows] = torch.maximum(self._best[rows], reached)

    def evidence(self, survivors: Tensor, attack: str, arm: str) -> list[Evidence]:
        """What was seen of the survivors, a mask ``(N,)``; nothing where no iterate was shown."""
        seen = survivors & (self._best > -torch.inf)
        count = int(seen.sum())
        if not count:
            return []
        stuck = int((seen & (self._best <= self._start)).sum())
        if stuck < FEWEST or stuck <= _STUCK_SHARE * count:
            text = f"{attack} came no nearer to the border for {stuck} of {count} survivors"
            return [Evidence("loss", arm, "sound", text)]
        text = (
            f"{attack} came no nearer to the border at any step for {stuck} of {count} survivors: "
            "its loss does not grow: the gradients mislead it, or its steps are too large. Take "
            "more and smaller steps (pgd), or an attack without gradients (square)"
        )
        return [Evidence("loss", arm, "void", text)]


class TieTally:
    """``ties``: samples whose outcome a tie of logits, or their rounding, decides.

    Noted from three samples on. `argmax` takes the first of equal logits, so that the order of
    the classes decides: whoever that makes wrong is wrong, whoever it makes right is undecided.
    Costs a forward pass for each close answer.

    Args:
        clean: Who is right or wrong before any attack by a tie or by rounding, a mask ``(N,)``.
    """

    def __init__(self, clean: Tensor) -> None:
        self._clean, self._beaten = clean, torch.zeros_like(clean)

    def add(self, rows: Tensor) -> None:
        """Count samples that are beaten by a tie."""
        self._beaten[rows] = True

    def evidence(self, undecided: Tensor, arm: str) -> list[Evidence]:
        """What was seen, with those whose end is undecided, a mask ``(N,)``."""
        under_attack = self._beaten | undecided
        count, clean = int((self._clean | under_attack).sum()), int(self._clean.sum())
        if count < FEWEST:
            return []
        text = (
            f"ties of logits, to rounding, decide {count} of {len(undecided)} samples ({clean} of "
            "them before any attack): the first of equal classes is taken, so their order "
            "decides. Is there a sigmoid or softmax that saturates, a ReLU, a clamp, a rounding or "
            "a half precision behind the last layer? Answer with the logits in front of it"
        )
        return [Evidence("ties", arm, "noted", text)]


class DrawTally:
    """Counts what single draws say, where the mean of several decides."""

    def __init__(self) -> None:
        self._right = self._erring = torch.zeros(1)
        self._samples = self._examples = 0

    def saw_clean(self, logits: Tensor, labels: Tensor) -> None:
        """Count the clean pass, logits ``(draws, N, K)``."""
        self._right, self._samples = _right_counts(logits, labels), len(labels)

    def saw_examples(self, logits: Tensor, labels: Tensor) -> None:
        """Count accepted examples by draws that did not accept them, ``(draws, n, K)``."""
        self._erring = self._erring + len(labels) - _right_counts(logits, labels)
        self._examples += len(labels)

    def notes(self, arm: str) -> tuple[str, ...]:
        """The range of single draws."""
        draws = len(self._right)
        text = (
            f"{arm}: the mean of {draws} draws is judged (eot={draws}); single draws are right on "
            f"{_range(self._right, self._samples)} of the clean samples"
        )
        if self._examples:
            text += f", and err on {_range(self._erring, self._examples)} of the counted examples"
        return (text,)


@dataclass
class Tallies:
    """What is counted of one arm while it runs.

    Attributes:
        margins: Of its candidates, from the inputs at which attacks start.
        ties: Of its answers, from the clean samples on.
        gradients: Of its searches.
        candidates: That its attack claims.
        draws: Of random answers.
    """

    margins: MarginTally
    ties: TieTally
    gradients: GradientTally = field(default_factory=GradientTally)
    candidates: CandidateTally = field(default_factory=CandidateTally)
    draws: DrawTally = field(default_factory=DrawTally)


def _right_counts(logits: Tensor, labels: Tensor) -> Tensor:
    return torch.stack([correct(draw, labels).sum().cpu() for draw in logits])


def _range(counts: Tensor, of: int) -> str:
    low, high = counts.min().item() / of, counts.max().item() / of
    return f"{low:.3f} to {high:.3f}"
