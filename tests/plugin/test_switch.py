"""Switching contracts on and off, and a run that proves nothing."""

import pytest

# Without --aerobust nothing of this may happen; the files tell.
TELLTALE = """
    @pytest.fixture(scope="session")
    def aerobust_model(pytestconfig):
        (pytestconfig.rootpath / "model-built").touch()
        raise RuntimeError("built")

    @pytest.fixture(autouse=True)
    def around(request):
        (request.config.rootpath / "test-set-up").touch()
"""

BROKEN = """
    @robust("bim", 0.1, min_acc=0.9)
    def test_broken():
        raise AssertionError("the body ran")
"""

PLAIN = """
    def test_plain():
        pass
"""

NOTHING = "*aerobust: no robustness contract was collected, so nothing was proved*"


def test_contracts_are_skipped_without_the_flag(suite):
    """Without --aerobust a contract is skipped, and the reason names the flag (BAD INPUTS 1.8)."""
    suite.tests(BROKEN)
    result = suite.plain_run("-rs")
    result.assert_outcomes(skipped=1)
    assert result.ret == pytest.ExitCode.OK
    result.stdout.fnmatch_lines(["SKIPPED * a robustness contract: runs with --aerobust *"])


def test_no_fixture_is_built_without_the_flag(suite):
    """A skipped contract costs nothing: neither the model nor any other fixture is built."""
    suite.conftest(TELLTALE)
    suite.tests(BROKEN)
    suite.plain_run().assert_outcomes(skipped=1)
    assert not (suite.path / "model-built").exists()
    assert not (suite.path / "test-set-up").exists()
    suite.run().assert_outcomes(errors=1)
    assert (suite.path / "model-built").exists()
    assert (suite.path / "test-set-up").exists()


def test_the_fixture_robustness_alone_is_skipped_too(suite):
    """A test that asks for `robustness` under a mark is skipped like the others."""
    suite.tests("""
        @robust("bim", 0.1, min_acc=0.9)
        def test_fixture(robustness):
            raise AssertionError("the body ran")
    """)
    suite.plain_run().assert_outcomes(skipped=1)


def test_other_tests_run_without_the_flag(suite):
    """Without the flag the rest of a suite runs as ever, and the section is not printed."""
    suite.tests(BROKEN + PLAIN)
    result = suite.plain_run()
    result.assert_outcomes(passed=1, skipped=1)
    result.stdout.no_fnmatch_line("*aerobust:*")
    result.stdout.no_fnmatch_line("*robustness contracts*")


INI = {
    "pytest.ini": "[pytest]\naerobust = {on}\naerobust_samples = 6\naerobust_min_acc = 0.7\n",
    "tox.ini": "[pytest]\naerobust = {on}\naerobust_samples = 6\naerobust_min_acc = 0.7\n",
    "setup.cfg": "[tool:pytest]\naerobust = {on}\naerobust_samples = 6\naerobust_min_acc = 0.7\n",
    "pyproject.toml": "[tool.pytest.ini_options]\n"
    "aerobust = {on}\naerobust_samples = 6\naerobust_min_acc = 0.7\n",
    "pyproject.toml, strings": '[tool.pytest.ini_options]\naerobust = "{on}"\n'
    'aerobust_samples = "6"\naerobust_min_acc = "0.7"\n',
    "pyproject.toml, typed": "[tool.pytest]\n"
    "aerobust = {on}\naerobust_samples = 6\naerobust_min_acc = 0.7\n",
    "pytest.toml": "[pytest]\naerobust = {on}\naerobust_samples = 6\naerobust_min_acc = 0.7\n",
}


@pytest.fixture(params=INI)
def ini(request, suite):
    """Writes the switch and two typed values in each format that pytest reads."""
    name = request.param.split(",")[0]
    return lambda on: suite.write(name, INI[request.param].format(on=on))


def test_the_ini_file_switches_on(suite, ini):
    """`aerobust = true` runs contracts, with the values that the same file states."""
    ini("true")
    suite.tests("""
        @robust("bim", 0.02)
        def test_contract():
            pass
    """)
    result = suite.plain_run()
    result.assert_outcomes(passed=1)
    (row,) = suite.measured(result).values()
    assert row["samples"] == 6
    assert row["min_acc"] == 0.7


def test_the_ini_file_switches_off(suite, ini):
    """`aerobust = false` skips contracts, and the command line's --aerobust wins over it."""
    ini("false")
    suite.tests("""
        @robust("bim", 0.02, min_acc=0.9)
        def test_contract():
            pass
    """)
    suite.plain_run().assert_outcomes(skipped=1)
    suite.run().assert_outcomes(passed=1)


def test_the_command_line_switches_off(suite, ini):
    """--no-aerobust wins over `aerobust = true`."""
    ini("true")
    suite.tests(BROKEN)
    suite.plain_run("--no-aerobust").assert_outcomes(skipped=1)


def test_the_last_flag_wins(suite):
    """Of --aerobust and --no-aerobust the later one counts, as for any switch."""
    suite.tests(BROKEN)
    suite.plain_run("--aerobust", "--no-aerobust").assert_outcomes(skipped=1)
    suite.plain_run("--no-aerobust", "--aerobust").assert_outcomes(failed=1)


def test_ini_keys_are_known(suite):
    """No key of ours is unknown to `--strict-config`."""
    suite.write(
        "pytest.ini",
        "[pytest]\naerobust = true\naerobust_samples = 10\naerobust_seed = 1\n"
        "aerobust_device = cpu\naerobust_threat = white-box\naerobust_min_acc = 0.5\n"
        "aerobust_max_drop = 0.5\naerobust_min_clean_acc = 0.5\n",
    )
    suite.tests("""
        @robust("bim", 0.1)
        def test_contract():
            pass
    """)
    suite.plain_run("--strict-config").assert_outcomes(passed=1)


@pytest.mark.parametrize("test_file", [PLAIN, None], ids=["other tests", "no test"])
def test_a_run_that_proves_nothing_is_loud(suite, test_file):
    """--aerobust without a single contract says so and exits non-zero."""
    if test_file:
        suite.tests(test_file)
    result = suite.run()
    assert result.ret != pytest.ExitCode.OK
    result.stdout.fnmatch_lines([NOTHING])


def test_a_run_by_the_ini_file_that_proves_nothing_is_loud(suite):
    """`aerobust = true` and a whole suite without a contract is loud as well."""
    suite.write("pytest.ini", "[pytest]\naerobust = true\n")
    suite.tests(PLAIN)
    result = suite.plain_run()
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines([NOTHING])


@pytest.mark.parametrize(
    "options",
    [
        ("-k", "plain"),
        ("-m", "not robust"),
        ("--lf",),
        ("--sw",),
        ("--deselect", "test_suite.py::test_broken"),
        ("--no-aerobust",),
    ],
    ids=" ".join,
)
def test_a_part_of_the_suite_may_hold_no_contract(suite, options):
    """A run that selects tests may select no contract: it is quiet and exits with success."""
    suite.tests(PLAIN + BROKEN)
    if "--lf" in options:
        # What failed last is a plain test, mended since; only it runs again.
        suite.tests(PLAIN.replace("pass", "assert False"))
        suite.plain_run().assert_outcomes(failed=1)
        suite.tests(PLAIN + BROKEN)
    if "--sw" in options:
        suite.tests(PLAIN)
    result = suite.run(*options)
    assert result.ret == pytest.ExitCode.OK
    result.stdout.no_fnmatch_line(NOTHING)


def test_one_file_may_hold_no_contract_under_the_ini_file(suite):
    """`aerobust = true` does not fail a run of one unrelated file; --aerobust asks for more."""
    suite.write("pytest.ini", "[pytest]\naerobust = true\n")
    suite.tests(PLAIN, "test_plain.py")
    suite.tests(BROKEN, "test_broken.py")
    result = suite.plain_run("test_plain.py")
    result.assert_outcomes(passed=1)
    assert result.ret == pytest.ExitCode.OK
    result.stdout.no_fnmatch_line(NOTHING)
    result = suite.run("test_plain.py")
    assert result.ret != pytest.ExitCode.OK
    result.stdout.fnmatch_lines([NOTHING])


@pytest.mark.parametrize("test_file", [PLAIN, BROKEN], ids=["no contract", "a contract"])
def test_collecting_alone_says_nothing(suite, test_file):
    """`--co` lists items, says nothing about proofs and exits with success."""
    suite.tests(test_file)
    result = suite.run("--collect-only", "-q")
    assert result.ret == pytest.ExitCode.OK
    assert "aerobust:" not in result.stdout.str()
    assert "robustness contracts" not in result.stdout.str()


def test_a_wrong_mark_is_not_called_a_missing_one(suite):
    """Where a contract could not be collected, the run does not say that there is none."""
    suite.tests("""
        @robust("bmi", 0.1, min_acc=0.9)
        def test_typo():
            pass
    """)
    result = suite.run()
    result.assert_outcomes(errors=1)
    result.stdout.no_fnmatch_line(NOTHING)


def test_a_failure_keeps_its_own_exit_code(suite):
    """Proving nothing does not hide that something failed, or that a run was stopped."""
    suite.tests(PLAIN.replace("pass", "pytest.exit('enough', returncode=7)"))
    assert suite.run().ret == 7


def test_a_test_that_is_skipped_anyway_stays_quiet(suite):
    """Contracts that a mark skips were collected: the run is no proof of nothing."""
    suite.tests("""
        @pytest.mark.skip(reason="later")
        @robust("bim", 0.1, min_acc=0.9)
        def test_later():
            pass
    """)
    result = suite.run()
    result.assert_outcomes(skipped=1)
    assert result.ret == pytest.ExitCode.OK
