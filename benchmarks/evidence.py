"""What the evidence adds to the contract that it guards, as paired ratios in one run.

Run as ``python benchmarks/evidence.py``. Both sides are the same call of `evaluate` on 1,000 test
images of MNIST, one with every check turned off. Rounds alternate; the ratio is that of each
round's pair. The last column leaves out what is found once a session and model.
"""

import statistics
import time
from collections.abc import Mapping

from models import robust, test_images, undefended
from torch import Tensor, nn

from pytest_aerobust.checks import CHECKS, Waivers, checked_waivers
from pytest_aerobust.choice import chosen
from pytest_aerobust.evaluation import Measurement, measure
from pytest_aerobust.subjects.subject import Subject, build_subject
from pytest_aerobust.weighing import Remembered

ROUNDS = 5
IMAGES = 1000
OFF = checked_waivers(dict.fromkeys(CHECKS, "timed without"))


def seconds(subject: Subject, attack: str, eps: float, off: Waivers, known: Remembered) -> float:
    measurement = Measurement(chosen(attack, "linf", None, None), eps, "white-box", waivers=off)
    started = time.perf_counter()
    measure(subject, measurement, remembered=known)
    return time.perf_counter() - started


def compare(
    name: str, model: nn.Module, data: tuple[Tensor, Tensor], attack: str, eps: float
) -> None:
    subject, ratios, again = build_subject(model, data), [], []
    for _ in range(ROUNDS):
        alone = seconds(subject, attack, eps, OFF, {})
        known: Remembered = {}
        ratios.append(seconds(subject, attack, eps, (), known) / alone)
        again.append(seconds(subject, attack, eps, (), known) / alone)
    told = (f"{statistics.median(r):.2f}x ({min(r):.2f}..{max(r):.2f})" for r in (ratios, again))
    print(f"{name:12} {attack:5} eps {eps:<5} {'   '.join(told)}")


if __name__ == "__main__":
    models: Mapping[str, nn.Module] = {"undefended": undefended(), "robust": robust()}
    data = test_images(IMAGES)
    for attack, eps in (("fgsm", 0.1), ("bim", 0.1), ("bim", 0.3), ("pgd", 0.1)):
        for name, model in models.items():
            compare(name, model, data, attack, eps)
