"""Targets that meet unusual models: a verdict, early or in full, still says what was measured."""

from fractions import Fraction

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch import nn

from pytest_aerobust import evaluate
from pytest_aerobust.contract.attack import chosen
from pytest_aerobust.contract.floors import Floors
from pytest_aerobust.contract.mark import cases
from pytest_aerobust.contract.targets import checked_target
from pytest_aerobust.measurement.binding import Parts
from pytest_aerobust.measurement.measure import measure
from pytest_aerobust.measurement.measurement import Measurement
from pytest_aerobust.options.settings import Settings
from pytest_aerobust.plugin.session import Session
from pytest_aerobust.subjects.subject import build_subject
from pytest_aerobust.verdict.judge import judge
from pytest_aerobust.verdict.need import Need, needed


class Three(nn.Module):
    """Classes 0, 1 and 2 along the first number: [0, 0.4), [0.4, 0.6) and the rest."""

    def __init__(self, scale=10.0):
        super().__init__()
        self.linear = nn.Linear(4, 3)
        with torch.no_grad():
            self.linear.weight.zero_()
            self.linear.weight[:, 0] = scale * torch.tensor([0.0, 1.0, 2.0])
            self.linear.bias.copy_(scale * torch.tensor([0.0, -0.4, -1.0]))

    def forward(self, inputs):
        return self.linear(inputs)


class Two(nn.Module):
    """The border between 0 and 1 at the middle of the first number, with logits of its own."""

    def __init__(self, scale=10.0, blind=False):
        super().__init__()
        self.scale, self.blind = nn.Parameter(torch.tensor(scale)), blind

    def forward(self, inputs):
        z = self.scale * (inputs[:, 0] - 0.5)
        logits = torch.stack([-z, z], dim=1)
        return logits.detach() + 0 * logits if self.blind else logits


@pytest.fixture
def many():
    """400 inputs (400, 4) in [0, 1], both sides of every border."""
    return torch.rand(400, 4, generator=torch.Generator().manual_seed(2))


def measured(model, data, floors=None, target="natural", **settings):
    """An evaluation with targets; in full, or until the floors are decided."""
    arguments = {"attack": "bim", "eps": 0.05, "threat": "white-box", "filter": None, **settings}
    choice = chosen(arguments["attack"], None, None, None)
    threat, eps = arguments["threat"], arguments["eps"]
    subject = build_subject(
        model, data, arguments["filter"], unfiltered_model=arguments.get("unfiltered_model")
    )
    measurement = Measurement(choice, eps, threat, checked_target(target), 0)
    return measure(
        subject,
        measurement,
        need=lambda e: Need.ATTACK if floors is None else needed(judge(floors, e)),
    )


@pytest.mark.parametrize("threat", ["white-box", "gray-box", "behind-filter"])
@pytest.mark.parametrize("rule", ["natural", "non-natural"])
def test_derived_targets_are_classes_that_both_models_have(threat, rule, many):
    """The bare arm's own model may know a class that the deployed one can't be sent to."""
    labels = (many[:, 0] > 0.5).long()
    bare = Three()
    evaluation = evaluate(
        Two(),
        (many, labels),
        filter=nn.Identity(),
        unfiltered_model=bare,
        attack="bim",
        eps=0.05,
        target=rule,
        threat=threat,
    )
    assert bare(many).argmax(dim=1).max() == 2
    assert evaluation.targets == (1, 0)
    assert evaluation.classes == ("0", "1")


@pytest.mark.parametrize("scale", [10.0, 1000.0])
def test_a_confident_model_has_the_same_verdict_early_and_in_full(scale, many):
    """Where a softmax saturates the labels' loss is flat, and that of the targets is not."""
    model = Two(scale)
    data = many, model(many).argmax(dim=1)
    floors = Floors(min_acc=Fraction(1, 5))
    verdicts = [judge(floors, measured(model, data, wanted)) for wanted in (None, floors)]
    assert [verdict.outcome for verdict in verdicts] == ["passed", "passed"]


def test_a_stock_attack_is_weighed_by_the_loss_of_its_targets(many):
    """Foolbox's own attack moves a confident model's samples, so nothing is void."""
    model = Two(1000.0)
    data = many, model(many).argmax(dim=1)
    evaluation = measured(model, data, attack="LinfBasicIterativeAttack")
    assert evaluation.unfiltered.beaten > 20
    assert not any(finding.void for finding in evaluation.evidence)


def test_targets_derived_by_a_blind_attack_are_said(many):
    """The untargeted attack that natural targets rest on could not move a blind model."""
    for blind in (False, True):
        model = Two(blind=blind)
        evaluation = measured(model, (many, model(many).argmax(dim=1)))
        said = any("targets come from the untargeted attack" in n for n in evaluation.notes)
        assert said is blind


def test_an_early_stop_leaves_open_whether_beaten_samples_reach_their_target(many):
    """Stopped mid-search, the interval of target hits still holds the number of the full run."""
    model = Three()
    data = many, model(many).argmax(dim=1)
    settings = {"target": {0: 2}, "eps": 0.7}
    floors = Floors(max_drop=Fraction(1, 1000))
    full = measured(model, data, **settings).unfiltered
    early = measured(model, data, floors, **settings).unfiltered
    assert (early.complete, full.complete) == (False, True)
    assert ("h" in early.outcomes, "h" in full.outcomes) == (True, False)
    for name in ("accuracy_interval", "drop_interval", "target_hits_interval"):
        within, exact = getattr(early, name), getattr(full, name)
        assert within.low <= exact.low == exact.high <= within.high
    hits, pending = early.outcomes.count("t"), early.outcomes.count("?")
    attacked = early.correct - early.exempt
    assert early.target_hits_interval.high > Fraction(hits + pending, attacked)


@pytest.mark.parametrize("full", [True, False])
@pytest.mark.parametrize("blind", [True, False])
def test_in_the_gray_box_each_model_that_is_crafted_on_needs_gradients(full, blind, many):
    """Examples of the bare arm's own model alone are half the attack: no evidence for a pass."""
    model = Two(blind=blind)
    data = many, model(many).argmax(dim=1)
    floors = None if full else Floors(min_acc=Fraction(1, 5))
    evaluation = measured(
        model,
        data,
        floors,
        target=None,
        threat="gray-box",
        filter=nn.Identity(),
        unfiltered_model=Two(10.0),
    )
    assert any(f.void and f.arm == "filtered" for f in evaluation.evidence) is blind
    assert not any(f.void and f.arm == "unfiltered" for f in evaluation.evidence)


@pytest.mark.parametrize(
    ("floor", "vacuous"),
    [({"min_acc": 0.6}, False), ({"min_acc": 0.55}, True), ({"max_drop": 0.5}, True)],
)
def test_a_floor_that_unattacked_samples_hold_is_vacuous(floor, vacuous, many):
    """With class 0 of about 0.4 attacked alone, the others hold any lower floor by themselves."""
    model = Three()
    labels = model(many).argmax(dim=1)
    (case,) = cases("bim", 0.3, target={0: 2}, **floor)
    settings = Settings()
    parts = Parts(model, (many, labels), None, (0.0, 1.0), None)
    result = Session(settings).guard(settings.settle(case.contract), parts, "test").check()
    assert 0.55 < float((labels != 0).float().mean()) < 0.6
    assert any("right and not attacked" in note for note in result.evaluation.notes) is vacuous


def test_a_failure_counts_the_attacked_samples_alone(many):
    """Samples of classes that a mapping leaves out are not among those that were attacked."""
    model = Three()
    labels = model(many).argmax(dim=1)
    (case,) = cases("bim", 0.7, target={0: 2}, min_acc=0.9)
    settings = Settings(full=True)
    parts = Parts(model, (many, labels), None, (0.0, 1.0), None)
    result = Session(settings).guard(settings.settle(case.contract), parts, "test").check()
    attacked = int((labels == 0).sum())
    with pytest.raises(pytest.fail.Exception, match=f"of {attacked} attacked samples beaten"):
        result.enforce("test")


def test_classes_called_by_numerals_are_named_by_their_numbers(many):
    """Labels '1' and '7', as OpenML gives them: target=1 is the class '1', not the second."""
    labels = np.where(many[:, 0] > 0.5, "7", "1")
    model = LogisticRegression().fit(many.numpy(), labels)
    evaluation = evaluate(model, (many, labels), attack="bim", eps=0.05, target={1: 7})
    assert evaluation.targets == (1, None)
    assert evaluate(model, (many, labels), attack="bim", eps=0, target=1).targets == (0, 0)
