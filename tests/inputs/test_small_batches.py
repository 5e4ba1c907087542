"""A batch of any size is answered, also by a model that knows no small ones."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from pytest_aerobust import FilterError, ModelError
from pytest_aerobust.subjects.pipeline import Classifier

NOTE = "does not answer batches of"


def scattered(inputs):
    """As batch statistics are taken: of one sample there are none."""
    if len(inputs) < 2:
        raise ValueError("Expected more than 1 value per channel")
    return inputs


def in_pairs(inputs):
    return inputs.view(-1, 2, *inputs.shape[1:]).flatten(0, 1)


def written_into(inputs):
    """Fails after it has written into its inputs."""
    inputs.sub_(0.1).add_(0.1).mul_(0.5)
    if len(inputs) == 1:
        raise ValueError("a lone sample")
    return inputs.mul_(2)


SMALL = {
    "squeezed logits": {"behind": torch.squeeze},
    "squeezed inputs": {"before": torch.squeeze},
    "at least two": {"before": scattered},
    "pairs": {"before": in_pairs},
    "fixed size": {"before": lambda x: x.view(24, 4)},
    "writes first": {"before": written_into},
}


@pytest.mark.parametrize("attack", ["bim", "boundary"])
@pytest.mark.parametrize("form", SMALL)
def test_a_model_that_knows_no_small_batches(attacked, around, attack, form):
    """Its samples fall as those of the model that takes any batch."""
    settings = {"attack": attack, "attack_args": {"steps": 20}}
    found = attacked(around(**SMALL[form]), **settings)
    expected = attacked(around(), **settings)
    assert found.unfiltered == expected.unfiltered
    assert found.unfiltered.beaten


@pytest.mark.parametrize("form", SMALL)
@pytest.mark.parametrize("rows", [1, 3, 24], ids=lambda rows: f"{rows} samples")
def test_logits_and_gradients_of_few_samples(model, data, around, form, rows):
    """Copies that fill a batch up change neither the answers nor the gradients."""

    def asked(part):
        side = Classifier("model", part, None, None, sizes=(24,))
        inputs = data[0][:rows].clone().requires_grad_()
        logits = side(inputs)
        return logits, side.gradient((logits * torch.tensor([2.0, -1.0])).sum(), inputs)

    for found, expected in zip(asked(around(**SMALL[form])), asked(model), strict=True):
        torch.testing.assert_close(found, expected)


def of_ten(inputs):
    """As a model that keeps a state for each row of its batch."""
    return inputs + torch.zeros(10, 4)


@pytest.mark.parametrize("attack", ["bim", "boundary"])
def test_a_model_for_batches_as_the_loader_gives_them(attacked, around, data, attack):
    """Who is asked for more at once than a loader ever gave is asked in the loader's batches."""
    settings = {"attack": attack, "attack_args": {"steps": 20}}
    loader = DataLoader(TensorDataset(*data), batch_size=10)
    found = attacked(around(before=of_ten), loader, **settings)
    assert found.unfiltered == attacked(on=loader, **settings).unfiltered
    assert any(f"the model {NOTE} " in note and "24 (" in note for note in found.notes)


def test_a_filter_for_batches_as_the_loader_gives_them(attacked, data):
    """A filter is asked as a model is, also where only some of the samples are drawn."""
    loader = DataLoader(TensorDataset(*data), batch_size=10)
    found = attacked(filter=of_ten, on=loader, samples=21)
    expected = attacked(filter=nn.Identity(), on=loader, samples=21)
    assert found.filtered == expected.filtered


@pytest.mark.parametrize("rows", [1, 3, 10, 24, 30], ids=lambda rows: f"{rows} samples")
def test_logits_and_gradients_in_parts(model, data, around, rows):
    """Each sample has its answer and its gradient, whatever part it was asked in."""

    def asked(part):
        side = Classifier("model", part, None, None, sizes=(24, 10))
        inputs = data[0].repeat(2, 1)[:rows].clone().requires_grad_()
        logits = side(inputs)
        return logits, side.gradient((logits * torch.tensor([2.0, -1.0])).sum(), inputs)

    fixed = around(before=lambda inputs: of_ten(inputs.mul_(1)))
    for found, expected in zip(asked(fixed), asked(model), strict=True):
        torch.testing.assert_close(found, expected)


def test_the_way_out_for_a_fixed_size(attacked, around, data, refused):
    """Without a loader nobody knows the size: the message says how to tell it."""
    with refused(ModelError, "one size alone", "DataLoader", "batch_size"):
        attacked(around(before=of_ten))


def test_what_was_filled_up_is_told(attacked, around):
    """A note names the batches that the model does not answer; where there are none, it is not."""
    assert not any(NOTE in note for note in attacked().notes)
    assert any(
        f"the model {NOTE} 1 (a squeeze" in note
        for note in attacked(around(behind=torch.squeeze), eps=0.15).notes
    )


@pytest.mark.parametrize(
    "filter",
    [
        lambda x: torch.squeeze(x * 1.0),
        lambda x: np.squeeze(x) if isinstance(x, np.ndarray) else 1 / 0,
        lambda x: scattered(x) * 1.0,
        lambda x: x.view(24, 4) * 1.0,
        lambda x: (
            torch.stack([row * 1.0 for row in x.squeeze()]).reshape(x.shape)
            if len(x) > 1
            else x.squeeze()[0]
        ),
    ],
    ids=["squeeze", "NumPy", "at least two", "fixed size", "scalar"],
)
def test_a_filter_that_knows_no_small_batches(attacked, filter):
    """A filter is asked as a model is, on tensors and on arrays."""
    found = attacked(filter=filter)
    expected = attacked(filter=nn.Identity())
    assert found.filtered == expected.filtered
    assert found.filtered.beaten


def test_a_remainder_of_one_sample(attacked, around, model):
    """A clean pass whose last batch holds a lone sample is no error."""
    inputs = torch.rand(257, 4, generator=torch.Generator().manual_seed(2))
    data = inputs, model(inputs).argmax(dim=1)
    found = attacked(around(behind=torch.squeeze), data, steps=2)
    assert found.unfiltered == attacked(on=data, steps=2).unfiltered


def test_one_logit_of_a_remainder(attacked, around, model):
    """One squeezed logit a sample is read alike, alone and in company."""
    inputs = torch.rand(257, 4, generator=torch.Generator().manual_seed(2))
    data = inputs, model(inputs).argmax(dim=1)
    single = around(behind=lambda z: (z[:, 1:] - z[:, :1]).squeeze())
    assert attacked(single, data, steps=2).unfiltered == attacked(on=data, steps=2).unfiltered


def test_as_many_classes_as_samples(attacked):
    """Where K is N a squeezed answer is no other."""
    torch.manual_seed(0)
    model = nn.Linear(4, 3)
    squeezed = nn.Sequential(model, nn.Flatten(0), nn.Unflatten(0, (-1, 3)))
    squeezed.register_forward_hook(lambda module, inputs, outputs: outputs.squeeze())
    inputs = torch.rand(3, 4, generator=torch.Generator().manual_seed(2))
    data = inputs, torch.tensor([0, 1, 2])
    assert attacked(squeezed, data, eps=0.3).unfiltered == attacked(model, data, eps=0.3).unfiltered


def test_an_error_in_every_size(attacked, around, refused):
    """Who answers no batch is refused in the words of the first one."""

    def broken(inputs):
        raise ValueError(f"no {len(inputs)}")

    with refused(ModelError, "model raised ValueError", "no 24"):
        attacked(around(before=broken))
    with refused(FilterError, "filter raised ValueError", "no 24"):
        attacked(filter=broken)
