"""The example suites, copied out of the project and run as a newcomer would."""

import shutil
from pathlib import Path

import pytest
import yaml

from pytest_aerobust.options.command_line import add_options

EXAMPLES = Path(__file__).parents[1] / "examples"

# examples/paper: six attacks at four budgets for two classifiers, without a filter and behind four
# of them under three threats, and two attacks at two budgets with one classifier on both sides.
CONTRACTS = 6 * 4 * 2 * (1 + 4 * 3) + 2 * 2 * 2 * 4 * 2


def copied(pytester, name):
    """A copy of an example without the models that another run may have left there."""
    ignored = shutil.ignore_patterns(".models", "__pycache__")
    shutil.copytree(EXAMPLES / name, pytester.path / name, ignore=ignored)
    return pytester.path / name


def test_quickstart_trains_passes_and_shows_the_filter_broken_once_known(pytester):
    """Six contracts pass, the strict xfail fails as expected, and a second run trains nothing."""
    suite = copied(pytester, "quickstart")
    for _ in range(2):
        result = pytester.runpytest_subprocess("--aerobust", str(suite))
        result.assert_outcomes(passed=6, xfailed=1)
        result.stdout.fnmatch_lines(["*test_filter_helps_against_who_knows_it*failed (xfail)*"])
        trained = sorted((suite / ".models").glob("*.pt"), key=str)
        written = [path.stat().st_mtime_ns for path in trained]
        assert len(trained) == 2
    assert written == [path.stat().st_mtime_ns for path in trained]


def test_mnist_suite_collects_its_contracts_without_data(pytester):
    """Twelve contracts, three for each threat and budget, and nothing is read to list them."""
    result = pytester.runpytest_subprocess("--co", "-q", str(copied(pytester, "mnist")))
    result.stdout.fnmatch_lines(["*12 tests collected*"])


def test_paper_suite_measures_every_cell_on_digits_and_writes_its_page(pytester):
    """All of the paper on digits: every contract runs, the three causes show, a page is written.

    A broken claim is a finding, not a failure; a second run trains nothing.
    """
    suite = copied(pytester, "paper")
    page = pytester.path / "paper.html"
    told = ("--paper=digits", f"--paper-page={page}", "-q", str(suite))
    arguments = ("--aerobust", "--aerobust-no-cache", *told)
    result = pytester.runpytest_subprocess(*arguments)
    outcomes = result.parseoutcomes()
    assert result.ret == 0
    assert outcomes["passed"] == 3
    assert outcomes["xfailed"] + outcomes["xpassed"] == CONTRACTS
    html = page.read_text(encoding="utf-8")
    assert "not run" not in html
    assert f"<summary>{CONTRACTS} contracts</summary>" in html
    # For each of two classifiers, unattacked and attacked in six ways.
    table = page.with_suffix(".md").read_text(encoding="utf-8").splitlines()
    assert len(table) == 2 + 2 * 7
    trained = {path: path.stat().st_mtime_ns for path in (suite / ".models").iterdir()}
    again = pytester.runpytest_subprocess(*arguments, "-k", "no_filter and eps0.3")
    assert again.ret == 0
    kept = {path: path.stat().st_mtime_ns for path in (suite / ".models").iterdir()}
    assert {path: kept[path] for path in trained if path.suffix != ".lock"} == {
        path: when for path, when in trained.items() if path.suffix != ".lock"
    }


def guarded(pytester, suite, training):
    """The suite of a CI job, with its model trained in another way."""
    shutil.rmtree(suite / ".models", ignore_errors=True)
    plain = (EXAMPLES / "ci" / "conftest.py").read_text(encoding="utf-8")
    changed = plain.replace("max_epochs=40", training)
    assert training in changed
    (suite / "conftest.py").write_text(changed, encoding="utf-8")
    arguments = (
        "--aerobust",
        "--aerobust-strict",
        "-rP",
        f"--rootdir={suite}",
        "-c",
        str(suite / "pytest.ini"),
    )
    return pytester.runpytest_subprocess(*arguments, str(suite))


def test_ci_suite_tells_a_worse_model_from_another_one(pytester):
    """Its own model and one of another seed pass the committed baseline; one that was trained for
    two epochs fails, and the newly lost samples are named.
    """
    suite = copied(pytester, "ci")
    for training in ("max_epochs=40", "max_epochs=40, seed=1"):
        guarded(pytester, suite, training).assert_outcomes(passed=3)
    result = guarded(pytester, suite, "max_epochs=2")
    result.assert_outcomes(failed=3)
    result.stdout.fnmatch_lines(
        [
            "*accuracy lost since the baseline 0.* > max_regression 0.040  [[]FGSM Linf eps=0.02*",
            "*since the baseline: 0.* newly lost *of 200 samples (McNemar's exact p = *e-*)",
            "*newly lost samples: *",
        ]
    )


def test_ci_workflow_is_sound():
    """It is YAML, and every option that it gives pytest is one."""
    text = (EXAMPLES / "ci/.github/workflows/robustness.yml").read_text(encoding="utf-8")
    steps = yaml.safe_load(text)["jobs"]["guard"]["steps"]
    commands = " ".join(step.get("run", "") for step in steps).split()
    options = {word.partition("=")[0] for word in commands if word.startswith("--aerobust")}
    parser = pytest.Parser(_ispytest=True)
    add_options(parser)
    known = {name for option in parser.getgroup("aerobust").options for name in option.names()}
    assert {"--aerobust", "--aerobust-update", "--aerobust-profile"} <= options <= known
