"""What the evidence adds to the contract that it guards, as paired ratios in one run.

Run as ``python benchmarks/evidence.py``. Both sides are the same measurement, one with every check
turned off: on 1,000 test images of MNIST, and on the 360 small ones of scikit-learn's digits, with
and without an autoencoder in front, where a contract takes so little that fixed costs show. Rounds
alternate; the ratio is that of each round's pair. The last column leaves out what is found once a
contract, whatever its budgets.
"""

import statistics
import time
from collections.abc import Mapping

from models import FOLDER, robust, test_images, undefended

from lightning_modules import Digits, PaperNetwork, VanillaAutoencoder, fit_or_load
from pytest_aerobust.contract.attack import chosen
from pytest_aerobust.contract.waivers import CHECKS, Waivers, checked_waivers
from pytest_aerobust.evidence.weigh import KnownFindings
from pytest_aerobust.measurement.measure import measure
from pytest_aerobust.measurement.measurement import Measurement
from pytest_aerobust.subjects.subject import Subject, build_subject

ROUNDS = 5
IMAGES = 1000
OFF = checked_waivers(dict.fromkeys(CHECKS, "timed without"))


def seconds(subject: Subject, attack: str, eps: float, off: Waivers, known: KnownFindings) -> float:
    measurement = Measurement(chosen(attack, "linf", None, None), eps, "white-box", waivers=off)
    started = time.perf_counter()
    measure(subject, measurement, remembered=known)
    return time.perf_counter() - started


def compare(name: str, subject: Subject, attack: str, eps: float) -> None:
    times, ratios, again = [], [], []
    for _ in range(ROUNDS):
        alone = seconds(subject, attack, eps, OFF, {})
        known: KnownFindings = {}
        times.append(alone)
        ratios.append(seconds(subject, attack, eps, (), known) / alone)
        again.append(seconds(subject, attack, eps, (), known) / alone)
    told = (f"{statistics.median(r):.2f}x ({min(r):.2f}..{max(r):.2f})" for r in (ratios, again))
    spent = f"{statistics.median(times):6.2f} s"
    print(f"{name:16} {attack:5} eps {eps:<5} {spent} {'   '.join(told)}", flush=True)


def digits(filtered: bool) -> Subject:
    """The paper's network on scikit-learn's digits, behind an autoencoder or bare."""
    data = Digits()
    model = fit_or_load(lambda: PaperNetwork((1, 8, 8), 10), data, folder=FOLDER, max_epochs=40)
    front = None
    if filtered:
        front = fit_or_load(
            lambda: VanillaAutoencoder((1, 8, 8)), data, folder=FOLDER, max_epochs=60
        )
    data.prepare_data()
    return build_subject(model, data.test_arrays(), front)


if __name__ == "__main__":
    images = test_images(IMAGES)
    subjects: Mapping[str, Subject] = {
        "undefended": build_subject(undefended(), images),
        "robust": build_subject(robust(), images),
        "digits": digits(filtered=False),
        "filtered digits": digits(filtered=True),
    }
    for attack, eps in (("fgsm", 0.1), ("bim", 0.1), ("bim", 0.3), ("pgd", 0.1)):
        for name, subject in subjects.items():
            compare(name, subject, attack, eps)
