"""What is attacked and judged: a filter, a normalising front and a model in a row."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, NoReturn, cast

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from pytest_aerobust.contract.arguments import FilterGradient, Statistics
from pytest_aerobust.contract.catalogue import fitting
from pytest_aerobust.errors import AerobustError, AttackError, FilterError, ModelError
from pytest_aerobust.subjects.asking import asked
from pytest_aerobust.subjects.batches import Batches
from pytest_aerobust.subjects.bpda import Fault, as_identity, filter_fault
from pytest_aerobust.subjects.layout import Layout
from pytest_aerobust.subjects.loan import Loan
from pytest_aerobust.subjects.logits import Answers
from pytest_aerobust.subjects.randomness import Stream, generators, seed_of
from pytest_aerobust.subjects.tensors import not_plain

# Clean samples that show whether a filter has a gradient.
_PROBES = 16
# Samples times draws whose activations are kept for a backward pass.
_KEPT = 256


class Normalise(nn.Module):
    """``(x - mean) / std``, one number for all or one a channel, in front of a model.

    Args:
        mean: Subtracted; None subtracts nothing.
        std: Divides what is left; None divides by nothing.
        shape: Of one sample, whose first dimension holds the channels, or else the last.

    Raises:
        ModelError: As many statistics as neither dimension has entries, or as both have.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self, mean: Statistics | None, std: Statistics | None, shape: tuple[int, ...]
    ) -> None:
        super().__init__()
        self.register_buffer("mean", _per_channel("mean", 0.0 if mean is None else mean, shape))
        self.register_buffer("std", _per_channel("std", 1.0 if std is None else std, shape))

    @property
    def notes(self) -> tuple[str, ...]:
        """Where the channels are, unless they are where torch expects them."""
        if max(self.mean.ndim, self.std.ndim) != 1:
            return ()
        return ("mean= and std= are taken along the last dimension of the inputs, (N, ..., C)",)

    def forward(self, inputs: Tensor) -> Tensor:
        return (inputs - self.mean.to(inputs)) / self.std.to(inputs)


def _per_channel(name: str, statistics: Statistics, shape: tuple[int, ...]) -> Tensor:
    """Statistics in a shape that broadcasts to a sample: ``(1, C, 1, ...)``, or ``(C,)``.

    For samples of one dimension both are the same; they count as channels first.
    """
    numbers = torch.as_tensor(statistics, dtype=torch.float64)
    if not numbers.ndim:
        return numbers
    count = len(numbers)
    first, last = shape[0] == count, shape[-1] == count
    if first and last and len(shape) > 1 and count > 1:
        raise ModelError(
            f"{name}= has {count} entries, and so have the first and the last dimension of a "
            f"sample {shape}: either could be the channels. Normalise inside the model instead"
        )
    if first:
        return numbers.reshape(1, -1, *[1] * (len(shape) - 1))
    if last:
        return numbers
    raise ModelError(
        f"{name}= has {count} entries, inputs have {shape[0]} channels (a sample is {shape}): give "
        "one number a channel, or a single one"
    )


class Classifier:
    """One side of the comparison, asked for logits with every answer checked.

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
        self._batches = {part: Batches(part, sizes) for part in ("filter", "model")}
        # Whether gradients are recorded at every question, as in the user's hands.
        self._loan, self._recording = loan, False
        self._filter, self._passing = filter, passing
        self._layers = [layer for layer in (front, model) if layer is not None]
        self._answers = Answers() if answers is None else answers
        self._probes: Tensor | None = None
        self._notes: tuple[str, ...] = ()

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader should know of how it was asked and its answers were read."""
        filled = (note for batches in self._batches.values() for note in batches.notes)
        own = getattr(self._filter, "notes", ())
        return (*own, *self._notes, *filled, *self._answers.notes)

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
            if self._recording or self._loan is None:
                raise
        # Frozen weights and `no_grad` are of our making: whoever adapts while it answers, or looks
        # at its own gradients, can do without neither; who follows those of its inputs, only
        # without the latter.
        self._recording = True
        with self._loan.thawed() as differentiated:
            answers = self._clean(inputs)
        self._notes += ((_ADAPTS if differentiated else _RECORDS).format(self.name),)
        return answers

    def _clean(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        if self._probes is None:
            self._probes = inputs[:_PROBES].detach().clone()
        with self._draw("judge", 0):
            if self.draws == 1:
                seen, logits = self._once(inputs, "clean")
                return seen, logits[None]
            seen = self._filtered(inputs)
        return seen, self._drawn(inputs, "clean", "judge")

    def settle(self, logits: Tensor) -> Tensor:
        """The logits of the whole clean pass, once it is known what the model's answers are.

        Args:
            logits: Of all draws, ``(draws, N, K)``.
        """
        if self.draws > 1 and (logits == logits[0]).all():
            self._notes += (f"the {self.name} answers alike in all {self.draws} draws of eot=",)
            self.draws = 1
        return self._answers.settled(logits)

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
            self._passes()  # looked up once: what is worked out again must be what was
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
            seen = self._filtered(inputs)
            return seen, self._logits(seen, kind, inputs)
        except AerobustError:
            if self._layout is None or not self._layout.restore():
                raise
        return self._once(inputs, kind)

    def filtered(self, inputs: Tensor) -> Tensor:
        """What the filter makes of inputs; the inputs themselves where there is none."""
        with self._stream.resumed():
            return self._filtered(inputs)

    def _filtered(self, inputs: Tensor) -> Tensor:
        if self._filter is None:
            return inputs
        if inputs.requires_grad and self._passes() == "identity":
            with torch.no_grad():
                outputs = self._through_filter(inputs.detach())
            return as_identity(inputs, outputs)
        return self._through_filter(inputs)

    def _through_filter(self, inputs: Tensor) -> Tensor:
        return self._batches["filter"].ask(self._filter_outputs, inputs)

    def _filter_outputs(self, inputs: Tensor) -> Tensor:
        outputs = self._answer("filter", FilterError, cast("nn.Module", self._filter), inputs)
        if not isinstance(outputs, Tensor):
            raise FilterError(
                f"filter answers with a {type(outputs).__name__}: expected a tensor of shape "
                f"{tuple(inputs.shape)}"
            )
        if problem := not_plain(outputs):
            raise FilterError(
                f"filter's answers are {problem}: expected a plain tensor of shape "
                f"{tuple(inputs.shape)}, such as to_dense() gives of a sparse one"
            )
        if outputs.shape != inputs.shape or outputs.dtype != inputs.dtype:
            raise FilterError(
                f"filter turns {tuple(inputs.shape)} {inputs.dtype} into {tuple(outputs.shape)} "
                f"{outputs.dtype}: expected the same shape and dtype"
            )
        return outputs

    def _answer(self, name: str, error: type[AerobustError], layer: nn.Module, inputs: Any) -> Any:
        if self._loan is None or not self._recording:
            return asked(name, error, layer, inputs)
        with self._loan.recording():
            outputs = asked(name, error, layer, inputs)
        wanted = torch.is_grad_enabled() or not isinstance(outputs, Tensor)
        return outputs if wanted else outputs.detach()

    def _passes(self) -> FilterGradient:
        """How gradients pass the filter; looked up on clean samples when it first matters."""
        wanted = self._filter is not None and self._passing != "identity"
        if wanted and self._probes is not None:
            probes, self._probes = self._probes, None
            with generators(0):
                fault = filter_fault(self._through_filter, self._behind, self.gradient, probes)
            if fault is not None:
                self._substitute(fault)
        return self._passing or "exact"

    def _substitute(self, fault: Fault) -> None:
        """Take the identity's gradient for the filter's, unless the exact one was asked for."""
        if self._passing is None:
            self._passing = "identity"
            self._notes += (
                f"{fault.value}: gradients pass it as if it were the identity "
                "(filter_gradient='identity', BPDA)",
            )
        elif fault is Fault.NONE:
            raise FilterError(
                f"{fault.value} (detach, no_grad or NumPy inside?), but filter_gradient='exact' "
                "asks for its own gradient: state filter_gradient='identity', or leave it out"
            )

    def _behind(self, seen: Tensor) -> Tensor:
        return self._logits(seen, "clean", seen)

    def _logits(self, seen: Tensor, kind: str, inputs: Tensor) -> Tensor:
        logits = self._batches["model"].ask(self._model_logits, seen)
        if not logits.isfinite().all():
            self._blame(logits, seen, kind, inputs)
        return logits

    def _model_logits(self, seen: Tensor) -> Tensor:
        outputs: Any = seen
        for layer in self._layers:
            outputs = self._answer("model", ModelError, layer, outputs)
        return self._answers.read(outputs, len(seen))

    def _blame(self, outputs: Tensor, seen: Tensor, kind: str, inputs: Tensor) -> NoReturn:
        """Say who brought the first NaN or infinity."""
        if not inputs.isfinite().all():
            raise AttackError(
                "the attack asked with inputs that are NaN or infinite (a division by a vanished "
                "gradient?): this says nothing about the model; choose another attack"
            )
        if not seen.isfinite().all():
            bad = int((~seen.flatten(1).isfinite()).any(dim=1).sum())
            raise FilterError(
                f"filter answers with NaN or infinity for {bad} of {len(seen)} {kind} inputs "
                "inside the bounds: look for an overflow or a division by 0 in it"
            )
        bad = int((~outputs.isfinite()).any(dim=1).sum())
        raise ModelError(
            f"model's logits are NaN or infinite for {bad} of {len(seen)} inputs ({kind}, inside "
            "the bounds): no answer can be judged. Look for an overflow, a logarithm of 0 or a "
            "division by 0"
        )

    def gradient(self, loss: Tensor, inputs: Tensor) -> Tensor:
        """Gradient of a loss of this side's logits with respect to its inputs.

        Raises:
            ModelError: The side is not differentiable.
        """
        gradient = None
        if loss.requires_grad:
            try:
                # Hooks, and what is worked out again, may draw here, too.
                with self._stream.resumed():
                    (gradient,) = torch.autograd.grad(loss, inputs, allow_unused=True)
            except Exception as cause:
                raise ModelError(
                    f"{self.name} raised {type(cause).__name__} in its backward pass: {cause}"
                ) from cause
        if gradient is None:
            raise ModelError(
                f"{self.name} is not differentiable: its logits carry no gradient (detach, no_grad "
                "or NumPy inside?). Attack it with threat='black-box' and an attack that asks "
                f"only for answers, such as {', '.join(fitting('black-box')[:3])}"
            )
        return gradient.contiguous()


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
