"""Fixtures for all tests: the plugin driver, the real MNIST, and global state held still."""

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

pytest_plugins = ["pytester"]
# A suite by itself, copied and run by plugin/test_files_of_before.py.
collect_ignore = ["before"]

# The tensors of tests are small: more threads only wait for each other, and under xdist they
# wait for the other worker's too.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# No property fails because a machine is slow or busy. The name stays: a profile of the user's own
# would tell the plugin how many budgets to draw.
settings.register_profile("default", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("default")

# Where CI is set, pytest repeats whole messages in its summary, and inner runs would inherit it;
# nor should they write on the page of a real job, or in colours.
for _name in ("CI", "BUILD_NUMBER", "GITHUB_STEP_SUMMARY", "FORCE_COLOR", "PY_COLORS"):
    os.environ.pop(_name, None)

_SHARED = Path(__file__).parents[1] / ".." / "shared" / "data"
if "AEROBUST_DATA_DIR" not in os.environ and _SHARED.is_dir():
    os.environ["AEROBUST_DATA_DIR"] = str(_SHARED.resolve())


def pytest_collection_modifyitems(items):
    """The longest come first: the worker that got them last would let the other one wait."""
    items.sort(key=lambda item: item.path.name != "test_examples.py")


@pytest.fixture(scope="session")
def mnist():
    """Test images (10000, 1, 28, 28) in [0, 1] and labels of the real MNIST."""
    from lightning_modules.datasets import MNIST
    from lightning_modules.errors import SourceAbsentError

    try:
        data = MNIST()
        data.prepare_data()
        return data.test_arrays()
    except SourceAbsentError as error:
        pytest.skip(f"no MNIST here: {error}")
