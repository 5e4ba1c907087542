"""A kept answer belongs to the model of today: it is asked where the attack went.

Every model here answers the data as before, gradients included, whatever changes; only between
the data, where an attack leads, it is as robust as it was or falls to anything.
"""

import math
import sys
from textwrap import dedent

import pytest

HELPER = """
    import torch

    FACTOR = 1  # a change makes 30 of it


    def between(x, factor):
        near = (x * 20).round() / 20
        away = x - near
        return torch.where(away.abs() > 1e-4, near + factor * away, x)
"""
MODEL = """
    {imports}


    class Between(Border):
        {body}

        def forward(self, x):
            return super().forward({answer})


    @pytest.fixture(scope="session")
    def aerobust_model():
        {setup}
        return Between()
"""
CONTRACT = """
    @robust("bim", eps=0.02, min_acc=0.9)
    def test_it():
        pass
"""


@pytest.fixture
def modelled(suite):
    """Writes the model; gives whether a run passes, and whether it was answered at once."""
    suite.tests(CONTRACT)

    def write(answer, imports="", body="pass", setup="pass"):
        suite.write("helper.py", dedent(HELPER))
        suite.conftest(MODEL.format(answer=answer, imports=imports, body=body, setup=setup))

    return write


def outcome(suite, *options):
    result = suite.run(*options)
    (row,) = suite.measured(result).values()
    return row["verdict"], "cached" in row


def seen(suite, change):
    """A pass is kept, and answered no longer once something changes."""
    assert outcome(suite) == ("passed", False)
    change()
    assert outcome(suite) == ("failed", False)


FROM_OUTSIDE = {
    "a variable of the environment": "float(os.environ['FACTOR'])",
    "a JSON file": "json.loads((HERE / 'told.json').read_text())['factor']",
    "a text file": "float((HERE / 'told.txt').read_text())",
    "lines of a file": "float(linecache.getline(str(HERE / 'told.txt'), 1))",
    "a default": "by_default()",
    "a default that is wanted by name": "by_name()",
    "what an lru_cache holds": "remembered()",
    "a context variable": "CONTEXT.get()",
    "a thread's own": "LOCAL.factor",
    "an attribute of a library's module": "math.FACTOR",
    "an attribute of a library's class": "argparse.Action.FACTOR",
    "an entry of a library's dict": "sys.flagged['FACTOR']",
    "a property of the process": "float(sys.argv_factor)",
    "what a generator gives": "next(GIVEN)",
    "a descriptor of the class": "type(self).told",
}
IMPORTS = """
    import argparse, contextvars, functools, json, linecache, math, os, sys, threading
    from itertools import repeat
    from pathlib import Path
    from helper import between

    HERE = Path(__file__).parent
    FACTOR = float(os.environ["FACTOR"])
    CONTEXT = contextvars.ContextVar("factor", default=FACTOR)
    LOCAL = threading.local()
    LOCAL.factor = FACTOR
    GIVEN = repeat(FACTOR)

    def by_default(factor=float(os.environ["FACTOR"])):
        return factor

    def by_name(*, factor=float(os.environ["FACTOR"])):
        return factor

    @functools.lru_cache
    def remembered():
        return float(os.environ["FACTOR"])

    class Told:
        def __get__(self, owner, kind):
            return float(os.environ["FACTOR"])
"""


@pytest.fixture
def outside(suite, monkeypatch):
    """Sets everything outside the model that it might read."""

    def tell(factor):
        monkeypatch.setenv("FACTOR", str(factor))
        monkeypatch.setattr(math, "FACTOR", factor, raising=False)
        monkeypatch.setattr("argparse.Action.FACTOR", factor, raising=False)
        monkeypatch.setattr(sys, "flagged", {"FACTOR": factor}, raising=False)
        monkeypatch.setattr(sys, "argv_factor", factor, raising=False)
        suite.write("told.json", f'{{"factor": {factor}}}')
        suite.write("told.txt", f"{factor}\n")
        sys.modules["linecache"].clearcache()

    tell(1)
    return tell


def test_what_is_unchanged_is_answered(suite, modelled, outside):
    """Whatever the model reads, as long as it reads the same."""
    modelled(
        " + ".join(["x", *(f"0 * {told}" for told in FROM_OUTSIDE.values())]),
        IMPORTS,
        "told = Told()",
    )
    assert outcome(suite) == ("passed", False)
    assert outcome(suite) == ("passed", True)


@pytest.mark.parametrize("told", FROM_OUTSIDE.values(), ids=FROM_OUTSIDE)
def test_state_from_outside(suite, modelled, outside, told):
    """Whatever a model reads from elsewhere is part of the model, as far as its answers show."""
    modelled(f"between(x, {told})", IMPORTS, body="told = Told()")
    seen(suite, lambda: outside(30))


EDITS = {
    "a partial": ("told = functools.partial(between, factor=FACTOR)", "helper.told(x)"),
    "a bound method": (
        "class Way:\n    factor = FACTOR\n    def go(self, x): return between(x, self.factor)\n"
        "told = Way().go",
        "helper.told(x)",
    ),
    "a decorated function": (
        "def scaled(f):\n    def inner(x): return f(x, FACTOR)\n    return inner\n"
        "told = scaled(between)",
        "helper.told(x)",
    ),
    "an object's own __call__": (
        "class Way:\n    def __call__(self, x): return between(x, FACTOR)\ntold = Way()",
        "helper.told(x)",
    ),
    "a module by getattr": ("def told(x): return between(x, FACTOR)", "getattr(helper, 'told')(x)"),
    "a module in a dict": (
        "def told(x): return between(x, FACTOR)",
        "{'way': helper}['way'].told(x)",
    ),
    "a module by its name": (
        "def told(x): return between(x, FACTOR)",
        "importlib.import_module('hel' + 'per').told(x)",
    ),
    "an enum's method": (
        "class Way(enum.Enum):\n    A = 1\n    def go(self, x): return between(x, FACTOR)",
        "helper.Way.A.go(x)",
    ),
    "a named tuple's method": (
        "class Way(typing.NamedTuple):\n    a: int = 1\n"
        "    def go(self, x): return between(x, FACTOR)",
        "helper.Way().go(x)",
    ),
    "a dict's method": (
        "class Way(dict):\n    def go(self, x): return between(x, FACTOR)\nway = Way()",
        "helper.way.go(x)",
    ),
    "a list's item": (
        "class Way(list):\n    def __getitem__(self, at): return FACTOR\nway = Way()",
        "helper.between(x, helper.way[0])",
    ),
    "a static method": (
        "class Way:\n    @staticmethod\n    def go(x): return between(x, FACTOR)",
        "helper.Way.go(x)",
    ),
    "a partial method": (
        "class Way:\n    def f(self, factor, x): return between(x, factor)\n"
        "    go = functools.partialmethod(f, FACTOR)",
        "helper.Way().go(x)",
    ),
    "a metaclass": (
        "class Meta(type):\n    @property\n    def factor(cls): return FACTOR\n"
        "class Way(metaclass=Meta): pass",
        "helper.between(x, helper.Way.factor)",
    ),
    "a function's attribute": (
        "between.factor = FACTOR",
        "helper.between(x, helper.between.factor)",
    ),
    "a simple namespace": (
        "told = types.SimpleNamespace(factor=FACTOR)",
        "helper.between(x, helper.told.factor)",
    ),
    "an argparse namespace": (
        "told = argparse.Namespace(factor=FACTOR)",
        "helper.between(x, helper.told.factor)",
    ),
    "a dataclass with slots": (
        "@dataclasses.dataclass(slots=True)\nclass Told:\n    factor: float = FACTOR\n"
        "told = Told()",
        "helper.between(x, helper.told.factor)",
    ),
    "code in a text": (
        "told = eval(f'lambda x: between(x, {FACTOR})')",
        "helper.told(x)",
    ),
    "a module's own __getattr__": (
        "def __getattr__(name):\n    return FACTOR",
        "helper.between(x, helper.factor_of_today)",
    ),
}


@pytest.mark.parametrize(("more", "answer"), EDITS.values(), ids=EDITS)
def test_edits_of_code(suite, modelled, more, answer):
    """An edit of another file is seen by what it does, however the model reaches that file."""
    modelled(answer, "import importlib\nimport helper".replace("\n", "\n    "))
    head = "import argparse, dataclasses, enum, functools, types, typing\n"
    text = head + dedent(HELPER) + more + "\n"

    def write(text):
        suite.write("helper.py", text)

    write(text)
    seen(suite, lambda: write(text.replace("FACTOR = 1 ", "FACTOR = 30 ")))


HELD = {
    "an object of the class": ("way = helper.Way()", "self.way(x)"),
    "a class of the class": ("way = helper.Way", "self.way()(x)"),
    "a module of the class": ("way = helper", "self.way.Way()(x)"),
    "a relative import": ("pass", "__import__('inner.far').far.Way()(x)"),
    "a decorated forward": (
        "pass\n\n        @helper.before\n        def answered(self, x):\n            return x",
        "self.answered(x)",
    ),
    "a patched method": (
        "pass\n\n        def answered(self, x):\n            return x",
        "self.answered(x)",
    ),
}


@pytest.mark.parametrize(("body", "answer"), HELD.values(), ids=HELD)
def test_what_the_class_holds(suite, modelled, body, answer):
    """What hangs on the model's class, or is put there from another file, is no hiding place."""
    more = """
    class Way:
        def __call__(self, x):
            return between(x, FACTOR)

    def before(method):
        def inner(self, x):
            return Way()(method(self, x))
        return inner

    def patched(cls):
        if hasattr(cls, "answered"):
            cls.answered = lambda self, x: Way()(x)
    """
    setup = "helper.patched(Between)" if body.startswith("pass\n\n        def") else "pass"
    modelled(answer, "import helper", body, setup)
    (suite.path / "inner").mkdir()
    suite.write("inner/__init__.py", "")
    suite.write(
        "inner/far.py",
        "class Way:\n    def __call__(self, x):\n"
        "        from .near import go\n        return go(x)\n",
    )
    suite.write("inner/near.py", "from helper import Way\ndef go(x):\n    return Way()(x)\n")
    text = dedent(HELPER) + dedent(more)
    suite.write("helper.py", text)
    seen(suite, lambda: suite.write("helper.py", text.replace("FACTOR = 1 ", "FACTOR = 30 ")))


@pytest.mark.parametrize("folder", ["site-packages", "dist-packages"])
def test_another_version_of_a_library(suite, modelled, monkeypatch, folder):
    """A package that was installed anew, the user's own among them, is asked like any code."""
    modelled("installed.told(x)", "import installed")
    place = suite.path / "lib" / folder / "installed"
    place.mkdir(parents=True)
    monkeypatch.syspath_prepend(place.parent)
    text = dedent(HELPER) + "def told(x):\n    return between(x, FACTOR)\n"
    (place / "__init__.py").write_text(text)

    def upgrade():
        (place / "__init__.py").write_text(text.replace("FACTOR = 1 ", "FACTOR = 30 "))

    seen(suite, upgrade)


@pytest.mark.parametrize(
    "filter",
    [
        pytest.param("Way()", id="an object"),
        pytest.param("Way().__call__", id="a method"),
        pytest.param("lambda x: Way()(x)", id="a function"),
        pytest.param("Module()", id="a module"),
    ],
)
@pytest.mark.parametrize("threat", ["white-box", "gray-box", "black-box"])
def test_a_filter(suite, outside, filter, threat):
    """The filter alone changed, under every threat."""
    suite.conftest(f"""
        from pathlib import Path
        from helper import between

        class Way:
            def __call__(self, x):
                return between(x, float(Path(__file__).with_name("told.txt").read_text()))

        class Module(nn.Module):
            def forward(self, x):
                return Way()(x)

        @pytest.fixture(scope="session")
        def aerobust_filter():
            return {filter}
    """)
    suite.write("helper.py", dedent(HELPER))
    attack = '"square", steps=60' if threat == "black-box" else '"bim"'
    suite.tests(f"""
        @robust({attack}, eps=0.02, min_acc=0.9, threat="{threat}", waive={{"noise": "cheap"}})
        def test_it():
            pass
    """)
    seen(suite, lambda: outside(30))


def test_gradients_alone(suite, outside):
    """Where the attack followed gradients, other gradients are another model."""
    suite.conftest("""
        from pathlib import Path

        class Way(torch.autograd.Function):
            @staticmethod
            def forward(ctx, x):
                ctx.save_for_backward(x)
                return x.clone()

            @staticmethod
            def backward(ctx, gradient):
                (x,) = ctx.saved_tensors
                factor = float(Path(__file__).with_name("told.txt").read_text())
                off = (x * 20 - (x * 20).round()).abs() > 1e-3
                return torch.where(off, gradient * factor, gradient)

        class Masked(Border):
            def forward(self, x):
                return super().forward(Way.apply(x))

        @pytest.fixture(scope="session")
        def aerobust_model():
            return Masked()
    """)
    suite.tests(CONTRACT)
    assert outcome(suite) == ("passed", False)
    assert outcome(suite) == ("passed", True)
    outside(0)
    assert outcome(suite)[1] is False


def test_one_class_alone(suite, modelled, outside):
    """A change that concerns the inputs of one class only is seen."""
    modelled(
        "torch.where(x < 0.5, between(x, float(os.environ['FACTOR'])), x)",
        "import os\n    from helper import between",
    )
    seen(suite, lambda: outside(30))


@pytest.mark.parametrize(
    "mark",
    [
        '"fgsm", eps=epsilons(0.005, 0.02), min_acc=0.9',
        '"bim", eps=0.02, vary={"steps": st.integers(5, 7)}, min_acc=0.9',
        '"boundary", eps=0.02, steps=60, min_acc=0.9',
        '"deepfool", eps=0.02, min_acc=0.9, norm="linf"',
        '"worst-case", eps=0.02, min_acc=0.9',
        '"bim", eps=0.02, min_acc=0.9, target=1',
        '"bim", eps=0.02, min_acc=0.9, eot=2',
    ],
)
def test_whatever_is_kept(suite, modelled, outside, mark):
    """Budgets and draws of Hypothesis, attacks of Foolbox's own, targets, random answers."""
    modelled("between(x, float(os.environ['FACTOR']))", "import os\n    from helper import between")
    suite.tests(f"""
        from hypothesis import strategies as st

        @robust({mark})
        def test_it():
            pass
    """)
    assert outcome(suite) == ("passed", False)
    assert outcome(suite) == ("passed", True)
    outside(30)
    assert outcome(suite) == ("failed", False)


@pytest.mark.parametrize(
    "mark",
    ['"bim", eps=0, min_acc=0.95', '"bim", eps=0.02, min_clean_acc=0.95'],
)
@pytest.mark.parametrize(
    "wrong",
    [
        pytest.param("((z > 0.48) & (z < 0.72))[:, None]", id="a tenth of the samples"),
        pytest.param("torch.tensor(len(x) > 200)", id="large batches"),
    ],
)
def test_floors_that_rest_on_clean_answers(suite, monkeypatch, mark, wrong):
    """They are held against what the model says to the samples today, in batches as large."""
    suite.conftest(f"""
        import os

        class Wrong(Border):
            def forward(self, x):
                logits, z = super().forward(x), (x - 0.5).sum(dim=1)
                return torch.where({wrong}, -logits, logits) if "WRONG" in os.environ else logits

        @pytest.fixture(scope="session")
        def aerobust_model():
            return Wrong()

        @pytest.fixture(scope="session")
        def aerobust_data(many):
            return many
    """)
    suite.tests(f"""
        @robust({mark})
        def test_it():
            pass
    """)
    assert outcome(suite) == ("passed", False)
    assert outcome(suite) == ("passed", True)
    monkeypatch.setenv("WRONG", "1")
    verdict, cached = outcome(suite)
    assert verdict != "passed"
    assert not cached


def test_a_model_with_a_memory_is_not_kept(suite):
    """Who answers the same question otherwise later on can't be known again: measured each time."""
    suite.conftest("""
        CALLS = []

        class Tiring(Border):
            def forward(self, x):
                CALLS.append(1)
                off = (x * 20 - (x * 20).round()).abs() > 1e-3
                return super().forward(torch.where(off, x + len(CALLS) * 1e-4, x))

        @pytest.fixture(scope="session")
        def aerobust_model():
            return Tiring()
    """)
    suite.tests(CONTRACT)
    for _ in range(2):
        assert outcome(suite)[1] is False
