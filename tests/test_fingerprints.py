"""What data are known by: their content, in whatever order it comes."""

import pytest
import torch

from pytest_aerobust.history.fingerprints import DataPrint, DataPrints
from pytest_aerobust.subjects.data import Samples, check_samples


def samples(seed=0, labels=None):
    inputs = torch.rand(6, 3, generator=torch.Generator().manual_seed(seed))
    return Samples(inputs, torch.arange(6) if labels is None else labels, torch.arange(6))


def reordered(held, rows):
    return Samples(held.inputs[rows], held.labels[rows], held.ids[rows])


def test_another_order_is_the_same_data():
    """The digest of all is the same, and each sample keeps its own."""
    rows = torch.tensor([3, 1, 5, 0, 2, 4])
    one, other = DataPrint.of(samples()), DataPrint.of(reordered(samples(), rows))
    assert one.digest == other.digest
    assert [one.samples[row] for row in rows] == list(other.samples)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float8_e5m2])
def test_precisions_that_numpy_lacks(dtype):
    """Data in any precision that is read have a print."""
    held = samples()
    read = check_samples((held.inputs.to(dtype), held.labels), (0.0, 1.0))
    assert DataPrint.of(read) == DataPrint.of(read)


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(samples(seed=1), id="other inputs"),
        pytest.param(samples(labels=torch.tensor([0, 1, 2, 3, 5, 4])), id="other labels"),
        pytest.param(reordered(samples(), torch.arange(5)), id="one less"),
        pytest.param(
            Samples(samples().inputs.double(), torch.arange(6), torch.arange(6)), id="precision"
        ),
    ],
)
def test_other_content_is_other_data(other):
    """Inputs, labels, their number and their precision are told."""
    assert DataPrint.of(samples()).digest != DataPrint.of(other).digest


def test_a_session_prints_the_same_data_once():
    """A copy of the samples gets the very same print."""
    prints = DataPrints()
    assert prints.of(samples()) is prints.of(samples())


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda held: held.inputs[2].mul_(0.5), id="an input"),
        pytest.param(lambda held: held.inputs.copy_(held.inputs.flip(0)), id="the order"),
        pytest.param(lambda held: held.labels.copy_(held.labels.flip(0)), id="labels"),
    ],
)
def test_a_session_sees_data_that_were_changed_in_place(change):
    """The same tensors with other content get another print, that of their content."""
    prints, held = DataPrints(), samples()
    before = prints.of(held)
    change(held)
    assert prints.of(held).samples != before.samples
    assert prints.of(held) == DataPrint.of(held)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_every_precision_has_a_print(dtype):
    """Also those that NumPy does not know."""
    held = samples()
    other = Samples(held.inputs.to(dtype), held.labels, held.ids)
    assert len({*DataPrint.of(other).samples}) == 6
