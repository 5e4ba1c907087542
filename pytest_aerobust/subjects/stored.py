"""Classifiers under test that come from files."""

from collections.abc import Iterable
from os import PathLike, fspath
from pathlib import Path
from typing import Any

from aerobust_skops import EstimatorFileError, estimator_in
from pytest_aerobust.errors import ModelError


def load_estimator(path: str | PathLike[str], trusted: Iterable[str] = ()) -> Any:
    """Load a scikit-learn estimator that ``skops.io.dump`` wrote; needs the extra ``sklearn``.

    The types in the file are looked at before anything is built: those that skops vouches for and
    the optimizers of an MLPClassifier are accepted. A pickle is refused unread.

    Args:
        path: A file of this machine.
        trusted: Full names of further types that may be built, as the error lists them.

    Raises:
        ModelError: There is no such file, or no estimator in it that may be built.
        ModuleNotFoundError: skops is not installed.
    """
    try:
        return estimator_in(Path(path).read_bytes(), trusted)
    except OSError as error:
        raise ModelError(
            f"{fspath(path)} can't be read: {error.strerror}; give a file of this machine "
            "(a URL is not loaded)"
        ) from error
    except EstimatorFileError as error:
        raise ModelError(f"{fspath(path)}: {error}") from error.__cause__
