"""What tests are called in whatever outlives a run: the same from wherever pytest is started."""

import os
from pathlib import Path
from typing import Any

import pytest


def lasting_name(node: pytest.Item | pytest.Collector, root: Path) -> str:
    """A node's id, with its file told from a folder that no command line moves.

    Pytest tells it from its rootdir, which ``--rootdir`` moves. A file outside of that it tells
    from the argument that led there, so that two files may have one id.

    Args:
        node: A test, class or file.
        root: The folder, `Settings.root`.
    """
    _, separator, inside = node.nodeid.partition("::")
    return f"{Path(os.path.relpath(node.path, root)).as_posix()}{separator}{inside}"


def name_of(report: Any) -> str:
    """What a report's test is called; pytest's id where no process lived to name it."""
    name: str = getattr(report, "aerobust_contract", report.nodeid)
    return name


def ini_of(config: pytest.Config) -> Path | None:
    """The ini file that a run reads; with `-c /dev/null` it reads none."""
    ini = config.inipath
    return ini if ini is not None and ini.is_file() else None


def home(ini: Path | None, rootdir: Path) -> Path:
    """The folder that tests are named from, and that the ini file's paths are relative to.

    Args:
        ini: What pytest reads, if anything.
        rootdir: Pytest's root folder.
    """
    return rootdir if ini is None else ini.parent


def ini_in(folder: Path) -> Path | None:
    """The ini file that pytest reads when it is started in a folder, unless it lies above.

    Args:
        folder: Its absolute path, without a step up in it.

    Raises:
        pytest.UsageError: One that can't be read.
    """
    # Nothing public says which of several files counts.
    from _pytest.config.findpaths import locate_config

    found, ini, *_ = locate_config(folder, [folder])
    return ini if found == folder else None
