"""On a GPU the verdicts are those of the CPU, and the model goes home afterwards."""

import pytest
import torch

from pytest_aerobust import evaluate


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
