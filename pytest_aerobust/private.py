"""What pytest and Hypothesis do not promise, in one place: here it breaks, if it breaks."""

import argparse
from collections.abc import Callable, Sequence
from typing import Any

import pytest

# Where Hypothesis keeps what its decorator `seed` was given.
_SEED = "_hypothesis_internal_use_seed"


def fixture_definitions(node: pytest.Item | pytest.Collector, name: str) -> Sequence[Any]:
    """The definitions of a fixture that a node sees, the one that it gets last."""
    definitions = node.session._fixturemanager.getfixturedefs(name, node)
    return definitions or ()


def request_fixture(metafunc: pytest.Metafunc, name: str, definitions: Sequence[Any]) -> None:
    """Let a test be multiplied by a fixture that it asks for while it runs."""
    metafunc.fixturenames.append(name)
    metafunc._arg2fixturedefs[name] = definitions


def command_line_actions(config: pytest.Config) -> Sequence[argparse.Action]:
    """All that the command line may hold, by whomever it was added."""
    return config._parser.optparser._actions


def taken_seed(function: Callable[..., Any]) -> object:
    """What `@hypothesis.seed` gave to a function, which is rid of it unless Hypothesis runs it.

    Without `@given` Hypothesis would refuse it.
    """
    if not hasattr(function, _SEED):
        return None
    seed = getattr(function, _SEED)
    if not getattr(function, "is_hypothesis_test", False):
        delattr(function, _SEED)
    return seed


def forced_seed() -> object:
    """What ``--hypothesis-seed`` says; None where it says nothing."""
    import hypothesis

    return hypothesis.core.global_force_seed
