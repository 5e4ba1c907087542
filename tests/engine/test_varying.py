"""Looking for the smallest budget that breaks a contract, whoever answers."""

from random import Random

import hypothesis
import pytest
from hypothesis import strategies as st

from pytest_aerobust import ContractError, epsilons
from pytest_aerobust.proving.drawing import Draws, drawn_budgets, find_boundary


class Asked:
    """Answers by a rule, and remembers what it was asked; `nested` answers reach further."""

    def __init__(self, rule, nested=True):
        self.rule, self.nested = rule, nested
        self.asked, self.afresh = {}, []

    @property
    def measured(self):
        return len(self.asked)

    def known(self, eps):
        if eps in self.asked or not self.nested:
            return self.asked.get(eps)
        if any(held and eps < each for each, held in self.asked.items()):
            return True
        return False if any(not held and eps > each for each, held in self.asked.items()) else None

    def holds(self, eps):
        if self.known(eps) is None:
            self.asked[eps] = self.rule(eps)
        return self.known(eps)

    def fresh(self, eps):
        self.afresh.append(eps)
        self.asked[eps] = self.rule(eps)
        return self.asked[eps]


def found(points, rule, *, nested=True, seed=0, examples=None):
    probe = Asked(rule, nested)
    return find_boundary(points, probe, nested=nested, draws=Draws(seed, examples)), probe


@pytest.mark.parametrize("nested", [True, False])
def test_the_border_is_found_exactly(nested):
    """Whatever border, grid and seed: the first budget beyond it fails, the last before holds."""
    random = Random(5)
    for _ in range(60):
        border, step = random.uniform(0, 1.2), random.choice([1 / 255, 0.01, 0.03, 0.1, 0.25])
        points = epsilons(random.choice([0.0, 0.02, 1 / 255, 0.5]), 1.0, step).points()
        seed = random.getrandbits(64)
        boundary, probe = found(points, lambda eps, border=border: eps <= border, seed=seed)
        beyond = [eps for eps in points if eps > border]
        before = [eps for eps in points if eps <= border]
        assert boundary.failing == (beyond[0] if beyond else None)
        assert boundary.withstood == (before[-1] if before else None)
        assert next(iter(probe.asked)) == points[-1]
        assert set(probe.asked) | set(boundary.drawn) <= set(points)
        assert boundary.measured == len(probe.asked)


def test_few_budgets_are_asked_about():
    """Of 256 nested budgets a failure asks for the logarithm, a pass for one."""
    points = epsilons(0.0, 1.0, 1 / 255).points()
    _, failing = found(points, lambda eps: eps <= 0.3)
    _, holding = found(points, lambda eps: True)
    assert len(failing.asked) <= 11
    assert list(holding.asked) == [1.0]


def test_what_is_named_was_attacked_afresh():
    """The smallest failure and the budget below it are looked at again, and no other."""
    points = epsilons(0.0, 1.0, 0.1).points()
    boundary, probe = found(points, lambda eps: eps <= 0.35)
    assert (boundary.withstood, boundary.failing) == (0.3, 0.4)
    assert sorted(probe.afresh) == [0.3, 0.4]


def test_a_fresh_attack_may_move_the_border():
    """Where the budget below fails once it is attacked afresh, the failure moves there."""

    class Late(Asked):
        def fresh(self, eps):
            super().fresh(eps)
            self.asked[eps] = eps < 0.25
            return self.asked[eps]

    points = epsilons(0.0, 1.0, 0.1).points()
    probe = Late(lambda eps: eps <= 0.55)
    boundary = find_boundary(points, probe, nested=True, draws=Draws(0))
    assert (boundary.withstood, boundary.failing) == (0.2, 0.3)


def test_a_failure_found_is_a_failure_seen():
    """Where budgets fail without order, what is named did fail, and its neighbour holds."""
    random, points = Random(6), epsilons(0, 20, step=1).points()
    for seed in range(30):
        failing = set(random.sample(range(21), random.randint(1, 10)))
        boundary, probe = found(
            points, lambda eps, failing=failing: int(eps) not in failing, nested=False, seed=seed
        )
        if boundary.failing is None:
            assert all(probe.asked.values())
            continue
        assert probe.asked[boundary.failing] is False
        assert all(held for eps, held in probe.asked.items() if eps < boundary.failing)
        assert boundary.failing == 0 or probe.asked[boundary.failing - 1]


def test_the_draws_follow_the_seed_alone():
    """The same seed draws the same budgets in the same order; another seed draws others."""
    points = epsilons(0, 1).points()

    def drawn(seed):
        return found(points, lambda eps: True, seed=seed, examples=8)[0].drawn

    assert drawn(3) == drawn(3)
    assert len({drawn(seed) for seed in range(5)}) == 5


@pytest.mark.parametrize("examples", [1, 4, 12])
def test_the_number_of_draws_is_bounded(examples):
    """`max_examples` bounds the budgets that are drawn."""
    boundary, probe = found(
        epsilons(0, 1).points(), lambda eps: True, nested=False, seed=5, examples=examples
    )
    assert 1 <= len(boundary.drawn) <= examples
    assert set(probe.asked) == {1.0, *boundary.drawn}


def test_a_strategy_of_the_users_own():
    """Budgets are what it yields, each once and rising."""
    points = drawn_budgets(st.sampled_from([0.3, 0.1, 0.2]), Draws(0, 30))
    assert points == (0.1, 0.2, 0.3)


@pytest.mark.parametrize(
    ("strategy", "words"),
    [
        (st.text(), "expected a finite number"),
        (st.floats(-2, -1), "at least 0"),
        (st.just(float("nan")), "expected a finite number"),
        (st.none(), "expected a finite number"),
    ],
    ids=str,
)
def test_a_strategy_of_what_is_no_budget(strategy, words):
    """The error names the strategy, what it drew and what was expected."""
    with pytest.raises(ContractError, match=rf"^eps=.* drew what is no budget: .*{words}"):
        drawn_budgets(strategy, Draws(0))


def test_a_profile_of_the_users_says_how_many():
    """Where the contract states no number, a profile that the user loaded does."""
    before = hypothesis.settings.get_current_profile_name()
    hypothesis.settings.register_profile("three", max_examples=3)
    hypothesis.settings.load_profile("three")
    try:
        assert len(drawn_budgets(st.floats(0, 1), Draws(0))) == 3
        assert len(drawn_budgets(st.floats(0, 1), Draws(0, 6))) == 6
    finally:
        hypothesis.settings.load_profile(before)
    assert len(drawn_budgets(st.floats(0, 1), Draws(0))) == 10
