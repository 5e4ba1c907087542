"""Budgets drawn by Hypothesis: the largest first, and the smallest that fails named exactly."""

import json
import re
from textwrap import dedent

import hypothesis
import pytest

from pytest_aerobust import ContractError, epsilons

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
    from pytest_aerobust.contract.waivers import CHECKS

    alone = dict.fromkeys(CHECKS, "the attack's own budgets are looked at")

    @robust("fgsm", epsilons(0.001, 0.04, step=0.001), min_acc=0.9, waive=alone)
    def test_one():
        pass

    @robust("fgsm", epsilons(0.001, 0.04, step=0.001), min_acc=0.9, waive=alone)
    def test_two():
        pass
"""


def _drawn(suite, *options):
    """The budgets that Hypothesis drew, by test, in their order."""
    result = suite.run(*options)
    result.assert_outcomes(passed=2)
    return {
        name.split("[")[0]: [float(eps) for eps in row["drawn"].split()]
        for name, row in suite.measured(result).items()
    }


def test_the_largest_budget_decides(suite):
    """With a floor of one number the largest budget is attacked, and settles what is drawn."""
    suite.conftest(SEEING)
    suite.tests(HOLDING)
    for budgets in _drawn(suite, "--aerobust-no-cache").values():
        assert len(budgets) > 3
        assert all(0.001 <= eps <= 0.04 for eps in budgets)
    seen = json.loads((suite.path / "drawn.json").read_text())
    assert seen == {"test_one": [0.04], "test_two": [0.04]}


def test_the_same_seed_draws_the_same_budgets(suite):
    """Two runs draw the same budgets, another seed draws others (BAD INPUTS 1.19)."""
    suite.tests(HOLDING)
    first = _drawn(suite)
    assert _drawn(suite) == first
    assert _drawn(suite, "--aerobust-seed=1") != first


def test_neither_order_nor_selection_change_the_draws(suite):
    """Each test draws its own budgets, whatever runs beside it."""
    suite.tests(HOLDING)
    first = _drawn(suite)
    assert first["test_one"] != first["test_two"]
    alone = suite.run("-k", "test_two")
    (row,) = suite.measured(alone).values()
    assert [float(eps) for eps in row["drawn"].split()] == first["test_two"]
    suite.conftest("""
        def pytest_collection_modifyitems(items):
            items.reverse()
    """)
    assert _drawn(suite) == first


def test_the_seed_of_hypothesis_draws_others(suite, monkeypatch):
    """`--hypothesis-seed` and `@seed` change the draws, and the same seed repeats them."""
    # The option sets this for the whole process, which the inner run shares: it is put back.
    monkeypatch.setattr(hypothesis.core, "global_force_seed", None)
    suite.tests(HOLDING)
    first = _drawn(suite)
    forced = _drawn(suite, "--hypothesis-seed=7")
    assert forced != first
    assert _drawn(suite, "--hypothesis-seed=7") == forced
    monkeypatch.setattr(hypothesis.core, "global_force_seed", None)
    assert _drawn(suite) == first
    suite.tests(
        "from hypothesis import seed\n"
        + dedent(HOLDING).replace("def test_one", "@seed(3)\ndef test_one")
    )
    seeded = _drawn(suite)
    assert seeded["test_one"] != first["test_one"]
    assert seeded["test_two"] == first["test_two"]


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


STRATEGY = "from hypothesis import strategies as st\n"


def test_a_strategy_of_the_users_own(suite):
    """Budgets are what it draws; the smallest of them that fails is named."""
    suite.tests(f"""
        {STRATEGY}
        @robust("fgsm", st.sampled_from([0.1, 0.16, 0.2, 0.3]), min_acc=0.7)
        def test_broken(robustness):
            assert robustness().eps == 0.3
    """)
    result = suite.run()
    result.assert_outcomes(failed=1)
    assert suite.ids(result) == ["test_broken[fgsm-eps-drawn]"]
    assert "smallest failing budget: eps=0.16 (eps=0.1 does not break it;" in suite.failure(result)


def test_a_strategy_that_yields_text(suite):
    """It is an error that shows what was drawn, and no broken floor."""
    suite.tests(f"""
        {STRATEGY}
        @robust("fgsm", st.text(min_size=1), min_acc=0.7)
        def test_text():
            pass
    """)
    result = suite.run()
    result.assert_outcomes(failed=1)
    assert "drew what is no budget" in suite.failure(result)
    assert "ContractError" in suite.failure(result)


CURVES = [
    ("{0.04: 0.9, 0.3: 0.4}", None),
    ("{0.05: 0.9, 0.2: 0.7, 0.3: 0.4}", "0.16"),
    ("{0.04: 1.0, 0.3: 0.4}", None),
    ("{0.06: 1.0, 0.3: 0.4}", "0.06"),
    ("lambda eps: max(0, 1 - 4 * eps)", None),
    ("lambda eps: 1 - eps", "0.06"),
    ("lambda eps: 0.7 if eps < 0.2 else 0.3", "0.16"),
]


@pytest.mark.parametrize(("floor", "failing"), CURVES)
def test_floors_as_curves(suite, floor, failing):
    """Every step is settled: of ten samples two fall at 0.05, 0.15, 0.25 and so on."""
    suite.tests(f"""
        @robust("fgsm", epsilons(0.02, 0.3, step=0.01, max_examples=1), min_acc={floor})
        def test_curve():
            pass
    """)
    result = suite.run("-rP")
    if failing is None:
        result.assert_outcomes(passed=1)
        result.stdout.fnmatch_lines(["*every step of the floor from eps=0.02 to 0.3 is settled*"])
    else:
        result.assert_outcomes(failed=1)
        assert f"smallest failing budget: eps={failing} " in suite.failure(result)


def test_a_curve_at_single_budgets(suite):
    """Each budget of a list meets the floor of its own step."""
    suite.tests("""
        @robust("fgsm", [0.04, 0.1, 0.2], min_acc={0.05: 1.0, 0.1: 0.8, 0.3: 0.6})
        def test_holds():
            pass

        @robust("fgsm", 0.2, max_drop={0.1: 0.2, 0.3: 0.3})
        def test_drops():
            pass
    """)
    result = suite.run()
    result.assert_outcomes(passed=3, failed=1)
    assert "max_drop 0.300" in suite.failure(result)


@pytest.mark.parametrize(
    ("contract", "words"),
    [
        (
            "0.1, min_acc={0.1: 0.8, 0.2: 0.9}",
            "min_acc demands more of a larger budget: 0.8 ",
        ),
        ("0.1, max_drop={0.1: 0.3, 0.2: 0.2}", "max_drop demands more of a larger budget"),
        ("epsilons(0, 0.3), min_acc=lambda eps: eps", "min_acc demands more of a larger budget"),
        ("0.3, min_acc={0.1: 0.8}", "min_acc says nothing of eps=0.3: its last step is at 0.1"),
        ("epsilons(0, 0.3), min_acc={0.1: 0.8}", "min_acc says nothing of eps="),
        ("0.3, min_acc={}", "expected floors by budget"),
        ("0.3, min_acc={-0.1: 0.5}", "a budget is a radius"),
        ("0.3, min_acc={0.3: 90}", "did you mean 0.9?"),
        ("0.3, min_acc={0.3: None}", "expected a number"),
        ("0.3, min_acc=lambda eps: 'x'", "expected a number"),
        ("0.3, min_acc=lambda eps: None", "expected a number"),
        ("0.3, min_acc=lambda eps: 1 / 0", "min_acc raised ZeroDivisionError at eps=0.3"),
        ("0.3, min_clean_acc={0.3: 0.5}", "expected one number"),
    ],
)
def test_curves_that_cant_be_meant(suite, contract, words):
    """A floor that rises with the budget, or says nothing of it, fails at collection."""
    suite.tests(f"@robust('fgsm', {contract})\ndef test_it():\n    pass\n")
    result = suite.run()
    result.assert_outcomes(errors=1)
    assert words in result.stdout.str()


def test_a_range_past_the_bounds_is_said(suite):
    """Budgets beyond the span of the data are judged, with a note."""
    suite.tests("""
        @robust("fgsm", epsilons(0.5, 2.0, step=0.5), max_drop=1.0)
        def test_far():
            pass
    """)
    result = suite.run()
    result.stdout.fnmatch_lines(["note: *eps=2*"])


def test_workers_draw_what_one_process_draws(tmp_path, small_conftest, own_process):
    """Under -n 2 the same budgets are drawn and the same budget fails as in one process."""
    (tmp_path / "conftest.py").write_text(small_conftest)
    (tmp_path / "test_suite.py").write_text(
        "from pytest_aerobust import *\n"
        "@robust(['fgsm', 'bim'], epsilons(0.02, 0.3), min_acc=0.7)\n"
        "def test_ranges():\n    pass\n"
    )

    def told(*options):
        own_process(tmp_path, "--aerobust", "--junitxml=found.xml", *options)
        text = (tmp_path / "found.xml").read_text()
        return sorted(re.findall(r'"aerobust_(drawn|smallest_failing_eps)" value="(.*?)"', text))

    alone = told()
    assert len(alone) == 4
    assert told("-p", "xdist", "-n", "2") == alone
