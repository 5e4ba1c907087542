"""Counterexamples as files: one safetensors file per contract, a JSON note beside it.

The safetensors file is whole by itself: the note is in its metadata, beside a digest of note and
tensors. The JSON file repeats the note for people and other tools; nothing here reads it.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_bytes
from torch import Tensor
from torch.nn.functional import one_hot

from pytest_aerobust.contract.arguments import (
    FeatureBounds,
    Mask,
    Statistics,
    checked_count,
    checked_eps,
    checked_feature_bounds,
    checked_mask,
    checked_statistics,
)
from pytest_aerobust.contract.catalogue import NORMS, THREATS
from pytest_aerobust.errors import ExamplesError
from pytest_aerobust.files import safe_name, written_whole
from pytest_aerobust.results.conditions import Conditions

SCHEMA = 1
SUFFIX = ".safetensors"
# One entry of metadata, of which safetensors keeps no order: the digest, and below it the note.
_ENTRY = "pytest-aerobust"

# A file that is larger was not written here: a worst case of 16 colour images of 1024 x 1024
# in float64 takes 1.2 GB.
LARGEST_FILE = 4 * 2**30
_LARGEST_NOTE = 32 * 2**20

_IMAGES = ("inputs", "adversarial", "filtered")
_NUMBERS = ("labels", "answers", "samples")


@dataclass(frozen=True)
class Example:
    """One row of a note, for people.

    Attributes:
        sample: Place of its original in the data that was handed in.
        label: Name of the true class.
        clean_answer: Name of the class that the pipeline gave to the original.
        answer: Name of the class that it gave to the adversarial input.
        distance: From the original, in the norm of the attack.
    """

    sample: int
    label: str
    clean_answer: str
    answer: str
    distance: float


@dataclass(frozen=True)
class Note(Conditions):
    """What a person and a replay must know of stored examples.

    Attributes:
        test: Id of the test, relative to pytest's root folder.
        headline: The first line of the failure.
        floors: The contract's floors by name.
        arm: ``filtered`` or ``unfiltered``: what was judged.
        bounds: Smallest and largest value of an input, or of each of its features.
        mutable: Which features may change; None where all may.
        mean: Subtracted in front of the model; None where nothing is.
        std: Divides what is left.
        draws: How many random answers the judge averages.
        classes: Name of each class from 0.
        versions: Of the packages that took part.
        examples: One row for each example, in the order of the tensors.
    """

    test: str
    headline: str
    floors: Mapping[str, float]
    arm: str
    bounds: FeatureBounds
    mutable: Mask | None
    mean: Statistics | None
    std: Statistics | None
    draws: int
    classes: tuple[str, ...]
    versions: Mapping[str, str]
    examples: tuple[Example, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain lists, dicts and scalars, the schema's version first."""
        return {"schema": SCHEMA, **asdict(self)}


@dataclass(frozen=True)
class Saved:
    """The stored examples of one contract, ``n`` of them.

    Attributes:
        note: What they are.
        inputs: What they were made from ``(n, ...)``; under ``threat="behind-filter"`` what the
            filter made of that.
        adversarial: The adversarial inputs ``(n, ...)``.
        filtered: What the filter made of those; None where it is not asked.
        labels: True classes, int64 ``(n,)``, counted from 0.
        answers: The classes that the pipeline gave to them.
        samples: Place of each original in the data that was handed in.
    """

    note: Note
    inputs: Tensor
    adversarial: Tensor
    filtered: Tensor | None
    labels: Tensor
    answers: Tensor
    samples: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def data(self) -> tuple[Tensor, Tensor]:
        """The originals and their labels as any model takes them: one-hot, by place."""
        return self.inputs, one_hot(self.labels, len(self.note.classes))

    def tensors(self) -> dict[str, Tensor]:
        named = {name: getattr(self, name) for name in (*_IMAGES, *_NUMBERS)}
        return {name: part.cpu().contiguous() for name, part in named.items() if part is not None}


def file_of(folder: Path, test: str) -> Path:
    """Where the examples of a test lie."""
    return folder / (safe_name(test) + SUFFIX)


def save(folder: Path, saved: Saved) -> Path:
    """Write the file of a contract and the note beside it, replacing those of earlier runs.

    Raises:
        OSError: The disk is full, the folder is gone, ...
    """
    path, tensors = file_of(folder, saved.note.test), saved.tensors()
    told = json.dumps(saved.note.to_dict(), indent=2)
    # First, so that no kill leaves the note of other examples beside the new ones.
    path.with_suffix(".json").unlink(missing_ok=True)
    with written_whole(path) as temporary:
        # Not save_file, whose files no other user may read.
        temporary.write_bytes(to_bytes(tensors, {_ENTRY: f"{_digest(told, tensors)}\n{told}"}))
    with written_whole(path.with_suffix(".json")) as temporary:
        temporary.write_text(told + "\n", encoding="utf-8")
    return path


def remove(folder: Path, test: str) -> None:
    """Remove what an earlier run stored for a test, if it did."""
    path = file_of(folder, test)
    for each in (path, path.with_suffix(".json")):
        each.unlink(missing_ok=True)


def files_in(path: Path) -> list[Path]:
    """A file alone, or every file of a folder, sorted by name.

    Raises:
        ExamplesError: There is none.
    """
    if path.is_dir():
        found = sorted(file for file in path.glob(f"*{SUFFIX}") if not file.name.startswith("."))
        if not found:
            raise ExamplesError(
                f"{path} holds no counterexamples (*{SUFFIX}): a run that fails writes them with "
                "--aerobust-examples=DIR"
            )
        return found
    if not path.is_file():
        raise ExamplesError(f"{path} does not exist: expected a {SUFFIX} file, or a folder of them")
    return [path.with_suffix(SUFFIX) if path.suffix == ".json" else path]


def load_all(path: Path) -> dict[str, Saved]:
    """A file, or every file of a folder, by the id of its test.

    Raises:
        ExamplesError: As for :func:`files_in` and :func:`load`; or two are of one test.
    """
    found: dict[str, Saved] = {}
    for file in files_in(path):
        saved = load(file)
        if saved.note.test in found:
            raise ExamplesError(f"{path} holds two files of the test {saved.note.test}")
        found[saved.note.test] = saved
    return found


def load(path: Path) -> Saved:
    """Read one file; nothing is unpickled, and nothing believed that is not as it was written.

    Raises:
        ExamplesError: It is cut short, changed, too large, of another kind or a later version.
    """
    try:
        return _load(path)
    except (OSError, SafetensorError, ValueError, RecursionError) as error:
        raise ExamplesError(
            f"{path} can't be replayed: {error}. Let the test that failed write it again with "
            "--aerobust-examples=DIR"
        ) from error


def _load(path: Path) -> Saved:
    size = path.stat().st_size
    if size > LARGEST_FILE:
        raise ExamplesError(f"it has {size} bytes, more than the {LARGEST_FILE} that are read")
    with safe_open(path, framework="pt") as file:
        digest, _, told = (file.metadata() or {}).get(_ENTRY, "").partition("\n")
        if not told:
            raise ExamplesError("it is a safetensors file, but none that this plugin wrote")
        if len(told) > _LARGEST_NOTE:
            raise ExamplesError(f"its note has more than {_LARGEST_NOTE} characters")
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # no dict
    if digest != _digest(told, tensors):
        raise ExamplesError("it has changed since it was written: its SHA-256 is another")
    note = _note(json.loads(told))
    _check_tensors(tensors, note)
    return Saved(note, filtered=tensors.pop("filtered", None), **tensors)


def _digest(told: str, tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 over the note, and over name, type, shape and content of every tensor."""
    digest = sha256(told.encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"\0{name} {tensor.dtype} {tuple(tensor.shape)}\0".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _note(plain: Any) -> Note:
    if not isinstance(plain, dict):
        raise ExamplesError("its note is no JSON object")
    schema = plain.get("schema")
    if schema != SCHEMA:
        raise ExamplesError(
            f"its note has schema {schema!r}, this version reads {SCHEMA}: install the version of "
            "pytest-aerobust that wrote it"
        )
    given = {name: value for name, value in plain.items() if name != "schema"}
    _check_kinds(given, _NOTE_KINDS)
    for row in given["examples"]:
        _check_kinds(row, _EXAMPLE_KINDS)
    settled = {
        "norm": _one_of("norm", given["norm"], NORMS),
        "threat": _one_of("threat", given["threat"], THREATS),
        "arm": _one_of("arm", given["arm"], ("filtered", "unfiltered")),
        "eps": checked_eps(given["eps"]),
        "bounds": checked_feature_bounds(given["bounds"]),
        "mutable": checked_mask(given["mutable"]),
        "mean": checked_statistics("mean", given["mean"]),
        "std": checked_statistics("std", given["std"], positive=True),
        "draws": checked_count("draws", given["draws"], least=1),
        "classes": tuple(map(str, given["classes"])),
        "examples": tuple(Example(**row) for row in given["examples"]),
    }
    return Note(**{**given, **settled})


# What JSON makes of each field; the others are checked as arguments of a mark are.
_ANY = object
_NOTE_KINDS: Mapping[str, type | tuple[type, ...]] = {
    **{field.name: _ANY for field in fields(Note)},
    **dict.fromkeys(("test", "headline", "attack", "label"), str),
    **dict.fromkeys(("floors", "arguments", "versions"), dict),
    **dict.fromkeys(("classes", "examples"), list),
    "target": (int, str, type(None)),
    **dict.fromkeys(("seed", "draws"), int),
}
_EXAMPLE_KINDS: Mapping[str, type | tuple[type, ...]] = {
    **dict.fromkeys(("label", "clean_answer", "answer"), str),
    "sample": int,
    "distance": (int, float),
}


def _check_kinds(given: Any, kinds: Mapping[str, type | tuple[type, ...]]) -> None:
    if not isinstance(given, dict) or given.keys() != kinds.keys():
        raise ExamplesError(f"its note is incomplete: expected {', '.join(kinds)}")
    for name, kind in kinds.items():
        if not isinstance(given[name], kind):
            raise ExamplesError(f"its note says {name}={given[name]!r}, which can't be meant")


def _one_of(name: str, value: Any, known: Sequence[str]) -> Any:
    if value not in known:
        raise ExamplesError(f"its note says {name}={value!r}, known are {', '.join(known)}")
    return value


def _check_tensors(tensors: Mapping[str, Tensor], note: Note) -> None:
    expected = {"inputs", "adversarial", *_NUMBERS}
    if tensors.keys() - {"filtered"} != expected:
        raise ExamplesError(f"it holds the tensors {sorted(tensors)}: expected {sorted(expected)}")
    inputs, count = tensors["inputs"], len(note.examples)
    for name, tensor in tensors.items():
        shape = (count,) if name in _NUMBERS else (count, *inputs.shape[1:])
        kinds = (torch.int64,) if name in _NUMBERS else (torch.float32, torch.float64)
        if tuple(tensor.shape) != shape or tensor.dtype not in kinds or not tensor.numel():
            raise ExamplesError(
                f"its {name} are {tuple(tensor.shape)} {tensor.dtype}: expected {shape}, {kinds[0]}"
            )
    for name in ("labels", "answers"):
        if not 0 <= int(tensors[name].min()) <= int(tensors[name].max()) < len(note.classes):
            raise ExamplesError(f"its {name} are not among its {len(note.classes)} classes")
