"""What each class was taken for: confusion matrices, and precision, recall and F1."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from pytest_aerobust.errors import ContractError
from pytest_aerobust.figures.drawing import entitle, heatmap, name_ticks, new_figure, write_cells
from pytest_aerobust.figures.extra import from_extra
from pytest_aerobust.figures.view import ArmName, View, view_of
from pytest_aerobust.results.evaluation import Evaluation

# Counts of more classes are too small to be read.
_ANNOTATED = 20
# Of more classes a report shows those with the lowest F1.
_REPORTED = 25
_SUMMARIES = ("accuracy", "macro avg", "weighted avg")
_SCORES = ("precision", "recall", "f1-score")
_REPORT_WIDTH = 4.2


def confusion(evaluation: Evaluation, arm: ArmName | None = None, attacked: bool = True) -> Figure:
    """The confusion matrix: actual classes down, answered ones across.

    Counts are written into the cells for up to 20 classes; an empty cell is 0.

    Args:
        evaluation: What was measured.
        arm: Whose answers; the pipeline's by default.
        attacked: Whether each beaten sample is answered as its adversarial example is; otherwise
            the answers are those before any attack.

    Raises:
        ContractError: There is no such arm, or the evaluation has no confusion matrices.
        UndecidedError: The arm stopped early, so what the attack leaves is open.
    """
    view = view_of(evaluation, arm, attacked)
    side = _side(view)
    figure = new_figure(side, side + 0.2)
    _draw_matrix(figure, figure.subplots(), view.matrix, view.names, "Blues")
    entitle(figure, view.title)
    return figure


def mispredictions(
    evaluation: Evaluation, arm: ArmName | None = None, attacked: bool = True
) -> Figure:
    """What each class was mistaken for: the confusion matrix without its diagonal.

    Where the attack had targets, the cell of each class and its target has an outline.

    Args:
        evaluation: What was measured.
        arm: Whose mistakes; the pipeline's by default.
        attacked: Whether after the attack, or before any.

    Raises:
        ContractError: There is no such arm, or the evaluation has no confusion matrices.
        UndecidedError: The arm stopped early, so what the attack leaves is open.
    """
    view = view_of(evaluation, arm, attacked)
    side = _side(view)
    figure = new_figure(side, side + 0.4)
    matrix = np.ma.masked_array(view.matrix, np.eye(len(view.names), dtype=bool))
    axes = figure.subplots()
    _draw_matrix(figure, axes, matrix, view.names, "Oranges")
    pairs = [(a, t) for a, t in enumerate(evaluation.targets or ()) if t not in (None, a)]
    for actual, target in pairs:
        cell = (target - 0.5, actual - 0.5)
        axes.add_patch(Rectangle(cell, 1, 1, fill=False, edgecolor="#0072B2", linewidth=2))
    outlined = "\noutlined: where the attacker wanted each class" if pairs else ""
    entitle(figure, f"mispredictions, {view.title}{outlined}")
    return figure


def class_scores(
    evaluation: Evaluation, arm: ArmName | None = None, attacked: bool = True
) -> dict[str, Any]:
    """Precision, recall, F1 and support of each class, as scikit-learn reports them.

    Args:
        evaluation: What was measured.
        arm: Whose answers; the pipeline's by default.
        attacked: Whether after the attack, or before any.

    Returns:
        ``classification_report(output_dict=True, zero_division=0)``: for each class that occurs
        or is answered its ``precision``, ``recall``, ``f1-score`` and ``support``; then
        ``accuracy``, and the same four as ``macro avg`` and ``weighted avg``.

    Raises:
        ContractError: There is no such arm, the evaluation has no confusion matrices, or two rows
            of the report would have one name.
        UndecidedError: The arm stopped early, so what the attack leaves is open.
    """
    return _scores(view_of(evaluation, arm, attacked))


def class_report(
    evaluation: Evaluation, arm: ArmName | None = None, attacked: bool = True
) -> Figure:
    """The scores of :func:`class_scores` as a table; of more than 25 classes the worst 25.

    Args:
        evaluation: What was measured.
        arm: Whose answers; the pipeline's by default.
        attacked: Whether after the attack, or before any.

    Raises:
        ContractError, UndecidedError: As of :func:`class_scores`.
    """
    view = view_of(evaluation, arm, attacked)
    scores = _scores(view)
    figure = new_figure(_REPORT_WIDTH + 0.8, 1.2 + 0.27 * len(_reported(scores)))
    _draw_report(figure.subplots(), scores)
    entitle(figure, view.title)
    return figure


def confusion_with_report(
    evaluation: Evaluation, arm: ArmName | None = None, attacked: bool = True
) -> Figure:
    """:func:`confusion` and :func:`class_report` side by side.

    Args:
        evaluation: What was measured.
        arm: Whose answers; the pipeline's by default.
        attacked: Whether after the attack, or before any.

    Raises:
        ContractError, UndecidedError: As of :func:`class_scores`.
    """
    view = view_of(evaluation, arm, attacked)
    scores, side = _scores(view), _side(view)
    height = max(side, 1.2 + 0.27 * len(_reported(scores)))
    figure = new_figure(side + _REPORT_WIDTH, height)
    left, right = figure.subplots(1, 2, width_ratios=(side, _REPORT_WIDTH))
    _draw_matrix(figure, left, view.matrix, view.names, "Blues")
    _draw_report(right, scores)
    entitle(figure, view.title)
    return figure


def _side(view: View) -> float:
    return min(max(1.6 + 0.36 * len(view.names), 4.4), 7.0)


def _draw_matrix(
    figure: Figure, axes: Axes, matrix: np.ndarray, names: Sequence[str], colours: str
) -> None:
    largest = max(int(matrix.max()), 1)
    image = heatmap(axes, matrix, colours, largest)
    name_ticks(axes, names, names)
    axes.set(xlabel="answered", ylabel="actual")
    if len(names) > _ANNOTATED:
        figure.colorbar(image, ax=axes, label="samples", location="bottom", shrink=0.6)
        return
    counts = np.ma.filled(matrix, 0)
    texts = {(int(r), int(c)): str(counts[r, c]) for r, c in np.argwhere(counts)}
    # What fits a cell of about 5 inches over all classes, at 0.62 of a size a digit.
    size = 72 * 5.2 / len(names) * 0.85 / (0.62 * len(str(largest)))
    write_cells(axes, image, texts, min(max(size, 5), 10))


def _scores(view: View) -> dict[str, Any]:
    with from_extra():
        # Here because scikit-learn is slow to import and the other figures do without.
        from sklearn.metrics import classification_report

    actual, answered, counts = (np.array(column) for column in zip(*view.cells, strict=True))
    occurring = np.union1d(actual, answered)
    names = [view.names[label] for label in occurring]
    if len({*names, *_SUMMARIES}) < len(names) + len(_SUMMARIES):
        raise ContractError(
            f"classes are called {', '.join(names)}: a report has one row for each name and for "
            f"{', '.join(_SUMMARIES)}; give the model names that differ"
        )
    report: dict[str, Any] = classification_report(
        actual,
        answered,
        labels=occurring,
        target_names=names,
        sample_weight=counts,
        output_dict=True,
        zero_division=0,
    )
    return report


def _reported(scores: Mapping[str, Any]) -> list[str]:
    """The rows of a report: classes, or the worst of many, and the summaries."""
    classes = [name for name in scores if name not in _SUMMARIES]
    worst = sorted(classes, key=lambda name: scores[name]["f1-score"])[:_REPORTED]
    return [*(name for name in classes if name in worst), *_SUMMARIES]


def _draw_report(axes: Axes, scores: Mapping[str, Any]) -> None:
    rows = _reported(scores)
    table = np.full((len(rows), len(_SCORES) + 1), np.nan)
    texts = {}
    for row, name in enumerate(rows):
        # scikit-learn prints the accuracy where F1 is, too: all micro averages are one number.
        cells = {"f1-score": scores[name]} if name == "accuracy" else scores[name]
        for column, score in enumerate(_SCORES):
            if score in cells:
                table[row, column] = cells[score]
                texts[row, column] = f"{cells[score]:.3f}"
        if "support" in cells:
            texts[row, len(_SCORES)] = f"{cells['support']:.0f}"
    image = heatmap(axes, np.ma.masked_invalid(table), "Blues", 1)
    image.set_cmap(image.get_cmap().with_extremes(bad="white"))
    axes.set_aspect("auto")
    write_cells(axes, image, texts, 9)
    name_ticks(axes, [*_SCORES, "support"], rows)
    axes.tick_params(axis="x", top=True, labeltop=True, bottom=False, labelbottom=False)
    axes.axhline(len(rows) - len(_SUMMARIES) - 0.5, color="black", linewidth=1)
    hidden = len(scores) - len(rows)
    if hidden:
        axes.set_xlabel(f"{hidden} more classes have a higher F1", fontsize=9)
