"""The house rules: imports go down only, two packages stand apart, the ground floor is light."""

import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# From the ground up; a module may import from its own floor's earlier names and from below.
FLOORS = [
    "errors",
    "files",
    "shadowed",
    "names",
    "strays",
    "contract",
    "results",
    "options",
    "verdict",
    "ledger",
    "subjects",
    "attacks",
    "evidence",
    "trail",
    "disturbed",
    "arms",
    "weighing",
    "evaluation",
    "campaign",
    "variations",
    "examples",
    "saved",
    "worst",
    "replaying",
    "varying",
    "history",
    "judged",
    "proving",
    "robustness",
    "standalone",
    "figures",
    "selection",
    "session",
    "replayer",
    "reports",
    "inventory",
    "recorder",
    "plugin",
    "__main__",
]
GROUND = FLOORS[: FLOORS.index("verdict")]
LIGHT = {*sys.stdlib_module_names, "pytest", "pytest_aerobust"}


def modules(package):
    return sorted((ROOT / package).rglob("*.py"))


def imports(path, everything=True):
    """Names of imported modules; without those inside functions and TYPE_CHECKING blocks."""
    tree = ast.parse(path.read_text())
    nodes = ast.walk(tree) if everything else tree.body
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module


def floor(name):
    return name.split(".")[1] if name.count(".") else None


@pytest.mark.parametrize("path", modules("pytest_aerobust"), ids=lambda p: p.stem)
def test_imports_go_down_only(path):
    """No module imports from a floor above its own, and none from the face that users see."""
    own = path.relative_to(ROOT / "pytest_aerobust").parts[0].removesuffix(".py")
    if own == "__init__":
        return
    assert own in FLOORS, f"{own} has no floor yet: give it one here"
    late = {"plugin": {"session", "replayer"}}.get(own, set())
    for name in imports(path):
        assert name != "pytest_aerobust", f"{own} imports the package's face"
        target = floor(name) if name.startswith("pytest_aerobust") else None
        if target is not None and target not in late:
            assert FLOORS.index(target) <= FLOORS.index(own), f"{own} imports {name}"


def test_the_check_of_directions_can_fail(tmp_path):
    """A module of the ground floor that reached up would be found."""
    path = tmp_path / "errors.py"
    path.write_text("from pytest_aerobust.session import evaluate\n")
    (name,) = imports(path)
    assert FLOORS.index(floor(name)) > FLOORS.index("errors")


@pytest.mark.parametrize(
    "name",
    [*GROUND, "plugin", "selection", "inventory", "recorder", "__init__", "reports/terminal"],
)
def test_what_every_pytest_run_loads_is_light(name):
    """At their top level these modules import the standard library and pytest alone."""
    room = ROOT / "pytest_aerobust" / name
    for path in room.glob("*.py") if room.is_dir() else [room.with_suffix(".py")]:
        heavy = {module.split(".")[0] for module in imports(path, everything=False)} - LIGHT
        assert not heavy, path


def test_the_two_packages_never_import_each_other():
    """A LightningModule is just a module to the plugin, and the modules need no pytest."""
    for path in modules("pytest_aerobust"):
        assert not any(name.startswith("lightning_modules") for name in imports(path)), path
    for path in modules("aerobust_skops"):
        assert not any(name.startswith(("lightning_", "pytest_aero")) for name in imports(path))
    for path in modules("lightning_modules"):
        forbidden = ("pytest_aerobust", "pytest.", "foolbox")
        assert not any(f"{name}.".startswith(forbidden) for name in imports(path)), path
