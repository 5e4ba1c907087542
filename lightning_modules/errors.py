"""Every exception of the package.

::

    LightningModulesError            base
    ├── UnknownNameError             a name that no table holds (also a ValueError)
    ├── DataSourceError              a data set can't be had
    │   ├── SourceAbsentError        no folder and no mirror has the file
    │   └── BrokenSourceError        the file is there and is not the published one
    ├── CheckpointError              weights can't be loaded; the module is left as it was
    │   ├── UnreadableCheckpointError  absent, empty, truncated, a pointer, a web page
    │   ├── UnsafeCheckpointError    more than tensors and plain containers: refused unexecuted
    │   └── MismatchedCheckpointError  weights of another module, or not the ones recorded
    └── TrainingError                a training can't be run or believed
        ├── UnkeyedError             what shapes the weights can't be told (also a TypeError)
        └── DivergedError            the training ended in weights that aren't finite
"""

from collections.abc import Mapping
from difflib import get_close_matches
from typing import TypeVar

_Entry = TypeVar("_Entry")


class LightningModulesError(Exception):
    """Base of all errors of this package; misuse of an argument is a plain ValueError."""


class UnknownNameError(LightningModulesError, ValueError):
    """A name that its table does not hold."""


class DataSourceError(LightningModulesError):
    """A data set can't be had."""


class SourceAbsentError(DataSourceError):
    """No folder has the file and no mirror could be reached."""


class BrokenSourceError(DataSourceError):
    """A file is there, but its content is not the published one."""


class CheckpointError(LightningModulesError):
    """Weights can't be loaded; the module that was to receive them is unchanged."""


class UnreadableCheckpointError(CheckpointError):
    """There is no checkpoint at that path, or none that can be read."""


class UnsafeCheckpointError(CheckpointError):
    """The file asks for more than tensors and plain containers; nothing of it was executed."""


class MismatchedCheckpointError(CheckpointError):
    """The weights belong to another module, or changed since they were written."""


class TrainingError(LightningModulesError):
    """A training can't be run, or its outcome can't be believed."""


class UnkeyedError(TrainingError, TypeError):
    """Something that shapes the weights can't be described, so a checkpoint could be stale."""


class DivergedError(TrainingError):
    """The training ended in weights that aren't finite."""


def named(table: Mapping[str, _Entry], name: str, kind: str) -> _Entry:
    """The entry of ``table`` called ``name``; ``kind`` says in an error what was looked for.

    Raises:
        UnknownNameError: with the nearest names and all that are known.
    """
    if name in table:
        return table[name]
    near = get_close_matches(str(name), table, n=2)
    hint = f"did you mean {' or '.join(near)}? " if near else ""
    raise UnknownNameError(f"unknown {kind} {name!r}: {hint}known are {', '.join(table)}")
