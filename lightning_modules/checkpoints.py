"""Weights from files that nobody vouches for: read as data, checked, never executed."""

import pickle
import re
import warnings
import zipfile
from collections.abc import Iterable, Mapping
from os import PathLike, fspath
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from lightning_modules.errors import (
    CheckpointError,
    MismatchedCheckpointError,
    UnreadableCheckpointError,
    UnsafeCheckpointError,
)

Module = TypeVar("Module", bound=nn.Module)

_ZIP, _PICKLE = b"PK\x03\x04", b"\x80"  # what torch.save writes since 1.6, and before
_WRAPPERS = {"module.": "torch.nn.DataParallel", "_orig_mod.": "torch.compile"}
_SHOWN = 5  # names in a message before the rest is only counted


def load_weights(module: Module, path: str | PathLike[str]) -> Module:
    """Load a state dict into ``module``, strictly, and put it in eval mode.

    The file is a state dict saved by ``torch.save``, or a Lightning checkpoint, of which only the
    entry ``state_dict`` is looked at: its hyperparameters build nothing. It is read with
    ``weights_only=True``, whatever the environment says, and onto the CPU, so that weights saved
    on a GPU load anywhere. Everything is checked before the first number is copied.

    Args:
        module: receives the weights, on the device that it is on.
        path: a local file.

    Returns:
        The same module.

    Raises:
        UnreadableCheckpointError: a URL, no file, or an empty, truncated or foreign one.
        UnsafeCheckpointError: the file holds more than tensors and plain containers.
        MismatchedCheckpointError: names or shapes differ from the module's.
    """
    try:
        weights = _state_dict(_read(local_file(path)))
        _check_fit(weights, module.state_dict())
    except CheckpointError as error:
        raise type(error)(f"{fspath(path)}: {error}") from error.__cause__
    module.load_state_dict(weights, strict=True)
    return module.eval()


def local_file(path: str | PathLike[str]) -> Path:
    """A path at which there is a file of this machine.

    Raises:
        UnreadableCheckpointError: a URL, a folder, or nothing.
    """
    # One letter before the colon is a Windows drive; Path() makes `https:/x` of `https://x`.
    if re.match(r"[A-Za-z][\w+.-]+:/", fspath(path)):
        raise UnreadableCheckpointError("a URL is not loaded: download it and check its hash first")
    local = Path(path)
    if not local.is_file():
        raise UnreadableCheckpointError("a folder, no file" if local.is_dir() else "no such file")
    return local


def _read(path: Path) -> Any:
    with path.open("rb") as file:
        head = file.read(256)
    _check_kind(head)
    # The directory of a zip file is its end: without one, the rest of the file is missing.
    if head.startswith(_ZIP) and not zipfile.is_zipfile(path):
        raise UnreadableCheckpointError("cut short: copy or download it again")
    try:
        return _loaded(path)
    except pickle.UnpicklingError as error:
        refused = _refused(error)
        # A name ends with its line, whose last byte torch takes off; here the file ended first.
        if path.read_bytes()[:-1].endswith(refused.rpartition(".")[2].encode()):
            raise UnreadableCheckpointError("cut short: copy or download it again") from error
        raise UnsafeCheckpointError(
            f"refused, nothing of it was executed: it holds {refused}, expected tensors "
            "and plain containers alone. Save `module.state_dict()`, from a source you trust"
        ) from error
    # What is malformed can break torch's reader anywhere, with whatever built-in exception.
    except Exception as error:
        raise UnreadableCheckpointError(
            f"cut short or damaged ({error!r}): copy or download it again"
        ) from error


def _loaded(path: Path) -> Any:
    with warnings.catch_warnings():
        # Of pickles that torch did not write; they are refused with words of our own.
        warnings.filterwarnings("ignore", "Detected pickle protocol")
        return torch.load(path, map_location="cpu", weights_only=True)


def _check_kind(head: bytes) -> None:
    """Tell from the first bytes whether this can be what torch.save wrote."""
    if head.startswith((_ZIP, _PICKLE)):
        return
    if not head:
        reason = "empty"
    elif head.startswith(b"version https://git-lfs"):
        reason = "a git-lfs pointer, not the weights: fetch them with `git lfs pull`"
    elif head.lstrip().startswith(b"<"):
        reason = "a web page, not weights: the download went to a page about them"
    else:
        reason = f"not written by torch.save: it begins with {head[:8]!r}"
    raise UnreadableCheckpointError(reason)


def _refused(error: pickle.UnpicklingError) -> str:
    """What the file asked for, where torch's long advice names it."""
    named = re.search(r"GLOBAL ([\w.]+)", str(error))
    return named[1] if named else "more than data"


def _state_dict(content: Any) -> dict[str, Tensor]:
    """The weights, of a plain state dict or of a Lightning checkpoint."""
    if isinstance(content, Mapping) and isinstance(content.get("state_dict"), Mapping):
        content = content["state_dict"]
    if not isinstance(content, Mapping):
        raise MismatchedCheckpointError(f"holds a {type(content).__name__}, expected a state dict")
    others = [name for name, value in content.items() if not isinstance(value, Tensor)]
    if others:
        raise MismatchedCheckpointError(f"entries that are no tensors: {_some(others)}")
    return dict(content)


def _check_fit(weights: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> None:
    _check_wrapper(weights, own)
    faults = []
    if missing := [name for name in own if name not in weights]:
        faults.append(f"it lacks {_some(missing)}")
    if unexpected := [name for name in weights if name not in own]:
        faults.append(f"the module has no {_some(unexpected)}")
    if reshaped := [
        f"{name} is {tuple(weights[name].shape)} where the module has {tuple(tensor.shape)}"
        for name, tensor in own.items()
        if name in weights and weights[name].shape != tensor.shape
    ]:
        faults.append(_some(reshaped))
    if faults:
        raise MismatchedCheckpointError(f"weights of another module: {'; '.join(faults)}")


def _check_wrapper(weights: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> None:
    for prefix, wrapper in _WRAPPERS.items():
        wrapped = weights and all(name.startswith(prefix) for name in weights)
        if wrapped and set(own).isdisjoint(weights):
            raise MismatchedCheckpointError(
                f"every name begins with {prefix!r}, which {wrapper} adds: strip it, as in "
                f"{{name.removeprefix({prefix!r}): w for name, w in weights.items()}}"
            )


def _some(names: Iterable[object]) -> str:
    listed = [str(name) for name in names]
    more = f" and {len(listed) - _SHOWN} more" if len(listed) > _SHOWN else ""
    return ", ".join(listed[:_SHOWN]) + more
