"""The worst case against AutoAttack: the same model, images and budget, as a table.

Run as ``python benchmarks/worst_case.py``, with AutoAttack from its authors beside the project
(``pip install pyautoattack``); about an hour on two cores, nearly all of it AutoAttack's. Names of
models choose among them: ``python benchmarks/worst_case.py robust``. Costs are processor
seconds, which other programs of the machine change little.
"""

import sys
import time
from collections.abc import Callable

import torch
from filters import filtered
from models import EPS, robust, test_images, undefended
from torch import Tensor, nn

from pytest_aerobust import evaluate

IMAGES = 200
MODELS: dict[str, Callable[[], nn.Module]] = {
    "undefended": undefended,
    "robust": robust,
    "filtered": filtered,
}


def autoattack(model: nn.Module, inputs: Tensor, labels: Tensor) -> float:
    """Robust accuracy under standard AutoAttack (Croce & Hein 2020) in Linf.

    Raises:
        SystemExit: It is not installed.
    """
    try:
        from pyautoattack import AutoAttack
    except ImportError:
        raise SystemExit(
            "AutoAttack is not installed: pip install pyautoattack (for this benchmark alone)"
        ) from None
    attack = AutoAttack(model, norm="Linf", eps=EPS, version="standard", device="cpu", seed=0)
    found, _ = attack.run_standard_evaluation(inputs, labels, batch_size=100)
    with torch.no_grad():
        return float((model(found).argmax(dim=1) == labels).float().mean())


def worst_case(model: nn.Module, inputs: Tensor, labels: Tensor) -> float:
    """Robust accuracy under the cascade."""
    return evaluate(model, (inputs, labels), attack="worst-case", eps=EPS).unfiltered.accuracy


def timed(
    attack: Callable[[nn.Module, Tensor, Tensor], float], model: nn.Module
) -> tuple[float, float]:
    inputs, labels = test_images(IMAGES)
    started = time.process_time()
    return attack(model, inputs, labels), time.process_time() - started


def compare(name: str) -> None:
    model = MODELS[name]().requires_grad_(False)
    ours, cost = timed(worst_case, model)
    theirs, price = timed(autoattack, model)
    print(
        f"{name:<12}{ours:>12.4f}{cost:>9.1f} s{theirs:>13.4f}{price:>9.1f} s"
        f"{100 * (ours - theirs):>+9.2f}{price / cost:>8.1f}x",
        flush=True,
    )


if __name__ == "__main__":
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, {IMAGES} images")
    print(
        f"{'model':<12}{'worst-case':>12}{'cost':>11}{'AutoAttack':>13}{'cost':>11}"
        f"{'points':>9}{'ratio':>9}"
    )
    for chosen in sys.argv[1:] or MODELS:
        compare(chosen)
