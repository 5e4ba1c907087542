"""Findings about what an attack starts from: classes, clean answers, targets."""

from torch import Tensor

from pytest_aerobust.errors import DataError, ModelError
from pytest_aerobust.results.evaluation import Evidence
from pytest_aerobust.subjects.data import Samples


def check_classes(logits: Tensor, samples: Samples, name: str) -> None:
    """Refuse labels and answers that no verdict can rest on.

    Raises:
        DataError: A label that the model has no logit for, or labels of one class.
        ModelError: The same class for every input.
    """
    classes, labels = logits.shape[1], samples.labels
    if labels.max() >= classes:
        index = int((labels >= classes).nonzero()[0])
        raise DataError(
            f"labels[{samples.ids[index].item()}] is {labels[index].item()}, but the model has "
            f"{classes} classes (logits of shape (N, {classes})): expected labels from 0 to "
            f"{classes - 1}{_from_one(labels, classes)}"
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
            "a constant classifier can't be attacked. Are its weights loaded, and the inputs "
            "normalised and scaled as in training (mean=, std=)?"
        )


def _from_one(labels: Tensor, classes: int) -> str:
    if labels.min() != 1 or labels.max() != classes:
        return ""
    return f"; these run from 1 to {classes}: where they count from 1, give labels - 1"


def clean_evidence(right: Tensor, labels: Tensor, arm: str) -> list[Evidence]:
    """Void where the clean accuracy is no better than naming the commonest class."""
    clean, majority = int(right.sum()), int(labels.bincount().max())
    if clean > majority:
        return []
    words = "below" if clean < majority else "at"
    text = (
        f"clean accuracy {clean / len(labels):.2f} is {words} chance (the commonest class has "
        f"{majority / len(labels):.2f}): are the inputs normalised as in training (mean=, std=), "
        "the labels in the order of the inputs and of the model's classes, the weights loaded?"
    )
    return [Evidence("clean accuracy", arm, "void", text)]


def target_evidence(
    right: Tensor, labels: Tensor, targets: Tensor | None, arm: str
) -> list[Evidence]:
    """Void where an attacker with targets has nobody to attack."""
    if targets is None or not right.any():
        return []
    if (right & (targets >= 0) & (targets != labels)).any():
        return []
    text = (
        "no sample was attacked: none that is classified correctly belongs to a class that "
        "target= sends elsewhere; name classes that occur in the data"
    )
    return [Evidence("targets", arm, "void", text)]
