"""What data and measurements are known by, whatever order and process they come in."""

import hashlib
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pytest_aerobust.contract.contract import Contract
from pytest_aerobust.contract.targets import MappedTarget, Target
from pytest_aerobust.results.evaluation import Evaluation
from pytest_aerobust.subjects.box import Box
from pytest_aerobust.subjects.data import Samples
from pytest_aerobust.subjects.subject import Subject

# Longer values of a contract are told by their digest.
_LONGEST = 80


@dataclass(frozen=True)
class DataPrint:
    """Samples by their content: the same for the same samples in any order.

    Attributes:
        digest: Of all of them.
        order: Places of the samples, sorted by their own digests.
        samples: Digest of each, by place.
    """

    digest: str
    order: tuple[int, ...]
    samples: tuple[str, ...]

    @classmethod
    def of(cls, samples: Samples) -> "DataPrint":
        """Hash every sample with its label, in its own precision."""
        inputs = samples.inputs.detach().cpu().contiguous()
        rows = inputs.flatten(1).view(torch.uint8).numpy()  # NumPy has no bfloat16
        labels = samples.labels.cpu().numpy()
        digests = [
            hashlib.blake2b(row.data, digest_size=16, salt=label.tobytes()).digest()
            for row, label in zip(rows, labels, strict=True)
        ]
        order = sorted(range(len(digests)), key=digests.__getitem__)
        whole = hashlib.blake2b(f"{inputs.dtype}{tuple(inputs.shape[1:])}".encode(), digest_size=16)
        for place in order:
            whole.update(digests[place])
        return cls(whole.hexdigest(), tuple(order), tuple(each.hex() for each in digests))


class DataPrints:
    """Prints of the data that a session meets again and again, each made once.

    Data are told apart by a checksum, which costs a fifth of a print and sees what was changed
    in place.
    """

    def __init__(self) -> None:
        self._known: dict[tuple[Any, ...], DataPrint] = {}

    def of(self, samples: Samples) -> DataPrint:
        """The print of some samples."""
        sums = [zlib.crc32(_content(each)) for each in (samples.inputs, samples.labels)]
        key = *sums, samples.inputs.dtype, samples.inputs.shape
        if key not in self._known:
            self._known[key] = DataPrint.of(samples)
        return self._known[key]


def _content(tensor: Tensor) -> memoryview:
    return tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data


def by_content(samples: Samples, found: Mapping[int, Tensor]) -> dict[str, Tensor]:
    """Examples by the digests of their samples, from those by place in the data."""
    digests = DataPrint.of(samples).samples
    return {
        digest: found[place]
        for place, digest in zip(samples.ids.tolist(), digests, strict=True)
        if place in found
    }


# What an entry leaves out where nobody stated anything else.
DEFAULTS = {
    "bounds": "(0.0, 1.0)",
    "mutable": "all features",
    "unfiltered model": "the model",
}


def described(
    contract: Contract, evaluation: Evaluation, subject: Subject, made_of: Mapping[str, str]
) -> dict[str, str]:
    """A measurement in words by name: what must be the same for two to be compared.

    What marks and fixtures can both state is taken from the subject, where it ends up, and what
    an attack is made of from before it ran.
    """
    told: Mapping[str, Any] = {
        "attack": evaluation.attack,
        "norm": evaluation.norm,
        "eps": evaluation.eps,
        # An instance's own settings may have changed while it ran.
        **(evaluation.arguments if contract.attack.ready is None else {}),
        **made_of,
        "threat": evaluation.threat,
        "target": _target(contract.target),
        "filter": "none" if evaluation.filtered is None else "on",
        "unfiltered model": None if subject.unfiltered_model is None else "one of its own",
        "seed": evaluation.seed,
        "queries": contract.queries,
        "eot": contract.eot,
        "filter_gradient": contract.filter_gradient,
        "bounds": _bounds(subject.bounds),
        "mutable": _mutable(subject),
        "mean": contract.mean,
        "std": contract.std,
        "strength": contract.strength,
        "waived": ", ".join(name for name, _ in contract.waivers) or None,
    }
    words = {name: _short(value) for name, value in told.items() if value is not None}
    return {name: text for name, text in words.items() if DEFAULTS.get(name) != text}


def _target(target: Target | None) -> int | str | None:
    """All of a mapping, of which a person is shown the beginning."""
    if not isinstance(target, MappedTarget):
        return None if target is None else target.plain
    return " ".join(f"{label}→{wanted}" for label, wanted in target.pairs)


def _bounds(box: Box) -> str:
    """Two numbers where they say it all, in whatever form they were stated."""
    ends = [set(end.flatten().tolist()) for end in (box.low, box.high)]
    if all(len(values) == 1 for values in ends):
        return str(tuple(values.pop() for values in ends))
    return str(box.arguments[0])


def _mutable(subject: Subject) -> str | None:
    if subject.bounds.mutable is None:
        return None
    mask = subject.bounds.mask(subject.samples.inputs[0])
    digest = hashlib.blake2b(mask.cpu().numpy().tobytes(), digest_size=8).hexdigest()
    return f"{int(mask.sum())} of {len(mask)} features, digest {digest}"


def _short(value: Any) -> str:
    text = str(value)
    if len(text) <= _LONGEST:
        return text
    return f"digest {hashlib.blake2b(text.encode(), digest_size=8).hexdigest()}"


def in_order(values: str, order: Sequence[int] | np.ndarray) -> np.ndarray:
    """One letter a sample, in another order of the samples."""
    letters: np.ndarray = np.frombuffer(values.encode("ascii"), np.uint8)[np.asarray(order)]
    return letters
