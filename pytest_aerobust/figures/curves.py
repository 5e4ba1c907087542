"""Numbers that change: accuracy over budgets, losses over epochs."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass, field, replace
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from matplotlib.transforms import ScaledTranslation

from pytest_aerobust.errors import ContractError
from pytest_aerobust.figures.drawing import COLOURS, MARKERS, entitle, legend, new_figure
from pytest_aerobust.results.arm import Interval
from pytest_aerobust.results.evaluation import Evaluation

# Losses whose largest is more than this many times the smallest are drawn on a log scale.
_DECADES = 100
# Inches between bars at one budget.
_BAR_GAP = 0.07


@dataclass(frozen=True)
class _Words:
    """What tells one curve from another; empty where it says nothing."""

    name: str
    disturbances: str
    attack: str
    target: str
    threat: str
    arm: str

    @property
    def colour_key(self) -> "_Words":
        """Both arms share a colour."""
        return replace(self, arm="")


@dataclass
class _Curve:
    words: _Words
    points: dict[float, Interval] = field(default_factory=dict)

    @property
    def open(self) -> dict[float, Interval]:
        """Budgets whose accuracy is not one number."""
        return {eps: known for eps, known in sorted(self.points.items()) if not known.decided}

    def add(self, eps: float, known: Interval) -> None:
        """What another evaluation says of a budget; of an early stop, the narrower."""
        before = self.points.get(eps, known)
        both = Interval(max(before.low, known.low), min(before.high, known.high))
        if both.low > both.high:
            raise ContractError(
                f"{_told(astuple(self.words))}: two evaluations disagree at eps={eps:g}, "
                f"{_span(before)} against {_span(known)}. One curve is one model, filter, data "
                "and settings: tell others apart by name, {'name': [evaluations], ...}"
            )
        self.points[eps] = both


def accuracy_curves(
    evaluations: Sequence[Evaluation] | Mapping[str, Sequence[Evaluation]],
) -> Figure:
    """Accuracy under attack over the budget, with and without the filter.

    One curve for each arm, disturbance, attack, target and threat, from the clean accuracy at
    budget 0 where nothing disturbs the inputs. What all curves share is in the title, what tells
    them apart in the legend. An arm that stopped early is a bar over all that its accuracy can
    be. Unfiltered curves that coincide are one.

    Args:
        evaluations: In any order, all of one norm; or such under the name of each filter, to
            compare several.

    Raises:
        ContractError: There is nothing to draw, norms are mixed, or two evaluations of one curve
            disagree.
    """
    named = evaluations if isinstance(evaluations, Mapping) else {"": evaluations}
    norm = _single_norm(named)
    curves = _merged(_curves(named))
    shared, labels = _told_apart([astuple(curve.words) for curve in curves])
    figure = new_figure(6.8, 4.0 + 0.1 * len(curves))
    axes = figure.subplots()
    colours = list(dict.fromkeys(curve.words.colour_key for curve in curves))
    lines = [_draw_curve(axes, c, colours.index(c.words.colour_key)) for c in curves]
    for place, (curve, line) in enumerate(zip(curves, lines, strict=True)):
        # Side by side: arms that stopped early did so at the same budgets.
        _draw_open(axes, curve, line, aside=_BAR_GAP * (place - (len(curves) - 1) / 2))
    axes.set(xlabel=f"eps ({norm}, in the units of the data)", ylabel="accuracy")
    # Told, as matplotlib leaves out what is moved aside.
    largest = max(eps for curve in curves for eps in curve.points) or 1.0
    axes.set(xlim=(-0.04 * largest, 1.04 * largest), ylim=(-0.03, 1.03))
    axes.grid(alpha=0.3)
    legend(figure, lines, labels, columns=1 if max(map(len, labels)) > 40 else 2)
    early = any(curve.open for curve in curves)
    note = "\nbars: stopped early, the accuracy lies somewhere on the bar" if early else ""
    entitle(figure, f"accuracy under attack{shared and f', {shared}'}{note}")
    return figure


def loss_histories(histories: Mapping[str, Sequence[float]]) -> Figure:
    """Losses over the epochs of several trainings, with each last value in the legend.

    On a log scale where all are positive and span more than two decades. Epochs whose loss is not
    finite are left out of the line.

    Args:
        histories: From the name of a training to its loss in each epoch, the first counted as 1.

    Raises:
        ContractError: There is no history, or one without a number for each epoch.
    """
    curves = {name: _epochs(name, losses) for name, losses in histories.items()}
    if not curves:
        raise ContractError("there are no histories to draw: expected {'name': [losses], ...}")
    figure = new_figure(6.8, 4.0 + 0.1 * len(curves))
    axes = figure.subplots()
    lines = [_draw_losses(axes, losses, place) for place, losses in enumerate(curves.values())]
    known = np.concatenate(list(curves.values()))
    known = known[np.isfinite(known)]
    if known.size and known.min() > 0 and known.max() > _DECADES * known.min():
        axes.set_yscale("log")
    axes.set(xlabel="epoch", ylabel="loss")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.3)
    labels = [f"{name}: {losses[-1]:.4g}" for name, losses in curves.items()]
    legend(figure, lines, labels, columns=2)
    entitle(figure, "loss over epochs, with the last value")
    return figure


def _single_norm(named: Mapping[str, Sequence[Evaluation]]) -> str:
    empty = [name for name, evaluations in named.items() if not evaluations]
    if empty or not named:
        of = f" for {empty[0]!r}" if empty and empty[0] else ""
        raise ContractError(f"there are no evaluations to draw{of}: expected at least one")
    norms = sorted({e.norm for evaluations in named.values() for e in evaluations})
    if len(norms) > 1:
        raise ContractError(
            f"evaluations are in the norms {' and '.join(norms)}, whose budgets can't share an "
            "axis: draw one figure a norm"
        )
    return norms[0].capitalize()


def _curves(named: Mapping[str, Sequence[Evaluation]]) -> list[_Curve]:
    curves: dict[_Words, _Curve] = {}
    for words, evaluation in _measured(named):
        arm = evaluation.arms[words.arm]
        curve = curves.setdefault(words, _Curve(words))
        if not evaluation.disturbances:  # else who is right at budget 0 is another question
            curve.add(0.0, arm.clean_interval)
        curve.add(evaluation.eps, arm.accuracy_interval)
    return list(curves.values())


def _measured(
    named: Mapping[str, Sequence[Evaluation]],
) -> Iterator[tuple[_Words, Evaluation]]:
    """Each arm of each evaluation, in an order that does not depend on how they came."""
    for name, evaluations in named.items():
        for e in sorted(evaluations, key=lambda e: (e.label, _target(e), e.threat, e.eps)):
            for arm in e.arms:
                yield _Words(name, e.before, e.label, _target(e), e.threat, arm), e


def _target(evaluation: Evaluation) -> str:
    return "" if evaluation.target is None else f"target {evaluation.target}"


def _merged(curves: list[_Curve]) -> list[_Curve]:
    """Unfiltered curves that coincide as one: neither filters nor their threats are in it."""
    kept: dict[Any, _Curve] = {}
    for curve in curves:
        words = curve.words
        common = (words.disturbances, words.attack, words.target, *sorted(curve.points.items()))
        key = common if words.arm == "unfiltered" else words
        first = kept.setdefault(key, curve)
        name = words.name if words.name == first.words.name else ""
        threat = words.threat if words.threat == first.words.threat else ""
        kept[key] = _Curve(replace(first.words, name=name, threat=threat), first.points)
    return list(kept.values())


def _told_apart(words: list[tuple[str, ...]]) -> tuple[str, list[str]]:
    """Words that all curves share, and those of each that differ; the arm is always told."""
    shared = [len(set(column)) == 1 for column in zip(*words, strict=True)]
    shared[-1] = False
    title = _told(w for w, same in zip(words[0], shared, strict=True) if same)
    return title, [
        _told(w for w, same in zip(each, shared, strict=True) if not same) for each in words
    ]


def _told(words: Any) -> str:
    return ", ".join(filter(None, words))


def _span(known: Interval) -> str:
    low, high = map(float, known)
    return f"{low:.4g}" if known.decided else f"{low:.4g}..{high:.4g}"


def _style(place: int) -> dict[str, Any]:
    return {"color": COLOURS[place % len(COLOURS)], "marker": MARKERS[place % len(MARKERS)]}


def _draw_curve(axes: Axes, curve: _Curve, place: int) -> Line2D:
    bare = curve.words.arm == "unfiltered"
    style = _style(place) | {"markersize": 5, "linewidth": 1.8}
    style |= {"linestyle": "--", "markerfacecolor": "white"} if bare else {}
    points = sorted(curve.points.items())
    # NaN breaks the line: drawn through, it would claim a number that nobody knows.
    heights = [float(known.low) if known.decided else np.nan for _, known in points]
    (line,) = axes.plot([eps for eps, _ in points], heights, **style)
    return line


def _draw_open(axes: Axes, curve: _Curve, line: Line2D, aside: float) -> None:
    """A bar over each accuracy that is an interval, so many inches beside its budget."""
    if not curve.open:
        return
    low, high = np.array(list(curve.open.values()), dtype=float).T
    bars = axes.errorbar(
        list(curve.open),
        (low + high) / 2,
        (high - low) / 2,
        fmt="none",
        ecolor=line.get_color(),
        capsize=3,
        transform=axes.transData + ScaledTranslation(aside, 0, axes.figure.dpi_scale_trans),
    )
    bars.lines[2][0].set_linestyle(line.get_linestyle())


def _epochs(name: str, losses: Sequence[float]) -> np.ndarray:
    try:
        values = np.asarray(losses, dtype=float)
    except (TypeError, ValueError):
        values = np.empty(0)
    if values.ndim != 1 or not values.size:
        raise ContractError(
            f"the history {name!r} is {losses!r:.60}: expected one number for each epoch"
        )
    return values


def _draw_losses(axes: Axes, losses: np.ndarray, place: int) -> Line2D:
    finite = np.where(np.isfinite(losses), losses, np.nan)
    every = max(len(losses) // 10, 1)
    styles = ("-", "--", "-.", ":")
    (line,) = axes.plot(
        np.arange(1, len(losses) + 1),
        finite,
        markevery=every,
        linestyle=styles[place % len(styles)],
        **_style(place),
    )
    return line
