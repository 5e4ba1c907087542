"""Models and filters of every supported kind, as torch modules."""

import sys
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from types import FunctionType, MethodType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.export import ExportedProgram
from torch.nn.parameter import is_lazy

from pytest_aerobust.contract.arguments import Bounds
from pytest_aerobust.errors import FilterError, ModelError
from pytest_aerobust.subjects.sklearn.black_box import estimator_module
from pytest_aerobust.subjects.sklearn.twin import is_estimator


class FoolboxFront(nn.Module):
    """A ready ``foolbox.Model`` behind the face of a module; its preprocessing stays."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.training = False  # a front has no mode of its own to warn of
        self._asked = model
        # Registered, so that eval mode and frozen parameters reach the wrapped network.
        self.networks = nn.ModuleList(_networks(model))
        self.networks.training = False

    def forward(self, inputs: Tensor) -> Any:
        return self._asked(inputs)


class CallableFront(nn.Module):
    """A function from inputs to inputs behind the face of a module.

    It may work on NumPy arrays: its first answer shows whether it takes tensors, and whether it
    gives them.
    """

    def __init__(self, function: Callable[[Any], Any]) -> None:
        super().__init__()
        self.training = False
        self._function = function
        self._takes_arrays: bool | None = None
        self.notes: tuple[str, ...] = ()
        # A method or a lambda around a module: eval mode must reach that module.
        self.networks = nn.ModuleList(_modules_behind(function))
        self.networks.training = False

    def forward(self, inputs: Tensor) -> Any:
        if self._takes_arrays is None:
            answer = self._first(inputs)
        else:
            answer = self._function(_array(inputs) if self._takes_arrays else inputs)
        return self._tensor(answer, inputs) if isinstance(answer, np.ndarray) else answer

    def _first(self, inputs: Tensor) -> Any:
        """Ask with a tensor; where that fails, with an array."""
        try:
            answer = self._function(inputs.clone())
            self._takes_arrays = False
        except Exception:
            try:
                answer = self._function(_array(inputs))
            except Exception:
                answer = None
            if not isinstance(answer, np.ndarray):
                raise
            self._takes_arrays = True
        return answer

    def _tensor(self, answer: np.ndarray, inputs: Tensor) -> Tensor:
        self.notes = (
            f"the filter answers with NumPy arrays of {answer.dtype}: taken as tensors of "
            f"{inputs.dtype}, outside autograd",
        )
        return torch.from_numpy(np.array(answer)).to(inputs)


def _array(inputs: Tensor) -> np.ndarray:
    """A copy: whoever gets it may write into it."""
    return inputs.detach().cpu().numpy().copy()


def model_module(model: Any, bounds: Bounds, name: str = "model") -> nn.Module:
    """The model as a module from inputs ``(N, ...)`` to logits ``(N, K)``.

    Args:
        model: A torch or Lightning module, a fitted scikit-learn classifier, or a
            ``foolbox.Model`` over torch.
        bounds: The bounds that a ready ``foolbox.Model`` must share.
        name: What errors call it.

    Raises:
        ModelError: It is of another kind, not fitted, or was made for other bounds.
    """
    if isinstance(model, nn.Module):
        return _measurable(model, name, ModelError)
    if _is_foolbox_model(model):
        return _foolbox_module(model, bounds, name)
    if is_estimator(model):
        return estimator_module(model, name)
    hint = ""
    if isinstance(model, type | str):
        hint = "; give an instance, not a class or a string"
    if isinstance(model, ExportedProgram):
        hint = "; give its module, model.module()"
    if isinstance(model, Mapping):
        hint = "; where these are weights, load them into a module: load_state_dict()"
    if isinstance(model, FunctionType | MethodType | partial | torch.jit.ScriptFunction):
        hint = "; wrap a function in a torch.nn.Module whose forward calls it"
    raise ModelError(
        f"{name} is {_described(model)}: expected a torch.nn.Module, a LightningModule, a "
        f"scikit-learn classifier or a foolbox.Model{hint}"
    )


def _described(model: Any) -> str:
    named = model if isinstance(model, type) else type(model)
    return f"{'the class' if named is model else 'a'} {named.__module__}.{named.__qualname__}"


def filter_module(filter: Any) -> nn.Module | None:
    """The filter as a module from inputs to inputs; None where there is none.

    Raises:
        FilterError: It can't be called.
    """
    if filter is None:
        return None
    if isinstance(filter, nn.Module):
        return _measurable(filter, "filter", FilterError)
    if not callable(filter):
        raise FilterError(
            f"filter is a {type(filter).__qualname__}: expected a module or a callable from "
            "inputs to inputs, or None"
        )
    return CallableFront(filter)


def _measurable(
    module: nn.Module, name: str, error: type[ModelError] | type[FilterError]
) -> nn.Module:
    """The module, unless its weights can't be used or given back as they were."""
    weights = [*module.parameters(), *module.buffers()]
    if any(is_lazy(weight) for weight in weights):
        raise error(
            f"{name} has lazy layers without weights: run it once on a batch, or load its weights"
        )
    if any(weight.is_meta for weight in weights):
        raise error(
            f"{name} has weights on the meta device, which hold no numbers: load them first, as by "
            f"{name}.load_state_dict(..., assign=True)"
        )
    if any(weight.is_inference() for weight in weights):
        raise error(
            f"{name} was made inside torch.inference_mode, so its weights can't take part in a "
            "gradient: build and load it outside"
        )
    return module


def _is_foolbox_model(model: Any) -> bool:
    # Whoever holds a foolbox.Model has imported Foolbox; nobody else has to.
    foolbox = sys.modules.get("foolbox")
    return foolbox is not None and isinstance(model, foolbox.Model)


def _foolbox_module(model: Any, bounds: Bounds, name: str) -> nn.Module:
    if tuple(model.bounds) != bounds:
        low, high = model.bounds
        raise ModelError(
            f"{name} is a foolbox.Model with bounds ({low:g}, {high:g}), the contract's are "
            f"({bounds[0]:g}, {bounds[1]:g}): state the same with aerobust_bounds or bounds="
        )
    if not _networks(model):
        raise ModelError(
            f"{name} is a {type(model).__qualname__} without a torch module inside: expected a "
            "foolbox.PyTorchModel, or a Foolbox wrapper around one"
        )
    for network in _networks(model):
        _measurable(network, name, ModelError)
    return FoolboxFront(model)


def _networks(model: Any) -> list[nn.Module]:
    """The torch modules inside a Foolbox model, through its wrappers.

    Foolbox keeps the module in the closure of the function that it calls, so that is where
    it is found.
    """
    inner = getattr(model, "_model", None)
    if _is_foolbox_model(inner):
        return _networks(inner)
    return _modules_behind(inner)


def _modules_behind(function: Any) -> list[nn.Module]:
    """The modules that a callable reaches: its owner, what it closes over, names or holds."""
    if isinstance(function, partial):
        inner = (function.func, *function.args, *function.keywords.values())
        return [module for each in inner for module in _modules_behind(each)]
    code = getattr(function, "__code__", None)
    names = getattr(function, "__globals__", {})
    reached = (
        function,
        getattr(function, "__self__", None),
        *closed_over(function),
        *(names.get(name) for name in (code.co_names if code else ())),
        *getattr(function, "__dict__", {}).values(),
    )
    if isinstance(function, nn.Module):
        return [function]
    return [each for each in reached if isinstance(each, nn.Module)]


def closed_over(function: Any) -> Iterator[Any]:
    """What the cells of a function's closure hold; one whose name is not bound (yet) is empty."""
    for cell in getattr(function, "__closure__", None) or ():
        try:
            yield cell.cell_contents
        except ValueError:
            continue


def floating_dtype(module: nn.Module) -> torch.dtype:
    """The precision a module computes in; float32 where it has no parameters.

    Raises:
        ModelError: It is a half precision, in which small budgets vanish.
    """
    tensors = (*module.parameters(), *module.buffers())
    dtype = next((t.dtype for t in tensors if t.is_floating_point()), torch.float32)
    if dtype not in (torch.float32, torch.float64):
        raise ModelError(
            f"model is in {dtype}: examples are verified in full precision; call model.float()"
        )
    return dtype


def device_of(module: nn.Module) -> torch.device:
    """Where a module's parameters are; the CPU where it has none."""
    tensors = (*module.parameters(), *module.buffers())
    return next((t.device for t in tensors), torch.device("cpu"))
