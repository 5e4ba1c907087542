"""What version 0.1.0 left is read today: baseline, memory, stored examples, a JSON report.

`tests/before` holds a suite and what its run with ``--aerobust-update --aerobust-examples=found
--aerobust-json=results.json`` wrote then.
"""

import json
import shutil
import sys
from pathlib import Path

import jsonschema
import pytest

import pytest_aerobust.reports

BEFORE = Path(__file__).parents[1] / "before"
SCHEMA = Path(pytest_aerobust.reports.__file__).with_name("results.schema.json")


@pytest.fixture
def before(pytester):
    shutil.copytree(BEFORE, pytester.path, dirs_exist_ok=True)
    return pytester


def test_no_entry_of_a_baseline_is_stale(before):
    """Nine contracts compare with what was kept of them: plain, targeted, masked, of own code."""
    result = before.runpytest_subprocess("--aerobust", "--aerobust-strict")
    result.assert_outcomes(passed=9, failed=1)


def test_an_update_changes_no_entry(before):
    """The same model leaves the same baseline, and remembers the same contracts."""
    kept = before.path / "aerobust-baseline.json"
    written, names = kept.read_bytes(), sorted(each.name for each in BEFORE.glob("memory/*"))
    before.runpytest_subprocess("--aerobust", "--aerobust-update")
    assert kept.read_bytes() == written
    assert sorted(each.name for each in before.path.glob("memory/*")) == names


def test_examples_of_then_are_tried(before):
    """Whoever fell then falls to the same examples, without an attack."""
    result = before.runpytest_subprocess("--aerobust", "-k", "test_fails")
    result.stdout.fnmatch_lines(["*memory: 32 examples of earlier runs tried; 32 samples fall*"])


def test_stored_examples_of_then_are_judged_again(before):
    """`replay` reads them, and each still fools the model."""
    result = before.run(sys.executable, "-m", "pytest_aerobust", "replay", "found")
    result.stdout.fnmatch_lines(["*16 of 16*"])


def test_a_report_of_then_follows_the_schema(before):
    """A program that reads reports by the schema reads that one, too."""
    report = json.loads((BEFORE / "results.json").read_text(encoding="utf-8"))
    jsonschema.validate(report, json.loads(SCHEMA.read_text(encoding="utf-8")))
    assert report["schema"] == 1
