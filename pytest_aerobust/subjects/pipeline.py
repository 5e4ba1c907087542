"""What is attacked and judged: a chain that is asked in a layout, by draws, from its own stream."""

from collections.abc import Callable
from contextlib import AbstractContextManager

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from pytest_aerobust.contract.arguments import FilterGradient
from pytest_aerobust.errors import AerobustError
from pytest_aerobust.subjects.chain import Chain
from pytest_aerobust.subjects.layout import Layout
from pytest_aerobust.subjects.loan import Loan
from pytest_aerobust.subjects.logits import Answers
from pytest_aerobust.subjects.randomness import Stream, generators, seed_of

# Clean samples that show whether a filter has a gradient.
_PROBES = 16
# Samples times draws whose activations are kept for a backward pass.
_KEPT = 256


class Classifier:
    """One side of the comparison, asked for logits.

    Args:
        name: What errors call it: ``model`` or ``pipeline``.
        model: From inputs ``(N, ...)`` to logits ``(N, K)``, or what `answers` makes logits of.
        front: Normalisation in front of the model.
        filter: In front of both; None for the bare model.
        answers: How the model's answers are read, shared by all sides of one model.
        passing: How gradients pass the filter; None lets the filter's own gradient decide.
        draws: How many answers are averaged, where filter or model draw random numbers.
        seed: Seed of whatever filter or model draw from the global generators.
        sizes: Of batches that they are likely to answer.
        layout: Of the weights of both; given up where a question fails.
        loan: Of both; thawed where they do not answer frozen.

    Attributes:
        draws: The same; 1 from the clean pass on, where all of them were alike.
    """

    def __init__(
        self,
        name: str,
        model: nn.Module,
        front: nn.Module | None,
        filter: nn.Module | None,
        answers: Answers | None = None,
        passing: FilterGradient | None = None,
        draws: int = 1,
        seed: int = 0,
        sizes: tuple[int, ...] = (),
        layout: Layout | None = None,
        loan: Loan | None = None,
    ) -> None:
        self.name, self.draws = name, draws
        self._seed, self._asked = seed, 0
        self._stream, self._layout = Stream(seed_of(seed, name)), layout
        self._loan = loan
        self._chain = Chain(name, model, front, filter, answers, passing, sizes, loan)
        self._notes: tuple[str, ...] = ()

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader should know of how it was asked and its answers were read."""
        return (*self._notes, *self._chain.notes)

    def __call__(self, inputs: Tensor) -> Tensor:
        """Logits ``(N, K)`` of inputs ``(N, ...)``, as an attacker asks for them.

        Where answers are random they are the mean over draws, other ones at each call. Its
        gradient is the expected one: Athalye, Carlini & Wagner 2018, section 4.2.

        Raises:
            ModelError: The model fails, or its answer is no classification.
            FilterError: The filter fails, or changes shape or dtype.
        """
        self._asked += 1
        return self._mean(inputs, f"attack {self._asked}")

    def judged(self, inputs: Tensor) -> Tensor:
        """The same as the judge asks: by draws that no attacker has seen, alike at every call."""
        return self._mean(inputs, "judge")

    def singles(self, inputs: Tensor) -> Tensor:
        """Logits ``(draws, N, K)`` of single draws that nobody has seen."""
        return self._drawn(inputs, "attacked", "singles")

    def clean(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """What the filter makes of inputs nobody attacked, and their logits ``(draws, N, K)``.

        Raises:
            ModelError, FilterError: As for a call.
        """
        try:
            return self._clean(inputs)
        except AerobustError:
            if self._chain.recording or self._loan is None:
                raise
        # Frozen weights and `no_grad` are of our making: whoever adapts while it answers, or looks
        # at its own gradients, can do without neither; who follows those of its inputs, only
        # without the latter.
        self._chain.recording = True
        with self._loan.thawed() as differentiated:
            answers = self._clean(inputs)
        self._notes += ((_ADAPTS if differentiated else _RECORDS).format(self.name),)
        return answers

    def _clean(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        if self._chain.probes is None:
            self._chain.probes = inputs[:_PROBES].detach().clone()
        with self._draw("judge", 0):
            if self.draws == 1:
                seen, logits = self._once(inputs, "clean")
                return seen, logits[None]
            seen = self._chain.filtered(inputs)
        return seen, self._drawn(inputs, "clean", "judge")

    def resumed(self) -> AbstractContextManager[None]:
        """Its own random numbers stay in place of the global ones, question after question.

        For whoever draws nothing from the global generators himself: to give them back and take
        them again costs as much as a small model's answer.
        """
        return self._stream.resumed()

    def settle(self, logits: Tensor) -> Tensor:
        """The logits of the whole clean pass, once it is known what the model's answers are.

        Args:
            logits: Of all draws, ``(draws, N, K)``.
        """
        if self.draws > 1 and (logits == logits[0]).all():
            self._notes += (f"the {self.name} answers alike in all {self.draws} draws of eot=",)
            self.draws = 1
        return self._chain.answers.settled(logits)

    def _mean(self, inputs: Tensor, stream: str) -> Tensor:
        if self.draws == 1:
            with self._draw(stream, 0):
                return self._once(inputs, "attacked")[1]
        return self._drawn(inputs, "attacked", stream).mean(dim=0)

    def _drawn(self, inputs: Tensor, kind: str, stream: str) -> Tensor:
        """Logits of every draw ``(draws, N, K)``."""
        # Beyond what one chunk takes anyway, a draw's activations are worked out again when its
        # gradient is wanted, rather than kept beside those of all others.
        kept = not inputs.requires_grad or self.draws * len(inputs) <= _KEPT
        if not kept:
            self._chain.passes()  # looked up once: what is worked out again must be what was
        draws = []
        for number in range(self.draws):

            def draw(inputs: Tensor, number: int = number) -> Tensor:
                with self._draw(stream, number):
                    return self._once(inputs, kind)[1]

            draws.append(draw(inputs) if kept else _recomputed(draw, inputs))
        return torch.stack(draws)

    def _draw(self, stream: str, number: int) -> AbstractContextManager[None]:
        """The global generators as this draw is to find them, and afterwards as they were.

        Where nothing is averaged each question goes on where the last one stopped.
        """
        if self.draws == 1:
            return self._stream.resumed()
        return generators(seed_of(self._seed, stream, number))

    def _once(self, inputs: Tensor, kind: str) -> tuple[Tensor, Tensor]:
        """What the filter makes of inputs, and the logits; in a layout in which they answer."""
        if self._layout is not None:
            self._layout.prepare(len(inputs))
        try:
            seen = self._chain.filtered(inputs)
            return seen, self._chain.logits(seen, kind, inputs)
        except AerobustError:
            if self._layout is None or not self._layout.restore():
                raise
        return self._once(inputs, kind)

    def filtered(self, inputs: Tensor) -> Tensor:
        """What the filter makes of inputs; the inputs themselves where there is none."""
        with self._stream.resumed():
            return self._chain.filtered(inputs)

    def gradient(self, loss: Tensor, inputs: Tensor) -> Tensor:
        """Gradient of a loss of this side's logits with respect to its inputs.

        Raises:
            ModelError: The side is not differentiable.
        """
        # Hooks, and what is worked out again, may draw here, too.
        with self._stream.resumed():
            return self._chain.gradient(loss, inputs)


_ADAPTS = (
    "the {} takes gradients of its own weights while it answers (test-time adaptation?): they were "
    "left as they came, and weights that it changed are given back. Where its answers depend on "
    "who was asked before, freeze what it adapted to and test that"
)
_RECORDS = (
    "the {} answers only where gradients are recorded, and took none of its weights (does it "
    "follow the gradient of its inputs, as purification does?): it was asked as in your hands"
)


def _recomputed(draw: Callable[[Tensor], Tensor], inputs: Tensor) -> Tensor:
    """A draw that is drawn again, by its own seed, in the backward pass."""
    drawn: Tensor = checkpoint(draw, inputs, use_reentrant=False, preserve_rng_state=False)
    return drawn
