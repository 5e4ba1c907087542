"""Any attack of Foolbox as it is, in blocks that draw the same numbers in every run."""

import warnings
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from math import prod
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from foolbox import Misclassification, PyTorchModel, TargetedMisclassification
from foolbox.attacks import (
    BoundaryAttack,
    HopSkipJumpAttack,
    PointwiseAttack,
    SaltAndPepperNoiseAttack,
)
from foolbox.attacks.base import FixedEpsilonAttack, MinimizationAttack
from foolbox.attacks.gradient_descent_base import BaseGradientDescent
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from pytest_aerobust.attacks.balls import aligned
from pytest_aerobust.attacks.foolbox.queries import Questions, SearchEnded, SearchEndless
from pytest_aerobust.attacks.foolbox.starting_points import starting_points
from pytest_aerobust.attacks.search import Problem, Watcher, loss_gradients, public_settings
from pytest_aerobust.contract.attack import AttackChoice
from pytest_aerobust.contract.catalogue import ORDERS, Norm
from pytest_aerobust.errors import AerobustError, AttackError
from pytest_aerobust.subjects.randomness import seed_globals

# What Foolbox calls the numbers of its rounds, one inside the other.
_COUNTS = ("steps", "binary_search_steps", "repeats", "directions", "population")


class _Part(NamedTuple):
    """Some samples of a search.

    Attributes:
        problem: The search over them alone.
        rows: Their places in the whole search.
        questions: Where they ask without gradients; None where they need these.
    """

    problem: Problem
    rows: Tensor
    questions: Questions | None

    def of(self, members: np.ndarray) -> "_Part":
        problem = self.problem
        places = torch.from_numpy(np.flatnonzero(members)).to(self.rows.device)
        smaller = replace(
            problem,
            inputs=problem.inputs[places],
            labels=problem.labels[places],
            targets=None if problem.targets is None else problem.targets[places],
            places=problem.places[members],
            samples=problem.samples[members],
        )
        return _Part(smaller, self.rows[places], self.questions)


class StockAttack:
    """A Foolbox attack behind the engine's face.

    It draws from the global generators and may mix its batch, so it always sees the same
    block of 64 samples under the same seed.
    """

    block = 64

    def __init__(self, attack: Any, choice: AttackChoice) -> None:
        self._attack, self._norm = attack, choice.norm
        self._access, self._in_unit = choice.spec.access, choice.spec.unit_bounds
        self._worked, self._gave_up = False, cast("AttackError | None", None)

    @property
    def strength(self) -> Mapping[str, str]:
        """What the constructor was told and what it took by default."""
        return public_settings(self._attack)

    @property
    def passes(self) -> int:
        """By the counts that its constructor took; a start or a line search is not among them."""
        told = (getattr(self._attack, name, None) for name in _COUNTS)
        return prod(
            (3 if (self._access == "gradient") else 1, *(int(count) for count in told if count))
        )

    def travel(self, eps: float) -> float | None:
        """Known for descents with a step size of their own; elsewhere a step means many things."""
        if not isinstance(self._attack, BaseGradientDescent):
            return None
        absolute = self._attack.abs_stepsize
        size = self._attack.rel_stepsize if absolute is None else absolute / eps
        return float(self._attack.steps * size)

    def search(self, problem: Problem, watcher: Watcher) -> list[Tensor]:
        """The attack's own candidates and the same clipped to the ball.

        Raises:
            ModelError: The attack needs gradients, and the attacked side has none.
            AttackError: Foolbox raises on every sample.
        """
        rows = torch.arange(len(problem.inputs), device=problem.inputs.device)
        questions = None
        if self._access == "gradient":
            watcher.saw_gradients(rows, loss_gradients(problem))
        else:
            questions = Questions(problem, watcher, self._norm)
        whole = _Part(problem, rows, questions)
        numbers = problem.places // self.block
        found = [self._block(whole.of(numbers == number)) for number in np.unique(numbers)]
        # Foolbox was told the hull of the bounds: what is narrower is put right here.
        raw = torch.cat(found)
        raw = raw if problem.bounds.plain else raw.clamp(*problem.bounds.around(problem.inputs))
        clipped = _into_ball(raw, problem, self._norm)
        left = rows[~watcher.retired(rows, raw, None)]
        watcher.retired(left, clipped[left], None)
        return [raw, clipped]

    def _block(self, block: _Part) -> Tensor:
        """Candidates for one block; NaN, which is void evidence, where Foolbox gives up.

        Raises:
            AttackError: It has given up on every sample so far.
        """
        number = int(block.problem.places[0]) // self.block
        found = self._halved(block, _block_seed(block.problem.seed, number))
        if self._gave_up is not None and not self._worked:
            raise self._gave_up
        return found

    def _halved(self, part: _Part, seed: int) -> Tensor:
        """One sample without a starting point ends Foolbox's whole batch: look for it by halves."""
        try:
            found = self._candidates(part, seed)
        except AttackError as error:
            self._gave_up = error
            samples = len(part.rows)
            if samples == 1:
                return torch.full_like(part.problem.inputs, torch.nan)
            first = np.arange(samples) < samples // 2
            return torch.cat([self._halved(part.of(half), seed) for half in (first, ~first)])
        self._worked = self._worked or bool(found.isfinite().any())
        return found

    def _candidates(self, part: _Part, seed: int) -> Tensor:
        seed_globals(seed)
        with warnings.catch_warnings():
            # Under -W error a remark of Foolbox would end the search.
            warnings.filterwarnings("default", module="foolbox")
            try:
                return self._found(part)
            except AerobustError:
                raise
            except Exception as cause:
                raise AttackError(
                    f"{type(self._attack).__name__} broke down with {type(cause).__name__}: "
                    f"{str(cause) or 'a bare assertion'}. This says nothing about the model; try "
                    "other attack_args or another attack"
                ) from cause

    def _found(self, part: _Part) -> Tensor:
        if part.questions is None:
            return self._run(part, part.problem.ask, self._attack)
        if not self._needs_start:
            return self._asked(part, part.questions, self._attack)
        starts, found = self._starts(part, part.questions)
        candidates = self._unstarted(part, part.questions, found)
        if found.any():
            started = part.of(found.cpu().numpy())
            candidates[found] = self._asked(
                started, part.questions, self._attack, starting_points=starts[found]
            )
        return candidates

    @property
    def _needs_start(self) -> bool:
        """Whether it walks from another class, and the user has not said how to get there."""
        walks = isinstance(self._attack, BoundaryAttack | HopSkipJumpAttack | PointwiseAttack)
        return walks and self._attack.init_attack is None

    def _starts(self, part: _Part, questions: Questions) -> tuple[Tensor, Tensor]:
        """A start for each sample, and for which of them there is one."""
        if not isinstance(self._attack, PointwiseAttack):
            return starting_points(part.problem, part.rows, questions)
        # Its own start, of few changed numbers; Foolbox gives up a batch of which one has none.
        self._asked(part, questions, SaltAndPepperNoiseAttack())
        closest = questions.closest[part.rows]
        return closest, (closest != part.problem.inputs).flatten(1).any(dim=1)

    def _unstarted(self, part: _Part, questions: Questions, found: Tensor) -> Tensor:
        """NaN for who has no start, whatever it asked; the input of who had no query left."""
        lost = ~found & questions.live(part.rows)
        if lost.any():
            self._gave_up = AttackError(
                f"{type(self._attack).__name__} found no starting point for {int(lost.sum())} of "
                f"{len(lost)} samples: no noise within the bounds is of another class. This says "
                "nothing about the model; give it an init_attack, or choose another attack"
            )
        return torch.where(aligned(lost, part.problem.inputs), torch.nan, part.problem.inputs)

    def _asked(self, part: _Part, questions: Questions, attack: Any, **starts: Tensor) -> Tensor:
        """Foolbox's candidates; of whom it stopped to ask for, the closest so far."""
        inputs = part.problem.inputs
        try:
            found = self._run(part, partial(self._answer, part.rows, questions), attack, **starts)
        except SearchEnded:
            return questions.closest[part.rows]
        except SearchEndless:
            # Who is still searched for was never searched to an end: no evidence.
            lost = aligned(questions.open(part.rows), inputs)
            return torch.where(lost, torch.nan, questions.closest[part.rows])
        live = aligned(questions.live(part.rows), inputs)
        return torch.where(live, found, questions.closest[part.rows])

    def _answer(self, rows: Tensor, questions: Questions, inputs: Tensor) -> Tensor:
        if len(inputs) % len(rows):
            raise AttackError(
                f"{type(self._attack).__name__} asked with {len(inputs)} inputs for {len(rows)} "
                "samples: expected as many for each, so that answers can be counted"
            )
        rounds = (questions.ask(rows, each) for each in torch.split(inputs, len(rows)))
        logits = torch.cat(list(rounds))
        # GenAttack takes logarithms of its own, which only log-probabilities survive.
        return logits.log_softmax(dim=1) if self._access == "score" else logits

    def _run(
        self, part: _Part, ask: Callable[[Tensor], Tensor], attack: Any, **starts: Tensor
    ) -> Tensor:
        problem = part.problem
        # Foolbox asserts bounds exactly, so they must be numbers that the inputs can take.
        low, high = problem.inputs.new_tensor(problem.bounds.hull).tolist()
        frame = _Frame(low, high - low) if self._in_unit else _Frame(0.0, 1.0)
        ends = (0.0, 1.0) if self._in_unit else (low, high)
        model = PyTorchModel(
            _Asked(ask, frame, problem).eval(), bounds=ends, device=problem.inputs.device
        )
        goal = (
            Misclassification(problem.labels)
            if problem.targets is None
            else TargetedMisclassification(problem.targets)
        )
        inputs, eps = frame.into(problem.inputs).clamp(*ends), problem.eps / frame.span
        told = {name: frame.into(start).clamp(*ends) for name, start in starts.items()}
        found: Tensor
        if isinstance(attack, FixedEpsilonAttack):
            found = attack.run(model, inputs, goal, epsilon=eps)
        elif isinstance(attack, MinimizationAttack):
            found = attack.run(model, inputs, goal, early_stop=eps, **told)
        else:
            found, _, _ = attack(model, inputs, goal, epsilons=eps)
        return frame.back(found.detach().to(problem.inputs).reshape_as(problem.inputs))


class _Frame(NamedTuple):
    """Where an attack sees the data: moved by `low` and shrunk by `span`."""

    low: float
    span: float

    def into(self, inputs: Tensor) -> Tensor:
        return (inputs - self.low) / self.span

    def back(self, inputs: Tensor) -> Tensor:
        return inputs * self.span + self.low


class _Asked(nn.Module):
    """The engine's checked question as the module that Foolbox wants."""

    def __init__(self, ask: Callable[[Tensor], Tensor], frame: _Frame, problem: Problem) -> None:
        super().__init__()
        self._ask, self._gradient, self._frame = ask, problem.gradient, frame
        self._originals, self._mutable = problem.inputs, problem.bounds.mutable

    def forward(self, inputs: Tensor) -> Tensor:
        inputs = self._frame.back(inputs)
        if self._mutable is not None and len(inputs) == len(self._originals):
            # Foolbox asks about its batch in its order. What may not change is as it was, so
            # that no answer and no gradient comes from there.
            inputs = torch.where(self._mutable, inputs, self._originals)
        if not inputs.requires_grad:
            return self._ask(inputs)
        question = inputs, self._ask, self._gradient
        followed: Tensor = _Followed.apply(*question)  # type: ignore[no-untyped-call]  # torch's
        return followed


class _Followed(torch.autograd.Function):
    """Logits, whose backward pass is the engine's own question, however the attack asks for it."""

    @staticmethod
    def forward(
        ctx: Any,
        inputs: Tensor,
        ask: Callable[[Tensor], Tensor],
        gradient: Callable[[Tensor, Tensor], Tensor],
    ) -> Tensor:
        ctx.ask, ctx.gradient = ask, gradient
        ctx.inputs = inputs.detach().requires_grad_()
        with torch.enable_grad():
            ctx.logits = ask(ctx.inputs)
        answers: Tensor = ctx.logits.detach()
        return answers

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, weights: Tensor) -> tuple[Tensor, None, None]:
        with torch.enable_grad():
            # Its graph is gone once it was followed.
            logits = ctx.ask(ctx.inputs) if ctx.logits is None else ctx.logits
            ctx.logits = None
            return ctx.gradient((logits * weights).sum(), ctx.inputs), None, None


def _into_ball(candidates: Tensor, problem: Problem, norm: Norm) -> Tensor:
    """The candidates pulled back into the ball along the line to their originals."""
    perturbation = (candidates - problem.inputs).flatten(1)
    if norm == "l0":  # no line leads into an L0 ball
        return candidates
    if norm == "linf":
        pulled = perturbation.clamp(-problem.eps, problem.eps)
    else:
        norms = perturbation.norm(p=ORDERS[norm], dim=1, keepdim=True).clamp_min(1e-12)
        pulled = perturbation * (problem.eps / norms).clamp_max(1.0)
    low, high = problem.bounds.around(problem.inputs)
    return (problem.inputs.flatten(1) + pulled).reshape_as(candidates).clamp(low, high)


def _block_seed(seed: int, block: int) -> int:
    return int(np.random.SeedSequence([seed, block]).generate_state(1)[0])
