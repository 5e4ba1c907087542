"""Filter, normalising front and model in a row, with every answer checked."""

from typing import Any, NoReturn, cast

import torch
from torch import Tensor, nn

from pytest_aerobust.contract.arguments import FilterGradient
from pytest_aerobust.contract.catalogue import fitting
from pytest_aerobust.errors import AerobustError, AttackError, FilterError, ModelError
from pytest_aerobust.subjects.asking import asked
from pytest_aerobust.subjects.batches import Batches
from pytest_aerobust.subjects.bpda import Fault, as_identity, filter_fault
from pytest_aerobust.subjects.loan import Loan
from pytest_aerobust.subjects.logits import Answers
from pytest_aerobust.subjects.randomness import generators
from pytest_aerobust.subjects.tensors import not_plain


class Chain:
    """What is deployed, from inputs to logits.

    Args:
        name: What errors call it: ``model`` or ``pipeline``.
        model: From inputs ``(N, ...)`` to logits ``(N, K)``, or what `answers` makes logits of.
        front: Normalisation in front of the model.
        filter: In front of both; None for the bare model.
        answers: How the model's answers are read, shared by all sides of one model.
        passing: How gradients pass the filter; None lets the filter's own gradient decide.
        sizes: Of batches that filter and model are likely to answer.
        loan: Of both; thawed where they do not answer frozen.

    Attributes:
        recording: Whether gradients are recorded at every question, as in the user's hands.
        probes: Clean samples that show whether the filter has a gradient, until they have.
    """

    probes: Tensor | None = None

    def __init__(
        self,
        name: str,
        model: nn.Module,
        front: nn.Module | None,
        filter: nn.Module | None,
        answers: Answers | None,
        passing: FilterGradient | None,
        sizes: tuple[int, ...],
        loan: Loan | None,
    ) -> None:
        self.name, self.answers = name, Answers() if answers is None else answers
        self._batches = {part: Batches(part, sizes) for part in ("filter", "model")}
        self._loan, self.recording = loan, False
        self._filter, self._passing = filter, passing
        self._layers = [layer for layer in (front, model) if layer is not None]
        self._notes: tuple[str, ...] = ()

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader should know of how it was asked and its answers were read."""
        filled = (note for batches in self._batches.values() for note in batches.notes)
        own = getattr(self._filter, "notes", ())
        return (*own, *self._notes, *filled, *self.answers.notes)

    def filtered(self, inputs: Tensor) -> Tensor:
        """What the filter makes of inputs; the inputs themselves where there is none."""
        if self._filter is None:
            return inputs
        if inputs.requires_grad and self.passes() == "identity":
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
        if self._loan is None or not self.recording:
            return asked(name, error, layer, inputs)
        with self._loan.recording():
            outputs = asked(name, error, layer, inputs)
        wanted = torch.is_grad_enabled() or not isinstance(outputs, Tensor)
        return outputs if wanted else outputs.detach()

    def passes(self) -> FilterGradient:
        """How gradients pass the filter; looked up on clean samples when it first matters."""
        wanted = self._filter is not None and self._passing != "identity"
        if wanted and self.probes is not None:
            probes, self.probes = self.probes, None
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
        return self.logits(seen, "clean", seen)

    def logits(self, seen: Tensor, kind: str, inputs: Tensor) -> Tensor:
        """Logits ``(N, K)`` of what the filter made of inputs, of whatever kind they are."""
        logits = self._batches["model"].ask(self._model_logits, seen)
        if not logits.isfinite().all():
            self._blame(logits, seen, kind, inputs)
        return logits

    def _model_logits(self, seen: Tensor) -> Tensor:
        outputs: Any = seen
        for layer in self._layers:
            outputs = self._answer("model", ModelError, layer, outputs)
        return self.answers.read(outputs, len(seen))

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
