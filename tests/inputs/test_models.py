"""Models of every supported kind are measured alike; every other answer is refused with a cure."""

from dataclasses import dataclass

import foolbox
import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from foolbox import PyTorchModel
from torch import nn

from pytest_aerobust import ContractError, ModelError

NOISE = "LinfRepeatedAdditiveUniformNoiseAttack"


class Mapping(dict):
    """An answer as transformers gives it: a dict whose entries are attributes, too."""

    __getattr__ = dict.__getitem__


@dataclass
class Answer:
    logits: torch.Tensor


ANSWERS = {
    "tuple": (lambda z: (z, z), "tuple", "the logits among its 2 entries, such as outputs[0]"),
    "list": (lambda z: [z], "list", "the logits among its 1 entries, such as outputs[0]"),
    "dict": (lambda z: {"logits": z}, "dict", "outputs['logits']"),
    "other dict": (lambda z: {"scores": z}, "dict", "the tensor of logits alone"),
    "model output": (lambda z: Mapping(logits=z), "Mapping", "outputs['logits']"),
    "dataclass": (Answer, "Answer", "outputs.logits"),
    "array": (lambda z: z.detach().numpy(), "ndarray", "the tensor of logits alone"),
    "nothing": (lambda z: None, "NoneType", "the tensor of logits alone"),
}


@pytest.mark.parametrize("answer", ANSWERS)
def test_answers_that_are_no_tensor(attacked, around, refused, answer):
    """An answer that is no tensor is refused with its type and how to select the logits
    (BAD INPUTS 5.15).
    """
    behind, kind, selection = ANSWERS[answer]
    with refused(
        ModelError,
        f"model answers with a {kind}: expected logits of shape (N, K)",
        f"Wrap it in a module whose forward returns {selection}",
    ):
        attacked(around(behind=behind))


@pytest.mark.parametrize(
    ("behind", "parts"),
    [
        (lambda z: z[:5, 0], ["shape (5,): expected (24, K), one logit a class"]),
        (lambda z: z[:, :0], ["shape (24, 0): expected (24, K), one logit a class"]),
        (lambda z: z.mean(), ["shape ()", "expected"]),
        (lambda z: z[:, :, None], ["shape (24, 2, 1): expected (24, K), one logit a class"]),
        (lambda z: z.T, ["shape (2, 24): expected (24, K), one logit a class"]),
        (lambda z: z[:5], ["shape (5, 2): expected (24, K), one logit a class"]),
    ],
    ids=["(5,)", "(N, 0)", "()", "(N, K, 1)", "(K, N)", "(5, K)"],
)
def test_answers_of_another_shape(attacked, around, refused, behind, parts):
    """An answer of another shape is refused with that shape and the one expected
    (BAD INPUTS 1.6, 2.2, 5.16).
    """
    with refused(ModelError, "model answers with", *parts):
        attacked(around(behind=behind))


@pytest.mark.parametrize(
    ("behind", "dtype"),
    [
        (lambda z: (z * 100).long(), "int64"),
        (lambda z: z >= z.amax(1, keepdim=True), "bool"),
        (lambda z: z + 0j, "complex64"),
    ],
    ids=["int64", "bool", "complex"],
)
def test_answers_that_are_no_floats(attacked, around, refused, behind, dtype):
    """Logits are floating-point numbers; decisions alone carry no gradient."""
    with refused(ModelError, dtype):
        attacked(around(behind=behind))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_logits(attacked, around, refused, dtype):
    """Logits in half precision tie, and a tie survives: refused as a model in half precision is."""
    with refused(ModelError, str(dtype)):
        attacked(around(behind=lambda z: (z + 64).to(dtype)))


def test_double_precision_logits(attacked, around):
    """Logits more precise than the inputs are welcome."""
    assert attacked(around(behind=torch.Tensor.double)).unfiltered == attacked().unfiltered


@pytest.mark.parametrize(
    "behind",
    [
        lambda z: z * torch.nan,
        lambda z: torch.where(z == z.max(), torch.nan, z),
        lambda z: torch.exp(z * 1e6),
        lambda z: z.masked_fill(z < 0, -torch.inf),
    ],
    ids=["all NaN", "one NaN", "overflow", "minus infinity"],
)
@pytest.mark.parametrize("attack", ["bim", NOISE])
def test_logits_that_are_no_numbers(attacked, around, refused, behind, attack):
    """NaN or infinite logits on the clean inputs can't be judged: an error, not accuracy 1
    (BAD INPUTS 1.5, 2.2, 5.17).
    """
    with refused(
        ModelError, "model's logits are NaN or infinite for", "of 24 inputs", "no answer can be"
    ):
        attacked(around(behind=behind), attack=attack)


class Trap(nn.Module):
    """Answers NaN for everything that is not among the clean inputs."""

    def __init__(self, model, known):
        super().__init__()
        self.model, self.known = model, known

    def forward(self, inputs):
        clean = (inputs[:, None] == self.known[None]).all(-1).any(-1, keepdim=True)
        return torch.where(clean, self.model(inputs), torch.nan)


@pytest.mark.parametrize("attack", ["bim", "pgd", NOISE, "LinfPGD", "L2DeepFoolAttack"])
def test_logits_that_break_only_under_attack(attacked, model, data, refused, attack):
    """NaN logits on attacked inputs are an error too: the true class would look unbeaten
    (BAD INPUTS 1.5, 2.2, 5.17).
    """
    with refused(ModelError, "model's logits are NaN or infinite for"):
        attacked(Trap(model, data[0]), attack=attack)


def test_clean_or_attacked_is_said(attacked, model, data):
    """Whether clean or attacked inputs gave NaN tells where to look for it."""
    with pytest.raises(ModelError, match="attack"):
        attacked(Trap(model, data[0]))


@pytest.mark.parametrize("attack", ["NewtonFoolAttack", "VirtualAdversarialAttack"])
def test_attack_that_asks_with_nan_is_not_the_models_fault(attacked, around, attack):
    """NewtonFool and VAT divide by a vanished gradient and ask with NaN inputs
    (BAD INPUTS 1.15).
    """
    settings = {"attack_args": {"steps": 3}} if attack == "VirtualAdversarialAttack" else {}
    try:
        result = attacked(around(behind=lambda z: z * 1000), attack=attack, eps=0.5, **settings)
    except Exception as error:
        assert type(error).__name__ == "AttackError", error  # noqa: PT017
    else:
        assert result.complete


def test_constant_classifier(attacked, around, refused):
    """A model that answers one class for everything can't be attacked (BAD INPUTS 1.6, 2.3)."""
    with refused(
        ModelError, "the model answers class 1 for all 24 samples", "Are its weights loaded, and"
    ):
        attacked(around(behind=lambda z: z * 0 + torch.tensor([0.0, 1.0])))


def test_forward_that_raises(attacked, around, refused):
    """A forward that raises is an error with the cause and the inputs' shape (BAD INPUTS 5.18)."""

    def broken(inputs):
        raise KeyError("weights")

    with refused(
        ModelError, "model raised KeyError on inputs of shape (24, 4) torch.float32: 'weights'"
    ) as info:
        attacked(around(before=broken))
    assert isinstance(info.value.__cause__, KeyError)


def test_inputs_of_another_shape(attacked, data, refused):
    """A model that can't take the inputs says so with their shape and torch's words."""
    with refused(
        ModelError, "shape (24, 7)", "mat1 and mat2 shapes", "Expected the shape that the model"
    ):
        attacked(on=(torch.rand(24, 7), data[1]))


@pytest.mark.parametrize("channels", [1, 3])
def test_channels_last(attacked, data, refused, channels):
    """Images with their channels last are recognised, and the cure is named (BAD INPUTS 5.7)."""
    images = torch.rand(24, 8, 8, channels)
    net = nn.Sequential(nn.Conv2d(channels, 2, 8), nn.Flatten())
    with refused(
        ModelError,
        f"shape (24, 8, 8, {channels})",
        "The inputs look like (N, H, W, C): permute them to (N, C, H, W)",
    ):
        attacked(net, (images, data[1]))


def test_shape_is_not_blamed_once_clean_inputs_went_through(attacked, around, refused):
    """What fails only while gradients are recorded has nothing to do with the shape."""
    by_numpy = around(before=lambda x: torch.from_numpy(x.numpy()))
    with refused(ModelError, "Can't call numpy() on Tensor that requires grad", "black-box"):
        attacked(by_numpy)


class UnderNoGrad(nn.Module):
    def __init__(self, model, context):
        super().__init__()
        self.model, self.context = model, context

    def forward(self, inputs):
        with self.context():
            return self.model(inputs)


BLIND = {
    "detached logits": lambda model, around: around(behind=torch.Tensor.detach),
    "detached inputs": lambda model, around: around(before=torch.Tensor.detach),
    "numpy": lambda model, around: around(before=lambda x: torch.tensor(x.detach().numpy())),
    "no_grad": lambda model, around: UnderNoGrad(model, torch.no_grad),
    "inference_mode": lambda model, around: UnderNoGrad(model, torch.inference_mode),
}


@pytest.mark.parametrize("blind", BLIND)
def test_models_without_gradients(attacked, model, around, refused, blind):
    """A gradient attack needs gradients; without them the way out is named (BAD INPUTS 5.19)."""
    with refused(
        ModelError,
        "model is not differentiable",
        "detach, no_grad or NumPy inside?",
        "threat='black-box'",
        "boundary, hop-skip-jump",
    ):
        attacked(BLIND[blind](model, around))


@pytest.mark.parametrize("blind", BLIND)
def test_models_without_gradients_can_be_asked(attacked, model, around, blind):
    """The way out works: an attack that asks for answers alone needs no gradient."""
    found = attacked(BLIND[blind](model, around), attack=NOISE, eps=0.2)
    assert found.unfiltered == attacked(attack=NOISE, eps=0.2).unfiltered
    assert found.unfiltered.beaten


@pytest.mark.parametrize(
    ("attack", "arguments"),
    [
        ("LinfPGD", {}),
        ("L2CarliniWagnerAttack", {"binary_search_steps": 1, "steps": 3}),
        ("EADAttack", {"binary_search_steps": 1, "steps": 3}),
        ("DDNAttack", {"steps": 3}),
    ],
)
def test_foolbox_attacks_on_models_without_gradients(attacked, around, refused, attack, arguments):
    """Foolbox's own gradient attacks say the same of such a model."""
    with refused(ModelError, "not differentiable", "black-box"):
        attacked(around(behind=torch.Tensor.detach), attack=attack, attack_args=arguments)


class NoBackward(torch.autograd.Function):
    @staticmethod
    def forward(ctx, inputs):
        return inputs.clone()

    @staticmethod
    def backward(ctx, gradient):
        raise NotImplementedError("no kernel")


def test_backward_that_raises(attacked, around, refused):
    """A backward pass that raises is the model's error, with the cause."""
    with refused(ModelError, "NotImplementedError", "no kernel"):
        attacked(around(before=NoBackward.apply))


@pytest.mark.parametrize(
    "behind",
    [
        lambda z: z.detach() + 0 * z,
        lambda z: torch.log(torch.softmax(100 * z, 1) + 1e-45),
    ],
    ids=["detach + 0 x", "saturated logarithm"],
)
def test_gradients_that_vanish_are_evidence(attacked, around, behind):
    """Where most samples have no gradient, a pass of a gradient attack is void and says so
    (BAD INPUTS 1.1, 2.4).
    """
    (finding,) = [e for e in attacked(around(behind=behind)).evidence if e.name == "gradients"]
    assert finding.void
    assert "of the attacked samples have no gradient" in finding.text
    assert "no evidence of robustness" in finding.text
    assert "black-box" in finding.text


@pytest.mark.parametrize("scale", [1e4, 1e6])
def test_saturated_logits_are_attacked_by_their_margin(attacked, around, scale):
    """Where the cross entropy is flat the margin's gradient finds what it finds unscaled."""
    plain, steep = attacked(), attacked(around(behind=lambda z: z * scale))
    assert 0 < plain.unfiltered.survivors < 24
    assert steep.unfiltered.survivors == plain.unfiltered.survivors
    assert not any(e.void for e in steep.evidence)


@pytest.mark.parametrize("attack", ["LinfPGD", "LInfFMNAttack", "LinfBasicIterativeAttack"])
def test_gradients_that_vanish_are_evidence_for_foolbox_attacks_too(attacked, around, attack):
    """Blind gradients void a pass, whoever's gradient attack met them."""
    blind = around(behind=lambda z: z.detach() + 0 * z)
    found = attacked(blind, attack=attack)
    assert any(e.void for e in found.evidence), f"accuracy {found.unfiltered.accuracy} is believed"


@pytest.mark.parametrize(
    ("thing", "kind"),
    [(nn.Linear, "class"), ("model.pt", "str"), (None, "NoneType"), ({"weight": 1}, "dict")],
)
def test_objects_that_are_no_model(attacked, refused, thing, kind):
    """Anything else is refused with its type and what is supported."""
    with refused(
        ModelError,
        kind,
        "expected a torch.nn.Module, a LightningModule, a scikit-learn classifier or a foolbox",
    ):
        attacked(thing)


def test_function_in_place_of_a_model(attacked, refused, model):
    """A function is told how it becomes a model."""
    with refused(ModelError, "function", "wrap"):
        attacked(lambda x: model(x))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_models(attacked, model, refused, dtype):
    """A model in half precision is refused: small budgets vanish in it."""
    with refused(ModelError, f"model is in {dtype}", "call model.float()"):
        attacked(model.to(dtype))


def test_lazy_models(attacked, refused):
    """A lazy layer has no weights yet, so there is nothing to attack."""
    with refused(ModelError, "lazy"):
        attacked(nn.LazyLinear(2))


class Lit(pl.LightningModule):
    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, inputs):
        return self.net(inputs)

    def predict_step(self, batch):
        raise AssertionError("only forward is asked")


def test_lightning_modules(attacked, model):
    """A LightningModule is a module."""
    assert attacked(Lit(model).eval()) == attacked()


def test_foolbox_models(attacked, model):
    """A ready PyTorchModel gives what its module gives."""
    assert attacked(PyTorchModel(model, bounds=(0, 1))).arms == attacked().arms


@pytest.mark.parametrize("attack", ["bim", "pgd", "LinfPGD", NOISE])
def test_foolbox_models_with_preprocessing(attacked, model, attack):
    """A ready PyTorchModel keeps its preprocessing; it equals mean= and std=."""
    ready = PyTorchModel(model.eval(), bounds=(0, 1), preprocessing={"mean": 0.4, "std": 0.7})
    found, expected = attacked(ready, attack=attack), attacked(attack=attack, mean=0.4, std=0.7)
    assert found.unfiltered == expected.unfiltered
    assert found.unfiltered != attacked(attack=attack).unfiltered


def test_foolbox_models_with_preprocessing_by_channel(attacked, data):
    """Statistics a channel in a PyTorchModel equal mean= and std= a channel."""
    net = nn.Sequential(nn.Conv2d(3, 2, 4), nn.Flatten()).eval()
    images = torch.rand(24, 3, 4, 4, generator=torch.Generator().manual_seed(2))
    mean, std = [0.4, 0.5, 0.6], [0.2, 0.3, 0.4]
    labels = net((images - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[:, None, None])
    labels = labels.argmax(dim=1)
    labels[0] = 1 - labels[1]
    ready = PyTorchModel(net, bounds=(0, 1), preprocessing={"mean": mean, "std": std, "axis": -3})
    found = attacked(ready, (images, labels), eps=0.02)
    assert (
        found.unfiltered == attacked(net, (images, labels), eps=0.02, mean=mean, std=std).unfiltered
    )


@pytest.mark.parametrize("bounds", [(0, 255), (-1, 1), (0, 1.5)])
def test_foolbox_models_of_other_bounds(attacked, model, refused, bounds):
    """A ready model's own bounds must be the contract's; both are named."""
    with refused(
        ModelError,
        f"model is a foolbox.Model with bounds ({bounds[0]:g}, {bounds[1]:g})",
        "the contract's are (0, 1)",
        "aerobust_bounds or bounds=",
    ):
        attacked(PyTorchModel(model.eval(), bounds=bounds))


def test_foolbox_models_of_the_stated_bounds(attacked, model, data):
    """Where contract and model agree on other bounds, they are taken."""
    inputs, labels = data
    ready = PyTorchModel(model.eval(), bounds=(0, 255), preprocessing={"mean": 0.0, "std": 255.0})
    found = attacked(ready, (inputs * 255, labels), bounds=(0, 255), eps=25.5)
    assert found.unfiltered == attacked().unfiltered


def test_foolbox_wrappers(attacked, model, data):
    """A model that Foolbox itself moved to other bounds is a model of those bounds."""
    inputs, labels = data
    wrapped = PyTorchModel(model.eval(), bounds=(0, 1)).transform_bounds((0, 255))
    found = attacked(wrapped, (inputs * 255, labels), bounds=(0, 255), eps=25.5)
    assert found.unfiltered == attacked().unfiltered


def test_foolbox_models_without_torch(attacked, refused):
    """A foolbox.Model of another framework is refused."""
    numpy_model = foolbox.NumPyModel(lambda x: np.asarray(x)[:, :2], bounds=(0, 1))
    with refused(
        ModelError, "NumPyModel without a torch module inside: expected a foolbox.PyTorchModel"
    ):
        attacked(numpy_model)


def test_filter_none_attacks_the_model(attacked, around):
    """Without a filter the pipeline is the model, whatever the bare arm's own model is."""
    mirrored = around(behind=lambda z: z.flip(1))
    found = attacked(unfiltered_model=mirrored)
    assert found.pipeline.clean_accuracy == 1.0
    assert found.pipeline == attacked().pipeline


def test_target_of_a_model_with_more_classes(attacked, model, data, refused):
    """The classes are the model's, not the labels'."""
    wide = nn.Sequential(model, nn.ConstantPad1d((0, 3), -9.0))
    assert attacked(wide, target=4).target == 4
    with refused(ContractError, "target=5, but the model has 5 classes: expected at most 4"):
        attacked(wide, target=5)
