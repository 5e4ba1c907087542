"""What was trained, told so completely that equal descriptions mean equal weights."""

import ast
import importlib.util
import inspect
import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from lightning_modules.errors import UnkeyedError

if TYPE_CHECKING:
    import pytorch_lightning as pl

# Their versions are part of the description, or (Python's) can't change what is trained.
_LIBRARIES = {"torch", "pytorch_lightning", "lightning_fabric", *sys.stdlib_module_names}


def description(
    module: "pl.LightningModule",
    data: "pl.LightningDataModule",
    training: Mapping[str, object],
    also: Mapping[str, object],
) -> dict[str, Any]:
    """A plain, JSON-ready account of a training that has yet to begin.

    It holds the classes of module and data, their hyperparameters, the digest of the module's
    initial weights (of a frozen submodule too, or of weights loaded from elsewhere), the digests
    of the code in the files that define these classes, their bases and submodules, and in the
    files of the same packages that those import, ``training`` and ``also``, and the versions of
    torch and Lightning. It does not hold the data: data modules of this package verify their
    content, others say in their hyperparameters or in ``also`` which content they give.

    Raises:
        UnkeyedError: a constructor's argument is in neither the hyperparameters nor ``also``, a
            value is not plain, or a class was not read from a file.
    """
    parts = [*module.modules(), data]
    return {
        "module": _account(module, also),
        "data": _account(data, also),
        "training": _plain(training, "training"),
        "also": _plain(also, "also"),
        "initial_weights": weights_digest(module.state_dict()),
        "sources": sources({cls for part in parts for cls in type(part).__mro__}),
        "versions": {"torch": torch.__version__, "pytorch_lightning": version("pytorch-lightning")},
    }


def digest(account: Mapping[str, Any]) -> str:
    """SHA-256 of the canonical JSON (sorted keys, no spaces) of a description."""
    return _sha256(json.dumps(account, sort_keys=True, separators=(",", ":")))


def weights_digest(weights: Mapping[str, Tensor]) -> str:
    """SHA-256 over names, types, shapes and bytes of a state dict."""
    hashed = sha256()
    for name, tensor in sorted(weights.items()):
        hashed.update(f"{name} {tensor.dtype} {tuple(tensor.shape)} ".encode())
        # Through bytes, because numpy knows no bfloat16.
        flat = tensor.detach().cpu().contiguous().reshape(-1)
        hashed.update(flat.view(torch.uint8).numpy().tobytes())
    return hashed.hexdigest()


def _account(
    part: "pl.LightningModule | pl.LightningDataModule", also: Mapping[str, object]
) -> Any:
    cls = type(part)
    _check_told(cls, {*part.hparams, *also})
    hparams = _plain(dict(part.hparams), cls.__qualname__)
    return {"class": f"{cls.__module__}.{cls.__qualname__}", "hyperparameters": hparams}


def _check_told(cls: type, told: set[str]) -> None:
    """Refuse a constructor's argument that the description would not hold."""
    positional = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    parameters = inspect.signature(cls).parameters.values()
    untold = [p.name for p in parameters if p.kind in positional and p.name not in told]
    if untold:
        raise UnkeyedError(
            f"{cls.__qualname__} takes {', '.join(untold)}, but its hyperparameters don't say what "
            "was given: call self.save_hyperparameters() in __init__, or name them in `also`"
        )


def _plain(value: object, place: str) -> Any:
    """``value`` as JSON has it; ``place`` says in an error where it was found."""
    match value:
        case None | bool() | int() | float() | str():
            return value
        case PurePath():
            return str(value)
        case Mapping():
            return {str(key): _plain(item, f"{place}.{key}") for key, item in value.items()}
        case list() | tuple():
            return [_plain(item, f"{place}[{index}]") for index, item in enumerate(value)]
    raise UnkeyedError(
        f"{place} is a {type(value).__name__}, which a checkpoint's key can't tell from another: "
        "leave it out with self.save_hyperparameters(ignore=[...]) and describe it by plain values "
        "in `also`"
    )


def sources(classes: Iterable[type]) -> dict[str, str]:
    """SHA-256 of the code of each source file that the behaviour of ``classes`` may depend on.

    Raises:
        UnkeyedError: a class was not read from a file.
    """
    digests: dict[str, str] = {}
    waiting = [cls.__module__ for cls in classes if not _of_library(cls.__module__)]
    while waiting:
        name = waiting.pop()
        if name not in digests:
            tree = ast.parse(_text(name))
            # The tree, so that a comment or another layout trains nothing anew.
            digests[name] = _sha256(ast.dump(tree))
            waiting += _imports(name, tree)
    return digests


def _of_library(name: str) -> bool:
    top = name.partition(".")[0]
    # `__main__` is a standard name, but what it holds is the user's.
    return top in _LIBRARIES and top != "__main__"


def _text(name: str) -> str:
    file = _file(name)
    if file is None:
        raise UnkeyedError(
            f"a class is defined in {name}, which was not read from a source file: a checkpoint "
            "can't be keyed by what it does; define it in a file"
        )
    return file.read_text(encoding="utf-8")


def _file(name: str) -> Path | None:
    """The source file of a module, imported or not."""
    found = getattr(sys.modules.get(name), "__file__", None)
    if found is None and name not in sys.modules:
        found = getattr(_spec(name), "origin", None)
    return Path(found) if found and found.endswith(".py") else None


def _spec(name: str) -> object:
    try:
        return importlib.util.find_spec(name)
    except (ModuleNotFoundError, ValueError):  # `name` is a class or a function, not a module
        return None


def _imports(name: str, tree: ast.Module) -> Iterator[str]:
    """Modules of the same package that a module imports, wherever in its text."""
    top = name.partition(".")[0]
    for imported in _imported_names(name, tree):
        if imported.partition(".")[0] == top and _file(imported):
            yield imported


def _imported_names(name: str, tree: ast.Module) -> Iterator[str]:
    package = getattr(sys.modules.get(name), "__package__", None) or name.rpartition(".")[0]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = importlib.util.resolve_name("." * node.level + (node.module or ""), package)
            # What is imported may be a module of the package `base`, or a name inside `base`.
            yield from (base, *(f"{base}.{alias.name}" for alias in node.names))


def _sha256(text: str) -> str:
    return sha256(text.encode()).hexdigest()
