"""Model, filter and data as one subject of evaluations."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any

import torch
from torch import Tensor, nn

from pytest_aerobust.contract.arguments import FeatureBounds, FilterGradient, Mask, Statistics, hull
from pytest_aerobust.contract.catalogue import AttackSpec
from pytest_aerobust.errors import ContractError, DataError, FilterError, ModelError
from pytest_aerobust.subjects.borrowing import kept_buffers
from pytest_aerobust.subjects.box import Box
from pytest_aerobust.subjects.data import Samples, check_samples, shuffled, stratified
from pytest_aerobust.subjects.layout import Layout, Reply
from pytest_aerobust.subjects.loan import Loan, borrowed
from pytest_aerobust.subjects.logits import Answers
from pytest_aerobust.subjects.models import (
    device_of,
    filter_module,
    floating_dtype,
    model_module,
)
from pytest_aerobust.subjects.normalise import Normalise
from pytest_aerobust.subjects.pipeline import Classifier
from pytest_aerobust.subjects.randomness import isolated
from pytest_aerobust.subjects.repeats import first_places, repeat_notes
from pytest_aerobust.subjects.sklearn.black_box import BlackBox, check_estimator, common_classes

# Clean samples that are asked about in either layout, as from 16 on torch may take another
# convolution, and those of whom gradients are asked, which cost most.
_FEW, _FEWER = 16, 2


@dataclass(frozen=True)
class Sides:
    """What the arms attack and judge, while a run lasts.

    Attributes:
        unfiltered: The bare arm's model.
        known: The deployed model without the filter, which a gray-box attacker knows beside
            `unfiltered`; the same object unless the bare arm has a model of its own.
        pipeline: The model behind the filter; None where there is no filter.
        samples: Inputs and labels, on the run's device and in the model's precision.
        modules: Everything that is borrowed, to see whether a run changes it.
        notes: What a reader should know of the state in which they came.
    """

    unfiltered: Classifier
    known: Classifier
    pipeline: Classifier | None
    samples: Samples
    modules: tuple[nn.Module, ...] = ()
    notes: tuple[str, ...] = ()

    def name_of(self, side: Classifier) -> str:
        """Which of them a side is: ``unfiltered``, ``known`` or ``pipeline``."""
        return next(name for name in SIDES if getattr(self, name) is side)


SIDES = ("unfiltered", "known", "pipeline")


def judged_side(sides: Sides, threat: str) -> Classifier:
    """What the pipeline's arm judges: all that is deployed, or what stands behind the filter."""
    if threat == "behind-filter":
        return sides.known
    return sides.unfiltered if sides.pipeline is None else sides.pipeline


def behind_filter(pipeline: Classifier, samples: Samples, bounds: Box) -> tuple[Samples, Box]:
    """What the filter makes of the samples, and bounds wide enough for it on whatever scale.

    Raises:
        FilterError: It answers with NaN or infinity, which no perturbation can be added to.
    """
    with torch.no_grad():
        outputs = torch.cat([pipeline.clean(inputs)[0] for inputs in samples.chunks()])
    bad = (~outputs.flatten(1).isfinite()).any(dim=1).nonzero().flatten()
    if len(bad):
        raise FilterError(
            f"filter answers with NaN or infinity for {len(bad)} of {len(samples)} clean inputs, "
            f"first at index {samples.ids[bad[0].cpu()].item()}: an attacker behind it has "
            "nothing to start from. Look for an overflow or a division by 0 in it"
        )
    return replace(samples, inputs=outputs), bounds.widened(outputs)


@dataclass(frozen=True)
class Subject:
    """What is under test.

    Attributes:
        model: From inputs to logits.
        filter: From inputs to inputs, in front of the model; None where there is none.
        unfiltered_model: A model of its own for the bare arm; None takes `model`.
        front: Normalisation in front of either model.
        samples: Checked inputs and labels.
        bounds: Where each feature of an input may be, and which may change.
        classes: The model's own names of its classes, in their order; None where it has none.
        filter_gradient: How gradients pass the filter; None lets its own gradient decide.
        draws: How many answers are averaged, where filter or models draw random numbers.
    """

    model: nn.Module
    filter: nn.Module | None
    unfiltered_model: nn.Module | None
    front: nn.Module | None
    samples: Samples
    bounds: Box
    classes: tuple[Any, ...] | None = None
    filter_gradient: FilterGradient | None = None
    draws: int = 1

    @property
    def modules(self) -> list[nn.Module]:
        """Everything that a run borrows."""
        parts = (self.model, self.filter, self.unfiltered_model, self.front)
        return [part for part in parts if part is not None]

    @cached_property
    def firsts(self) -> Tensor:
        """Of each sample the place of the first that the model can't tell from it, ``(N,)``."""
        return first_places(self.samples.inputs, floating_dtype(self.model))

    def check_access(self, spec: AttackSpec) -> None:
        """Refuse an attack that asks a model for what it can't give.

        Raises:
            ModelError: An estimator without a twin has no gradients, and may have no scores.
        """
        for name, part in (("model", self.model), ("unfiltered_model", self.unfiltered_model)):
            if isinstance(part, BlackBox):
                part.check_access(spec, name)

    @contextmanager
    def borrowed(self, device: str | None, seed: int = 0, *, fast: bool = False) -> Iterator[Sides]:
        """The sides, ready to be attacked; everything is given back as it was.

        Args:
            device: Where to run; None stays where the model is.
            seed: Seed of whatever the sides draw.
            fast: Whether convolutions may get a faster memory layout. It pays where many questions
                follow the few that show whether the answers are the same in it.
        """
        place = device_of(self.model) if device is None else _checked_device(device)
        with borrowed(self.modules, place) as loan:
            layout = Layout(self.modules, lambda: self._replies(place, seed))
            sides = self._sides(place, seed, layout if fast else None, loan)
            try:
                yield replace(sides, modules=tuple(self.modules), notes=self._mode_notes(loan))
            finally:
                layout.restore()

    def _replies(self, device: torch.device, seed: int) -> list[Reply]:
        """What each side says to a few clean samples."""
        with torch.enable_grad(), kept_buffers(self.modules):
            # One draw, as the same generators draw it in either layout.
            sides = replace(self, draws=1)._sides(device, seed)
            asked = dict.fromkeys((sides.unfiltered, sides.known, sides.pipeline))
            few = sides.samples.inputs[:_FEW]
            return [_reply(side, few) for side in asked if side is not None]

    def _mode_notes(self, loan: Loan) -> tuple[str, ...]:
        named = {
            "model": self.model,
            "filter": self.filter,
            "unfiltered model": self.unfiltered_model,
        }
        return tuple(
            note
            for name, module in named.items()
            if module is not None
            for note in loan.mode_note(name, module)
        )

    def _sides(
        self,
        device: torch.device,
        seed: int,
        layout: Layout | None = None,
        loan: Loan | None = None,
    ) -> Sides:
        answers, own = Answers(), self.unfiltered_model
        side = partial(
            Classifier,
            front=self.front,
            draws=self.draws,
            seed=seed,
            sizes=self.samples.sizes,
            layout=layout,
            loan=loan,
        )
        known = side("model", self.model, filter=None, answers=answers)
        return Sides(
            unfiltered=known if own is None else side("model", own, filter=None),
            known=known,
            pipeline=None
            if self.filter is None
            else side(
                "pipeline",
                self.model,
                filter=self.filter,
                answers=answers,
                passing=self.filter_gradient,
            ),
            samples=replace(
                self.samples,
                inputs=self.samples.inputs.to(device=device, dtype=floating_dtype(self.model)),
                labels=self.samples.labels.to(device),
            ),
        )


def _reply(side: Classifier, inputs: Tensor) -> Reply:
    with torch.no_grad():
        _, logits = side.clean(inputs)
    return Reply(logits[0], _slopes(side, inputs[:_FEWER]))


def _slopes(side: Classifier, inputs: Tensor) -> Tensor:
    """Gradients ``(n, ...)`` of logits; the logits where they have none."""
    asked = inputs.clone().requires_grad_()
    logits = side(asked)
    # Weights of both signs, as those of probabilities would add up to nothing.
    loss = (logits * torch.linspace(-1, 1, logits.shape[1]).to(logits)).sum()
    try:
        return side.gradient(loss, asked)
    except ModelError:
        return logits.detach()


def _checked_device(name: str) -> torch.device:
    try:
        device = torch.device(name)
        if device.type == "meta":
            raise RuntimeError("the meta device holds no numbers")
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).partition("\n")[0]  # CUDA adds how to debug kernels
        raise ContractError(
            f"device={name!r} is not usable here: {reason}. Leave the device out to run where the "
            "model is"
        ) from error
    return device


def _drawn(samples: Samples, count: int, seed: int) -> Samples:
    drawn = stratified(samples, count, seed)
    if _one_class(drawn) and not _one_class(samples):
        raise DataError(
            f"samples={count} draws a single class of the data's several: draw enough for two"
        )
    return drawn


def _one_class(samples: Samples) -> bool:
    return bool(samples.labels.min() == samples.labels.max())


def build_subject(
    model: Any,
    data: tuple[Any, ...],
    filter: Any = None,
    *,
    bounds: FeatureBounds = (0.0, 1.0),
    mutable: Mask | None = None,
    unfiltered_model: Any = None,
    mean: Statistics | None = None,
    std: Statistics | None = None,
    filter_gradient: FilterGradient | None = None,
    draws: int = 1,
    samples: int | None = None,
    shuffle: bool = False,
    seed: int = 0,
) -> Subject:
    """Adapt and check everything that is under test.

    Args:
        model: A torch or Lightning module, a scikit-learn classifier, or a ``foolbox.Model``.
        data: Inputs and labels, as :func:`~pytest_aerobust.subjects.data.read_samples` gives.
        filter: A module or callable from inputs to inputs, or None.
        bounds: Smallest and largest value of an input, or of each of its features.
        mutable: Which features may change; None where all may.
        unfiltered_model: A model of its own for the bare arm; without a filter it has no part.
        mean: Subtracted in front of the models.
        std: Divides what is left.
        filter_gradient: How gradients pass the filter; None lets its own gradient decide.
        draws: How many answers to average, where filter or models draw random numbers.
        samples: Draw this many, stratified by label.
        shuffle: Whether they are put in random order.
        seed: Seed of that draw and that order.

    Raises:
        SubjectError: What can't be evaluated, with the reason.
        ContractError: Bounds or a mask that don't fit the inputs.
    """
    # Nothing that is built here may depend on where it was asked for.
    with isolated(seed):
        own = model_module(model, hull(bounds))
        # Without a filter the pipeline is the model, and there is nothing to compare it with; a
        # model that is handed in twice is one model.
        bare = (
            None
            if unfiltered_model is None or unfiltered_model is model or filter is None
            else model_module(unfiltered_model, hull(bounds), "unfiltered_model")
        )
        classes = common_classes(own, bare)
        checked = check_samples(data, bounds, classes)
        chosen = checked if samples is None else _drawn(checked, samples, seed)
        firsts = first_places(chosen.inputs, floating_dtype(own))
        told = repeat_notes(firsts, chosen.labels)
        chosen = shuffled(chosen, firsts, seed) if shuffle else chosen
        chosen = replace(chosen, notes=(*chosen.notes, *told)) if told else chosen
        front = None
        if mean is not None or std is not None:
            front = Normalise(mean, std, tuple(chosen.inputs.shape[1:]))
            chosen = replace(chosen, notes=(*chosen.notes, *front.notes))
        check_estimator(own, front, chosen, "model")
        check_estimator(bare, front, chosen, "unfiltered_model")
    return Subject(
        model=own,
        filter=filter_module(filter),
        unfiltered_model=bare,
        front=front,
        samples=chosen,
        bounds=Box.of(bounds, mutable, tuple(chosen.inputs.shape[1:])),
        classes=classes,
        filter_gradient=filter_gradient,
        draws=draws,
    )
