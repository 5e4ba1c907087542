"""On a GPU the verdicts are those of the CPU, and the model goes home afterwards."""

import pytest
import torch
from torch import nn

from pytest_aerobust import Counterexamples, evaluate
from pytest_aerobust.subjects.randomness import Stream

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")


class Seeds(nn.Module):
    """Answers as the model does, and seeds every generator of torch before it."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, x):
        torch.manual_seed(0)
        return self.model(x)


class Mixed(nn.Module):
    """Computes in few bits, as models on a GPU are deployed."""

    def __init__(self, model, dtype):
        super().__init__()
        self.model, self.dtype = model, dtype

    def forward(self, x):
        with torch.autocast(x.device.type, self.dtype):
            return self.model(x).float()


@pytest.mark.gpu
@needs_gpu
@pytest.mark.parametrize("attack", ["fgsm", "bim", "pgd"])
@pytest.mark.parametrize("threat", ["white-box", "gray-box"])
def test_the_gpu_beats_the_same_samples(attack, threat, digits, digits_model, digits_filter):
    """Both devices agree on all but a few samples that rounding decides."""
    data = tuple(part[:300] for part in digits)
    told = {"attack": attack, "eps": 0.08, "filter": digits_filter, "threat": threat}
    there = evaluate(digits_model, data, device="cuda", **told)
    here = evaluate(digits_model, data, device="cpu", **told)
    for name, arm in here.arms.items():
        differing = sum(
            a != b for a, b in zip(arm.outcomes, there.arms[name].outcomes, strict=True)
        )
        assert differing <= 3
    assert next(digits_model.parameters()).device.type == "cpu"


@pytest.mark.gpu
@needs_gpu
def test_the_gpus_generator_has_streams_of_its_own():
    """What is drawn on the device, too, goes on where it stopped, and leaves the rest alone."""
    torch.cuda.manual_seed(3)
    outside = [torch.rand(1, device="cuda") for _ in range(2)]
    torch.cuda.manual_seed(3)
    stream, drawn = Stream(1), []
    for place in range(2):
        with stream.resumed():
            drawn.append(torch.rand((), device="cuda"))
        assert torch.rand(1, device="cuda") == outside[place]
    assert drawn[0] != drawn[1]


@pytest.mark.gpu
@needs_gpu
@pytest.mark.parametrize(
    ("attack", "norm", "eps"),
    [
        ("fmn", "linf", 0.3),
        ("deepfool", "linf", 0.3),
        ("ddn", "l2", 3.0),
    ],
)
def test_an_example_counts_alone_as_well_as_in_company(attack, norm, eps, digits, digits_model):
    """On a GPU rounding depends on the batch, and convolutions round to ten bits."""
    inputs, labels = (part[:50] for part in digits)
    kept = Counterexamples()
    evaluation = evaluate(
        digits_model,
        (inputs, labels),
        attack=attack,
        norm=norm,
        eps=eps,
        device="cuda",
        on_examples=kept,
    )
    assert not [each for each in evaluation.evidence if each.void and each.name != "noise"]
    examples = kept.of("unfiltered")
    assert len(examples) > 15
    model = digits_model.to("cuda")
    with torch.no_grad():
        alone = [model(each.adversarial[None].cuda()).argmax().item() for each in examples]
    digits_model.to("cpu")
    assert all(answer != labels[each.sample] for answer, each in zip(alone, examples, strict=True))


@pytest.mark.gpu
@needs_gpu
@pytest.mark.parametrize("attack", ["boundary", "hop-skip-jump"])
def test_a_model_that_seeds_the_gpu_moves_no_attack(attack, digits, digits_model):
    """The attacker draws the same numbers whatever the model does to the device's generator."""
    data = tuple(part[:10] for part in digits)
    told = {"attack": attack, "norm": "l2", "eps": 2.0, "device": "cuda", "queries": 300}
    plain = evaluate(digits_model, data, **told).unfiltered
    assert evaluate(Seeds(digits_model), data, **told).unfiltered.outcomes == plain.outcomes


@pytest.mark.gpu
@needs_gpu
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_mixed_precision_falls_where_full_precision_does(dtype, digits, digits_model):
    """But for the samples that its few bits decide."""
    data = tuple(part[:200] for part in digits)
    told = {"attack": "bim", "eps": 0.08, "device": "cuda"}
    mixed = evaluate(Mixed(digits_model, dtype), data, **told).unfiltered
    full = evaluate(digits_model, data, **told).unfiltered
    assert abs(mixed.clean_accuracy - full.clean_accuracy) <= 0.02
    assert abs(mixed.survivors - full.survivors) <= 10
