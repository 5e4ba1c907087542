"""Every known way in which a robustness test goes wrong is held by a test that names it.

A docstring names a line of the list below as `(BAD INPUTS 5.16)`, and only where the test shows
what must happen instead. The list: 1, false and accidental verdicts; 2, evidence to weigh before
a pass; 3, statistics; 4, files; 5, inputs.
"""

import ast
import re
from collections import defaultdict
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
NAMED = re.compile(r"BAD\s+INPUTS\s+([\d.,\s]*\d)")

LINES = {
    "1.1": "gradients vanish: large logits, rounding, logarithms of probabilities, detach",
    "1.2": "the filter met only examples that were crafted without it",
    "1.3": "settings too weak to cross the ball; strength is part of the result",
    "1.4": "budgets, steps and step sizes that attack nobody; eps in other units",
    "1.5": "logits that are NaN or infinite",
    "1.6": "one logit, a constant classifier, one class, a floor that chance holds",
    "1.7": "a target for an attack that ignores it",
    "1.8": "the plugin is missing or off",
    "1.9": "python -O strips assertions",
    "1.10": "a cache keyed by too little",
    "1.11": "a raw result inside the ball is lost by clipping",
    "1.12": "scikit-learn by estimated gradients in place of exact ones",
    "1.13": "a random model or filter",
    "1.14": "train mode, also of a submodule; gradients left behind",
    "1.15": "an attack that answers with NaN",
    "1.16": "accuracies compared as floats",
    "1.17": "a bare assertion of Foolbox that looks like a verdict",
    "1.18": "one sample without a starting point ends the batch",
    "1.19": "deadlines of Hypothesis and unseeded generators",
    "2.1": "the same input is answered in two ways",
    "2.2": "outputs are no logits",
    "2.3": "clean accuracy: one predicted class, at or below the majority, below the floor",
    "2.4": "gradients of the loss are zero or not finite",
    "2.5": "steps times step size against eps",
    "2.6": "the whole range as budget leaves survivors",
    "2.7": "a larger budget leaves more survivors",
    "2.8": "one step, or noise, beats more than many steps",
    "2.9": "success at any iterate counts",
    "2.10": "twice the steps change the accuracy; the loss does not move",
    "2.11": "transferred or black-box examples beat white-box ones",
    "2.12": "the binarisation test",
    "3.1": "a share of the samples at hand told as one of the population",
    "3.2": "few samples",
    "3.3": "decided early: failed one witness too soon, passed before all have faced all of it",
    "3.4": "a pass because time ran out",
    "3.5": "the best of several seeds in place of their union",
    "4.1": "checkpoints that run code, are fetched, or changed since they were written",
    "4.2": "scikit-learn models that run code",
    "4.3": "files of results: unpickled, half written, of another schema, too large, elsewhere",
    "4.4": "HTML that executes what it shows",
    "5.1": "inputs outside the bounds",
    "5.2": "inputs that are NaN or infinite",
    "5.3": "a range far smaller than the bounds",
    "5.4": "inputs of whole numbers",
    "5.5": "float64, numpy, non-contiguous inputs, inputs that require gradients",
    "5.6": "no samples",
    "5.7": "no batch dimension; channels last",
    "5.8": "labels of any whole type, one-hot labels, float labels",
    "5.9": "too many or too few labels, labels beyond the classes or below 0",
    "5.10": "shuffled labels",
    "5.11": "budgets that are no radius; eps of 0; eps beyond the range",
    "5.12": "floors in percent; floors that chance holds",
    "5.13": "misspelt arguments, attacks, norms and threats",
    "5.14": "bounds reversed, equal or NaN",
    "5.15": "a tuple or a dict as output",
    "5.16": "an output of shape (N,) or (N, 1)",
    "5.17": "NaN on clean inputs, and on attacked ones alone",
    "5.18": "a forward that raises; a fixture that raises",
    "5.19": "a model without gradients",
    "5.20": "an outer no_grad or inference_mode, python -O, -W error",
    "5.21": "an optional package is missing",
    "5.22": "checkpoints: truncated, empty, a pointer, a web page, hostile, from a GPU",
    "5.23": "a prefix in the names of weights",
    "5.24": "classes that aren't 0 to K-1",
    "5.25": "a count exactly at the floor",
    "5.26": "mark-up in a test id or a class name",
    "5.27": "a filter that changes shape or dtype, or leaves the bounds",
    "5.28": "killed while writing; two writers",
}

# What this version has not built can't go wrong yet; whoever builds it moves the line out of here.
LATER = {}


def named_lines(source: str) -> dict[str, list[str]]:
    """Tests by the lines that their docstrings name."""
    found = defaultdict(list)
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
            for lines in NAMED.findall(ast.get_docstring(node) or ""):
                for line in re.split(r",\s*", lines):
                    found[line].append(node.name)
    return found


@pytest.fixture(scope="module")
def named():
    """All tests of the project by the lines that they name."""
    found = defaultdict(list)
    for path in TESTS.rglob("test_*.py"):
        for line, tests in named_lines(path.read_text(encoding="utf-8")).items():
            found[line] += tests
    return found


@pytest.mark.parametrize("line", [line for line in LINES if line not in LATER])
def test_a_test_names_it(line, named):
    """Each line that this version must hold is named by a test."""
    assert named[line], f"no test names BAD INPUTS {line}: {LINES[line]}"


def test_no_test_names_what_is_not_there(named):
    """A docstring names lines of the list alone, and none that nothing has been built for."""
    assert set(named) <= LINES.keys() - LATER.keys()


def test_the_reading_of_docstrings_can_fail():
    """Only tests' docstrings count, with one line or several in the brackets."""
    source = '''
def test_one():
    """Held (BAD INPUTS 5.1)."""

def test_several():
    """Held, too (BAD INPUTS 5.1,
    1.19).
    """

def helper():
    """Names one (BAD INPUTS 5.2)."""

def test_none():
    x = "BAD INPUTS 5.3"
'''
    assert named_lines(source) == {"5.1": ["test_one", "test_several"], "1.19": ["test_several"]}
