"""Whether a run picks tests out, and by whose options."""

import argparse
import os
import shlex
from pathlib import Path
from typing import Any

import pytest

from pytest_aerobust.private import command_line_actions


def whole_places(config: pytest.Config) -> tuple[Path, ...]:
    """Files and folders whose tests this run collects all of; none where it picks some out."""
    option = config.option
    chosen = (option.keyword, option.markexpr, option.deselect, option.ignore, option.ignore_glob)
    remembered = (getattr(option, name, False) for name in ("lf", "stepwise"))
    if any(chosen) or any(remembered):
        return ()
    start = config.invocation_params.dir
    return tuple((start / arg).resolve() for arg in config.args if "::" not in arg)


def options_of_conftests(config: pytest.Config) -> list[str]:
    """Names of the options that the suite's own conftests added and this run was given."""
    # Parsed before any conftest is read, so it holds what plugins added, and no more.
    of_plugins = vars(config.known_args_namespace)
    return [name for name in _given(config) if name not in of_plugins]


class _Noted(argparse.Action):
    """Notes that its option is there, and converts nothing."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: Any = None) -> None:
        setattr(namespace, self.dest, True)


def _given(config: pytest.Config) -> list[str]:
    """Names of the options that somebody gave to this one run.

    Values say nothing: they may know no equality, and converting a default anew may fail, or read
    a file. What the ini file's `addopts` gives doesn't count: every run has it, so it chooses
    nothing that another run would have, and whoever has one there could never prune.
    """
    reader = argparse.ArgumentParser(add_help=False, allow_abbrev=False, fromfile_prefix_chars="@")
    for action in command_line_actions(config):
        if action.option_strings:
            reader.add_argument(
                *action.option_strings,
                dest=action.dest,
                nargs=action.nargs,
                action=_Noted,
                default=argparse.SUPPRESS,
            )
    of_shell = shlex.split(os.environ.get("PYTEST_ADDOPTS", ""))
    told = [*of_shell, *map(os.fspath, config.invocation_params.args)]
    return [*vars(reader.parse_known_args(told)[0])]


def selects_tests(config: pytest.Config) -> bool:
    """Whether the command line runs only a part of the suite, so that finding nothing is fine."""
    option = config.option
    chosen = (option.keyword, option.markexpr, option.deselect)
    remembered = (getattr(option, name, False) for name in ("lf", "stepwise"))
    if any(chosen) or any(remembered):
        return True
    # aerobust = true in the ini file must not fail a run of one unrelated file.
    by_path = config.args_source is pytest.Config.ArgsSource.ARGS
    return by_path and config.getoption("aerobust") is None
