"""`pytest --aerobust-attacks`: the catalogue for people, in place of a run."""

import subprocess
import sys

import pytest

from pytest_aerobust.contract.catalogue import PLAIN, REFUSED
from pytest_aerobust.reports.attack_table import attack_table


@pytest.fixture
def listed(pytester):
    """The output of the option in a folder whose tests can't even be imported."""
    pytester.makepyfile("raise RuntimeError('collected')")

    def run(*flags):
        result = pytester.runpytest_inprocess("--aerobust-attacks", *flags)
        assert result.ret == 0
        return result.stdout

    return run


def test_every_attack_is_in_the_table(listed):
    """Name, norms, what it asks for, its threat, targets, its end, and its classes in Foolbox."""
    out = listed()
    out.fnmatch_lines(
        [
            "name * norms * asks for * threat * target * finds * classes of Foolbox",
            "bim * linf l2 l1 * gradients * white-box * yes * within eps * LinfBasic*",
            "boundary * l2 * decisions * black-box * no * the smallest * BoundaryAttack",
            "gen-attack * linf * scores * black-box * only * within eps * GenAttack",
        ]
    )
    rows = {line.split(" ")[0] for line in out.lines}
    assert set(PLAIN) <= rows
    text = out.str()
    assert all(name in text for row in PLAIN.values() for name in row.foolbox)


def test_refused_attacks_follow_with_their_reasons(listed):
    """Each with a way out."""
    out = listed()
    out.fnmatch_lines(["refused:", "  SpatialAttack: it rotates and shifts*; use blur or*"])
    assert all(f"  {name}: " in out.str() for name in REFUSED)


@pytest.mark.parametrize("flags", [["--aerobust"], ["-q"], ["-k", "nothing"], ["-n", "2"]])
def test_nothing_is_collected(listed, flags):
    """Whatever else is asked for, no test is looked at."""
    out = listed(*flags)
    out.no_fnmatch_line("*collected*")
    out.no_fnmatch_line("*RuntimeError*")


@pytest.mark.parametrize("width", [40, 80, 120, 200])
def test_the_table_fits_its_terminal(width):
    """Words are wrapped at the edge; only the columns themselves may be wider than that."""
    lines = attack_table(width).splitlines()
    end = lines.index("")
    classes = lines[0].index("classes")
    assert max(map(len, lines[:end])) <= max(width, classes + 50)
    assert max(map(len, lines[end:])) <= max(width, 60)


LIGHT = """
import sys, pytest
code = pytest.main(["--aerobust-attacks", "-p", "no:cacheprovider"])
heavy = {"torch", "foolbox", "sklearn", "pytest_aerobust.plugin.session"} & set(sys.modules)
sys.exit(f"loaded {heavy}" if heavy or code else 0)
"""


def test_the_listing_is_light(tmp_path):
    """Neither torch nor Foolbox is imported for it."""
    done = subprocess.run(
        [sys.executable, "-c", LIGHT], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
