"""What a model is asked before anything that was measured on it is believed.

Weights, code and data can be told by digests, but what a model does depends on more: a variable
of the environment, a file that it reads, another version of a library. So every measurement is
kept with what was answered to the samples themselves, on which clean accuracy rests, at some of the
points that its attack went through, and with the gradients there where it followed them; the model
of today must say the same.
"""

from base64 import b64decode, b64encode
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from safetensors.torch import load, save
from torch import Tensor

from pytest_aerobust.errors import AerobustError, ModelError
from pytest_aerobust.measurement.trail import Role, Trail
from pytest_aerobust.subjects.pipeline import Classifier
from pytest_aerobust.subjects.randomness import isolated
from pytest_aerobust.subjects.sameness import (
    same_classes,
    same_gradients,
    same_logits,
    sketched,
)
from pytest_aerobust.subjects.subject import SIDES, Sides, Subject

# Samples that nobody attacked, asked about in front of all others, and their bytes; of the points
# of an attack.
_CLEAN, _CLEAN_BYTES, _MOST_BYTES = 8, 2**19, 6 * 2**20
# Samples that nobody attacked whose classes are asked for: all, or a draw of so many. A change of
# one answer in a thousand escapes that once in sixty times, of however many samples.
_MOST_CLASSES = 4096
# Points at which gradients are asked for, and fewer points than which say too little.
_GRADIENTS, _FEWEST = 32, 4
# Inputs that are asked about together.
_TOGETHER = 256


@dataclass(frozen=True)
class Answer:
    """What one side says at some points.

    Attributes:
        logits: As it gives them, ``(n, K)``.
        gradients: Of a mixture of its logits at some of the points, sketched ``(m, D)``; empty
            where it has none, or nobody follows them.
    """

    logits: Tensor
    gradients: Tensor

    def same(self, now: "Answer", clean: int) -> bool:
        """Whether another answer differs by no more than rounding.

        Where not even the `clean` samples differ in a bit, arithmetic is the same, and nothing
        is left that rounding could explain.
        """
        exact = torch.equal(self.logits[:clean], now.logits[:clean])
        return same_logits(self.logits, now.logits, exact=exact) and same_gradients(
            self.gradients, now.gradients, exact=exact and torch.equal(self.logits, now.logits)
        )


@dataclass(frozen=True)
class Probes:
    """Questions to a subject with the answers that it gave.

    Attributes:
        roles: Who is asked at whose points, and whether for gradients.
        clean: How many of the points of each arm are samples that nobody attacked: the first.
        points: By arm, ``(n, ...)``.
        answers: For each role.
        classes: What each side that an arm may judge answers to the samples, ``(n,)``.
    """

    roles: tuple[Role, ...]
    clean: int
    points: Mapping[str, Tensor]
    answers: tuple[Answer, ...]
    classes: Mapping[str, Tensor]

    @classmethod
    def of(
        cls, subject: Subject, samples: Sequence[int], trail: Trail, device: str | None
    ) -> "Probes | None":
        """Ask a subject where an attack on it went.

        Args:
            subject: Who is asked.
            samples: Places of its samples, in an order that their content alone decides.
            trail: Where the attack went.
            device: Where to run; None stays where the model is.

        Returns:
            None where no later run could be compared: the subject can't be asked, or answered
            otherwise before, or inputs are too large to keep any.
        """
        inputs = subject.samples.inputs
        some = min(_CLEAN, max(2, _CLEAN_BYTES // max(inputs[0].nbytes, 1)))
        clean = inputs[list(samples[:some])].detach().cpu()
        points = {
            role.arm: torch.stack([*clean, *(p.to(clean) for p in trail.points(role.arm))])
            for role in trail.roles
        }
        if not trail.steady or _FEWEST * inputs[0].nbytes > _MOST_BYTES:
            return None
        found = _answers(subject, trail.roles, points, len(clean), device)
        logits = _clean_logits(subject, samples, device)
        if found is None or logits is None:
            return None
        classes = {name: said.argmax(dim=1).int() for name, said in logits.items()}
        return cls(trail.roles, len(clean), points, found, classes)

    def hold(self, subject: Subject, samples: Sequence[int], device: str | None) -> bool:
        """Whether a subject answers all of it as it was answered, but for rounding.

        Args:
            subject: Who is asked, with the same samples.
            samples: Their places, in the same order.
            device: Where to run; None stays where the model is.
        """
        today = _answers(subject, self.roles, self.points, self.clean, device)
        if today is None or not all(
            before.same(now, self.clean) for before, now in zip(self.answers, today, strict=True)
        ):
            return False
        logits = _clean_logits(subject, samples, device)
        return logits is not None and all(
            same_classes(before, logits[name]) for name, before in self.classes.items()
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain values, the numbers in base64 of safetensors."""
        tensors = {f"points {arm}": points for arm, points in self.points.items()}
        for number, answer in enumerate(self.answers):
            tensors |= {f"logits {number}": answer.logits, f"gradients {number}": answer.gradients}
        tensors |= {f"classes {name}": classes for name, classes in self.classes.items()}
        content = save({name: tensor.contiguous() for name, tensor in tensors.items()})
        return {
            "roles": [list(role) for role in self.roles],
            "clean": self.clean,
            "judged": list(self.classes),
            "content": b64encode(content).decode("ascii"),
        }

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> "Probes":
        """The inverse of :meth:`to_dict`."""
        roles = tuple(Role(*role) for role in plain["roles"])
        tensors = load(b64decode(plain["content"]))
        answers = (
            Answer(tensors[f"logits {number}"], tensors[f"gradients {number}"])
            for number in range(len(roles))
        )
        points = {role.arm: tensors[f"points {role.arm}"] for role in roles}
        classes = {name: tensors[f"classes {name}"] for name in plain["judged"]}
        return cls(roles, plain["clean"], points, tuple(answers), classes)


def _answers(
    subject: Subject,
    roles: Sequence[Role],
    points: Mapping[str, Tensor],
    clean: int,
    device: str | None,
) -> tuple[Answer, ...] | None:
    """What each role says at its points; None where one can't be asked."""
    try:
        with isolated(0), subject.borrowed(device) as sides:
            return tuple(_answer(sides, role, points[role.arm], clean) for role in roles)
    except AerobustError:  # a measurement will say so, in its own words
        return None


def _answer(sides: Sides, role: Role, points: Tensor, clean: int) -> Answer:
    side: Classifier = {name: getattr(sides, name) for name in SIDES}[role.side]
    inputs = points.to(sides.samples.inputs)
    with torch.no_grad():
        side.clean(inputs[:clean])  # a new side has to see some samples before it is asked
    with torch.no_grad():
        parts = [side.judged(part).cpu() for part in torch.split(inputs, _TOGETHER)]
    step = -(-len(inputs) // _GRADIENTS)
    slopes = _slopes(side, inputs[::step]) if role.gradient else inputs.new_zeros(0, 1)
    return Answer(torch.cat(parts), slopes.cpu())


def _clean_logits(
    subject: Subject, samples: Sequence[int], device: str | None
) -> dict[str, Tensor] | None:
    """What the sides say to the samples ``(n, K)``; None where one can't be asked.

    In batches as large as those of a run's clean pass: answers may hang on that.
    """
    places = torch.tensor(samples)[_drawn(len(samples))]
    batches = torch.split(places, len(subject.samples.chunks()[0]))
    try:
        with isolated(0), subject.borrowed(device) as sides, torch.no_grad():
            judged = {"unfiltered": sides.unfiltered, "pipeline": sides.pipeline}
            return {
                name: _settled(side, (sides.samples.inputs[batch] for batch in batches))
                for name, side in judged.items()
                if side is not None
            }
    except AerobustError:  # a measurement will say so, in its own words
        return None


def _settled(side: Classifier, batches: Iterable[Tensor]) -> Tensor:
    logits = [side.clean(inputs)[1] for inputs in batches]
    return side.settle(torch.cat(logits, dim=1)).mean(dim=0).cpu()


def _drawn(samples: int) -> np.ndarray:
    """Of how many samples which are asked about, as places in their order."""
    return np.sort(np.random.default_rng(0).permutation(samples)[:_MOST_CLASSES])


def _slopes(side: Classifier, inputs: Tensor) -> Tensor:
    """Gradients of a side, sketched; of nobody where it has none, today as before."""
    inputs = inputs.clone().requires_grad_()
    logits = side(inputs)
    generator = torch.Generator().manual_seed(0)
    # Of every sample another mixture: no class is left out of all of them.
    mixed = logits * torch.randn(logits.shape, generator=generator).to(logits)
    try:
        return sketched(side.gradient(mixed.sum(), inputs))
    except ModelError:
        return inputs.new_zeros(0, 1)
