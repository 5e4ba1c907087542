"""The memory of attacks: adversarial examples of earlier runs, committed beside the tests.

One safetensors file a contract. An example is kept with the digest of the sample that it was made
from, so that it finds it in whatever order the data come.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from pytest_aerobust.errors import MemoryFileError
from pytest_aerobust.files import safe_name, written_whole
from pytest_aerobust.history.fingerprints import DataPrint
from pytest_aerobust.measurement.carried import RememberedExamples

SCHEMA = 1
_SUFFIX = ".safetensors"
_ENTRY = "pytest-aerobust-memory"
# Examples of one contract, and their bytes: the files are committed.
MOST_EXAMPLES, MOST_BYTES = 256, 8 * 2**20
_LARGEST_FILE = 2 * MOST_BYTES


@dataclass(frozen=True)
class MemoryOfAttacks:
    """Adversarial examples by the digests of their samples.

    Attributes:
        samples: Digest of each one's original, as text.
        examples: The adversarial inputs ``(n, ...)``.
    """

    samples: tuple[str, ...]
    examples: Tensor

    def __len__(self) -> int:
        return len(self.samples)

    @property
    def digest(self) -> str:
        """Of all of it: part of what a verdict that uses it depends on."""
        return _digest(self.samples, self.examples)


def file_of(folder: Path, test: str) -> Path:
    """Where the examples of a test lie."""
    return folder / (safe_name(test) + _SUFFIX)


def recall(folder: Path, test: str) -> MemoryOfAttacks | None:
    """The examples of a test; None where there are none.

    Raises:
        MemoryFileError: The file is cut short, changed, or none of ours.
    """
    path = file_of(folder, test)
    if not path.exists():
        return None
    try:
        return _read(path)
    except (OSError, SafetensorError, ValueError, RecursionError) as error:
        raise _no_memory(path, str(error)) from error


def of_todays(
    folder: Path, test: str, data: DataPrint, inputs: Tensor
) -> RememberedExamples | None:
    """The examples of a test whose samples are there today, with the places of these.

    Args:
        folder: The memory.
        test: The test's id.
        data: What the samples of today are known by.
        inputs: These samples ``(N, ...)``.

    Returns:
        None where there are none, or the samples come in another shape.

    Raises:
        MemoryFileError: The file is damaged, or its examples can't be of these samples.
    """
    known = recall(folder, test)
    if known is None:
        return None
    numbered = {digest: number for number, digest in enumerate(known.samples)}
    pairs = [(place, numbered[each]) for place, each in enumerate(data.samples) if each in numbered]
    if not pairs:
        return None
    if known.examples[0].numel() != inputs[0].numel():
        raise _no_memory(
            file_of(folder, test),
            f"it holds examples of {known.examples[0].numel()} numbers, the samples have "
            f"{inputs[0].numel()}",
        )
    if known.examples.shape[1:] != inputs.shape[1:]:
        return None
    rows, numbers = (torch.tensor(column) for column in zip(*pairs, strict=True))
    return RememberedExamples(rows, known.examples[numbers], known.digest)


def _no_memory(path: Path, reason: str) -> MemoryFileError:
    return MemoryFileError(
        f"{path} is no memory of attacks: {reason}. Restore it from version control, or delete it "
        "and store a new one with --aerobust-update"
    )


def _read(path: Path) -> MemoryOfAttacks:
    if path.stat().st_size > _LARGEST_FILE:
        raise ValueError(f"it has more than {_LARGEST_FILE} bytes")
    with safe_open(path, framework="pt") as file:
        told = json.loads((file.metadata() or {}).get(_ENTRY, "null"))
        if not isinstance(told, dict) or told.get("schema") != SCHEMA:
            raise ValueError(f"it has no note of schema {SCHEMA}")
        examples = file.get_tensor("examples")
    samples = tuple(map(str, told.get("samples", ())))
    if len(samples) != len(examples) or told.get("digest") != _digest(samples, examples):
        raise ValueError("it has changed since it was written")
    _check_examples(samples, examples)
    return MemoryOfAttacks(samples, examples)


def _check_examples(samples: tuple[str, ...], examples: Tensor) -> None:
    """Whoever writes what can be no example also writes a digest that fits."""
    if not len(examples):
        raise ValueError("it holds no examples")
    if examples.ndim < 2:
        raise ValueError(f"its examples have shape {tuple(examples.shape)}, expected (n, ...)")
    if not examples.is_floating_point():
        raise ValueError(f"its examples are {examples.dtype}, expected floating point numbers")
    broken = int((~examples.flatten(1).isfinite()).any(dim=1).sum())
    if broken:
        verb = "is" if broken == 1 else "are"
        raise ValueError(f"{broken} of its {len(examples)} examples {verb} NaN or infinite")
    if len({*samples}) < len(samples):
        twice = next(name for name in samples if samples.count(name) > 1)
        raise ValueError(f"the sample {twice} stands there twice")


def keep(folder: Path, test: str, found: Mapping[str, Tensor]) -> None:
    """Keep examples of a test beside those of earlier runs, the new ones first.

    Args:
        folder: The memory; it is made where it is missing.
        test: The test's id.
        found: Adversarial inputs by the digests of their samples.

    Raises:
        MemoryFileError: What is there can't be read, and is not written over.
        OSError: The folder can't be written.
    """
    earlier = recall(folder, test)
    known = {} if earlier is None else dict(zip(earlier.samples, earlier.examples, strict=True))
    shape = next((example.shape for example in found.values()), None)
    merged = dict(found) | {
        sample: example
        for sample, example in known.items()
        if sample not in found and shape in (None, example.shape)
    }
    chosen = [*merged.items()][:MOST_EXAMPLES]
    if not chosen:
        return
    room = MOST_BYTES // max(chosen[0][1].nbytes, 1)
    chosen = sorted(chosen[:room])
    if not chosen:
        return
    samples = tuple(sample for sample, _ in chosen)
    examples = torch.stack([example for _, example in chosen]).contiguous()
    if earlier is not None and earlier.digest == _digest(samples, examples):
        return
    told = {"schema": SCHEMA, "test": test, "samples": samples}
    note = json.dumps({**told, "digest": _digest(samples, examples)})
    with written_whole(file_of(folder, test)) as temporary:
        temporary.write_bytes(save({"examples": examples}, {_ENTRY: note}))


def _digest(samples: tuple[str, ...], examples: Tensor) -> str:
    digest = sha256("\n".join(samples).encode())
    digest.update(f"\0{examples.dtype} {tuple(examples.shape)}\0".encode())
    digest.update(examples.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
