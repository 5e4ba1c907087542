"""Data that tests share: read again wherever code may give others, and else once."""

import dataclasses
import functools
import gc
import random
import types
import weakref

import numpy as np
import pytest
import torch
from torch.utils.data import (
    ConcatDataset,
    DataLoader,
    Dataset,
    RandomSampler,
    Subset,
    TensorDataset,
)

from pytest_aerobust.history.cache.readings import Readings
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
        "pytest_aerobust.history.cache.readings.read_samples",
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
    # Nothing gives an iterator back.
    drawn = iter(torch.rand(1000, 3, generator=torch.Generator().manual_seed(0)))
    held, readings = Held(), Readings()
    data = telling(lambda self: held.shift + 1e-3 * next(drawn))
    assert not readings.of(data).notes
    held.shift = 0.5
    again = readings.of(data)
    assert again.inputs.max() <= -0.5
    assert len([note for note in again.notes if "differ each time" in note]) == 1
    assert readings.of(data).notes == again.notes


GLOBAL = np.random.default_rng(0)


def drawing(draw, **held):
    """A dataset whose samples are drawn by a function of it."""
    return telling(lambda self: torch.as_tensor(draw(self), dtype=torch.float32), **held)


def seeded_loader(**held):
    return DataLoader(TensorDataset(torch.rand(8, 3), LABELS), batch_size=3, **held)


def torch_generator():
    return torch.Generator().manual_seed(0)


def of_closure():
    own = random.Random(0)
    return drawing(lambda self: own.random())


def of_slots():
    data = drawing(lambda self: self.held.shift.random())
    data.held = Slotted(np.random.default_rng(0))
    return data


# Makes data that draw from a generator of their own.
DRAWING = {
    "a loader": lambda: seeded_loader(shuffle=True, generator=torch_generator()),
    "a sampler": lambda: seeded_loader(sampler=RandomSampler(LABELS, generator=torch_generator())),
    "a dataset": lambda: drawing(lambda self: self.own.rand(), own=np.random.RandomState(0)),
    "a transform in a list": lambda: drawing(
        lambda self: self.steps[0].func(),
        steps=[functools.partial(np.random.default_rng(0).normal)],
    ),
    "beside many samples": lambda: drawing(
        lambda self: self.own.random(),
        paths=[(str(number), number) for number in range(20_000)],
        own=np.random.default_rng(0),
    ),
    "a closure": of_closure,
    "a global": lambda: drawing(lambda self: GLOBAL.random()),
    "slots": of_slots,
}


@pytest.mark.parametrize("make", DRAWING.values(), ids=DRAWING)
def test_a_reading_moves_no_generator_of_the_data(make):
    """However many tests have read them, the data are those of the first reading."""
    data, readings = make(), Readings()
    first = readings.of(data)
    for _ in range(2):
        again = readings.of(data)
        assert torch.equal(again.inputs, first.inputs)
        assert not again.notes


@pytest.mark.parametrize("make", [plain, lambda: telling(lambda self: 0.0)], ids=["torch's", "own"])
def test_what_was_read_lives_no_longer_than_the_data(make):
    """A fixture that makes data for each test does not fill the memory."""
    data, readings = make(), Readings()
    inputs = weakref.ref(readings.of(data).inputs)
    held = weakref.ref(data)
    readings.of(data)
    del data
    gc.collect()
    assert held() is None
    assert inputs() is None
