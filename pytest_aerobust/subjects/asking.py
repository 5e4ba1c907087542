"""A module asked for its outputs; where it fails, in whose words and how to go on."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import GraphModule

from pytest_aerobust.errors import AerobustError


def asked(name: str, error: type[AerobustError], layer: nn.Module, inputs: Any) -> Any:
    """What a module makes of inputs ``(n, ...)``.

    Raises:
        AerobustError: Of the given kind, with the module's own words and the next step.
    """
    try:
        return layer(inputs)
    except AerobustError:
        raise
    except Exception as cause:
        raise error(
            f"{name} raised {type(cause).__name__} on inputs of shape {tuple(inputs.shape)} "
            f"{inputs.dtype}: {cause}{_hint(name, layer, inputs, cause)}"
        ) from cause


def _hint(name: str, layer: nn.Module, inputs: Tensor, cause: Exception) -> str:
    weights = (*layer.parameters(), *layer.buffers())
    precisions = {weight.dtype for weight in weights if weight.is_floating_point()}
    if precisions and inputs.dtype not in precisions:
        return (
            f"\n  The {name} computes in {precisions.pop()}, the run in {inputs.dtype}, the "
            f"precision of the model: convert the {name}, {name}.to({inputs.dtype})."
        )
    if inputs.requires_grad:
        return (
            "\n  It answered the clean inputs; what differs now is that gradients are recorded, "
            f"and a batch of {len(inputs)} samples. If it is not differentiable, attack it with "
            "threat='black-box'."
        )
    if "not require grad" in str(cause):
        return (
            "\n  It takes a gradient while it answers, of something that needs none: let forward "
            "do so under torch.enable_grad(), and of a tensor that requires_grad_()."
        )
    if _takes_indices(layer, inputs):
        return (
            "\n  It answers whole numbers, such as tokens. These have no budget to be moved in, so "
            "such models are out of scope: hand in what stands behind the embedding as the "
            f"{name}, and the embedded inputs as data."
        )
    if any(isinstance(part, GraphModule) for part in layer.modules()):
        return (
            "\n  If it was exported for one batch size, export it for any, with "
            "dynamic_shapes=({0: torch.export.Dim('batch')},), or hand in a DataLoader with that "
            "batch_size."
        )
    looks_nhwc = inputs.ndim == 4 and inputs.shape[-1] in (1, 3, 4) and inputs.shape[1] > 4
    if looks_nhwc:
        return "\n  The inputs look like (N, H, W, C): permute them to (N, C, H, W)."
    return (
        "\n  Expected the shape that the model was trained on, images as (N, C, H, W). If it "
        "answers batches of one size alone, hand in a DataLoader with that batch_size."
    )


def _takes_indices(layer: nn.Module, inputs: Tensor) -> bool:
    """Whether what refuses numbers answers the whole ones among them."""
    try:
        with torch.no_grad():
            return isinstance(layer(inputs.long()), Tensor)
    except Exception:
        return False  # so this is not what was wrong; the error tells of the first question
