"""Fixtures that pytest takes from a conftest of another root folder."""

from pathlib import Path
from typing import Any

import pytest

_CONFTEST = "conftest.py"


def stray_conftest(definition: Any, node: pytest.Item | pytest.Collector) -> Path | None:
    """The conftest that a fixture comes from, where it is of another root folder than the test.

    Pytest knows conftests by ids, which start at its rootdir. A folder outside of that, named on
    the command line beside the rootdir, gets the rootdir's own id: the fixtures of each of the two
    are then offered to the tests of both.

    Args:
        definition: Of the fixture that pytest would take.
        node: What asks for it.
    """
    code = getattr(definition.func, "__code__", None)
    file = Path(code.co_filename) if code else Path()
    # Pytest registers by their paths those that it finds itself; others somebody has imported.
    found = file.name == _CONFTEST and node.config.pluginmanager.has_plugin(str(file))
    inside = all(path.is_relative_to(node.config.rootpath) for path in (file, node.path))
    return file if found and not inside and not node.path.is_relative_to(file.parent) else None
