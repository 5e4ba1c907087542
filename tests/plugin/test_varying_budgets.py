"""Budgets drawn by Hypothesis: the largest first, and the smallest that fails named exactly."""

import json
from random import Random

import hypothesis
import pytest

from pytest_aerobust import ContractError, epsilons
from pytest_aerobust.varying import find_boundary

# FGSM on this model moves every sample by the whole budget, so the model sees the budgets drawn.
SEEING = """
    import json

    drawn = {}

    class Seeing(Border):
        def forward(self, x):
            if len(x) == 10:
                eps = round(float((x.detach() - samples()[0]).abs().max()), 6)
                budgets = drawn.setdefault(self.test, [])
                if eps and eps not in budgets:
                    budgets.append(eps)
            return super().forward(x)

    @pytest.fixture
    def aerobust_model(request):
        model = Seeing()
        model.test = request.node.name.split("[")[0]
        return model

    def pytest_unconfigure(config):
        (config.rootpath / "drawn.json").write_text(json.dumps(drawn))
"""

# Checks of the evidence search with budgets of their own.
HOLDING = """
    from pytest_aerobust.checks import CHECKS

    alone = dict.fromkeys(CHECKS, "the attack's own budgets are looked at")

    @robust("fgsm", epsilons(0.001, 0.04, step=0.001), min_acc=0.9, waive=alone)
    def test_one():
        pass

    @robust("fgsm", epsilons(0.001, 0.04, step=0.001), min_acc=0.9, waive=alone)
    def test_two():
        pass
"""


def _drawn(suite, *options):
    suite.run(*options).assert_outcomes(passed=2)
    return json.loads((suite.path / "drawn.json").read_text())


def test_the_largest_budget_comes_first(suite):
    """Whatever is drawn, the largest budget of the range runs before all others."""
    suite.conftest(SEEING)
    suite.tests(HOLDING)
    for budgets in _drawn(suite).values():
        assert budgets[0] == 0.04
        assert len(budgets) > 3
        assert all(0.001 <= eps <= 0.04 for eps in budgets)


def test_the_same_seed_draws_the_same_budgets(suite):
    """Two runs draw the same budgets, another seed draws others (BAD INPUTS 1.19)."""
    suite.conftest(SEEING)
    suite.tests(HOLDING)
    first = _drawn(suite)
    assert _drawn(suite) == first
    assert _drawn(suite, "--aerobust-seed=1") != first


def test_the_seed_of_hypothesis_changes_nothing(suite, monkeypatch):
    """`--hypothesis-seed` is for the user's own tests: our draws follow --aerobust-seed alone."""
    # The option sets this for the whole process, which the inner run shares: it is put back.
    monkeypatch.setattr(hypothesis.core, "global_force_seed", None)
    suite.conftest(SEEING)
    suite.tests(HOLDING)
    first = _drawn(suite)
    assert _drawn(suite, "--hypothesis-seed=7") == first
    assert hypothesis.core.global_force_seed == 7


def test_each_contract_draws_its_own_budgets(suite):
    """Two tests with the same contract look at different budgets."""
    suite.conftest(SEEING)
    suite.tests(HOLDING)
    drawn = _drawn(suite)
    assert set(drawn["test_one"]) != set(drawn["test_two"])


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize(
    ("budgets", "failing", "withstood"),
    [
        # Robust accuracy falls below 0.7 once the samples at distance 0.15 are beaten.
        ("epsilons(0.02, 0.3, step=0.01)", "0.16", "0.15"),
        ("epsilons(0.02, 0.3)", "0.1529", "0.149"),
        ("epsilons(0, 0.3, step=0.07)", "0.21", "0.14"),
        ("epsilons(0.1, 0.155, step=0.05)", "0.155", "0.15"),
        ("epsilons(0.02, 0.4, step=0.001, max_examples=1)", "0.151", "0.15"),
    ],
)
def test_the_smallest_failing_budget_is_named(suite, seed, budgets, failing, withstood):
    """The failure names the first grid budget beyond the border, whatever was drawn."""
    suite.tests(f"""
        @robust("fgsm", {budgets}, min_acc=0.7)
        def test_broken():
            pass
    """)
    result = suite.run(f"--aerobust-seed={seed}")
    result.assert_outcomes(failed=1)
    text = suite.failure(result)
    assert f"smallest failing budget: eps={failing} (eps={withstood} does not break it;" in text
    assert f"Linf eps={failing}, white-box" in text.splitlines()[0]
    (row,) = suite.measured(result).values()
    assert row["eps"] == pytest.approx(float(failing), rel=1e-3)


def test_a_range_that_fails_from_its_start(suite):
    """Where even the smallest budget fails, that is said."""
    suite.tests("""
        @robust("fgsm", epsilons(0.2, 0.3), min_acc=0.9)
        def test_broken():
            pass
    """)
    text = suite.failure(suite.run())
    assert "smallest failing budget: eps=0.2 (every smaller budget breaks it, too;" in text


def test_a_range_that_holds_is_told_by_its_largest_budget(suite):
    """A contract that holds everywhere is reported at the largest budget, and passes."""
    suite.tests("""
        @robust("fgsm", epsilons(0.01, 0.04), min_acc=0.9)
        def test_holds():
            pass
    """)
    result = suite.run()
    result.assert_outcomes(passed=1)
    (row,) = suite.measured(result).values()
    assert row["eps"] == 0.04


def test_void_evidence_at_one_budget_fails_the_range(suite):
    """Budgets that prove nothing are inconclusive, not withstood."""
    suite.tests("""
        @robust("bim", epsilons(0.1, 0.2), min_acc=0.9, model="saturated")
        def test_void():
            pass
    """)
    result = suite.run()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["FAILED *test_void* - Inconclusive: *"])


def test_the_fixture_measures_any_budget_of_a_range(suite):
    """`robustness(eps)` measures that budget once, and bare the largest."""
    suite.tests("""
        @robust("fgsm", epsilons(0.02, 0.3), min_acc=0.1)
        def test_body(robustness):
            assert robustness().eps == 0.3
            assert robustness() is robustness(0.3)
            assert robustness(0.1).unfiltered.accuracy == 0.8
            assert robustness(0.1) is robustness(0.1)
    """)
    suite.run().assert_outcomes(passed=1)


def test_a_budget_outside_the_range_is_refused(suite):
    """`robustness(eps)` outside the contract's range is an error that names the range."""
    suite.tests("""
        @robust("fgsm", epsilons(0.02, 0.3), min_acc=0.1)
        def test_body(robustness):
            with pytest.raises(ContractError, match="0.02"):
                robustness(0.4)
    """)
    suite.run().assert_outcomes(passed=1)


@pytest.mark.filterwarnings("default")
def test_warnings_as_errors(suite):
    """Neither fixed nor varying budgets raise a warning: `-W error` changes nothing."""
    suite.tests("""
        @robust("fgsm", epsilons(0.02, 0.2), min_acc=0.9)
        @robust("bim", 0.02, min_acc=0.9)
        @robust("pgd", 0.02, norm="l2", min_acc=0.9)
        def test_quiet():
            pass
    """)
    result = suite.run("-W", "error")
    result.assert_outcomes(passed=2, failed=1)
    assert "smallest failing budget" in suite.failure(result)


def test_lists_may_hold_ranges(suite):
    """A range may stand in a list beside plain budgets, with marks of its own."""
    suite.tests("""
        known = pytest.mark.xfail(raises=FloorBroken, strict=True)

        @robust("bim", [0.02, pytest.param(epsilons(0.02, 0.3), marks=known)], min_acc=0.9)
        def test_list():
            pass
    """)
    suite.run().assert_outcomes(passed=1, xfailed=1)


def test_the_border_is_found_exactly():
    """Whatever border, grid and seed: the first budget beyond it fails, the last before holds."""
    random = Random(5)
    for _ in range(60):
        border, step = random.uniform(0, 1.2), random.choice([1 / 255, 0.01, 0.03, 0.1, 0.25])
        budgets = epsilons(random.choice([0.0, 0.02, 1 / 255, 0.5]), 1.0, step, max_examples=5)
        points, asked = budgets.points(), []

        def holds(eps, border=border, asked=asked):
            asked.append(eps)
            return eps <= border

        found = find_boundary(budgets, holds, seed=random.getrandbits(64))
        beyond = [eps for eps in points if eps > border]
        before = [eps for eps in points if eps <= border]
        assert found.failing == (beyond[0] if beyond else None)
        assert found.withstood == (before[-1] if before else None)
        assert asked[0] == points[-1]
        assert len(asked) == len(set(asked)) == found.tried
        assert set(asked) <= set(points)


def test_a_failure_found_is_a_failure_seen():
    """Where budgets fail without order, what is named did fail, and its neighbour holds."""
    random, budgets = Random(6), epsilons(0, 20, step=1)
    for seed in range(30):
        failing = set(random.sample(range(21), random.randint(1, 10)))
        asked = {}

        def holds(eps, failing=failing, asked=asked):
            asked[eps] = int(eps) not in failing
            return asked[eps]

        found = find_boundary(budgets, holds, seed)
        if found.failing is None:
            assert all(asked.values())
            continue
        assert asked[found.failing] is False
        assert all(held for eps, held in asked.items() if eps < found.failing)
        assert found.failing == 0 or asked[found.failing - 1]


def test_the_draws_follow_the_seed_alone():
    """The same seed asks the same budgets in the same order; another seed asks others."""

    def asked(seed):
        order = []

        def holds(eps):
            order.append(eps)
            return True

        find_boundary(epsilons(0, 1, max_examples=8), holds, seed)
        return order

    assert asked(3) == asked(3)
    assert len({tuple(asked(seed)) for seed in range(5)}) == 5


def test_the_number_of_draws_is_bounded():
    """`max_examples` bounds the budgets measured: as many draws, and the largest."""
    for examples in (1, 4, 12):
        found = find_boundary(epsilons(0, 1, max_examples=examples), lambda eps: True, seed=5)
        assert 1 <= found.tried <= examples + 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"low": 0.3, "high": 0.02}, "the range is empty"),
        ({"low": 0.3, "high": 0.3}, "the range is empty"),
        ({"low": -0.1, "high": 0.3}, "at least 0"),
        ({"low": 0.1, "high": float("inf")}, "finite number"),
        ({"low": "0.1", "high": 0.3}, "finite number"),
        ({"low": 0.1, "high": 0.3, "step": 0}, "step above 0"),
        ({"low": 0.1, "high": 0.3, "step": 0.5}, "no wider than the range"),
        ({"low": 0.1, "high": 0.3, "max_examples": 0}, "at least 1"),
    ],
    ids=str,
)
def test_a_range_that_cant_be_meant_is_refused(arguments, words):
    """A wrong range is refused where it is written, with what was expected."""
    with pytest.raises(ContractError, match=rf"^epsilons\(.*{words}"):
        epsilons(**arguments)


def test_a_deadline_of_the_users_own_profile_ends_nothing(suite):
    """A slow model and a profile with a deadline of a millisecond: drawn budgets are judged
    (BAD INPUTS 1.19).
    """
    suite.conftest("""
        import time

        class Slow(Border):
            def forward(self, x):
                time.sleep(0.003)
                return super().forward(x)

        @pytest.fixture(scope="session")
        def aerobust_model():
            return Slow()
    """)
    suite.tests(HOLDING)
    before = hypothesis.settings.get_current_profile_name()
    hypothesis.settings.register_profile("hasty", deadline=1)
    hypothesis.settings.load_profile("hasty")
    try:
        suite.run().assert_outcomes(passed=2)
    finally:
        hypothesis.settings.load_profile(before)
