"""What a model is known by: the same in every process, another wherever something differs."""

import functools
import importlib
import subprocess
import sys
import textwrap
import time
import tracemalloc
import types

import numpy as np
import pytest
import torch
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from torch import nn

from pytest_aerobust.history.cache.identity import Identity, NotFollowedError, TooLongError

SCALE = 2.0


class Scaled(nn.Module):
    def __init__(self, scale=1.0, names=("a", "b")):
        super().__init__()
        self.layer = nn.Linear(2, 2)
        self.scale, self.names = scale, names
        with torch.no_grad():
            self.layer.weight.fill_(0.5)
            self.layer.bias.zero_()

    def forward(self, x):
        return self.scale * self.layer(x)


class Doubled(Scaled):
    def forward(self, x):
        return 2 * super().forward(x)


def digest(*values):
    identity = Identity()
    identity.add(list(values))
    return identity.digest


def changed(model, change):
    change(model)
    return model


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(lambda: Scaled(scale=1.5), id="a number"),
        pytest.param(lambda: Scaled(names=("a", "c")), id="a text in a tuple"),
        pytest.param(lambda: Doubled(), id="the class"),
        pytest.param(lambda: Scaled().double(), id="the precision"),
        pytest.param(lambda: Scaled().eval(), id="the mode"),
        pytest.param(
            lambda: changed(Scaled(), lambda m: m.layer.weight.data[0].add_(1e-6)), id="a weight"
        ),
        pytest.param(
            lambda: changed(Scaled(), lambda m: m.register_buffer("b", torch.ones(1))),
            id="a buffer",
        ),
        pytest.param(
            lambda: changed(Scaled(), lambda m: m.register_forward_hook(lambda *a: None)),
            id="a hook",
        ),
        pytest.param(
            lambda: changed(Scaled(), lambda m: setattr(m, "extra", np.arange(3))), id="an array"
        ),
    ],
)
def test_whatever_differs_is_seen(other):
    """Two models alike have one digest; one that differs anywhere has another."""
    assert digest(Scaled()) == digest(Scaled())
    assert digest(other()) != digest(Scaled())


def by(factor):
    return lambda x: factor * x


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (by(2), by(3)),
        (functools.partial(torch.mul, other=2), functools.partial(torch.mul, other=3)),
        (lambda x: x + 1, lambda x: x + 2),
        (Scaled(1.0).forward, Scaled(2.0).forward),
        ({"a": [1]}, {"a": [2]}),
        ([1, True], [True, 1]),
        ({1, 2}, {1, 3}),
    ],
)
def test_functions_and_values(one, other):
    """Functions are known by their code and by what they close over."""
    assert digest(one) != digest(other)
    assert digest(one) == digest(one)


def test_a_global_that_a_function_names(monkeypatch):
    """A number that stands beside the function is part of it."""
    before = digest(scaled_by_global)
    monkeypatch.setattr(sys.modules[__name__], "SCALE", 3.0)
    assert digest(scaled_by_global) != before


def scaled_by_global(x):
    return SCALE * x


FILES = {
    "modelled": """
        import torch
        from torch import nn
        {imports}
        class Model(nn.Module):
            def forward(self, x):
                return {answer}
        def filtered(x):
            return {answer}
    """,
    "helpers": """
        import torch
        from deeper import LEVELS, rounded
        def guarded(x):
            return torch.where(x.std() > 0.4, rounded(x), x)
        class Rounded(torch.autograd.Function):
            @staticmethod
            def forward(ctx, x):
                return rounded(x)
    """,
    "deeper": """
        LEVELS = 4
        def rounded(x):
            return (x * LEVELS).round() / LEVELS
    """,
    "spaced/inner": """
        from deeper import rounded
        def guarded(x):
            return rounded(x)
    """,
    "apart": "UNUSED = 4",
}


@pytest.fixture
def modules(tmp_path, monkeypatch):
    """Gives model and filter of a few files, read anew, with texts replaced in one of them."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def forget():
        for name in (*FILES, "spaced"):
            sys.modules.pop(name.replace("/", "."), None)

    def read(imports, answer, file="deeper", old="", new=""):
        for name, text in FILES.items():
            if name == "modelled":
                text = text.format(imports=imports, answer=answer)
            told = text.replace(old, new) if name == file else text
            path = tmp_path / f"{name}.py"
            path.parent.mkdir(exist_ok=True)
            path.write_text(textwrap.dedent(told))
        forget()
        importlib.invalidate_caches()
        importlib.import_module("apart")
        read = importlib.import_module("modelled")
        importlib.import_module("helpers")
        return read

    yield read
    forget()


@pytest.mark.parametrize("part", ["Model", "filtered"])
@pytest.mark.parametrize(
    ("imports", "answer"),
    [
        pytest.param("from helpers import guarded", "guarded(x)", id="a function"),
        pytest.param("import helpers", "helpers.guarded(x)", id="by its module"),
        pytest.param("", "__import__('helpers') and helpers.guarded(x)", id="imported late"),
        pytest.param("from helpers import Rounded", "Rounded.apply(x)", id="a class"),
        pytest.param("from helpers import LEVELS", "x * LEVELS", id="a number"),
        pytest.param("import spaced.inner", "spaced.inner.guarded(x)", id="no __init__"),
        pytest.param("from spaced import inner as i", "i.guarded(x)", id="by another name"),
        pytest.param("from helpers import rounded", "[rounded(y) for y in x]", id="within a list"),
    ],
)
def test_code_of_other_files(modules, imports, answer, part):
    """What code names is followed from file to file, also where no clean answer shows it."""

    def told(**change):
        held = getattr(modules(imports, answer, **change), part)
        return digest(held() if part == "Model" else held)

    assert told() == told()
    assert told(file="deeper", old="4", new="8") != told()
    assert told(file="apart", old="4", new="8") == told()


def test_what_a_class_holds(monkeypatch):
    """A value of the class, set from outside its file, is part of the model."""
    before = digest(Scaled())
    monkeypatch.setattr(Scaled, "levels", 4, raising=False)
    assert digest(Scaled()) != before


def test_cycles_and_shared_parts():
    """An object that holds itself ends; one that is held twice is not two alike."""
    ring = []
    ring.append(ring)
    shared, twins = nn.Linear(2, 2), [nn.Linear(2, 2), nn.Linear(2, 2)]
    twins[1].load_state_dict(twins[0].state_dict())
    shared.load_state_dict(twins[0].state_dict())
    assert digest(ring)
    assert digest(shared, shared) != digest(*twins)


def test_what_can_not_be_followed():
    """An object with a state that Python does not show is refused, wherever it hides."""
    model = Scaled()
    model.forest = RandomForestClassifier(2).fit([[0], [1]], [0, 1])
    with pytest.raises(NotFollowedError, match="Tree"):
        digest(model)
    model.forest = (each for each in ())
    with pytest.raises(NotFollowedError, match="generator"):
        digest(model)


def test_estimators_of_plain_arrays():
    """A linear classifier of scikit-learn is known by its coefficients."""
    rows, labels = [[0.0], [1.0], [2.0]], [0, 1, 1]
    one, same, other = (LogisticRegression(C=c).fit(rows, labels) for c in (1.0, 1.0, 2.0))
    assert digest(one) == digest(same) != digest(other)


def test_another_process_says_the_same(tmp_path):
    """Neither addresses nor the seed of Python's hashes are in it; a changed file is."""
    script = """
        import torch
        from torch import nn
        from pytest_aerobust.history.cache.identity import Identity
        from modelled import Model
        torch.manual_seed(0)
        identity = Identity()
        identity.add([Model(), {"b", "a", "c"}])
        print(identity.digest)
    """
    code = """
        from torch import nn
        class Model(nn.Linear):
            def __init__(self):
                super().__init__(3, 2)
            def forward(self, x):
                return super().forward(x) * FACTOR
        FACTOR = 1
    """
    (tmp_path / "script.py").write_text(textwrap.dedent(script))
    said = []
    for factor, seed in (("1", "1"), ("1", "2"), ("2", "1")):
        text = textwrap.dedent(code).replace("FACTOR = 1", f"FACTOR = {factor}")
        (tmp_path / "modelled.py").write_text(text)
        result = subprocess.run(
            [sys.executable, "script.py"],
            cwd=tmp_path,
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": str(tmp_path), "PATH": ""},
            capture_output=True,
            text=True,
            check=True,
        )
        said.append(result.stdout)
    assert said[0] == said[1] != said[2]


ORDERS = """
    import enum
    import textwrap

    import torch
    from torch import nn

    from pytest_aerobust.history.cache.identity import Identity

    class Marked:
        pass

    class Option(enum.Enum):
        ONE = Marked()

    names = [f"name_{number}" for number in range(9)]
    for name in set(names):
        setattr(Marked, name, [name])
    attributes = nn.Identity()
    for name in set(names):
        setattr(attributes, name, name)
    compiled = torch.compile(nn.Identity(), backend="eager")
    assert "_torchdynamo_wrapper_id" in vars(compiled)
    held = {
        "sets": {frozenset(names[: number + 1]) for number in range(9)},
        "pairs": {(frozenset(names[: number + 1]), number) for number in range(9)},
        "functions": {textwrap.dedent, textwrap.fill, textwrap.indent, textwrap.wrap},
        "classes": {nn.ReLU, nn.GELU, nn.Tanh, nn.Module, nn.Linear, Marked},
        "values of a class": Marked,
        "attributes": attributes,
        "enumeration": Option.ONE,
        "compiled": compiled,
    }
    for name, value in held.items():
        identity = Identity()
        identity.add(value)
        print(name, identity.digest)
"""


def test_no_order_of_sets_and_no_address_is_in_it(tmp_path):
    """What Python and torch hold in another order in each process, or at another place."""
    (tmp_path / "script.py").write_text(textwrap.dedent(ORDERS))
    said = []
    for seed in ("1", "2"):
        result = subprocess.run(
            [sys.executable, "script.py"],
            cwd=tmp_path,
            env={"PYTHONHASHSEED": seed, "PATH": ""},
            capture_output=True,
            text=True,
            check=True,
        )
        said.append(result.stdout.splitlines())
    assert said[0] == said[1]


def test_long_bytes_are_hashed_where_they_lie():
    """Their text would be four times as long, and take longer than following may."""
    long = bytes(10_000_000)
    tracemalloc.start()
    try:
        digest(long)
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()
    assert digest(long) != digest(long[:-1] + b"1")


def half_made():
    """A function that names what is bound only after it was handed out, or never."""

    def inner(x):
        return missing * x

    if x_is_known():
        missing = 2
    return inner


def x_is_known():
    return False


def deleted():
    held = [1]

    def inner(x):
        return held, x  # noqa: F821  # that is the point

    del held
    return inner


def itself():
    def inner(x):
        return inner(x)

    return inner


@pytest.mark.parametrize("function", [half_made(), deleted(), itself()])
def test_a_closure_with_an_empty_cell(function):
    """A name that a closure reaches for and that nobody has bound is no content, and no error."""
    assert digest(function) == digest(function)


def test_an_empty_cell_that_is_filled():
    """A name that is bound by now is another one's content."""
    cell = types.CellType()

    def like(x):
        return cell, x

    made = types.FunctionType(like.__code__, globals(), "like", None, (cell,))
    before = digest(made)
    cell.cell_contents = 3
    assert digest(made) != before


class Touchy:
    def __repr__(self):
        raise ZeroDivisionError("do not look at me")


class Dictless:
    __slots__ = ("held",)


@pytest.mark.parametrize(
    "held",
    [
        pytest.param({Touchy()}, id="a set that can't be told"),
        pytest.param(functools.reduce(lambda inner, _: [inner], range(100_000), []), id="depth"),
        pytest.param(Dictless(), id="slots"),
        pytest.param(iter([1]), id="an iterator"),
    ],
)
def test_what_breaks_when_it_is_looked_at(held):
    """It can't be followed, in words; no error of ours ends a test."""
    model = Scaled()
    model.held = held
    with pytest.raises(NotFollowedError):
        digest(model)


def test_following_ends_in_time():
    """Beyond its seconds it gives up; the contents of weights don't count."""
    table = [(number,) for number in range(200_000)]
    identity = Identity(seconds=0.05)
    with pytest.raises(TooLongError, match=r"in 0\.1 s"):
        identity.add(table)
    assert identity.spent < 1
    large = [torch.zeros(40_000_000), np.zeros(20_000_000)]
    weights, started = Identity(), time.perf_counter()
    weights.add(large)
    assert weights.spent < (time.perf_counter() - started) / 2


@pytest.mark.parametrize(
    ("place", "followed"),
    [
        ("lib/python3.11/site-packages", False),
        ("usr/lib/python3/dist-packages", False),
        ("env/site-packages/inner", False),
        ("src", True),
        ("my-site-packages", True),
    ],
)
def test_libraries_are_known_by_their_folder(tmp_path, monkeypatch, place, followed):
    """A folder called site-packages or dist-packages holds libraries, wherever it lies."""
    folder = tmp_path / place
    folder.mkdir(parents=True)
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    seen = set()
    for factor in (2, 33):
        (folder / "brought.py").write_text(f"FACTOR = {factor}\ndef told(x): return FACTOR * x\n")
        monkeypatch.delitem(sys.modules, "brought", raising=False)
        importlib.invalidate_caches()
        brought = importlib.import_module("brought")
        scope = {"brought": brought, "__name__": __name__}
        seen.add(digest(types.FunctionType(names_a_library.__code__, scope)))
    monkeypatch.delitem(sys.modules, "brought")
    assert len(seen) == (2 if followed else 1)


def names_a_library(x):
    return brought.told(x)  # noqa: F821  # given with its globals
