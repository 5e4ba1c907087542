"""Models that answer with one logit or with probabilities are read as what they mean."""

import pytest
import torch
from torch import nn

from pytest_aerobust import DataError, ModelError
from pytest_aerobust.subjects.logits import Answers

NOISE = "LinfRepeatedAdditiveUniformNoiseAttack"


class Binary(nn.Module):
    """One logit z for two classes: that of the difference between a model's two."""

    def __init__(self, model, shape="(N, 1)", behind=None):
        super().__init__()
        self.model, self.shape, self.behind = model, shape, behind or (lambda z: z)

    def forward(self, inputs):
        logits = self.model(inputs)
        z = self.behind(logits[:, 1] - logits[:, 0])
        return {"(N,)": z, "(N, 1)": z[:, None], "squeezed": z.squeeze()}[self.shape]


ATTACKS = ["bim", "pgd", "LinfPGD", "L2DeepFoolAttack", NOISE]


@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize("shape", ["(N,)", "(N, 1)", "squeezed"])
def test_one_logit(attacked, model, attack, shape):
    """One logit z is [0, z], so the same model with two has the same fate (BAD INPUTS 5.16)."""
    found, expected = attacked(Binary(model, shape), attack=attack), attacked(attack=attack)
    assert found.unfiltered == expected.unfiltered
    assert any("one logit z a sample: read as the logits [0, z]" in note for note in found.notes)


@pytest.mark.parametrize("shape", ["(N,)", "(N, 1)"])
def test_one_probability(attacked, model, shape):
    """Numbers in [0, 1] would as logits be class 1 throughout, so they are its probability."""
    found = attacked(Binary(model, shape, torch.sigmoid))
    assert found.unfiltered == attacked().unfiltered
    assert any("read as the probability of class 1" in note for note in found.notes)


@pytest.mark.parametrize("attack", ATTACKS)
def test_probabilities(attacked, around, attack):
    """A softmax at the end is undone, so it changes nothing but the notes (BAD INPUTS 2.2)."""
    found = attacked(around(behind=lambda z: z.softmax(1)), attack=attack)
    assert found.unfiltered == attacked(attack=attack).unfiltered
    assert any("class probabilities: inverted to logits" in note for note in found.notes)


def test_probabilities_of_a_confident_model(attacked, around):
    """Without the inversion the softmax of a softmax is flat: its gradients would vanish."""
    sharp = around(behind=lambda z: (20 * z).softmax(1))
    found = attacked(sharp, eps=0.2)
    assert found.unfiltered == attacked(around(behind=lambda z: 20 * z), eps=0.2).unfiltered
    assert not any(finding.void for finding in found.evidence)


@pytest.mark.parametrize("threat", ["white-box", "gray-box"])
def test_probabilities_behind_a_filter(attacked, around, threat):
    """Both arms read the answers of one model alike, and say so once."""
    settings = {"filter": lambda x: x * 0.9 + 0.05, "threat": threat}
    found = attacked(around(behind=lambda z: z.softmax(1)), **settings)
    assert found.arms == attacked(**settings).arms
    assert sum("probabilities" in note for note in found.notes) == 1


def test_each_arms_own_model_is_read_by_itself(attacked, model, around):
    """A bare arm whose own model answers with probabilities leaves the deployed one's logits."""
    own = around(behind=lambda z: z.softmax(1))
    filter = nn.Identity()
    found = attacked(filter=filter, unfiltered_model=own)
    assert found.arms == attacked(filter=filter).arms


@pytest.mark.parametrize(
    "behind",
    [lambda z: z, lambda z: z.softmax(1) + 2e-5, lambda z: z.softmax(1) * 2 - 0.5],
    ids=["logits", "a sum above 1", "outside [0, 1]"],
)
def test_what_is_no_probability_stays(attacked, around, behind):
    """Answers that miss a sum of 1 by more than 1e-5 are logits, and nothing is said of them."""
    assert not any("probabilit" in note for note in attacked(around(behind=behind)).notes)


def test_probabilities_of_zero_are_finite_logits():
    """A probability that underflowed is a very small one, not minus infinity."""
    answers = Answers()
    clean = torch.tensor([[1.0, 0.0], [0.25, 0.75]])
    logits = answers.settled(answers.read(clean, 2))
    assert logits.isfinite().all()
    assert torch.allclose(logits.softmax(dim=1), clean)
    assert torch.equal(answers.read(clean, 2), logits)


def test_constant_binary_classifier(attacked, model, refused):
    """One logit that is above 1 throughout is class 1 for every sample: refused as such."""
    with refused(ModelError, "the model answers class 1 for all 24 samples"):
        attacked(Binary(model, behind=lambda z: z.sigmoid() + 1))


def test_a_label_beyond_a_binary_model(attacked, model, data, refused):
    """A single logit has the classes 0 and 1."""
    inputs, labels = data
    with refused(DataError, "is 2, but the model has 2 classes"):
        attacked(Binary(model), (inputs, labels + 1))
