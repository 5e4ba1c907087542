"""What is attacked and judged: a filter, a normalising front and a model in a row."""

from typing import Any

import torch
from torch import Tensor, nn

from pytest_aerobust.arguments import Statistics
from pytest_aerobust.errors import AerobustError, FilterError, ModelError


class Normalise(nn.Module):
    """``(x - mean) / std``, one number for all or one a channel, in front of a model."""

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Statistics | None, std: Statistics | None) -> None:
        super().__init__()
        self.register_buffer(
            "mean", torch.as_tensor(0.0 if mean is None else mean, dtype=torch.float64)
        )
        self.register_buffer(
            "std", torch.as_tensor(1.0 if std is None else std, dtype=torch.float64)
        )

    def forward(self, inputs: Tensor) -> Tensor:
        mean, std = (_per_channel(s.to(inputs), inputs) for s in (self.mean, self.std))
        return (inputs - mean) / std


def _per_channel(statistics: Tensor, inputs: Tensor) -> Tensor:
    if statistics.ndim and len(statistics) != inputs.shape[1]:
        raise ModelError(
            f"mean= or std= has {len(statistics)} entries, inputs have {inputs.shape[1]} channels "
            f"(shape {tuple(inputs.shape)}): give one number a channel, or a single one"
        )
    return statistics.reshape(-1, *[1] * (inputs.ndim - 2)) if statistics.ndim else statistics


class Classifier:
    """One side of the comparison, asked for logits with every answer checked.

    Args:
        name: What errors call it: ``model`` or ``pipeline``.
        model: From inputs ``(N, ...)`` to logits ``(N, K)``.
        front: Normalisation in front of the model.
        filter: In front of both; None for the bare model.
    """

    def __init__(
        self, name: str, model: nn.Module, front: nn.Module | None, filter: nn.Module | None
    ) -> None:
        self.name = name
        self._filter = filter
        self._layers = [layer for layer in (front, model) if layer is not None]

    def __call__(self, inputs: Tensor) -> Tensor:
        """Logits ``(N, K)`` of inputs ``(N, ...)``.

        Raises:
            ModelError: The model fails, or its answer is no classification.
            FilterError: The filter fails, or changes shape or dtype.
        """
        return self.classify(self.clean(inputs))

    def clean(self, inputs: Tensor) -> Tensor:
        """What the filter makes of inputs; the inputs themselves where there is none."""
        if self._filter is None:
            return inputs
        outputs = _asked("filter", FilterError, self._filter, inputs)
        if not isinstance(outputs, Tensor):
            raise FilterError(
                f"filter answers with a {type(outputs).__name__}: expected a tensor of shape "
                f"{tuple(inputs.shape)}"
            )
        if outputs.shape != inputs.shape or outputs.dtype != inputs.dtype:
            raise FilterError(
                f"filter turns {tuple(inputs.shape)} {inputs.dtype} into {tuple(outputs.shape)} "
                f"{outputs.dtype}: expected the same shape and dtype"
            )
        return outputs

    def classify(self, inputs: Tensor) -> Tensor:
        """Logits of what the filter made."""
        outputs: Any = inputs
        for layer in self._layers:
            outputs = _asked("model", ModelError, layer, outputs)
        return _checked_logits(outputs, len(inputs))

    def gradient(self, loss: Tensor, inputs: Tensor) -> Tensor:
        """Gradient of a loss of this side's logits with respect to its inputs.

        Raises:
            ModelError: The side is not differentiable.
        """
        gradient = None
        if loss.requires_grad:
            (gradient,) = torch.autograd.grad(loss, inputs, allow_unused=True)
        if gradient is None:
            raise ModelError(
                f"{self.name} is not differentiable: its logits carry no gradient (detach, no_grad "
                "or NumPy inside?). Attack it with threat='black-box' and an attack that asks "
                "only for answers, such as LinfRepeatedAdditiveUniformNoiseAttack"
            )
        return gradient


def _asked(name: str, error: type[AerobustError], layer: nn.Module, inputs: Any) -> Any:
    try:
        return layer(inputs)
    except AerobustError:
        raise
    except Exception as cause:
        raise error(
            f"{name} raised {type(cause).__name__} on inputs of shape {tuple(inputs.shape)} "
            f"{inputs.dtype}: {cause}{_shape_hint(inputs)}"
        ) from cause


def _shape_hint(inputs: Tensor) -> str:
    looks_nhwc = inputs.ndim == 4 and inputs.shape[-1] in (1, 3, 4) and inputs.shape[1] > 4
    if looks_nhwc:
        return "\n  The inputs look like (N, H, W, C): permute them to (N, C, H, W)."
    return "\n  Expected the shape that the model was trained on, images as (N, C, H, W)."


def _checked_logits(outputs: Any, samples: int) -> Tensor:
    if not isinstance(outputs, Tensor):
        raise ModelError(
            f"model answers with a {type(outputs).__name__}: expected logits of shape (N, K). "
            f"Wrap it in a module whose forward returns {_selection(outputs)}"
        )
    shape = tuple(outputs.shape)
    if outputs.ndim == 1 or (outputs.ndim == 2 and shape[1] == 1):
        raise ModelError(
            f"model answers with shape {shape}: expected (N, K) with K of at least 2. Is it "
            "binary? Give it two logits, torch.stack([-z, z], dim=1)"
        )
    if outputs.ndim != 2 or shape[0] != samples:
        raise ModelError(
            f"model answers with shape {shape}: expected ({samples}, K), one logit a class"
        )
    if not outputs.isfinite().all():
        bad = (~outputs.isfinite()).any(dim=1)
        raise ModelError(
            f"model's logits are NaN or infinite for {int(bad.sum())} of {samples} inputs inside "
            "the bounds: no answer can be judged. Look for an overflow, a logarithm of 0 or a "
            "division by 0"
        )
    return outputs


def _selection(outputs: Any) -> str:
    if isinstance(outputs, tuple | list):
        return f"the logits among its {len(outputs)} entries, such as outputs[0]"
    if hasattr(outputs, "logits") or (isinstance(outputs, dict) and "logits" in outputs):
        return "outputs['logits']" if isinstance(outputs, dict) else "outputs.logits"
    return "the tensor of logits alone"
