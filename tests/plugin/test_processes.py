"""Runs in processes of their own: xdist's workers, plugin loading, and what gets imported."""

import json
import os
import subprocess
import sys

import pytest

SUITE = """
from pytest_aerobust import FloorBroken, epsilons, robust
import pytest

pytestmark = robust("fgsm", 0.02, min_acc=0.9)


def test_module():
    pass


@robust("bim", [0.1, pytest.param(0.3, marks=pytest.mark.xfail(raises=FloorBroken))], min_acc=0.9)
def test_broken():
    pass


@robust("pgd", 0.1, min_acc=0.5, data="many")
def test_early(robustness):
    pass


@robust("bim", epsilons(0.02, 0.3, max_examples=3), min_acc=0.7)
class TestVarying:
    def test_one(self):
        pass

    def test_two(self):
        pass


@robust("bim", 0.1, min_acc=0.9, model="saturated")
def test_void():
    pass
"""

# xdist beside this plugin: own_process loads no other by itself.
TWO_WORKERS = ("-p", "xdist", "-n2")


@pytest.fixture(scope="module")
def folder(tmp_path_factory, small_conftest):
    """A suite with contracts of every outcome."""
    path = tmp_path_factory.mktemp("suite")
    (path / "conftest.py").write_text(small_conftest)
    (path / "test_suite.py").write_text(SUITE)
    return path


@pytest.fixture(scope="module")
def serial(folder, own_process):
    return own_process(folder, "--aerobust", "--aerobust-no-cache", "--junit-xml=serial.xml")


@pytest.fixture(scope="module")
def parallel(folder, own_process):
    return own_process(
        folder, "--aerobust", "--aerobust-no-cache", "--junit-xml=parallel.xml", *TWO_WORKERS
    )


def _section(text):
    """Rows of the section without the column of seconds, sorted."""
    lines = text.split("= robustness contracts =")[1].splitlines()[2:]
    rows = [line for line in lines if line.startswith(("test_", "Test"))]
    return sorted(row.rsplit(None, 1)[0].split() for row in rows)


def test_workers_find_the_same_as_one_process(serial, parallel):
    """Under -n 2 every row of the section is that of the serial run."""
    assert serial.returncode == parallel.returncode == pytest.ExitCode.TESTS_FAILED
    assert len(_section(serial.stdout)) == 12
    assert _section(parallel.stdout) == _section(serial.stdout)


def test_workers_report_the_same_outcomes(serial, parallel):
    """Under -n 2 passed, failed and xfailed are those of the serial run."""

    def counts(run):
        return run.stdout.splitlines()[-1].strip("= ").split(" in ")[0]

    assert counts(parallel) == counts(serial) == "4 failed, 7 passed, 1 xfailed"


def test_workers_write_the_same_properties(serial, parallel, folder, junit_properties):
    """The JUnit XML of -n 2 holds the same aerobust properties as the serial one."""
    one, two = (junit_properties(folder / f"{name}.xml") for name in ("serial", "parallel"))
    for cases in (one, two):
        for row in cases.values():
            row.pop("seconds", None)
    assert one["test_broken[bim-eps0.1]"]["unfiltered_accuracy_low"] == "0.8"
    assert one == two


def test_workers_draw_the_same_budgets(serial, parallel):
    """The number of budgets tried, which the draws decide, is that of the serial run."""

    def tried(run):
        return sorted(x for x in run.stdout.splitlines() if "smallest failing budget" in x)

    assert len(tried(serial)) == 2
    assert tried(parallel) == tried(serial)


def test_no_draw_is_stored(serial, folder):
    """Failing budgets leave no database of examples behind: a run depends on its seed alone."""
    assert "smallest failing budget" in serial.stdout
    assert not (folder / ".hypothesis" / "examples").exists()


LIGHT_CONFTEST = """
import pytest


@pytest.fixture
def aerobust_model():
    raise AssertionError("built")
"""


@pytest.fixture
def light(tmp_path, own_process):
    """A folder whose conftest imports nothing heavy, run in a process of its own."""

    def run(test, *args, **env):
        (tmp_path / "conftest.py").write_text(LIGHT_CONFTEST)
        (tmp_path / "test_suite.py").write_text(test)
        return own_process(tmp_path, *args, **env)

    return run


UNITTEST = """
import unittest
from pytest_aerobust import robust


class TestIt(unittest.TestCase):
    @robust("bim", 0.1, min_acc=0.9)
    def test_it(self):
        pass
"""


def test_a_unittest_method_stops_workers_too(light):
    """Under -n 2 a marked unittest method is an error with the same words, never a pass."""
    run = light(UNITTEST, "--aerobust", *TWO_WORKERS)
    assert run.returncode not in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED)
    assert "passed" not in run.stdout
    assert "@robust works on test functions" in run.stdout + run.stderr


def test_workers_that_prove_nothing_are_loud(light):
    """Under -n 2 a suite without contracts is as loud as in one process."""
    run = light("def test_plain():\n    pass\n", "--aerobust", *TWO_WORKERS)
    assert run.returncode == pytest.ExitCode.TESTS_FAILED
    assert "1 passed" in run.stdout
    assert run.stdout.count("aerobust: no robustness contract was collected") == 1


def test_workers_that_skip_prove_something(light):
    """Under -n 2 contracts that were collected and skipped are no proof of nothing."""
    test = (
        "from pytest_aerobust import robust\nimport pytest\n\n\n"
        "@pytest.mark.skip\n@robust('bim', 0.1, min_acc=0.9)\ndef test_it():\n    pass\n"
    )
    run = light(test, "--aerobust", *TWO_WORKERS)
    assert run.returncode == pytest.ExitCode.OK
    assert "aerobust:" not in run.stdout
    run = light(test, *TWO_WORKERS)
    assert "1 skipped" in run.stdout


def test_a_worker_that_dies_loses_no_finished_result(suite):
    """Results that a worker finished before it died stay in the section."""
    suite.tests("""
        import os

        @robust("bim", [0.02, 0.03], min_acc=0.9)
        def test_holds():
            pass

        @robust("bim", 0.1, min_acc=0.9)
        def test_dies():
            os._exit(3)
    """)
    result = suite.run("-n1", "--max-worker-restart=0")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["*crashed while running 'test_suite.py::test_dies[[]bim-eps0.1]'"])
    rows = _section(result.stdout.str())
    assert [row[0] for row in rows] == ["test_holds[bim-eps0.02]", "test_holds[bim-eps0.03]"]


PLAIN = "def test_plain():\n    pass\n"


@pytest.mark.parametrize("autoload", [True, False])
def test_the_plugin_named_on_the_command_line(tmp_path, own_process, autoload):
    """`-p pytest_aerobust.plugin` loads it once, with its entry point and without autoload."""
    env = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "" if autoload else "1"}
    run = own_process(tmp_path, "-p", "pytest_aerobust.plugin", "--markers", **env)
    assert run.returncode == 0, run.stderr[:300]
    assert run.stdout.count("@pytest.mark.robust(") == 1


# What a run must not load before a contract runs.
HEAVY = [
    "torch",
    "numpy",
    "foolbox",
    "eagerpy",
    "hypothesis",
    "scipy",
    "sklearn",
    "pytorch_lightning",
    "matplotlib",
]

TELL = """
import json, sys
from pathlib import Path

def pytest_unconfigure(config):
    Path("modules.json").write_text(json.dumps(sorted(sys.modules)))
"""

MARKED = """
import pytest
from pytest_aerobust import FloorBroken, epsilons, robust

pytestmark = robust("fgsm", 0.1, min_acc=0.9)

@robust(["bim", "pgd", "L2CarliniWagnerAttack"], [0.1, epsilons(0.1, 0.2)], norm=None, max_drop=0.1)
@pytest.mark.robust("bim", 0.1, norm="l2", min_acc=0.9, mean=[0.5], bounds=(0, 1), steps=3)
def test_contract(robustness):
    pass
"""


@pytest.fixture
def loaded(tmp_path, own_process):
    """The modules that a run of pytest ends with, with this plugin and no other."""

    def run(test, *args):
        (tmp_path / "conftest.py").write_text(TELL)
        if test:
            (tmp_path / "test_suite.py").write_text(test)
        done = own_process(tmp_path, *args)
        assert "INTERNALERROR" not in done.stdout
        assert not done.stderr
        return set(json.loads((tmp_path / "modules.json").read_text()))

    return run


@pytest.mark.parametrize(
    ("arguments", "environment"),
    [
        (["-p", "no:pytest_aerobust.plugin"], {}),
        ([], {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}),
    ],
    ids=["blocked", "no autoload"],
)
def test_without_the_plugin_a_contract_is_skipped(tmp_path, arguments, environment):
    """Where nobody would check it, a mark never lets its test pass, and the reason says why
    (BAD INPUTS 1.8).
    """
    (tmp_path / "test_suite.py").write_text(SUITE)
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
    result = subprocess.run(
        [sys.executable, "-m", "pytest", "-rs", *arguments, str(tmp_path)],
        env=clean | environment | {"COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert "without the plugin that checks it" in result.stdout
    assert " passed" not in result.stdout


@pytest.mark.parametrize(
    ("test", "args"),
    [
        (None, ("--co",)),
        (PLAIN, ()),
        (MARKED, ("--co",)),
        (MARKED, ("--co", "--aerobust")),
        (MARKED, ()),
        (PLAIN, ("--aerobust",)),
    ],
    ids=["empty, co", "plain", "marked, co", "marked, co, on", "marked, off", "plain, on"],
)
def test_nothing_heavy_is_loaded(loaded, test, args):
    """Collection, and a run without a contract to check, load none of the heavy packages."""
    modules = loaded(test, *args)
    assert "pytest_aerobust.plugin" in modules
    assert modules.isdisjoint(HEAVY)


def test_a_run_without_contracts_loads_hooks_and_options_alone(loaded, tmp_path):
    """No contract and no option of ours: the two packages, and not even what they import."""
    modules = loaded(PLAIN)
    ours = {name for name in modules if name.split(".")[0] == "pytest_aerobust"}
    assert ours == {
        "pytest_aerobust",
        "pytest_aerobust.options",
        "pytest_aerobust.options.command_line",
        "pytest_aerobust.plugin",
        "pytest_aerobust.plugin.fixtures",
        "pytest_aerobust.plugin.marks",
    }
    bare = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    subprocess.run([sys.executable, "-m", "pytest"], cwd=tmp_path, env=bare, check=True)
    without = set(json.loads((tmp_path / "modules.json").read_text()))
    assert without.isdisjoint(ours)
    assert modules - without == ours


@pytest.mark.parametrize("option", ["--aerobust", "--aerobust-samples=9", "--aerobust-strict"])
def test_an_option_loads_the_rest_of_the_plugin(loaded, option):
    """Whoever gives one may be told that its value, or the ini file's, can't be meant."""
    assert "pytest_aerobust.plugin.hooks" in loaded(PLAIN, option)


def test_the_check_for_heavy_modules_can_fail(loaded):
    """A contract that runs does load torch and NumPy: the check above sees what it looks for."""
    modules = loaded(MARKED, "--aerobust", "-k", "bim-eps0.1 and not l2")
    assert {"torch", "numpy"} <= modules


def _imported(code):
    told = f"import json, sys\n{code}\nprint(json.dumps(sorted(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", told], capture_output=True, text=True, check=True, timeout=120
    )
    return set(json.loads(done.stdout))


def test_the_public_names_are_light():
    """`from pytest_aerobust import robust, epsilons`, and the exceptions, load nothing heavy."""
    names = "robust, epsilons, FloorBroken, Inconclusive, Evaluation, Arm, ContractError"
    assert _imported(f"from pytest_aerobust import {names}").isdisjoint(HEAVY)


def test_evaluate_is_what_loads_torch():
    """The first use of `evaluate` loads torch: lightness is laziness, not absence."""
    assert {"torch", "numpy"} <= _imported("from pytest_aerobust import evaluate")


def test_the_package_lists_its_names():
    """Every public name exists, and an unknown one is an AttributeError."""
    import pytest_aerobust

    for name in pytest_aerobust.__all__:
        assert getattr(pytest_aerobust, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'evaluat'"):
        _ = pytest_aerobust.evaluat
