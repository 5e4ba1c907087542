"""Beside other plugins and options: the contract is the same with any of them."""

import pytest

CONTRACTS = """
    @robust("bim", [0.02, 0.1], min_acc=0.9)
    def test_it():
        pass
"""


@pytest.mark.parametrize(
    "plugin",
    ["cacheprovider", "stepwise", "junitxml", "skipping", "doctest", "unittest", "capture"],
)
def test_without_a_builtin_plugin(suite, plugin):
    """A run without one of pytest's own plugins judges the same, on and off."""
    suite.tests(CONTRACTS)
    options = ("-p", f"no:{plugin}")
    suite.run(*options).assert_outcomes(passed=1, failed=1)
    assert suite.plain_run(*options).ret in (
        pytest.ExitCode.OK,
        # Without the plugin that skips, contracts run and fail: the safe side.
        *([pytest.ExitCode.TESTS_FAILED] if plugin == "skipping" else []),
    )


def test_without_a_terminal(suite, junit_properties):
    """A run without the terminal reporter judges the same."""
    suite.tests(CONTRACTS)
    result = suite.run("-p", "no:terminal", "--junit-xml=junit.xml")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    found = junit_properties(suite.path / "junit.xml")
    assert {row["verdict"] for row in found.values()} == {"passed", "failed"}


@pytest.mark.parametrize("mode", ["prepend", "append", "importlib"])
def test_every_import_mode(suite, mode):
    """Contracts are collected and judged under each import mode."""
    suite.tests(CONTRACTS)
    suite.run(f"--import-mode={mode}").assert_outcomes(passed=1, failed=1)


def test_setup_alone_checks_nothing(suite):
    """`--setup-plan` and `--setup-only` run no contract and crash on none."""
    suite.tests(CONTRACTS)
    for option in ("--setup-plan", "--setup-only"):
        result = suite.run(option)
        assert result.ret == pytest.ExitCode.OK
        assert "INTERNALERROR" not in result.stdout.str()


def test_durations_and_other_reports(suite):
    """Reporting options that read every test report find nothing unusual in ours."""
    suite.tests(CONTRACTS)
    result = suite.run("--durations=3", "-rA", "-vv", "-l")
    result.assert_outcomes(passed=1, failed=1)


def test_the_ordinary_tests_beside_are_untouched(suite):
    """Tests without a mark run as ever: classes, unittest, doctests, parametrization."""
    suite.tests('''
        import unittest

        class TestPlain:
            def test_one(self):
                pass

        class TestOld(unittest.TestCase):
            def test_two(self):
                pass

        @pytest.mark.parametrize("x", [1, 2])
        def test_three(x):
            pass

        def four():
            """
            >>> four()
            4
            """
            return 4

        @robust("bim", 0.02, min_acc=0.9)
        def test_five():
            pass
    ''')
    suite.run("--doctest-modules").assert_outcomes(passed=6)


def test_the_plugin_blocked(suite):
    """`-p no:pytest_aerobust.plugin` leaves pytest without it: its flag is unknown then."""
    suite.tests("""
        def test_plain():
            pass
    """)
    block = ("-p", "no:pytest_aerobust.plugin")
    suite.plain_run(*block).assert_outcomes(passed=1)
    assert suite.run(*block).ret == pytest.ExitCode.USAGE_ERROR


def test_a_second_run_in_the_same_process(suite):
    """Runs share no state: the same suite judged twice gives the same."""
    suite.tests(CONTRACTS)
    first, second = (suite.measured(suite.run("--aerobust-no-cache")) for _ in range(2))
    for row in (*first.values(), *second.values()):
        row.pop("seconds")
    assert first == second


def test_global_randomness_is_left_alone(suite):
    """A contract leaves Python's, NumPy's and torch's generators as it found them."""
    suite.tests("""
        import random

        import numpy as np
        import torch

        def state():
            return random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state()

        @pytest.fixture
        def untouched():
            before = state()
            yield
            after = state()
            assert before[:2] == after[:2]
            assert torch.equal(before[2], after[2])

        @robust("pgd", 0.02, min_acc=0.9)
        @robust("LinfRepeatedAdditiveUniformNoiseAttack", 0.02, min_acc=0.9)
        @robust("fgsm", epsilons(0.01, 0.04, max_examples=2), min_acc=0.9)
        def test_it(untouched):
            pass
    """)
    suite.run().assert_outcomes(passed=3)


def test_a_pass_does_not_depend_on_where_it_was_asked(suite):
    """Under `no_grad`, `inference_mode` or another default dtype the verdict is the same."""
    suite.conftest("""
        @pytest.fixture(autouse=True, params=["no_grad", "inference", "plain"])
        def around(request, aerobust_model, aerobust_data):
            modes = {"no_grad": torch.no_grad, "inference": torch.inference_mode}
            if request.param == "plain":
                yield
                return
            with modes[request.param]():
                yield
    """)
    suite.tests("""
        @robust("bim", 0.1, min_acc=0.5)
        def test_it(robustness):
            assert robustness().unfiltered.outcomes == "bssssbssss"
    """)
    suite.run().assert_outcomes(passed=3)
