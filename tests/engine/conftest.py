"""Models with known answers, and the real MNIST behind a convnet in closed form."""

import numpy as np
import pytest
import torch
from torch import nn


class Linear2(nn.Module):
    """Logits [-z, z] of z = w.x + b: every sample flips at a budget known in closed form."""

    def __init__(self, weight: torch.Tensor, bias: float = 0.0):
        super().__init__()
        self.weight = nn.Parameter(weight)
        self.bias = nn.Parameter(torch.tensor(bias, dtype=weight.dtype))

    def forward(self, x):
        z = x.flatten(1) @ self.weight + self.bias
        return torch.stack([-z, z], dim=1)

    def margins(self, x):
        """|z| in float64; divided by the dual norm of w, the distance to the border."""
        return (x.flatten(1).double() @ self.weight.double() + self.bias.double()).abs().detach()


@pytest.fixture
def linear_problem():
    """A linear model, 200 inputs far from the bounds (0, 1), and the labels it gives."""
    rng = np.random.default_rng(7)
    weight = torch.tensor(rng.normal(size=16), dtype=torch.float32)
    x = torch.tensor(rng.uniform(0.4, 0.6, (200, 16)), dtype=torch.float32)
    model = Linear2(weight, -float(x.mean(0) @ weight))
    labels = model(x).argmax(dim=1)
    return model, x, labels


def _smooth(kernels):
    """Kernels (..., 5, 5) blurred along both axes: digits are strokes, not noise."""
    blur = np.array([1, 2, 1]) / 4
    for axis in (-1, -2) * 2:
        kernels = np.apply_along_axis(np.convolve, axis, kernels, blur, mode="same")
    return kernels


def _read_out(features, labels, penalty=0.01, scale=10.0):
    """Weight and bias of the least squares that tell the classes, in closed form."""
    features = features.double()
    known = torch.cat([features, torch.ones(len(features), 1)], dim=1)
    wanted = scale * (2 * nn.functional.one_hot(labels, 10).double() - 1)
    gram = known.T @ known
    gram.diagonal().add_(penalty * gram.diagonal().mean())
    solution = torch.linalg.solve(gram, known.T @ wanted)
    return solution[:-1].T, solution[-1]


@pytest.fixture(scope="session")
@torch.no_grad()
def digits_model(mnist):
    """A convnet that nobody trained, about 0.97 right on new digits.

    Its kernels are drawn, its last layer is a least squares on 8,000 real digits with noise. A
    training would end elsewhere on every processor; this differs by rounding alone.
    """
    inputs, labels = (part[2000:] for part in mnist)
    rng = np.random.default_rng(0)
    features = nn.Sequential(
        nn.Conv2d(1, 8, 5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(8, 16, 5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
    )
    for convolution in (features[0], features[3]):
        kernels = _smooth(rng.uniform(-1, 1, tuple(convolution.weight.shape)))
        kernels -= kernels.mean(axis=(1, 2, 3), keepdims=True)
        kernels /= np.sqrt((kernels**2).sum(axis=(1, 2, 3), keepdims=True))
        convolution.weight.copy_(torch.tensor(kernels))
        convolution.bias.zero_()
    noise = torch.tensor(rng.uniform(-0.3, 0.3, tuple(inputs.shape)), dtype=torch.float32)
    last = nn.Linear(784, 10)
    weight, bias = _read_out(features((inputs + noise).clamp(0, 1)), labels)
    last.weight.copy_(weight)
    last.bias.copy_(bias)
    return nn.Sequential(*features, last).eval()


@pytest.fixture(scope="session")
@torch.no_grad()
def digits_filter(mnist):
    """A small autoencoder: the 64 principal components of the same digits, and a sigmoid."""
    inputs = mnist[0][2000:].flatten(1).double()
    mean, gain = inputs.mean(dim=0), 6.0
    _, directions = torch.linalg.eigh((inputs - mean).T @ (inputs - mean))
    components = directions[:, -64:]
    encoder, decoder = nn.Linear(784, 64), nn.Linear(64, 784)
    encoder.weight.copy_(components.T)
    encoder.bias.copy_(-mean @ components)
    decoder.weight.copy_(gain * components)
    decoder.bias.copy_(gain * (mean - 0.5))
    layers = nn.Flatten(), encoder, decoder, nn.Sigmoid(), nn.Unflatten(1, (1, 28, 28))
    return nn.Sequential(*layers).eval()


@pytest.fixture(scope="session")
def digits(mnist):
    """1,000 test digits that neither model was made from, and their labels."""
    inputs, labels = mnist
    return inputs[:1000], labels[:1000]
