"""Folders and files of the user's that are called as packages and folders of ours."""

import pytest
import skops.io
from sklearn.linear_model import LogisticRegression

OWN = "class Net:\n    '''The user's own.'''\n"
LOADS = """
import pytest
from lightning_modules import Net
from pytest_aerobust import load_estimator


@pytest.fixture(scope="session")
def aerobust_model():
    assert Net.__doc__ == "The user's own."
    return load_estimator("classifier.skops")


@pytest.fixture(scope="session")
def aerobust_data():
    return [[0.1, 0.2], [0.9, 0.8]], [0, 1]
"""
FAILS = """
from pytest_aerobust import robust

@robust("bim", 0.5, min_acc=0.9)
def test_fails(): pass
"""
OURS = "from lightning_modules.datasets import Digits\n"
FIXTURE = f"""
import pytest

@pytest.fixture
def own():
    {OURS}
def test_it(own): pass
"""
BORROWS = "from lightning_modules import load_estimator\n"


@pytest.fixture
def folder(tmp_path):
    """A folder with a package called `lightning_modules`."""
    (tmp_path / "lightning_modules").mkdir()
    (tmp_path / "lightning_modules" / "__init__.py").write_text(OWN)
    skops.io.dump(
        LogisticRegression(C=100).fit([[0.1, 0.2], [0.9, 0.8]], [0, 1]),
        tmp_path / "classifier.skops",
    )
    return tmp_path


def test_the_plugin_needs_none_of_them(folder, own_process):
    """Options, stored examples, figures and estimators work beside all of them."""
    for name in ("figures", "examples", "tests", "benchmarks", "reports", "attacks", "errors"):
        (folder / f"{name}.py").write_text("raise RuntimeError('imported by mistake')\n")
    (folder / "conftest.py").write_text(LOADS)
    (folder / "test_it.py").write_text(FAILS)
    result = own_process(
        folder, "--aerobust", "--aerobust-examples=found", "--aerobust-html=run.html"
    )
    assert "1 failed" in result.stdout, result.stdout + result.stderr
    assert "robust accuracy" in result.stdout
    assert (folder / "run.html").is_file()
    assert len([*(folder / "found").glob("*.safetensors")]) == 1


@pytest.mark.parametrize("place", ["conftest.py", "sub/conftest.py", "sub/test_it.py", "fixture"])
@pytest.mark.parametrize("options", [(), ("-p", "xdist.plugin", "-n", "1")])
def test_what_hides_our_package_is_said(folder, own_process, place, options):
    """Wherever the import stands: in a conftest, in a test's file, in a fixture."""
    (folder / "sub").mkdir()
    (folder / "conftest.py").write_text("")  # so that this folder comes first on sys.path
    (folder / "sub" / "test_it.py").write_text("def test_it(): pass\n")
    if place == "fixture":
        (folder / "sub" / "test_it.py").write_text(FIXTURE)
    else:
        (folder / place).write_text(f"{BORROWS}\ndef test_it(): pass\n")
    result = own_process(folder, *options)
    said = " ".join((result.stdout + result.stderr).split())
    assert "the name lightning_modules belongs to" in said
    assert str(folder / "lightning_modules" / "__init__.py") in said
    assert "load_estimator is also in pytest_aerobust" in said


NOT_FOUND = {
    "a module": "from lightning_modules.net import Net\n",
    "a package in it": "import lightning_modules.sub.net\n",
    "its name": "from lightning_modules import net\n",
    "the same name as ours": "from lightning_modules.datasets import Own\n",
}


@pytest.mark.parametrize(
    ("form", "place"),
    [
        *((form, "test_it.py") for form in NOT_FOUND),
        *(("a module", place) for place in ("conftest.py", "fixture")),
    ],
)
def test_what_our_package_hides_is_said(tmp_path, own_process, place, form):
    """A folder without `__init__.py` never comes before a package, wherever it stands."""
    hidden = tmp_path / "lightning_modules"
    (hidden / "sub").mkdir(parents=True)
    for name in ("net.py", "datasets.py", "sub/net.py"):
        (hidden / name).write_text(OWN)
    (tmp_path / "test_it.py").write_text("def test_it(): pass\n")
    if place == "fixture":
        text = FIXTURE.replace(OURS, NOT_FOUND[form])
        (tmp_path / "test_it.py").write_text(text)
    else:
        (tmp_path / place).write_text(f"{NOT_FOUND[form]}\ndef test_it(): pass\n")
    result = own_process(tmp_path)
    said = " ".join((result.stdout + result.stderr).split())
    assert f"{hidden} has no __init__.py" in said
    assert "Rename the folder, or put an __init__.py into it" in said


def test_what_our_package_lacks_is_no_fault_of_a_folder(tmp_path, own_process):
    """Where no folder of that name is there, Python's own words are all."""
    (tmp_path / "test_it.py").write_text("import lightning_modules.net\n")
    result = own_process(tmp_path)
    assert "No module named 'lightning_modules.net'" in result.stdout
    assert "__init__.py into it" not in result.stdout


def test_nothing_is_said_of_other_errors(folder, own_process):
    """An import of something else, or from the user's own package as it is, is left alone."""
    (folder / "conftest.py").write_text("import lightning_modules\n")
    (folder / "test_it.py").write_text(
        "def test_other():\n    import absent_package\n"
        "def test_own():\n    raise ImportError('lightning_modules')\n"
    )
    result = own_process(folder)
    assert "2 failed" in result.stdout
    assert "belongs to" not in result.stdout + result.stderr
