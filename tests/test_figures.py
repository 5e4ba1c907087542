"""Figures show the numbers of the evaluation: read back from what is drawn."""

import subprocess
import sys
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from sklearn.metrics import classification_report
from torch import nn

from lightning_modules import Digits, PaperNetwork, VanillaAutoencoder, fit_or_load
from pytest_aerobust import (
    Arm,
    ContractError,
    Counterexamples,
    Evaluation,
    UndecidedError,
    evaluate,
    figures,
)
from pytest_aerobust.errors import FilterError

EPS = 0.15
ODD_NAMES = ("$x$", "<b>", "$\\frac{", "a_b^c", "\\alpha", "%", "_first", "ü", "line\nbreak", "")


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """A trained model and filter, 120 digits, and what BIM made of them."""
    folder, data = tmp_path_factory.mktemp("models"), Digits()
    model = fit_or_load(lambda: PaperNetwork((1, 8, 8), 10), data, folder=folder, max_epochs=8)
    filter = fit_or_load(lambda: VanillaAutoencoder((1, 8, 8)), data, folder=folder, max_epochs=10)
    x, y = (part[:120] for part in data.test_arrays())
    kept = Counterexamples()

    def measured(eps, **options):
        return evaluate(model, (x, y), attack="bim", eps=eps, filter=filter, **options)

    return SimpleNamespace(
        model=model,
        filter=filter,
        x=x,
        y=y,
        kept=kept,
        measured=measured,
        evaluation=measured(EPS, on_examples=kept),
    )


@pytest.fixture(scope="module")
def evaluation(digits):
    return digits.evaluation


@pytest.fixture(scope="module")
def sweep(digits):
    """The same attack at other budgets, the largest first."""
    return [digits.measured(eps) for eps in (0.25, 0.1, 0.05)]


def answers(digits, arm, attacked):
    """What an arm answers to each digit, worked out without the evaluation."""
    inputs = digits.x.clone()
    if attacked:
        for example in digits.kept.of(arm):
            inputs[example.sample] = example.adversarial
    with torch.no_grad():
        seen = digits.filter(inputs) if arm == "filtered" else inputs
        return digits.model(seen).argmax(dim=1).numpy()


def counts(digits, arm, attacked):
    matrix = np.zeros((10, 10), dtype=int)
    np.add.at(matrix, (digits.y.numpy(), answers(digits, arm, attacked)), 1)
    return matrix


def texts(axes):
    """What is written into cells (row, column)."""
    return {
        (int(text.get_position()[1]), int(text.get_position()[0])): text.get_text()
        for text in axes.texts
    }


def title(figure):
    return figure.get_suptitle()


def drawn_images(figure):
    return [np.ma.getdata(image.get_array()) for axes in figure.axes for image in axes.images]


def of_classes(evaluation, classes, right=3):
    """An evaluation of so many classes, each mistaken once for the next."""
    cells = [(c, c, right) for c in range(classes)]
    cells += [(c, (c + 1) % classes, 1) for c in range(classes)]
    arm = Arm("sssb" * classes, tuple(sorted(cells)), tuple(sorted(cells)))
    names = tuple(map(str, range(classes)))
    return replace(evaluation, unfiltered=arm, filtered=arm, classes=names)


def stopped_early(arm, after=60):
    """What would be known of an arm if only its first samples had been attacked."""
    rest = "".join("-" if outcome == "-" else "?" for outcome in arm.outcomes[after:])
    return Arm(arm.outcomes[:after] + rest)


ARMS = ("filtered", "unfiltered")


class TestConfusion:
    @pytest.mark.parametrize("attacked", [True, False])
    @pytest.mark.parametrize("arm", ARMS)
    def test_is_drawn_as_counted(self, digits, evaluation, arm, attacked):
        """Colours and numbers are those of answers counted independently; 0 stays empty."""
        axes = figures.confusion(evaluation, arm, attacked).axes[0]
        expected = counts(digits, arm, attacked)
        assert np.array_equal(axes.images[0].get_array(), expected)
        written = {(r, c): str(expected[r, c]) for r, c in np.argwhere(expected)}
        assert texts(axes) == written

    def test_is_titled_with_what_was_measured(self, evaluation):
        """Attack, norm, budget, threat, arm and accuracy; before an attack, only the arm."""
        first, second = title(figures.confusion(evaluation)).splitlines()
        assert first == "BIM Linf eps=0.15, white-box, filtered"
        assert second == f"robust accuracy {evaluation.filtered.accuracy:.3f}, 120 samples"
        clean = title(figures.confusion(evaluation, "unfiltered", attacked=False))
        assert clean.startswith("before any attack, unfiltered\nclean accuracy")

    def test_takes_the_pipeline_unless_told(self, digits, evaluation):
        """With a filter that is the filtered arm, without one the unfiltered."""
        bare = replace(evaluation, filtered=None)
        assert np.array_equal(
            drawn_images(figures.confusion(bare))[0], counts(digits, "unfiltered", True)
        )

    def test_writes_black_on_light_and_white_on_dark(self, evaluation):
        """A number can be read whatever the colour of its cell."""
        matrix = of_classes(evaluation, 3, right=90)
        shades = {
            t.get_text(): to_hex(t.get_color()) for t in figures.confusion(matrix).axes[0].texts
        }
        assert shades == {"90": "#ffffff", "1": "#000000"}

    @pytest.mark.parametrize("classes", [21, 50, 130])
    def test_of_many_classes_has_a_scale_instead_of_numbers(self, evaluation, classes):
        """Numbers that nobody could read are not written, and names are thinned out."""
        figure = figures.confusion(of_classes(evaluation, classes))
        assert not figure.axes[0].texts
        assert len(figure.axes) == 2
        assert len(figure.axes[0].get_yticks()) <= 50

    def test_draws_names_literally(self, evaluation):
        """Names that look like formulas or markup are no formulas, and break nothing."""
        figure = figures.confusion_with_report(replace(evaluation, classes=ODD_NAMES))
        assert figures.to_png(figure)
        names = [label.get_text() for label in figure.axes[0].get_yticklabels()]
        assert names == [*ODD_NAMES[:8], "line break", ""]
        assert not any(label.get_parse_math() for label in figure.axes[0].get_yticklabels())

    def test_numbers_classes_that_have_no_name(self, evaluation):
        """Results without names are drawn with the classes' numbers."""
        axes = figures.confusion(replace(evaluation, classes=())).axes[0]
        assert [label.get_text() for label in axes.get_xticklabels()] == list("0123456789")


class TestMispredictions:
    def test_have_no_diagonal(self, digits, evaluation):
        """What was answered rightly is masked; the rest is the confusion matrix."""
        image = figures.mispredictions(evaluation).axes[0].images[0].get_array()
        assert np.array_equal(np.ma.getmaskarray(image), np.eye(10, dtype=bool))
        expected = counts(digits, "filtered", True)
        np.fill_diagonal(expected, 0)
        assert np.array_equal(image.filled(0), expected)

    def test_outline_each_classes_target(self, digits):
        """The outlined cells are the pairs of the evaluation's targets."""
        evaluation = digits.measured(EPS, target="natural")
        figure = figures.mispredictions(evaluation)
        cells = [(p.get_y() + 0.5, p.get_x() + 0.5) for p in figure.axes[0].patches]
        assert cells == list(enumerate(evaluation.targets))
        assert "target natural" in title(figure)

    def test_outline_nothing_on_the_diagonal_or_without_target(self, evaluation):
        """A class that is its own target, or has none, is not attacked."""
        assert not figures.mispredictions(evaluation).axes[0].patches
        sent = replace(evaluation, target=1, targets=(None, 1, *[1] * 8))
        assert len(figures.mispredictions(sent).axes[0].patches) == 8


class TestScores:
    @pytest.mark.parametrize("attacked", [True, False])
    @pytest.mark.parametrize("arm", ARMS)
    def test_are_those_of_the_raw_answers(self, digits, evaluation, arm, attacked):
        """The report from counted cells is scikit-learn's report from every single answer."""
        expected = classification_report(
            digits.y.numpy(),
            answers(digits, arm, attacked),
            output_dict=True,
            zero_division=0,
        )
        scores = figures.class_scores(evaluation, arm, attacked)
        assert scores.keys() == expected.keys()
        for name, row in expected.items():
            assert scores[name] == pytest.approx(row, abs=1e-12)

    def test_are_drawn_as_a_table(self, evaluation):
        """Each row has its four numbers; the accuracy stands where F1 does."""
        scores = figures.class_scores(evaluation)
        axes = figures.class_report(evaluation).axes[0]
        written = texts(axes)
        rows = [label.get_text() for label in axes.get_yticklabels()]
        assert rows == [*"0123456789", "accuracy", "macro avg", "weighted avg"]
        for row, name in enumerate(rows):
            numbers = scores[name] if isinstance(scores[name], dict) else {"f1-score": scores[name]}
            for column, score in enumerate(("precision", "recall", "f1-score")):
                expected = f"{numbers[score]:.3f}" if score in numbers else None
                assert written.get((row, column)) == expected
            support = f"{numbers['support']:.0f}" if "support" in numbers else None
            assert written.get((row, 3)) == support

    def test_stand_beside_the_confusion_matrix(self, evaluation):
        """One figure holds what the two others hold."""
        both = figures.confusion_with_report(evaluation).axes
        assert texts(both[0]) == texts(figures.confusion(evaluation).axes[0])
        assert texts(both[1]) == texts(figures.class_report(evaluation).axes[0])

    def test_of_many_classes_show_the_worst(self, evaluation):
        """A table that would fill pages keeps the lowest F1, and says how many it left out."""
        many = of_classes(evaluation, 60)
        cells = tuple(cell for cell in many.filtered.confusion if cell != (7, 7, 3))
        axes = figures.class_report(replace(many, filtered=Arm("s" * 237, cells, cells))).axes[0]
        rows = [label.get_text() for label in axes.get_yticklabels()]
        assert len(rows) == 28
        assert "7" in rows
        assert axes.get_xlabel() == "35 more classes have a higher F1"

    def test_refuse_classes_of_one_name(self, evaluation):
        """Rows of a report are told apart by name, also from its summaries."""
        for names in (("a",) * 10, ("accuracy", *"123456789")):
            with pytest.raises(ContractError, match="one row for each name"):
                figures.class_scores(replace(evaluation, classes=names))


@pytest.mark.parametrize(
    "show", [figures.confusion, figures.mispredictions, figures.class_scores, figures.class_report]
)
class TestWhatCannotBeShown:
    def test_an_arm_that_is_not_there(self, evaluation, show):
        """Without a filter there is no filtered arm, and unknown names are refused."""
        with pytest.raises(ContractError, match="no filter"):
            show(replace(evaluation, filtered=None), "filtered")
        with pytest.raises(ContractError, match="did you mean filtered"):
            show(evaluation, "filterd")

    def test_an_evaluation_without_confusion(self, evaluation, show):
        """A result that holds outcomes alone has nothing to draw."""
        bare = replace(evaluation, filtered=Arm(evaluation.filtered.outcomes))
        with pytest.raises(ContractError, match="no confusion matrix"):
            show(bare)

    def test_an_arm_that_stopped_early(self, evaluation, show):
        """What the attack leaves is open, and the error says how to measure it."""
        arm = evaluation.filtered
        early = replace(arm, outcomes=stopped_early(arm).outcomes)
        with pytest.raises(UndecidedError, match="--aerobust-full"):
            show(replace(evaluation, filtered=early))
        assert show(replace(evaluation, filtered=early), attacked=False)


class TestAccuracyCurves:
    def test_rise_from_the_clean_accuracy_through_sorted_budgets(self, evaluation, sweep):
        """Each arm's line is its accuracies by budget, whatever the order of the evaluations."""
        given = [sweep[0], evaluation, *sweep[1:]]
        lines = figures.accuracy_curves(given).axes[0].lines
        for line, arm in zip(lines, ("unfiltered", "filtered"), strict=True):
            ordered = sorted(given, key=lambda e: e.eps)
            heights = [e.arms[arm].accuracy for e in ordered]
            assert list(line.get_xdata()) == [0, 0.05, 0.1, EPS, 0.25]
            assert list(line.get_ydata()) == [evaluation.arms[arm].clean_accuracy, *heights]

    def test_under_a_disturbance_they_are_curves_of_their_own(self, sweep):
        """Named by what happened, and without the clean accuracy, which is of other inputs."""
        turned = [replace(each, disturbances=(("rotation", (10.0,)),)) for each in sweep]
        figure = figures.accuracy_curves([*sweep, *turned])
        starts = [min(line.get_xdata()) for line in figure.axes[0].lines]
        assert sorted(starts) == [0, 0, 0.05, 0.05]
        names = [text.get_text() for text in figure.legends[0].get_texts()]
        assert sum("rotation 10 degrees" in name for name in names) == 2
        shown = figures.confusion(turned[0])
        assert "rotation 10 degrees, BIM Linf" in title(shown)

    def test_are_told_apart_without_colour(self, sweep):
        """Arms differ in dashes and markers; the legend and the title name what is drawn."""
        figure = figures.accuracy_curves(sweep)
        bare, filtered = figure.axes[0].lines
        assert (bare.get_linestyle(), filtered.get_linestyle()) == ("--", "-")
        assert title(figure) == "accuracy under attack, BIM Linf, white-box"
        names = [text.get_text() for text in figure.legends[0].get_texts()]
        assert names == ["unfiltered", "filtered"]

    def test_break_where_an_arm_stopped_early(self, evaluation, sweep):
        """What is only known to lie between two numbers is a bar between them, and no point."""
        early = replace(evaluation, filtered=stopped_early(evaluation.filtered))
        figure = figures.accuracy_curves([*sweep, early])
        line = next(line for line in figure.axes[0].lines if line.get_linestyle() == "-")
        assert np.isnan(line.get_ydata()[3])
        (bar,) = figure.axes[0].containers
        (ends,) = bar.lines[2][0].get_segments()
        assert ends[:, 1] == pytest.approx([float(x) for x in early.filtered.accuracy_interval])
        assert "stopped early" in title(figure)

    def test_put_open_arms_side_by_side(self, evaluation):
        """Two arms that stopped early at one budget don't hide each other's bar."""
        arms = {name: stopped_early(arm) for name, arm in evaluation.arms.items()}
        figure = figures.accuracy_curves([replace(evaluation, **arms)])
        figure.draw_without_rendering()
        bars = [bars.lines[2][0] for bars in figure.axes[0].containers]
        places = [bar.get_transform().transform(bar.get_segments()[0])[0, 0] for bar in bars]
        assert places[1] - places[0] == pytest.approx(0.07 * figure.dpi)
        low, high = figure.axes[0].get_xlim()
        assert low < 0 < EPS < high

    def test_take_the_full_measurement_where_there_are_both(self, evaluation):
        """An early stop and a full run of the same are no contradiction."""
        early = replace(evaluation, filtered=stopped_early(evaluation.filtered))
        for given in ([early, evaluation], [evaluation, early]):
            lines = figures.accuracy_curves(given).axes[0].lines
            assert lines[1].get_ydata()[1] == evaluation.filtered.accuracy

    def test_of_several_filters_share_the_bare_model(self, sweep):
        """Each filter has its line under its literal name; the bare model has one."""
        figure = figures.accuracy_curves({"$a$": sweep, "_b": [flipped(e) for e in sweep]})
        names = [text.get_text() for text in figure.legends[0].get_texts()]
        assert names == ["unfiltered", "$a$, filtered", "_b, filtered"]
        assert figures.to_png(figure)

    def test_have_a_line_for_each_target_and_threat(self, digits, evaluation):
        """What differs is in the legend; the bare model does not know of a filter's threat."""
        gray = digits.measured(EPS, threat="gray-box", target=3)
        figure = figures.accuracy_curves([evaluation, gray])
        names = [text.get_text() for text in figure.legends[0].get_texts()]
        assert names == [
            "white-box, unfiltered",
            "white-box, filtered",
            "target 3, gray-box, unfiltered",
            "target 3, gray-box, filtered",
        ]

    def test_refuse_what_cannot_share_an_axis(self, evaluation):
        """Budgets of two norms have different units."""
        with pytest.raises(ContractError, match="norms l2 and linf"):
            figures.accuracy_curves([evaluation, replace(evaluation, norm="l2")])

    def test_refuse_evaluations_that_disagree(self, evaluation):
        """Two filters in one list would make one line of two, so they ask for names."""
        with pytest.raises(ContractError, match=r"disagree at eps=0.*by name"):
            figures.accuracy_curves([evaluation, flipped(evaluation)])

    def test_refuse_nothing(self, evaluation):
        """No evaluations at all, or none under a name."""
        for empty in ([], {}, {"a": [evaluation], "b": []}):
            with pytest.raises(ContractError, match="no evaluations"):
                figures.accuracy_curves(empty)


def flipped(evaluation):
    """The same with a filtered arm that is wrong from the start."""
    return replace(evaluation, filtered=Arm("-" * 119 + "s"))


class TestCounterexamples:
    def rows(self, figure, columns):
        images = drawn_images(figure)
        return [images[i : i + columns] for i in range(0, len(images), columns)]

    def test_show_input_change_and_result(self, digits):
        """Panels are the input, the adversarial example, and exactly their difference between."""
        found = digits.kept.of("filtered")[:8]
        kept = Counterexamples()
        for e in found:
            kept("filtered", np.array([e.sample]), e.adversarial[None], np.array([e.answer]))
        figure = figures.counterexamples(kept, digits.x, digits.y, count=8)
        inputs, changes, results = self.rows(figure, len(found))
        for place, example in enumerate(found):
            original = digits.x[example.sample, 0].numpy()
            adversarial = example.adversarial[0].numpy()
            assert np.array_equal(inputs[place], original)
            assert np.array_equal(changes[place], adversarial - original)
            assert np.array_equal(results[place], adversarial)
        titles = [axes.get_title() for axes in figure.axes[: len(found)]]
        assert titles == [f"{digits.y[e.sample]} → {e.answer}" for e in found]

    def test_scale_the_change_about_0_and_tell_its_size(self, digits):
        """No change is in the middle of the colours, and the largest is written."""
        figure = figures.counterexamples(digits.kept, digits.x, digits.y, count=4)
        panels = figure.axes[4:8]
        for panel in panels:
            low, high = panel.images[0].get_clim()
            assert low == -high
            size = np.abs(panel.images[0].get_array()).max()
            assert panel.get_xlabel() == f"at most {size:.3g}"
        assert high == max(np.abs(panel.images[0].get_array()).max() for panel in panels)

    def test_show_what_a_filter_makes_of_both(self, digits):
        """Two more rows are the filter's outputs; its mode and flags come back."""
        digits.filter.train()
        try:
            figure = figures.counterexamples(
                digits.kept, digits.x, digits.y, filter=digits.filter, count=3
            )
            assert all(part.training for part in digits.filter.modules())
        finally:
            digits.filter.eval()
        assert all(weight.requires_grad for weight in digits.filter.parameters())
        inputs, _, results, *seen = self.rows(figure, 3)
        for before, after in zip((inputs, results), seen, strict=True):
            with torch.no_grad():
                expected = digits.filter(torch.from_numpy(np.stack(before))[:, None])
            assert np.allclose(np.stack(after), expected[:, 0], atol=1e-6)

    def test_show_different_labels_first(self, digits):
        """Six columns of one class would show less than six classes do."""
        figure = figures.counterexamples(digits.kept, digits.x, digits.y, count=6)
        labels = [axes.get_title().split()[0] for axes in figure.axes[:6]]
        assert len(set(labels)) == 6

    def test_are_titled_with_the_evaluation(self, digits, evaluation):
        """An evaluation gives the conditions and the names of classes, drawn literally."""
        named = replace(evaluation, classes=ODD_NAMES)
        figure = figures.counterexamples(
            digits.kept, digits.x, digits.y, arm="unfiltered", evaluation=named, count=10
        )
        assert title(figure) == "counterexamples, BIM Linf eps=0.15, white-box, unfiltered"
        assert any("$x$" in axes.get_title() for axes in figure.axes)

    @pytest.mark.parametrize("labels", [np.array(["a", "b"]), np.array([0, 1])])
    def test_take_labels_as_the_model_names_them(self, evaluation, labels):
        """Labels are the names that a scikit-learn model has, or places among them."""
        kept = Counterexamples()
        kept("filtered", np.array([0, 1]), torch.ones(2, 3), np.array([1, 0]))
        named = replace(evaluation, classes=("a", "b"), eps=1.0)
        figure = figures.counterexamples(kept, np.zeros((2, 3)), labels, evaluation=named)
        assert [axes.get_title() for axes in figure.axes[:2]] == ["a → b", "b → a"]

    def test_of_vectors_are_lines(self):
        """Samples without pixels are drawn value by value."""
        kept = Counterexamples()
        kept("filtered", np.array([1]), torch.tensor([[0.25, 0.5]]), np.array([1]))
        figure = figures.counterexamples(kept, [[0, 0], [0.5, 0.5]], [0, 0])
        heights = [list(axes.lines[0].get_ydata()) for axes in figure.axes]
        assert heights == [[0.5, 0.5], [-0.25, 0], [0.25, 0.5]]

    def test_of_colour_images_show_no_change_as_gray(self):
        """Three channels are drawn as colours, their change around the middle gray."""
        kept = Counterexamples()
        kept("filtered", np.array([0]), torch.full((1, 3, 2, 2), 15.0), np.array([1]))
        image = torch.full((1, 3, 2, 2), 10.0)
        image[:, 0] = 15.0
        figure = figures.counterexamples(kept, image, [0], bounds=(0.0, 20.0))
        original, change, result = (drawn[0, 0].tolist() for drawn in drawn_images(figure))
        assert original == [0.75, 0.5, 0.5]
        assert change == [0.5, 1.0, 1.0]
        assert result == [0.75] * 3

    def test_need_the_data_that_was_evaluated(self, digits):
        """Other samples, shapes or labels are refused, and so is an arm without examples."""
        with pytest.raises(ContractError, match="no adversarial example of an arm 'filtered'"):
            figures.counterexamples(Counterexamples(), digits.x, digits.y)
        with pytest.raises(ContractError, match="the data that was evaluated"):
            figures.counterexamples(digits.kept, digits.x[:5], digits.y[:5])
        with pytest.raises(ContractError, match="the data that was evaluated"):
            figures.counterexamples(digits.kept, digits.x.flatten(1), digits.y)
        with pytest.raises(ContractError, match="a label a sample"):
            figures.counterexamples(digits.kept, digits.x, digits.y[:5])
        with pytest.raises(ContractError, match="count=0"):
            figures.counterexamples(digits.kept, digits.x, digits.y, count=0)

    def test_of_another_budget_are_refused(self, digits, evaluation):
        """Under a title with a budget stand examples of its ball alone, at any norm."""
        for smaller in (0.1, EPS * 0.9):
            other = replace(evaluation, eps=smaller)
            for arm in ("filtered", "unfiltered"):
                with pytest.raises(ContractError, match=r"outside the ball .*on_examples="):
                    figures.counterexamples(
                        digits.kept, digits.x, digits.y, arm=arm, evaluation=other
                    )
        for norm, least in (("l2", 0.3), ("l1", 1.0), ("l0", 5.0)):
            other = replace(evaluation, norm=norm, eps=least)
            with pytest.raises(ContractError, match="outside the ball"):
                figures.counterexamples(digits.kept, digits.x, digits.y, evaluation=other)
            wide = replace(evaluation, norm=norm, eps=100.0)
            assert figures.counterexamples(digits.kept, digits.x, digits.y, evaluation=wide)

    def test_of_other_data_are_refused(self, digits, evaluation):
        """Samples in another order are not what the attacker started from."""
        order = list(range(119, -1, -1))
        with pytest.raises(ContractError, match="outside the ball"):
            figures.counterexamples(
                digits.kept, digits.x[order], digits.y[order], evaluation=evaluation
            )

    @pytest.mark.parametrize("scale", [1.0, 255.0])
    @pytest.mark.parametrize("norm", ["linf", "l2"])
    @pytest.mark.parametrize("share", [1e-4, 0.1])
    def test_that_rounding_moved_are_drawn(self, scale, norm, share):
        """What verification accepts the figure accepts, whatever the units of the data."""
        x, eps = torch.linspace(0.1, 0.9, 48).reshape(8, 6) * scale, share * scale
        model = nn.Linear(6, 2)
        border = x[4].sum().item() - 6 * eps / 4
        with torch.no_grad():
            model.weight.copy_(torch.tensor([[-1.0] * 6, [1.0] * 6]) / scale)
            model.bias.copy_(torch.tensor([border, -border]) / scale)
        y, kept = model(x).argmax(dim=1), Counterexamples()
        sizes = {"eps": eps, "norm": norm, "bounds": (0.0, scale)}
        found = evaluate(model, (x, y), attack="bim", on_examples=kept, **sizes)
        assert len(kept.of("unfiltered")) == found.unfiltered.beaten > 0
        assert figures.counterexamples(kept, x, y, evaluation=found)
        assert figures.counterexamples(kept, x.double(), y, evaluation=found)

    @staticmethod
    def of_sums(scale=1.0):
        """A model of the sum of 6 numbers, and 8 inputs a little beyond the bounds.

        Those inside their bounds fall where 5 numbers move by 0.042 to 0.048 each.
        """
        model = nn.Linear(6, 2)
        with torch.no_grad():
            model.weight.copy_(torch.tensor([[-1.0] * 6, [1.0] * 6]) / scale)
            model.bias.copy_(torch.tensor([3.0, -3.0]))
        beyond = torch.tensor([-9e-7, 1 + 9e-7]).expand(8, 2)
        away = torch.linspace(0.21, 0.24, 8) * torch.tensor([1.0, -1.0] * 4) / 4
        inside = 0.5 + away[:, None].expand(8, 4)
        x = torch.cat([beyond, inside], dim=1) * scale
        return model, x, model(x).argmax(dim=1)

    @pytest.mark.parametrize("disturb", [None, {"noise": 0.05}])
    @pytest.mark.parametrize("make", [torch.Tensor.numpy, torch.Tensor.double, torch.Tensor.tolist])
    def test_of_inputs_that_were_clipped_are_drawn(self, make, disturb):
        """Inputs that left the bounds by rounding are taken as the evaluation took them."""
        model, x, y = self.of_sums()
        kept, sizes = Counterexamples(), {"attack": "bim", "eps": 0.05, "disturb": disturb}
        found = evaluate(model, (x, y), on_examples=kept, **sizes)
        assert any("were clipped" in note for note in found.notes)
        assert figures.counterexamples(kept, make(x), y, evaluation=found)

    def test_of_other_units_need_their_bounds(self):
        """Where a disturbance was clipped to other bounds than the figure's, the error says so."""
        model, x, y = self.of_sums(255.0)
        kept, bounds = Counterexamples(), (0.0, 255.0)
        sizes = {"attack": "bim", "eps": 12.75, "disturb": {"noise": 9.0}, "bounds": bounds}
        found = evaluate(model, (x, y), on_examples=kept, **sizes)
        with pytest.raises(ContractError, match=r"its bounds=.*here \(0, 1\)"):
            figures.counterexamples(kept, x, y, evaluation=found)
        assert figures.counterexamples(kept, x, y, evaluation=found, bounds=bounds)

    def test_of_a_bare_model_are_the_default(self, digits):
        """Without a filter the pipeline is the model alone; an arm that is named is that one."""
        kept = Counterexamples()
        bare = evaluate(digits.model, (digits.x, digits.y), attack="bim", eps=EPS, on_examples=kept)
        figure = figures.counterexamples(kept, digits.x, digits.y)
        assert title(figure) == "counterexamples, unfiltered arm"
        figure = figures.counterexamples(kept, digits.x, digits.y, evaluation=bare)
        assert title(figure) == "counterexamples, BIM Linf eps=0.15, white-box, unfiltered"
        with pytest.raises(ContractError, match="of 'unfiltered', ask for them with arm="):
            figures.counterexamples(kept, digits.x, digits.y, arm="filtered")
        with pytest.raises(ContractError, match="no adversarial example of an arm 'unfiltered'"):
            figures.counterexamples(Counterexamples(), digits.x, digits.y, evaluation=bare)

    def test_behind_a_filter_are_the_pipelines(self, digits, evaluation):
        """With a filter the default is its arm, also where only the bare model was fooled."""
        figure = figures.counterexamples(digits.kept, digits.x, digits.y)
        assert title(figure) == "counterexamples, filtered arm"
        bare = Counterexamples("unfiltered")
        for e in digits.kept.of("unfiltered"):
            bare("unfiltered", np.array([e.sample]), e.adversarial[None], np.array([e.answer]))
        for known in ({"evaluation": evaluation}, {"filter": digits.filter}):
            with pytest.raises(ContractError, match=r"of an arm 'filtered' was kept.*'unfiltered'"):
                figures.counterexamples(bare, digits.x, digits.y, **known)

    @pytest.mark.parametrize(
        "disturb", [{"rotation": 20}, {"noise": 0.1, "brightness": 0.2}, {"shift": (1, -1)}]
    )
    @pytest.mark.parametrize("attack", [{"attack": "bim", "eps": 0.1}, {}])
    def test_start_from_the_disturbed_input(self, digits, disturb, attack):
        """The perturbation that is drawn is the attacker's alone, not that of a bad day."""
        kept = Counterexamples()
        found = evaluate(
            digits.model, (digits.x, digits.y), disturb=disturb, on_examples=kept, **attack
        )
        figure = figures.counterexamples(kept, digits.x, digits.y, evaluation=found, count=5)
        inputs, changes, results = self.rows(figure, len(drawn_images(figure)) // 3)
        assert max(np.abs(change).max() for change in changes) <= attack.get("eps", 0) + 1e-6
        for before, change, after in zip(inputs, changes, results, strict=True):
            assert np.allclose(before + change, after)

    def test_behind_a_filter_start_from_its_outputs(self, digits):
        """Under behind-filter the inputs are the filter's outputs; the images are refused."""
        kept = Counterexamples()
        found = digits.measured(EPS, threat="behind-filter", on_examples=kept)
        with torch.no_grad():
            seen = torch.cat([digits.filter(part) for part in digits.x.split(7)])
        assert figures.counterexamples(kept, seen, digits.y, evaluation=found)
        with pytest.raises(ContractError, match="the filter's outputs"):
            figures.counterexamples(kept, digits.x, digits.y, evaluation=found)

    def test_name_a_filter_that_changes_shapes(self, digits):
        """The filter is held to the same as in an evaluation."""
        with pytest.raises(FilterError, match="expected the same shape"):
            figures.counterexamples(digits.kept, digits.x, digits.y, filter=nn.Flatten())


class TestLossHistories:
    def test_are_drawn_from_the_first_epoch(self):
        """One line a training, and the last value beside its literal name."""
        figure = figures.loss_histories({"$relu$": [3.0, 2.0, 1.5], "_tanh": [2.5]})
        first, second = figure.axes[0].lines
        assert list(first.get_xdata()) == [1, 2, 3]
        assert list(first.get_ydata()) == [3.0, 2.0, 1.5]
        assert first.get_linestyle() != second.get_linestyle()
        names = [text.get_text() for text in figure.legends[0].get_texts()]
        assert names == ["$relu$: 1.5", "_tanh: 2.5"]
        assert figures.to_png(figure)

    @pytest.mark.parametrize(
        ("losses", "scale"),
        [([1.0, 0.02], "linear"), ([1.0, 0.009], "log"), ([1.0, 0.0], "linear")],
    )
    def test_are_logarithmic_over_more_than_two_decades(self, losses, scale):
        """Where all losses are positive; 0 has no logarithm."""
        assert figures.loss_histories({"a": losses}).axes[0].get_yscale() == scale

    def test_leave_out_what_is_not_finite(self):
        """A diverged training neither breaks the axis nor looks converged."""
        losses = [1.0, float("inf"), 0.5, float("nan")]
        figure = figures.loss_histories({"a": losses, "b": [float("nan")]})
        assert np.isfinite(figure.axes[0].lines[0].get_ydata()).tolist() == [
            True,
            False,
            True,
            False,
        ]
        assert [t.get_text() for t in figure.legends[0].get_texts()] == ["a: nan", "b: nan"]
        assert figures.to_png(figure)

    @pytest.mark.parametrize("histories", [{}, {"a": []}, {"a": [[1.0]]}, {"a": ["x"]}, {"a": 3.0}])
    def test_refuse_what_is_no_history(self, histories):
        """Nothing, or something other than a number for each epoch."""
        with pytest.raises(ContractError, match="expected"):
            figures.loss_histories(histories)


class TestLatentPlane:
    def test_names_each_class_at_its_median(self):
        """A cluster can be found without telling its colour, and an outlier does not move it."""
        codes = torch.tensor([[0, 0], [1, 1], [9, 2], [5.0, 5.0]], requires_grad=True)
        axes = figures.latent_plane(codes, torch.tensor([0, 0, 0, 2]), ["$x$", "b", "c"]).axes[0]
        assert {t.get_text(): t.get_position() for t in axes.texts} == {"$x$": (1, 1), "c": (5, 5)}
        assert [points.get_offsets().tolist() for points in axes.collections] == [
            [[0, 0], [1, 1], [9, 2]],
            [[5, 5]],
        ]

    @pytest.mark.parametrize(
        ("codes", "labels", "match"),
        [
            (np.zeros((3, 3)), [0, 0, 0], "two latent numbers"),
            (np.zeros((0, 2)), [], "two latent numbers"),
            ([[0, np.nan]], [0], "1 of 1 codes"),
            ([[0, 0]], [0, 1], "expected 1 classes"),
            ([[0, 0]], [0.5], "float64"),
            ([[0, 0]], [-1], "classes from 0"),
            ([[0, 0]], [2], "there are 2 classes"),
        ],
    )
    def test_refuses_what_is_no_plane(self, codes, labels, match):
        """With the shape that came and the one that was expected."""
        with pytest.raises(ContractError, match=match):
            figures.latent_plane(codes, labels, ["a", "b"])

    def test_points_are_quantiles_in_the_order_of_a_picture(self):
        """Rows run from the top of the plane to the bottom, columns from left to right."""
        points = figures.latent_points(3, margin=0.1).reshape(3, 3, 2)
        quantile = 1.2815515655446004  # of 0.9
        assert points[0, 0].tolist() == pytest.approx([-quantile, quantile])
        assert points[1, 1].tolist() == pytest.approx([0, 0], abs=1e-12)
        assert points[2, 2].tolist() == pytest.approx([quantile, -quantile])
        assert points.dtype == torch.float32

    @pytest.mark.parametrize("arguments", [(1,), (3, 0.0), (3, 0.5)])
    def test_points_need_a_grid_inside_the_plane(self, arguments):
        """One point is no interval, and probability 0 is infinitely far away."""
        with pytest.raises(ContractError, match="expected"):
            figures.latent_points(*arguments)


class TestImages:
    def test_stand_in_a_grid_without_gaps(self):
        """The figure is the images and nothing else, row by row; what is left over is empty."""
        images = torch.arange(5.0)[:, None, None, None].expand(5, 1, 2, 3) / 5
        (grid,) = drawn_images(figures.image_grid(images, columns=2))
        rows = np.repeat(np.array([[0.0, 0.2], [0.4, 0.6], [0.8, 1.0]]), 2, axis=0)
        assert grid == pytest.approx(np.repeat(rows, 3, axis=1))

    def test_make_a_square_unless_told(self):
        """Ten images stand in rows of four."""
        (grid,) = drawn_images(figures.image_grid(np.zeros((10, 3, 5, 5))))
        assert grid.shape == (15, 20, 3)

    @pytest.mark.parametrize("shape", [(4, 2, 5, 5), (0, 1, 5, 5), (4, 5), (5,)])
    def test_have_one_channel_or_three(self, shape):
        """Other shapes are refused with what came."""
        with pytest.raises(ContractError, match="have shape"):
            figures.image_grid(np.zeros(shape))


class TestReconstructions:
    def test_stand_below_their_inputs(self, digits):
        """The first samples above, what the filter makes of them below."""
        with torch.no_grad():
            outputs = digits.filter(digits.x)
        images = drawn_images(figures.reconstructions(digits.x, outputs, count=4))
        assert np.array_equal(np.stack(images[:4]), digits.x[:4, 0])
        assert np.array_equal(np.stack(images[4:]), outputs[:4, 0])

    def test_of_another_scale_take_their_own(self, digits):
        """Without bounds a raw output is stretched over its own range."""
        figure = figures.reconstructions(digits.x, 7 * digits.x + 3, count=2, bounds=None)
        limits = [image.get_clim() for axes in figure.axes for image in axes.images]
        assert limits == [(0, 1)] * 2 + [(3, 10)] * 2

    def test_are_of_their_inputs(self, digits):
        """Another shape means that they belong to something else."""
        with pytest.raises(ContractError, match="expected the same"):
            figures.reconstructions(digits.x, digits.x[:3])


class TestPng:
    def test_of_the_same_figure_is_the_same(self, digits, evaluation):
        """Drawn again or built again, a page does not change; and it is a PNG."""
        figure = figures.confusion_with_report(evaluation)
        first = figures.to_png(figure)
        assert first.startswith(b"\x89PNG")
        assert figures.to_png(figure) == first
        assert figures.to_png(figures.confusion_with_report(evaluation)) == first
        for forbidden in (b"Software", b"Date", b"Creation"):
            assert forbidden not in first

    def test_holds_every_title(self, evaluation):
        """A long title is wrapped, so that nothing of it is cut off."""
        long = replace(
            evaluation, label="AVeryLongAttack With Many Words Linf", target="non-natural"
        )
        figure = figures.confusion(long)
        figure.draw_without_rendering()
        box = figure._suptitle.get_window_extent()
        assert 0 <= box.x0 < box.x1 <= figure.bbox.width


def python(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


BLOCKED = """
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == {package!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Blocked())
try:
    from pytest_aerobust import figures
    from pytest_aerobust.results.evaluation import Arm, Evaluation
    arm = Arm("s", ((0, 0, 1),), ((0, 0, 1),))
    words = ("bim", "BIM Linf", "linf", 0.1, "white-box", None)
    figures.class_scores(Evaluation(*words, {{}}, 0, arm, None))
except ImportError as error:
    print(error)
"""


@pytest.mark.parametrize("package", ["matplotlib", "sklearn"])
def test_a_missing_extra_is_named(package):
    """Without what figures need, the error says what to install."""
    result = python(BLOCKED.format(package=package))
    assert f"needs {package}" in result.stdout, result.stderr
    assert "pytest-aerobust[figures]" in result.stdout


def test_no_figure_imports_pyplot():
    """Neither importing nor drawing touches pyplot, so no backend and no global state is there."""
    code = (
        "import sys; from pytest_aerobust import figures as f;"
        "f.to_png(f.loss_histories({'a': [1.0, 2.0]}));"
        "print('matplotlib.figure' in sys.modules, 'matplotlib.pyplot' in sys.modules)"
    )
    assert python(code).stdout == "True False\n"


def test_every_public_function_is_listed():
    """What is exported is there, and each figure is a plain matplotlib figure."""
    assert all(callable(getattr(figures, name)) for name in figures.__all__)
    assert type(figures.loss_histories({"a": [1.0]})) is Figure


def test_a_search_that_ended_in_its_middle_leaves_the_matrix_open():
    """Where every sample is beaten but a target is still searched for, answers may change."""
    hunted = Arm("hht", clean_confusion=((0, 0, 3),), confusion=((0, 1, 3),))
    evaluation = Evaluation("bim", "BIM Linf", "linf", 0.1, "white-box", 1, {}, 0, hunted, None)
    with pytest.raises(UndecidedError, match="stopped early"):
        figures.confusion(evaluation)
    assert figures.confusion(evaluation, attacked=False)
