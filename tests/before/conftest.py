"""A suite whose files an earlier version wrote; only `tests/test_files_of_before.py` runs it."""

import os

import pytest
import torch
from torch import nn


class Border(nn.Module):
    """Class 1 where the mean of an input is above a half, and a little of each feature."""

    def __init__(self, shift):
        super().__init__()
        weights = torch.tensor([1.0, 1.25, 0.75, 1.0])
        self.linear = nn.Linear(4, 2)
        with torch.no_grad():
            self.linear.weight.copy_(torch.stack([-weights, weights]))
            self.linear.bias.copy_(torch.tensor([2.0 + shift, -2.0 - shift]))

    def forward(self, inputs):
        return self.linear(inputs)


@pytest.fixture(scope="session")
def aerobust_model():
    return Border(float(os.environ.get("SHIFT", "0"))).eval()


@pytest.fixture(scope="session")
def aerobust_data():
    near = (torch.arange(40) + 0.5) / 82  # the same on every processor, as linspace is not
    distances = torch.cat([-near, near])
    return 0.5 + distances[:, None].expand(-1, 4), (distances > 0).long()


@pytest.fixture(scope="session")
def some():
    return torch.tensor([True, True, False, True])
