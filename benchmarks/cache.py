"""What an unchanged contract costs in the second run, against the first.

Run as ``python benchmarks/cache.py``. Contracts on MNIST are proved by a process with an empty
cache, and again by a new process that finds what the first one left: everything after imports
and fixtures, from reading the data to the verdicts. Each round starts with an empty folder.
"""

import multiprocessing
import statistics
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from models import robust, test_images, undefended
from torch import nn

from pytest_aerobust.contract.mark import cases
from pytest_aerobust.history.cache.store import Cache
from pytest_aerobust.measurement.binding import Parts
from pytest_aerobust.options.settings import Settings
from pytest_aerobust.plugin.session import Session

ROUNDS = 3


@dataclass(frozen=True)
class Suite:
    """Contracts on one model and one set of images: each attack at each budget."""

    model: nn.Module
    images: int
    attacks: tuple[str, ...]
    budgets: tuple[float, ...]


def proved(suite: Suite, folder: Path) -> tuple[float, bool, list[str]]:
    """Seconds of one run's part of the work, whether all was kept, and the verdicts in words."""
    asked = [case for attack in suite.attacks for case in cases(attack, suite.budgets, min_acc=0.8)]
    parts = Parts(suite.model, test_images(suite.images), None, (0, 1), None)
    started = time.perf_counter()
    session = Session(Settings(enabled=True), cache=Cache(folder))
    found = [session.guard(case.contract, parts, case.id).check() for case in asked]
    seconds = time.perf_counter() - started
    return seconds, all(each.evaluation.cached for each in found), [each.words for each in found]


def compare(name: str, suite: Suite) -> None:
    spawning = multiprocessing.get_context("spawn")
    pairs = []
    for _ in range(ROUNDS):
        with (
            tempfile.TemporaryDirectory() as folder,
            ProcessPoolExecutor(1, spawning, max_tasks_per_child=1) as fresh,
        ):
            first, _, before = fresh.submit(proved, suite, Path(folder)).result()
            again, cached, after = fresh.submit(proved, suite, Path(folder)).result()
        if not cached or before != after:
            raise SystemExit("the second run was not answered from the cache, or otherwise")
        pairs.append((first, again))
    ratios = sorted(first / again for first, again in pairs)
    first, again = (statistics.median(times) for times in zip(*pairs, strict=True))
    print(
        f"{name}, {len(after)} x {' and '.join(suite.attacks)}, {suite.images} images: "
        f"{first:.2f} s, then {1000 * again:.0f} ms: {statistics.median(ratios):.0f}x "
        f"({ratios[0]:.0f}..{ratios[-1]:.0f})",
        flush=True,
    )


if __name__ == "__main__":
    for name, model in (("robust", robust()), ("undefended", undefended())):
        compare(name, Suite(model, 1000, ("bim",), (0.3,)))
        compare(name, Suite(model, 1000, ("bim", "pgd"), (0.1, 0.2, 0.3)))
        compare(name, Suite(model, 10_000, ("bim",), (0.3,)))
