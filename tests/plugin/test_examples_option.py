"""--aerobust-examples: which contracts leave files, what is in them, and what can go wrong."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from pytest_aerobust.files import safe_name

FAILS = """
    @robust("bim", 0.3, min_acc=0.9)
    def test_fails():
        pass
"""


def stored(folder):
    """Every file of a folder as (note, tensors), by the test's name without its file."""
    found = {}
    for path in sorted(folder.glob("*.safetensors")):
        note = json.loads(path.with_suffix(".json").read_text())
        found[note["test"].split("::", 1)[1]] = (note, load_file(path))
    return found


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_failing_contract_leaves_its_worst_cases(suite):
    """Tensors and note agree: inside the ball, misclassified, the most wrong first."""
    suite.tests(FAILS)
    result = suite.run("--aerobust-examples=found")
    result.assert_outcomes(failed=1)
    ((note, tensors),) = stored(suite.path / "found").values()
    assert set(tensors) == {"inputs", "adversarial", "labels", "answers", "samples"}
    moved = (tensors["adversarial"] - tensors["inputs"]).abs()
    assert 0 < moved.max() <= 0.3 + 1e-6
    z = (tensors["adversarial"] - 0.5).sum(dim=1)
    assert torch.equal((z > 0).long(), tensors["answers"])
    assert (tensors["answers"] != tensors["labels"]).all()
    assert z.abs().diff().max() <= 1e-6
    assert sorted(tensors["samples"].tolist()) == [0, 1, 2, 5, 6, 7]
    assert note["schema"] == 1
    assert note["test"] == "test_suite.py::test_fails[bim-eps0.3]"
    assert (note["attack"], note["norm"], note["eps"], note["threat"], note["seed"]) == (
        *("bim", "linf", 0.3, "white-box", 0),
    )
    assert note["floors"] == {"min_acc": 0.9}
    assert note["arguments"]["steps"] == "10"
    assert note["headline"].startswith("robust accuracy 0.400 < min_acc 0.900")
    assert note["arm"] == "unfiltered"
    assert note["bounds"] == [0.0, 1.0]
    assert set(note["versions"]) == {"pytest-aerobust", "torch", "foolbox"}
    for column, name in (("sample", "samples"), ("label", "labels"), ("answer", "answers")):
        assert [str(row[column]) for row in note["examples"]] == [*map(str, tensors[name].tolist())]


def test_the_failure_says_where_they_are(suite):
    """One line of the failure is the command that shows them again."""
    suite.tests(FAILS)
    result = suite.run("--aerobust-examples=found")
    (name,) = (path.name for path in (suite.path / "found").glob("*.safetensors"))
    (line,) = [x for x in suite.failure(result).splitlines() if "replay" in x]
    assert line.endswith(f"without the attack: python -m pytest_aerobust replay found/{name}")


def test_without_the_option_nothing_is_written(suite):
    """No file, no folder, no line."""
    suite.tests(FAILS)
    before = names(suite.path)
    assert "replay" not in suite.failure(suite.run("-p", "no:cacheprovider"))
    assert set(names(suite.path)) - set(before) <= {"__pycache__"}


def test_only_failing_contracts_leave_files(suite):
    """Passed and inconclusive ones leave none; one that is expected to fail does."""
    suite.tests("""
        @robust("bim", 0.02, min_acc=0.9)
        def test_passes():
            pass

        @robust("bim", 0.1, min_acc=0.9, model="saturated")
        def test_inconclusive():
            pass

        @robust("bim", 0.3, min_acc=0.9, marks=pytest.mark.xfail(raises=FloorBroken, strict=True))
        def test_expected():
            pass
    """)
    suite.run("--aerobust-examples=found").assert_outcomes(passed=1, failed=1, xfailed=1)
    assert [*stored(suite.path / "found")] == ["test_expected[bim-eps0.3]"]


def test_a_mended_contract_loses_its_files(suite):
    """The folder shows the last run of each test: what was stored goes once the test passes."""
    suite.tests(FAILS)
    suite.run("--aerobust-examples=found")
    suite.write("found/mine.txt", "a note of my own")
    assert len(names(suite.path / "found")) == 3
    suite.tests(FAILS.replace("min_acc=0.9", "min_acc=0.1"))
    suite.run("--aerobust-examples=found").assert_outcomes(passed=1)
    assert names(suite.path / "found") == ["mine.txt"]


def test_what_did_not_run_keeps_its_files(suite):
    """A run of a part of the suite says nothing of the rest."""
    suite.tests(FAILS + FAILS.replace("test_fails", "test_too"))
    suite.run("--aerobust-examples=found")
    suite.run("--aerobust-examples=found", "-k", "test_too")
    assert len(stored(suite.path / "found")) == 2


def test_behind_a_filter(suite):
    """What the filter makes of the adversarial inputs is stored, too."""
    suite.conftest("""
        @pytest.fixture(scope="session")
        def halved():
            return lambda x: 0.5 + (x - 0.5) / 2
    """)
    suite.tests(FAILS.replace("min_acc=0.9", 'min_acc=0.9, filter="halved"'))
    suite.run("--aerobust-examples=found").assert_outcomes(failed=1)
    ((note, tensors),) = stored(suite.path / "found").values()
    assert note["arm"] == "filtered"
    torch.testing.assert_close(tensors["filtered"] - 0.5, (tensors["adversarial"] - 0.5) / 2)


def test_mistakes_before_any_attack(suite):
    """Where clean accuracy alone breaks the floor, the clean mistakes are the worst cases."""
    suite.conftest("""
        @pytest.fixture(scope="session")
        def shifted():
            return Border(shift=0.1)
    """)
    suite.tests("""
        @robust("bim", 0.3, min_clean_acc=0.95, model="shifted")
        def test_clean():
            pass
    """)
    suite.run("--aerobust-examples=found").assert_outcomes(failed=1)
    ((note, tensors),) = stored(suite.path / "found").values()
    assert [(r["sample"], r["clean_answer"], r["distance"]) for r in note["examples"]] == [
        (0, "1", 0.0)
    ]
    assert torch.equal(tensors["inputs"], tensors["adversarial"])


def test_a_difference_that_breaks_without_a_mistake(suite):
    """A filter that adds nothing to a perfect model is no counterexample: no file, no line."""
    suite.tests("""
        @robust("bim", 0.02, min_gain=0.1, filter="identity")
        def test_gain():
            pass
    """)
    result = suite.run("--aerobust-examples=found")
    result.assert_outcomes(failed=1)
    assert names(suite.path / "found") == []
    assert "replay" not in suite.failure(result)


def test_varying_budgets_leave_the_smallest_failure(suite):
    """Of all budgets tried, those of the one that the verdict names."""
    suite.tests("""
        @robust("bim", epsilons(0.02, 0.3), min_acc=0.75)
        def test_varying():
            pass
    """)
    result = suite.run("--aerobust-examples=found")
    ((note, tensors),) = stored(suite.path / "found").values()
    (row,) = suite.measured(result).values()
    assert note["eps"] == row["eps"] < 0.2
    moved = (tensors["adversarial"] - tensors["inputs"]).abs().amax(dim=1)
    assert (moved <= row["eps"] + 1e-6).all()


def test_an_early_stop_stays_early(suite):
    """To be shown examples is no reason to look for more of them."""
    suite.tests("""
        @robust("bim", 0.3, min_acc=0.9, data="many")
        def test_early():
            pass
    """)
    rows = [suite.measured(suite.run(*args)) for args in ([], ["--aerobust-examples=found"])]
    for row in rows:
        row["test_early[bim-eps0.3-many]"].pop("seconds")
    assert rows[0] == rows[1]
    (row,) = rows[1].values()
    assert row["unfiltered_accuracy_low"] < row["unfiltered_accuracy_high"]
    ((note, _),) = stored(suite.path / "found").values()
    assert len(note["examples"]) == 16


def test_targets_come_first(suite):
    """Where the attacker has a target, examples that reach it are the worst."""
    suite.conftest("""
        @pytest.fixture(scope="session")
        def three():
            class Three(nn.Module):
                def forward(self, x):
                    z = (x - 0.5).sum(dim=1)
                    return torch.stack([-z, z, 3 * z - 2.4], dim=1)
            return Three()
    """)
    suite.tests("""
        @robust("bim", 0.45, min_acc=0.9, target=2, model="three")
        def test_target():
            pass
    """)
    suite.run("--aerobust-examples=found", "--aerobust-full").assert_outcomes(failed=1)
    ((note, _),) = stored(suite.path / "found").values()
    answers = [row["answer"] for row in note["examples"]]
    assert answers == sorted(answers, reverse=True)
    assert set(answers) == {"1", "2"}
    assert note["target"] == 2


def test_the_ini_file_may_name_the_folder(suite):
    """`aerobust_examples` is relative to the ini file; the command line, to where it is typed."""
    suite.write("pytest.ini", "[pytest]\naerobust_examples = from_ini\n")
    (suite.path / "inner").mkdir()
    suite.tests(FAILS)
    suite.run()
    assert len(stored(suite.path / "from_ini")) == 1
    suite.run("--aerobust-examples=typed")
    assert len(stored(suite.path / "typed")) == 1


@pytest.mark.parametrize("folder", ["file/below", "file", ""])
def test_a_folder_that_cannot_be_written(suite, folder):
    """Said at once, before any fixture is built, let alone an attack run."""
    suite.write("file", "in the way")
    suite.conftest("""
        @pytest.fixture(scope="session")
        def aerobust_model():
            raise AssertionError("too late")
    """)
    suite.tests(FAILS)
    result = suite.run(f"--aerobust-examples={folder}")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: *aerobust*examples*"])
    assert "too late" not in result.stdout.str() + result.stderr.str()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder(suite):
    """Said at once, with the reason of the system."""
    suite.tests(FAILS)
    (suite.path / "found").mkdir(mode=0o555)
    result = suite.run("--aerobust-examples=found")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: --aerobust-examples: *found can't be written: *"])


def test_nothing_is_made_where_nothing_is_measured(suite):
    """Without --aerobust, and while only collecting, the folder is left alone."""
    suite.tests(FAILS)
    suite.plain_run("--aerobust-examples=found")
    suite.run("--aerobust-examples=found", "--collect-only")
    assert not (suite.path / "found").exists()


def test_a_disk_that_fills_up_later_changes_no_verdict(suite):
    """The contract still fails with its own words; a note says what could not be written."""
    suite.tests("""
        @robust("bim", 0.3, min_acc=0.9)
        def test_fails():
            from pathlib import Path
            import shutil
            shutil.rmtree("found")
            Path("found").write_text("in the way")
    """)
    result = suite.run("--aerobust-examples=found")
    result.assert_outcomes(failed=1)
    told = suite.failure(result)
    assert told.startswith("robust accuracy 0.400 < min_acc 0.900")
    assert "counterexamples in " in told
    assert "could not be brought up to date" in told


HOSTILE = [
    "../../../tmp/escaped",
    "..",
    "/etc/passwd",
    "<script>alert(1)</script>",
    "a" * 3000,
    "nul\\con:aux|?*",
    "-rf",
    "ünïcödé \N{SNOWMAN}",
    "quote\"'$(id)`id`",
]


@pytest.mark.parametrize("told", HOSTILE)
def test_a_hostile_id_names_a_plain_file(suite, told):
    """Whatever an id holds, its file lies in the folder under a harmless name, told as it is."""
    suite.tests(f"""
        @robust("bim", 0.3, min_acc=0.9, id={told!r})
        def test_fails():
            pass
    """)
    suite.run("--aerobust-examples=found").assert_outcomes(failed=1)
    (path,) = (suite.path / "found").glob("*.safetensors")
    assert set(path.name) <= {*"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-"}
    assert path.name.startswith("test_suite.py-test_fails-")
    assert len(path.name) < 120
    assert len(names(suite.path / "found")) == 2
    result = suite.plain_run("--aerobust-replay=found")
    assert result.ret == 0, result.stdout.str()


def test_ids_that_look_alike_have_files_of_their_own():
    """What a name leaves out or cuts off still tells two ids apart."""
    ids = ["a/b", "a-b", "A-b", "a b", "x" * 200, "x" * 201, "", ".", "..", "\ud800"]
    assert len({safe_name(each).lower() for each in ids}) == len(ids)
    assert not any(safe_name(each).startswith((".", "-")) for each in ids)


def test_workers_write_what_one_process_writes(tmp_path, small_conftest, own_process):
    """Under -n 2 every failing contract leaves the very same file as in a serial run."""
    (tmp_path / "conftest.py").write_text(small_conftest)
    (tmp_path / "test_suite.py").write_text(
        "from pytest_aerobust import *\n"
        "@robust(['bim', 'fgsm', 'pgd'], [0.1, 0.2, 0.3], min_acc=0.9)\n"
        "def test_it():\n    pass\n"
    )
    own_process(tmp_path, "--aerobust", "--aerobust-examples=one")
    own_process(tmp_path, "--aerobust", "--aerobust-examples=two", "-p", "xdist", "-n2")
    assert len(names(tmp_path / "one")) == 18
    assert names(tmp_path / "one") == names(tmp_path / "two")
    for name in names(tmp_path / "one"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


WRITER = """
import sys
from dataclasses import replace
from pathlib import Path
import torch
from pytest_aerobust.counterexamples.files import files_in, load, save

folder = Path(sys.argv[1])
saved = load(files_in(folder)[0])
pixels = torch.rand(len(saved), 300_000)
print("ready", flush=True)
while True:
    save(folder, replace(saved, inputs=pixels, adversarial=pixels))
"""


def test_a_kill_while_writing_leaves_no_half_file(suite):
    """Whenever a writer is killed, what lies under the name is whole, and so is a note there."""
    suite.tests(FAILS)
    suite.run("--aerobust-examples=found")
    folder = suite.path / "found"
    script = suite.write("writer.py", WRITER)
    for milliseconds in (5, 17, 31, 53, 71):
        writer = subprocess.Popen(
            [sys.executable, str(script), str(folder)], stdout=subprocess.PIPE, text=True
        )
        assert writer.stdout.readline() == "ready\n"
        time.sleep(milliseconds / 1000)
        writer.send_signal(signal.SIGKILL)
        writer.wait()
        writer.stdout.close()
        (path,) = folder.glob("*.safetensors")
        load_file(path)
        for note in folder.glob("*.json"):
            json.loads(note.read_text())
    assert {Path(name).suffix for name in names(folder)} <= {".safetensors", ".json", ".tmp"}


@pytest.mark.parametrize("budgets", ["", "[0.1, 0.5]"])
@pytest.mark.parametrize(
    "eps", ["[0.2, 0.3]", "epsilons(0.1, 0.3, 0.1)", "0.3, vary={'steps': st.just(20)}"]
)
def test_a_curve_in_the_body_changes_no_file(suite, eps, budgets):
    """The worst cases, and what is remembered of an attack, are those of the contract alone."""
    suite.write("pytest.ini", "[pytest]\naerobust_memory = memory\n")
    found = []
    for body in ("()", f".curve({budgets})"):
        suite.tests(f"""
            from hypothesis import strategies as st

            @robust("bim", {eps}, min_acc=0.9, filter='identity')
            def test_fails(robustness):
                robustness{body}
        """)
        folder = suite.path / f"found{len(found)}"
        suite.run(f"--aerobust-examples={folder}", "--aerobust-update", "--aerobust-no-cache")
        files = stored(folder)
        assert files
        memory = sorted(path for path in (suite.path / "memory").rglob("*") if path.is_file())
        found.append((files, [path.read_bytes() for path in memory]))
        for path in memory:
            path.unlink()
    (alone, remembered), (beside, still_remembered) = found
    assert alone.keys() == beside.keys()
    for test, (note, tensors) in alone.items():
        again, same = beside[test]
        assert {**again, "versions": None} == {**note, "versions": None}
        assert all(torch.equal(tensor, same[name]) for name, tensor in tensors.items())
    assert remembered == still_remembered


def test_a_curve_of_what_is_cached_changes_no_file(suite):
    """A second run, answered from the cache, stores the same although its body draws a curve."""
    found = []
    for _ in range(2):
        suite.tests("""
            @robust("bim", 0.3, min_acc=0.9)
            def test_fails(robustness):
                robustness.curve([0.1, 0.5])
        """)
        suite.run("--aerobust-examples=found")
        ((_, tensors),) = stored(suite.path / "found").values()
        found.append(tensors)
    assert all(torch.equal(tensor, found[1][name]) for name, tensor in found[0].items())
