"""A contract over 25 budgets against one at the largest of them, as paired ratios in one run.

Run as ``python benchmarks/budgets.py``. 1,000 test images of MNIST, Linf, budgets in steps of 0.012
up to 0.3. One side is the contract at eps 0.3, every sample attacked; the other the same floor over
all 25 budgets, to its verdict. Plain Foolbox attacks anew at every budget: its side is one attack
at the largest, times 25. Rounds alternate; each ratio is that of a round's pair.
"""

import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

from models import robust, test_images, undefended
from speed import plain_foolbox
from torch import nn

from pytest_aerobust import Outcome, check, epsilons

_T = TypeVar("_T")
ROUNDS = 3
IMAGES = 1000
BUDGETS = epsilons(0.012, 0.3, step=0.012, max_examples=25)
FLOORS: dict[str, Any] = {
    "0.8": 0.8,
    "0.9": 0.9,
    "0.95 to 0.1, 0.9 to 0.2, 0.8 to 0.3": {0.1: 0.95, 0.2: 0.9, 0.3: 0.8},
}


def seconds(task: Callable[[], _T]) -> tuple[float, _T]:
    started = time.perf_counter()
    found = task()
    return time.perf_counter() - started, found


def compare(name: str, model: nn.Module) -> None:
    data = test_images(IMAGES)

    def judged(eps: Any, floor: Any, full: bool) -> Outcome:
        return check(model, data, "bim", eps, min_acc=floor, full=full)

    for words, floor in FLOORS.items():
        ratios, foolbox = [], []
        for _ in range(ROUNDS):
            one, _ = seconds(partial(judged, 0.3, floor, full=True))
            all_of_them, found = seconds(partial(judged, BUDGETS, floor, full=False))
            plain, _ = seconds(partial(plain_foolbox, model, *data, batch=128))
            failing = None if found.boundary is None else found.boundary.failing
            ratios.append(all_of_them / one)
            foolbox.append(25 * plain / all_of_them)
        print(
            f"{name:<12}{words:<38}{found.verdict.outcome:<8}{failing or '-':<8}"
            f"{statistics.median(ratios):>6.1f}x ({min(ratios):.1f}..{max(ratios):.1f})"
            f"{statistics.median(foolbox):>8.0f}x less than Foolbox",
            flush=True,
        )


if __name__ == "__main__":
    print(f"{'model':<12}{'min_acc':<38}{'verdict':<8}{'fails':<8}{'25 budgets / one':>18}")
    compare("robust", robust())
    compare("undefended", undefended())
