"""What each extra allows, and that whatever is missing is named with the extra that brings it.

Packages are hidden from processes of their own: environments that really lack them take minutes
to build.
"""

import os
import re
import subprocess
import sys
from importlib.metadata import requires
from pathlib import Path
from textwrap import dedent

import pytest
import skops.io
from sklearn.linear_model import LogisticRegression

import lightning_modules
import pytest_aerobust

ROOT = Path(__file__).parents[1]

# Names of packages in an import, where they differ from those that are installed.
IMPORTED = {
    "scikit-learn": {"sklearn"},
    "pytorch-lightning": {"pytorch_lightning", "lightning_fabric"},
}
HIDDEN = """
import runpy, sys
class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {packages!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Hidden())
"""
CONFTEST = """
import pytest
from pytest_aerobust import load_estimator

@pytest.fixture(scope="session")
def aerobust_model():
    return load_estimator({path!r})

@pytest.fixture(scope="session")
def aerobust_data():
    return [[0.1, 0.2], [0.9, 0.8]], [0, 1]
"""
SUITE = """
from pytest_aerobust import robust

@robust("bim", 0.01, min_acc=0.9, waive=dict.fromkeys({checks!r}, "two samples"))
def test_it(robustness):
    assert robustness().unfiltered.accuracy == 1.0
"""
CHECKS = ("clean accuracy", "noise", "unbounded", "loss", "nesting", "one step")
TORCH = """
import pytest, torch

@pytest.fixture(scope="session")
def aerobust_model():
    model = torch.nn.Linear(2, 2)
    torch.nn.init.constant_(model.bias, 0)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[-1.0, -1.0], [1.0, 1.0]]))
        model.bias.copy_(torch.tensor([1.0, -1.0]))
    return model

@pytest.fixture(scope="session")
def aerobust_data():
    return torch.tensor([[0.1, 0.2], [0.9, 0.8]]), torch.tensor([0, 1])
"""
# What works wherever the plugin is installed.
PYTEST = """
for option in ({options}):
    sys.argv = ["pytest", "-p", "pytest_aerobust.plugin", "--aerobust", "-q", *option]
    try:
        runpy.run_module("pytest", run_name="__main__")
    except SystemExit as ended:
        print("STATUS", int(ended.code))
"""


def packages(*extras):
    """What extras bring beyond an installation without any, by the names of imports."""
    found = {}
    for requirement in requires("pytest-aerobust"):
        name = re.match(r"[\w.-]+", requirement)[0]
        extra = re.search(r"extra == ['\"](\w+)['\"]", requirement)
        found.setdefault(extra and extra[1], set()).update(IMPORTED.get(name, {name}))
    return set().union(*(found[extra] for extra in extras)) - found[None]


def run(folder, code, hidden):
    """What a process of its own prints, from which packages are hidden."""
    return subprocess.run(
        [sys.executable, "-c", HIDDEN.format(packages=tuple(sorted(hidden))) + dedent(code)],
        cwd=folder,
        env={
            **{key: value for key, value in os.environ.items() if not key.startswith("PYTEST")},
            "PYTHONPATH": str(ROOT),
            "OMP_NUM_THREADS": "1",
            "COLUMNS": "200",
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        },
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def only(*extras):
    """What is not installed where these extras alone are."""
    return packages("lightning", "sklearn", "figures", "html") - packages(*extras)


@pytest.fixture
def estimator_file(tmp_path):
    """A fitted classifier in a file of skops."""
    path = tmp_path / "classifier.skops"
    skops.io.dump(LogisticRegression(C=100).fit([[0.1, 0.2], [0.9, 0.8]], [0, 1]), path)
    return path


@pytest.mark.parametrize("home", ["pytest_aerobust", "lightning_modules"])
def test_estimators_load_with_sklearn_alone(tmp_path, estimator_file, home):
    """From either package, without Lightning, and without loading torch for it."""
    code = f"""
        from {home} import load_estimator
        print(load_estimator({str(estimator_file)!r}).classes_.tolist())
    """
    result = run(tmp_path, code, only("sklearn"))
    assert result.stdout == "[0, 1]\n", result.stderr


@pytest.mark.parametrize(
    ("extras", "conftest", "option"),
    [
        ((), TORCH, ["--aerobust-examples=found"]),
        ((), TORCH, ["--aerobust-json=run.json", "--aerobust-markdown=run.md"]),
        (("sklearn",), CONFTEST, []),
        (("html",), TORCH, ["--aerobust-html=run.html"]),
    ],
    ids=["none", "none with reports", "sklearn", "html"],
)
def test_a_suite_needs_no_more_than_its_extra(tmp_path, estimator_file, extras, conftest, option):
    """Torch models need none, scikit-learn's and the page their own."""
    (tmp_path / "conftest.py").write_text(conftest.format(path=str(estimator_file)))
    (tmp_path / "test_it.py").write_text(SUITE.format(checks=CHECKS))
    result = run(tmp_path, PYTEST.format(options=f"{option!r},"), only(*extras))
    assert result.stdout.endswith("STATUS 0\n"), result.stdout + result.stderr
    assert "1 passed" in result.stdout


def test_figures_need_their_extra_alone(tmp_path):
    """A report, which takes scikit-learn, and a figure."""
    code = """
        from pytest_aerobust import Arm, Evaluation, figures
        arm = Arm("s", ((0, 0, 1),), ((0, 0, 1),))
        words = ("bim", "BIM Linf", "linf", 0.1, "white-box", None)
        evaluation = Evaluation(*words, {}, 0, arm, None)
        print(len(figures.to_png(figures.confusion_with_report(evaluation))) > 1000)
    """
    result = run(tmp_path, code, only("figures"))
    assert result.stdout == "True\n", result.stderr


def test_lightning_modules_need_their_extra_alone(tmp_path):
    """Every name that is exported is there, and the bundled data are."""
    code = """
        from lightning_modules import *
        import lightning_modules
        print(all(hasattr(lightning_modules, name) for name in lightning_modules.__all__))
        print(len(Digits().test_arrays()[1]))
    """
    # torchmetrics reads from the package's metadata, which stay, that it may import matplotlib.
    result = run(tmp_path, code, only("lightning") - {"matplotlib"})
    assert result.stdout == "True\n360\n", result.stderr


@pytest.mark.parametrize("package", [lightning_modules, pytest_aerobust])
def test_names_that_load_lazily_are_listed(package):
    """Whoever looks around, by `dir` or by completion, sees every public name."""
    assert {*package.__all__} <= {*dir(package)}


EXPORTED = {
    "load_estimator": "load_estimator('classifier.skops')",
    "save_estimator": "save_estimator(1, 'one.skops')",
    "fit_or_load_estimator": "fit_or_load_estimator(1, [[0.0]], [0], folder='.')",
}


@pytest.mark.parametrize(
    "hidden", [{"skops"}, {"skops", "sklearn"}, {"sklearn"}], ids=["skops", "both", "sklearn"]
)
@pytest.mark.parametrize("name", EXPORTED)
def test_what_estimators_lack_is_named(tmp_path, estimator_file, name, hidden):
    """Reading, writing and fitting into files name the extra that brings skops."""
    result = run(tmp_path, f"from lightning_modules import {name}; {EXPORTED[name]}", hidden)
    assert "pip install 'pytest-aerobust[sklearn]'" in result.stderr
    if name == "load_estimator":
        result = run(tmp_path, f"from pytest_aerobust import {name}; {EXPORTED[name]}", hidden)
        assert "pip install 'pytest-aerobust[sklearn]'" in result.stderr


def test_what_lightning_modules_lack_is_named(tmp_path):
    """Whichever name or module comes first, and also on the command line."""
    names = [name for name in lightning_modules.__all__ if name not in EXPORTED]
    modules = ("autoencoders", "autoencoders.vanilla", "classifiers", "datasets", "filtered")
    code = f"""
        for line in (
            *(f"from lightning_modules import {{name}}" for name in {names!r}),
            *(f"import lightning_modules.{{name}}" for name in {(*modules, "training", "idx")!r}),
            "runpy.run_module('lightning_modules', run_name='__main__')",
        ):
            try:
                exec(line)
                print("works:", line)
            except ModuleNotFoundError as error:
                print("pip install 'pytest-aerobust[lightning]'" in str(error))
    """
    result = run(tmp_path, code, only())
    assert set(result.stdout.splitlines()) == {
        "True",
        "works: from lightning_modules import load_weights",
        "works: from lightning_modules import LightningModulesError",
    }, result.stdout + result.stderr


@pytest.mark.parametrize(
    ("package", "code"),
    [
        ("pooch", "from lightning_modules import MNIST"),
        ("sklearn", "from lightning_modules import Digits; Digits().test_arrays()"),
        ("jsonargparse", "runpy.run_module('lightning_modules', run_name='__main__')"),
    ],
)
def test_a_part_of_the_extra_is_named(tmp_path, package, code):
    """Where one of its packages was removed, it is told with the extra."""
    result = run(tmp_path, code, {package})
    words = f"lightning_modules needs {package}, which is not installed: pip install 'pytest-aero"
    assert words in result.stderr


@pytest.mark.parametrize("package", ["jinja2", "matplotlib"])
def test_what_the_page_lacks_is_named(tmp_path, package):
    """A usage error before any test runs."""
    (tmp_path / "test_it.py").write_text("def test_it(): pass\n")
    result = run(tmp_path, PYTEST.format(options="['--aerobust-html=run.html'],"), {package})
    assert f"--aerobust-html needs {package}, which is not installed: pip install" in result.stderr
    assert "'pytest-aerobust[html]'" in result.stderr
    assert result.stdout.endswith("STATUS 4\n")
