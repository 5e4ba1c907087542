"""scikit-learn estimators in files: as data through skops, never pickled, fitted once."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from hashlib import sha256
from importlib.metadata import version
from os import PathLike, fspath
from pathlib import Path
from typing import Any

import numpy as np

from aerobust_skops import (
    EstimatorFileError,
    ForeignContentError,
    UnreadableFileError,
    UnsafeFileError,
    estimator_in,
    skops_io,
)
from lightning_modules.checkpoints import local_file
from lightning_modules.errors import (
    CheckpointError,
    MismatchedCheckpointError,
    UnkeyedError,
    UnreadableCheckpointError,
    UnsafeCheckpointError,
)
from lightning_modules.files import written_whole
from lightning_modules.kept import Kept

# The errors of this package for what can be wrong with a file's content.
_ERRORS: Mapping[type[EstimatorFileError], type[CheckpointError]] = {
    UnreadableFileError: UnreadableCheckpointError,
    UnsafeFileError: UnsafeCheckpointError,
    ForeignContentError: MismatchedCheckpointError,
}
# Solvers of a LogisticRegression that draw nothing.
_UNSEEDED = {"lbfgs", "newton-cg", "newton-cholesky"}


def save_estimator(estimator: Any, path: str | PathLike[str]) -> None:
    """Write an estimator as data, whole or not at all.

    Args:
        estimator: of scikit-learn, fitted or not.
        path: the file, by custom ``*.skops``; its folder is made where it does not exist.

    Raises:
        ModuleNotFoundError: skops is not installed.
    """
    skops = skops_io()
    with written_whole(Path(path)) as temporary:
        skops.dump(estimator, temporary)


def load_estimator(path: str | PathLike[str], trusted: Iterable[str] = ()) -> Any:
    """Load an estimator that `save_estimator` or ``skops.io.dump`` wrote.

    The types in the file are looked at before anything is built. Those that skops vouches for
    and the optimizers of an MLPClassifier are accepted.

    Args:
        path: a local file.
        trusted: full names of further types that may be built, as the error lists them.

    Raises:
        UnreadableCheckpointError: a URL, no file, or an empty, truncated or foreign one.
        UnsafeCheckpointError: a pickle, or types that nobody vouches for; nothing was executed.
        MismatchedCheckpointError: the file holds something else.
        ModuleNotFoundError: skops is not installed.
    """
    try:
        return estimator_in(local_file(path).read_bytes(), trusted)
    except CheckpointError as error:
        raise type(error)(f"{fspath(path)}: {error}") from error.__cause__
    except EstimatorFileError as error:
        raise _ERRORS[type(error)](f"{fspath(path)}: {error}") from error.__cause__


def fit_or_load_estimator(
    estimator: Any, inputs: Any, labels: Any, *, folder: str | PathLike[str]
) -> Any:
    """A fitted estimator: fitted now, or loaded if the same was fitted before.

    It lies in ``folder`` as ``<class>-<key>.skops``, beside a ``.json`` that says what was fitted
    and holds the file's SHA-256. The key is the first 16 hex digits of a SHA-256 over the classes
    and parameters of the estimator and of those inside it, the content of inputs and labels, and
    the versions of scikit-learn, numpy and scipy. Processes that ask for the same wait for the
    one that fits. NumPy's global random state is left as it was found.

    Args:
        estimator: of scikit-learn; it is cloned, and stays as it is.
        inputs: ``(N, ...)``; the estimator gets them as ``(N, features)``.
        labels: numbers or strings ``(N,)``.
        folder: for the files; made where it does not exist.

    Raises:
        UnkeyedError: the key can't hold all that shapes the outcome: a ``random_state`` of None
            where one is needed, a parameter that is no plain value, a class of one's own.
        CheckpointError: the files don't fit each other, or are damaged.
        ModuleNotFoundError: skops is not installed.
    """
    skops = skops_io()
    rows, names = _array("inputs", inputs), _array("labels", labels)
    rows = rows.reshape(len(rows), -1)
    trained = {
        "estimator": _account(estimator, type(estimator).__name__),
        "inputs": _content(rows),
        "labels": _content(names),
        "versions": {name: version(name) for name in ("scikit-learn", "numpy", "scipy")},
    }
    kept = Kept.named(Path(folder), trained, type(estimator).__name__, ".skops")
    with kept.lock():
        if not kept.complete():
            kept.write(partial(skops.dump, _fitted(estimator, rows, names)))
    kept.believed()
    return load_estimator(kept.file)


def _account(value: Any, place: str) -> Any:
    """A parameter as JSON has it; an estimator as its class with its parameters."""
    match value:
        case None | bool() | int() | float() | str():
            return value
        case np.generic():
            return value.item()
        case list() | tuple():
            return [_account(item, f"{place}[{index}]") for index, item in enumerate(value)]
        case Mapping():  # class weights: 1 and "1" are two keys
            return {repr(key): _account(item, f"{place}.{key}") for key, item in value.items()}
    cls = type(value)
    if not hasattr(value, "get_params") or cls.__module__.split(".")[0] != "sklearn":
        raise UnkeyedError(
            f"{place} is a {cls.__module__}.{cls.__qualname__}, which a file's key can't tell from "
            "another: expected plain values and estimators of scikit-learn itself"
        )
    parameters = value.get_params(deep=False)
    _check_seeded(cls.__name__, parameters, place)
    told = {name: _account(item, f"{place}.{name}") for name, item in parameters.items()}
    return {"class": f"{cls.__module__}.{cls.__qualname__}", "parameters": told}


def _check_seeded(name: str, parameters: Mapping[str, Any], place: str) -> None:
    draws = name != "LogisticRegression" or parameters["solver"] not in _UNSEEDED
    if draws and parameters.get("random_state", 0) is None:
        raise UnkeyedError(
            f"{place}.random_state is None, so that every fit would be another: give it a number"
        )


def _array(name: str, values: Any) -> np.ndarray:
    array = np.asarray(values)
    if array.dtype == object and all(isinstance(value, str) for value in array.flat):
        array = array.astype(str)
    if array.dtype == object or not array.ndim:
        raise UnkeyedError(f"{name} are a {type(values).__name__}: expected an array, not objects")
    return array


def _content(array: np.ndarray) -> str:
    told = sha256(f"{array.dtype.str} {array.shape} ".encode())
    told.update(np.ascontiguousarray(array).tobytes())
    return told.hexdigest()


def _fitted(estimator: Any, rows: np.ndarray, names: np.ndarray) -> Any:
    from sklearn.base import clone

    with _numpy_state_kept():
        return clone(estimator).fit(rows, names)


@contextmanager
def _numpy_state_kept() -> Iterator[None]:
    state = np.random.get_state()
    try:
        yield
    finally:
        np.random.set_state(state)
