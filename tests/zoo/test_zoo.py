"""Broken defences: each fools a plain Foolbox loop into a pass, and is caught here."""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import foolbox
import pytest
import torch
from foolbox.attacks import LinfBasicIterativeAttack, LinfFastGradientAttack
from torch import Tensor, nn
from torch.nn import functional as F

from pytest_aerobust import SubjectError, evaluate
from pytest_aerobust.contract.floors import Floors
from pytest_aerobust.verdict.judge import judge

# What a suite might demand, and what a defence that is worth nothing leaves of it.
FLOOR, BROKEN = 0.75, 0.3
FOOLBOX = {"bim": LinfBasicIterativeAttack, "fgsm": LinfFastGradientAttack}
BOUNDS, EPS = (0.0, 1.0), 0.15


class Saturated(nn.Module):
    """Answers with probabilities instead of logits, and is very sure of them."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, x):
        return (100 * self.network(x)).softmax(dim=1)


class Scaled(nn.Module):
    """Logits so large that the softmax of the loss has no gradient left."""

    def __init__(self, network, scale):
        super().__init__()
        self.network, self.scale = network, scale

    def forward(self, x):
        return self.scale * self.network(x)


class Logarithmic(nn.Module):
    """Turns probabilities back into logits, and most of them into minus infinity."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, x):
        return (100 * self.network(x)).softmax(dim=1).log()


class Reversed(nn.Module):
    """Answers as its network; its gradients point the other way."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, x):
        return self.network(2 * x.detach() - x)


def off_grid(x):
    """The share of each image's pixels that lie off the grid of clean ones, ``(N, 1)``."""
    return (1024 * x.detach()).frac().bool().float().flatten(1).mean(dim=1, keepdim=True)


class Homely(nn.Module):
    """Has gradients on the grid of clean images and none beside it: the first step is the last."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, x):
        moved = (off_grid(x) > 0.1)[..., None, None]
        return self.network(torch.where(moved, x.detach() + 0 * x, x))


class Rounded(nn.Module):
    """Rounds pixels to five levels: a step function, whose gradient is 0 wherever it exists."""

    def forward(self, x):
        return (4 * x).round() / 4


class Detached(nn.Module):
    """Keeps its gradients to itself, and hands out zeros that autograd takes for some."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, x):
        return self.network(x.detach() + 0 * x)


class Dropping(nn.Module):
    """Dropout on the pixels that nobody switched off: each draw looks at one in seven."""

    def forward(self, x):
        return F.dropout(x, 0.85, training=True)


class Noisy(nn.Module):
    """Replaces four pixels of five by noise, others in each draw."""

    def forward(self, x):
        return torch.where(torch.rand_like(x) < 0.8, 0.3 * torch.rand_like(x), x)


class Resizing(nn.Module):
    """Shrinks to a random size and back, taking one random pixel of each cell."""

    def forward(self, x):
        size, side = int(torch.randint(10, 17, ())), x.shape[-1]

        def picked():
            return ((torch.arange(size) + torch.rand(size)) * side / size).long()

        return F.interpolate(x[..., picked(), :][..., picked()], size=side)


class Odd(nn.Module):
    """Weighs its first answer by a root, which is NaN where pixels lie off the camera's grid.

    Only the first answer's logit is NaN, and argmax takes that for the largest of all.
    """

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, x):
        logits = self.network(x)
        first = logits.argmax(dim=1, keepdim=True)
        weight = 1 + (0.1 - off_grid(x)).sqrt()
        return logits.scatter(1, first, logits.gather(1, first) * weight)


class BatchNormed(nn.Module):
    """Batch norm in train mode behind each layer, whatever `eval()` says.

    What moves all samples alike is subtracted again, so the loss of a batch has next to no
    gradient, while a sample among others can be moved as ever.
    """

    def __init__(self, network):
        super().__init__()
        self.flat, self.first, self.relu, self.last = deepcopy(network)
        self.inner = nn.Parameter(torch.ones(self.first.out_features))
        self.outer = nn.Parameter(torch.full((self.last.out_features,), 30.0))

    def forward(self, x):
        hidden = F.batch_norm(self.first(self.flat(x)), None, None, self.inner, training=True)
        return F.batch_norm(self.last(self.relu(hidden)), None, None, self.outer, training=True)


class HalfPrecise(nn.Module):
    """Computes in float16: the gradient of a sure answer's loss is below its smallest number."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, x):
        hidden = x.flatten(1).half()
        for layer in self.network[1:]:
            linear = isinstance(layer, nn.Linear)
            hidden = (
                F.linear(hidden, layer.weight.half(), layer.bias.half())
                if linear
                else layer(hidden)
            )
        return (6 * hidden).float()


class Remembering(nn.Module):
    """Answers what resembles an earlier question as it did then: a buffer holds both."""

    def __init__(self, network, radius=0.2, room=256):
        super().__init__()
        self.network, self.radius, self.room = network, radius, room
        self.register_buffer("questions", torch.full((room, 1024), torch.inf))
        self.register_buffer("answers", torch.zeros(room, 10))
        self.register_buffer("asked", torch.tensor(0))

    def forward(self, x):
        logits = self.network(x)
        distances, nearest = torch.cdist(x.flatten(1), self.questions, p=torch.inf).min(dim=1)
        known = distances <= self.radius
        self._remember(x[~known], logits[~known])
        return torch.where(known[:, None], self.answers[nearest], logits)

    @torch.no_grad()
    def _remember(self, x, logits):
        places = torch.arange(int(self.asked), int(self.asked) + len(x)) % self.room
        self.questions[places], self.answers[places] = x.flatten(1), logits
        self.asked += len(x)


class Constant(nn.Module):
    """A filter that has forgotten its input."""

    def forward(self, x):
        return 0.5 + 0 * x


@dataclass(frozen=True)
class Defence:
    """A member of the zoo.

    Attributes:
        model: The classifier, which may be the whole defence.
        truth: The accuracy that it really has under its contract's budget, by a simple attack
            that knows better.
        caught: What an evaluation must show, any of it: names of void evidence; `broken`, where
            the engine gets through by itself; `refused`, where nothing is measured.
        says: What the error, or the evidence in `caught`, must contain.
        filter: What stands in front of the model, where the defence is a filter.
        attack: Name of the contract's attack.
        eps: Its budget.
        labels: From digits to the classes of the model.
    """

    model: nn.Module
    truth: Callable[[Tensor, Tensor], float]
    caught: frozenset[str]
    says: str = ""
    filter: nn.Module | None = None
    attack: str = "bim"
    eps: float = EPS
    labels: Callable[[Tensor], Tensor] = lambda labels: labels

    @property
    def pipeline(self) -> nn.Module:
        return self.model if self.filter is None else nn.Sequential(self.filter, self.model)


@dataclass(frozen=True)
class Workshop:
    """What defences are built from: digits, an honest classifier, and how to train another."""

    digits: Any
    classifier: nn.Module
    tools: Any

    def behind(self, front: nn.Module) -> nn.Module:
        """A network that was trained behind a random front, as whoever deploys it would."""
        network = self.tools.dense(1024, 64, 10)
        pipeline = nn.Sequential(front, network)
        self.tools.fit(pipeline, self.digits.inputs, self.digits.labels, steps=600)
        return network

    def transferred(self, judge, eps=EPS) -> Callable[[Tensor, Tensor], float]:
        """What BIM finds on the honest classifier, told to the defended one."""
        return lambda x, y: accuracy(judge, stepwise(self.classifier, x, y, eps), y)


def accuracy(model, inputs, labels):
    with torch.no_grad():
        return (model(inputs).argmax(dim=1) == labels).float().mean().item()


def stepwise(model, inputs, labels, eps, draws=1):
    """Ten signed steps on the loss of a mean over draws of a model: BIM, where there is one."""
    moved = inputs
    for _ in range(10):
        moved = moved.detach().requires_grad_()
        loss = sum(F.cross_entropy(model(moved), labels) for _ in range(draws))
        (gradient,) = torch.autograd.grad(loss, moved)
        moved = moved.detach() + 0.2 * eps * gradient.sign()
        moved = (inputs + (moved - inputs).clamp(-eps, eps)).clamp(*BOUNDS)
    return moved


def averaged(pipeline):
    """The truth about a random pipeline: steps on the mean of 20 draws, judged by a fresh one."""
    return lambda x, y: accuracy(pipeline, stepwise(pipeline, x, y, EPS, draws=20), y)


def saturated_softmax(shop):
    model = Saturated(shop.classifier)
    return Defence(model, shop.transferred(model), frozenset({"gradients", "outputs", "broken"}))


def logarithm_of_saturated_softmax(shop):
    model = Logarithmic(shop.classifier)
    return Defence(
        model, shop.transferred(model), frozenset({"refused"}), "logits are NaN or infinite"
    )


def logits_a_million_times_larger(shop):
    model = Scaled(shop.classifier, 1e6)
    return Defence(model, shop.transferred(model), frozenset({"gradients", "broken"}))


def logits_a_hundred_times_larger(shop):
    model = Scaled(shop.classifier, 100)
    return Defence(model, shop.transferred(model), frozenset({"gradients", "broken"}))


def quantising_filter(shop):
    pipeline = nn.Sequential(Rounded(), shop.classifier)
    return Defence(
        shop.classifier,
        shop.transferred(pipeline),
        frozenset({"gradients", "broken"}),
        filter=Rounded(),
    )


def quantising_layer(shop):
    model = nn.Sequential(Rounded(), shop.classifier)
    return Defence(model, shop.transferred(model), frozenset({"gradients"}), "no gradient")


def detached_gradients(shop):
    model = Detached(shop.classifier)
    return Defence(model, shop.transferred(model), frozenset({"gradients"}), "no gradient")


def reversed_gradients(shop):
    model = Reversed(shop.classifier)
    return Defence(model, shop.transferred(model), frozenset({"loss"}))


def gradients_at_home_only(shop):
    model = Homely(shop.classifier)
    return Defence(model, shop.transferred(model), frozenset({"one step"}))


def half_precision(shop):
    model = HalfPrecise(shop.classifier)
    return Defence(model, shop.transferred(model), frozenset({"gradients", "broken"}))


def dropout_left_on(shop):
    model = nn.Sequential(Dropping(), shop.behind(Dropping()))
    return Defence(
        model, averaged(model), frozenset({"determinism", "refused"}), "eot=", attack="fgsm"
    )


def random_noise_filter(shop):
    network = shop.behind(Noisy())
    return Defence(
        network,
        averaged(nn.Sequential(Noisy(), network)),
        frozenset({"determinism", "refused"}),
        "eot=",
        filter=Noisy(),
        attack="fgsm",
    )


def random_resize_filter(shop):
    network = shop.behind(Resizing())
    return Defence(
        network,
        averaged(nn.Sequential(Resizing(), network)),
        frozenset({"determinism", "refused"}),
        "eot=",
        filter=Resizing(),
    )


def nan_for_odd_inputs(shop):
    model = Odd(shop.classifier)
    return Defence(
        model, shop.transferred(model), frozenset({"refused"}), "logits are NaN or infinite"
    )


def label_leak(shop):
    """Trained against one step of 0.5, it tells that step by what it looks like."""

    def step(model, inputs, labels, done):
        signs = shop.tools.signed_gradient(model, inputs, labels)
        return (inputs + min(1, 2 * done) * 0.5 * signs).clamp(*BOUNDS)

    model = shop.tools.fit(
        shop.tools.dense(1024, 256, 10),
        shop.digits.inputs,
        shop.digits.labels,
        steps=800,
        batch=32,
        change=step,
    )

    def half_a_step(inputs, labels):
        signs = shop.tools.signed_gradient(model, inputs, labels)
        return accuracy(model, (inputs + 0.25 * signs).clamp(*BOUNDS), labels)

    return Defence(model, half_a_step, frozenset({"nesting"}), attack="fgsm", eps=0.5)


def batch_norm_in_train_mode(shop):
    eps, model = 0.12, BatchNormed(shop.classifier)
    shop.tools.fit(model, shop.digits.inputs, shop.digits.labels)

    def among_clean_ones(inputs, labels):
        moved = stepwise(shop.classifier, inputs, labels, eps)
        batches = inputs.repeat(len(inputs) // 10, 1, 1, 1, 1)
        rows = torch.arange(0, len(inputs), 10)
        batches[torch.arange(len(rows)), rows] = moved[rows]
        answers = torch.stack([model(batch)[row] for batch, row in zip(batches, rows, strict=True)])
        return (answers.argmax(dim=1) == labels[rows]).float().mean().item()

    return Defence(
        model, among_clean_ones, frozenset({"batch independence"}), attack="fgsm", eps=eps
    )


def state_that_changes(shop):
    model = Remembering(shop.classifier)
    # Its twin hears the examples first: nothing protects who is asked something new.
    return Defence(
        model,
        lambda x, y: shop.transferred(Remembering(shop.classifier))(x, y),
        frozenset({"state"}),
    )


def constant_filter(shop):
    """One sample in 25 is a three: to find none at all is right in 24 cases."""

    def is_three(labels):
        return (labels == 3).long()

    network = shop.tools.fit(
        shop.tools.dense(1024, 64, 2), shop.digits.inputs, is_three(shop.digits.labels)
    )
    pipeline = nn.Sequential(Constant(), network)
    return Defence(
        network,
        lambda x, y: accuracy(pipeline, x[y == 1], y[y == 1]),
        frozenset({"refused"}),
        "answers class 0 for all",
        filter=Constant(),
        labels=is_three,
    )


ZOO = {
    build.__name__: build
    for build in (
        saturated_softmax,
        logarithm_of_saturated_softmax,
        logits_a_million_times_larger,
        logits_a_hundred_times_larger,
        quantising_filter,
        quantising_layer,
        detached_gradients,
        reversed_gradients,
        gradients_at_home_only,
        half_precision,
        dropout_left_on,
        random_noise_filter,
        random_resize_filter,
        nan_for_odd_inputs,
        label_leak,
        batch_norm_in_train_mode,
        state_that_changes,
        constant_filter,
    )
}


@pytest.fixture(scope="session")
def built(large_digits, classifier, tools):
    """Members of the zoo by name, each trained once."""
    shop, members = Workshop(large_digits, classifier, tools), {}

    def member(name):
        if name not in members:
            with torch.random.fork_rng():
                torch.manual_seed(0)
                members[name] = ZOO[name](shop)
        return members[name]

    return member


@pytest.fixture(params=ZOO)
def defence(request, built):
    return built(request.param)


@pytest.fixture
def samples(large_digits):
    """From a defence to its test images and labels."""
    return lambda defence: (large_digits.test_inputs, defence.labels(large_digits.test_labels))


def plain_loop(defence, inputs, labels):
    """The accuracy under attack that a suite written on Foolbox alone reports."""
    model = foolbox.PyTorchModel(deepcopy(defence.pipeline).eval(), bounds=BOUNDS, device="cpu")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        attack = FOOLBOX[defence.attack]()
        _, _, success = attack(model, inputs, labels, epsilons=defence.eps)
    return 1 - success.float().mean().item()


def evaluated(defence, data, **more):
    stated = {"attack": defence.attack, "eps": defence.eps, "filter": defence.filter}
    return evaluate(defence.model, data, **stated | more)


def test_a_plain_foolbox_loop_is_fooled(defence, samples):
    """It reports an accuracy above the floor for what a simple attack takes apart."""
    inputs, labels = samples(defence)
    assert plain_loop(defence, inputs, labels) >= FLOOR
    with torch.random.fork_rng():
        torch.manual_seed(1)
        assert defence.truth(inputs, labels) < BROKEN


def seen_in(defence, data, **more):
    """What an evaluation shows, as `Defence.caught` lists it, with the words for each."""
    try:
        evaluation = evaluated(defence, data, **more)
    except SubjectError as error:
        return {"refused": str(error)}
    seen = {finding.name: finding.text for finding in evaluation.evidence if finding.void}
    low, high = evaluation.pipeline.accuracy_interval
    outcome = judge(Floors(min_acc=Fraction(FLOOR)), evaluation).outcome
    assert outcome in ("inconclusive", "failed"), f"{outcome} at {float(low):.3f}, void: {seen}"
    return seen | ({"broken": f"{float(high):.3f}"} if outcome == "failed" else {})


def test_it_is_caught(defence, samples):
    """The evaluation is no pass: it breaks through, is inconclusive by name, or says why not
    (BAD INPUTS 1.1).
    """
    seen = seen_in(defence, samples(defence))
    caught = defence.caught & seen.keys()
    assert caught, f"expected one of {sorted(defence.caught)}, seen: {seen}"
    assert any(defence.says in seen[name] for name in caught), seen


def test_a_clean_pass_is_what_the_honest_classifier_gets(classifier, large_digits):
    """At a budget that it withstands, the network inside the defences passes without a doubt."""
    data = large_digits.test_inputs, large_digits.test_labels
    evaluation = evaluate(classifier, data, attack="bim", eps=0.01)
    assert not [finding.text for finding in evaluation.evidence if finding.void]
    assert judge(Floors(min_acc=Fraction(FLOOR)), evaluation).outcome == "passed"


@pytest.fixture
def void(built, samples):
    """The void evidence on a member of the zoo, as texts by name."""

    def found(name, **more):
        defence = built(name)
        evaluation = evaluated(defence, samples(defence), **more)
        return {finding.name: finding.text for finding in evaluation.evidence if finding.void}

    return found


RANDOM = ["dropout_left_on", "random_noise_filter", "random_resize_filter"]


@pytest.mark.parametrize("name", RANDOM)
def test_answers_that_differ_from_draw_to_draw(name, void):
    """The same input answered twice in two ways is void, and eot= is the way out
    (BAD INPUTS 1.13, 2.1).
    """
    assert "eot=" in void(name)["determinism"]


BLIND = ["logits_a_hundred_times_larger", "quantising_layer", "detached_gradients"]


@pytest.mark.parametrize("name", BLIND)
def test_gradients_that_vanish(name, void, built, samples):
    """They are void with the share of samples, unless the margin's gradient breaks through
    (BAD INPUTS 1.1, 2.4).
    """
    defence = built(name)
    seen = seen_in(defence, samples(defence))
    assert "%" in seen.get("gradients", "") or float(seen["broken"]) < BROKEN


@pytest.mark.parametrize("attack", ["fgsm", "bim"])
def test_the_whole_range_as_budget(attack, void):
    """Whatever the contract's attack, an iterative one free to do anything must break a model
    (BAD INPUTS 2.6).
    """
    assert "unbounded" in void("detached_gradients", attack=attack)


def test_a_larger_budget_that_beats_fewer(void):
    """What falls to half of the budget and stands at the whole of it is void (BAD INPUTS 2.7)."""
    assert "nesting" in void("label_leak")


def test_one_step_that_beats_more_than_many(void):
    """Where FGSM beats what BIM leaves, the steps of BIM lead nowhere (BAD INPUTS 2.8)."""
    assert "one step" in void("gradients_at_home_only")


def test_noise_that_beats_more_than_the_attack(void):
    """Where random noise of the same budget beats what gradients leave, they mislead
    (BAD INPUTS 2.8).
    """
    assert "noise" in void("reversed_gradients", eps=0.9)


def test_a_loss_that_does_not_grow(void):
    """An attack along which the margin of survivors never falls has attacked nobody
    (BAD INPUTS 2.10).
    """
    assert "loss" in void("reversed_gradients")


def test_twice_the_steps_that_change_the_accuracy(classifier, large_digits):
    """Under strength='thorough' an attack too short to have converged is void (BAD INPUTS 2.10)."""
    data = large_digits.test_inputs, large_digits.test_labels
    short = {"steps": 3, "attack_args": {"rel_stepsize": 0.2}}
    found = evaluate(classifier, data, attack="bim", eps=0.1, strength="thorough", **short)
    assert "doubling" in {finding.name for finding in found.evidence if finding.void}


def test_what_transfers_and_white_box_could_not_find(void):
    """Examples of the bare model that beat what the adaptive attacker left are void evidence
    (BAD INPUTS 2.11).
    """
    assert "transfer" in void("quantising_filter", filter_gradient="exact")


@pytest.mark.parametrize("evidence", ["black-box", "binarisation"])
def test_thorough_evidence_exposes_blind_gradients(evidence, void):
    """An attack without gradients beats more, and a border set by hand is not found
    (BAD INPUTS 2.11, 2.12).
    """
    assert evidence in void("detached_gradients", strength="thorough", samples=50)


@pytest.mark.parametrize("name", RANDOM)
def test_expectation_over_draws_breaks_random_defences(name, built, samples):
    """With eot= the attacker steps on the mean of many draws, and the floor falls
    (BAD INPUTS 1.13).
    """
    defence = built(name)
    evaluation = evaluated(defence, samples(defence), eot=10)
    assert evaluation.pipeline.accuracy_interval.high < FLOOR


def test_the_identity_stands_in_for_a_filter_without_gradient(built, samples):
    """By default BPDA breaks through the quantising filter, and a note says how."""
    defence = built("quantising_filter")
    evaluation = evaluated(defence, samples(defence))
    assert evaluation.filtered.accuracy < BROKEN
    assert any("identity" in note for note in evaluation.notes)


def test_exact_gradients_of_such_a_filter_are_no_evidence(built, samples):
    """Who insists on filter_gradient='exact' learns that there are none."""
    defence = built("quantising_filter")
    assert "gradients" in seen_in(defence, samples(defence), filter_gradient="exact")


class Handed:
    """A plugin whose fixtures hand a model of the zoo to an inner run."""

    def __init__(self, model, data):
        self._model, self._data = model, data

    @pytest.fixture(scope="session")
    def defended(self):
        return self._model

    @pytest.fixture(scope="session")
    def digits(self):
        return self._data


@pytest.fixture
def inner_run(pytester, monkeypatch, samples):
    """Runs one contract on a defence under pytest; gives the result and its reports."""
    monkeypatch.setenv("COLUMNS", "250")

    def run(defence, more=""):
        pytester.makepyfile(
            "from pytest_aerobust import robust\n"
            f"@robust('{defence.attack}', {defence.eps}, min_acc={FLOOR}, "
            f"model='defended', data='digits'{more})\n"
            "def test_withstands():\n    pass\n"
        )
        handed = Handed(defence.model, samples(defence))
        result = pytester.runpytest_inprocess("--aerobust", plugins=[handed])
        return result, result.reprec.getreports("pytest_runtest_logreport")

    return run


def test_under_pytest_it_is_inconclusive_by_name(built, inner_run):
    """The first line of the failure names the evidence, and so does the summary."""
    result, reports = inner_run(built("detached_gradients"))
    result.assert_outcomes(failed=1)
    (failure,) = [report.longreprtext for report in reports if report.failed]
    first = failure.splitlines()[0]
    assert first.startswith("INCONCLUSIVE: robust accuracy")
    assert "gradients" in first
    result.stdout.fnmatch_lines(["FAILED *test_withstands* - Inconclusive: INCONCLUSIVE: *"])


def test_evidence_that_is_waived_leaves_its_reason_in_the_result(built, samples, inner_run):
    """What a mark waives by name voids nothing more, and who reads the result reads why."""
    defence = built("detached_gradients")
    void = set(seen_in(defence, samples(defence)))
    reasons = dict.fromkeys(sorted(void), "known, see ticket 7")
    result, reports = inner_run(defence, f", waive={reasons}")
    result.assert_outcomes(passed=1)
    assert "known, see ticket 7" in result.stdout.str()
    (judged,) = [report.aerobust for report in reports if hasattr(report, "aerobust")]
    assert "known, see ticket 7" in str(judged["evaluation"])
