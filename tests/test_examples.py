"""The example suites, copied out of the project and run as a newcomer would."""

import shutil
from pathlib import Path

EXAMPLES = Path(__file__).parents[1] / "examples"


def copied(pytester, name):
    """A copy of an example without the models that another run may have left there."""
    ignored = shutil.ignore_patterns(".models", "__pycache__")
    shutil.copytree(EXAMPLES / name, pytester.path / name, ignore=ignored)
    return pytester.path / name


def test_quickstart_trains_passes_and_shows_the_filter_broken_once_known(pytester):
    """Five contracts pass, the strict xfail fails as expected, and a second run trains nothing."""
    suite = copied(pytester, "quickstart")
    for _ in range(2):
        result = pytester.runpytest_subprocess("--aerobust", str(suite))
        result.assert_outcomes(passed=5, xfailed=1)
        result.stdout.fnmatch_lines(["*test_filter_helps_against_who_knows_it*failed (xfail)*"])
        trained = sorted((suite / ".models").glob("*.pt"), key=str)
        written = [path.stat().st_mtime_ns for path in trained]
        assert len(trained) == 2
    assert written == [path.stat().st_mtime_ns for path in trained]


def test_mnist_suite_collects_its_contracts_without_data(pytester):
    """Twelve contracts, three for each threat and budget, and nothing is read to list them."""
    result = pytester.runpytest_subprocess("--co", "-q", str(copied(pytester, "mnist")))
    result.stdout.fnmatch_lines(["*12 tests collected*"])
