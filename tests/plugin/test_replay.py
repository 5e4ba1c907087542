"""`python -m pytest_aerobust replay`: stored examples judged again with the test's own fixtures."""

import json
import os
import shlex
import shutil
import subprocess
import sys
from dataclasses import replace

import pytest

from pytest_aerobust.__main__ import main
from pytest_aerobust.counterexamples.files import files_in, load, save

SUITE = """
import pytest
from pytest_aerobust import FloorBroken, robust


@robust("bim", [0.1, 0.3], min_acc=0.9)
def test_fails():
    raise_if_replaying()


class TestClass:
    @robust("bim", 0.3, min_acc=0.9, filter="identity", marks=pytest.mark.xfail(raises=FloorBroken))
    @pytest.mark.parametrize("named", ["a b", "c::d/e"])
    def test_expected(self, named):
        raise_if_replaying()


@robust("bim", 0.02, min_acc=0.9)
def test_passes():
    raise_if_replaying()


def raise_if_replaying():
    import os
    assert "REPLAYING" not in os.environ, "the body ran"
"""

# What a replay must not need: the attack, the data, gradients.
GUARDED = """

@pytest.fixture(scope="session")
def aerobust_data():
    import os
    assert "REPLAYING" not in os.environ, "the data were built"
    return samples()


class Mended(Border):
    def forward(self, x):
        logits = super().forward(x)
        near = (x - 0.5).abs().amax(dim=1) < 0.06
        return torch.where(near[:, None], -logits, logits)


@pytest.fixture(scope="session")
def aerobust_model():
    import os
    if os.environ.get("BROKEN"):
        raise RuntimeError("no weights here")
    return Mended() if os.environ.get("MENDED") else Border()
"""


@pytest.fixture
def folder(stored, tmp_path):
    """A copy of a suite that was run, with the examples of its three failing contracts."""
    return shutil.copytree(stored, tmp_path / "suite")


@pytest.fixture(scope="module")
def stored(tmp_path_factory, small_conftest, own_process):
    path = tmp_path_factory.mktemp("stored")
    (path / "tests").mkdir()
    (path / "pytest.ini").write_text("[pytest]\n")
    (path / "conftest.py").write_text(small_conftest + GUARDED)
    (path / "tests" / "test_suite.py").write_text(SUITE)
    run = own_process(path, "--aerobust", "--aerobust-examples=found")
    assert "2 failed, 1 passed, 2 xfailed" in run.stdout
    assert len([*(path / "found").glob("*.safetensors")]) == 4
    return path


@pytest.fixture(scope="module")
def command():
    """Runs `python -m pytest_aerobust` in a folder."""

    def run(folder, *args, **env):
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("PYTEST", "COV_"))}
        alone = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "REPLAYING": "1"}
        return subprocess.run(
            [sys.executable, "-m", "pytest_aerobust", *args],
            cwd=folder,
            env={**clean, **alone, **env},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    return run


@pytest.fixture
def here(monkeypatch, capsys):
    """Runs a command line that ends in status 2 before pytest starts; gives what it says."""

    def run(folder, *words):
        monkeypatch.chdir(folder)
        monkeypatch.syspath_prepend(folder)
        try:
            status = main(words)
        except SystemExit as end:
            status = end.code
        told = capsys.readouterr()
        assert status == 2, told.err
        assert not told.out
        return told.err

    return run


def test_every_example_still_fools(folder, command):
    """Status 0 and a table for each contract; neither attack, nor data, nor body is needed."""
    run = command(folder, "replay", "found")
    assert run.returncode == 0, run.stdout + run.stderr
    assert run.stdout.count("6 of 6 stored examples still fool the pipeline") == 3
    assert "of 4 contracts still fool their pipelines" in run.stdout
    assert "tests/test_suite.py::TestClass::test_expected[bim-eps0.3-identity-a b]" in run.stdout
    assert "recorded: robust accuracy 0.400 < min_acc 0.900" in run.stdout
    assert "test_passes" not in run.stdout


def test_some_no_longer_fool(folder, command):
    """Status 1, and how many; every contract is judged, also where addopts stop at the first."""
    (folder / "pytest.ini").write_text("[pytest]\naddopts = -x\n")
    run = command(folder, "replay", "found", MENDED="1")
    assert run.returncode == 1, run.stdout + run.stderr
    assert "answered correctly now" in run.stdout
    assert "still fool the pipeline\n" in run.stdout
    assert run.stdout.count("no longer fool the pipeline") >= 3
    assert "of 4 contracts still fool their pipelines" in run.stdout


def test_a_run_of_fewer_samples(folder, command):
    """Options that draw from the data draw nothing from what is stored."""
    (folder / "pytest.ini").write_text("[pytest]\naerobust_samples = 4\n")
    run = command(folder, "replay", "found", "--", "--aerobust-samples=5")
    assert run.returncode == 0, run.stdout + run.stderr
    assert run.stdout.count("6 of 6 stored examples") == 3


def test_one_file(folder, command):
    """A single file, by its own name or that of its note."""
    for suffix in ("safetensors", "json"):
        (path,) = (folder / "found").glob(f"*eps0.1-*.{suffix}")
        run = command(folder, "replay", str(path.relative_to(folder)))
        assert run.returncode == 0, run.stdout + run.stderr
        assert "of 1 contracts" in run.stdout
        assert "1 passed" in run.stdout


def test_workers_judge_the_same(folder, command):
    """Under xdist the tables and the status are those of one process."""
    alone = command(folder, "replay", "found", MENDED="1")
    workers = command(folder, "replay", "found", "--", "-p", "xdist", "-n2", MENDED="1")
    assert workers.returncode == 1, workers.stdout + workers.stderr
    tables = [run.stdout.split("= replayed counterexamples =")[1] for run in (alone, workers)]
    shown = [[line for line in text.splitlines() if line.startswith("  ")] for text in tables]
    assert shown[0] == shown[1]
    assert command(folder, "replay", "found", "--", "-p", "xdist", "-n2").returncode == 0


def test_the_command_of_a_failure_can_be_pasted(folder, command, own_process):
    """From wherever pytest was started, the line of the failure shows its examples."""
    run = own_process(folder / "tests", "--aerobust", "--aerobust-examples=own dir", "-k", "eps0.1")
    (line,) = [x for x in run.stdout.splitlines() if "see them again" in x]
    words = shlex.split(line.split("without the attack: ")[1])
    assert words[:3] == ["python", "-m", "pytest_aerobust"]
    again = command(folder / "tests", *words[3:])
    assert again.returncode == 0, again.stdout + again.stderr
    assert "stored examples of 1 contracts still fool" in again.stdout


def test_from_another_folder(folder, command):
    """Away from pytest's root folder the ids lead nowhere, which is said, unless it is named."""
    run = command(folder / "tests", "replay", "../found")
    assert run.returncode == 2
    assert "name it with --rootdir" in run.stderr
    assert command(folder / "tests", "replay", "../found", "--rootdir=..").returncode == 0


def test_an_ini_file_that_cannot_be_read(folder, here):
    """Nothing is judged under other settings than those that are meant."""
    (folder / "pytest.ini").write_text("[pytest\n")
    assert "pytest can't be started in" in here(folder, "replay", "found")


def test_what_failed_last_stays_known(folder, command, own_process):
    """A replay is no test run: `--lf` still knows what failed before."""
    own_process(folder, "--aerobust")
    cache = folder / ".pytest_cache" / "v" / "cache" / "lastfailed"
    before = json.loads(cache.read_text())
    assert len(before) == 2
    assert command(folder, "replay", "found").returncode == 0
    assert json.loads(cache.read_text()) == before


BROKEN = {
    "renamed": ("def test_fails", "def test_now"),
    "no contract": ('@robust("bim", [0.1, 0.3], min_acc=0.9)\n', ""),
    "skipped": ("@robust", "@pytest.mark.skip\n@robust"),
}


@pytest.mark.parametrize("change", BROKEN.values(), ids=BROKEN)
def test_a_test_that_is_no_more(folder, command, change):
    """A stored test that can't be judged is status 2 by name, never a silent 0."""
    (folder / "tests" / "test_suite.py").write_text(SUITE.replace(*change, 1))
    run = command(folder, "replay", "found")
    assert run.returncode == 2, run.stdout + run.stderr
    assert "'tests/test_suite.py::test_fails[bim-eps0.1]': not judged" in run.stdout


def test_a_model_that_cannot_be_built(folder, command):
    """A fixture that raises is status 2, with its own words."""
    run = command(folder, "replay", "found", BROKEN="1")
    assert run.returncode == 2
    assert "RuntimeError: no weights here" in run.stdout


def test_a_file_that_is_gone(folder, here):
    """The test's file is looked for before pytest starts."""
    (folder / "tests" / "test_suite.py").unlink()
    assert "has no file in" in here(folder, "replay", "found")


@pytest.mark.parametrize("test", ["../outside.py::test_it", "{root}/outside.py::test_it"])
def test_an_id_that_leads_outside(folder, here, test):
    """A stored file from elsewhere can't make pytest import what is not of this project."""
    (folder.parent / "outside.py").write_text("raise SystemExit('executed')\n")
    forge(folder, test.format(root=folder.parent))
    assert "refused" in here(folder, "replay", "found")
    assert "refused" in here(folder / "tests", "replay", "../found", "-c", "../pytest.ini")


@pytest.mark.parametrize("test", ["-p=evil.py::x", "@args.py::x", "--co", ""])
def test_an_id_that_looks_like_an_option(folder, here, test):
    """An id is only ever a file's name below the root folder."""
    (folder / "args.py").write_text("--co")
    forge(folder, test)
    assert "has no file in" in here(folder, "replay", "found")


def forge(folder, test):
    """The stored examples of one contract, under another test's id."""
    saved = load(files_in(folder / "found")[0])
    shutil.rmtree(folder / "found")
    save(folder / "found", replace(saved, note=replace(saved.note, test=test)))


NAMED = """
from conftest import Border, Mended, nn


ready = Border()


def made():
    return Mended()


def identity(x):
    return x


class Filter(nn.Module):
    def forward(self, x):
        return x


broken = 3
"""


def test_a_model_by_name(folder, command):
    """With --model neither tests nor fixtures are looked for."""
    (folder / "named.py").write_text(NAMED)
    shutil.rmtree(folder / "tests")
    (unfiltered,) = (folder / "found").glob("*test_fails-bim-eps0.1-*.safetensors")
    run = command(folder, "replay", str(unfiltered), "--model=named:ready")
    assert run.returncode == 0, run.stdout + run.stderr
    assert "stored examples still fool the pipeline" in run.stdout
    assert command(folder, "replay", str(unfiltered), "--model=named:made").returncode == 1


def test_a_model_and_a_filter_by_name(folder, command):
    """A filter may be a function, a module's class, or left out only where there was none."""
    (folder / "named.py").write_text(NAMED)
    for name in ("identity", "Filter"):
        run = command(folder, "replay", "found", "--model=named:ready", f"--filter=named:{name}")
        assert run.returncode == 0, run.stdout + run.stderr
    run = command(folder, "replay", "found", "--model=named:ready")
    assert run.returncode == 2
    assert "fooled a model behind a filter" in run.stderr


USAGE = {
    "": "required",
    "repeat found": "invalid choice",
    "replay": "required",
    "replay nowhere": "does not exist",
    "replay tests": "holds no counterexamples",
    "replay pytest.ini": "can't be replayed",
    "replay found --filter=named:identity": "--filter needs --model",
    "replay found --model=named": "expected package.module:name",
    "replay found --model=nowhere:x": "No module named 'nowhere'",
    "replay found --model=named_in_vain:x": "no attribute 'x'",
    "replay found --model=named_in_vain:broken --filter=math:sqrt": "expected a torch.nn.Module",
    "replay found --mod=named:ready": "unrecognized",
}


@pytest.mark.parametrize(("words", "said"), USAGE.items(), ids=USAGE)
def test_usage_errors(folder, here, words, said):
    """Status 2 and a line that says what was expected."""
    (folder / "named_in_vain.py").write_text("broken = 3\n")
    assert said in here(folder, *words.split())


def test_help_is_light(folder):
    """`--help` loads neither torch nor pytest's own run."""
    code = (
        "import sys\nfrom pytest_aerobust.__main__ import main\n"
        "try:\n    main(['replay', '--help'])\nexcept SystemExit as end:\n    assert not end.code\n"
        "assert not {'torch', 'numpy', 'safetensors'} & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "Status: 0" in done.stdout
