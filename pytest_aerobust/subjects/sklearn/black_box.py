"""scikit-learn classifiers as models: an exact twin where there is one, else a black box.

A black box answers and says nothing of how it came to its answers: no gradient runs through it,
and none is estimated in its place.
"""

import warnings
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot

from pytest_aerobust.contract.catalogue import Access, AttackSpec, fitting
from pytest_aerobust.errors import ModelError
from pytest_aerobust.subjects.data import Samples
from pytest_aerobust.subjects.labels import listed
from pytest_aerobust.subjects.sklearn.twin import (
    NoTwinError,
    Twin,
    check_features,
    check_fitted,
    twin_of,
)

# Probabilities below this are taken for it, so that their logarithms are finite.
_LEAST = float(np.finfo(np.float64).eps)
# By how much the answer leads where the scores tie or contradict it, as a share of the best.
_LEAD = 1e-6


class BlackBox(nn.Module):
    """A scikit-learn classifier as a module from inputs ``(N, ...)`` to logits ``(N, K)``.

    What `predict` says is the answer, also where the scores tie or say otherwise; the scores
    rank the other classes. They are log-probabilities, or else the scores of the decision
    function, or else 1 for the answer and 0 for all others.

    Args:
        original: The fitted estimator; it is only asked.
        reason: Why it has no twin, in words.

    Attributes:
        classes: Which label each logit stands for: ``classes_`` as plain values.
    """

    def __init__(self, original: Any, reason: str) -> None:
        super().__init__()
        self.original, self._reason = original, reason
        self.classes: tuple[Any, ...] = tuple(original.classes_.tolist())
        named = ("predict_proba", "decision_function")
        self._scores = next((name for name in named if hasattr(original, name)), None)
        self.eval()

    @property
    def offers(self) -> Access:
        """The most that an attacker can ask it for."""
        return "decision" if self._scores is None else "score"

    def forward(self, inputs: Tensor) -> Tensor:
        rows = self._rows(inputs)
        with warnings.catch_warnings():
            # Of an estimator that was fitted on a DataFrame, where there is none to be had.
            warnings.filterwarnings("ignore", "X does not have valid feature names", UserWarning)
            answers = self._places(self.original.predict(rows))
            scores = None if self._scores is None else self._scored(rows)
        if scores is None:
            return one_hot(answers, len(self.classes)).double().to(inputs.device)
        return _led_by(answers, scores).to(inputs.device)

    def _rows(self, inputs: Tensor) -> Any:
        """Inputs ``(N, ...)`` as the estimator was given its own: rows, or a DataFrame."""
        rows = inputs.detach().flatten(1).cpu().double().numpy()
        names = getattr(self.original, "feature_names_in_", None)
        if names is None or find_spec("pandas") is None:
            return rows
        return import_module("pandas").DataFrame(rows, columns=names)

    def _places(self, labels: np.ndarray) -> Tensor:
        places = {label: place for place, label in enumerate(self.classes)}
        return torch.tensor([places[label] for label in np.asarray(labels).tolist()])

    def _scored(self, rows: Any) -> Tensor:
        scores = np.asarray(getattr(self.original, str(self._scores))(rows), np.float64)
        if self._scores == "predict_proba":
            scores = np.log(scores.clip(min=_LEAST))
        return torch.from_numpy(
            np.stack([0 * scores, scores], axis=1) if scores.ndim == 1 else scores
        )

    def check(self, inputs: Tensor, name: str) -> None:
        """Ask once; scores that are not one a class (as of pairs of classes) are left alone.

        Args:
            inputs: What the model sees, ``(N, ...)``.
            name: What errors call the model.

        Raises:
            ModelError: It has another number of features, or fails.
        """
        check_features(getattr(self.original, "n_features_in_", None), inputs, name)
        try:
            columns = 0 if self._scores is None else self._scored(self._rows(inputs[:1])).shape[1]
            self._scores = self._scores if columns == len(self.classes) else None
            self(inputs[:1])
        except Exception as cause:
            raise ModelError(
                f"{name} ({type(self.original).__qualname__}) raised {type(cause).__name__} "
                f"on inputs of shape {tuple(inputs[:1].flatten(1).shape)}: {cause}"
            ) from cause

    def check_access(self, spec: AttackSpec, name: str) -> None:
        """Refuse an attack that asks for more than it offers.

        Raises:
            ModelError: It wants gradients, or scores where there are only decisions.
        """
        asks = fitting("black-box", self.offers)
        if spec.access == "gradient":
            raise ModelError(
                f"{self._reason}. So {name} has no gradients for {spec.name} to follow: attack it "
                f"with threat='black-box', by {', '.join(asks)}"
            )
        if spec.access == "score" and self.offers == "decision":
            kind = type(self.original).__qualname__
            raise ModelError(
                f"{name} ({kind}) gives decisions alone, neither probabilities nor a decision "
                f"function with one score a class, and {spec.name} asks for scores: attack it by "
                f"{', '.join(asks)}"
            )


def estimator_module(estimator: Any, name: str) -> Twin | BlackBox:
    """A fitted classifier as its exact twin, or, where it has none, as a black box.

    Args:
        estimator: It is only read and asked.
        name: What errors call it.

    Raises:
        ModelError: It is no classifier of one class a sample, or is not fitted.
    """
    try:
        return twin_of(estimator, name)
    except NoTwinError as error:
        if not is_classifier(estimator):
            raise ModelError(str(error)) from None
        check_fitted(estimator, name)
        _check_classes(estimator, name)
        return BlackBox(estimator, str(error))


def is_classifier(estimator: Any) -> bool:
    """Whether it says of itself that it is one; a pipeline is what its last step is."""
    from sklearn import base

    return bool(base.is_classifier(estimator))


def _check_classes(estimator: Any, name: str) -> None:
    classes = estimator.classes_
    if not isinstance(classes, np.ndarray):
        raise ModelError(
            f"{name} ({type(estimator).__qualname__}) gives several labels a sample: expected one "
            "class a sample"
        )
    if len(classes) < 2:
        raise ModelError(
            f"{name} ({type(estimator).__qualname__}) was fitted on the single class {classes[0]}: "
            "expected at least two"
        )


def _led_by(answers: Tensor, scores: Tensor) -> Tensor:
    """Scores ``(N, K)`` among which that of the answer is the best, and alone so."""
    chosen = answers[:, None]
    others = scores.scatter(1, chosen, -torch.inf).amax(dim=1, keepdim=True)
    above = others + _LEAD * others.abs().clamp_min(1)
    return scores.scatter(1, chosen, torch.maximum(scores.gather(1, chosen), above))


def common_classes(model: nn.Module, bare: nn.Module | None) -> tuple[Any, ...] | None:
    """The names of the classes of both arms' models; None where neither has any.

    Raises:
        ModelError: They differ; a torch module's classes are 0 to K-1.
    """
    named = [part.classes if isinstance(part, Twin | BlackBox) else None for part in (model, bare)]
    told = [classes for classes in named if classes is not None]
    if bare is None or not told or named[0] == named[1]:
        return named[0]
    if len(told) == 1 and told[0] == tuple(range(len(told[0]))):
        return told[0]
    words = ["0 to K-1" if classes is None else listed(classes) for classes in named]
    raise ModelError(
        f"model has the classes {words[0]}, unfiltered_model {words[1]}: expected the same, in "
        "the same order"
    )


def check_estimator(
    model: nn.Module | None, front: nn.Module | None, samples: Samples, name: str
) -> None:
    """Hold an adapted estimator, if it is one, against its original behind the front.

    Raises:
        ModelError: As for :meth:`Twin.check` and :meth:`BlackBox.check`.
    """
    if not isinstance(model, Twin | BlackBox):
        return
    inputs = samples.inputs.to("cpu", torch.float32)
    seen = inputs if front is None else front(inputs)
    if isinstance(model, Twin):
        model.check(seen, samples.ids, name)
    else:
        model.check(seen, name)
