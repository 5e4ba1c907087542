"""Convolutions answer as in the user's hands, whichever layout of their weights is faster."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from pytest_aerobust import ModelError, evaluate
from pytest_aerobust.contract.attack import chosen
from pytest_aerobust.measurement.measure import measure
from pytest_aerobust.measurement.measurement import Measurement
from pytest_aerobust.subjects.subject import build_subject


def drawn(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


class Net(nn.Module):
    """A convolution, whose weights go through `weight`, and a linear layer on its `features`."""

    def __init__(self, features=lambda hidden: hidden.flatten(1), weight=lambda kernel: kernel):
        super().__init__()
        self.kernel = nn.Parameter(drawn(6, 2, 3, 3))
        self.linear = nn.Parameter(drawn(10, 6 * 8 * 8))
        self._features, self._weight = features, weight
        self.layouts = []

    def forward(self, inputs):
        self.layouts.append(self.kernel.is_contiguous())
        hidden = F.conv2d(inputs, self._weight(self.kernel), padding=1).relu()
        return self._features(hidden) @ self.linear.T


class ViewedGradient(torch.autograd.Function):
    """The identity, whose gradient has to be contiguous."""

    @staticmethod
    def forward(ctx, hidden):
        return hidden.clone()

    @staticmethod
    def backward(ctx, gradient):
        return gradient.view(-1).clone().view(gradient.shape)


def viewed(hidden):
    return hidden.view(len(hidden), -1)


def viewed_where(condition):
    return lambda hidden: viewed(hidden) if condition(hidden) else hidden.flatten(1)


def stored(hidden):
    """Features as they follow each other in memory."""
    return hidden.as_strided((len(hidden), 384), (384, 1))


def standardised(kernel):
    flat = kernel.view(len(kernel), -1)
    return ((flat - flat.mean(1, keepdim=True)) / flat.std(1, keepdim=True)).view(kernel.shape)


def refused(kernel):
    if not kernel.is_contiguous():
        raise RuntimeError("an unexpected layout")
    return kernel


FORMS = {
    "view": {"features": viewed},
    "groups of channels": {"features": lambda h: h.view(len(h), 3, 128).softmax(2).flatten(1)},
    "as_strided": {"features": stored},
    "view of one sample": {"features": viewed_where(lambda h: len(h) == 1)},
    "view of a remainder": {"features": viewed_where(lambda h: len(h) == 14)},
    "view without gradients": {"features": viewed_where(lambda h: not torch.is_grad_enabled())},
    "view with gradients": {"features": viewed_where(lambda h: torch.is_grad_enabled())},
    "view in the backward pass": {
        "features": lambda h: F.max_pool2d(ViewedGradient.apply(h), 1).flatten(1)
    },
    "transposed convolution": {
        "features": lambda h: viewed(F.conv_transpose2d(h, drawn(6, 6, 1, 1)))
    },
    "weight standardisation": {"weight": standardised},
    "strides of the weights": {"weight": lambda w: w.as_strided(w.shape, (18, 9, 3, 1))},
    "weights of another layout": {"weight": refused},
}


@pytest.fixture
def images():
    """270 images (270, 2, 8, 8) in [0, 1]: 14 more than a batch of the clean pass holds."""
    return torch.rand(270, 2, 8, 8, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("form", FORMS)
def test_answers_are_those_of_the_users_hands(form, images):
    """A model that reads strides is right on its own answers, and falls as it does elsewhere."""
    model = Net(**FORMS[form]).eval()
    before = model.kernel.data_ptr(), model.kernel.stride()
    with torch.no_grad():
        labels = model(images).argmax(dim=1)
    found = evaluate(model, (images, labels), attack="bim", eps=0.1, steps=2)
    assert found.unfiltered.correct == len(images)
    assert found.unfiltered.beaten > 0
    assert (model.kernel.data_ptr(), model.kernel.stride()) == before


class Masked(Net):
    """Without a gradient, and with a class that nobody takes at a huge number."""

    def forward(self, inputs):
        logits = super().forward(inputs).detach()
        return torch.cat([logits, torch.full_like(logits[:, :1], -1e7)], dim=1)


def test_a_masked_class_hides_no_other_layout(images):
    """Beside -1e7 the answers are still compared on their own scale."""
    model = Masked(stored).eval()
    labels = model(images).argmax(dim=1)
    found = evaluate(
        model, (images, labels), attack="square", threat="black-box", eps=0.1, queries=5
    )
    assert found.unfiltered.correct == len(images)


@pytest.mark.parametrize("attack", ["L2DeepFoolAttack", "boundary", "square"])
def test_answers_to_every_attack(attack, images):
    """Whoever asks, a `view` behind a convolution is no error."""
    model = Net(viewed).eval()
    labels = model(images).argmax(dim=1)
    found = evaluate(
        model, (images[:80], labels[:80]), attack=attack, eps=0.5, attack_args={"steps": 3}
    )
    assert found.unfiltered.correct == 80


class Smoothing(nn.Module):
    """A convolutional filter, whose answer goes through `answer`."""

    def __init__(self, answer=lambda hidden: hidden):
        super().__init__()
        self.kernel = nn.Parameter(torch.eye(2)[:, :, None, None] * torch.full((3, 3), 0.1))
        self._answer = answer

    def forward(self, inputs):
        return self._answer(F.conv2d(inputs, self.kernel, padding=1))


class Flat(nn.Module):
    """No convolution, and a `view` of its inputs."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Parameter(drawn(10, 2 * 8 * 8))

    def forward(self, inputs):
        return inputs.view(len(inputs), -1) @ self.linear.T


@pytest.mark.parametrize("answer", [lambda h: h, lambda h: viewed(h).view(h.shape)])
@pytest.mark.parametrize("model", [Flat(), Net(viewed), Net()], ids=["flat", "view", "plain"])
@pytest.mark.parametrize("threat", ["white-box", "gray-box", "behind-filter"])
def test_convolutional_filters(model, answer, threat, images):
    """A filter's layout reaches the model behind it, which may take a view of what it gets."""
    filter = Smoothing(answer)
    with torch.no_grad():
        labels = model(filter(images)).argmax(dim=1)
    found = evaluate(
        model, (images, labels), filter=filter, attack="bim", eps=0.1, steps=2, threat=threat
    )
    assert found.filtered.correct == len(images)


def test_another_model_for_the_bare_arm(images):
    """The model that only the bare arm asks is looked at, too."""
    filter, model, bare = Smoothing(), Net(), Net(viewed)
    labels = bare(images).argmax(dim=1)
    found = evaluate(
        model, (images, labels), filter=filter, unfiltered_model=bare, attack="bim", eps=0.1
    )
    assert found.unfiltered.correct == len(images)


def test_an_error_of_the_models_own_is_still_told(images):
    """Without the faster layout the error is the same, and the weights come back."""

    def broken(hidden):
        raise RuntimeError("out of order")

    model = Net(broken)
    before = model.kernel.data_ptr()
    with pytest.raises(ModelError, match="out of order"):
        evaluate(model, (images, torch.arange(270) % 10), attack="bim", eps=0.1)
    assert model.kernel.data_ptr() == before


def test_what_a_convolutional_model_counts_comes_back(images):
    """The questions that compare layouts leave a counter in a buffer where it was."""
    model = Net()
    labels = model(images).argmax(dim=1)
    model.register_buffer("asked", torch.zeros(()))

    def count(module, inputs):
        module.asked += 1

    model.register_forward_pre_hook(count)
    evaluate(model, (images, labels), attack="bim", eps=0.1, steps=1)
    assert model.asked == 0


def lenet():
    return nn.Sequential(
        nn.Conv2d(1, 6, 5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(6, 16, 5),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(400, 10),
    )


def normalised():
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 8, 3, padding=1, groups=4),
        nn.MaxPool2d(4),
        nn.Flatten(),
        nn.Linear(8 * 7 * 7, 10),
    )


@pytest.mark.parametrize("build", [lenet, normalised])
def test_the_faster_layout_is_kept_where_nobody_notices(build):
    """Ordinary convnets are attacked with the channels of their weights innermost."""
    torch.manual_seed(0)
    model = build()
    inputs = torch.rand(80, 1, 28, 28, generator=torch.Generator().manual_seed(1))
    labels = torch.arange(80) % 10
    layouts = []
    model[0].register_forward_hook(
        lambda layer, inputs, outputs: layouts.append(
            outputs.is_contiguous(memory_format=torch.channels_last)
        )
    )
    measurement = Measurement(chosen("bim", "linf", 2, None), 0.1, "white-box")
    measure(build_subject(model, (inputs, labels)), measurement)
    assert sum(layouts) > len(layouts) / 2
