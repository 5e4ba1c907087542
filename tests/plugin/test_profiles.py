"""Profiles: what runs of one kind may cost, by a name in the ini file or on the command line."""

import pytest

CONTRACTS = """
    @robust("bim", 0.1, min_acc=0.5, data="many")
    def test_plain():
        pass

    @robust("bim", 0.1, steps=7, samples=100, min_acc=0.5, data="many")
    def test_stated():
        pass

    @robust("fgsm", epsilons(0.001, 0.04, step=0.001), min_acc=0.5, data="many")
    def test_range():
        pass
"""


@pytest.fixture
def costs(suite):
    """Runs the contracts and gives samples, steps and budgets of each."""
    suite.tests(CONTRACTS)

    def run(*options, ini=""):
        suite.write("pytest.ini", f"[pytest]\n{ini}")
        result = suite.run("-rA", *options)
        result.assert_outcomes(passed=3)
        text = result.stdout.str()
        rows = suite.measured(result)
        plain, stated, varied = (
            next(row for name, row in rows.items() if name.startswith(f"test_{which}"))
            for which in ("plain", "stated", "range")
        )
        steps = tuple(f"({count} steps)" in text for count in (10, 7, 3))
        return (
            plain["samples"],
            stated["samples"],
            len(varied["drawn"].split()),
            [count for count, seen in zip((10, 7, 3), steps, strict=True) if seen],
        )

    return run


def test_without_a_profile_the_marks_say(costs):
    """All samples, the attack's own steps, Hypothesis' own number of budgets."""
    assert costs() == (400, 100, 10, [10, 7])


def test_quick_takes_fewer_samples_and_budgets(costs):
    """In the ini file it is weaker than a mark, which states its own samples."""
    assert costs(ini="aerobust_profile = quick\n") == (200, 100, 3, [10, 7])


def test_the_command_line_is_stronger_than_a_mark(costs):
    """What a run costs is the business of whoever starts it."""
    assert costs("--aerobust-profile=quick") == (200, 200, 3, [10, 7])


def test_full_on_the_command_line_lifts_the_profile_of_the_ini_file(costs):
    """Nightly runs measure as the marks say."""
    ini = "aerobust_profile = quick\n"
    assert costs("--aerobust-profile=full", ini=ini) == (400, 100, 10, [10, 7])


def test_a_profile_of_ones_own(costs):
    """Samples, steps and budgets by name; a single option is stronger yet."""
    ini = "aerobust_profiles =\n    nightly: samples=300 steps=3 budgets=5\n    quick: steps=3\n"
    assert costs("--aerobust-profile=nightly", ini=ini) == (300, 300, 5, [3])
    assert costs("--aerobust-profile=nightly", "--aerobust-samples=50", ini=ini)[0] == 50
    assert costs("--aerobust-profile=quick", ini=ini) == (400, 100, 10, [3])


def test_each_profile_has_a_baseline_of_its_own(suite):
    """Numbers of 200 samples say nothing of 400, and the failure's command repeats the profile."""
    suite.tests("""
        @robust("bim", 0.1, min_acc=0.9, data="many")
        def test_it():
            pass
    """)
    result = suite.run("--aerobust-profile=quick", "--aerobust-update")
    assert (suite.path / "aerobust-baseline-quick.json").exists()
    assert "--aerobust --aerobust-profile=quick" in suite.failure(result)
    result.stdout.fnmatch_lines(["aerobust: profile quick (samples=200 budgets=3)"])


@pytest.mark.parametrize(
    ("ini", "words"),
    [
        ("aerobust_profile = quik\n", "aerobust_profile='quik' is unknown: did you mean quick?"),
        ("aerobust_profiles = fast samples=3\n", "'fast samples=3' is no profile: expected a name"),
        ("aerobust_profiles = fast: sample=3\n", "'fast: sample=3' is no profile"),
        ("aerobust_profiles = fast: samples=0\n", "samples=0: expected a whole number"),
        ("aerobust_profiles = fast: samples=x\n", "samples='x': expected a whole number"),
    ],
)
def test_what_can_not_be_meant(suite, ini, words):
    """A profile that nobody defined, or that says nothing, is a usage error."""
    suite.write("pytest.ini", f"[pytest]\n{ini}")
    result = suite.run()
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"*{words}*"])
