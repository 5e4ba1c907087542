"""scikit-learn classifiers as exact torch twins, so that gradient attacks see through them.

A twin repeats what the fitted estimator computes, step by step. Its numbers are worked out in
float64 and rounded once to float32. scikit-learn is an optional extra: this module imports it
only where an estimator is at hand, and whoever has one has scikit-learn.
"""

import inspect
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pytest_aerobust.errors import ModelError

# Scores of a twin may differ by this share of a sample's largest score, or of 1 if that is more.
_TOLERANCE = 1e-4
# A value is on the border of a clipping scaler up to this share of the scaler's range.
_BORDER = 1e-6


class NoTwinError(ModelError):
    """An estimator that can't be written as torch layers; it may still be asked for answers."""


class Twin(nn.Sequential):
    """A scikit-learn classifier as a module from inputs ``(N, ...)`` to logits ``(N, K)``.

    The logits are the scores of the decision function, ``[0, z]`` for the one score z of a binary
    estimator (its softmax is the sigmoid); those of an MLP are what enters its output function.
    They are computed in float32 and handed out as float64.

    Attributes:
        original: The estimator.
        features: How many numbers a sample has, whatever its shape.
        classes: Which label each logit stands for: ``classes_`` as plain values.
    """

    def __init__(self, original: Any, features: int, scores: str, layers: list[nn.Module]) -> None:
        super().__init__(nn.Flatten(), *layers, _Precise())
        self.original, self.features, self._scores = original, features, scores
        self.classes: tuple[Any, ...] = tuple(original.classes_.tolist())
        self.eval()

    def check(self, inputs: Tensor, places: Tensor, name: str) -> None:
        """Hold the twin against the original on the samples that are about to be attacked.

        Every score (decision function; probability of an MLP) may differ by 1e-4 of the sample's
        largest score, or by 1e-4 where that is below 1. Labels must be the same unless the
        original's two best scores are as close as that.

        Args:
            inputs: What the model sees, float32 on the CPU, ``(N, ...)``.
            places: Where the samples are in the data, ``(N,)``, for errors.
            name: What errors call the model.

        Raises:
            ModelError: They disagree, the original fails, or it has another number of features.
        """
        check_features(self.features, inputs, name)
        expected, labels = self._asked(inputs, name)
        with torch.no_grad():
            logits = self(inputs)
        best = np.sort(expected, axis=1)
        allowed = _TOLERANCE * np.abs(expected).max(axis=1).clip(min=1)
        differences = np.abs(_SCORES[self._scores](logits) - expected).max(axis=1)
        same = self.original.classes_[logits.argmax(dim=1).numpy()] == labels
        # In words that NaN does not satisfy.
        agree = (differences <= allowed) & (same | (best[:, -1] - best[:, -2] <= allowed))
        if not agree.all():
            wrong = np.flatnonzero(~agree)
            raise ModelError(
                f"{name} ({type(self.original).__qualname__}) and its torch twin disagree on "
                f"{len(wrong)} of {len(inputs)} samples, first at index {int(places[wrong[0]])}: "
                f"{self._scores} differs by up to {differences[wrong].max():.3g} "
                f"(rounding is {allowed[wrong].min():.1g}) and {(~same[wrong]).sum()} labels "
                "differ. Was the estimator changed after it was fitted, or do its features need "
                "more than float32 can hold?"
            )

    def _asked(self, inputs: Tensor, name: str) -> tuple[np.ndarray, np.ndarray]:
        """Scores ``(N, K)`` and labels ``(N,)`` of the original."""
        rows = inputs.flatten(1).double().numpy()
        with warnings.catch_warnings():
            # Of an estimator that was fitted on a DataFrame: the columns have names no more.
            warnings.filterwarnings("ignore", "X does not have valid feature names", UserWarning)
            try:
                scores = getattr(self.original, self._scores)(rows)
                labels = self.original.predict(rows)
            except Exception as cause:
                raise ModelError(
                    f"{name} ({type(self.original).__qualname__}) raised {type(cause).__name__} "
                    f"on inputs of shape {rows.shape}: {cause}"
                ) from cause
        return np.stack([0 * scores, scores], axis=1) if scores.ndim == 1 else scores, labels


_SCORES: dict[str, Callable[[Tensor], np.ndarray]] = {
    "decision_function": Tensor.numpy,
    "predict_proba": lambda logits: logits.softmax(dim=1).numpy(),
}


def check_features(fitted: int | None, inputs: Tensor, name: str) -> None:
    """Hold inputs ``(N, ...)`` against the number of features that an estimator was fitted on.

    Raises:
        ModelError: They differ, where the number is known.
    """
    given = inputs[0].numel()
    if fitted not in (None, given):
        raise ModelError(
            f"{name} was fitted on {fitted} features, but the inputs {tuple(inputs.shape)} have "
            f"{given} a sample: expected the data that it is for"
        )


def is_estimator(model: Any) -> bool:
    """Whether scikit-learn made the model's class, or a base of it."""
    return any(_of_sklearn(base) for base in type(model).__mro__)


def twin_of(estimator: Any, name: str) -> Twin:
    """The twin of a fitted classifier, or of a pipeline of scalers and a classifier.

    Args:
        estimator: It is only read.
        name: What errors call it.

    Raises:
        NoTwinError: It has no twin.
        ModelError: It is not fitted, or can't be judged.
    """
    parts = list(_parts(_Part(name, estimator), name))
    if not parts:
        raise ModelError(f"{name} is a Pipeline in which no step does anything; {_supported()}")
    *scalers, last = parts
    layers = [layer for part in scalers for layer in _kind(part, _SCALERS).layers(part.estimator)]
    kind = _kind(last, _CLASSIFIERS)
    _check_classes(last)
    layers += kind.layers(last.estimator)
    return Twin(estimator, last.estimator.n_features_in_, kind.answers[-1], layers)


class _Part(NamedTuple):
    """An estimator, and what errors call it."""

    name: str
    estimator: Any


class _Kind(NamedTuple):
    """What is known of a class of scikit-learn.

    Attributes:
        layers: From a fitted estimator to what it computes.
        answers: The methods that say what it computes; of a classifier, the last gives scores.
    """

    layers: Callable[[Any], list[nn.Module]]
    answers: tuple[str, ...]


def _parts(part: _Part, model: str, path: str = "") -> Iterator[_Part]:
    """The estimators of a pipeline in their order, those of nested pipelines among them."""
    base = _nearest(part.estimator, ["Pipeline"])
    if base is None:
        yield part
        return
    _check_answers(part, base, ("predict", "decision_function", "predict_proba", "transform"))
    for key, step in part.estimator.steps:
        if step is not None and not isinstance(step, str):  # 'passthrough'
            inner = _Part(f"step {path + key!r} of {model}", step)
            yield from _parts(inner, model, f"{path}{key}__")


def _kind(part: _Part, table: Mapping[str, _Kind]) -> _Kind:
    """The row of a fitted estimator that computes what its row says."""
    base = _nearest(part.estimator, table)
    if base is None:
        raise NoTwinError(f"{_what(part)}, which has no torch twin; {_hint(part)}{_supported()}")
    kind = table[base.__name__]
    _check_answers(part, base, kind.answers)
    check_fitted(part.estimator, part.name)
    return kind


def _nearest(estimator: Any, names: Iterable[str]) -> type | None:
    """scikit-learn's class of one of these names that an estimator is or derives from."""
    bases = type(estimator).__mro__
    return next((base for base in bases if _of_sklearn(base) and base.__name__ in names), None)


def _of_sklearn(cls: type) -> bool:
    return cls.__module__.split(".")[0] == "sklearn"


def _what(part: _Part) -> str:
    cls = type(part.estimator)
    return f"{part.name} is a {cls.__module__}.{cls.__qualname__}"


def _hint(part: _Part) -> str:
    base = _nearest(part.estimator, _HINTS)
    return "" if base is None else f"{_HINTS[base.__name__]}; "


_HINTS = {
    "BaseSearchCV": "hand in its .best_estimator_",
    "RegressorMixin": "it is a regressor, expected a classifier",
    "SVC": "with a linear kernel, LinearSVC has one",
}


def _supported() -> str:
    return f"expected a {', '.join(_CLASSIFIERS)}, or a Pipeline of one with {', '.join(_SCALERS)}"


def _check_answers(part: _Part, base: type, names: tuple[str, ...]) -> None:
    """Refuse a class that answers in its own way: the twin would be its base's."""
    cls = type(part.estimator)
    for name in names:
        own, known = (inspect.getattr_static(owner, name, None) for owner in (cls, base))
        if own is not known:
            raise NoTwinError(
                f"{_what(part)} with a {name} of its own, so the torch twin of its base "
                f"{base.__name__} would be of another model: wrap what it computes in a "
                "torch.nn.Module"
            )


def check_fitted(estimator: Any, name: str) -> None:
    """Raise a ModelError where an estimator is not fitted."""
    from sklearn.exceptions import NotFittedError
    from sklearn.utils.validation import check_is_fitted

    try:
        check_is_fitted(estimator)
    except NotFittedError as error:
        what = _what(_Part(name, estimator))
        raise ModelError(f"{what} that is not fitted: call fit first") from error


def _check_classes(part: _Part) -> None:
    estimator = part.estimator
    outputs = getattr(estimator, "n_outputs_", 1)  # of an MLP
    if outputs > 1 and estimator.out_activation_ == "logistic":
        raise ModelError(
            f"{_what(part)} of {outputs} labels a sample (multilabel): expected one class a sample"
        )
    if len(estimator.classes_) < 2:
        raise ModelError(
            f"{_what(part)} that was fitted on the single class {estimator.classes_[0]}: "
            "expected at least two"
        )


class _Linear(nn.Module):
    weight: Tensor
    bias: Tensor

    def __init__(self, weight: Any, bias: Any) -> None:
        """Of ``(outputs, inputs)`` weights, dense or sparse, and one bias or one an output."""
        super().__init__()
        dense = weight.toarray() if hasattr(weight, "toarray") else weight
        self.register_buffer("weight", _rounded(dense))
        self.register_buffer("bias", _rounded(np.broadcast_to(bias, len(dense))))

    def forward(self, inputs: Tensor) -> Tensor:
        return F.linear(inputs, self.weight, self.bias)


class _Scaled(nn.Module):
    """``(x - centre) / scale``, clipped to the limits where there are any."""

    centre: Tensor
    factor: Tensor
    rest: Tensor

    def __init__(self, centre: Any, scale: Any, limits: tuple[float, float] | None = None) -> None:
        super().__init__()
        centre, factor = np.asarray(centre, float), 1 / np.asarray(scale, float)
        self.register_buffer("centre", _rounded(centre))
        self.register_buffer("factor", _rounded(factor))
        # What float32 loses of a centre that is large beside its scale.
        self.register_buffer("rest", _rounded((centre - self.centre.numpy()) * factor))
        self._limits = limits and _widened(*limits)

    def forward(self, inputs: Tensor) -> Tensor:
        scaled = (inputs - self.centre) * self.factor - self.rest
        return scaled.clamp(*self._limits) if self._limits else scaled


def _widened(low: float, high: float) -> tuple[float, float]:
    # Rounding puts values at the border on either side of it; outside they had no gradient, and
    # at the smallest value of a feature (a black pixel) are most of the samples.
    margin = _BORDER * (high - low)
    return low - margin, high + margin


class _Unit(nn.Module):
    """Each sample divided by its norm; one without any number but 0 stays so."""

    def __init__(self, order: float) -> None:
        super().__init__()
        self._order = order

    def forward(self, inputs: Tensor) -> Tensor:
        norms = torch.linalg.vector_norm(inputs, self._order, dim=1, keepdim=True)
        return inputs / torch.where(norms == 0, 1, norms)


class _Precise(nn.Module):
    """Logits in float64, for the sake of the loss.

    A hinge classifier's scores are no log-odds and easily reach 50: in float32 the probability of
    the true class is 1 from a margin of 17 on, in float64 from 37 on, and without that
    probability's distance from 1 the cross entropy's gradient points elsewhere.
    """

    def forward(self, inputs: Tensor) -> Tensor:
        return inputs.double()


def _rounded(values: Any) -> Tensor:
    # Through a copy: the estimator's own numbers stay its own.
    return torch.from_numpy(np.array(values, np.float64)).float()


def _output(weight: Any, bias: Any) -> nn.Module:
    """The last layer; the one score z of a binary estimator becomes the logits ``[0, z]``."""
    dense = weight.toarray() if hasattr(weight, "toarray") else weight
    if len(dense) > 1:
        return _Linear(dense, bias)
    return _Linear(np.vstack([0 * dense, dense]), np.append(0.0, bias))


def _linear(estimator: Any) -> list[nn.Module]:
    return [_output(estimator.coef_, estimator.intercept_)]


_ACTIVATIONS = {
    "identity": nn.Identity,
    "logistic": nn.Sigmoid,
    "tanh": nn.Tanh,
    "relu": nn.ReLU,
}


def _mlp(estimator: Any) -> list[nn.Module]:
    activation = _ACTIVATIONS[estimator.activation]
    *hidden, (weight, bias) = zip(estimator.coefs_, estimator.intercepts_, strict=True)
    layers = [layer for w, b in hidden for layer in (_Linear(w.T, b), activation())]
    return [*layers, _output(weight.T, bias)]


def _standard(scaler: Any) -> list[nn.Module]:
    centre = scaler.mean_ if scaler.with_mean else 0.0
    return [_Scaled(centre, scaler.scale_ if scaler.with_std else 1.0)]


def _min_max(scaler: Any) -> list[nn.Module]:
    limits = scaler.feature_range if scaler.clip else None
    return [_Scaled(-scaler.min_ / scaler.scale_, 1 / scaler.scale_, limits)]


def _max_abs(scaler: Any) -> list[nn.Module]:
    return [_Scaled(0.0, scaler.scale_, (-1.0, 1.0) if scaler.clip else None)]


def _robust(scaler: Any) -> list[nn.Module]:
    centre = scaler.center_ if scaler.with_centering else 0.0
    return [_Scaled(centre, scaler.scale_ if scaler.with_scaling else 1.0)]


def _normalizer(scaler: Any) -> list[nn.Module]:
    return [_Unit({"l1": 1.0, "l2": 2.0, "max": torch.inf}[scaler.norm])]


_BY_SCORES = ("predict", "decision_function")
_BY_PROBABILITIES = ("predict", "predict_proba")

_CLASSIFIERS = {
    "LogisticRegression": _Kind(_linear, _BY_SCORES),
    "SGDClassifier": _Kind(_linear, _BY_SCORES),
    "LinearSVC": _Kind(_linear, _BY_SCORES),
    "MLPClassifier": _Kind(_mlp, _BY_PROBABILITIES),
}
_SCALERS = {
    "StandardScaler": _Kind(_standard, ("transform",)),
    "MinMaxScaler": _Kind(_min_max, ("transform",)),
    "MaxAbsScaler": _Kind(_max_abs, ("transform",)),
    "RobustScaler": _Kind(_robust, ("transform",)),
    "Normalizer": _Kind(_normalizer, ("transform",)),
}
