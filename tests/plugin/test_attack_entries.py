"""What an attack is made of, in a baseline: all that the suite put there, and nothing else."""

import sys

import pytest

CONTRACTS = """
    import os
    import tempfile
    from pathlib import Path

    import numpy as np
    import torch
    from foolbox.attacks import LinfPGD
    from parts import *


    class Mine(LinfPGD):
        def __init__(self, part):
            super().__init__(rel_stepsize=0.25, steps=5, random_start=False)
            self.part, self.calls, self._calls = part, 0, 0
            self.folder, self._folder = Path(__file__).parent, str(Path(__file__).parent)
            self.temporary, self._temporary = tempfile.gettempdir(), Path(tempfile.gettempdir())
            self.names, self._rounded = np.array(["a"]), torch.zeros(1, dtype=torch.bfloat16)
            self.device = self._device = os.environ.get("DEVICE", "cpu")

        def run(self, model, inputs, criterion, *, epsilon, **kwargs):
            self.part()
            self.calls += 1
            self._calls += 1
            return super().run(model, inputs, criterion, epsilon=epsilon, **kwargs)
"""

CONTRACT = """

    @robust(Mine(lambda: {use}), eps={eps}, max_regression=0.5, min_acc=0.1)
    def test_{name}():
        pass
"""


@pytest.fixture
def entries(suite):
    """Writes a suite of one attack a use, runs it, and tells what became of each entry."""

    def run(parts, uses, *options):
        sys.modules.pop("parts", None)
        suite.write("parts.py", parts)
        suite.tests(CONTRACTS + "".join(_contracts(uses)))
        return _states(suite.run(*options), suite)

    return run


def _contracts(uses):
    # Budgets tell the ids apart, since all attacks have one name.
    for place, (name, use) in enumerate(uses.items()):
        yield CONTRACT.format(name=name, use=use, eps=0.1 + place / 1000)


def _states(result, suite):
    measured = suite.measured(result)
    return {
        name.removeprefix("test_").partition("[")[0]: told["baseline"]
        for name, told in measured.items()
    }


IMPORTS = """
import collections, enum, functools, operator, random, re, statistics
import numpy as np, scipy.stats, torch
from pathlib import Path
"""

# How a number comes from an object of a known library, which holds what the suite put there.
OBJECTS = {
    "cached": ("cached()", "@functools.lru_cache\ndef cached():\n    return {}"),
    "lazy": (
        "Lazy().part",
        "def _lazy(self):\n    return {}\nclass Lazy:\n    part = functools.cached_property(_lazy)",
    ),
    "half": (
        "Half().part()",
        "def _half(self):\n    return {}\nclass Half:\n    part = functools.partialmethod(_half)",
    ),
    "dispatched": (
        "Dispatched().part(0)",
        "def _dispatched(self, x):\n    return {}\n"
        "class Dispatched:\n    part = functools.singledispatchmethod(_dispatched)",
    ),
    "setter": (
        "setattr(Setter(), 'part', 1)",
        "def _set(self, x):\n    return {}\nclass Setter:\n    part = property(None, _set)",
    ),
    "wrapped": (
        "wrapped()",
        "def _times(f):\n    @functools.wraps(f)\n    def inner():\n        return f() * {}\n"
        "    return inner\n@_times\ndef wrapped():\n    return 1.0",
    ),
    "attribute": ("told.part", "def told(): pass\ntold.part = {}"),
    "vectorized": ("vectorized(1)", "vectorized = np.vectorize(lambda x: {} * x)"),
    "polynomial": ("polynomial(0)", "polynomial = np.poly1d([1.0, {}])"),
    "masked": ("masked.sum()", "masked = np.ma.array([1, 2], mask=[False, {} == 1.0])"),
    "objects": ("objects[0]()", "objects = np.array([lambda: {}, None], dtype=object)"),
    "texts": ("texts[0]", "texts = np.array(['{}'])"),
    "distribution": ("normal.mean", "normal = torch.distributions.Normal({}, 1.0)"),
    "frozen": ("frozen.mean()", "frozen = scipy.stats.norm(loc={})"),
    "statistics": ("curve.mean", "curve = statistics.NormalDist({})"),
    "member": ("member.value", "class P(str, enum.Enum):\n    a = '{}'\nmember = P.a"),
    "method": (
        "label.part()",
        "class Label(str):\n    def part(self):\n        return {}\nlabel = Label('a')",
    ),
    "table": (
        "table.scale",
        "class Table(dict):\n    pass\ntable = Table()\ntable.scale = {}",
    ),
    "default": ("default[0]", "default = collections.defaultdict(lambda: {})"),
    "key": ("[*keyed][0]()", "keyed = {{(lambda: {}): 0}}"),
    "getter": ("got(PAIR)", "PAIR = (0.1, 0.2)\ngot = operator.itemgetter(int({} == 1.0))"),
    "bound": ("bound(0)", "bound = {{0: {}}}.get"),
    "pattern": ("pattern.pattern", "pattern = re.compile('{}')"),
    "script": (
        "script(torch.ones(()))",
        "@torch.jit.script\ndef script(x: torch.Tensor):\n    return x * {}",
    ),
    "rounded": ("rounded.sum()", "rounded = torch.tensor([{}], dtype=torch.bfloat16)"),
}


def test_what_known_classes_hold_is_part_of_an_attack(entries):
    """Functions, settings and members in objects of Python's, NumPy's, SciPy's and torch's."""
    uses = {name: use for name, (use, _) in OBJECTS.items()}

    def parts(value):
        return IMPORTS + "\n".join(code.format(value) for _, code in OBJECTS.values())

    entries(parts("1.0"), uses, "--aerobust-update")
    assert set(entries(parts("1.0"), uses).values()) == {"compared"}
    found = entries(parts("0.9"), uses)
    assert {name for name in uses if found.get(name) != "stale"} == set()


# What another machine, process or checkout has otherwise.
SURROUNDINGS = {
    "folder": ("str(HERE / 'x')", "HERE = Path(__file__).parent"),
    "text": ("TEXT", "TEXT = str(Path(__file__).parent)"),
    "address": ("ADDRESS", "ADDRESS = f'file://{Path(__file__).parent}/x'"),
    "above": ("ABOVE.name", "ABOVE = Path(__file__).parent.parent"),
    "file": ("Path(__file__).name + location()", "def location():\n    return __file__"),
    "device": ("DEVICE.type", "DEVICE = torch.device(os.environ.get('DEVICE', 'cpu'))"),
    "name": ("NAME", "NAME = os.environ.get('DEVICE', 'cpu')"),
    "environment": ("environ.get('DEBUG')", "from os import environ"),
    "command": ("argv[0]", "from sys import argv, path"),
    "unseeded": ("RNG.random()", "RNG = np.random.default_rng()"),
    "bits": ("draw()", "draw = np.random.default_rng().normal"),
    "sequence": ("SEEDS.entropy", "SEEDS = np.random.SeedSequence()"),
    "torch": ("G.initial_seed()", "G = torch.Generator()\nG.seed()"),
    "state": ("DICE.random()", "DICE = random.Random()\nlegacy = np.random.RandomState()"),
    "sobol": (
        "SOBOL.random()",
        "SOBOL = scipy.stats.qmc.Sobol(2)\nquasi = torch.quasirandom.SobolEngine(2, scramble=True)",
    ),
    "temporary": ("TEMPORARY", "TEMPORARY = tempfile.gettempdir()"),
    "keys": ("KEYS[len]", "KEYS = {len: 0, Path: 1, (lambda: 0): 2}"),
    "thread": ("THREAD.name", "THREAD = threading.Thread(target=print)\nTHREAD.start()"),
}


def test_no_machine_is_part_of_an_attack(suite, entries, own_process):
    """The same suite in another folder, process and environment has the entries that it had."""
    imports = IMPORTS + "import os, tempfile, threading\n"
    parts = imports + "\n".join(code for _, code in SURROUNDINGS.values())
    uses = {name: use for name, (use, _) in SURROUNDINGS.items()}
    found = entries(parts, uses, "--aerobust-update")
    assert set(found.values()) == {"stored"}
    there = suite.path / "there"
    there.mkdir()
    for name in ("conftest.py", "parts.py", "test_suite.py", "aerobust-baseline.json"):
        (there / name).write_bytes((suite.path / name).read_bytes())
    (there / "pytest.ini").write_text("[pytest]\n")
    strict = own_process(
        *(there, "--aerobust", "--aerobust-strict", "--aerobust-json=told.json"),
        **{"DEVICE": "cuda", "TMPDIR": str(suite.path), "GITHUB_RUN_ID": "2"},
    )
    assert strict.returncode == 0, strict.stdout


def test_a_seed_that_is_stated_is_part_of_an_attack(entries):
    """NumPy's, alone or as entropy of a sequence."""
    uses = {"seeded": "RNG.random()", "sequence": "SEEDS.entropy"}
    parts = "import numpy as np\nRNG = np.random.default_rng({0})\n"
    parts += "SEEDS = np.random.SeedSequence([{0}, 2**100])\n"
    entries(parts.format(1), uses, "--aerobust-update")
    assert set(entries(parts.format(2), uses).values()) == {"stale"}


# What the run itself changes, by which other tests ran before.
MOVING = {
    "memo": ("memo.setdefault(len(memo), 1)", "memo = {}"),
    "counter": (
        "Counter.count()",
        "class Counter:\n    calls = 0\n    @classmethod\n"
        "    def count(cls):\n        cls.calls += 1",
    ),
    "attribute": ("count()", "def count():\n    count.calls += 1\ncount.calls = 0"),
    "iterator": ("next(numbers)", "numbers = itertools.count()"),
    "cache": ("remember(1)", "@functools.lru_cache\ndef remember(x):\n    return x"),
}


def test_what_a_run_changes_is_no_part_of_an_attack(suite, entries):
    """A test that runs alone has the entry that it has after all others."""
    uses = {
        f"{name}_{when}": use for name, (use, _) in MOVING.items() for when in ("first", "last")
    }
    parts = "import functools, itertools\n" + "\n".join(code for _, code in MOVING.values())
    entries(parts, uses, "--aerobust-update")
    assert set(entries(parts, uses).values()) == {"compared"}
    alone = entries(parts, uses, "-k", "last")
    assert [*alone.values()] == ["compared"] * len(MOVING)


def test_attributes_that_a_run_changes_are_no_part_of_an_attack(suite):
    """Two tests share an instance that counts, and the second has its entry also alone."""
    suite.write("parts.py", "")
    shared = "\n\n    ONE = Mine(lambda: None)\n"
    tests = "".join(_contracts({"first": "None", "last": "None"}))
    suite.tests(CONTRACTS + shared + tests.replace("Mine(lambda: None)", "ONE"))
    suite.run("--aerobust-update")
    assert _states(suite.run("-k", "last"), suite) == {"last": "compared"}


def test_an_object_that_refuses_to_be_looked_at_stops_no_run(entries):
    """It is told by its class, and the entry is compared as any other."""
    parts = """
class Refusing(dict):
    def items(self):
        raise RuntimeError("not open")
    @property
    def __dict__(self):
        raise RuntimeError("not open")
refusing = Refusing()
"""
    uses = {"it": "refusing.clear()"}
    entries(parts, uses, "--aerobust-update")
    assert entries(parts, uses) == {"it": "compared"}
