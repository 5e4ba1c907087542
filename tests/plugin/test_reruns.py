"""Plugins that run a failing test again: what counts is the last run, and that alone."""

import json

import pytest

# As pytest-rerunfailures does it: the first report that fails is called something else, and the
# same item starts over.
RERUNS = """
    from _pytest.runner import runtestprotocol

    def pytest_runtest_protocol(item, nextitem):
        for last in (False, True):
            reports = runtestprotocol(item, nextitem=nextitem, log=False)
            failed = [report for report in reports if report.failed]
            for report in failed[:1] * (not last):
                report.outcome = "rerun"
            for report in reports:
                item.ihook.pytest_runtest_logreport(report=report)
            if not failed:
                break
        return True

    runs = []

    @pytest.fixture
    def again():
        runs.append(1)
        return len(runs) > 1

    @pytest.fixture
    def recovers(again):
        return Border(shift=0.0 if again else 0.3)

    @pytest.fixture
    def breaks(again):
        if again:
            raise RuntimeError("no second model")
        yield Border()
        raise RuntimeError("no way back")
"""
BASELINE = "aerobust-baseline.json"


@pytest.fixture
def rerun(suite):
    suite.conftest(RERUNS)

    def run(test):
        suite.tests(test)
        return suite.run("--aerobust-update", "--aerobust-json=out.json")

    return run


def told(suite):
    return json.loads((suite.path / "out.json").read_text())


@pytest.mark.parametrize(
    ("floor", "model", "body", "outcome"),
    [
        (0.9, "aerobust_model", "assert not again", "failed"),
        (0.9, "aerobust_model", "again and pytest.xfail('given up')", "xfailed"),
        (0.9, "aerobust_model", "again and pytest.skip('no time')", "skipped"),
        (0.5, "breaks", "pass", "error"),
    ],
    ids=["body breaks", "expected", "skipped", "no fixture"],
)
def test_a_last_run_without_a_verdict(suite, rerun, floor, model, body, outcome):
    """The verdict of an earlier run is not told as that of the last one, nor stored."""
    result = rerun(f"""
        @robust("bim", 0.2, min_acc={floor}, model="{model}")
        def test_it(again):
            {body}
    """)
    assert told(suite)["contracts"] == []
    assert [incident["outcome"] for incident in told(suite)["incidents"]][:1] == [outcome]
    assert not (suite.path / BASELINE).exists()
    result.stdout.no_fnmatch_line("*= robustness contracts =*")
    last = suite.reports(result)[-1]
    assert not any(name.startswith("aerobust") for name, _ in last.user_properties)


def test_a_last_run_that_passes(suite, rerun):
    """It passes in every report, once, and it is what the baseline holds."""
    result = rerun("""
        @robust("bim", 0.2, min_acc=0.55, model="recovers")
        def test_it():
            pass
    """)
    (contract,) = told(suite)["contracts"]
    assert (contract["verdict"], contract["outcome"]) == ("passed", "passed")
    assert told(suite)["incidents"] == []
    (entry,) = json.loads((suite.path / BASELINE).read_text())["contracts"].values()
    assert entry["accuracy"] == {"clean": 1.0, "unfiltered": 0.6}
    assert result.ret == 0


def test_properties_are_of_one_run(suite, rerun):
    """JUnit gets no smallest failing budget of a run that is over from a contract that holds."""
    result = rerun("""
        @robust("bim", epsilons(0.02, 0.2, max_examples=2), min_acc=0.55, model="recovers")
        def test_it(record_property):
            record_property("ticket", 7)
    """)
    (row,) = suite.measured(result).values()
    assert row["verdict"] == "passed"
    assert "smallest_failing_eps" not in row
    assert ("ticket", 7) in suite.reports(result)[-1].user_properties
