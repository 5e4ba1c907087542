"""Where a failure is said to be, for whoever marks lines: annotations, editors, ``--tb=line``."""

from pathlib import Path
from typing import Any

import pytest

_OWN = Path(__file__).parents[1]


def point_at_test(report: Any, item: pytest.Item) -> None:
    """Move a failure that was raised in this package to the first line of its test.

    The check of a contract runs after the body, so no frame of the test is in its traceback.
    """
    crash = getattr(report.longrepr, "reprcrash", None)
    if crash is None or not Path(crash.path).is_relative_to(_OWN):
        return
    path, line, _ = item.reportinfo()
    # In place: what crosses from xdist's workers is read from another list that holds it, too.
    crash.path, crash.lineno = str(path), (line or 0) + 1
