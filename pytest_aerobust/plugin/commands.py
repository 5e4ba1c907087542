"""What to run next, as a command from the folder in which pytest was started."""

import os
import shlex
from pathlib import Path

import pytest

from pytest_aerobust.names import home, ini_of
from pytest_aerobust.plugin.keys import SETTINGS


def rerun_command(item: pytest.Item) -> str:
    """The command for this test from the folder in which pytest was started."""
    _, _, rest = item.nodeid.partition("::")
    file = os.path.relpath(item.path, item.config.invocation_params.dir)
    return f"pytest {shlex.quote(f'{file}::{rest}')} {item.config.stash[SETTINGS].flags}"


def replay_command(item: pytest.Item, examples: Path | None) -> str | None:
    """The command for stored examples, likewise."""
    if examples is None:
        return None
    start = item.config.invocation_params.dir
    words = ["python", "-m", "pytest_aerobust", "replay", os.path.relpath(examples, start)]
    return shlex.join([*words, *_roots(item)])


def _roots(item: pytest.Item) -> list[str]:
    """What leads a replay to the ini file and root folder of this run; mostly nothing."""
    config, start = item.config, item.config.invocation_params.dir
    rootdir, ini, words = config.rootpath, ini_of(config), []
    # A replay runs no test from outside of its root folder and the one that it is started in.
    if ini and not any(item.path.is_relative_to(folder) for folder in (rootdir, start)):
        rootdir = Path(os.path.commonpath([rootdir, item.path]))
    usual = start
    if config.getoption("inifilename") or rootdir != home(ini, rootdir):
        words += ["-c", os.path.relpath(ini, start) if ini else os.devnull]
        usual = home(ini, start)
    return words if rootdir == usual else [*words, f"--rootdir={os.path.relpath(rootdir, start)}"]
