"""The house rules: imports go down only, two packages stand apart, the ground floor is light."""

import ast
import importlib.util
import re
import sys
from pathlib import Path

import pytest

_spec = importlib.util.spec_from_file_location("house", Path(__file__).with_name("house.py"))
house = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(house)

# From the ground up; a room may import from those before it, and none from one after it.
ROOMS = [
    "errors",
    "files",
    "names",
    "private",
    "contract",
    "options",
    "results",
    "verdict",
    "subjects",
    "attacks",
    "counterexamples",
    "evidence",
    "measurement",
    "history",
    "proving",
    "figures",
    "reports",
    "plugin",
    "__main__",
]
# What every run of pytest loads, and what may be loaded without torch.
LIGHT_ROOMS = ["errors", "files", "names", "private", "contract", "options", "results", "plugin"]
LIGHT = {*sys.stdlib_module_names, "pytest", "pytest_aerobust"}
# Of the plugin, what comes with the first contract that runs.
LATE = {"plugin/session.py", "plugin/replayer.py", "plugin/crash.py"}


def test_imports_go_down_only():
    """No room imports from one above its own."""
    for own, other in house.between_rooms():
        assert own in ROOMS, f"{own} has no place yet: give it one here"
        assert ROOMS.index(other) < ROOMS.index(own), f"{own} imports from {other}"


def test_no_module_is_in_a_circle():
    """Modules of one room, too, can be read from the ground up."""
    edges = {
        (house.name_of(path), name)
        for path in house.modules("pytest_aerobust")
        for name in house.imports(path)
        if name.startswith("pytest_aerobust.")
    }
    assert not house.circles(edges)


@pytest.mark.parametrize("path", house.modules("pytest_aerobust"), ids=house.name_of)
def test_nobody_inside_imports_the_face(path):
    """What users import from the package, the package imports from where it is."""
    assert "pytest_aerobust" not in house.imports(path)


def test_the_check_of_directions_can_fail(tmp_path):
    """A room of the ground floor that reached up would be found, and who reaches itself."""
    folder = tmp_path / "pytest_aerobust"
    folder.mkdir()
    (folder / "errors.py").write_text("from pytest_aerobust.plugin.session import Session\n")
    assert [*house.between_rooms(tmp_path)] == [("errors", "plugin")]
    assert house.circles([("a", "b"), ("b", "c"), ("c", "a"), ("d", "a")]) == {"a", "b", "c"}


def test_what_every_pytest_run_loads_is_light():
    """At their top level these modules import the standard library and pytest alone."""
    package = house.ROOT / "pytest_aerobust"
    light = [package / "__init__.py", package / "reports" / "terminal.py"]
    for name in LIGHT_ROOMS:
        place = package / name
        light += place.rglob("*.py") if place.is_dir() else [place.with_suffix(".py")]
    for path in light:
        if path.relative_to(package).as_posix() not in LATE:
            found = house.imports(path, everything=False)
            heavy = {module.split(".")[0] for module in found} - LIGHT
            assert not heavy, path


def test_the_two_packages_never_import_each_other():
    """A LightningModule is just a module to the plugin, and the modules need no pytest."""
    for path in house.modules("pytest_aerobust"):
        assert not any(name.startswith("lightning_modules") for name in house.imports(path)), path
    for path in house.modules("aerobust_skops"):
        found = house.imports(path)
        assert not any(name.startswith(("lightning_", "pytest_aero")) for name in found)
    for path in house.modules("lightning_modules"):
        forbidden = ("pytest_aerobust", "pytest.", "foolbox")
        found = house.imports(path)
        assert not any(f"{name}.".startswith(forbidden) for name in found), path


def test_files_and_classes_are_no_giants():
    """No file has over 400 lines but the table of attacks, and no class over 250."""
    for path in house.modules("pytest_aerobust"):
        text = path.read_text()
        if path.name != "catalogue.py":
            assert text.count("\n") <= 400, path
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.ClassDef):
                assert node.end_lineno - node.lineno < 250, f"{path}: {node.name}"


@pytest.mark.parametrize("name", ["ARCHITECTURE.md", "CONTRIBUTING.md"])
def test_the_map_names_what_is_there(name):
    """Every file that they name exists, and every room of the house is on the map."""
    text = (house.ROOT / name).read_text(encoding="utf-8")
    for path in re.findall(r"`([\w/]+\.(?:py|md|txt))`", text):
        places = (house.ROOT / path, house.ROOT / "pytest_aerobust" / path)
        assert any(place.exists() for place in places), path
    for room in ROOMS if name == "ARCHITECTURE.md" else ():
        assert f"`{room}/`" in text or f"`{room}.py`" in text or room == "__main__", room
