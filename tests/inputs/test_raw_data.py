"""Data that torch or NumPy would refuse in words of their own: what came, and how to go on."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch.utils.data import DataLoader, Dataset, TensorDataset, default_collate

from pytest_aerobust import DataError


def half_masked(array):
    return np.ma.masked_array(array, np.arange(array.size).reshape(array.shape) % 2 == 0)


NO_NUMBERS = {
    "on meta": (lambda v: v.to("meta"), ["are on the meta device", "load them"]),
    "nested": (
        lambda v: torch.nested.nested_tensor([v[:9], v[9:]]),
        ["are a nested tensor", "one shape", "torch.stack("],
    ),
    "nested, jagged": (
        lambda v: torch.nested.nested_tensor([v[:9], v[9:]], layout=torch.jagged),
        ["are a nested tensor", "torch.stack("],
    ),
    "masked": (
        lambda v: half_masked(v.numpy()),
        ["are a masked array of which", "leave out the samples", ".filled("],
    ),
    "ragged": (lambda v: [[0], [1, 0]] * 12, ["several shapes", "expected one shape"]),
    "text": (
        lambda v: ["cat", "dog"] * 12,
        ["are a list", "text, such as 'cat'", "counted from 0"],
    ),
    "array of text": (lambda v: v.numpy().astype(str), ["ndarray of <U", "text", "give numbers"]),
    "objects": (lambda v: [None, {}] * 12, ["NoneType", "dict", "expected numbers"]),
    "dict": (lambda v: {"a": v}, ["are a dict with the keys 'a'", "give the one entry"]),
    "generator": (lambda v: (row for row in v), ["are a generator", "give list(...) of it"]),
    "nothing": (lambda v: None, ["are a NoneType", "expected a tensor, an array or a list"]),
    "fields": (
        lambda v: np.zeros(24, [("x", "f4"), ("y", "f4")]),
        ["the fields x, y", "structured_to_unstructured"],
    ),
    "dates": (lambda v: np.zeros(24, "M8[s]"), ["torch has no type like datetime64[s]"]),
}  # fmt: skip


@pytest.mark.parametrize("form", NO_NUMBERS)
@pytest.mark.parametrize("name", ["inputs", "labels"])
def test_values_without_plain_numbers(attacked, data, refused, name, form):
    """What holds no plain numbers is refused by its name, with its kind and the next step."""
    change, parts = NO_NUMBERS[form]
    on = {"inputs": data[0], "labels": data[1]}
    on[name] = change(on[name])
    with refused(DataError, f"{name} are ", *parts):
        attacked(on=tuple(on.values()))


@pytest.mark.parametrize("form", ["on meta", "nested", "masked", "generator"])
def test_labels_of_named_classes_without_plain_numbers(attacked, data, refused, form):
    """Labels that are looked up among an estimator's classes are read with the same care."""
    inputs, labels = data
    estimator = LogisticRegression().fit(inputs.numpy(), labels.numpy())
    with refused(DataError, "labels"):
        attacked(estimator, (inputs, NO_NUMBERS[form][0](labels)))


def test_what_torch_can_not_compute_in_is_said_of_the_argument(attacked, data, refused):
    """A tensor of a class with operations of its own, or with none, is named with torch's words."""

    class Mute(torch.Tensor):
        @classmethod
        def __torch_function__(cls, func, types, args=(), kwargs=None):
            if func is torch.Tensor.min:
                raise NotImplementedError("no minimum")
            return super().__torch_function__(func, types, args, kwargs)

    with refused(DataError, "labels are Mute (24,)", "no minimum", "Expected a plain tensor"):
        attacked(on=(data[0], data[1].as_subclass(Mute)))


@pytest.mark.parametrize(
    "form", [torch.Tensor.float, torch.Tensor.half, lambda y: y.double()[:, None]]
)
def test_classes_in_floats(attacked, data, refused, form):
    """Whole labels that come as floats may be probabilities: the conversion is left to the user
    (BAD INPUTS 5.8).
    """
    with refused(DataError, "labels are torch.float", "convert them with labels.long()"):
        attacked(on=(data[0], form(data[1])))


@pytest.mark.parametrize("number", [0.5, torch.nan, torch.inf])
def test_floats_that_are_no_classes(attacked, data, refused, number):
    """Where a float label is no whole number, no conversion is advised."""
    labels = data[1].float()
    labels[3] = number
    with refused(DataError, f"labels[3] is {number:g}, which is no class") as info:
        attacked(on=(data[0], labels))
    assert "long()" not in str(info.value)


@pytest.mark.parametrize("dtype", [torch.int64, torch.int32, torch.int16, torch.uint16])
def test_tokens_are_not_sent_in_a_circle(attacked, data, refused, dtype):
    """Whoever hands in indices reads that no budget moves them, and what to attack instead."""
    tokens = (data[0] * 9).to(dtype)
    with refused(DataError, "convert them to float", "tokens", "behind the embedding"):
        attacked(on=(tokens, data[1]))


class Samples(Dataset):
    """A dataset whose entries are made by a function of the index."""

    def __init__(self, entry):
        self.entry = entry

    def __len__(self):
        return 24

    def __getitem__(self, index):
        return self.entry(index)


@pytest.fixture
def pair(data):
    return lambda index: (data[0][index], int(data[1][index]))


NO_PAIRS = {
    "triples": (lambda *pair: (*pair, 7), "list of 3", "(batch[0], batch[1])"),
    "dicts": (
        lambda x, y: {"image": x, "label": y},
        "dict with the keys 'image', 'label'",
        "(batch['image'], batch['label'])",
    ),
    "larger dicts": (
        lambda x, y: {"a": x, "b": y, "c": 1, "d": 2, "e": 3},
        "dict with the keys 'a', 'b', 'c', 'd' and 1 more",
        "that are meant",
    ),
    "inputs alone": (lambda x, y: x, "Tensor (24, 4)", "are the labels missing?"),
    "one entry": (lambda x, y: (x,), "list of 1 (Tensor)", "are the labels missing?"),
}  # fmt: skip


@pytest.mark.parametrize("kind", NO_PAIRS)
def test_batches_that_are_no_pairs(attacked, pair, refused, kind):
    """A batch that is no pair is shown with its parts, and how two of them are handed in."""
    make, came, cure = NO_PAIRS[kind]
    with refused(DataError, f"data gives a {came}", "expected pairs (inputs, labels)", cure):
        attacked(on=Samples(lambda index: make(*pair(index))))


def test_what_the_message_on_batches_says_works(attacked, pair):
    """Two entries of each batch, joined by torch.cat, are data."""
    loader = DataLoader(Samples(lambda index: (*pair(index), index)), batch_size=7)
    parts = zip(*[(batch[0], batch[1]) for batch in loader], strict=True)
    assert attacked(on=tuple(map(torch.cat, parts))) == attacked()


def test_collate_functions(attacked, pair, refused):
    """A loader whose batches are not joined, or joined into a dict, is told so."""
    lists = DataLoader(Samples(pair), batch_size=8, collate_fn=list)
    with refused(DataError, "data gives a list of 8", "not joined", "collate_fn"):
        attacked(on=lists)

    def named(samples):
        return dict(zip("xy", default_collate(samples), strict=True))

    with refused(DataError, "dict with the keys 'x', 'y'", "(batch['x'], batch['y'])"):
        attacked(on=DataLoader(Samples(pair), collate_fn=named))


def test_batches_whose_parts_differ_in_length(attacked, data, refused):
    """The batch whose inputs and labels don't fit is named, not the sum of all."""
    unbatched = DataLoader(TensorDataset(*data), batch_size=None)
    with refused(DataError, "in batch 0", "batch_size=None"):
        attacked(on=unbatched)
    inputs, labels = data
    batches = [(inputs[:12], labels[:12]), (inputs[12:], labels[:1])]
    whole = DataLoader(batches, batch_size=None)
    with refused(DataError, "Tensor (12, 4) with labels Tensor (1,) in batch 1"):
        attacked(on=whole)


NO_DATA = {
    "triple": (lambda x, y: (x, y, y), "3 entries", "(data[0], data[1])"),
    "dict": (lambda x, y: {"x": x, "y": y}, "keys 'x', 'y'", "(data['x'], data['y'])"),
    "pairs": (lambda x, y: list(zip(x, y, strict=True)), "24 pairs", "zip(*data)"),
    "batches": (lambda x, y: [(x[:8], y[:8])] * 3, "3 pairs", "torch.cat()"),
    "two pairs": (lambda x, y: [(x[0], y[0]), (x[1], y[1])], "2 pairs", "zip(*data)"),
    "two batches": (lambda x, y: ((x[:8], y[:8]), (x[8:], y[8:])), "2 pairs", "torch.cat()"),
    "two pairs of lists": (lambda x, y: [[[0.1, 0.2], 0], [[0.3, 0.4], 1]], "2 pairs"),
    "two batches of arrays": (
        lambda x, y: [[x.numpy(), np.eye(2)[y.numpy()]]] * 2,
        "2 pairs",
        "torch.cat()",
    ),
}


@pytest.mark.parametrize("kind", NO_DATA)
def test_data_that_is_no_pair(attacked, data, refused, kind):
    """What is no pair of inputs and labels is shown with its parts, and how it becomes one."""
    make, *parts = NO_DATA[kind]
    with refused(DataError, "expected (inputs, labels)", "give ", *parts):
        attacked(on=make(*data))


TWO_SAMPLES = {
    "lists": lambda x, y: (list(x), y.tolist()),
    "tuples": lambda x, y: (tuple(x), tuple(y)),
    "nested lists": lambda x, y: [x.tolist(), y.tolist()],
    "one-hot": lambda x, y: [list(x), np.eye(2)[y.numpy()].tolist()],
}


@pytest.mark.parametrize("form", TWO_SAMPLES)
def test_two_samples_are_no_two_pairs(attacked, data, form):
    """Inputs and labels of two samples are a pair of lists, too."""
    few = tuple(part[:2] for part in data)
    assert attacked(on=TWO_SAMPLES[form](*few)).unfiltered == attacked(on=few).unfiltered


def test_what_the_message_on_pairs_says_works(attacked, data):
    """A list of pairs, unzipped, is data."""
    pairs = list(zip(*data, strict=True))
    inputs, labels = zip(*pairs, strict=True)
    assert attacked(on=(inputs, labels)) == attacked()
