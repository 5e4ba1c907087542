"""Modules that a run borrows: their modes, weights and places, given back as they were."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

from pytest_aerobust.errors import ContractError
from pytest_aerobust.subjects.borrowing import kept_buffers
from pytest_aerobust.subjects.tensors import plain_parts, same_content


class _Kept(NamedTuple):
    """What a parameter held, and its gradient, before the model could write into them."""

    parameter: nn.Parameter
    data: Tensor
    content: Tensor
    gradient: Tensor | None
    slope: Tensor | None


class Loan:
    """Modules in eval mode and frozen; :func:`borrowed` makes one and gives them back.

    Parameters need no gradient during the run: that halves the work of a backward pass and
    keeps ``.grad`` untouched. Every submodule has its own mode, and each comes back.
    """

    def __init__(self, modules: list[nn.Module]) -> None:
        self._modules = modules
        self._parts = [part for module in modules for part in module.modules()]
        # Frozen TorchScript has no mode.
        self._modes: list[bool | None] = [getattr(part, "training", None) for part in self._parts]
        self._parameters = [p for module in modules for p in module.parameters()]
        self._places = [
            (part, name, parameter)
            for part in self._parts
            for name, parameter in part.named_parameters(recurse=False, remove_duplicate=False)
        ]
        self._needed = [p.requires_grad for p in self._parameters]
        self._homes = [_homes(module) for module in modules]
        self._kept: list[_Kept] = []
        self._trained = [module for module in modules if any(map(_in_train_mode, module.modules()))]
        self._refusals: dict[nn.Module, Exception] = {}

    def take(self, device: torch.device) -> None:
        """Eval mode, the device of the run, and no gradients of weights.

        Raises:
            ContractError: A module can't be moved there.
        """
        for module in self._modules:
            self._evaluate(module)
            _move(module, device)
        self._flag([False] * len(self._needed))

    def _evaluate(self, module: nn.Module) -> None:
        try:
            module.eval()
        except Exception as refusal:
            # As what torch.export makes does: the mode of its graph is fixed. Parts of it, or
            # beside it, may have one.
            self._refusals[module] = refusal
            for part in module.modules():
                part.training = False

    @contextmanager
    def thawed(self) -> Iterator[set[nn.Parameter]]:
        """Parameters need gradients again, from now on, for models that differentiate by them.

        Yields:
            Those that a gradient came to inside the block.
        """
        if not self._kept:
            self._kept = [_kept(parameter) for parameter in self._parameters]
        self._flag(self._needed)
        reached: set[nn.Parameter] = set()
        watched = [parameter for parameter in self._parameters if parameter.requires_grad]
        hooks = [
            each.register_hook(lambda _, each=each: reached.add(each))  # type: ignore[no-untyped-call]  # torch's
            for each in watched
        ]
        try:
            yield reached
        finally:
            for hook in hooks:
                hook.remove()

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Gradients are recorded, and stay right where the model then writes into its weights.

        A judge asks between an attacker's question and its gradient.
        """
        weights = {place for parameter in self._parameters for place in _storages(parameter)}

        def pack(saved: Tensor) -> tuple[Tensor, int]:
            # Detached, as a saved output would else hold itself.
            kept = saved.detach()
            kept = kept.clone() if weights & _storages(saved) else kept
            return kept, kept._version

        with torch.enable_grad(), saved_tensors_hooks(pack, _unpacked):
            yield

    def give_back(self) -> None:
        """Everything as it was taken."""
        for part, name, parameter in self._places:
            # Forward may have put another one in its place, or no parameter at all.
            if getattr(part, name, None) is not parameter:
                setattr(part, name, parameter)
        for kept in self._kept:  # where they were used, before they go home
            _restore(kept)
        for module, home in zip(self._modules, self._homes, strict=True):
            if home is not None and home != _homes(module):
                module.to(home)
        self._flag(self._needed)
        for part, mode in zip(self._parts, self._modes, strict=True):
            if mode is None:
                vars(part).pop("training", None)
            else:
                part.training = mode

    def _flag(self, needed: list[bool]) -> None:
        for parameter, flag in zip(self._parameters, needed, strict=True):
            parameter.requires_grad_(flag)

    def mode_note(self, name: str, module: nn.Module) -> tuple[str, ...]:
        """What a reader should know of the mode of a module."""
        refusal = self._refusals.get(module)
        if refusal is not None:
            return (
                f"the {name} refuses eval() ({refusal}): its parts were put in eval mode one by "
                "one, and what an exported graph does is fixed: export it in eval mode",
            )
        if module not in self._trained:
            return ()
        return (
            f"the {name} came in train mode; it was evaluated in eval mode and given back as it "
            "was",
        )


@contextmanager
def borrowed(modules: list[nn.Module], device: torch.device) -> Iterator[Loan]:
    """Modules in eval mode, frozen and on `device`; afterwards as they were.

    Raises:
        ContractError: One can't be moved there.
    """
    loan = Loan(modules)
    with kept_buffers(modules):
        try:
            loan.take(device)
            yield loan
        finally:
            loan.give_back()


def _unpacked(packed: tuple[Tensor, int]) -> Tensor:
    kept, version = packed
    if kept._version != version:  # with hooks torch does not look
        raise RuntimeError("what a gradient needs was modified by an inplace operation")
    return kept


def _storages(tensor: Tensor) -> set[int]:
    return {part.untyped_storage().data_ptr() for part in plain_parts(tensor.detach())}


def _in_train_mode(part: nn.Module) -> bool:
    return getattr(part, "training", False)


def _move(module: nn.Module, device: torch.device) -> None:
    tensors = (*module.parameters(), *module.buffers())
    if all(tensor.device == device for tensor in tensors):
        return  # some modules refuse every call of `to`
    try:
        module.to(device)
    except Exception as refusal:
        raise ContractError(
            f"{type(module).__qualname__} can't be moved to device {str(device)!r} "
            f"({type(refusal).__name__}: {refusal}): leave the device out to run where it is"
        ) from refusal


def _homes(module: nn.Module) -> torch.device | None:
    tensors = (*module.parameters(), *module.buffers())
    return next((t.device for t in tensors), None)


def _kept(parameter: nn.Parameter) -> _Kept:
    gradient = parameter.grad
    slope = None if gradient is None else gradient.detach().clone()
    return _Kept(parameter, parameter.data, parameter.detach().clone(), gradient, slope)


def _restore(kept: _Kept) -> None:
    """The very tensors, written only where they changed."""
    kept.parameter.data = kept.data
    kept.parameter.grad = kept.gradient
    pairs = [(kept.data, kept.content), (kept.gradient, kept.slope)]
    with torch.no_grad():
        for tensor, content in pairs:
            if tensor is not None and content is not None and not same_content(tensor, content):
                tensor.copy_(content)
