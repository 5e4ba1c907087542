"""Models as they are exported, scripted or adapted work, or are refused with the next step."""

import copy
import warnings

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from pytest_aerobust import ContractError, FilterError, ModelError, evaluate

NOISE = "LinfRepeatedAdditiveUniformNoiseAttack"


def exported(module, inputs, *, any_size=True):
    sizes = ({0: torch.export.Dim("batch")},) if any_size else None
    return torch.export.export(module, (inputs,), dynamic_shapes=sizes).module()


def scripted(module):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return torch.jit.script(module)


def frozen(module):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return torch.jit.freeze(scripted(module))


def optimised(module):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return torch.jit.optimize_for_inference(scripted(module))


class Stubborn(nn.Module):
    """A module that refuses to change its mode, and to be moved."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, inputs):
        return self.model(inputs)

    def train(self, mode=True):
        raise NotImplementedError("no modes")

    def to(self, *args, **settings):
        raise NotImplementedError("no other place")


class Old(Stubborn):
    """A module whose `train` takes no mode."""

    def train(self):
        return self


# Where there are GPUs, DataParallel answers on them alone.
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"

MADE = {
    "scripted": lambda model, inputs: scripted(model),
    "frozen": lambda model, inputs: frozen(model),
    "optimised for inference": lambda model, inputs: optimised(model),
    "frozen, as a part": lambda model, inputs: nn.Sequential(frozen(model)),
    "exported": exported,
    "exported, as a part": lambda model, inputs: nn.Sequential(exported(model, inputs)),
    "exported for one size": lambda model, inputs: exported(model, inputs, any_size=False),
    "traced by torch.fx": lambda model, inputs: torch.fx.symbolic_trace(model),
    "without modes": lambda model, inputs: Stubborn(model),
    "with modes of its own": lambda model, inputs: Old(model),
    "in parallel": lambda model, inputs: nn.DataParallel(model).to(DEVICE),
}


@pytest.mark.parametrize("attack", ["bim", "LinfPGD", NOISE])
@pytest.mark.parametrize("made", MADE)
def test_models_as_they_are_made(attacked, model, data, made, attack):
    """Whatever a module was made into is attacked as the module itself is."""
    under_test = MADE[made](copy.deepcopy(model), data[0])
    assert attacked(under_test, attack=attack).unfiltered == attacked(attack=attack).unfiltered


@pytest.mark.parametrize("made", MADE)
def test_models_come_back_as_they_were_made(attacked, model, data, made):
    """Modes come back also where only parts have one, and none appears where there was none."""
    under_test = MADE[made](copy.deepcopy(model), data[0])
    parts = list(under_test.modules())
    before = [getattr(part, "training", None) for part in parts]
    needed = [weight.requires_grad for weight in under_test.parameters()]
    attacked(under_test)
    assert [getattr(part, "training", None) for part in parts] == before
    assert [weight.requires_grad for weight in under_test.parameters()] == needed


@pytest.mark.parametrize("make", [frozen, lambda part: exported(part, torch.rand(24, 4))])
def test_filters_as_they_are_made(attacked, make):
    """A filter that was frozen or exported filters as its module does."""
    module = nn.Sequential(nn.Hardtanh(0.2, 0.8)).eval()
    assert attacked(filter=make(module)).arms == attacked(filter=module).arms


def test_a_refused_mode_is_said(notes, model, data):
    """Of what refuses eval() nobody says that it came in train mode; the refusal is told."""
    said = notes(exported(model, data[0]))
    assert "the model refuses eval() (Calling eval() is not supported yet.)" in said
    assert "came in train mode" not in said


def test_parts_beside_an_exported_one_are_in_eval_mode(attacked, model, data):
    """A dropout behind an exported module is off during the run."""
    under_test = nn.Sequential(exported(model, data[0]), nn.Dropout(0.9)).requires_grad_()
    found = attacked(under_test)
    assert found.unfiltered == attacked().unfiltered
    assert under_test[1].training


def test_an_exported_training_mode_is_no_evidence(attacked, model, data):
    """A dropout that was exported with the graph stays at work, and the answers are void."""
    training = nn.Sequential(nn.Dropout(0.5), model).train()
    found = attacked(exported(training, data[0]))
    assert any(e.void and e.name == "determinism" for e in found.evidence)


def test_exported_for_another_batch(attacked, model, refused):
    """A graph of one batch size that is asked for another says how it is exported for any."""
    with refused(ModelError, "Guard failed", "exported for one batch size", "torch.export.Dim"):
        attacked(exported(model, torch.rand(9, 4), any_size=False))


def test_an_exported_program_is_no_module(attacked, model, data, refused):
    """What torch.export returns is told how it becomes a module."""
    with refused(ModelError, "ExportedProgram", "model.module()"):
        attacked(torch.export.export(model, (data[0],)))


def test_a_state_dict_is_no_module(attacked, model, refused):
    """Weights alone are told where they belong."""
    with refused(ModelError, "OrderedDict", "load_state_dict()"):
        attacked(model.state_dict())


def on_meta(part):
    return copy.deepcopy(part).to("meta")


@pytest.mark.parametrize("part", ["weights", "buffers"])
def test_models_on_meta(attacked, model, refused, part):
    """Weights without numbers are refused before anything is asked, as are buffers."""
    norm = nn.BatchNorm1d(2)
    net = nn.Sequential(model, on_meta(norm)) if part == "buffers" else on_meta(model)
    with refused(ModelError, "model has weights on the meta device", "load them first"):
        attacked(net)


def test_others_on_meta(attacked, model, refused):
    """The filter and the bare arm's own model are named as such."""
    with refused(FilterError, "filter has weights on the meta device"):
        attacked(filter=nn.Linear(4, 4, device="meta"))
    with refused(ModelError, "unfiltered_model has weights on the meta device"):
        attacked(unfiltered_model=on_meta(model), filter=nn.Identity())


def test_what_can_not_be_moved(model, data, refused):
    """A module that refuses `to` is asked to move only where it has to."""
    elsewhere = Stubborn(model)
    with refused(ContractError, "Stubborn can't be moved to device", "leave the device out"):
        evaluate(elsewhere.double().cpu(), data, attack="bim", eps=0.1, device="cpu:0")


ODD = {
    "sparse": (torch.Tensor.to_sparse, "layout torch.sparse_coo"),
    "sparse rows": (torch.Tensor.to_sparse_csr, "layout torch.sparse_csr"),
    "nested": (lambda z: torch.nested.nested_tensor(list(z)), "a nested tensor"),
    "jagged": (
        lambda z: torch.nested.nested_tensor(list(z), layout=torch.jagged),
        "a nested tensor",
    ),
    "on meta": (lambda z: z.to("meta"), "on the meta device"),
}


@pytest.mark.parametrize("form", ODD)
@pytest.mark.filterwarnings("ignore:.*nested tensors is in prototype")
@pytest.mark.filterwarnings("ignore:Sparse CSR tensor support")
def test_answers_that_are_no_plain_tensor(attacked, around, refused, form):
    """Logits and filtered inputs in another layout are refused with that layout and a cure."""
    change, words = ODD[form]
    with refused(ModelError, "model's answers are", words, "expected a plain tensor"):
        attacked(around(behind=change))
    with refused(FilterError, "filter's answers are", words, "expected a plain tensor"):
        attacked(filter=change)


class Tokens(nn.Module):
    """A classifier of 4 tokens, by a table of its own and one of several ways to look them up."""

    def __init__(self, look_up):
        super().__init__()
        self.table = nn.Embedding(10, 2)
        self.look_up = look_up

    def forward(self, inputs):
        return self.look_up(self.table, inputs).mean(dim=1)


LOOK_UPS = {
    "embedding": lambda table, x: table(x),
    "function": lambda table, x: F.embedding(x, table.weight),
    "bag": lambda table, x: F.embedding_bag(x, table.weight)[:, None],
    "index": lambda table, x: table.weight[x],
    "one-hot": lambda table, x: F.one_hot(x, 10).float() @ table.weight,
    "gather": lambda table, x: table.weight.expand(len(x), -1, -1).gather(
        1, x[:, :, None].expand(-1, -1, 2)
    ),
}


@pytest.mark.parametrize("look_up", LOOK_UPS)
@pytest.mark.parametrize("scale", [1, 9])
def test_token_models_are_out_of_scope(attacked, data, refused, look_up, scale):
    """A model that answers whole numbers alone is told so, and not that its shape is wrong."""
    tokens = (data[0] * scale).floor() if scale > 1 else data[0]
    with refused(ModelError, "whole numbers, such as tokens", "out of scope", "embedding") as info:
        attacked(Tokens(LOOK_UPS[look_up]), (tokens, data[1]), bounds=(0, scale))
    assert "shape that the model was trained on" not in str(info.value)


def test_what_stands_behind_an_embedding_is_in_scope(attacked, data):
    """The way that the message names works."""
    tokens = (data[0] * 9).long()
    table = nn.Embedding(10, 3)
    nn.init.uniform_(table.weight, generator=torch.Generator().manual_seed(0))
    embedded = table(tokens)
    behind = nn.Sequential(nn.Flatten(), nn.Linear(12, 2))
    nn.init.normal_(behind[1].weight, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        behind[1].bias.copy_(-behind(embedded).median(dim=0).values + behind[1].bias)
    labels = behind(embedded).argmax(dim=1)
    assert attacked(behind, (embedded, labels)).unfiltered.complete


class Adapting(nn.Module):
    """Takes the gradient of its entropy by its weights, and answers by what `adapt` does with it.

    Wang et al. 2021, "Tent: Fully Test-Time Adaptation by Entropy Minimization".
    """

    def __init__(self, model, rate, context=torch.enable_grad):
        super().__init__()
        self.model, self.context = model, context
        self.optimizer = torch.optim.SGD(model.parameters(), lr=rate)

    def forward(self, inputs):
        with self.context():
            logits = self.model(inputs)
            entropy = -(logits.softmax(1) * logits.log_softmax(1)).sum(dim=1).mean()
            entropy.backward()
            self.optimizer.step()
            self.optimizer.zero_grad()
        return self.model(inputs)


class Forgetting(Adapting):
    """The same, anew for every question."""

    def forward(self, inputs):
        kept = copy.deepcopy(self.model.state_dict())
        answers = super().forward(inputs)
        self.model.load_state_dict(kept)
        return answers


class Weighing(nn.Module):
    """Answers by gradients of its weights and changes none."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, inputs):
        with torch.enable_grad():
            total = self.model(inputs.detach()).sum()
            torch.autograd.grad(total, self.model.weight)
        return self.model(inputs)


class Checking(nn.Module):
    """Wants weights that can be trained."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, inputs):
        if not self.model.weight.requires_grad:
            raise RuntimeError("somebody froze me")
        return self.model(inputs)


def unmoved(model):
    return Adapting(model, rate=0.0)


def anew(model):
    return Forgetting(model, rate=1e-12)


def in_the_callers_mode(model):
    return Adapting(model, rate=0.0, context=torch.autograd.graph.save_on_cpu)


OF_WEIGHTS = "takes gradients of its own weights"
OF_OTHERS = "only where gradients are recorded"


@pytest.mark.parametrize("make", [unmoved, anew, in_the_callers_mode, Weighing])
@pytest.mark.parametrize("attack", ["bim", "LinfPGD", NOISE])
def test_gradients_of_weights_while_it_answers(attacked, model, make, attack):
    """A model that differentiates by its weights answers as in the user's hands, and is attacked
    as the model that it comes to.
    """
    found = attacked(make(copy.deepcopy(model)), attack=attack)
    assert found.unfiltered == attacked(attack=attack).unfiltered
    assert any(OF_WEIGHTS in note for note in found.notes)
    assert not any(OF_OTHERS in note for note in found.notes)


class Following(nn.Module):
    """Moves inputs along the gradient of a part by them, as purification does."""

    def __init__(self, part):
        super().__init__()
        self.part = part

    def forward(self, inputs):
        sought = inputs.detach().requires_grad_()
        (slope,) = torch.autograd.grad(self.part(sought).logsumexp(dim=1).sum(), sought)
        return inputs - 1e-9 * slope


@pytest.mark.parametrize("frozen", [False, True], ids=["trainable", "frozen"])
@pytest.mark.parametrize("attack", ["bim", NOISE])
def test_gradients_of_inputs_while_it_answers(attacked, model, attack, frozen):
    """A model that follows its inputs' gradient answers, whether or not its weights need one."""
    part = copy.deepcopy(model).requires_grad_(not frozen)
    found = attacked(nn.Sequential(Following(part), part), attack=attack)
    assert found.unfiltered == attacked(attack=attack).unfiltered
    assert any("the model answers " + OF_OTHERS in note for note in found.notes)
    assert not any(OF_WEIGHTS in note for note in found.notes)


@pytest.mark.parametrize("frozen", [False, True], ids=["trainable", "frozen"])
def test_a_filter_that_follows_gradients_of_inputs(attacked, model, frozen):
    """A frozen filter purifies in front of a frozen model, too."""
    filter = Following(copy.deepcopy(model).requires_grad_(False))
    found = attacked(copy.deepcopy(model).requires_grad_(not frozen), filter=filter)
    assert found.pipeline == attacked(filter=nn.Identity()).pipeline
    assert any("the pipeline answers " + OF_OTHERS in note for note in found.notes)


def test_a_model_that_looks_at_its_weights(attacked, model):
    """Who wants weights that can be trained, and then takes no gradient, is not said to."""
    found = attacked(Checking(copy.deepcopy(model)))
    assert found.unfiltered == attacked().unfiltered
    assert any(OF_OTHERS in note for note in found.notes)


def test_a_filter_that_takes_gradients_of_weights(attacked, model):
    """The same holds for what stands in front of the model."""

    class Watching(nn.Module):
        def __init__(self):
            super().__init__()
            self.part = nn.Linear(4, 4)

        def forward(self, inputs):
            self.part(inputs.detach()).sum().backward()
            return inputs * 1

    found = attacked(filter=Watching())
    assert found.pipeline == attacked(filter=nn.Identity()).pipeline
    assert any("the pipeline " + OF_WEIGHTS in note for note in found.notes)


def test_test_time_adaptation_is_void_and_given_back(attacked, model):
    """A model that learns from its questions is no evidence; weights and gradients come back."""
    model.weight.grad = torch.full_like(model.weight, 2.0)
    adapting = Adapting(model, rate=0.05)
    before = copy.deepcopy(model.state_dict())
    identity, gradient = model.weight.data_ptr(), model.weight.grad
    found = attacked(adapting)
    assert any(e.void and e.name == "determinism" for e in found.evidence)
    assert all(torch.equal(now, before[name]) for name, now in model.state_dict().items())
    assert model.weight.data_ptr() == identity
    assert model.weight.grad is gradient
    assert (gradient == 2).all()
    assert model.weight.requires_grad


def test_gradients_of_inputs_that_need_none(attacked, model, refused):
    """A forward that asks for what no gradient leads to is told that, and of no shape."""

    class Seeking(Weighing):
        def forward(self, inputs):
            (slope,) = torch.autograd.grad(self.model(inputs).sum(), inputs)
            return self.model(inputs - 0.01 * slope)

    with refused(ModelError, "takes a gradient while it answers", "requires_grad_()") as info:
        attacked(Seeking(model))
    assert "shape that the model was trained on" not in str(info.value)


def test_what_is_overwritten_is_an_error_there_too(attacked, model, refused):
    """Weights may change after they were used; an activation that does has no right gradient."""

    class Overwriting(Weighing):
        def forward(self, inputs):
            logits = super().forward(inputs)
            powers = logits.exp()
            powers.mul_(2)
            return powers

    with refused(ModelError, "backward pass", "modified by an inplace operation"):
        attacked(Overwriting(model))
