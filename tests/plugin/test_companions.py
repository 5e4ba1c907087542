"""Other plugins of a CI job in one environment with this one: nothing breaks.

They are the extra `companions`; without it these tests are skipped.
"""

import os
import re
import subprocess
import sys
from importlib.util import find_spec
from textwrap import dedent

import pytest

COMPANIONS = ("pytest_randomly", "pytest_cov", "pytest_html", "pytest_timeout")
MISSING = [name for name in (*COMPANIONS, "pytest_rerunfailures") if find_spec(name) is None]

pytestmark = pytest.mark.skipif(
    bool(MISSING), reason=f"needs {', '.join(MISSING)}: pip install -e '.[test,companions]'"
)

SUITE = """
    import pytest
    from pytest_aerobust import FloorBroken, epsilons, robust

    @robust("bim", [0.1, 0.2, 0.3], min_acc=0.55)
    def test_list():
        pass

    @robust("fgsm", epsilons(0.01, 0.1), min_acc=0.7)
    def test_range():
        pass

    @robust("pgd", 0.2, min_acc=0.9, marks=pytest.mark.xfail(raises=FloorBroken, strict=True))
    def test_expected():
        pass

    def test_plain():
        assert True
"""
OUTCOMES = {"failed": 1, "passed": 4, "xfailed": 1}


@pytest.fixture
def folder(tmp_path, small_conftest):
    (tmp_path / "conftest.py").write_text(small_conftest)
    (tmp_path / "test_suite.py").write_text(dedent(SUITE))
    return tmp_path


def run(folder, *options):
    """Outcomes, rows of the section by test, and the whole text of a run with every plugin."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("PYTEST", "COV_"))}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "--aerobust", "--color=no", *options],
        cwd=folder,
        env={**clean, "COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    text = done.stdout + done.stderr
    *_, last = re.findall(r"^=+ (.*) in [\d.]+s.* =+$", done.stdout, re.MULTILINE) or [""]
    counts = {name: int(count) for count, name in re.findall(r"(\d+) (\w+)", last)}
    section = done.stdout.partition("= robustness contracts =")[2]
    rows = re.findall(r"^(test_\w+\[\S+\]).* (passed|failed(?: \(xfail\))?) +", section, re.M)
    return counts, sorted(rows), text


ROWS = [
    ("test_expected[pgd-eps0.2]", "failed (xfail)"),
    ("test_list[bim-eps0.1]", "passed"),
    ("test_list[bim-eps0.2]", "passed"),
    ("test_list[bim-eps0.3]", "failed"),
    ("test_range[fgsm-eps0.01..0.1]", "passed"),
]


@pytest.mark.parametrize("options", [(), ("-n", "2"), ("-p", "no:randomly", "-n", "2")])
def test_all_at_once(folder, options):
    """Random order, coverage, an HTML report, timeouts and reruns, alone and under workers."""
    counts, rows, text = run(
        folder,
        "--cov=conftest",
        "--html=report.html",
        "--self-contained-html",
        "--timeout=120",
        "--junit-xml=junit.xml",
        *options,
    )
    assert counts == OUTCOMES, text
    assert rows == ROWS
    assert "robust accuracy 0.400" in (folder / "report.html").read_text()
    assert "INTERNALERROR" not in text


def test_a_rerun_counts_once(folder):
    """A contract that fails twice has one row, and its properties once."""
    counts, rows, text = run(folder, "--reruns", "1", "--junit-xml=junit.xml")
    assert counts == OUTCOMES | {"rerun": 1}, text
    assert rows == ROWS
    broken = (
        (folder / "junit.xml").read_text().partition("bim-eps0.3")[2].partition("</testcase")[0]
    )
    assert broken.count('name="aerobust_verdict"') == 1


def test_a_rerun_whose_body_breaks(folder):
    """The last run came to no verdict, so there is none, in rows, properties or the baseline."""
    (folder / "test_suite.py").write_text(
        dedent("""
            from pytest_aerobust import robust

            runs = []

            @robust("bim", 0.3, min_acc=0.55)
            def test_it():
                runs.append(1)
                assert len(runs) < 2
        """)
    )
    counts, rows, text = run(folder, "--reruns", "1", "--junit-xml=junit.xml", "--aerobust-update")
    assert counts == {"failed": 1, "rerun": 1}, text
    assert rows == []
    assert not (folder / "aerobust-baseline.json").exists()
    last = (folder / "junit.xml").read_text().rpartition("<testcase")[2]
    assert "AssertionError" in last
    assert "aerobust_verdict" not in last


def test_last_failed_and_exit_first(folder):
    """--lf runs what failed, and -x ends behind it, whatever the order."""
    run(folder)
    counts, rows, text = run(folder, "--lf", "-x")
    assert counts.get("failed") == 1, text
    assert rows == [("test_list[bim-eps0.3]", "failed")]


def test_a_timeout_ends_one_contract(folder):
    """Whoever takes too long fails: that time ran out proves nothing, and the others go on
    (BAD INPUTS 3.4).
    """
    (folder / "test_suite.py").write_text(
        dedent(SUITE)
        + dedent("""
            import time

            @pytest.mark.timeout(0.5, func_only=True)
            @robust("bim", 0.1, min_acc=0.1)
            def test_slow():
                time.sleep(5)
        """)
    )
    counts, rows, text = run(folder, "--timeout-method=signal")
    assert counts == OUTCOMES | {"failed": 2}, text
    assert rows == ROWS
