"""On a GPU the verdicts are those of the CPU, and the model goes home afterwards."""

import pytest
import torch

from pytest_aerobust import evaluate
from pytest_aerobust.subjects.streams import Stream


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
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
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_the_gpus_generator_has_streams_of_its_own():
    """What is drawn on the device, too, goes on where it stopped, and leaves the rest alone."""
    torch.cuda.manual_seed(3)
    outside = torch.rand(2, device="cuda")
    torch.cuda.manual_seed(3)
    stream, drawn = Stream(1), []
    for place in range(2):
        with stream.resumed():
            drawn.append(torch.rand((), device="cuda"))
        assert torch.rand(1, device="cuda") == outside[place]
    assert drawn[0] != drawn[1]
