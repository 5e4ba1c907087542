"""Data that tests share: read again wherever code may give others, and else once."""

import dataclasses
import functools
import types

import pytest
import torch
from torch.utils.data import ConcatDataset, DataLoader, Dataset, Subset, TensorDataset

from pytest_aerobust.history.readings import Readings
from pytest_aerobust.subjects.data import read_samples

ZEROS, LABELS = torch.zeros(8, 3), torch.arange(8) % 2


class Shifted(Dataset):
    """Zeros, less what `told` says of them."""

    def __len__(self):
        return len(LABELS)

    def __getitem__(self, at):
        return ZEROS[at] - self.told(), LABELS[at]


class Held:
    shift = 0.0

    def __call__(self, *given):
        return self.shift

    def told(self):
        return self.shift


class Described(Held):
    def __get__(self, owner, kind):
        return self.told


class Collating(Held):
    def __call__(self, batch):
        inputs, labels = torch.utils.data.default_collate(batch)
        return inputs - self.shift, labels


@dataclasses.dataclass(slots=True)
class Slotted:
    shift: float = 0.0


class HeldDict(dict):
    shift = 0.0


class HeldList(list):
    shift = 0.0


class Meta(type(Dataset)):
    shift = 0.0


def telling(told, **body):
    """A dataset whose class holds `told`, among others."""
    return type("Telling", (Shifted,), {"told": told, **body})()


def plain():
    return TensorDataset(ZEROS.clone(), LABELS)


def attributed(held):
    held.shift = 0.0
    return held


def decorated(held):
    @functools.wraps(telling)
    def told(self):
        return held.shift

    return told


def of_function():
    def told(self):
        return told.shift

    return telling(told), attributed(told)


def of_tensor():
    data = telling(lambda self: self.inputs.shift)
    data.inputs = attributed(torch.zeros(3))
    return data, data.inputs


def of_class(held):
    return telling(lambda self: self.held.shift, held=held), held


def reached(way):
    held = Described()
    return telling(way(held)), held


# Makes a dataset, and what holds its shift.
WAYS = {
    "an object of the class": lambda: of_class(Held()),
    "a namespace": lambda: of_class(types.SimpleNamespace(shift=0.0)),
    "slots": lambda: of_class(Slotted()),
    "a nested class": lambda: of_class(type("Inner", (), {"shift": 0.0})),
    "a module": lambda: of_class(attributed(types.ModuleType("told"))),
    "a kind of dict": lambda: of_class(HeldDict()),
    "a kind of list": lambda: of_class(HeldList()),
    "a tensor's attribute": of_tensor,
    "a function's attribute": of_function,
    "a metaclass": lambda: (
        Meta("OfMeta", (Shifted,), {"told": lambda self: Meta.shift})(),
        Meta,
    ),
    "a bound method": lambda: reached(lambda held: held.told),
    "a callable that describes": lambda: reached(lambda held: held),
    "a partial": lambda: reached(lambda held: functools.partial(held, None)),
    "a property": lambda: reached(
        lambda held: property(functools.partial(lambda held, owner: held.told, held))
    ),
    "a decorator": lambda: reached(decorated),
    "getattr": lambda: reached(lambda held: lambda self: getattr(held, "".join(("sh", "ift")))),
    "what collates": lambda: (lambda held: (DataLoader(plain(), collate_fn=held), held))(
        Collating()
    ),
}


@pytest.mark.parametrize("behind", [lambda data: data, lambda data: ConcatDataset([data])])
@pytest.mark.parametrize("make", WAYS.values(), ids=WAYS)
def test_code_may_depend_on_anything(monkeypatch, make, behind):
    """Wherever a shift is held that a dataset's code subtracts, it counts once it changes."""
    data, held = make()
    data = data if isinstance(data, DataLoader) else behind(data)
    readings = Readings()
    assert readings.of(data).inputs.eq(0).all()
    monkeypatch.setattr(held, "shift", 0.5)
    assert readings.of(data).inputs.eq(-0.5).all()


@pytest.mark.parametrize(
    "given",
    [
        pytest.param(lambda data: data, id="tensors"),
        pytest.param(lambda data: Subset(data, [0, 1, 5]), id="a subset"),
        pytest.param(lambda data: ConcatDataset([data, data]), id="several"),
        pytest.param(lambda data: DataLoader(data, batch_size=3, shuffle=True), id="a loader"),
    ],
)
def test_torchs_own_are_read_once(monkeypatch, given):
    """Where no code but torch's reads tensors, they are read once, until one changes."""
    tensors, reads = plain(), []
    data, readings = given(tensors), Readings()
    monkeypatch.setattr(
        "pytest_aerobust.history.readings.read_samples",
        lambda data: reads.append(1) or read_samples(data),
    )
    first = readings.of(data)
    assert readings.of(data) is first
    assert len(reads) == 1
    tensors.tensors[0][1] += 1
    assert not torch.equal(readings.of(data).inputs, first.inputs)


def test_code_is_not_followed():
    """Data of the user's are read again; what their code names, however much, costs nothing."""
    looked = []

    class Watched(Held):
        def __getattribute__(self, name):
            looked.append(name)
            return super().__getattribute__(name)

    data, readings = telling(lambda self: 0.0, held=Watched()), Readings()
    for _ in range(3):
        readings.of(data)
    assert not looked


def test_data_that_draw_and_changed():
    """Who draws numbers of its own at each reading may have changed, too: today's counts."""
    generator = torch.Generator().manual_seed(0)
    held, readings = Held(), Readings()
    data = telling(lambda self: held.shift + 1e-3 * torch.rand(3, generator=generator))
    assert not readings.of(data).notes
    held.shift = 0.5
    again = readings.of(data)
    assert again.inputs.max() <= -0.5
    assert len([note for note in again.notes if "differ each time" in note]) == 1
    assert readings.of(data).notes == again.notes
