"""A small linear problem with known answers, and short ways to attack it."""

from contextlib import contextmanager

import pytest
import torch
from torch import nn

from pytest_aerobust import evaluate, robust


@pytest.fixture
def model():
    """A linear model of two classes over 4 numbers, its border through the middle of [0, 1]."""
    generator = torch.Generator().manual_seed(0)
    linear = nn.Linear(4, 2)
    with torch.no_grad():
        linear.weight.copy_(torch.randn(2, 4, generator=generator))
        linear.bias.copy_(-linear.weight.sum(1) / 2)
    return linear.eval()


@pytest.fixture
def data(model):
    """24 inputs (24, 4) in [0, 1] and the labels that the model gives them."""
    inputs = torch.rand(24, 4, generator=torch.Generator().manual_seed(1))
    return inputs, model(inputs).argmax(dim=1)


@pytest.fixture
def attacked(model, data):
    """`evaluate` with the small problem and BIM where nothing else is said."""

    def run(under_test=model, on=data, **settings):
        return evaluate(under_test, on, **{"attack": "bim", "eps": 0.1, **settings})

    return run


@pytest.fixture(params=["mark", "evaluate"])
def stated(request, attacked):
    """A contract's arguments, stated in a mark or handed to `evaluate`."""

    def mark(**arguments):
        return robust(**{"attack": "bim", "eps": 0.1, "min_acc": 0.9, **arguments})

    return mark if request.param == "mark" else attacked


@pytest.fixture
def refused():
    """A block that must raise exactly this error, with all of these parts in its message."""

    @contextmanager
    def block(error, *parts):
        with pytest.raises(error) as info:
            yield info
        assert info.type is error
        missing = [part for part in parts if part not in str(info.value)]
        assert not missing, f"{missing} missing in: {info.value}"

    return block


@pytest.fixture
def notes(attacked):
    """The notes of an evaluation as one text."""
    return lambda *args, **settings: "\n".join(attacked(*args, **settings).notes)


class Asking(nn.Module):
    """A model with something in front of it and something behind it."""

    def __init__(self, model, before=None, behind=None):
        super().__init__()
        self.model, self._before, self._behind = model, before, behind

    def forward(self, inputs):
        logits = self.model(inputs if self._before is None else self._before(inputs))
        return logits if self._behind is None else self._behind(logits)


@pytest.fixture
def around(model):
    """The small model as a module with functions around it: `around(behind=...)`."""
    return lambda before=None, behind=None: Asking(model, before, behind)
