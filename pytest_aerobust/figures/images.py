"""Samples as people see them: adversarial examples, reconstructions, grids."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import nn

from pytest_aerobust.contract.arguments import Bounds, checked_bounds, checked_count
from pytest_aerobust.counterexamples.collector import Counterexample, Counterexamples
from pytest_aerobust.errors import ContractError
from pytest_aerobust.figures.balls import attacked_inputs, check_ball, clipped
from pytest_aerobust.figures.drawing import as_array, entitle, new_figure, short
from pytest_aerobust.figures.view import ArmName, conditions
from pytest_aerobust.results.evaluation import Evaluation
from pytest_aerobust.subjects.loan import borrowed
from pytest_aerobust.subjects.models import device_of, filter_module
from pytest_aerobust.subjects.pipeline import Classifier
from pytest_aerobust.subjects.randomness import isolated

_PANEL = 1.05


@dataclass(frozen=True)
class _Row:
    """Samples side by side.

    Attributes:
        name: Beside the row.
        samples: ``(n, C, H, W)`` or ``(n, d)``.
        limits: Smallest and largest value.
        colours: Colour map of images with one channel.
    """

    name: str
    samples: np.ndarray
    limits: Bounds
    colours: str = "gray"


def counterexamples(
    kept: Counterexamples,
    inputs: Any,
    labels: Any,
    *,
    filter: Any = None,
    arm: ArmName | None = None,
    count: int = 6,
    bounds: Bounds = (0.0, 1.0),
    evaluation: Evaluation | None = None,
) -> Figure:
    """Inputs, what was added to them, and the adversarial examples that came of it.

    A column for each sample, with the label and the answer; different labels come first.
    Perturbations share one scale, symmetric about 0, and each has its largest size written below.
    With a filter two more rows show what it makes of the input and of the adversarial example.

    Args:
        kept: What the evaluation showed to ``on_examples``.
        inputs: The data that was evaluated, images ``(N, C, H, W)`` with 1 or 3 channels or
            ``(N, H, W)``, or vectors ``(N, d)``. Under ``threat="behind-filter"``, what the filter
            makes of it.
        labels: As they were evaluated, ``(N,)``.
        filter: A module or callable from inputs to inputs; it comes back as it was.
        arm: Whose examples; None takes the pipeline's: ``filtered`` where there was a filter, or
            else ``unfiltered``.
        count: How many at most.
        bounds: Smallest and largest value of an input, as they were evaluated; what lies outside
            is drawn as they are.
        evaluation: The one that the examples were kept of. It gives the title what was measured,
            and the classes their names. Where it disturbed its inputs, the disturbed ones are
            drawn, as the attacker saw them.

    Raises:
        ContractError: No example was kept of this arm, the data is not the one that was evaluated,
            its shape can't be drawn, or examples lie outside the ball of the evaluation.
        FilterError: The filter fails, or changes shape or dtype.
    """
    module, limits = filter_module(filter), checked_bounds(bounds)
    originals, names = clipped(as_array(inputs), limits), as_array(labels)
    shown = arm or _pipeline_arm(kept, filter, evaluation)
    found = kept.of(shown)
    _check_origin(kept, shown, originals, names)
    if evaluation is not None:
        check_ball(found, originals, evaluation, limits)
    chosen = _spread(found, names, checked_count("count", count, least=1))
    clean = attacked_inputs(chosen, originals, evaluation, limits)
    adversarial = np.stack([as_array(example.adversarial) for example in chosen])
    rows = [
        _Row("input", _drawable("inputs", clean), limits),
        _difference(_drawable("inputs", adversarial - clean)),
        _Row("adversarial", _drawable("inputs", adversarial), limits),
    ]
    if module is not None:
        for name, samples in (("input", clean), ("adversarial", adversarial)):
            seen = _filtered(module, samples.astype(adversarial.dtype))
            rows.append(_Row(f"filtered\n{name}", _drawable("outputs", seen), limits))
    classes = () if evaluation is None else evaluation.classes
    titles = [_verdict(names[each.sample], each.answer, classes) for each in chosen]
    figure, panels = _panels(rows, titles)
    for panel, change in zip(panels[1], rows[1].samples, strict=True):
        panel.set_xlabel(f"at most {np.abs(change).max():.3g}", fontsize=7)
    measured = f"{shown} arm" if evaluation is None else conditions(evaluation, shown)
    entitle(figure, f"counterexamples, {measured}")
    return figure


def reconstructions(
    inputs: Any, outputs: Any, count: int = 10, bounds: Bounds | None = (0.0, 1.0)
) -> Figure:
    """Inputs above what a filter makes of them.

    Args:
        inputs: Images ``(N, C, H, W)`` with 1 or 3 channels or ``(N, H, W)``, or vectors
            ``(N, d)``.
        outputs: What the filter makes of them, of the same shape.
        count: How many at most, the first.
        bounds: Smallest and largest value; what lies outside is drawn as they are. None gives
            either row the range of its own values, for a filter on another scale.

    Raises:
        ContractError: There is nothing to draw, or shapes differ or can't be drawn.
    """
    before, after = _drawable("inputs", inputs), _drawable("outputs", outputs)
    if before.shape != after.shape:
        raise ContractError(
            f"inputs have shape {before.shape}, outputs {after.shape}: expected the same"
        )
    shown = checked_count("count", count, least=1)
    rows = [
        _Row(name, samples[:shown], _limits(samples[:shown], bounds))
        for name, samples in (("input", before), ("output", after))
    ]
    figure, _ = _panels(rows)
    entitle(figure, "inputs and what the filter makes of them")
    return figure


def image_grid(images: Any, columns: int | None = None, bounds: Bounds = (0.0, 1.0)) -> Figure:
    """Images side by side without gaps, row by row.

    Args:
        images: ``(N, C, H, W)`` with 1 or 3 channels, or ``(N, H, W)``.
        columns: Images in a row; by default so many that the grid is about square.
        bounds: Smallest and largest value; what lies outside is drawn as they are.

    Raises:
        ContractError: There is nothing to draw, or the shape can't be drawn.
    """
    tiles = _drawable("images", images)
    if tiles.ndim != 4:
        raise ContractError(f"images have shape {tiles.shape}: expected (N, C, H, W)")
    low, high = checked_bounds(bounds)
    across = checked_count("columns", columns, least=1) or math.ceil(math.sqrt(len(tiles)))
    down = -(-len(tiles) // across)
    empty = np.full((across * down - len(tiles), *tiles.shape[1:]), high)
    _, channels, height, width = tiles.shape
    grid = np.concatenate([tiles, empty]).reshape(down, across, channels, height, width)
    whole = grid.transpose(2, 0, 3, 1, 4).reshape(channels, down * height, across * width)
    figure = Figure(figsize=(6.4, 6.4 * down * height / (across * width)))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    _draw_image(axes, _Row("", whole[None], (low, high)), 0)
    return figure


def _drawable(name: str, values: Any) -> np.ndarray:
    """Images ``(N, C, H, W)`` or vectors ``(N, d)``."""
    samples = as_array(values)
    if samples.ndim == 3:
        samples = samples[:, None]
    if samples.ndim not in (2, 4) or (samples.ndim == 4 and samples.shape[1] not in (1, 3)):
        raise ContractError(
            f"{name} have shape {samples.shape}: expected images (N, C, H, W) with 1 or 3 channels "
            "or (N, H, W), or vectors (N, d)"
        )
    if not samples.size:
        raise ContractError(f"{name} have shape {samples.shape}: there is nothing to draw")
    return samples


def _limits(samples: np.ndarray, bounds: Bounds | None) -> Bounds:
    if bounds is not None:
        return checked_bounds(bounds)
    low, high = float(samples.min()), float(samples.max())
    return (low, high) if low < high else (low, low + 1)


def _pipeline_arm(kept: Counterexamples, filter: Any, evaluation: Evaluation | None) -> ArmName:
    """The pipeline's arm; without an evaluation, as far as filter and examples tell."""
    if evaluation is not None:
        behind = evaluation.filtered is not None
    else:
        behind = filter is not None or kept.arms != ("unfiltered",)
    return "filtered" if behind else "unfiltered"


def _check_origin(kept: Counterexamples, arm: str, inputs: np.ndarray, labels: np.ndarray) -> None:
    found = kept.of(arm)
    if not found:
        others = " and ".join(map(repr, kept.arms))
        raise ContractError(
            f"no adversarial example of an arm {arm!r} was kept: either none is known, or "
            "evaluate(...) ran without on_examples=kept, or there is no such arm"
            + (f"; there are examples of {others}, ask for them with arm=" if others else "")
        )
    if labels.ndim != 1 or len(labels) != len(inputs):
        raise ContractError(
            f"labels have shape {labels.shape}, inputs {inputs.shape}: expected a label a sample"
        )
    shape, last = tuple(found[0].adversarial.shape), found[-1].sample
    if last >= len(inputs) or shape != inputs.shape[1:]:
        raise ContractError(
            f"the examples have shape {shape} and reach to sample {last}, inputs have shape "
            f"{inputs.shape}: give the data that was evaluated"
        )


def _spread(
    found: Sequence[Counterexample], labels: np.ndarray, count: int | None
) -> list[Counterexample]:
    """The first example of each label, then the second of each, ...; in the order of the data."""
    seen: Counter[Any] = Counter()
    ranked = []
    for example in found:
        label = labels[example.sample].item()
        ranked.append((seen[label], example.sample, example))
        seen[label] += 1
    return sorted((best for *_, best in sorted(ranked)[:count]), key=lambda best: best.sample)


def _difference(change: np.ndarray) -> _Row:
    reach = float(np.abs(change).max()) or 1.0
    return _Row("perturbation", change, (-reach, reach), "RdBu_r")


def _filtered(module: nn.Module, samples: np.ndarray) -> np.ndarray:
    filter = Classifier("filter", nn.Identity(), None, module)
    place = device_of(module)
    with isolated(0), torch.no_grad(), borrowed([module], place):
        seen = filter.filtered(torch.from_numpy(samples).to(place))
    return as_array(seen)


def _verdict(label: Any, answer: int, classes: Sequence[str]) -> str:
    """Label and answer; a label may be the class's name, as scikit-learn's are, or its place."""
    named = str(label) if str(label) in classes or not classes else classes[label]
    return f"{short(named)} → {short(classes[answer] if classes else str(answer))}"


def _panels(rows: Sequence[_Row], titles: Sequence[str] = ()) -> tuple[Figure, np.ndarray]:
    columns = len(rows[0].samples)
    figure = new_figure(max(0.5 + _PANEL * columns, 3.6), 0.7 + 1.05 * _PANEL * len(rows))
    panels = figure.subplots(len(rows), columns, squeeze=False)
    for row, across in zip(rows, panels, strict=True):
        across[0].set_ylabel(row.name, fontsize=8)
        for place, axes in enumerate(across):
            axes.set(xticks=[], yticks=[])
            draw = _draw_image if row.samples.ndim == 4 else _draw_vector
            draw(axes, row, place)
    for axes, title in zip(panels[0], titles, strict=False):
        axes.set_title(title, fontsize=9, parse_math=False)
    return figure, panels


def _draw_image(axes: Axes, row: _Row, place: int) -> None:
    image, (low, high) = row.samples[place], row.limits
    if len(image) == 1:
        axes.imshow(image[0], cmap=row.colours, vmin=low, vmax=high, interpolation="nearest")
        return
    scaled = np.clip((image - low) / (high - low), 0, 1)
    axes.imshow(scaled.transpose(1, 2, 0), interpolation="nearest")


def _draw_vector(axes: Axes, row: _Row, place: int) -> None:
    axes.plot(row.samples[place], drawstyle="steps-mid", color="#0072B2", linewidth=1)
    axes.axhline(0, color="gray", linewidth=0.5)
    low, high = row.limits
    margin = 0.05 * (high - low)
    axes.set_ylim(low - margin, high + margin)
