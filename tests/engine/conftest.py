"""Models with known answers, and the real MNIST behind a small convnet."""

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


def _convnet():
    return nn.Sequential(
        nn.Conv2d(1, 8, 5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(8, 16, 5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(784, 10),
    )


def _fit(model, inputs, targets, loss, steps):
    optimiser = torch.optim.Adam(model.parameters(), lr=3e-3)
    generator = torch.Generator().manual_seed(0)
    for _ in range(steps):
        rows = torch.randint(len(inputs), (128,), generator=generator)
        optimiser.zero_grad()
        loss(model(inputs[rows]), targets[rows]).backward()
        optimiser.step()
    return model.eval()


@pytest.fixture(scope="session")
def digits_model(mnist):
    """A convnet trained for a few seconds on 8,000 real digits, about 0.97 right on others."""
    inputs, labels = mnist
    torch.manual_seed(0)
    return _fit(_convnet(), inputs[2000:], labels[2000:], nn.functional.cross_entropy, 200)


@pytest.fixture(scope="session")
def digits_filter(mnist):
    """A small autoencoder on the same digits; its outputs are a sigmoid's."""
    inputs, _ = mnist
    torch.manual_seed(1)
    model = nn.Sequential(
        nn.Flatten(),
        nn.Linear(784, 64),
        nn.ReLU(),
        nn.Linear(64, 784),
        nn.Sigmoid(),
        nn.Unflatten(1, (1, 28, 28)),
    )
    return _fit(model, inputs[2000:], inputs[2000:], nn.functional.mse_loss, 300)


@pytest.fixture(scope="session")
def digits(mnist):
    """1,000 test digits that neither model has seen, and their labels."""
    inputs, labels = mnist
    return inputs[:1000], labels[:1000]
