"""Attacks with code of the suite's own: never answered from the cache, compared with their like."""

import json
import sys

import pytest

from pytest_aerobust.history import attack_code

ATTACK = """
    import functools
    import os

    from foolbox.attacks import LinfPGD


    class Mine(LinfPGD):
        def __init__(self, part=1.0):
            super().__init__(rel_stepsize=0.25, steps=10, random_start=False)
            self._part = part

        def run(self, model, inputs, criterion, *, epsilon, **kwargs):
            return super().run(model, inputs, criterion, epsilon=epsilon * {part}, **kwargs)
"""

CONTRACT = """

    @robust({attack}, eps=0.2, {floor})
    def test_it():
        pass
"""

FORTY = """
    @pytest.fixture(scope="session")
    def aerobust_data():
        return samples(4)
"""


@pytest.fixture
def mine(suite):
    """Writes a suite whose attack searches in a part of its ball."""
    suite.conftest(FORTY)

    def write(part="self._part", attack="Mine()", floor="min_acc=0.8", more="", after=""):
        code = ATTACK.format(part=part) + more + CONTRACT.format(attack=attack, floor=floor)
        suite.tests(code + after)

    return write


def row(suite, *options):
    """What is told of the one contract, and the run."""
    result = suite.run(*options)
    (found,) = suite.measured(result).values()
    return found, result


@pytest.mark.parametrize("change", ["environment", "file", "call"])
def test_an_attack_that_searches_otherwise_is_asked_again(suite, mine, monkeypatch, change):
    """What it reads from elsewhere no digest knows, and no question to the model shows."""
    part = {
        "environment": "float(os.environ['PART'])",
        "file": "float(open('part.txt').read())",
        "call": "__import__('elsewhere').part()",
    }[change]
    waived = 'min_acc=0.8, waive={"noise": "weak", "one step": "weak", "nesting": "weak"}'
    mine(part, floor=waived)

    def tell(part):
        monkeypatch.setenv("PART", part)
        suite.write("part.txt", part)
        suite.write("elsewhere.py", f"def part():\n    return {part}\n")

    tell("0.5")
    before, _ = row(suite)
    tell("1.0")
    after, _ = row(suite)
    assert "cached" not in after
    assert after["unfiltered_accuracy_high"] < before["unfiltered_accuracy_high"]


@pytest.mark.parametrize(
    "attack",
    [
        "Mine()",
        'FB.BoundaryAttack(init_attack=Start(), steps=30), norm="l2"',
        "replaced(LinfPGD(rel_stepsize=0.25, steps=10))",
    ],
)
def test_no_code_of_the_suite_is_answered_from_the_cache(suite, mine, attack):
    """A class, one that starts an attack of Foolbox's, a method put on an instance; the log says
    why.
    """
    more = """

    import foolbox.attacks as FB


    class Start(FB.LinearSearchBlendedUniformNoiseAttack):
        pass


    def replaced(attack):
        inner = attack.run
        attack.run = lambda *args, **kwargs: inner(*args, **kwargs)
        return attack
    """
    mine(attack=attack, more=more, floor="min_acc=0.1")
    row(suite)
    found, result = row(suite, "--log-level=INFO", "-rP")
    assert "cached" not in found
    assert "the contract holds an attack with code that comes with no version" in (
        result.stdout.str()
    )


@pytest.mark.parametrize(
    "attack",
    [
        "LinfPGD(rel_stepsize=0.25, steps=10)",
        '"boundary", norm="l2", steps=30, attack_args={"init_attack": Start(steps=50)}',
        '"bim"',
    ],
)
def test_foolbox_alone_is_answered(suite, mine, attack):
    """Its version is known, also where its attacks are built by the suite; so is its entry."""
    more = """

    from foolbox.attacks import LinearSearchBlendedUniformNoiseAttack as Start
    """
    mine(attack=attack, more=more, floor="min_acc=0.1")
    row(suite, "--aerobust-update")
    assert "cached" in row(suite)[0]
    text = (suite.path / "aerobust-baseline.json").read_text()
    (entry,) = json.loads(text)["contracts"].values()
    assert "attack code" not in entry["contract"]


PARTS = """
    import decimal
    import math
    import pathlib
    from collections import deque
    from types import SimpleNamespace

    import numpy as np
    import torch
    from torch import nn

    class Slotted:
        __slots__ = ("value",)

        def __init__(self, value):
            self.value = value

    def part(told):
        return min(1.0, max(0.9, float(told)))
"""

# How code makes a number of what it names, and that in two versions.
VALUES = {
    "a number of NumPy's": ("PART", "np.float32(0.9)", "np.float32(1.0)"),
    "a decimal": ("PART", "decimal.Decimal('0.9')", "decimal.Decimal('1.0')"),
    "a range": ("len(PART)", "range(0)", "range(1)"),
    "a path": ("len(PART.name)", "pathlib.Path('')", "pathlib.Path('a')"),
    "a queue": ("PART[0]", "deque([0.9])", "deque([1.0])"),
    "a namespace": ("PART.value", "SimpleNamespace(value=0.9)", "SimpleNamespace(value=1.0)"),
    "slots": ("PART.value", "Slotted(0.9)", "Slotted(1.0)"),
    "a function of Python's": ("PART(0.95)", "math.floor", "math.ceil"),
    "a function of NumPy's": ("PART(0.9, 1.0)", "np.minimum", "np.maximum"),
    "a function of torch's": ("PART(torch.tensor(0.0))", "torch.sin", "torch.cos"),
    "a class of torch's": ("len(PART().__class__.__name__) - 4", "nn.ReLU", "nn.Hardsigmoid"),
    "a module": ("PART.pi > 3", "math", "SimpleNamespace(pi=0)"),
    "a generator": ("PART.initial_seed()", *(f"torch.Generator().manual_seed({n})" for n in "01")),
}

CHANGES = {
    "code": ({"part": "0.9"}, {"part": "1.0"}),
    "constant": (
        {"part": "PART", "more": "\n    PART = 0.9\n"},
        {"part": "PART", "more": "\n    PART = 1.0\n"},
    ),
    "helper": (
        {"part": "part()", "more": "\n    def part():\n        return 0.9\n"},
        {"part": "part()", "more": "\n    def part():\n        return 1.0\n"},
    ),
    "default": (
        {"part": "part()", "more": "\n    def part(told=0.9):\n        return told\n"},
        {"part": "part()", "more": "\n    def part(told=1.0):\n        return told\n"},
    ),
    "closure": (
        {"part": "PART()", "more": "\n    PART = (lambda told: lambda: told)(0.9)\n"},
        {"part": "PART()", "more": "\n    PART = (lambda told: lambda: told)(1.0)\n"},
    ),
    "partial": (
        {"part": "PART()", "more": "\n    PART = functools.partial(max, 0.9, 0)\n"},
        {"part": "PART()", "more": "\n    PART = functools.partial(max, 1.0, 0)\n"},
    ),
    **{
        name: tuple(
            {"part": f"part({use})", "more": f"\n    {PARTS}\n    PART = {value}\n"}
            for value in values
        )
        for name, (use, *values) in VALUES.items()
    },
    "attribute": ({"attack": "Mine(0.9)"}, {"attack": "Mine(1.0)"}),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_baseline_of_another_attack_is_stale(suite, mine, change):
    """What searches otherwise is not compared with, and the words name the attack."""
    before, after = CHANGES[change]
    floor = "max_regression=0.5, min_acc=0.1"
    mine(**before, floor=floor)
    row(suite, "--aerobust-update")
    assert row(suite)[0]["baseline"] == "compared"
    mine(**after, floor=floor)
    found, result = row(suite, "--aerobust-strict")
    assert found["baseline"] == "stale"
    what = "private settings" if change == "attribute" else "attack code"
    assert f"the contract changed: {what} was" in result.stdout.str()


def test_a_helper_in_another_file(suite, mine):
    """Code of the suite is followed from file to file."""
    floor = "max_regression=0.5, min_acc=0.1"
    more = "\n    import parts\n"
    suite.write("parts.py", "def part():\n    return 0.9\n")
    mine("parts.part()", more=more, floor=floor)
    row(suite, "--aerobust-update")
    suite.write("parts.py", "def part():\n    return 1.00\n")
    assert row(suite)[0]["baseline"] == "stale"


def test_what_stands_beside_an_attack_is_no_part_of_it(suite, mine):
    """Another test in the same file leaves the entry as good as it was."""
    floor = "max_regression=0.5, min_acc=0.1"
    mine(floor=floor)
    row(suite, "--aerobust-update")
    mine(floor=floor, after="\n\n    OTHER = 3\n\n    def helper():\n        return OTHER\n")
    assert row(suite)[0]["baseline"] == "compared"


def test_a_logger_makes_no_other_attack(suite, mine):
    """What a global of a library holds is another in each process, and nobody's setting."""
    floor = "max_regression=0.5, min_acc=0.1"
    more = """

    import logging
    import threading

    LOG = logging.getLogger(__name__)
    LOCK = threading.Lock()

    def part():
        with LOCK:
            LOG.info("asked")
        return 0.9
    """
    mine("part()", more=more, floor=floor)
    row(suite, "--aerobust-update")
    suite.path.joinpath("pytest.ini").write_text("[pytest]\nlog_level = INFO\n")
    assert row(suite)[0]["baseline"] == "compared"


def test_the_order_of_sets_makes_no_other_attack(suite, mine, own_process):
    """Python's hashes of texts, and where functions lie, are others in each process."""
    more = """

    def one():
        return PARTS


    def two():
        return PARTS


    SETS = {frozenset(f"{n}{name}" for n in range(9)) for name in "abcdefgh"}
    PARTS = {*SETS, one, two, max, min}
    """
    mine("len(PARTS) / 12", more=more, floor="max_regression=0.5, min_acc=0.1")
    own_process(suite.path, "--aerobust", "--aerobust-update", PYTHONHASHSEED="1")
    strict = own_process(suite.path, "--aerobust", "--aerobust-strict", PYTHONHASHSEED="2")
    assert strict.returncode == 0, strict.stdout


def test_a_long_chain_of_functions_is_followed(suite, mine):
    """Deeper than Python recurses: a constant at its end still tells."""
    floor = "max_regression=0.5, min_acc=0.1"
    chain = "".join(f"def f{n}():\n    return f{n + 1}()\n\n\n" for n in range(300))
    more = "\n    import sys\n    import chain\n"
    for end, baseline in (("0.90", "compared"), ("1.0", "stale")):
        sys.modules.pop("chain", None)
        suite.write("chain.py", f"{chain}def f300():\n    return {end}\n")
        mine("chain.f0()", more=more, floor=floor)
        if baseline == "compared":
            row(suite, "--aerobust-update")
        assert row(suite)[0]["baseline"] == baseline


def test_code_that_takes_too_long_compares_with_nothing(suite, mine, monkeypatch):
    """Its entry is stale, and the words say why."""
    monkeypatch.setattr(attack_code, "_SECONDS", -1.0)
    floor = "max_regression=0.5, min_acc=0.1"
    mine(floor=floor)
    row(suite, "--aerobust-update")
    found, result = row(suite, "--aerobust-strict")
    assert found["baseline"] == "stale"
    assert "attack code was not followed" in result.stdout.str()
