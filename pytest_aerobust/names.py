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
