"""`max_regression` and the options around the baseline: what a CI job sees."""

import json

import pytest
from scipy.stats import binomtest

from pytest_aerobust import ContractError, epsilons, robust

# 20 samples of each class; a border that moves by 0.06 takes from the first class alone, because
# those of the second are far away.
MODEL = """
    import os

    @pytest.fixture(scope="session")
    def aerobust_model():
        return Border(shift=float(os.environ.get("SHIFT", "0")))


    @pytest.fixture(scope="session")
    def aerobust_data():
        near = torch.tensor([0.05, 0.15, 0.25, 0.35, 0.45]).repeat(4)
        distances = torch.cat([-near, torch.full_like(near, 0.45)])
        order = torch.randperm(40) if "SHUFFLE" in os.environ else torch.arange(40)
        return (0.5 + distances[:, None].expand(-1, 4))[order], (distances > 0).long()[order]
"""
GUARD = """
    @robust("bim", eps=0.2, max_regression=0.02)
    def test_guard():
        pass
"""
BASELINE = "aerobust-baseline.json"


@pytest.fixture
def guarded(suite):
    """One contract that guards against regressions, and a model that can be made worse."""
    suite.conftest(MODEL)
    suite.tests(GUARD)
    return suite


@pytest.fixture
def worse(monkeypatch):
    """Makes the model worse: four of 40 samples fall that withstood."""
    return lambda: monkeypatch.setenv("SHIFT", "0.06")


def entries(suite):
    return json.loads((suite.path / BASELINE).read_text())["contracts"]


def test_a_regression_is_told_sample_by_sample(guarded, worse):
    """The first line has the drop; then who was lost, and an exact p that agrees with scipy."""
    guarded.run("--aerobust-update").assert_outcomes(passed=1)
    worse()
    result = guarded.run()
    result.assert_outcomes(failed=1)
    first, *rest = [line.strip() for line in guarded.failure(result).splitlines()]
    assert first.startswith("accuracy lost since the baseline 0.100 > max_regression 0.020  [BIM")
    p = binomtest(4, 4, 0.5).pvalue
    assert (
        "since the baseline: 0.800 → 0.700; newly lost 4, newly won 0 of 40 samples (McNemar's "
        f"exact p = {p:.2g})"
    ) in rest
    assert "newly lost samples: 2, 7, 12, 17" in rest
    (row,) = guarded.measured(result).values()
    assert (row["newly_lost"], row["newly_won"], row["regression_p"]) == (4, 0, p)


def test_an_unchanged_model_passes(guarded):
    """Nothing lost, nothing won; the file is not touched."""
    guarded.run("--aerobust-update").assert_outcomes(passed=1)
    before = (guarded.path / BASELINE).read_bytes()
    result = guarded.run("-rP")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["*accuracy lost since the baseline 0.000 ≤ max_regression 0.020"])
    assert (guarded.path / BASELINE).read_bytes() == before


def test_a_loader_that_shuffles_is_compared_all_the_same(guarded, worse, monkeypatch):
    """Samples are known by their content; the lost ones are named by their place of today."""
    guarded.run("--aerobust-update").assert_outcomes(passed=1)
    monkeypatch.setenv("SHUFFLE", "1")
    guarded.run().assert_outcomes(passed=1)
    worse()
    text = guarded.failure(guarded.run())
    assert "newly lost 4, newly won 0 of 40" in text


def test_an_improvement_says_how_to_lock_it_in(guarded, worse, monkeypatch):
    """A model that got better passes, and the words for the next step are there."""
    worse()
    guarded.run("--aerobust-update").assert_outcomes(passed=1)
    monkeypatch.delenv("SHIFT")
    result = guarded.run("-rP")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["*better than the baseline: lock it in with --aerobust-update*"])


def test_a_filter_with_noisier_weights(guarded, monkeypatch):
    """The pipeline is what is guarded: a worse filter in front of the same model fails."""
    guarded.conftest(
        MODEL
        + """
    @pytest.fixture(scope="session")
    def aerobust_filter():
        filter = nn.Linear(4, 4)
        noise = torch.randn(4, 4, generator=torch.Generator().manual_seed(3))
        with torch.no_grad():
            filter.weight.copy_(torch.eye(4) + float(os.environ.get("NOISE", "0.01")) * noise)
            filter.bias.zero_()
        return filter
"""
    )
    guarded.run("--aerobust-update").assert_outcomes(passed=1)
    guarded.run().assert_outcomes(passed=1)
    monkeypatch.setenv("NOISE", "0.5")
    text = guarded.failure(guarded.run())
    assert "> max_regression 0.020" in text
    assert "newly lost samples: " in text


def test_no_entry_yet(guarded):
    """Where it is the only floor nothing is known; under --aerobust-strict that fails."""
    first = "accuracy lost since the baseline is unknown, so max_regression 0.020 is: new, the base"
    result = guarded.run()
    result.assert_outcomes(failed=1)
    assert guarded.failure(result).startswith(f"INCONCLUSIVE: {first}")
    result = guarded.run("--aerobust-strict")
    assert guarded.failure(result).startswith(first)
    assert not (guarded.path / BASELINE).exists()


def test_no_entry_beside_another_floor(guarded):
    """Another floor carries the verdict, and the missing entry is told; strict still fails."""
    guarded.tests(GUARD.replace("max_regression", "min_acc=0.7, max_regression"))
    result = guarded.run("-rP")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["note: max_regression is not checked: new, the baseline has no*"])
    guarded.run("--aerobust-strict").assert_outcomes(failed=1)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("eps=0.2", "eps=0.25"), "the contract changed: eps was 0.2"),
        (('"bim"', '"fgsm"'), "attack was bim and is fgsm"),
        (("max", "samples=20, max"), "the data changed: 40 samples then, 20 now"),
        (("max", "seed=3, max"), "seed was 0 and is 3"),
    ],
)
def test_a_stale_entry_says_why(guarded, change, words):
    """What was measured then is not what is measured now, and the difference is named."""
    guarded.tests(GUARD.replace("max", 'id="it", max'))
    guarded.run("--aerobust-update").assert_outcomes(passed=1)
    guarded.tests(GUARD.replace("max", 'id="it", max').replace(*change))
    result = guarded.run()
    result.assert_outcomes(failed=1)
    text = guarded.failure(result)
    assert "INCONCLUSIVE" in text
    assert "stale, " in text
    assert words in text


def test_other_samples_of_the_same_number_are_other_data(guarded):
    """The digest of the data tells."""
    guarded.run("--aerobust-update").assert_outcomes(passed=1)
    guarded.conftest(MODEL.replace("0.05, 0.15", "0.06, 0.15"))
    assert "40 samples then and now, but not the same ones" in guarded.failure(guarded.run())


def test_updates_of_a_part_keep_the_rest(guarded):
    """-k, =new and several workers each write their own entries alone."""
    guarded.tests("""
        @robust("bim", eps=[0.1, 0.2, 0.3], max_regression=0.02)
        def test_guard():
            pass
    """)
    result = guarded.run("--aerobust-update", "-k", "eps0.1")
    result.stdout.fnmatch_lines([f"baseline {BASELINE}: 1 new, 0 changed, 0 unchanged; review*"])
    result = guarded.run("--aerobust-update=new", "-n2")
    result.assert_outcomes(passed=3)
    result.stdout.fnmatch_lines([f"baseline {BASELINE}: 2 new, 0 changed, 0 unchanged; review*"])
    assert len(entries(guarded)) == 3
    guarded.run("-n2").assert_outcomes(passed=3)


@pytest.mark.parametrize("order", ["--ff", "--nf"])
def test_another_order_is_no_other_past(guarded, order):
    """What failed last, or is new, comes first; verdicts and entries stay as they are."""
    guarded.tests(GUARD + GUARD.replace("guard", "last").replace("max_reg", "min_acc=0.9, max_reg"))
    guarded.run("--aerobust-update").assert_outcomes(passed=1, failed=1)
    before = (guarded.path / BASELINE).read_bytes()
    guarded.tests(GUARD.replace("guard", "new"), "test_z.py")
    result = guarded.run(order, "--aerobust-prune")
    result.assert_outcomes(passed=1, failed=2)
    assert "new, the baseline has no entry" in result.stdout.str()
    first = next(r.nodeid for r in guarded.reports(result))
    assert {"--ff": "test_last", "--nf": "test_new"}[order] in first
    assert (guarded.path / BASELINE).read_bytes() == before


def test_new_leaves_what_is_there(guarded, worse):
    """With =new an entry is compared with, and not written over."""
    guarded.run("--aerobust-update").assert_outcomes(passed=1)
    before = entries(guarded)
    worse()
    guarded.run("--aerobust-update=new").assert_outcomes(failed=1)
    assert entries(guarded) == before
    guarded.run("--aerobust-update").assert_outcomes(passed=1)
    assert entries(guarded) != before


def test_what_is_inconclusive_is_never_stored(guarded):
    """A blind attack leaves everybody standing: no yardstick."""
    guarded.tests(GUARD.replace("max", 'model="saturated", max'))
    result = guarded.run("--aerobust-update")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["not stored, because inconclusive: *test_guard*"])
    assert not (guarded.path / BASELINE).exists()


def test_entries_without_a_test(guarded):
    """They are named by runs that see the whole file, and removed on request alone."""
    guarded.run("--aerobust-update").assert_outcomes(passed=1)
    guarded.tests(GUARD.replace("test_guard", "test_renamed"))
    result = guarded.run("--aerobust-update=new", "-k", "renamed")
    result.stdout.no_fnmatch_line("*test_guard*")
    result = guarded.run()
    result.stdout.fnmatch_lines(["*test_guard[[]bim-eps0.2] has no test any more: remove it with*"])
    result = guarded.run("--aerobust-prune", "-k", "renamed")
    result.stdout.fnmatch_lines(["nothing was pruned: this run picks tests out*"])
    result = guarded.run("--aerobust-prune")
    result.stdout.fnmatch_lines(["removed from the baseline: *test_guard*"])
    assert [*entries(guarded)] == ["test_suite.py::test_renamed[bim-eps0.2]"]


def test_a_file_that_breaks_down_loses_no_entries(guarded):
    """Tests of a file that can't be imported are not gone."""
    guarded.run("--aerobust-update").assert_outcomes(passed=1)
    guarded.write("test_suite.py", "import nothing_of_this_name\n")
    guarded.write("test_other.py", "from pytest_aerobust import *\n" + GUARD.replace("    ", ""))
    guarded.run("--aerobust-prune", "--continue-on-collection-errors")
    assert len(entries(guarded)) == 1


def test_a_truncated_baseline_stops_the_run(guarded):
    """It is a usage error with the way out, and the file stays as it is."""
    guarded.run("--aerobust-update").assert_outcomes(passed=1)
    path = guarded.path / BASELINE
    path.write_bytes(path.read_bytes()[:200])
    result = guarded.run("--aerobust-update")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*is no baseline: *Restore it from version control*"])
    assert len(path.read_bytes()) == 200


def test_a_baseline_that_can_not_be_written_fails_the_run(guarded):
    """An update that is lost must not look like one."""
    (guarded.path / "pytest.ini").write_text("[pytest]\naerobust_baseline = b.json\n")
    (guarded.path / ".b.json.lock").mkdir()
    result = guarded.run("--aerobust-update")
    assert result.ret != 0
    result.stdout.fnmatch_lines(["the baseline was NOT written:*"])


def test_the_option_guards_every_contract(guarded, worse):
    """--aerobust-max-regression adds the floor where a mark has none, and the rerun repeats it."""
    guarded.tests("""
        @robust("bim", eps=0.2, min_acc=0.5)
        def test_guard():
            pass

        @robust("fgsm", eps=epsilons(0.1, 0.2), min_acc=0.5)
        def test_many():
            pass
    """)
    guarded.run("--aerobust-update").assert_outcomes(passed=2)
    worse()
    guarded.run().assert_outcomes(passed=2)
    result = guarded.run("--aerobust-max-regression=0.05")
    result.assert_outcomes(passed=1, failed=1)
    assert "--aerobust --aerobust-max-regression=0.05" in guarded.failure(result)
    guarded.run("--aerobust-max-regression=0.1").assert_outcomes(passed=2)


def test_a_regression_in_the_population(guarded, worse):
    """With confidence= a drop of four in 40 is too little to tell."""
    guarded.tests(GUARD.replace("0.02)", "0.02, confidence=0.95)"))
    guarded.run("--aerobust-update").assert_outcomes(passed=1)
    worse()
    text = guarded.failure(guarded.run())
    assert text.startswith("INCONCLUSIVE: accuracy lost since the baseline of the population")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--aerobust-update=al",), "--aerobust-update=al: expected nothing or new"),
        (("--aerobust-max-regression=2",), "max_regression=2 is outside [[]0, 1]"),
        (("--aerobust-max-regression=x",), "max_regression='x': expected a number"),
        (("--no-aerobust", "--aerobust-prune"), "need --aerobust"),
    ],
)
def test_options_that_can_not_be_meant(guarded, options, words):
    """Each is a usage error that says what was expected."""
    result = guarded.run(*options)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"*{words}*"])


def test_a_baseline_is_of_one_measurement():
    """Budgets that vary have no single number to compare."""
    with pytest.raises(ContractError, match="state one number as eps"):
        robust("bim", epsilons(0.1, 0.2), max_regression=0.02)
