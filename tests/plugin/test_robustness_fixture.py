"""The fixture `robustness`: the evaluation in the hands of the test's body."""

import pytest

from pytest_aerobust import Arm, UndecidedError

# A model that counts how often it is asked, and writes it down when the run ends.
COUNTING = """
    asked = []

    class Counting(Border):
        def forward(self, x):
            asked.append(len(x))
            return super().forward(x)

    @pytest.fixture(scope="session")
    def aerobust_model():
        return Counting()

    @pytest.fixture(scope="session")
    def asked_so_far():
        return lambda: len(asked)

    def pytest_unconfigure(config):
        (config.rootpath / "asked").write_text(str(len(asked)))
"""


def test_the_body_runs_before_the_check(suite):
    """The model is not asked anything before the body ends, where the body does not ask."""
    suite.conftest(COUNTING)
    suite.tests("""
        @robust("bim", 0.1, min_acc=0.5)
        def test_body(asked_so_far):
            assert asked_so_far() == 0
    """)
    suite.run().assert_outcomes(passed=1)
    assert int((suite.path / "asked").read_text()) > 0


def test_a_body_may_prepare_what_is_measured(suite):
    """What the body does to the model counts: the check comes after it."""
    suite.tests("""
        @robust("bim", 0.1, min_acc=0.9, model="fresh")
        def test_body(fresh):
            fresh.shift = 0.2

        @pytest.fixture
        def fresh(aerobust_model):
            return type(aerobust_model)()
    """)
    result = suite.run()
    result.assert_outcomes(failed=1)
    assert "clean 0.800" in suite.failure(result)


def test_a_failing_body_is_reported(suite):
    """Where the body fails, that is the failure: the contract is not even measured."""
    suite.conftest(COUNTING)
    suite.tests("""
        @robust("bim", 0.1, min_acc=0.9)
        def test_body():
            assert 1 == 2
    """)
    result = suite.run()
    result.assert_outcomes(failed=1)
    assert "assert 1 == 2" in suite.failure(result)
    assert "robust accuracy" not in result.stdout.str()
    assert (suite.path / "asked").read_text() == "0"


@pytest.mark.parametrize(
    ("statement", "outcome"),
    [("pytest.skip('not today')", "skipped"), ("pytest.xfail('known')", "xfailed")],
)
def test_a_body_that_stops_itself_stops_the_check(suite, statement, outcome):
    """Skipping or expecting a failure in the body leaves the contract unmeasured."""
    suite.conftest(COUNTING)
    suite.tests(f"""
        @robust("bim", 0.1, min_acc=0.9)
        def test_body():
            {statement}
    """)
    suite.run().assert_outcomes(**{outcome: 1})
    assert (suite.path / "asked").read_text() == "0"


def test_the_evaluation_holds_the_exact_numbers(suite):
    """`robustness()` gives the closed-form accuracies, the budget and the letters of samples."""
    suite.tests("""
        @robust("bim", 0.2, min_acc=0.1, filter="identity")
        def test_body(robustness):
            evaluation = robustness()
            assert isinstance(evaluation, Evaluation)
            assert evaluation.eps == 0.2
            assert evaluation.unfiltered.outcomes == evaluation.filtered.outcomes == "bbsssbbsss"
            assert evaluation.filtered.accuracy == 0.6
            assert evaluation.pipeline.clean_accuracy == 1.0
    """)
    suite.run().assert_outcomes(passed=1)


def test_it_measures_once(suite):
    """Asking twice gives the same object, and the check afterwards asks the model nothing."""
    suite.conftest(COUNTING)
    suite.tests("""
        @robust("bim", 0.1, min_acc=0.5)
        def test_body(robustness, asked_so_far):
            first = robustness()
            asked = asked_so_far()
            assert asked > 0
            assert robustness() is first
            assert robustness(0.1) is first
            assert asked_so_far() == asked
            print("asked", asked)
    """)
    result = suite.run("-s")
    result.assert_outcomes(passed=1)
    total = (suite.path / "asked").read_text()
    result.stdout.fnmatch_lines([f"*asked {total}"])


def test_it_measures_in_full(suite):
    """`robustness()` attacks every sample, also where the verdict is certain early."""
    suite.tests("""
        @robust("bim", 0.1, min_acc=0.5, data="many")
        def test_body(robustness):
            assert robustness().complete
            assert robustness().unfiltered.accuracy == 0.8

        @robust("bim", 0.1, min_acc=0.5, data="many")
        def test_check_alone():
            pass
    """)
    result = suite.run("--aerobust-no-cache")
    result.assert_outcomes(passed=2)
    rows = suite.measured(result)
    asked, alone = (rows[f"test_{name}[bim-eps0.1-many]"] for name in ("body", "check_alone"))
    assert asked["unfiltered_accuracy_low"] == asked["unfiltered_accuracy_high"] == 0.8
    assert alone["unfiltered_accuracy_low"] < alone["unfiltered_accuracy_high"]


def test_a_caught_failure_of_the_body_does_not_skip_the_check(suite):
    """A body that only looks at the evaluation is still followed by the check."""
    suite.tests("""
        @robust("bim", 0.1, min_acc=0.9)
        def test_body(robustness):
            assert robustness().unfiltered.accuracy == 0.8
    """)
    result = suite.run()
    result.assert_outcomes(failed=1)
    assert suite.failure(result).startswith("robust accuracy 0.800 < min_acc 0.900")


def test_a_fixture_of_the_user_may_use_it(suite):
    """A fixture between test and `robustness` gets the contract of the test that asks."""
    suite.tests("""
        @pytest.fixture
        def accuracy(robustness):
            return robustness().unfiltered.accuracy

        @robust("bim", [0.1, 0.2], min_acc=0.5)
        def test_body(accuracy, robustness):
            assert accuracy == {0.1: 0.8, 0.2: 0.6}[robustness().eps]
    """)
    suite.run().assert_outcomes(passed=2)


@pytest.mark.parametrize("option", ["--aerobust", "--no-aerobust"])
def test_without_a_mark_it_says_what_is_missing(suite, option):
    """`robustness` in a test without a contract is a clear error, with or without the switch."""
    suite.tests("""
        def test_body(robustness):
            pass
    """)
    result = suite.plain_run(option)
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(
        ["*the fixture robustness needs a contract: mark the test with @robust(attack=*"]
    )


def test_another_budget_is_refused(suite):
    """`robustness(eps)` of a contract with one budget takes that budget and no other."""
    suite.tests("""
        @robust("bim", 0.1, min_acc=0.5)
        def test_wrong(robustness):
            robustness(0.2)

        @robust("bim", 0.1, min_acc=0.5)
        def test_caught(robustness):
            with pytest.raises(ContractError, match="only budget is 0.1; let it vary"):
                robustness(0.2)

        @robust("bim", 0.1, min_acc=0.5)
        def test_nonsense(robustness):
            with pytest.raises(ContractError, match="finite number"):
                robustness("0.1")
    """)
    result = suite.run()
    result.assert_outcomes(passed=2, failed=1)
    text = suite.failure(result)
    assert "ContractError: robustness(0.2): this contract's only budget is 0.1" in text
    assert "pytest_aerobust/" not in text


def test_an_early_stopped_arm_has_no_one_accuracy():
    """The accuracy of an arm with pending samples raises, and says how to get one number."""
    arm = Arm("ssb?")
    assert arm.accuracy_interval == (0.5, 0.75)
    with pytest.raises(UndecidedError, match=r"accuracy lies in \[0.5, 0.75\].*--aerobust-full"):
        _ = arm.accuracy
    with pytest.raises(UndecidedError, match="target_hits lies in"):
        _ = arm.target_hits
    assert arm.clean_accuracy == 1.0


def test_an_error_inside_the_body_keeps_its_place(suite):
    """An error of ours that the body provokes points at the line of the body."""
    suite.tests("""
        @robust("bim", 0.1, min_acc=0.5, model="broken")
        def test_body(robustness):
            accuracy = robustness().filtered.accuracy
    """)
    result = suite.run()
    result.assert_outcomes(failed=1)
    assert "accuracy = robustness().filtered.accuracy" in suite.failure(result)
