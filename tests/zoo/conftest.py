"""Real digits on a canvas large enough to be redundant, and classifiers trained on them."""

from itertools import pairwise
from typing import NamedTuple

import pytest
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional as F


class Digits(NamedTuple):
    """Scikit-learn's digits: images (N, 1, S, S) in [0, 1] and labels, for training and for tests.

    Every fourth is a test image: the data come writer by writer.
    """

    inputs: Tensor
    labels: Tensor
    test_inputs: Tensor
    test_labels: Tensor


def _digits(size: int, tests: int) -> Digits:
    images, labels = load_digits(return_X_y=True)
    inputs = torch.tensor(images, dtype=torch.float32).reshape(-1, 1, 8, 8) / 16
    if size != 8:
        inputs = F.interpolate(inputs, size=size, mode="bilinear").clamp(0, 1)
    labels = torch.tensor(labels)
    test = torch.arange(len(labels)) % 4 == 0
    return Digits(inputs[~test], labels[~test], inputs[test][:tests], labels[test][:tests])


@pytest.fixture(scope="session")
def large_digits():
    """The digits at 32 x 32, of which 200 are test images."""
    return _digits(32, 200)


@pytest.fixture(scope="session")
def small_digits():
    """The digits as they come, at 8 x 8, of which 200 are test images."""
    return _digits(8, 200)


def cross_entropy(model, inputs, labels):
    return F.cross_entropy(model(inputs), labels)


def fit(model, inputs, labels, *, steps=300, batch=128, change=None, objective=cross_entropy):
    """Train with Adam, seeded by itself; the model comes back in float32 and in eval mode.

    In float64, so that what rounding leads to, on another processor, is lost on the way back.

    Args:
        model: The module.
        inputs: Its training inputs.
        labels: Their classes.
        steps: How many batches.
        batch: Samples in each.
        change: From (model, inputs, labels, share of the steps done) to the inputs to learn from
            beside the clean ones; None leaves them alone.
        objective: The loss of (model, inputs, labels).
    """
    model, inputs = model.double(), inputs.double()
    with torch.random.fork_rng():
        torch.manual_seed(1)
        optimiser = torch.optim.Adam(model.parameters(), lr=3e-3)
        for step in range(steps):
            rows = torch.randint(len(inputs), (batch,))
            x, y = inputs[rows], labels[rows]
            if change is not None:
                x, y = torch.cat([x, change(model, x, y, step / steps)]), torch.cat([y, y])
            optimiser.zero_grad()
            objective(model, x, y).backward()
            optimiser.step()
    return model.float().eval()


def dense(*widths):
    """A multilayer perceptron on flattened inputs, its first weights always the same."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layers = [nn.Flatten(), nn.Linear(*widths[:2])]
        for before, after in pairwise(widths[1:]):
            layers += [nn.ReLU(), nn.Linear(before, after)]
    return nn.Sequential(*layers)


def signed_gradient(model, inputs, labels):
    """Signs of the cross entropy's gradient at the inputs, which the model keeps nothing of."""
    inputs = inputs.detach().requires_grad_()
    (gradient,) = torch.autograd.grad(F.cross_entropy(model(inputs), labels), inputs)
    return gradient.sign()


class Tools(NamedTuple):
    """Test files can't import this one: what they build with comes as a fixture."""

    fit: object
    dense: object
    signed_gradient: object


@pytest.fixture(scope="session")
def tools():
    """How models of the zoo are built and trained."""
    return Tools(fit, dense, signed_gradient)


@pytest.fixture(scope="session")
def classifier(large_digits):
    """The honest network that most defences stand around: 0.97 right, and 0 at eps 0.15."""
    return fit(dense(1024, 64, 10), large_digits.inputs, large_digits.labels)
