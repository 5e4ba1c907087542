"""Filters that hide their gradients: caught, substituted by the identity, and said so."""

import numpy as np
import pytest
import torch
from scipy.ndimage import median_filter
from torch import nn

from pytest_aerobust import ContractError, Counterexamples, FilterError, evaluate
from pytest_aerobust.subjects.bpda import as_identity

AUTOMATIC = "filter_gradient='identity', BPDA"


def quantised(x):
    """Eight grey levels: the gradient is zero wherever it exists."""
    return (x * 7).round() / 7


def median(images):
    """A filter of arrays alone, (N, 1, 28, 28), that answers in float64."""
    if not isinstance(images, np.ndarray):
        raise TypeError("arrays only")
    return median_filter(images.astype(float), size=(1, 1, 3, 3))


def through_scipy(images):
    """A filter that NumPy can be asked with tensors for, as long as nobody records gradients."""
    return median_filter(images, size=(1, 1, 3, 3))


@pytest.fixture
def measured(digits_model, digits):
    """BIM at eps 0.3 on 60 digits behind a filter."""

    def run(filter, **settings):
        data = digits[0][:60], digits[1][:60]
        return evaluate(digits_model, data, attack="bim", eps=0.3, filter=filter, **settings)

    return run


def test_a_quantising_filter_is_seen_through(measured):
    """Exact gradients leave it all but untouched and void; the identity's break it."""
    alone = {"transfer": "the search itself is looked at", "noise": "likewise"}
    exact = measured(
        quantised, filter_gradient="exact", unfiltered_model=nn_of_its_own(), waive=alone
    )
    identity = measured(quantised, filter_gradient="identity", unfiltered_model=nn_of_its_own())
    assert exact.filtered.accuracy > 0.9
    assert any(e.name == "gradients" and e.arm == "filtered" and e.void for e in exact.evidence)
    assert identity.filtered.accuracy < 0.1
    assert not [e for e in identity.evidence if e.arm == "filtered" and e.void]


def nn_of_its_own():
    """A bare arm that finds nothing for the pipeline, so that its own search must."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(784, 10))


@pytest.mark.parametrize("filter", [quantised, median, through_scipy])
def test_the_identity_is_chosen_where_there_is_no_gradient(measured, filter):
    """By default such filters are attacked as with filter_gradient='identity', with a note."""
    found = measured(filter)
    assert sum(AUTOMATIC in note for note in found.notes) == 1
    assert found.filtered == measured(filter, filter_gradient="identity").filtered
    assert found.filtered.accuracy < 0.3


def test_a_filter_with_a_gradient_keeps_it(measured, digits_filter):
    """The default is exact where the filter is differentiable, and nothing is said of it."""
    found = measured(digits_filter)
    assert found == measured(digits_filter, filter_gradient="exact")
    assert not any("identity" in note for note in found.notes)


@pytest.mark.parametrize("attack", ["LinfBasicIterativeAttack", "L2DeepFoolAttack"])
def test_stock_attacks_follow_the_identity_too(digits_model, digits, attack):
    """Foolbox's own gradient attacks see through a filter of arrays."""
    data = digits[0][:40], digits[1][:40]
    settings = {"attack": attack, "eps": 0.3 if attack.startswith("Linf") else 4.0}
    found = evaluate(digits_model, data, filter=median, **settings)
    assert found.filtered.accuracy < 0.5


def test_numpy_filters_are_described(measured):
    """What an array filter's answers are taken as is said, once."""
    (note,) = [note for note in measured(median).notes if "NumPy" in note]
    assert "the filter answers with NumPy arrays of float64: taken as tensors of torch" in note


def test_every_example_errs_behind_the_filter_itself(digits_model, digits):
    """Substituted gradients never reach the judge: each example is wrong behind the true filter."""
    kept = Counterexamples()
    data = digits[0][:40], digits[1][:40]
    evaluate(digits_model, data, attack="bim", eps=0.3, filter=median, on_examples=kept)
    found = kept.of("filtered")
    assert found
    for example in found:
        seen = median(np.asarray(example.adversarial)[None])
        with torch.no_grad():
            answer = digits_model(torch.tensor(seen, dtype=torch.float32)).argmax().item()
        assert answer == example.answer != data[1][example.sample]


def test_an_exact_gradient_that_is_not_there(measured):
    """filter_gradient='exact' on a filter without one is an error that names the identity."""
    with pytest.raises(FilterError, match="state filter_gradient='identity', or leave it out"):
        measured(median, filter_gradient="exact")


@pytest.mark.parametrize("passing", ["exact", "identity"])
def test_without_a_filter_there_is_nothing_to_pass(measured, passing):
    """The argument speaks of a filter, so there must be one."""
    with pytest.raises(ContractError, match="how gradients pass the filter, but filter=None"):
        measured(None, filter_gradient=passing)


def test_the_identity_is_exact_forward():
    """Forward the outputs come bit for bit, backward what arrives goes to the inputs."""
    inputs = torch.rand(3, 4, requires_grad=True)
    outputs, arriving = torch.rand(3, 4) * 1e-9, torch.rand(3, 4)
    passed = as_identity(inputs, outputs)
    assert torch.equal(passed, outputs)
    assert torch.equal(torch.autograd.grad(passed, inputs, arriving)[0], arriving)
