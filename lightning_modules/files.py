"""Files that are either whole or absent, whatever happens while they are written."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """A temporary path beside ``path``: what is written there becomes ``path`` at the end.

    An error inside the block leaves ``path`` as it was, and so does a kill, which may leave the
    temporary file behind (see `leftovers`).
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # Not tempfile, whose files no other user may read: a checkpoint folder is often shared.
    temporary = path.with_name(f".{path.name}.{uuid4().hex}.tmp")
    try:
        yield temporary
        _flush(temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def leftovers(path: Path) -> list[Path]:
    """Temporary files of ``path``: those of killed writers, where a lock keeps live ones out."""
    return list(path.parent.glob(f".{path.name}.*.tmp"))


def _flush(path: Path) -> None:
    # Without this, a crash of the machine can leave the new name on an empty file.
    with path.open("rb+") as file:
        os.fsync(file.fileno())
