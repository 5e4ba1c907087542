"""What a model is known by: the same in every process, another wherever something differs."""

import functools
import importlib
import subprocess
import sys
import textwrap

import numpy as np
import pytest
import torch
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from torch import nn

from pytest_aerobust.history.identity import Identity, NotFollowedError

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
        from pytest_aerobust.history.identity import Identity
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
