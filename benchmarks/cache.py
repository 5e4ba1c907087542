"""What an unchanged contract costs in the second run, against the first.

Run as ``python benchmarks/cache.py``. One contract on MNIST is proved by a session with an empty
cache, and again by a new session that finds what the first one left: everything after imports
and fixtures, from reading the data to the verdict. Each round starts with an empty folder.
"""

import statistics
import tempfile
import time
from pathlib import Path

from models import EPS, robust, test_images, undefended
from torch import nn

from pytest_aerobust.contract import Contract, cases
from pytest_aerobust.history.cache import Cache
from pytest_aerobust.judged import Judged
from pytest_aerobust.session import Parts, Session
from pytest_aerobust.settings import Settings

ROUNDS = 3
FLOOR = 0.8


def proved(contract: Contract, model: nn.Module, images: int, folder: Path) -> tuple[float, Judged]:
    """Seconds of one run's part of the work, and what came of it."""
    parts = Parts(model, test_images(images), None, (0, 1), None)
    session = Session(Settings(enabled=True), cache=Cache(folder))
    started = time.perf_counter()
    judged = session.guard(contract, parts, "test_benchmark.py::test_it").check()
    return time.perf_counter() - started, judged


def compare(name: str, model: nn.Module, attack: str, images: int) -> None:
    (case,) = cases(attack, EPS, min_acc=FLOOR)
    pairs = []
    for _ in range(ROUNDS):
        with tempfile.TemporaryDirectory() as folder:
            first, before = proved(case.contract, model, images, Path(folder))
            again, after = proved(case.contract, model, images, Path(folder))
        if not after.evaluation.cached or before.words != after.words:
            raise SystemExit("the second run was not answered from the cache, or otherwise")
        pairs.append((first, again))
    ratios = sorted(first / again for first, again in pairs)
    first, again = (statistics.median(times) for times in zip(*pairs, strict=True))
    print(
        f"{name}, {attack}, {images} images: {before.verdict.outcome}, {first:.2f} s, then "
        f"{1000 * again:.0f} ms: {statistics.median(ratios):.0f}x "
        f"({ratios[0]:.0f}..{ratios[-1]:.0f})"
    )


if __name__ == "__main__":
    compare("adversarially trained convnet", robust(), "bim", 1000)
    compare("adversarially trained convnet", robust(), "bim", 10_000)
    compare("adversarially trained convnet", robust(), "pgd", 1000)
    compare("undefended convnet", undefended(), "bim", 1000)
