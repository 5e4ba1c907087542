"""--aerobust-json, --aerobust-markdown, --aerobust-html: files about a whole run."""

import json
import re
import shutil
import subprocess
import sys
from base64 import b64decode
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from textwrap import dedent

import jsonschema
import pytest
from markdown_it import MarkdownIt

import pytest_aerobust.reports.html
from pytest_aerobust import Evaluation, figures
from pytest_aerobust.reports.markdown import ROOM

SCHEMA = Path(pytest_aerobust.reports.__file__).with_name("results.schema.json")

MIXED = """
    known = pytest.mark.xfail(raises=FloorBroken, strict=True)

    @robust("bim", 0.02, min_acc=0.9)
    @robust("bim", 0.3, min_acc=0.9, marks=known)
    @robust("bim", 0.02, min_acc=0.9, marks=pytest.mark.xfail(strict=False), id="hoped")
    @robust("bim", 0.1, min_acc=0.9, model="saturated")
    @robust("fgsm", [0.1, 0.2], min_acc=0.9, filter="identity")
    def test_mixed():
        pass

    @robust("bim", 0.02, min_acc=0.9, model="broken")
    def test_error():
        pass

    @robust("bim", 0.02, min_acc=0.9)
    def test_body():
        assert False, "the body's own words"

    @robust("bim", 0.02, min_acc=0.9)
    def test_fixture(nothing_here):
        pass
"""

FAILS = """
    @robust("bim", 0.3, min_acc=0.9)
    def test_fails():
        pass
"""

HOLDS = """
    @robust("bim", 0.02, min_acc=0.9)
    def test_holds():
        pass
"""

IMAGES = '''
    class OnImages(Border):
        """Asks about images as vectors."""

        def forward(self, x):
            return super().forward(x.flatten(1))


    @pytest.fixture(scope="session")
    def on_images():
        return OnImages()


    @pytest.fixture(scope="session")
    def images():
        inputs, labels = samples()
        return inputs.reshape(-1, 1, 2, 2), labels


    @pytest.fixture(scope="session")
    def large():
        inputs, labels = samples()
        return inputs[:, :1, None, None].expand(-1, 3, 300, 200).contiguous(), labels
'''

# A mention, a reference, a table's border, mark-up in three languages, a way out of a folder.
HOSTILE = (
    "</details></pre><script>document.title='x'</script><img src=x onerror=y>|@you #1 `*_"
    "[a](http://b.cc) ../.. &lt;\"'"
)

# Names of classes come from the model, such as scikit-learn's `classes_`.
CLASSES = f"""
    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_makereport(item):
        report = yield
        if hasattr(report, "aerobust"):
            report.aerobust["evaluation"]["classes"] = [{HOSTILE!r}, "zwei"]
            for example in report.aerobust["gallery"]["examples"]:
                example["label"] = {HOSTILE!r}
        return report
"""

ON_IMAGES = f"""
    @robust("bim", 0.3, min_acc=0.9, model="on_images", data="images", id={HOSTILE!r})
    def test_fails():
        pass

    @robust("bim", 0.02, min_acc=0.9)
    def test_body():
        assert False, {HOSTILE!r}
"""


# Tags that have no end.
VOID = {"meta", "link", "img", "wbr"}


class Page(HTMLParser):
    """Tags and texts of a page; every tag that needs an end must have it in its place."""

    def __init__(self, text: str):
        super().__init__()
        self.tags, self.texts, self.attributes, self._open = [], [], [], []
        self.feed(text)
        self.close()
        assert not self._open

    @property
    def text(self):
        return " ".join("".join(self.texts).split())

    def values(self, name):
        return [value for key, value in self.attributes if key == name]

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)


def told(suite, name="out.json"):
    """The JSON file of a run, held against its schema."""
    document = json.loads((suite.path / name).read_text(encoding="utf-8"))
    jsonschema.validate(document, json.loads(SCHEMA.read_text(encoding="utf-8")))
    return document


def by_name(entries):
    return {entry["test"].split("::", 1)[1]: entry for entry in entries}


def page_of(suite, name="out.html"):
    return Page((suite.path / name).read_text(encoding="utf-8"))


def rendered(markdown: str) -> Page:
    """What a job page makes of Markdown, before it filters anything."""
    return Page(MarkdownIt("commonmark").enable("table").render(markdown))


@pytest.fixture(scope="module", autouse=True)
def _drawn():
    """Loads what matplotlib loads lazily, before an inner run does."""
    figures.to_png(figures.image_grid([[[0.0, 1.0]]]))


@pytest.fixture
def hostile(suite):
    """A run whose ids, messages and names of classes want to be more than text."""
    suite.conftest(IMAGES + CLASSES)
    suite.tests(ON_IMAGES)
    files = ("--aerobust-json=out.json", "--aerobust-markdown=out.md", "--aerobust-html=out.html")
    suite.run(*files).assert_outcomes(failed=2)
    return suite


def test_json_tells_every_contract(suite):
    """Each contract with pytest's outcome, verdict, words and evaluation; nothing is lost."""
    suite.tests(MIXED)
    result = suite.run("--aerobust-json=out.json")
    found = told(suite)
    contracts = by_name(found["contracts"])
    assert {name: (c["outcome"], c["verdict"]) for name, c in contracts.items()} == {
        "test_mixed[bim-eps0.02]": ("passed", "passed"),
        "test_mixed[bim-eps0.3]": ("xfailed", "failed"),
        "test_mixed[hoped]": ("xpassed", "passed"),
        "test_mixed[bim-eps0.1-saturated]": ("failed", "inconclusive"),
        "test_mixed[fgsm-eps0.1-identity]": ("failed", "failed"),
        "test_mixed[fgsm-eps0.2-identity]": ("failed", "failed"),
    }
    one = contracts["test_mixed[fgsm-eps0.2-identity]"]
    assert one["headline"].startswith("robust accuracy 0.600 < min_acc 0.900")
    assert one["failure"].startswith(one["words"])
    assert f"run again: {one['rerun']}" in one["failure"]
    assert one["floors"] == {"min_acc": 0.9}
    assert one["subject"]["filter"] == "identity"
    assert Evaluation.from_dict(one["evaluation"]).filtered.accuracy == 0.6
    assert contracts["test_mixed[bim-eps0.02]"]["failure"] is None
    assert {(i["test"].split("::")[1], i["when"], i["outcome"]) for i in found["incidents"]} == {
        ("test_error[bim-eps0.02-broken]", "call", "failed"),
        ("test_body[bim-eps0.02]", "call", "failed"),
        ("test_fixture[bim-eps0.02]", "setup", "error"),
    }
    messages = " ".join(incident["message"] for incident in found["incidents"])
    assert all(words in messages for words in ("ModelError", "the body's own words", "not found"))
    assert found["collected"] == 9
    assert found["verdict"] == "failed"
    result.stdout.fnmatch_lines(["--aerobust-json: */out.json"])


def test_json_repeats_what_reproduces_the_run(suite):
    """Options of the command line and the ini file, and versions."""
    suite.write("pytest.ini", "[pytest]\naerobust_seed = 3\n")
    suite.tests(HOLDS)
    suite.run("--aerobust-json=out.json", "--aerobust-samples=8", "--aerobust-full")
    found = told(suite)
    expected = {"profile": None, "samples": 8, "seed": 3, "device": None, "full": True}
    assert found["options"] == expected
    assert found["contracts"][0]["evaluation"]["seed"] == 3
    assert found["contracts"][0]["rerun"].endswith("--aerobust --aerobust-samples=8")
    assert found["versions"]["python"] == sys.version.split()[0]
    assert {"pytest-aerobust", "pytest", "torch", "foolbox"} <= found["versions"].keys()


def test_budgets_that_vary_tell_the_smallest_failing(suite):
    """What Hypothesis drew and found is in the file; what did not vary is null."""
    suite.tests("""
        @robust("bim", epsilons(0.01, 0.3), min_acc=0.9)
        def test_vary():
            pass
    """)
    suite.run("--aerobust-json=out.json")
    (contract,) = told(suite)["contracts"]
    assert contract["smallest_failing_eps"] == pytest.approx(0.05, abs=0.005)
    assert contract["drawn"]
    assert contract["draws"] is None


def test_what_earlier_runs_left_is_told(suite):
    """Samples newly lost since the baseline, examples from memory, results from the cache."""
    suite.write("pytest.ini", "[pytest]\naerobust_memory = memory\n")
    guard = """
        @robust("bim", 0.2, max_regression=0.0, model="{}", id="guard")
        def test_guard():
            pass
    """
    suite.conftest("""
        @pytest.fixture
        def shifted():
            return Border(shift=0.3)
    """)
    suite.tests(guard.format("aerobust_model"))
    suite.run("--aerobust-update").assert_outcomes(passed=1)
    suite.tests(guard.format("shifted"))
    files = ("--aerobust-json=out.json", "--aerobust-markdown=out.md", "--aerobust-html=out.html")
    for _ in range(2):
        suite.run(*files).assert_outcomes(failed=1)
    (contract,) = told(suite)["contracts"]
    regression = contract["evaluation"]["regression"]
    assert regression["status"] == "compared"
    assert regression["lost"]
    places = ", ".join(map(str, regression["lost"]))
    for name in ("out.md", "out.html"):
        text = unescape((suite.path / name).read_text())
        assert "since the baseline, samples" in text
        assert f"lost: {places}" in text
        assert "memory of attacks" in text


def test_the_schema_can_refuse(suite):
    """A file of another version, an unknown outcome or a lost name would be found."""
    suite.tests(HOLDS)
    suite.run("--aerobust-json=out.json")
    found, schema = told(suite), json.loads(SCHEMA.read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    (contract,) = found["contracts"]
    lost = {name: value for name, value in contract.items() if name != "rerun"}
    for wrong in (
        found | {"schema": 2},
        found | {"contracts": [contract | {"outcome": "fine"}]},
        found | {"contracts": [lost]},
    ):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(wrong, schema)


@pytest.mark.parametrize(
    ("tests", "options", "verdict", "missing"),
    [
        (HOLDS, (), "passed", 0),
        ("", (), "nothing", 0),
        (FAILS.replace("def test_fails", "def test_a") + HOLDS, ("-x",), "failed", 1),
        ("@robust('bim', 0.02, min_acc=0.9)\ndef test_a(): pytest.exit('')", (), "unfinished", 1),
        ("@robust('bim', 0.02, min_acc=0.9)\ndef test_a(): pytest.skip('')", (), "nothing", 0),
        ("import nowhere_to_be_found", (), "failed", 0),
    ],
    ids=["passed", "no contract", "-x", "interrupted", "skipped", "no import"],
)
def test_the_verdict_of_the_run(suite, tests, options, verdict, missing):
    """No run passes whose contracts were not reached, not collected or not there."""
    suite.tests(tests)
    suite.run("--aerobust-json=out.json", *options)
    found = told(suite)
    assert found["verdict"] == verdict
    assert found["collected"] - len(found["contracts"]) >= missing
    assert ("not run" in found["summary"]) == bool(missing)


def test_a_test_that_runs_again_counts_once(suite):
    """Plugins that repeat failing tests call the first report something else: it is no outcome."""
    suite.conftest("""
        @pytest.hookimpl(wrapper=True, tryfirst=True)
        def pytest_runtest_makereport(item):
            report = yield
            if report.failed:
                report.outcome = "rerun"
            return report
    """)
    suite.tests(FAILS + HOLDS)
    suite.run("--aerobust-json=out.json")
    assert [*by_name(told(suite)["contracts"])] == ["test_holds[bim-eps0.02]"]


def test_markdown_has_the_verdict_on_top_and_failures_first(suite):
    """One row a contract; the words of what did not pass are folded below, and incidents."""
    suite.tests(MIXED)
    suite.run("--aerobust-markdown=out.md")
    text = (suite.path / "out.md").read_text(encoding="utf-8")
    assert text.startswith("## Robustness contracts: ✗ failed\n")
    page = rendered(text)
    assert page.tags.count("tr") == 1 + 6
    assert page.tags.count("td") == 10 * 6
    # Two failed, one inconclusive, one failed as expected, and three without a verdict.
    assert page.tags.count("details") == 4 + 3
    assert "bim(rel_stepsize=0.2, steps=10, random_start=False), seed 0" in page.text
    assert "the body's own words" in page.text
    order = [page.text.index(name) for name in ("fgsm-eps0.1", "saturated", "eps0.3]", "hoped")]
    assert order == sorted(order)


def test_hostile_markdown_is_text(hostile):
    """Nothing that a user wrote becomes a tag, a link, a mention, a cell or emphasis."""
    text = (hostile.path / "out.md").read_text(encoding="utf-8")
    page = rendered(text)
    own = {"h2", "p", "table", "thead", "tbody", "tr", "th", "td", "code", "pre", "details"}
    assert set(page.tags) <= own | {"summary", "ul", "li"}
    assert page.tags.count("td") == 10
    assert page.text.count(HOSTILE) == 3
    # Job pages look for these outside code, in what was rendered.
    outside = Page(re.sub(r"(?s)<(code|pre)>.*?</\1>", "", MarkdownIt("commonmark").render(text)))
    assert not any(mark in outside.text for mark in ("@you", "#1", "http:"))


def test_the_job_page_gets_the_same(suite, monkeypatch):
    """Appended to what other steps wrote, without an option; only where contracts are checked."""
    page = suite.write("summary.md", "# Earlier step\n")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(page))
    suite.tests(FAILS)
    suite.plain_run()
    suite.run("--collect-only")
    assert page.read_text(encoding="utf-8") == "# Earlier step\n"
    suite.run("--aerobust-markdown=out.md")
    written = (suite.path / "out.md").read_text(encoding="utf-8")
    assert page.read_text(encoding="utf-8") == f"# Earlier step\n\n{written}"
    suite.run("--deselect", "test_suite.py")
    assert page.read_text(encoding="utf-8") == f"# Earlier step\n\n{written}"
    # One step's page is limited: the rows stay, details go.
    page.write_text("x" * (ROOM - 100), encoding="utf-8")
    suite.run()
    added = page.read_text(encoding="utf-8").lstrip("x")
    assert "test&#95;fails" in added
    assert "<details>" not in added
    assert "would not fit" in added


def test_a_job_page_that_is_gone_fails_nothing(suite, monkeypatch):
    """A line of the summary says so, and the run keeps its outcome."""
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(suite.path / "gone" / "summary.md"))
    suite.tests(HOLDS)
    result = suite.run()
    assert result.ret == 0
    result.stdout.fnmatch_lines(["GITHUB_STEP_SUMMARY: *was not written: FileNotFoundError*"])


def test_the_page_shows_everything(suite):
    """Verdict, rows, words, evidence, curve, matrix, gallery and commands, for every reader."""
    suite.conftest(IMAGES)
    suite.tests("""
        on_images = {"model": "on_images", "data": "images"}

        @robust("fgsm", [0.1, 0.2], min_acc=0.9, filter="identity", **on_images)
        def test_it():
            pass

        @robust("fgsm", 0.1, min_acc=0.9)
        def test_vectors():
            pass

        @robust("bim", 0.02, min_acc=0.9)
        def test_holds():
            pass
    """)
    suite.run("--aerobust-html=out.html")
    page = page_of(suite)
    assert "Robustness contracts: ✗ failed" in page.text
    assert page.tags.count("section") == 4
    assert page.text.count("pytest 'test_suite.py::test_it[fgsm-eps0.2-on_images-images-") == 2
    assert "random noise of the same budget beats 0 of 10 samples" in page.text
    assert "inputs of shape (4,) are no images with 1 or 3 channels" in page.text
    alts = page.values("alt")
    # 4 and 2 examples, in four pictures each; one curve, three matrices.
    pictures = [alt for alt in alts if " of sample " in alt]
    assert len(pictures) == 4 * (2 + 4)
    assert {alt.split()[0] for alt in pictures} == {
        *("input", "perturbation", "adversarial", "filtered"),
    }
    (curve,) = [alt for alt in alts if "eps 0.1: unfiltered 0.800, filtered 0.800; eps 0.2" in alt]
    assert curve.startswith("FGSM Linf, white-box")
    assert sum(alt.startswith("confusion matrix") for alt in alts) == 3
    assert len(alts) == page.tags.count("img") == len(pictures) + 4
    assert all(value.startswith("data:image/png;base64,") for value in page.values("src"))
    assert page.values("lang") == ["en"]
    assert page.tags.count("caption") == page.tags.count("table") == 1 + 4
    assert set(page.values("scope")) == {"col", "row"}
    links = {value.removeprefix("#") for value in page.values("href") if value.startswith("#")}
    assert len(links) == 4
    assert links <= set(page.values("id"))


def test_the_page_is_the_same_from_the_cache(suite):
    """A second run draws the same counterexamples, and differs in its times alone."""
    suite.conftest(IMAGES)
    suite.tests("""
        @robust("bim", 0.3, min_acc=0.9, model="on_images", data="images")
        def test_fails():
            pass
    """)
    pages = []
    for _ in range(2):
        suite.run("--aerobust-html=out.html")
        pages.append((suite.path / "out.html").read_text(encoding="utf-8"))
    first, second = (re.findall(r'src="(data:image[^"]+)"', page) for page in pages)
    assert len(first) > 10
    assert first == second
    words = [re.sub(r"<[^>]+>|\b[0-9]+[.][0-9]\b", " ", page).split() for page in pages]
    said = "cached measured by an earlier run, on the same model and data"
    assert {*words[0]} ^ {*words[1]} <= {*said.split()}


def test_a_hostile_page_is_text(hostile):
    """Ids, messages and names of classes are text, the policy forbids the rest, and nothing is
    remote (BAD INPUTS 4.4, 5.26).
    """
    page = page_of(hostile)
    # The row, the heading, the other test's message, and six examples.
    assert page.text.count(HOSTILE) == 3 + 6
    assert any(HOSTILE in alt for alt in page.values("alt"))
    assert "script" not in page.tags
    assert not any(name.startswith("on") for name, _ in page.attributes)
    (policy,) = [value for value in page.values("content") if "default-src" in value]
    assert policy.startswith("default-src 'none'; img-src data:; style-src 'unsafe-inline'")
    assert all(value.startswith(("#", "data:")) for value in page.values("href"))
    assert all(value.startswith("data:") for value in page.values("src"))
    found = {path.name for path in hostile.path.iterdir() if path.suffix != ".pyc"}
    own = {"conftest.py", "test_suite.py", "__pycache__", ".pytest_cache", ".hypothesis"}
    assert found - own == {"out.json", "out.md", "out.html"}
    assert by_name(told(hostile)["contracts"]).keys() == {f"test_fails[{HOSTILE}]"}


def test_pictures_are_bounded(suite):
    """At most eight examples, none larger than 256 pixels; other reports carry none of them."""
    suite.conftest(IMAGES)
    suite.tests("""
        @robust("bim", 0.4, min_acc=0.9, model="on_images", data="large")
        def test_large():
            pass
    """)
    result = suite.run("--aerobust-html=out.html", "--aerobust-json=out.json")
    (report,) = [r for r in suite.reports(result) if hasattr(r, "aerobust")]
    gallery = report.aerobust["gallery"]
    assert len(gallery["examples"]) == 8
    assert gallery["reach"] == pytest.approx(0.4)
    sizes = {
        text for example in gallery["examples"] for text in map(_size, example["pictures"].values())
    }
    assert sizes == {(170, 256)}
    assert "gallery" not in told(suite)["contracts"][0]
    result = suite.run("--aerobust-json=out.json")
    (report,) = [r for r in suite.reports(result) if hasattr(r, "aerobust")]
    assert report.aerobust["gallery"] is None


def _size(picture: str) -> tuple[int, int]:
    """Width and height in the header of a PNG in base64."""
    header = b64decode(picture)[16:24]
    return int.from_bytes(header[:4]), int.from_bytes(header[4:])


def test_an_early_stop_leaves_the_matrix_open(suite):
    """The page says so, and how to get it."""
    suite.tests("""
        @robust("bim", 0.3, min_acc=0.9, data="many")
        def test_early():
            pass
    """)
    suite.run("--aerobust-html=out.html")
    assert "samples not attacked: --aerobust-full gives the whole matrix" in page_of(suite).text


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ("--aerobust-json=", "aerobust_json is empty: expected a file"),
        ("--aerobust-json=folder", "--aerobust-json: *folder is a folder or a device: give a file"),
        (
            "--aerobust-json=/dev/null",
            "--aerobust-json: *null is a folder or a device: *",
        ),
        ("--aerobust-json=file/out.json", "--aerobust-json: *file can't be written: *"),
        ("--aerobust-html=missing.html", "*needs jinja2, *: pip install 'pytest-aerobust[[]html]'"),
    ],
    ids=["empty", "folder", "device", "below a file", "no jinja2"],
)
def test_what_cannot_be_written_is_said_at_start(suite, monkeypatch, option, words):
    """A usage error, and no test runs."""
    monkeypatch.setitem(sys.modules, "jinja2", None)
    (suite.path / "folder").mkdir()
    suite.write("file", "")
    suite.tests(HOLDS)
    # pytest-html needs jinja2, too, and would end the run as it is loaded.
    result = suite.run(option, "-p", "no:html")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: *{words}"])


def test_a_link_stays_one(suite):
    """What it points to is replaced."""
    link, target = suite.path / "link.json", suite.write("target.json", "old")
    link.symlink_to(target)
    suite.tests(HOLDS)
    suite.run("--aerobust-json=link.json")
    assert link.is_symlink()
    assert told(suite, "target.json")["verdict"] == "passed"


def test_two_reports_need_two_files(suite):
    """One would replace the other."""
    suite.tests(HOLDS)
    result = suite.run("--aerobust-json=out", "--aerobust-markdown=./out")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*two reports go into one file*"])


def test_what_cannot_be_written_at_the_end_loses_nothing(suite):
    """A folder that went away during the run is a line in red, and the other file is written."""
    suite.tests("""
        @robust("bim", 0.02, min_acc=0.9)
        def test_holds():
            import pathlib
            pathlib.Path("late.json").mkdir()
    """)
    result = suite.run("--aerobust-json=late.json", "--aerobust-markdown=out.md")
    assert result.ret == 0
    result.stdout.fnmatch_lines(["--aerobust-json: *late.json was not written: *Error*"])
    assert (suite.path / "out.md").exists()


@pytest.mark.parametrize("options", [(), ("--aerobust", "--collect-only")], ids=["off", "list"])
def test_no_file_where_nothing_is_checked(suite, options):
    """Without --aerobust, and where tests are only listed, there is nothing to tell."""
    suite.tests(HOLDS)
    assert suite.plain_run("--aerobust-json=out.json", *options).ret == 0
    assert not (suite.path / "out.json").exists()


def test_reports_under_xdist(tmp_path, own_process, small_conftest):
    """The controlling process writes, from what crosses; pictures and places are among it."""
    (tmp_path / "conftest.py").write_text(small_conftest + dedent(IMAGES))
    tests = dedent(ON_IMAGES + FAILS.replace("fails", "crash"))
    (tmp_path / "test_it.py").write_text(f"import pytest\nfrom pytest_aerobust import *\n{tests}")
    options = ("-n1", "--aerobust", "--aerobust-html=out.html", "--aerobust-json=out.json")
    result = own_process(tmp_path, "-p", "xdist.plugin", "--tb=line", *options)
    assert result.returncode == 1, result.stderr
    document = json.loads((tmp_path / "out.json").read_text(encoding="utf-8"))
    assert (len(document["contracts"]), len(document["incidents"])) == (2, 1)
    assert document["collected"] == 3
    page = Page((tmp_path / "out.html").read_text(encoding="utf-8"))
    assert sum(" of sample " in alt for alt in page.values("alt")) == 3 * 6
    line = 1 + tests.splitlines().index('@robust("bim", 0.3, min_acc=0.9)') + 2
    assert f"{tmp_path / 'test_it.py'}:{line}: " in result.stdout


def test_a_failure_points_at_its_test(suite):
    """Annotations and editors mark the test's own line: no frame of it was there to be found."""
    suite.tests(MIXED)
    result = suite.run()
    lines = (suite.path / "test_suite.py").read_text(encoding="utf-8").splitlines()
    marked = {}
    for report in suite.reports(result):
        if report.failed and report.when == "call":
            crash = report.longrepr.reprcrash
            assert Path(crash.path) == suite.path / "test_suite.py"
            marked[report.nodeid.split("::")[1]] = lines[crash.lineno - 1]
    first = "@robust(" + '"bim", 0.02, min_acc=0.9'
    assert marked["test_mixed[bim-eps0.1-saturated]"] == f"{first})"
    assert marked["test_error[bim-eps0.02-broken]"] == f'{first}, model="broken")'
    assert "assert False" in marked["test_body[bim-eps0.02]"]


def test_pytest_html_shows_the_same_pieces(suite):
    """Where pytest-html is installed, the headline as text and the matrix stand at the test."""
    pytest.importorskip("pytest_html")
    suite.conftest(IMAGES)
    suite.tests(ON_IMAGES)
    result = suite.run("--html=other.html", "--self-contained-html")
    (report,) = [r for r in suite.reports(result) if hasattr(r, "aerobust")]
    headline, matrix = report.extras
    assert headline["content"].startswith("<p>robust accuracy 0.400 &lt; min_acc 0.900")
    assert matrix["format_type"] == "image"
    assert matrix["name"] == "confusion matrix under attack"
    assert (suite.path / "other.html").exists()


CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")
def test_a_browser_finds_nothing_to_complain_about(hostile):
    """Chromium draws a hostile page without a word on its console: no script, nothing blocked."""
    screenshot = hostile.path / "page.png"
    options = ("--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--v=0")
    told = (f"--user-data-dir={hostile.path / 'profile'}", f"--screenshot={screenshot}")
    page = (hostile.path / "out.html").as_uri()
    result = subprocess.run(
        [str(CHROMIUM), *options, *told, "--window-size=400,2000", page],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert screenshot.stat().st_size > 10_000
    assert "CONSOLE" not in result.stderr
