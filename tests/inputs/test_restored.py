"""An evaluation leaves everything as it found it, and depends on nothing around it."""

import json
import random
import subprocess
import sys
import warnings

import numpy as np
import pytest
import torch
from foolbox import PyTorchModel
from foolbox.attacks import LinfPGD
from torch import nn

from pytest_aerobust import AerobustError, ModelError, evaluate

NOISE = "LinfRepeatedAdditiveUniformNoiseAttack"


class Normed(nn.Module):
    """A linear model behind batch norm and dropout, with known statistics and a frozen part."""

    def __init__(self, model):
        super().__init__()
        self.norm = nn.BatchNorm1d(4)
        self.drop = nn.Dropout(0.5)
        self.model = model
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, inputs):
        return self.model(self.drop(self.norm(inputs)))


@pytest.fixture
def normed(model):
    """A model with everything that a run could disturb."""
    torch.manual_seed(3)
    net = Normed(model)
    net.norm.running_mean.fill_(0.1)
    net.norm.num_batches_tracked.fill_(7)
    return net


def state_of(module):
    return {
        "modes": [part.training for part in module.modules()],
        "needs": [p.requires_grad for p in module.parameters()],
        "grads": [None if p.grad is None else p.grad.tolist() for p in module.parameters()],
        "values": {name: value.tolist() for name, value in module.state_dict().items()},
        "devices": {value.device for value in module.state_dict().values()},
        "identities": [id(p) for p in module.parameters()],
    }


def train_mode(net):
    net.train()


def eval_mode(net):
    net.eval()


def one_submodule_in_train_mode(net):
    net.eval()
    net.norm.train()


def train_mode_over_a_submodule_in_eval_mode(net):
    net.train()
    net.norm.eval()


def frozen_weights(net):
    net.model.weight.requires_grad_(False)


def gradients_from_training(net):
    net.eval()
    net(torch.ones(3, 4)).sum().backward()


PREPARED = (
    train_mode,
    eval_mode,
    one_submodule_in_train_mode,
    train_mode_over_a_submodule_in_eval_mode,
    frozen_weights,
    gradients_from_training,
)


@pytest.mark.parametrize("attack", ["bim", "pgd", NOISE, "LinfPGD", "LInfFMNAttack"])
@pytest.mark.parametrize("prepare", PREPARED, ids=lambda f: f.__name__)
def test_models_come_back_as_they_were(attacked, normed, prepare, attack):
    """Modes of every submodule, weights, buffers, gradients and flags are as before
    (BAD INPUTS 1.14).
    """
    prepare(normed)
    before = state_of(normed)
    attacked(normed, attack=attack)
    assert state_of(normed) == before


@pytest.mark.parametrize("prepare", PREPARED, ids=lambda f: f.__name__)
def test_every_part_is_evaluated_in_eval_mode(attacked, normed, prepare):
    """The outcomes are those of eval mode, whatever mode the parts came in (BAD INPUTS 1.14)."""
    expected = attacked(normed.eval()).unfiltered
    prepare(normed)
    assert attacked(normed).unfiltered == expected


@pytest.mark.parametrize("prepare", PREPARED, ids=lambda f: f.__name__)
def test_train_mode_is_said(notes, normed, prepare):
    """A model that came in train mode, or a part of it, was perhaps forgotten there: it is said
    (BAD INPUTS 1.14).
    """
    prepare(normed)
    said = any(part.training for part in normed.modules())
    assert ("the model came in train mode; it was evaluated in eval mode" in notes(normed)) == said


@pytest.mark.parametrize("kind", ["foolbox.Model", "function as filter"])
def test_fronts_of_our_own_have_no_mode(notes, model, kind):
    """What the user handed in without a mode is not said to have come in train mode."""
    if kind == "foolbox.Model":
        assert "train mode" not in notes(PyTorchModel(model, bounds=(0, 1)))
    else:
        assert "train mode" not in notes(filter=lambda x: x)


BROKEN_RUNS = {
    "a model that raises": {"attack": "bim"},
    "an attack that raises": {"attack": "PointwiseAttack", "attack_args": {"init_attack": 3}},
    "labels beyond the classes": {"eps": 0},
}


@pytest.mark.parametrize("broken", BROKEN_RUNS)
def test_models_come_back_after_an_error(attacked, normed, data, broken):
    """Also a run that breaks down gives everything back."""
    calls = []

    def count(module, args, output):
        calls.append(output)
        if broken == "a model that raises" and len(calls) > 2:
            raise KeyError("broken")

    on = (data[0], data[1] + 5) if broken == "labels beyond the classes" else data
    normed.train()
    before, states = state_of(normed), global_states()
    with normed.register_forward_hook(count), pytest.raises(AerobustError):
        attacked(normed, on, **BROKEN_RUNS[broken])
    assert calls
    assert state_of(normed) == before
    assert global_states() == states


def test_buffers_that_a_forward_rebinds(attacked, normed):
    """A buffer that the forward replaces comes back with its old value."""

    class Counting(Normed):
        def forward(self, inputs):
            self.calls = self.calls + 1
            return super().forward(inputs)

    net = Counting(normed.model)
    attacked(net)
    assert net.calls == 0


def as_a_parameter(layer):
    layer.bias = nn.Parameter(layer.bias.detach() + 1e-3)


def as_a_tensor(layer):
    bias = layer.bias.detach()
    del layer.bias
    layer.bias = bias + 1e-3


def tied(layer):
    layer.weight = layer.twin.weight = nn.Parameter(layer.weight.detach() * 2)


@pytest.mark.parametrize("replace", [as_a_parameter, as_a_tensor, tied])
def test_parameters_that_a_forward_replaces(attacked, normed, replace):
    """The very parameters come back, also one that several layers share; the change is seen."""

    class Replacing(Normed):
        def forward(self, inputs):
            replace(self.model)
            return super().forward(inputs)

    net = Replacing(normed.model)
    if replace is tied:
        net.model.twin = nn.Linear(4, 2)
        net.model.twin.weight = net.model.weight
    before = state_of(net)
    found = attacked(net)
    assert any(e.void for e in found.evidence)
    assert state_of(net) == before
    assert isinstance(net.model.bias, nn.Parameter)


@pytest.mark.parametrize("attack", ["bim", "LinfPGD"])
def test_parameters_come_back_after_an_error(attacked, normed, attack):
    """Also those that were replaced before the model broke down."""

    class Replacing(Normed):
        def forward(self, inputs):
            as_a_parameter(self.model)
            raise KeyError("broken")

    net = Replacing(normed.model)
    before = state_of(net)
    with pytest.raises(ModelError, match="broken"):
        attacked(net, attack=attack)
    assert state_of(net) == before


# As torch hands them out, and back into what a product takes.
LAYOUTS = {
    "COO": torch.Tensor.to_sparse,
    "CSR": torch.Tensor.to_sparse_csr,
    "CSC": torch.Tensor.to_sparse_csc,
    "BSR": lambda weight: weight.to_sparse_bsr((2, 2)),
    "MKL-DNN": torch.Tensor.to_mkldnn,
    "nested": lambda weight: torch.nested.nested_tensor([weight]),
}


class Mixing(nn.Module):
    """Mixes its inputs by a matrix in some layout, which it may write into."""

    def __init__(self, model, kind, matrix, write=lambda matrix: None):
        super().__init__()
        self.model, self.write = model, write
        if kind == "buffer":
            self.register_buffer("matrix", matrix)
        else:
            self.matrix = nn.Parameter(matrix, requires_grad=kind == "parameter")

    def forward(self, inputs):
        with torch.no_grad():
            self.write(self.matrix)
        matrix = self.matrix
        plain = matrix.unbind()[0] if matrix.is_nested else matrix.to_dense()
        return self.model(inputs @ plain.detach())


@pytest.mark.filterwarnings("ignore:.*prototype", "ignore:Sparse.*beta")
@pytest.mark.parametrize("kind", ["buffer", "frozen parameter", "parameter"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_weights_in_any_layout(attacked, model, layout, kind):
    """A model with sparse weights is measured as its dense twin is."""
    found = attacked(Mixing(model, kind, LAYOUTS[layout](torch.eye(4))))
    assert found.unfiltered == attacked().unfiltered
    assert not any(e.void for e in found.evidence)


@pytest.mark.parametrize("layout", ["COO", "CSR", "MKL-DNN"])
def test_sparse_buffers_that_a_forward_changes(attacked, model, layout):
    """They come back as they were, and that they changed is seen."""
    net = Mixing(model, "buffer", LAYOUTS[layout](torch.eye(4)), lambda matrix: matrix.mul_(0.999))
    matrix = net.matrix
    found = attacked(net)
    assert any(e.void for e in found.evidence)
    assert net.matrix is matrix
    assert torch.equal(matrix.to_dense(), torch.eye(4))


@pytest.mark.parametrize("kind", ["buffer", "parameter"])
@pytest.mark.parametrize("layout", ["COO", "CSR"])
def test_sparse_weights_of_a_model_that_adapts(attacked, model, layout, kind):
    """A model that differentiates by its weights, and writes into them, may have sparse ones."""

    class Adapting(Mixing):
        def forward(self, inputs):
            torch.autograd.grad(self.model(inputs).sum(), self.model.weight)
            return super().forward(inputs)

    net = Adapting(model, kind, LAYOUTS[layout](torch.eye(4)), lambda matrix: matrix.mul_(0.999))
    found = attacked(net)
    assert any(e.void for e in found.evidence)
    assert torch.equal(net.matrix.to_dense(), torch.eye(4))


def test_an_error_beside_sparse_weights(attacked, model, refused):
    """Giving them back hides no error of the model's own."""
    net = Mixing(model, "buffer", torch.eye(4).to_sparse(), lambda matrix: 1 / 0)
    with refused(ModelError, "model raised ZeroDivisionError"):
        attacked(net)


def test_modes_that_a_forward_sets(attacked, normed):
    """A forward that switches itself to train mode moves no statistics for good."""

    class SelfTraining(Normed):
        def forward(self, inputs):
            self.norm.train()
            return self.model(self.norm(inputs.repeat(2, 1))[: len(inputs)])

    net = SelfTraining(normed.model).eval()
    before = state_of(net)
    attacked(net)
    assert state_of(net) == before


def test_every_module_comes_back(attacked, normed, model):
    """Filter and bare model come back as the model does."""
    filter = nn.Sequential(nn.BatchNorm1d(4), nn.Dropout(0.5))
    parts = [normed, filter, Normed(model)]
    for part in parts:
        part.train()
    before = [state_of(part) for part in parts]
    attacked(normed, filter=filter, unfiltered_model=parts[2])
    assert [state_of(part) for part in parts] == before


def test_the_network_inside_a_foolbox_model_comes_back(attacked, normed):
    """A ready foolbox.Model's network is run in eval mode and comes back in train mode."""
    ready = PyTorchModel(normed.eval(), bounds=(0, 1))
    expected = attacked(ready).unfiltered
    normed.train()
    before = state_of(normed)
    assert attacked(ready).unfiltered == expected
    assert state_of(normed) == before


def test_ready_attacks_come_back(attacked):
    """A ready attack is asked, not changed."""
    ready = LinfPGD(steps=5)
    before = dict(vars(ready))
    attacked(attack=ready)
    assert vars(ready) == before


def global_states():
    name, keys, *rest = np.random.get_state()
    return random.getstate(), (name, keys.tobytes(), *rest), torch.get_rng_state().tolist()


@pytest.mark.parametrize("attack", ["bim", "pgd", NOISE, "LinfPGD", "BoundaryAttack"])
def test_global_generators_come_back(attacked, attack):
    """Python's, NumPy's and torch's generators go on where they were."""
    steps = {"steps": 5} if attack == "BoundaryAttack" else {}
    before = global_states()
    attacked(attack=attack, **steps)
    assert global_states() == before


@pytest.mark.parametrize("attack", ["pgd", NOISE, "LinfPGD"])
def test_global_generators_decide_nothing(attacked, attack):
    """The same seed gives the same evaluation, wherever the global generators are
    (BAD INPUTS 1.19).
    """
    runs = []
    for seed in range(2):
        random.seed(seed), np.random.seed(seed), torch.manual_seed(seed)
        runs.append(attacked(attack=attack))
    assert runs[0] == runs[1]


@pytest.mark.parametrize("attack", ["pgd", "LinfPGD"])
def test_seeds_decide(attacked, attack):
    """Another seed starts elsewhere, which shows where the steps are too small to forget it."""
    small = {"steps": 1, "rel_stepsize": 0.01}
    runs = {
        attacked(attack=attack, seed=seed, eps=0.2, attack_args=small).unfiltered.outcomes
        for seed in range(6)
    }
    assert len(runs) > 1


CONTEXTS = {
    "no_grad": torch.no_grad,
    "inference_mode": torch.inference_mode,
    "no_grad in inference_mode": lambda: Both(torch.inference_mode(), torch.no_grad()),
    "saved tensors": lambda: torch.autograd.graph.save_on_cpu(),
    "anomaly detection": torch.autograd.detect_anomaly,
    "deterministic": lambda: Deterministic(),
}


class Both:
    def __init__(self, *contexts):
        self.contexts = contexts

    def __enter__(self):
        for context in self.contexts:
            context.__enter__()

    def __exit__(self, *exc):
        for context in reversed(self.contexts):
            context.__exit__(*exc)


class Deterministic:
    def __enter__(self):
        torch.use_deterministic_algorithms(True)

    def __exit__(self, *exc):
        torch.use_deterministic_algorithms(False)


SETTINGS = {
    "bim": {},
    "pgd": {"attack": "pgd"},
    "Foolbox": {"attack": "LinfPGD"},
    "noise": {"attack": NOISE},
    "mean and std": {"mean": [0.1] * 4, "std": 0.9},
    "filter": {"filter": nn.Sigmoid(), "threat": "gray-box"},
    "eps 0": {"eps": 0},
}


@pytest.mark.filterwarnings("ignore:Anomaly Detection")
@pytest.mark.parametrize("context", CONTEXTS)
@pytest.mark.parametrize("settings", SETTINGS)
def test_outer_contexts_change_nothing(attacked, context, settings):
    """The same verdict inside and outside of torch's contexts (BAD INPUTS 5.20)."""
    expected = attacked(**SETTINGS[settings])
    with CONTEXTS[context]():
        assert attacked(**SETTINGS[settings]) == expected
        assert torch.is_grad_enabled() == (context in list(CONTEXTS)[3:])


@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize("settings", [{}, {"mean": 0.1, "std": 0.9}], ids=["plain", "normalised"])
def test_double_precision_in_outer_contexts(model, data, context, settings):
    """A float64 model gets the same verdict inside of them as outside."""
    arrays = data[0].double().numpy(), data[1].numpy()

    def run():
        return evaluate(model.double(), arrays, attack="bim", eps=0.1, **settings)

    expected = run()
    with context():
        assert run() == expected


def test_outer_autocast(model):
    """An outer autocast lowers no precision: examples are verified in full."""
    inputs = torch.rand(400, 4, generator=torch.Generator().manual_seed(0))
    problem = inputs, model(inputs).argmax(dim=1)
    expected = evaluate(model, problem, attack="bim", eps=0.05)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert evaluate(model, problem, attack="bim", eps=0.05) == expected


PRECISE = """
import torch
from torch import backends, nn
from pytest_aerobust import evaluate

def products():
    return [
        *(backends.cuda.matmul.fp32_precision, backends.cudnn.conv.fp32_precision),
        *(backends.cudnn.rnn.fp32_precision, backends.mkldnn.matmul.fp32_precision),
        *(backends.mkldnn.conv.fp32_precision, backends.mkldnn.rnn.fp32_precision),
    ]

class Precise(nn.Linear):
    def forward(self, x):
        assert set(products()) <= {"none", "ieee"}, products()
        assert torch.get_float32_matmul_precision() == "highest"
        assert not backends.cudnn.allow_tf32
        return super().forward(x)

def attacked():
    torch.manual_seed(0)
    model, inputs = Precise(4, 2, bias=False), torch.randn(40, 4).clamp(-1, 1)
    with torch.no_grad():
        labels = nn.Linear.forward(model, inputs).argmax(dim=1)
    data = inputs, labels
    return evaluate(model, data, attack="bim", eps=0.1, bounds=(-1, 1)).unfiltered.outcomes

plain = attacked()
SWITCH
before = products()
assert attacked() == plain
assert products() == before, (products(), before)
"""


@pytest.mark.parametrize(
    "switch",
    [
        "pass",  # convolutions on a GPU are in TF32 by default
        "torch.set_float32_matmul_precision('medium')",
        "backends.fp32_precision = 'tf32'",
        "backends.mkldnn.matmul.fp32_precision = 'bf16'",
    ],
)
def test_outer_precision_of_products(switch):
    """Where float32 may be rounded to fewer bits, a run rounds it to none, and gives that back."""
    code = PRECISE.replace("SWITCH", switch)
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


@pytest.mark.parametrize("attack", ["bim", NOISE])
def test_data_made_in_inference_mode(attacked, data, attack):
    """Tensors that were made in inference mode are data like any other."""
    with torch.inference_mode():
        made = data[0] * 1, data[1] * 1
    assert made[0].is_inference()
    assert attacked(on=made, attack=attack) == attacked(attack=attack)


@pytest.mark.parametrize("frozen", [False, True])
def test_models_made_in_inference_mode(attacked, model, frozen):
    """A model whose weights were loaded in inference mode is measured, or refused as such."""
    with torch.inference_mode():
        made = nn.Linear(4, 2).requires_grad_(not frozen)
        made.load_state_dict(model.state_dict())
    try:
        found = attacked(made)
    except ModelError as error:
        assert "inference_mode" in str(error)  # noqa: PT017
        assert "(N, C, H, W)" not in str(error)  # noqa: PT017
    else:
        assert found == attacked()
    assert made.weight.requires_grad == (not frozen)


def test_foolbox_models_made_in_inference_mode(attacked, model):
    """The network inside a foolbox.Model is held to the same."""
    with torch.inference_mode():
        made = nn.Linear(4, 2).eval()
        made.load_state_dict(model.state_dict())
    # BUG: only modules go through `_measurable`: a bare RuntimeError "Setting
    # requires_grad=True on inference tensor ..." and a network left without its flags.
    with pytest.raises(ModelError, match="inference_mode"):
        attacked(PyTorchModel(made, bounds=(0, 1), device="cpu"))
    assert made.weight.requires_grad


@pytest.mark.parametrize("attack", ["bim", "pgd", NOISE, "LinfPGD", "L2DeepFoolAttack"])
def test_warnings_as_errors(attacked, data, attack):
    """Under -W error the verdict is the same: neither we nor Foolbox warn in vain
    (BAD INPUTS 5.20).
    """
    read_only = data[0].numpy().copy()
    read_only.flags.writeable = False
    expected = attacked(attack=attack)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert attacked(on=(read_only, data[1].tolist()), attack=attack) == expected


@pytest.mark.parametrize("source", ["Dataset", "read-only batches"])
def test_warnings_as_errors_for_loaders(attacked, data, source):
    """Also data that is read in batches warns of nothing."""

    def read_only(pairs):
        arrays = [np.stack([np.asarray(part) for part in parts]) for parts in zip(*pairs)]  # noqa: B905
        for array in arrays:
            array.flags.writeable = False
        return arrays

    pairs = torch.utils.data.TensorDataset(*data)
    made = pairs if source == "Dataset" else torch.utils.data.DataLoader(
        pairs, batch_size=9, collate_fn=read_only
    )  # fmt: skip
    expected = attacked()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert attacked(on=made) == expected


SCRIPT = """
import json
import torch
from torch import nn
from pytest_aerobust import evaluate, robust
from pytest_aerobust.contract.mark import cases
from pytest_aerobust.contract.floors import Floors
from pytest_aerobust.verdict.judge import judge

generator = torch.Generator().manual_seed(0)
model = nn.Linear(4, 2)
with torch.no_grad():
    model.weight.copy_(torch.randn(2, 4, generator=generator))
    model.bias.copy_(-model.weight.sum(1) / 2)
inputs = torch.rand(24, 4, generator=generator)
labels = model(inputs).argmax(dim=1)


class Wild(nn.Module):
    def forward(self, x):
        return model(x) * float("nan")


def told(**changed):
    under_test = changed.pop("model", model)
    data = changed.pop("data", (inputs, labels))
    settings = dict(attack="bim", eps=0.1) | changed
    try:
        result = evaluate(under_test, data, **settings)
    except Exception as error:
        return [type(error).__name__, str(error)]
    (case,) = cases("bim", 0.1, min_acc=0.9)
    return [result.unfiltered.outcomes, judge(case.contract.floors, result).outcome]


report = [
    told(),
    told(attack="pgd"),
    told(attack="LinfPGD"),
    told(attack="PointwiseAttack", eps=2),
    told(data=(inputs * 255, labels)),
    told(data=(inputs, labels + 7)),
    told(data=(inputs * float("nan"), labels)),
    told(data=(inputs[:0], labels[:0])),
    told(model=Wild()),
    told(model=nn.Sequential(nn.Linear(4, 2), nn.Unflatten(1, (2, 1)))),
    told(eps=-0.1),
    told(eps=float("nan")),
    told(steps=0),
    told(attack_args={"rel_stepsize": 0}),
    told(bounds=(1, 0)),
    told(target=9),
    told(queries=9),
]
asserts = "off"
try:
    assert False
except AssertionError:
    asserts = "on"
print(json.dumps([asserts, report]))
"""


def test_optimised_python(capsys):
    """Under python -O every check and every verdict is the same (BAD INPUTS 1.9, 5.20)."""
    exec(compile(SCRIPT, "script", "exec"), {"__name__": "script"})
    asserts, expected = json.loads(capsys.readouterr().out)
    assert asserts == "on"
    run = subprocess.run(
        [sys.executable, "-O", "-c", SCRIPT], capture_output=True, text=True, check=True
    )
    asserts, found = json.loads(run.stdout)
    assert asserts == "off"
    assert found == expected
    verdicts = {line[1] for line in expected[:4]}
    assert verdicts <= {"passed", "failed"}
    assert all(line[0].endswith("Error") for line in expected[4:])


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_devices_come_back(attacked, normed):
    """A model that was lent to a GPU comes back to the CPU, and so do the generators."""
    before, states = state_of(normed), torch.cuda.get_rng_state_all()
    assert attacked(normed, device="cuda").unfiltered == attacked(normed).unfiltered
    assert state_of(normed) == before
    assert all(map(torch.equal, torch.cuda.get_rng_state_all(), states))


def test_a_buffer_that_grows_comes_back(attacked, model):
    """A model that remembers what it saw is void by its state, and forgets it again."""

    class Remembering(nn.Module):
        def __init__(self):
            super().__init__()
            self.model = model
            self.register_buffer("seen", torch.zeros(0, 4))

        def forward(self, inputs):
            self.seen = torch.cat([self.seen, inputs.detach()])
            return self.model(inputs)

    remembering = Remembering()
    found = attacked(remembering, eps=0.02)
    assert remembering.seen.shape == (0, 4)
    assert any(e.void and e.name == "state" for e in found.evidence)
