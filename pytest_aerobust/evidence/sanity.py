"""What guards a pass: findings about the run, and notes on settings that prove little."""

from torch import Tensor

from pytest_aerobust.arguments import Bounds
from pytest_aerobust.contract import Floors
from pytest_aerobust.errors import ContractError, DataError, ModelError
from pytest_aerobust.results import Evidence

# Above this share of samples without a gradient, a gradient attack proves nothing.
# (Croce & Hein 2020 and Pintor et al. 2022 flag any; one in a hundred may saturate in float32.)
_BLIND_SHARE = 0.01
# Steps that together can't cross the ball leave most of it unsearched.
_SHORT_TRAVEL = 1.0
# A budget below this share of the bounds is probably meant in other units.
_TINY_BUDGET = 1e-3


def check_classes(logits: Tensor, labels: Tensor, target: int | None, name: str) -> None:
    """Refuse labels, targets and answers that no verdict can rest on.

    Raises:
        DataError: A label that the model has no logit for, or labels of one class.
        ContractError: A target that the model has no logit for.
        ModelError: The same class for every input.
    """
    classes = logits.shape[1]
    if labels.max() >= classes:
        index = int((labels >= classes).nonzero()[0])
        raise DataError(
            f"labels[{index}] is {labels[index].item()}, but the model has {classes} classes "
            f"(logits of shape (N, {classes})): expected labels from 0 to {classes - 1}"
        )
    if target is not None and target >= classes:
        raise ContractError(
            f"target={target}, but the model has {classes} classes: expected at most {classes - 1}"
        )
    if labels.min() == labels.max():
        raise DataError(
            f"all {len(labels)} samples are of class {labels[0].item()}: a constant answer would "
            "pass; expected samples of at least two classes"
        )
    predicted = logits.argmax(dim=1)
    if predicted.min() == predicted.max():
        raise ModelError(
            f"the {name} answers class {predicted[0].item()} for all {len(labels)} samples: "
            "a constant classifier can't be attacked. Are its weights loaded?"
        )


def clean_evidence(right: Tensor, labels: Tensor, arm: str) -> list[Evidence]:
    """Void where the clean accuracy is no better than naming the commonest class."""
    clean = right.double().mean().item()
    majority = labels.bincount().max().item() / len(labels)
    if clean > majority:
        return []
    words = "below" if clean < majority else "at"
    text = (
        f"clean accuracy {clean:.2f} is {words} chance (the commonest class has {majority:.2f}): "
        "are the labels in the order of the inputs, and the weights loaded?"
    )
    return [Evidence("clean accuracy", arm, True, text)]


class GradientTally:
    """Counts samples whose gradient gives an attack no direction."""

    def __init__(self) -> None:
        self._seen = 0
        self._blind = 0

    def add(self, gradients: Tensor) -> None:
        """Count gradients ``(n, ...)`` of the attack's loss at its start."""
        flat = gradients.detach().flatten(1)
        usable = flat.isfinite().all(dim=1) & (flat != 0).any(dim=1)
        self._seen += len(flat)
        self._blind += int((~usable).sum())

    def evidence(self, attack: str, arm: str) -> list[Evidence]:
        """Void where too many samples could not be moved."""
        if not self._seen or self._blind <= _BLIND_SHARE * self._seen:
            return []
        text = (
            f"{self._blind / self._seen:.0%} of the attacked samples have no gradient (zero or not "
            f"finite), so {attack} could not move them: this is no evidence of robustness. "
            "Look for saturated logits, rounding or detach in the model or filter; an attack "
            "that needs no gradients (threat='black-box') can still test it"
        )
        return [Evidence("gradients", arm, True, text)]


def setting_notes(attack: str, eps: float, travel: float | None, bounds: Bounds) -> tuple[str, ...]:
    """What a reader should know about a budget and the strength of an attack."""
    span = bounds[1] - bounds[0]
    notes = []
    if eps == 0:
        notes.append("eps=0 leaves the attacker nothing: the accuracies are the clean ones")
    elif eps < _TINY_BUDGET * span:
        notes.append(
            f"eps={eps:g} is under a thousandth of the bounds' span {span:g}: is it in the units "
            "of the data?"
        )
    if eps > span:
        notes.append(f"eps={eps:g} is larger than the bounds' span {span:g}")
    if travel is not None and travel < _SHORT_TRAVEL:
        notes.append(
            f"weak attack: all steps of {attack} together move {travel:.2f} eps; take more "
            "steps or larger ones (2 to 2.5 eps are usual)"
        )
    return tuple(notes)


def vacuous_notes(floors: Floors, labels: Tensor) -> tuple[str, ...]:
    """Floors that a classifier without any skill holds."""
    majority = labels.bincount().max().item() / len(labels)
    return tuple(
        f"{name}={float(floor):g} is vacuous: always answering the commonest class gives "
        f"{majority:.2f}"
        for name, floor in floors
        if name in ("min_acc", "min_clean_acc") and floor <= majority
    )


def count_note(samples: int) -> tuple[str, ...]:
    """How little a small sample set says of the population behind it."""
    if samples >= 100:
        return ()
    return (f"only {samples} samples: the accuracy of other draws may differ by 0.1 and more",)
