"""What an unchanged contract costs in the second run, against the first.

Run as ``python benchmarks/cache.py``. One contract on MNIST is proved by a process with an empty
cache, and again by a new process that finds what the first one left: everything after imports
and fixtures, from reading the data to the verdict. Each round starts with an empty folder.
"""

import multiprocessing
import statistics
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from models import EPS, robust, test_images, undefended
from torch import nn

from pytest_aerobust.contract import cases
from pytest_aerobust.history.cache import Cache
from pytest_aerobust.session import Parts, Session
from pytest_aerobust.settings import Settings

ROUNDS = 3
FLOOR = 0.8


def proved(attack: str, model: nn.Module, images: int, folder: Path) -> tuple[float, bool, str]:
    """Seconds of one run's part of the work, whether it was kept, and the verdict in words."""
    (case,) = cases(attack, EPS, min_acc=FLOOR)
    parts = Parts(model, test_images(images), None, (0, 1), None)
    started = time.perf_counter()
    session = Session(Settings(enabled=True), cache=Cache(folder))
    judged = session.guard(case.contract, parts, "test_benchmark.py::test_it").check()
    return time.perf_counter() - started, judged.evaluation.cached, judged.words


def compare(name: str, model: nn.Module, attack: str, images: int) -> None:
    spawning = multiprocessing.get_context("spawn")
    pairs = []
    for _ in range(ROUNDS):
        with (
            tempfile.TemporaryDirectory() as folder,
            ProcessPoolExecutor(1, spawning, max_tasks_per_child=1) as fresh,
        ):
            asked = attack, model, images, Path(folder)
            first, _, before = fresh.submit(proved, *asked).result()
            again, cached, after = fresh.submit(proved, *asked).result()
        if not cached or before != after:
            raise SystemExit("the second run was not answered from the cache, or otherwise")
        pairs.append((first, again))
    ratios = sorted(first / again for first, again in pairs)
    first, again = (statistics.median(times) for times in zip(*pairs, strict=True))
    print(
        f"{name}, {attack}, {images} images: {first:.2f} s, then {1000 * again:.0f} ms: "
        f"{statistics.median(ratios):.0f}x ({ratios[0]:.0f}..{ratios[-1]:.0f})"
    )


if __name__ == "__main__":
    compare("adversarially trained convnet", robust(), "bim", 1000)
    compare("adversarially trained convnet", robust(), "bim", 10_000)
    compare("adversarially trained convnet", robust(), "pgd", 1000)
    compare("undefended convnet", undefended(), "bim", 1000)
