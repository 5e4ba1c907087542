"""What a model answers, checked and read as logits."""

from typing import Any

import torch
from torch import Tensor

from pytest_aerobust.errors import ModelError
from pytest_aerobust.subjects.tensors import not_plain

# Probabilities sum to 1 and lie in [0, 1] up to this (BAD_INPUTS 2.2; AutoAttack's own check).
_ROUNDING = 1e-5


class Answers:
    """How one model's answers become logits ``(N, K)``, K of at least 2.

    One logit z a sample becomes ``[0, z]``, whose softmax is the sigmoid. Probabilities become
    their logarithms, whose softmax they are. Which of the two it is, the clean answers of all
    samples tell, once for the whole run.
    """

    def __init__(self) -> None:
        self._settled = self._single = self._probable = False

    @property
    def notes(self) -> tuple[str, ...]:
        """What was made of the answers."""
        if self._single and self._probable:
            return (_ONE_PROBABILITY,)
        if self._single:
            return (_ONE_LOGIT,)
        return (_PROBABILITIES,) if self._probable else ()

    def read(self, outputs: Any, samples: int) -> Tensor:
        """Logits of one batch.

        Raises:
            ModelError: The outputs are no classification of so many samples.
        """
        answers = _checked(outputs, samples)
        if answers.shape[1] == 1:
            self._single = True
            # Until the answers are settled z stands for itself; so does a probability.
            rest = 1 - answers if self._probable else torch.zeros_like(answers)
            answers = torch.cat([rest, answers], dim=1)
        return _logarithms(answers) if self._probable else answers

    def settled(self, clean: Tensor) -> Tensor:
        """The logits of the clean pass ``(..., K)``, as whatever they turn out to be."""
        if self._settled:
            return clean
        self._settled = True
        if self._single:
            clean = self._single_settled(clean)
        else:
            self._probable = _in_unit(clean) and _sum_to_one(clean)
        return _logarithms(clean) if self._probable else clean

    def _single_settled(self, clean: Tensor) -> Tensor:
        z = clean[..., 1:]
        # As logits, numbers in [0, 1] alone would be class 1 for every sample: no classifier.
        self._probable = _in_unit(z)
        return torch.cat([1 - z, z], dim=-1) if self._probable else clean


_ONE_LOGIT = (
    "the model answers with one logit z a sample: read as the logits [0, z], class 1 where z is "
    "above 0"
)
_ONE_PROBABILITY = (
    "the model answers with one number in [0, 1] a sample: read as the probability of class 1 and "
    "inverted to logits"
)
_PROBABILITIES = (
    "the model answers with class probabilities: inverted to logits for the whole run (their "
    "logarithms). Where probabilities round to 0 or 1 gradients vanish, so logits are better"
)


def _in_unit(values: Tensor) -> bool:
    return bool(((values >= -_ROUNDING) & (values <= 1 + _ROUNDING)).all())


def _sum_to_one(values: Tensor) -> bool:
    return bool(((values.sum(dim=-1) - 1).abs() <= _ROUNDING).all())


def _logarithms(probabilities: Tensor) -> Tensor:
    # A probability of 0 has no logarithm: the smallest normal number stands for it.
    return probabilities.clamp_min(torch.finfo(probabilities.dtype).tiny).log()


def _checked(outputs: Any, samples: int) -> Tensor:
    """Answers ``(samples, K)``; one number a sample as a column."""
    if not isinstance(outputs, Tensor):
        raise ModelError(
            f"model answers with a {type(outputs).__name__}: expected logits of shape (N, K). "
            f"Wrap it in a module whose forward returns {_selection(outputs)}"
        )
    if problem := not_plain(outputs):
        raise ModelError(
            f"model's answers are {problem}: expected a plain tensor of logits (N, K), such as "
            "to_dense() gives of a sparse one"
        )
    shape = tuple(outputs.shape)
    # A model that squeezes its one logit squeezes the batch of one sample, too.
    if shape == (samples,) or (samples == 1 and shape == ()):
        outputs = outputs.reshape(samples, 1)
    if outputs.ndim != 2 or len(outputs) != samples or not outputs.shape[1]:
        raise ModelError(
            f"model answers with shape {shape}: expected ({samples}, K), one logit a class"
        )
    if outputs.dtype not in (torch.float32, torch.float64):
        raise ModelError(
            f"model answers in {outputs.dtype}: expected float32 or float64 logits. Decisions "
            "carry no gradient, and in half precision lost margins become ties: return the scores "
            "before they are rounded"
        )
    answers: Tensor = outputs
    return answers


def _selection(outputs: Any) -> str:
    if isinstance(outputs, tuple | list):
        return f"the logits among its {len(outputs)} entries, such as outputs[0]"
    if hasattr(outputs, "logits") or (isinstance(outputs, dict) and "logits" in outputs):
        return "outputs['logits']" if isinstance(outputs, dict) else "outputs.logits"
    return "the tensor of logits alone"
