"""Root folders: a contract's past is the same from wherever pytest is started."""

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

GUARD = """
@robust("bim", eps=0.2, min_acc=0.55, max_regression=0.02)
def test_guard():
    pass
"""
INI = "[pytest]\naddopts = --import-mode=importlib\naerobust_memory = memory\n"
TEST = "tests/test_suite.py::test_guard[bim-eps0.2]"


@pytest.fixture
def tree(suite, small_conftest, monkeypatch):
    """Makes root folders side by side, and runs pytest from where it is told to."""

    def make(name, head="", test=GUARD):
        (suite.path / name / "tests").mkdir(parents=True)
        suite.write(f"{name}/pytest.ini", INI)
        suite.tests(head + test, f"{name}/tests/test_suite.py")
        return suite.path / name

    def run(start, *options):
        with monkeypatch.context() as patch:
            patch.chdir(suite.path / start)
            return suite.run(*options)

    (suite.path / "conftest.py").unlink()
    make.run, make.base = run, small_conftest
    return make


def entries(folder):
    return json.loads((folder / "aerobust-baseline.json").read_text())["contracts"]


@pytest.mark.parametrize(
    ("start", "options"),
    [
        ("one/tests", []),
        (".", ["one"]),
        (".", ["-c", "one/pytest.ini", "one/tests/test_suite.py"]),
        ("one", ["--rootdir=.."]),
        ("one", ["--rootdir=tests"]),
        (".", ["-c", "one/pytest.ini", "--rootdir=."]),
    ],
)
def test_another_start_finds_the_same_past(suite, tree, start, options):
    """The baseline compares, the memory is tried, and nothing that lives is pruned."""
    one = tree("one")
    suite.write("one/conftest.py", tree.base)
    tree.run("one", "--aerobust-update").assert_outcomes(passed=1)
    before = entries(one)
    assert [*before] == [TEST]
    result = tree.run(start, "--aerobust-prune", "--aerobust-strict", *options)
    result.assert_outcomes(passed=1)
    (row,) = suite.measured(result).values()
    assert row["baseline"] == "compared"
    assert "memory_tried" in row
    assert entries(one) == before


def test_an_ini_file_of_another_folder(suite, tree):
    """Wherever it lies, one contract has one entry, whatever part of the suite is named."""
    tree("one")
    suite.write("one/conftest.py", tree.base)
    (suite.path / "ci").mkdir()
    suite.write("ci/pytest.ini", INI)
    for part in ("one", "one/tests", "one/tests/test_suite.py"):
        tree.run(".", part, "-c", "ci/pytest.ini", "--aerobust-update").assert_outcomes(passed=1)
    assert [*entries(suite.path / "ci")] == [f"../one/{TEST}"]


def test_two_root_folders_in_one_run(suite, tree):
    """Pytest knows both tests by one id: each is told and stored all the same."""
    head = tree.base.replace("return Border()", "return Border(shift={})") + "\n\n"
    one = tree("one", head.format(0.3))
    tree("two", head.format(0.0))
    result = tree.run(".", "one", "two", "--aerobust-update", "--aerobust-json=out.json")
    result.assert_outcomes(failed=1, passed=1)
    told = json.loads((suite.path / "out.json").read_text())["contracts"]
    verdicts = {each["test"]: each["verdict"] for each in told}
    assert verdicts == {TEST: "failed", f"../two/{TEST}": "passed"}
    assert entries(one).keys() == verdicts.keys()
    assert len([*(one / "memory").iterdir()]) == 2


def test_fixtures_of_another_root_folder(suite, tree):
    """No contract is judged on what another folder has under test; a common root folder helps."""
    tree("one")
    tree("two")
    suite.write("one/conftest.py", tree.base)
    suite.write("two/conftest.py", tree.base.replace("return Border()", "return Blind()"))
    result = tree.run(".", "one", "two", "--aerobust-update")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*takes its fixture aerobust_* from *two?conftest.py*--rootdir=*"])
    assert not [*suite.path.glob("*/aerobust-baseline.json")]
    apart = ("--rootdir=.", "--import-mode=importlib")
    result = tree.run(".", "one", "two", "--aerobust-update", *apart)
    result.assert_outcomes(passed=1, failed=1)
    assert [*entries(suite.path)] == [f"one/{TEST}"]


def test_stored_examples_of_another_start(suite, tree):
    """They are found under one rootdir and judged again under another."""
    tree("one", test=GUARD.replace("min_acc=0.55", "min_acc=0.9"))
    suite.write("one/conftest.py", tree.base)
    tree.run("one", "--rootdir=..", "--aerobust-examples=found").assert_outcomes(failed=1)
    tree.run("one", "--aerobust-replay=found").assert_outcomes(passed=1)


FAILS = """
@robust("bim", eps=0.2, min_acc=0.9)
def test_fails():
    pass
"""
# Says what the run that builds it reads, and where its root folder is.
TOLD = """

@pytest.fixture(scope="session")
def aerobust_model(pytestconfig):
    inis = [line for line in pytestconfig.getini("markers") if line.endswith(".ini")]
    with open({file!r}, "a") as file:
        print(pytestconfig.rootpath.name, *inis, file=file)
    return Border()
"""


@pytest.fixture
def pasted(suite, monkeypatch):
    """Runs the one failing contract from a folder, and then the replay that it prints."""
    env = {k: v for k, v in os.environ.items() if not k.startswith(("PYTEST", "COV_"))}
    env["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"

    def paste(start, *options):
        monkeypatch.chdir(suite.path / start)
        result = suite.run("--aerobust-examples=found", *options)
        result.assert_outcomes(failed=1)
        (line,) = [x for x in suite.failure(result).splitlines() if "see them again" in x]
        _, *words = shlex.split(line.split("without the attack: ")[1])
        told = subprocess.run(
            [sys.executable, *words], env=env, capture_output=True, text=True, check=False
        )
        assert told.returncode == 0, f"{words} {told.stdout} {told.stderr}"
        assert "4 of 4 stored examples of 1 contracts still fool" in told.stdout
        return shlex.join(words[4:])

    return paste


# Where pytest starts, with what, beside which ini files; what the replay is told, and reads.
STARTS = {
    "ini below": (".", "", "a.ini sub/b.ini", "", "top a.ini"),
    "ini below alone": (".", "", "sub/b.ini", "", "top"),
    "ini of another folder": ("ci", "../sub", "sub/b.ini", "--rootdir=../sub", "sub b.ini"),
    "ini aside": (".", "-c ci/pytest.ini sub", "ci/b.ini", "-c ci/pytest.ini", "ci b.ini"),
    "started aside": (
        *("ci", "-c pytest.ini ../sub", "ci/b.ini"),
        *("-c pytest.ini --rootdir=..", "top b.ini"),
    ),
    "rootdir above": (
        *(".", "-c ci/pytest.ini --rootdir=. sub", "a.ini ci/b.ini"),
        *("-c ci/pytest.ini --rootdir=.", "top b.ini"),
    ),
    "rootdir below": (
        *("sub", "--rootdir=deep", "sub/b.ini"),
        *("-c pytest.ini --rootdir=deep", "deep b.ini"),
    ),
    "no ini": ("sub", "-c /dev/null", "a.ini sub/b.ini", "-c /dev/null", "sub"),
}


@pytest.mark.parametrize(
    ("start", "options", "inis", "words", "reads"), STARTS.values(), ids=STARTS
)
def test_the_printed_replay_finds_its_test(
    suite, small_conftest, pasted, start, options, inis, words, reads
):
    """With the ini file and the root folder of its run, whatever others lie above and below."""
    # Above the root folder, where pytest looks only if it is told to read no ini file.
    above = "" if os.devnull in options else "raise SystemExit('of another root folder')"
    suite.write("conftest.py", above)
    top, seen = suite.path / "top", suite.path / "seen"
    for folder in ("ci", "sub/deep"):
        (top / folder).mkdir(parents=True)
    for ini in map(Path, inis.split()):
        (top / ini).with_name("pytest.ini").write_text(f"[pytest]\nmarkers = {ini.name}\n")
    suite.write("top/sub/conftest.py", small_conftest + TOLD.format(file=str(seen)))
    suite.tests(FAILS, "top/sub/test_it.py")
    assert pasted(top / start, *options.split()) == words
    assert seen.read_text().splitlines()[-1] == reads


def test_a_run_without_an_ini_file(suite):
    """What lies beside an ini file lies in the root folder; it is not looked for in /dev."""
    suite.tests(FAILS)
    suite.run("-c", os.devnull, "--aerobust-update").assert_outcomes(failed=1)
    assert [*entries(suite.path)] == ["test_suite.py::test_fails[bim-eps0.2]"]
