"""Files that a run leaves: named safely, and either whole or absent."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import blake2b
from pathlib import Path
from uuid import uuid4

# Of a name's readable part; file systems allow 255 bytes for the whole.
_READABLE = 80


def safe_name(told: str) -> str:
    """A file name for any text, without suffix: readable, and different for different texts.

    Only ASCII letters, digits, ``_``, ``.`` and ``-`` stay, so it can leave no folder and needs no
    quotes; 12 hex digits of the whole text keep apart what is left out or cut off, also where
    the file system knows no capitals.
    """
    readable = re.sub(r"[^A-Za-z0-9_.]+", "-", told)[:_READABLE].strip("-.")
    digest = blake2b(told.encode("utf-8", "surrogatepass"), digest_size=6).hexdigest()
    return f"{readable}-{digest}".lstrip("-")


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """A temporary path beside `path`: what is written there becomes `path` at the end.

    An error inside the block leaves `path` as it was. So does a kill, which may leave the
    temporary file behind; its name starts with a dot and ends in ``.tmp``.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # By the process's own creation mask: the folder may be shared, and tempfile's files are not.
    temporary = path.with_name(f".{path.stem[:40]}.{uuid4().hex}.tmp")
    try:
        yield temporary
        with temporary.open("rb+") as file:
            # Else a crash of the machine can leave the new name on an empty file.
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def check_writable(folder: Path) -> None:
    """Make a folder, and a file in it that is gone again.

    Raises:
        OSError: One of them can't be made.
    """
    folder.mkdir(parents=True, exist_ok=True)
    probe = folder / f".{uuid4().hex}.tmp"
    try:
        probe.touch(exist_ok=False)
    finally:
        probe.unlink(missing_ok=True)
