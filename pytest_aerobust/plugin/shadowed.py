"""What happened where a module of the user's has the name of a package that is installed with us.

Tests often stand in a folder that comes first on `sys.path`, and `lightning_modules` is what many
a project calls its own.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

_NAME = "lightning_modules"
_OURS = Path(__file__).parents[2] / _NAME


def explanation(error: BaseException | None) -> str | None:
    """Why an import from a package of that name failed; None where none hides another.

    Args:
        error: What a test, a fixture or a conftest raised.
    """
    file = getattr(sys.modules.get(_NAME), "__file__", None)
    if file is None or not any(map(_is_about_it, _chain(error))):
        return None
    return _hidden_by_ours() if Path(file).parent == _OURS else _hides_ours(file)


def _hides_ours(file: str) -> str:
    return (
        f"the name {_NAME} belongs to {file} here, which comes before the package of "
        "pytest-aerobust on sys.path and hides it. Give yours another name; load_estimator is "
        "also in pytest_aerobust, which needs no package of that name"
    )


def _hidden_by_ours() -> str | None:
    """What is said of a folder that Python passes over on its search for a package."""
    folders = (Path(place or ".").resolve() / _NAME for place in sys.path)
    hidden = next((folder for folder in folders if _is_no_package(folder)), None)
    if hidden is None:
        return None
    return (
        f"the name {_NAME} belongs to the package of pytest-aerobust here: {hidden} has no "
        "__init__.py, and such a folder comes after every package, wherever it stands on "
        "sys.path. Rename the folder, or put an __init__.py into it"
    )


def _is_no_package(folder: Path) -> bool:
    return folder.is_dir() and not (folder / "__init__.py").exists()


def explain(error: BaseException) -> None:
    """Add the explanation, where there is one, to what pytest prints of an error."""
    words = explanation(error)
    for each in _chain(error) if words else ():
        each.add_note(f"aerobust: {words}")


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """An error and what it came from; pytest keeps that of a conftest beside it."""
    while error is not None:
        yield error
        error = getattr(error, "cause", None) or error.__cause__


def _is_about_it(error: BaseException) -> bool:
    name = error.name or "" if isinstance(error, ImportError) else ""
    return name.partition(".")[0] == _NAME
