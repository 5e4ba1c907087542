"""What is missing without the extra ``pytest-aerobust[lightning]``, said once.

Lightning itself is imported from here, so that whichever module comes first says it.
"""

from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["PossibleUserWarning", "from_extra", "isolate_rng", "pl", "pooch"]

_EXTRA = {"jsonargparse", "lightning_fabric", "pooch", "pytorch_lightning", "sklearn"}


@contextmanager
def from_extra() -> Iterator[None]:
    """Imports inside that fail for want of the extra say its name.

    Raises:
        ModuleNotFoundError: a package of the extra is not installed.
    """
    try:
        yield
    except ModuleNotFoundError as missing:
        package = (missing.name or "").partition(".")[0]
        if package not in _EXTRA:
            raise
        raise ModuleNotFoundError(
            f"lightning_modules needs {package}, which is not installed: "
            "pip install 'pytest-aerobust[lightning]'",
            name=missing.name,
        ) from missing


with from_extra():
    import pytorch_lightning as pl
    from lightning_fabric.utilities.warnings import PossibleUserWarning
    from pytorch_lightning.utilities.seed import isolate_rng

with from_extra():
    import pooch
