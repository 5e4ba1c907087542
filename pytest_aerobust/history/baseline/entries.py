"""The baseline: what each contract's pipeline withstood when somebody last agreed to it.

One JSON file, sorted and indented so that a change can be reviewed as a diff; it is committed
beside the tests.
"""

import base64
import binascii
import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pytest_aerobust.errors import BaselineError
from pytest_aerobust.files import written_whole

SCHEMA = 1
_ABOUT = "what pytest --aerobust compares with; written by pytest --aerobust --aerobust-update"
# A file that is larger was not written here: a million survivors take 170 kB.
_LARGEST_FILE = 64 * 2**20
# Decimals of an accuracy.
_DIGITS = 6
# Seconds to wait for another run that writes the same file.
_PATIENCE = 60


@dataclass(frozen=True)
class Entry:
    """What one contract's pipeline withstood.

    Attributes:
        contract: What was measured, in words by name.
        data: Digest of all samples, whatever their order.
        samples: How many there were.
        accuracy: Accuracies by name, for people.
        survivors: Who withstood the attack: one bit a sample, in the order of their digests.
    """

    contract: Mapping[str, str]
    data: str
    samples: int
    accuracy: Mapping[str, float]
    survivors: tuple[bool, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain scalars and dicts, for JSON and for other processes."""
        return asdict(self) | {"survivors": _packed(self.survivors)}

    @classmethod
    def from_dict(cls, plain: Any) -> "Entry":
        """The inverse of :meth:`to_dict`.

        Raises:
            ValueError: It is none.
        """
        if not isinstance(plain, dict) or plain.keys() != cls.__dataclass_fields__.keys():
            raise ValueError("expected the fields " + ", ".join(cls.__dataclass_fields__))
        contract, data, samples = plain["contract"], plain["data"], plain["samples"]
        if not _is_number(samples, int) or samples < 1 or not isinstance(data, str):
            raise ValueError("expected a number of samples and the digest of the data")
        if not _is_mapping(contract, str) or not _is_mapping(plain["accuracy"], int | float):
            raise ValueError("expected the contract in words and accuracies in numbers")
        _check_named_once(plain, contract, plain["accuracy"])
        survivors = _unpacked(plain["survivors"], samples)
        entry = cls(contract, data, samples, plain["accuracy"], survivors)
        entry.check()
        return entry

    def check(self) -> None:
        """Refuse accuracies that such samples and survivors don't have.

        Raises:
            ValueError: With what contradicts what.
        """
        arms = ["filtered", "unfiltered"] if self.contract.get("filter") == "on" else ["unfiltered"]
        if sorted(self.accuracy) != ["clean", *arms]:
            raise ValueError(f"expected accuracies of {', '.join(['clean', *arms])}")
        for name, share in self.accuracy.items():
            if not 0 <= share <= 1 or not _is_share(share, self.samples):
                raise ValueError(
                    f"the accuracy {name} is {share}, a share that none of {self.samples} samples "
                    "give"
                )
        survivors, accuracy = sum(self.survivors), self.accuracy[arms[0]]
        if accuracy != round(survivors / self.samples, _DIGITS):
            raise ValueError(
                f"the accuracy {arms[0]} {accuracy}, but {survivors} of {self.samples} survive"
            )
        if self.accuracy["clean"] < accuracy:
            raise ValueError(
                f"the accuracy clean {self.accuracy['clean']} lies below that under attack"
            )


def rounded(accuracies: Mapping[str, float]) -> dict[str, float]:
    """Accuracies as an entry holds them."""
    return {name: round(share, _DIGITS) for name, share in accuracies.items()}


def _is_share(share: float, samples: int) -> bool:
    """Whether some count of samples has this share, as it is rounded here."""
    return share == round(round(share * samples) / samples, _DIGITS)


def _is_number(value: Any, kind: Any) -> bool:
    """Python takes true and false for numbers."""
    return isinstance(value, kind) and not isinstance(value, bool)


def _is_mapping(value: Any, kind: Any) -> bool:
    return isinstance(value, dict) and all(_is_number(entry, kind) for entry in value.values())


class _Repeating(dict[str, Any]):
    """An object of the file in which a name stands twice: JSON takes the last in silence."""

    twice = ""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    plain = dict(pairs)
    if len(plain) == len(pairs):
        return plain
    names = [name for name, _ in pairs]
    repeating = _Repeating(plain)
    repeating.twice = next(name for name in names if names.count(name) > 1)
    return repeating


def _check_named_once(*objects: Any) -> None:
    for each in objects:
        if isinstance(each, _Repeating):
            raise ValueError(f"{each.twice!r} stands there twice")


def _packed(bits: tuple[bool, ...]) -> str:
    """The first sample is the highest bit of the first byte."""
    text = "".join("01"[bit] for bit in bits)
    padded = text + "0" * (-len(text) % 8)
    content = int("1" + padded, 2).to_bytes(len(padded) // 8 + 1)[1:]
    return base64.b64encode(content).decode("ascii")


def _unpacked(text: Any, samples: int) -> tuple[bool, ...]:
    try:
        content = base64.b64decode(text, validate=True)
    except (TypeError, ValueError, binascii.Error) as error:
        raise ValueError(f"survivors are not in base64: {error}") from error
    bits = "".join(f"{byte:08b}" for byte in content)
    if len(bits) != samples + -samples % 8 or "1" in bits[samples:]:
        raise ValueError(f"survivors hold {len(bits)} bits, which don't fit {samples} samples")
    survivors = tuple(bit == "1" for bit in bits[:samples])
    if _packed(survivors) != text:
        raise ValueError(f"survivors are not as they are written here, {_packed(survivors)!r}")
    return survivors


def read_baseline(path: Path) -> dict[str, Entry]:
    """The entries of a file by test id; none where there is no file.

    Raises:
        BaselineError: It can't be read, or is no baseline.
    """
    try:
        if path.stat().st_size > _LARGEST_FILE:
            raise _no_baseline(path, f"it has more than {_LARGEST_FILE // 2**20} MiB")
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise _no_baseline(path, str(error)) from error
    try:
        plain = json.loads(text, object_pairs_hook=_object)
    except (ValueError, RecursionError) as error:
        raise _no_baseline(path, f"it is no JSON, or cut short: {error}") from error
    return _entries(path, plain, text)


def _entries(path: Path, plain: Any, text: str) -> dict[str, Entry]:
    schema = plain.get("schema") if isinstance(plain, dict) else None
    if schema != SCHEMA:
        raise _no_baseline(path, f"its schema is {schema!r}, and this version reads {SCHEMA}")
    contracts = plain.get("contracts")
    if not isinstance(contracts, dict):
        raise _no_baseline(path, "it has no contracts")
    for each in (plain, contracts):
        if isinstance(each, _Repeating):
            where = _lines(text, each.twice)
            raise _no_baseline(path, f"{each.twice!r} stands there twice, in {where}")
    found = {}
    for test, entry in contracts.items():
        try:
            test.encode()  # half a surrogate pair could be read, and never written again
            found[test] = Entry.from_dict(entry)
        except ValueError as error:
            where = _lines(text, test)
            raise _no_baseline(path, f"the entry of {test!r} ({where}) is none: {error}") from error
    return found


def _lines(text: str, name: str) -> str:
    """Where a name stands in the file, for people."""
    spelled = (json.dumps(name, ensure_ascii=False), json.dumps(name))
    numbers = [
        number
        for number, line in enumerate(text.splitlines(), start=1)
        if line.lstrip().removeprefix("{").lstrip().startswith(spelled)
    ]
    return " and ".join(f"line {number}" for number in numbers) or "a line with others"


def _no_baseline(path: Path, reason: str) -> BaselineError:
    return BaselineError(
        f"{path} is no baseline: {reason}. Restore it from version control, or delete it and store "
        "a new one with --aerobust-update"
    )


@dataclass(frozen=True)
class Changes:
    """What an update did to the entries of a baseline, by test id."""

    new: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    unchanged: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.new or self.changed or self.removed)


def update_baseline(
    path: Path, measured: Mapping[str, Entry], *, only_new: bool = False, unused: Iterable[str] = ()
) -> Changes:
    """Add entries to a file, whatever other runs add to it meanwhile.

    Args:
        path: The file; it is made where it is missing, and left alone where nothing changes.
        measured: Entries by test id.
        only_new: Whether entries that are there stay as they are.
        unused: Test ids whose entries are removed.

    Raises:
        BaselineError: The file is there and is no baseline.
        OSError: It can't be written; it is then as it was.
    """
    with _locked(path):
        known = read_baseline(path)
        told = {test: e for test, e in measured.items() if not (only_new and test in known)}
        removed = tuple(sorted(known.keys() & set(unused)))
        changes = Changes(
            new=tuple(sorted(told.keys() - known.keys())),
            changed=tuple(sorted(t for t in told.keys() & known.keys() if told[t] != known[t])),
            unchanged=tuple(sorted(t for t in told.keys() & known.keys() if told[t] == known[t])),
            removed=removed,
        )
        if changes:
            kept = {test: entry for test, entry in known.items() if test not in removed}
            _write(path, kept | told)
        return changes


def _write(path: Path, entries: Mapping[str, Entry]) -> None:
    contracts = {test: entry.to_dict() for test, entry in entries.items()}
    plain = {"about": _ABOUT, "schema": SCHEMA, "contracts": contracts}
    text = json.dumps(plain, indent=2, sort_keys=True, ensure_ascii=False)
    with written_whole(path) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Alone with the file; the lock's own file lies beside it and is no part of the suite."""
    from filelock import FileLock, Timeout

    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path.with_name(f".{path.name}.lock"), timeout=_PATIENCE)
    try:
        with lock:
            yield
    except Timeout as error:
        raise OSError(f"another run has held {lock.lock_file} for {_PATIENCE} s") from error
