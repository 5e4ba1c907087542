"""What the plugin keeps with a run and with an item, under pytest's keys."""

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pytest_aerobust.options.settings import Settings
    from pytest_aerobust.plugin.recorder import Recorder
    from pytest_aerobust.plugin.replayer import Replayer
    from pytest_aerobust.plugin.session import Session

SETTINGS: "pytest.StashKey[Settings]" = pytest.StashKey()
SESSION: "pytest.StashKey[Session]" = pytest.StashKey()
RECORDER: "pytest.StashKey[Recorder]" = pytest.StashKey()
REPLAYER: "pytest.StashKey[Replayer]" = pytest.StashKey()
OUTCOME: pytest.StashKey[dict[str, Any]] = pytest.StashKey()
PROPERTIES: pytest.StashKey[list[tuple[str, Any]]] = pytest.StashKey()
