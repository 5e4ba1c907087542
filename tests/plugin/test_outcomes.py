"""What becomes of a contract: passed, failed, inconclusive, or an error that is no verdict."""

import shlex

import pytest

BROKEN = """
    @robust("bim", 0.1, min_acc=0.9)
    def test_broken():
        pass
"""


def test_a_contract_that_holds_passes(suite):
    """At a budget below every sample's distance the contract passes."""
    suite.tests("""
        @robust("bim", 0.02, min_acc=1.0)
        def test_holds():
            pass
    """)
    result = suite.run()
    result.assert_outcomes(passed=1)
    assert result.ret == pytest.ExitCode.OK


def test_a_broken_contract_fails_in_the_call_phase(suite):
    """A broken floor is a failure of the test, not an error of its setup."""
    suite.tests(BROKEN)
    result = suite.run()
    result.assert_outcomes(failed=1)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert [r.when for r in suite.reports(result) if r.failed] == ["call"]


def test_the_first_line_of_a_failure_carries_the_numbers(suite):
    """The first line names quantity, floor, attack, budget, threat and filter."""
    suite.tests(BROKEN)
    first = suite.failure(suite.run()).splitlines()[0]
    assert first == (
        "robust accuracy 0.800 < min_acc 0.900  [BIM Linf eps=0.1, white-box, no filter]"
    )


def test_the_short_summary_names_the_verdict_first(suite):
    """The summary line reads `FloorBroken: <numbers>`, without the path of a module."""
    suite.tests(BROKEN)
    suite.run().stdout.fnmatch_lines(
        ["FAILED test_suite.py::test_broken[[]bim-eps0.1] - FloorBroken: robust accuracy 0.800 <*"]
    )


def test_a_failure_says_what_to_run_next(suite):
    """The command under a failure selects the very same item, and it fails again."""
    suite.tests(BROKEN)
    (line,) = [x for x in suite.failure(suite.run()).splitlines() if "run again:" in x]
    assert line.split("run again: ")[1] == (
        "pytest 'test_suite.py::test_broken[bim-eps0.1]' --aerobust"
    )
    suite.plain_run("test_suite.py::test_broken[bim-eps0.1]", "--aerobust").assert_outcomes(
        failed=1
    )


def test_the_command_repeats_what_the_command_line_changed(suite):
    """A failure that depends on the options names them, so that the command shows it again."""
    suite.tests(BROKEN)
    text = suite.failure(suite.run("--aerobust-samples=5", "--aerobust-seed=3"))
    (command,) = [x for x in text.splitlines() if "run again:" in x]
    assert "--aerobust-samples=5" in command
    assert "--aerobust-seed=3" in command


def test_the_command_below_a_failure_survives_quotes(suite):
    """An id with a quote or a dollar sign gives a command that a shell reads as one name."""
    suite.tests("""
        @robust("bim", 0.1, min_acc=0.9, id="it's $5")
        def test_it():
            pass
    """)
    (line,) = [x for x in suite.failure(suite.run()).splitlines() if "run again:" in x]
    words = shlex.split(line.split("run again: ")[1])
    assert words[:2] == ["pytest", "test_suite.py::test_it[it's $5]"]


def test_the_command_fits_the_folder_it_is_given_in(suite, monkeypatch):
    """Run from a subfolder, the command names the test as that folder sees it."""
    suite.write("pytest.ini", "[pytest]\n")
    (suite.path / "sub").mkdir()
    suite.tests(BROKEN, "sub/test_sub.py")
    monkeypatch.chdir(suite.path / "sub")
    (line,) = [x for x in suite.failure(suite.run()).splitlines() if "run again:" in x]
    suite.plain_run(*shlex.split(line.split("run again: pytest ")[1])).assert_outcomes(failed=1)


def test_an_early_verdict_is_told_as_a_bound(suite):
    """A verdict that was certain early says at most, how many samples it took, and --full."""
    suite.tests("""
        @robust("bim", 0.3, min_acc=0.9, data="many")
        def test_broken():
            pass
    """)
    text = suite.failure(suite.run())
    assert text.startswith("robust accuracy at most 0.870 < min_acc 0.900")
    assert "(decided after 52 of 400 samples)" in text
    assert text.rstrip().endswith("--aerobust --aerobust-full")


@pytest.mark.parametrize(
    ("floor", "words"),
    [
        ("min_acc=0.81", "robust accuracy 0.800 < min_acc 0.810"),
        ("max_drop=0.1", "accuracy lost 0.200 > max_drop 0.100"),
        ("min_gain=0.05, filter='identity'", "accuracy gained by the filter 0.000 < min_gain 0.05"),
        ("max_target_hits=0.1, target=1", "target hits 0.200 > max_target_hits 0.100"),
        ("min_clean_acc=0.9, data='mislabelled'", "clean accuracy 0.800 < min_clean_acc 0.900"),
    ],
)
def test_every_floor_can_break(suite, floor, words):
    """Each kind of floor fails its contract, with its own numbers in the first line."""
    suite.conftest("""
        @pytest.fixture
        def mislabelled():
            inputs, labels = samples()
            labels[[0, 5]] = torch.tensor([1, 0])
            return inputs, labels
    """)
    suite.tests(f"""
        @robust("bim", 0.1, {floor})
        def test_broken():
            pass
    """)
    result = suite.run()
    result.assert_outcomes(failed=1)
    assert suite.failure(result).startswith(words)


@pytest.mark.parametrize(
    "floor",
    [
        "min_acc=0.8",
        "max_drop=0.2",
        "min_gain=0, filter='identity'",
        "max_target_hits=0.2, target=1",
        "min_clean_acc=1",
    ],
)
def test_every_floor_holds_when_met_exactly(suite, floor):
    """A floor that is met to the last sample holds: floors are inclusive and exact
    (BAD INPUTS 5.25).
    """
    suite.tests(f"""
        @robust("bim", 0.1, {floor})
        def test_holds():
            pass
    """)
    suite.run().assert_outcomes(passed=1)


def test_all_floors_of_a_contract_count(suite):
    """One broken floor fails the contract, and the floors that hold are listed below it."""
    suite.tests("""
        @robust("bim", 0.1, min_acc=0.8, max_drop=0.1)
        def test_broken():
            pass
    """)
    text = suite.failure(suite.run())
    assert text.startswith("accuracy lost 0.200 > max_drop 0.100")
    assert "robust accuracy 0.800 ≥ min_acc 0.800" in text


def test_an_expected_failure_is_expected(suite):
    """`xfail(raises=FloorBroken, strict=True)` on a broken contract is xfailed."""
    suite.tests("""
        @pytest.mark.xfail(raises=FloorBroken, strict=True)
        @robust("bim", 0.1, min_acc=0.9)
        def test_broken():
            pass
    """)
    result = suite.run()
    result.assert_outcomes(xfailed=1)
    assert result.ret == pytest.ExitCode.OK


def test_an_expected_failure_that_holds_is_reported(suite):
    """A strict xfail on a contract that holds fails the run."""
    suite.tests("""
        @pytest.mark.xfail(raises=FloorBroken, strict=True)
        @robust("bim", 0.02, min_acc=0.9)
        def test_holds():
            pass
    """)
    result = suite.run()
    result.assert_outcomes(failed=1)
    assert "[XPASS(strict)]" in suite.failure(result)


def test_vanished_gradients_are_inconclusive(suite):
    """A floor that holds only because no gradient is left fails, and says why."""
    suite.tests("""
        @robust("bim", 0.1, min_acc=0.9, model="saturated")
        def test_void():
            pass
    """)
    result = suite.run()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        ["FAILED *test_void* - Inconclusive: INCONCLUSIVE: robust accuracy 1.000 ≥ min_acc 0.900*"]
    )
    assert "100% of the attacked samples have no gradient" in suite.failure(result)


@pytest.mark.parametrize("model", ["saturated", "broken"])
def test_an_expected_broken_floor_hides_nothing_else(suite, model):
    """`xfail(raises=FloorBroken)` swallows neither an inconclusive run nor a model's error."""
    suite.tests(f"""
        @pytest.mark.xfail(raises=FloorBroken, strict=True)
        @robust("bim", 0.1, min_acc=0.9, model="{model}")
        def test_void():
            pass
    """)
    result = suite.run()
    result.assert_outcomes(failed=1)
    assert result.ret == pytest.ExitCode.TESTS_FAILED


def test_an_expected_inconclusive_run_hides_no_broken_floor(suite):
    """`xfail(raises=Inconclusive)` does not swallow a broken floor."""
    suite.tests("""
        @pytest.mark.xfail(raises=Inconclusive, strict=True)
        @robust("bim", 0.1, min_acc=0.9)
        def test_broken():
            pass
    """)
    suite.run().assert_outcomes(failed=1)


def test_a_model_that_raises_is_told_with_its_reason(suite):
    """A model's own error names what came and what was expected, without our frames."""
    suite.tests("""
        @robust("bim", 0.1, min_acc=0.9, model="broken")
        def test_error():
            pass
    """)
    result = suite.run()
    result.assert_outcomes(failed=1)
    text = suite.failure(result)
    assert "ModelError: model raised RuntimeError on inputs of shape (10, 4)" in text
    assert "pytest_aerobust/" not in text
    result.stdout.fnmatch_lines(["FAILED *test_error* - *ModelError: model raised RuntimeError*"])


def test_full_trace_shows_all_frames(suite):
    """With --full-trace our own frames are shown as well."""
    suite.tests("""
        @robust("bim", 0.1, min_acc=0.9, model="broken")
        def test_error():
            pass
    """)
    result = suite.run("--full-trace")
    result.assert_outcomes(failed=1)
    assert "pytest_aerobust/proving/" in suite.failure(result).replace("\\", "/")


@pytest.mark.parametrize("style", ["auto", "long", "short", "line", "native", "no"])
def test_every_traceback_style_keeps_the_reason(suite, style):
    """Errors of ours survive each `--tb`: the summary line always names the reason."""
    suite.tests("""
        @robust("bim", 0.1, min_acc=0.9, model="broken")
        def test_error():
            pass
    """)
    result = suite.run(f"--tb={style}")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["FAILED *test_error* - *ModelError: model raised RuntimeError*"])


def test_output_of_the_body_is_captured(suite):
    """What the body prints belongs to the failing contract's report."""
    suite.tests("""
        @robust("bim", 0.1, min_acc=0.9)
        def test_broken():
            print("said by the body")
    """)
    suite.run().stdout.fnmatch_lines(["*Captured stdout call*", "said by the body"])


def test_a_pass_says_nothing_about_failure(suite):
    """A run in which every contract holds shows no failure section."""
    suite.tests("""
        @robust("bim", 0.02, min_acc=0.9)
        def test_holds():
            pass
    """)
    assert "FAILURES" not in suite.run().stdout.str()
