"""`--aerobust-prune` and the advice to use it: nothing that lives is called gone."""

import json
from dataclasses import replace
from textwrap import dedent

import pytest

from pytest_aerobust.history.baseline.entries import Entry, read_baseline, update_baseline
from pytest_aerobust.plugin.selection import options_of_conftests

BASELINE = "aerobust-baseline.json"
# Nothing is measured: what was collected is what this is about.
TESTS = """
    @robust("bim", eps=[0.1, 0.2], max_regression=0.02)
    def test_guard():
        pytest.skip()

    class TestMore:
        @robust("bim", eps=0.2, max_regression=0.02)
        def test_it(self):
            pytest.skip()
"""
BESIDE = """
    @robust("bim", eps=0.1, min_acc=0.1)
    def test_beside():
        pytest.skip()
"""
LIVING = [
    "test_suite.py::TestMore::test_it[bim-eps0.2]",
    "test_suite.py::test_guard[bim-eps0.1]",
    "test_suite.py::test_guard[bim-eps0.2]",
]

# What leaves tests out of a run without a word on the command line.
LEFT_OUT = {
    "deselected": """
        def pytest_collection_modifyitems(config, items):
            config.hook.pytest_deselected(items=items[1:])
            del items[1:]
    """,
    "deselected, without saying so": """
        def pytest_collection_modifyitems(items):
            items[:] = items[:1]
    """,
    "before all others": """
        @pytest.hookimpl(tryfirst=True)
        def pytest_collection_modifyitems(items):
            del items[:2]
    """,
    "around all others": """
        @pytest.hookimpl(wrapper=True, tryfirst=True)
        def pytest_collection_modifyitems(items):
            del items[1:]
            return (yield)
    """,
    "after all others": """
        @pytest.hookimpl(trylast=True)
        def pytest_collection_modifyitems(items):
            del items[1:]
    """,
    "replaced": """
        def pytest_collection_modifyitems(items):
            first = items[0]
            items[:] = [type(first).from_parent(
                first.parent, name="test_other", callobj=lambda: None
            )]
    """,
    "once collected, with marks gone": """
        def pytest_itemcollected(item):
            item.own_markers.clear()

        def pytest_collection_modifyitems(items):
            del items[1:]
    """,
    "a function never made": """
        def pytest_pycollect_makeitem(name):
            return [] if name == "test_guard" else None
    """,
    "a class never made": """
        def pytest_pycollect_makeitem(name):
            return [] if name == "TestMore" else None
    """,
    "some items of a function dropped": """
        @pytest.hookimpl(wrapper=True)
        def pytest_pycollect_makeitem(name):
            made = yield
            return made[1:] if name == "test_guard" else made
    """,
    "dropped from a report": """
        @pytest.hookimpl(wrapper=True)
        def pytest_make_collect_report(collector):
            report = yield
            if collector.name == "test_suite.py":
                report.result = report.result[:1]
            return report
    """,
    "a class dropped from a report": """
        @pytest.hookimpl(wrapper=True)
        def pytest_make_collect_report(collector):
            report = yield
            report.result = [each for each in report.result or () if each.name != "TestMore"]
            return report
    """,
    "a file ignored": """
        def pytest_ignore_collect(collection_path):
            return True if collection_path.name == "test_suite.py" else None
    """,
    "a file in collect_ignore": 'collect_ignore = ["test_suite.py"]',
    "a file in collect_ignore_glob": 'collect_ignore_glob = ["*_suite.py"]',
    "a file that nobody makes": """
        @pytest.hookimpl(wrapper=True)
        def pytest_collect_file(file_path):
            made = yield
            return [] if file_path.name == "test_suite.py" else made
    """,
}


def store(suite, *tests):
    one = Entry({"attack": "bim"}, "digest", 2, {"clean": 1.0, "unfiltered": 0.5}, (True, False))
    update_baseline(suite.path / BASELINE, dict.fromkeys(tests, one))


@pytest.fixture
def stored(suite):
    """A suite of three contracts with a baseline, and a file beside it that always runs."""
    suite.tests(TESTS)
    suite.tests(BESIDE, "test_b.py")
    store(suite, *LIVING, "test_b.py::test_beside[bim-eps0.1]")
    return suite


def entries(suite):
    return sorted(json.loads((suite.path / BASELINE).read_text())["contracts"])


@pytest.mark.parametrize("how", LEFT_OUT)
def test_what_a_conftest_leaves_out_lives(stored, how):
    """Neither a plain run nor --aerobust-prune takes tests for gone that somebody left out."""
    known = entries(stored)
    stored.conftest(LEFT_OUT[how])
    stored.run().stdout.no_fnmatch_line("*has no test any more*")
    assert len(stored.collected()) < 4
    stored.run("--aerobust-prune")
    assert entries(stored) == known


@pytest.mark.parametrize("how", ["deselected, without saying so", "a file ignored"])
def test_workers_record_it_too(stored, how):
    """Only workers collect; what they saw before they left it out reaches the controller."""
    known = entries(stored)
    stored.conftest(LEFT_OUT[how])
    stored.run("--aerobust-prune", "-n1")
    assert entries(stored) == known


@pytest.mark.parametrize(
    "options",
    [
        "python_files=test_b*.py",
        "norecursedirs=more",
        "python_functions=check_* test_b*",
        "python_classes=Checks",
    ],
)
def test_settings_that_pass_by_tests(stored, options):
    """What is there and was not looked at is not gone."""
    (stored.path / "more").mkdir()
    stored.tests(TESTS, "more/test_m.py")
    store(stored, *(f"more/test_m.py::{test.partition('::')[2]}" for test in LIVING))
    known = entries(stored)
    stored.run("--aerobust-prune", "-o", options)
    assert entries(stored) == known


@pytest.mark.parametrize(
    "line",
    ["__test__ = False", "class TestMore:\n        __test__ = False"],
    ids=["module", "class"],
)
def test_places_that_are_closed(stored, line):
    """A module or class that says that it holds no tests today may hold them tomorrow."""
    known = entries(stored)
    old = line.partition("\n")[0] if "class" in line else '@robust("bim", eps=[0.1'
    new = line if "class" in line else f"{line}\n\n    {old}"
    stored.tests(TESTS.replace(old, new))
    stored.run("--aerobust-prune")
    assert entries(stored) == known


@pytest.mark.parametrize(
    ("change", "left"),
    [
        (lambda text: text.replace("test_guard", "guard"), LIVING[:1]),
        (lambda text: text.partition("class")[0], LIVING[1:]),
        (lambda text: text.replace("test_it", "it"), LIVING[1:]),
        (lambda text: text.replace("[0.1, 0.2]", "[0.1, 0.3]"), LIVING[:2]),
        (lambda text: text.replace("[0.1, 0.2]", "4 / 40"), LIVING[:2]),
        (lambda text: "", []),
        (None, []),
    ],
)
def test_what_is_gone_is_removed(stored, change, left):
    """A function, class, method or file that is no more takes its entries along."""
    if change is None:
        (stored.path / "test_suite.py").unlink()
    else:
        stored.tests(change(TESTS))
    stored.run("--aerobust-prune")
    assert [test for test in entries(stored) if test.startswith("test_suite")] == left


def test_what_is_gone_is_removed_under_workers(stored):
    """The controller collects nothing itself."""
    stored.tests(TESTS.replace("[0.1, 0.2]", "[0.1, 0.3]").replace("test_it", "it"))
    stored.run("--aerobust-prune", "-n1")
    assert [test for test in entries(stored) if test.startswith("test_suite")] == LIVING[1:2]


@pytest.mark.parametrize(
    ("change", "left"),
    [
        (lambda text: text.replace("[0.1, 0.2]", "[0.1, 0.3][:]"), LIVING[:2]),
        (lambda text: text.replace('@robust("bim", eps=0.2', "# "), LIVING[1:]),
    ],
    ids=["budget", "mark"],
)
def test_what_a_function_has_no_more(stored, change, left):
    """Another machine may have that budget or mark, so it takes a word of its own."""
    known = entries(stored)
    stored.tests(change(TESTS))
    stored.run().stdout.no_fnmatch_line("*has no test any more*")
    result = stored.run("--aerobust-prune")
    (kept,) = {*LIVING} - {*left}
    result.stdout.fnmatch_lines(
        [f"kept in the baseline: {kept.replace('[', '[[]')}", "*remove them with *-prune-all"]
    )
    assert entries(stored) == known
    result = stored.run("--aerobust-prune-all")
    result.stdout.no_fnmatch_line("kept in the baseline*")
    assert [test for test in entries(stored) if test.startswith("test_suite")] == left


# What pytest-repeat does.
REPEATING = """
import pytest

def pytest_addoption(parser):
    parser.addoption("--count", type=int, default=1)

@pytest.fixture
def _again(request):
    return request.param

@pytest.hookimpl(trylast=True)
def pytest_generate_tests(metafunc):
    if (count := metafunc.config.option.count) > 1:
        metafunc.fixturenames.append("_again")
        metafunc.parametrize("_again", range(count), indirect=True)
"""


def test_a_plugin_that_multiplies_tests(stored, pytester):
    """Under other parameters a function lives, and so do its entries."""
    known = entries(stored)
    stored.write("repeating.py", REPEATING)
    pytester.syspathinsert()
    options = ["-p", "repeating", "--count=2"]
    stored.run(*options).stdout.no_fnmatch_line("*has no test any more*")
    result = stored.run("--aerobust-prune", *options)
    result.stdout.fnmatch_lines([f"kept in the baseline: {LIVING[0].replace('[', '[[]')}"])
    assert entries(stored) == known


# Names and parameters of tests that another machine has, and where the file writes them.
ELSEWHERE = {
    "test_each[bim-eps0.1-cuda]": """
        @pytest.mark.parametrize("device", ["cpu", *(["cuda"] if GPU else [])])
        @robust("bim", eps=0.1, min_acc=0.1)
        def test_each(device):
            pytest.skip()
    """,
    "test_budget[bim-eps0.2]": """
        @robust("bim", eps=[0.1, 0.2] if GPU else 0.1, min_acc=0.1)
        def test_budget():
            pytest.skip()
    """,
    "test_named[bim-eps0.2]": """
        weak = robust("bim", eps=[0.1, 0.2] if GPU else 0.1, min_acc=0.1)

        @weak
        def test_named():
            pytest.skip()
    """,
    "TestMarked::test_it[bim-eps0.2]": """
        class TestMarked:
            pytestmark = [robust("bim", eps=0.1 + 0.1 * GPU, min_acc=0.1)]

            @robust("fgsm", eps=0.1, min_acc=0.1)
            def test_it(self):
                pytest.skip()
    """,
    "test_twice[bim-eps0.2]": """
        def test_twice():
            pass

        if not GPU:
            @robust("bim", eps=0.1, min_acc=0.1)
            def test_twice():
                pytest.skip()
    """,
    "test_fixture[bim-eps0.1-cuda]": """
        @pytest.fixture(params=["cpu", *(["cuda"] if GPU else [])])
        def device(request):
            return request.param

        @robust("bim", eps=0.1, min_acc=0.1)
        def test_fixture(device):
            pytest.skip()
    """,
    "test_gpu[bim-eps0.1]": """
        if GPU:
            @robust("bim", eps=0.1, min_acc=0.1)
            def test_gpu():
                pass
    """,
    "test_tried[bim-eps0.1]": """
        try:
            import no_such_library
        except ImportError:
            pass
        else:
            async def test_tried():
                pass
    """,
    "TestGPU::test_inside[bim-eps0.1]": """
        if GPU:
            class TestGPU:
                def test_inside(self):
                    pass
    """,
    "TestMixed::test_inside[bim-eps0.1]": """
        class TestMixed:
            if GPU:
                def test_inside(self):
                    pass
    """,
    "test_imported[bim-eps0.1]": """
        if GPU:
            from elsewhere import something as test_imported
    """,
    "test_assigned[bim-eps0.1]": """
        if GPU:
            test_assigned = robust("bim", eps=0.1)(lambda: None)
    """,
    "TestDerived::test_of_base[bim-eps0.1]": """
        class TestDerived(Base):
            pass
    """,
    "test_made_cuda[bim-eps0.1]": """
        for device in ["cpu", *(["cuda"] if GPU else [])]:
            globals()[f"test_made_{device}"] = lambda: None
    """,
    "test_starred[bim-eps0.1]": """
        if GPU:
            from elsewhere import *
    """,
}


def test_what_another_machine_has(stored):
    """What the source still holds in some branch is kept, and named; nothing else is."""
    known = []
    for place, (test, code) in enumerate(ELSEWHERE.items()):
        file = f"test_m{place}.py"
        stored.tests(f"GPU = False\nclass Base: pass\n{dedent(code)}", file)
        known.append(f"{file}::{test}")
    gone = [
        # A part of a name, a class that is no more, and what only a comment holds.
        "test_m0.py::test_eac[bim-eps0.1]",
        "test_m2.py::TestGPU::test_gpu[bim-eps0.1]",
        "test_m2.py::test_once[bim-eps0.1]",
    ]
    stored.write(
        "test_m2.py", (stored.path / "test_m2.py").read_text() + "# def test_once(): '\\d'\n"
    )
    store(stored, *known, *gone)
    lines = stored.run().outlines
    advised = [line for line in lines if "has no test any more" in line]
    assert len(advised) == len(gone)
    lines = stored.run("--aerobust-prune").outlines
    assert {f"kept in the baseline: {test}" for test in known} <= {*lines}
    assert {f"removed from the baseline: {test}" for test in gone} <= {*lines}
    assert {*entries(stored)} >= {*known, *LIVING}
    stored.run("--aerobust-prune-all")
    assert {*entries(stored)} == {*LIVING, "test_b.py::test_beside[bim-eps0.1]"}


def test_a_session_fixture_that_fails(stored):
    """Tests that could not be set up, say on one worker of many, are errors, and live."""
    known = entries(stored)
    stored.conftest("""
        @pytest.fixture(scope="session")
        def aerobust_model():
            raise RuntimeError("no GPU here")
    """)
    result = stored.run("--aerobust-prune", "--aerobust-update")
    result.assert_outcomes(errors=4)
    assert entries(stored) == known


@pytest.mark.parametrize(
    "code",
    ["raise RuntimeError('no')", "pytest.skip('not here', allow_module_level=True)"],
)
def test_a_file_that_can_not_be_read(stored, code):
    """Its tests live; what is gone elsewhere is still known to be."""
    stored.tests(code)
    stored.tests("pass", "test_b.py")
    stored.run("--aerobust-prune", "--continue-on-collection-errors")
    assert entries(stored) == LIVING


DIES = """
    @pytest.fixture(autouse=True)
    def dying():
        import os
        os._exit(1)
"""


@pytest.mark.parametrize(
    ("code", "options", "words"),
    [
        pytest.param(DIES, ["-n1", "--max-worker-restart=0"], "a worker crashed", id="crash"),
        pytest.param(DIES, ["-n2"], "a worker crashed", id="restart"),
        pytest.param("    raise RuntimeError('no')", [], "the run broke off", id="unreadable"),
        pytest.param("", ["-k", "beside"], "this run picks tests out", id="keyword"),
        pytest.param("", ["test_b.py::test_beside"], "this run picks tests out", id="id"),
    ],
)
def test_why_nothing_is_pruned(stored, code, options, words):
    """What kept the run from seeing every test is named, and not taken for a choice."""
    known = entries(stored)
    stored.tests("pass")
    stored.tests(code + BESIDE, "test_b.py")
    result = stored.run("--aerobust-prune", *options)
    result.stdout.fnmatch_lines([f"nothing was pruned: {words}*, so nobody knows which tests*"])
    assert entries(stored) == known


EACH = """
    @pytest.mark.parametrize("name", {})
    @robust("bim", eps=0.1, max_regression=0.02)
    def test_each(name):
        pytest.skip()
"""


def test_a_function_without_parameters_today_keeps_its_entries(stored):
    """Where this run's set of parameters is empty, those of other runs still live."""
    stored.tests(TESTS + EACH.format(["one", "two"]))
    (name,) = stored.collected("-k", "one")
    path = stored.path / BASELINE
    some = next(iter(read_baseline(path).values()))
    update_baseline(path, {f"test_suite.py::{name}": some})
    stored.tests(TESTS + EACH.format([]))
    stored.run("--aerobust-prune")
    assert f"test_suite.py::{name}" in entries(stored)


CHOOSING = """
    def pytest_addoption(parser):
        parser.addoption("--quick", action="store_true")
        parser.addoption("--sizes", type=int, default=2)

    def pytest_generate_tests(metafunc):
        if "size" in metafunc.fixturenames:
            option = metafunc.config.getoption
            metafunc.parametrize("size", range(1 if option("--quick") else option("--sizes")))
"""
SIZED = """
    @robust("bim", eps=0.1, max_regression=0.02)
    def test_size(size):
        pytest.skip()
"""


@pytest.mark.parametrize(
    ("options", "names"),
    [(["--quick"], "quick"), (["--sizes=1"], "sizes"), (["--quick", "-n1"], "quick")],
)
def test_options_of_the_suite_may_choose_tests(stored, options, names):
    """Where one is given that a conftest added, nothing is gone; without it all is seen."""
    stored.conftest(CHOOSING)
    stored.tests(TESTS + SIZED)
    sized = [f"test_suite.py::test_size[bim-eps0.1-{size}]" for size in range(3)]
    store(stored, *sized)
    known = entries(stored)
    stored.run(*options).stdout.no_fnmatch_line("*has no test any more*")
    result = stored.run("--aerobust-prune", *options)
    result.stdout.fnmatch_lines(
        [f"nothing was pruned: this run has options of the suite's own conftest ({names})*"]
    )
    assert entries(stored) == known
    stored.run("--aerobust-prune-all")
    assert {*known} - {*entries(stored)} == {sized[2]}


def test_an_option_of_the_suite_that_must_be_given(stored):
    """It may choose tests, too, and what it is without it nobody knows."""
    stored.conftest("""
        def pytest_addoption(parser):
            parser.addoption("--sizes", required=True)
    """)
    store(stored, "test_suite.py::test_gone")
    known = entries(stored)
    result = stored.run("--aerobust-prune", "--sizes=1")
    result.stdout.fnmatch_lines(["nothing was pruned: this run has options *conftest (sizes)*"])
    assert entries(stored) == known


# Options whose values can be compared with nothing, or made only once.
AWKWARD = """
    class Config:
        def __init__(self, text):
            self.text = text

    def once(text, _made=[]):
        if _made:
            raise RuntimeError("made twice")
        _made.append(text)
        return text

    def pytest_addoption(parser):
        numbers = lambda text: torch.tensor([float(each) for each in text.split(",")])
        parser.addoption("--grid", default="0.1,0.2", type=numbers)
        parser.addoption("--array", default="0.1,0.2", type=lambda text: numbers(text).numpy())
        parser.addoption("--object", default="x", type=Config)
        parser.addoption("--file", default="absent.json", type=lambda text: open(text).read())
        parser.addoption("--settled", required=True)

    def pytest_configure(config):
        config.option.settled = torch.zeros(2)
"""


def test_values_of_options_are_left_alone(stored):
    """Defaults are neither made anew nor compared, and what stands in addopts chooses nothing."""
    stored.conftest(AWKWARD)
    stored.write("given.json", "{}")
    stored.write("pytest.ini", "[pytest]\naddopts = --settled=1 --file=given.json\n")
    store(stored, "test_suite.py::test_gone")
    result = stored.run()
    assert result.ret == 0
    result.stdout.fnmatch_lines(["*test_gone has no test any more*"])
    result = stored.run("--aerobust-prune", "--file=given.json", "--grid", "1,2")
    result.stdout.fnmatch_lines(["nothing was pruned: this run has *own conftest (file, grid),*"])
    stored.run("--aerobust-prune")
    assert "test_suite.py::test_gone" not in entries(stored)


MANY = """
    def pytest_addoption(parser):
        add = parser.addoption
        add("-Q", "--quick", action="store_true")
        add("--none", action="store_const", const=None, default=1)
        add("--sizes", type=int, default=2)
        add("--each", action="append", default=[])
        add("--some", nargs="*")
        add("-L", "--level", dest="depth", action="count", default=0)
        add("--path", type=open)
"""


@pytest.mark.parametrize(
    ("line", "names"),
    [
        ("", []),
        ("-v -x --aerobust -n2 -p no:randomly --tb=short", []),
        ("-k quick", []),
        ("-k=--quick --junitxml=--quick -- --quick", []),
        ("-Q", ["quick"]),
        ("-vxQLL .", ["quick", "depth"]),
        ("--none", ["none"]),
        ("--sizes=2 --path=absent", ["sizes", "path"]),
        ("--each a test_suite.py --each b --some x y", ["each", "some"]),
        ("@line.txt", ["quick"]),
    ],
)
def test_which_options_are_given(stored, pytester, monkeypatch, line, names):
    """By any spelling and with any value, the default's too; pytest's and plugins' don't count."""
    stored.conftest(MANY)
    stored.write("line.txt", "--quick")
    config = pytester.parseconfig()
    given = replace(config.invocation_params, args=tuple(line.split()))
    monkeypatch.setattr(config, "invocation_params", given)
    assert options_of_conftests(config) == names
    monkeypatch.setattr(config, "invocation_params", replace(given, args=(stored.path,)))
    monkeypatch.setenv("PYTEST_ADDOPTS", line)
    assert options_of_conftests(config) == names
