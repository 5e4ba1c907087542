"""Results kept from one run to the next: one file each, whole and unchanged or not believed."""

import hashlib
import json
import logging
import os
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from pytest_aerobust.files import written_whole

_LOG = logging.getLogger("pytest_aerobust")
_NAME, _SUFFIX = "aerobust", ".json"
# Bytes of one entry and of all of them; 10,000 samples with their evidence take some 25 kB, the
# points at which a model is asked again 0.5 MB, for large images 20.
LARGEST_ENTRY = 32 * 2**20
LARGEST_CACHE = 256 * 2**20
_DIGEST = 32
# Seconds after which nobody writes a temporary file any more.
_ABANDONED = 3600


class Cache:
    """Plain values by key, in files of one folder that several processes share.

    Args:
        folder: Where they are; it is made with the first entry.

    Attributes:
        trouble: Why the last entry could not be kept; empty where it was.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.trouble = ""

    @classmethod
    def within(cls, keeper: pytest.Cache) -> "Cache":
        """The cache in pytest's own folder, which `--cache-clear` empties, too."""
        try:
            return cls(keeper.mkdir(_NAME))
        except OSError as error:
            # Whoever puts something there is told the same reason.
            return cls(Path(error.filename or _NAME))

    def get(self, key: str) -> Any | None:
        """What is kept under a key; None where that is nothing, or damaged."""
        path = self._path(key)
        try:
            if path.stat().st_size > LARGEST_ENTRY:
                return None
            digest, _, content = path.read_bytes().partition(b"\n")
            if digest.decode("ascii") != _digest(key, content):
                _LOG.warning("%s is damaged: it is measured again", path)
                return None
            os.utime(path)  # the oldest go first
        except FileNotFoundError:
            return None
        except (OSError, UnicodeDecodeError) as error:
            _LOG.warning("%s can't be read (%s): it is measured again", path, error)
            return None
        return json.loads(content)

    def put(self, key: str, value: Mapping[str, Any]) -> None:
        """Keep a value; where that can't be done the run goes on, and `trouble` says why."""
        content = json.dumps(value).encode("utf-8")
        if len(content) > LARGEST_ENTRY:
            return
        try:
            with written_whole(self._path(key)) as temporary:
                temporary.write_bytes(_digest(key, content).encode("ascii") + b"\n" + content)
        except OSError as error:
            self.trouble = f"the cache {self._folder} can't be written: {error}"
            _LOG.warning(self.trouble)

    def trim(self, most: int = LARGEST_CACHE) -> None:
        """Remove what was not asked for the longest, until the rest has at most so many bytes.

        Temporary files of writers that were killed go, too.
        """
        for left in self._folder.glob(".*.tmp"):
            with suppress(OSError):
                if time.time() - left.stat().st_mtime > _ABANDONED:
                    left.unlink()
        found = []
        for path in self._folder.glob(f"*{_SUFFIX}"):
            try:
                told = path.stat()
            except OSError:
                continue  # another run was quicker
            found.append((told.st_mtime_ns, told.st_size, path))
        total = sum(size for _, size, _ in found)
        for _, size, path in sorted(found):
            if total <= most:
                return
            total -= size
            try:
                path.unlink(missing_ok=True)
            except OSError as error:
                _LOG.warning("%s can't be removed: %s", path, error)
                return

    def _path(self, key: str) -> Path:
        return self._folder / (key + _SUFFIX)


def _digest(key: str, content: bytes) -> str:
    """Of an entry with its key: a file under another name is another entry."""
    return hashlib.blake2b(key.encode() + b"\n" + content, digest_size=_DIGEST).hexdigest()
