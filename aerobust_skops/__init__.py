"""scikit-learn estimators out of skops files: looked at before anything is built, never unpickled.

The common ground of `pytest_aerobust` and `lightning_modules`, which never import each other. Both
have a `load_estimator` of their own, with errors of their own family.
"""

import re
from collections.abc import Iterable
from types import ModuleType
from typing import Any

# What a fitted MLPClassifier holds beyond the types that skops vouches for: numbers alone.
_TRUSTED = (
    "sklearn.neural_network._stochastic_optimizers.AdamOptimizer",
    "sklearn.neural_network._stochastic_optimizers.SGDOptimizer",
)
_ZIP = b"PK\x03\x04"
# How pickles and joblib's files begin, plain or compressed.
_PICKLED = re.compile(
    rb"\x80[\x02-\x05]|c[\w.]+\n|x[\x01\x5e\x9c\xda]|\x1f\x8b|BZh|\xfd7zXZ|\]\x00\x00"
)


class EstimatorFileError(Exception):
    """A file holds no estimator that could be built."""


class UnreadableFileError(EstimatorFileError):
    """Empty, cut short, or not written by skops."""


class UnsafeFileError(EstimatorFileError):
    """A pickle, or types that nobody vouches for; nothing was executed."""


class ForeignContentError(EstimatorFileError):
    """Something else than an estimator."""


def skops_io() -> ModuleType:
    """The module ``skops.io``.

    Raises:
        ModuleNotFoundError: It is not installed, or what it needs is not.
    """
    try:
        import skops.io
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "estimators in files need skops and scikit-learn, and "
            f"{error.name} is not installed: pip install 'pytest-aerobust[sklearn]'",
            name=error.name,
        ) from error
    io: ModuleType = skops.io
    return io


def estimator_in(content: bytes, trusted: Iterable[str] = ()) -> Any:
    """The estimator that ``skops.io.dump`` wrote.

    The types in the file are looked at before anything is built. Those that skops vouches for
    and the optimizers of an MLPClassifier are accepted.

    Args:
        content: The whole file.
        trusted: Full names of further types that may be built, as the error lists them.

    Raises:
        EstimatorFileError: No such estimator is in it; its subclasses say why.
        ModuleNotFoundError: skops is not installed.
    """
    _check_kind(content)
    skops, vouched = skops_io(), {*_TRUSTED, *trusted}
    # What is malformed can break the reader anywhere, with whatever built-in exception.
    try:
        untrusted = set(skops.get_untrusted_types(data=content)) - vouched
        estimator = None if untrusted else skops.loads(content, trusted=sorted(vouched))
    except Exception as error:
        raise UnreadableFileError(
            f"cut short, damaged or not written by skops ({error!r}): copy or save it again"
        ) from error
    if untrusted:
        raise UnsafeFileError(
            f"refused, nothing of it was executed: it holds {', '.join(sorted(untrusted))}. If you "
            "know them and trust the source, name them in `trusted`"
        )
    if not hasattr(estimator, "get_params"):
        raise ForeignContentError(f"holds a {type(estimator).__name__}, no estimator")
    return estimator


def _check_kind(content: bytes) -> None:
    """Tell from the first bytes whether this can be what skops wrote."""
    if content.startswith(_ZIP):
        return
    if not content:
        raise UnreadableFileError("empty")
    if _PICKLED.match(content):
        raise UnsafeFileError(
            "refused, nothing of it was executed: a pickle, or a file of joblib, which runs "
            "whatever it holds. Save the estimator with skops.io.dump"
        )
    raise UnreadableFileError(f"not written by skops: it begins with {content[:8]!r}")
