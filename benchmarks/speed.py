"""Whole measurement and time to verdict against plain Foolbox, as ratios in one run.

Run as ``python benchmarks/speed.py``. Both sides do what a user needs: clean accuracy, BIM
(Linf, eps 0.3, 10 steps) on 1,000 test images of MNIST, and the count of survivors. Foolbox
runs in its best batch size of 128 and 1,000, on a model in eval mode. Rounds alternate, so
that a slow moment of the machine meets both sides; the ratio is that of each round's pair.
"""

import statistics
import time
from collections.abc import Callable

import foolbox
import torch
from foolbox.attacks import LinfBasicIterativeAttack
from models import EPS, robust, test_images, undefended
from torch import Tensor, nn

from pytest_aerobust import check, evaluate

ROUNDS = 7
IMAGES = 1000
FLOOR = 0.9


def plain_foolbox(model: nn.Module, inputs: Tensor, labels: Tensor, batch: int) -> int:
    """Survivors of Foolbox's own attack, in batches."""
    fmodel = foolbox.PyTorchModel(model, bounds=(0, 1), device="cpu")
    attack, survivors = LinfBasicIterativeAttack(), 0
    for x, y in zip(torch.split(inputs, batch), torch.split(labels, batch), strict=True):
        with torch.no_grad():
            right = model(x).argmax(dim=1) == y
        _, _, beaten = attack(fmodel, x, y, epsilons=EPS)
        survivors += int((right & ~beaten).sum())
    return survivors


def full(model: nn.Module, inputs: Tensor, labels: Tensor) -> int:
    return evaluate(model, (inputs, labels), attack="bim", eps=EPS).unfiltered.survivors


def to_verdict(model: nn.Module, inputs: Tensor, labels: Tensor) -> str:
    return check(model, (inputs, labels), "bim", EPS, min_acc=FLOOR).verdict.outcome


def seconds(task: Callable[[], object]) -> float:
    started = time.perf_counter()
    task()
    return time.perf_counter() - started


def compare(name: str, model: nn.Module) -> None:
    inputs, labels = test_images(IMAGES)
    tasks: dict[str, Callable[[], object]] = {
        "Foolbox 128": lambda: plain_foolbox(model, inputs, labels, 128),
        "Foolbox 1000": lambda: plain_foolbox(model, inputs, labels, 1000),
        "in full": lambda: full(model, inputs, labels),
        "to verdict": lambda: to_verdict(model, inputs, labels),
    }
    answers = {label: task() for label, task in tasks.items()}  # also the warm-up
    print(f"\n{name}: {answers}")
    rounds = [{label: seconds(task) for label, task in tasks.items()} for _ in range(ROUNDS)]
    medians = {label: statistics.median(r[label] for r in rounds) for label in tasks}
    print("  median seconds: " + ", ".join(f"{k} {v:.3f}" for k, v in medians.items()))
    best = min(("Foolbox 128", "Foolbox 1000"), key=lambda label: medians[label])
    for label in ("in full", "to verdict"):
        ratios = sorted(r[best] / r[label] for r in rounds)
        print(
            f"  {label}: {statistics.median(ratios):.1f}x {best} "
            f"({ratios[0]:.1f}..{ratios[-1]:.1f} in {ROUNDS} rounds)"
        )


if __name__ == "__main__":
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, floor {FLOOR}")
    compare("undefended", undefended())
    compare("robust", robust())
