"""Which figure of the paper shows what, drawn from our own measurements.

The numbers are the paper's. Where it shows a filter under attack, ours are drawn twice: in the
paper's way, behind the filter, and against an attacker who knows the filter.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from cells import USUAL
from matplotlib.figure import Figure
from published import claim
from trained import HISTORIES, Trained

from pytest_aerobust import Counterexamples, evaluate, figures

if TYPE_CHECKING:
    from page import Measured

# Ours beside each other, in this order.
_WAYS = {"test_behind_the_filter": "the paper's way", "test_who_knows_the_filter": "white-box"}
_NON_TARGETED = "non-targeted (FGSM)"
_TARGETED = ("natural targets", "non-natural targets", "one number (7)")
_NETWORK_ATTACKS = (_NON_TARGETED, "T-FGSM (5)", "BIM")

# First figure of each variant's own section: losses, curves, perturbations, network reports.
_SECTIONS = {
    "sparse": {"loss": 33, "curves": 34, "images": 35, "targeted": 37, "reports": 38},
    "denoising": {"loss": 46, "curves": 47, "images": 48, "targeted": 50, "reports": 51},
    "variational": {"loss": 59, "curves": 60, "images": 61, "targeted": 63, "reports": 66},
}


@dataclass(frozen=True)
class Illustration:
    """One figure of ours.

    Attributes:
        section: Where it belongs on the page.
        number: The paper's number of the figure that shows the same.
        caption: What is seen, in words that stand for the picture as well.
        figure: The picture.
        paper: Accuracy that the paper's text reports for it, where it does.
    """

    section: str
    number: str
    caption: str
    figure: Figure
    paper: str = ""


def illustrations(trained: Trained, measured: "Measured") -> Iterator[Illustration]:
    """Every figure of the paper that shows a measurement, in its order."""
    yield from _autoencoder(trained)
    yield from _regression(trained, measured)
    yield from _reports("vanilla", "Network behind the vanilla filter", 25, measured)
    for name, numbers in _SECTIONS.items():
        yield from _variant(name, numbers, trained, measured)
    yield from _latent(trained)


def _autoencoder(trained: Trained) -> Iterator[Illustration]:
    section = "Autoencoder"
    inputs, _ = trained.data.test_arrays()
    with torch.no_grad():
        outputs = trained.bounded_filter()(inputs[:10])
    yield Illustration(
        section,
        "3",
        "Test images and what the vanilla autoencoder makes of them, outputs held to [0, 1].",
        figures.reconstructions(inputs[:10], outputs),
    )
    histories = {name: trained.history(name) for name in HISTORIES}
    yield Illustration(
        section,
        "5, 6",
        "Training loss by epoch with the same activation in all layers, and with the paper's "
        "final choice (mean squared error on [0, 1], so that they can be compared).",
        figures.loss_histories(histories),
    )


def _regression(trained: Trained, measured: "Measured") -> Iterator[Illustration]:
    section = "Multi-class logistic regression, vanilla filter"
    where = {"kind": "regression", "attack": _NON_TARGETED}
    bare = measured.usual(test="test_no_filter", **where)
    if bare is not None:
        yield Illustration(
            section,
            "7",
            "Confusion matrix without attack, without autoencoder.",
            figures.confusion(bare.evaluation, attacked=False),
        )
    yield from _clean_behind(section, "8", measured, where)
    yield from _attacked(section, ("9", "10"), measured, where)
    yield from _images(section, ("11", "12"), "vanilla", trained)
    yield from _curves(section, "13, 14", (_NON_TARGETED,), "vanilla", measured)
    if bare is not None:
        yield Illustration(
            section,
            "15",
            "What each digit is mistaken for under the non-targeted attack; the natural targets "
            "are the largest number of each row.",
            figures.mispredictions(bare.evaluation),
        )
    for attack, first in zip(_TARGETED, (17, 19, 21), strict=True):
        numbers = (str(first), str(first + 1))
        yield from _attacked(section, numbers, measured, {"kind": "regression", "attack": attack})
    yield from _curves(section, "23, 24", _TARGETED, "vanilla", measured)


def _clean_behind(
    section: str, number: str, measured: "Measured", where: dict[str, str]
) -> Iterator[Illustration]:
    cell = measured.usual(test="test_who_knows_the_filter", filter="vanilla", **where)
    if cell is not None:
        caption = "Confusion matrix without attack, with autoencoder."
        figure = figures.confusion(cell.evaluation, attacked=False)
        yield Illustration(section, number, caption, figure)


def _attacked(
    section: str, numbers: tuple[str, str], measured: "Measured", where: dict[str, str]
) -> Iterator[Illustration]:
    """A confusion matrix without the filter, and with it in both ways."""
    without, behind = numbers
    bare = measured.usual(test="test_no_filter", **where)
    if bare is not None:
        caption = f"Confusion matrix under attack ({where['attack']}), without autoencoder."
        yield Illustration(section, without, caption, figures.confusion(bare.evaluation))
    for test, way in _WAYS.items():
        cell = measured.usual(test=test, filter="vanilla", **where)
        if cell is not None:
            caption = f"The same with autoencoder, {way}."
            yield Illustration(section, behind, caption, figures.confusion(cell.evaluation))


def _images(
    section: str, numbers: tuple[str, str], name: str, trained: Trained
) -> Iterator[Illustration]:
    """Value change and perturbation of the regression's inputs, without and with the filter."""
    inputs, labels = (part[:100] for part in trained.data.test_arrays())
    filter, kept = trained.filter(name), Counterexamples()
    evaluation = evaluate(
        trained.classifier("regression", filter),
        (inputs, labels),
        filter=filter,
        unfiltered_model=trained.classifier("regression", None),
        attack="fgsm",
        eps=USUAL["regression"],
        on_examples=kept,
    )
    for number, arm, words in zip(
        numbers, ("unfiltered", "filtered"), ("without", "with"), strict=True
    ):
        if kept.of(arm):
            yield Illustration(
                section,
                number,
                f"Value change and perturbation of the non-targeted attack, {words} autoencoder "
                "(white-box).",
                figures.counterexamples(
                    kept,
                    inputs,
                    labels,
                    filter=filter if arm == "filtered" else None,
                    arm=arm,
                    evaluation=evaluation,
                ),
            )


def _curves(
    section: str, number: str, attacks: tuple[str, ...], name: str, measured: "Measured"
) -> Iterator[Illustration]:
    """Accuracy against eps without the filter and with it in both ways."""
    found = [
        cell.evaluation
        for attack in attacks
        for test in _WAYS
        for cell in measured.of(test=test, kind="regression", attack=attack, filter=name)
    ]
    if found:
        words = "targeted attacks" if len(attacks) > 1 else "the non-targeted attack"
        caption = f"Accuracy against eps under {words}, with and without the {name} autoencoder."
        yield Illustration(section, number, caption, figures.accuracy_curves(found))


def _reports(name: str, section: str, first: int, measured: "Measured") -> Iterator[Illustration]:
    """Matrix and per-class report of the network: clean, then attacked, without and with filter."""
    where = {"kind": "network", "filter": name}
    clean = measured.usual(test="test_who_knows_the_filter", attack=_NON_TARGETED, **where)
    if clean is not None:
        for offset, arm in enumerate(("unfiltered", "filtered")):
            words = "with" if offset else "without"
            yield Illustration(
                section,
                str(first + offset),
                f"Confusion matrix and report without attack, {words} autoencoder.",
                figures.confusion_with_report(clean.evaluation, arm=arm, attacked=False),
            )
    for place, attack in enumerate(_NETWORK_ATTACKS, start=1):
        yield from _attacked_reports(section, first + 2 * place, attack, where, measured)


def _attacked_reports(
    section: str, number: int, attack: str, where: dict[str, str], measured: "Measured"
) -> Iterator[Illustration]:
    bare = measured.usual(test="test_no_filter", kind="network", attack=attack)
    if bare is not None:
        yield Illustration(
            section,
            str(number),
            f"Confusion matrix and report under attack ({attack}), without autoencoder.",
            figures.confusion_with_report(bare.evaluation),
            paper=claim(None, "network", attack),
        )
    for test, way in _WAYS.items():
        cell = measured.usual(test=test, attack=attack, **where)
        if cell is not None:
            yield Illustration(
                section,
                str(number + 1),
                f"The same with autoencoder, {way}.",
                figures.confusion_with_report(cell.evaluation),
                paper=claim(where["filter"], "network", attack),
            )


def _variant(
    name: str, numbers: dict[str, int], trained: Trained, measured: "Measured"
) -> Iterator[Illustration]:
    section = f"{name.capitalize()} filter"
    yield Illustration(
        section,
        str(numbers["loss"]),
        f"Training loss of the {name} autoencoder by epoch, with the terms that it sums.",
        figures.loss_histories(_losses(trained, name)),
    )
    yield from _curves(section, str(numbers["curves"]), (_NON_TARGETED,), name, measured)
    images = (str(numbers["images"]), str(numbers["images"] + 1))
    yield from _images(section, images, name, trained)
    yield from _curves(section, str(numbers["targeted"]), _TARGETED, name, measured)
    yield from _reports(name, section, numbers["reports"], measured)


def _losses(trained: Trained, name: str) -> dict[str, list[float]]:
    history = trained.filter(name).history
    return {
        key.removeprefix("train_"): values
        for key, values in history.items()
        if key.startswith("train_")
    }


def _latent(trained: Trained) -> Iterator[Illustration]:
    """The variational code is a plane: where the classes lie on it, and what lies where."""
    section = "Variational filter"
    filter, (inputs, labels) = trained.filter("variational"), trained.data.test_arrays()
    with torch.no_grad():
        codes = filter.posterior(inputs).mean
        drawn = filter.render(figures.latent_points(15))
    yield Illustration(
        section,
        "64, 74",
        "The test set on the two-dimensional latent plane, by class.",
        figures.latent_plane(codes, labels),
    )
    yield Illustration(
        section,
        "65, 75",
        "Images drawn from points at regular quantiles of the latent plane.",
        figures.image_grid(drawn, columns=15),
    )
