"""Trained things on disk: made once, believed only as they were written."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from filelock import FileLock

from lightning_modules.errors import MismatchedCheckpointError, UnreadableCheckpointError
from lightning_modules.files import leftovers, written_whole
from lightning_modules.fingerprint import digest


@dataclass(frozen=True)
class Kept:
    """One file, and beside it the record that makes it believed.

    Attributes:
        file: holds what was trained.
        trained: plain values that tell all that shaped it.
    """

    file: Path
    trained: Mapping[str, Any]

    @classmethod
    def named(cls, folder: Path, trained: Mapping[str, Any], name: str, suffix: str) -> "Kept":
        """The file ``<name>-<key><suffix>``, the key being 16 hex digits over ``trained``."""
        folder.mkdir(parents=True, exist_ok=True)
        return cls(folder / f"{name}-{digest(trained)[:16]}{suffix}", trained)

    @property
    def record(self) -> Path:
        """The JSON file that holds ``trained`` and the SHA-256 of ``file``."""
        return self.file.with_suffix(".json")

    def lock(self) -> FileLock:
        """Keeps other processes out; the system drops the lock of a process that dies."""
        return FileLock(self.file.with_suffix(".lock"))

    def complete(self) -> bool:
        """Whether both files are there; `believed` looks into them."""
        return self.record.is_file() and self.file.is_file()

    def write(self, save: Callable[[Path], None], **more: Any) -> None:
        """Under the lock. The record comes last: without it, the file is not believed.

        Args:
            save: writes the file at the path that it is given.
            **more: plain values for the record.
        """
        for path in (self.file, self.record):
            for abandoned in leftovers(path):
                abandoned.unlink()
        self.record.unlink(missing_ok=True)
        with written_whole(self.file) as temporary:
            save(temporary)
        content = {"weights_sha256": self._digest(), "trained": self.trained, **more}
        with written_whole(self.record) as temporary:
            temporary.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")

    def believed(self) -> dict[str, Any]:
        """The record, if both files are those that `write` wrote.

        Raises:
            UnreadableCheckpointError: the record can't be read.
            MismatchedCheckpointError: it is of another training, or the file has changed since.
        """
        content = self._content()
        # By its digest, because a parameter that is NaN differs from itself.
        if digest(content.get("trained", {})) != digest(self.trained):
            raise MismatchedCheckpointError(f"{self.record}: of another training. {self.advice}")
        if content.get("weights_sha256") != self._digest():
            raise MismatchedCheckpointError(
                f"{self.file}: changed since it was written: its SHA-256 is not the one in "
                f"{self.record.name}. {self.advice}"
            )
        return content

    @property
    def advice(self) -> str:
        """What to do about files that aren't believed."""
        return f"Delete {self.file.name} and {self.record.name} to train anew"

    def _content(self) -> dict[str, Any]:
        try:
            content = json.loads(self.record.read_bytes())
        except ValueError as error:  # broken JSON or broken UTF-8
            raise UnreadableCheckpointError(f"{self.record}: {error}. {self.advice}") from error
        return content if isinstance(content, dict) else {}

    def _digest(self) -> str:
        return sha256(self.file.read_bytes()).hexdigest()
