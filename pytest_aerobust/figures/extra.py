"""What is missing without the extra ``pytest-aerobust[figures]``, said once."""

from collections.abc import Iterator
from contextlib import contextmanager

_EXTRA = {"matplotlib", "sklearn"}


@contextmanager
def from_extra() -> Iterator[None]:
    """Imports inside that fail for want of the extra say its name.

    Raises:
        ModuleNotFoundError: A package of the extra is not installed.
    """
    try:
        yield
    except ModuleNotFoundError as missing:
        package = (missing.name or "").partition(".")[0]
        if package not in _EXTRA:
            raise
        raise ModuleNotFoundError(
            f"pytest_aerobust.figures needs {package}, which is not installed: "
            "pip install 'pytest-aerobust[figures]'",
            name=missing.name,
        ) from missing
