"""Evidence where parts meet: models of their own, one logit, buffers, budgets of queries."""

import copy

import pytest
import torch
from sklearn.ensemble import RandomForestClassifier
from torch import nn

from pytest_aerobust import ContractError, evaluate
from pytest_aerobust.contract.mark import cases
from pytest_aerobust.measurement.binding import Parts
from pytest_aerobust.options.settings import Settings
from pytest_aerobust.plugin.session import Session
from pytest_aerobust.subjects.borrowing import digest


def void(evaluation, arm="unfiltered"):
    return {finding.name for finding in evaluation.evidence if finding.void and finding.arm == arm}


class Noisy(nn.Module):
    """A model whose answers are random."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, inputs):
        logits = self.model(inputs)
        return logits + torch.randn_like(logits)


class Astray(torch.autograd.Function):
    """The identity, whose gradient is drowned in a pattern that has nothing to do with it."""

    @staticmethod
    def forward(ctx, inputs):
        return inputs.clone()

    @staticmethod
    def backward(ctx, gradient):
        pattern = torch.randn(gradient.shape[1:], generator=torch.Generator().manual_seed(3))
        return gradient / gradient.abs().mean(dim=1, keepdim=True).clamp_min(1e-9) + 3 * pattern


def test_a_random_bare_model_does_not_spare_the_pipeline(model, data):
    """The pipeline that the floors speak of is attacked, whatever the bare arm's own model does."""
    (case,) = cases("bim", 0.9, min_acc=0.9)
    settings = Settings()
    parts = Parts(model, data, nn.Identity(), (0.0, 1.0), Noisy(model))
    session = Session(settings)
    judged = session.guard(settings.settle(case.contract), parts, "test").check()
    assert judged.verdict.outcome == "failed"
    with pytest.raises(pytest.fail.Exception):
        judged.enforce("test")


def test_a_copy_for_the_bare_arm_does_not_hide_a_filter():
    """What transfers from the deployed model itself is tried where the bare arm has another."""
    generator = torch.Generator().manual_seed(0)
    linear = nn.Linear(64, 2)
    with torch.no_grad():
        linear.weight.copy_(
            torch.stack([torch.zeros(64), 5 * torch.randn(64, generator=generator)])
        )
        linear.bias.copy_(-linear.weight.sum(1) / 2)
    inputs = torch.rand(300, 64, generator=generator) * 0.6 + 0.2
    margin, reach = linear(inputs).diff().flatten().abs(), 0.05 * linear.weight[1].abs().sum()
    inputs = inputs[(0.5 * reach < margin) & (margin < 0.9 * reach)]
    data = inputs, linear(inputs).argmax(dim=1)
    settings = {"attack": "pgd", "eps": 0.05, "filter": Astray.apply}
    assert evaluate(linear, data, **settings).filtered.accuracy == 0
    found = evaluate(linear, data, unfiltered_model=copy.deepcopy(linear), **settings)
    assert found.filtered.accuracy > 0
    assert "transfer" in void(found, "filtered")


def test_randomness_of_one_logit_is_seen(data):
    """[0, z] of unit length shows z by its sign alone; the check looks at more."""

    class OneLogit(nn.Module):
        def forward(self, inputs):
            return 50 * (inputs[:, :1] - 0.5) + 2 * torch.randn(len(inputs), 1)

    inputs = data[0]
    inputs[:, 0] = torch.where(inputs[:, 0] < 0.5, 0.1, 0.9)
    found = evaluate(OneLogit(), (inputs, (inputs[:, 0] > 0.5).long()), attack="bim", eps=0.01)
    assert "determinism" in void(found)


@pytest.mark.parametrize(
    "change", [lambda w: w + 1, lambda w: -w, lambda w: w.flip(0), lambda w: w * 2]
)
def test_every_change_of_a_weight_shows(change):
    """The digest that evidence is remembered by differs wherever a bit does."""
    module = nn.Linear(10, 1, bias=False)
    nn.init.ones_(module.weight)
    with torch.no_grad():
        module.weight[0, 0] = 3.0
    before = digest([module])
    assert digest([module]) == before
    with torch.no_grad():
        module.weight.copy_(change(module.weight.flatten()).reshape(1, 10))
    assert digest([module]) != before


def test_a_forest_stands_up_to_square(data):
    """Scores in float64, in steps: searched to the end, and no evidence against it."""
    inputs, labels = data
    forest = RandomForestClassifier(random_state=0).fit(inputs.numpy(), labels.numpy())
    found = evaluate(forest, (inputs, labels), attack="square", eps=0.05, steps=50)
    assert found.queries.most <= 50
    assert not void(found)


def test_a_mask_that_leaves_only_constants_is_refused(attacked, refused, data):
    """Features that may change but have one value leave nothing to attack."""
    data[0][:, 0] = 0
    bounds = ([0.0, 0.0, 0.0, 0.0], [0.0, 1.0, 1.0, 1.0])
    with refused(ContractError, "nothing to attack"):
        attacked(bounds=bounds, mutable=[True, False, False, False])


def test_noise_is_no_free_query(attacked):
    """With one answer granted, what noise of the evidence finds does not count."""
    told = {"attack": "square", "eps": 0.4, "queries": 1}
    alone = attacked(**told, waive={"noise": "compared with"})
    assert attacked(**told).unfiltered.outcomes == alone.unfiltered.outcomes


def test_a_masked_class_hides_no_dependence_on_the_batch(data):
    """Beside a class at -1e7 the answers of the others are still compared on their own scale."""

    class Company(nn.Module):
        """Answers by the mean of its batch, too."""

        def forward(self, x):
            z = (x - 0.5).sum(dim=1) + 0.1 * x.mean()
            return torch.stack([-z, z, torch.full_like(z, -1e7)], dim=1)

    inputs = data[0]
    labels = (inputs.sum(dim=1) > 0.5 * inputs.shape[1]).long()
    found = evaluate(Company(), (inputs, labels), attack="bim", eps=0.01)
    assert "batch independence" in void(found)
