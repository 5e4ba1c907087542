"""One run: builds subjects, measures what contracts ask for, and judges it."""

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from pytest_aerobust.arguments import (
    FilterGradient,
    checked_count,
    checked_eps,
    checked_feature_bounds,
    checked_filter_gradient,
    checked_mask,
    checked_statistics,
    checked_threat,
)
from pytest_aerobust.arms import OnExamples, unseen
from pytest_aerobust.budgets import Epsilons
from pytest_aerobust.catalogue import Norm, Threat
from pytest_aerobust.checks import (
    OF_ANSWERS,
    Strength,
    checked_strength,
    checked_waivers,
)
from pytest_aerobust.choice import chosen
from pytest_aerobust.contract import Contract
from pytest_aerobust.errors import ContractError, FloorBroken, Inconclusive
from pytest_aerobust.evaluation import Measurement, Need, measure
from pytest_aerobust.evidence.sanity import exempt_notes, vacuous_notes
from pytest_aerobust.examples import Counterexamples
from pytest_aerobust.replaying import ReplayedContract, judge_again
from pytest_aerobust.results import Evaluation
from pytest_aerobust.saved import Saved, remove, save
from pytest_aerobust.settings import Settings
from pytest_aerobust.subjects.data import Pairs, read_samples
from pytest_aerobust.subjects.state import digest
from pytest_aerobust.subjects.subject import Subject, build_subject
from pytest_aerobust.targets import Rule, checked_target
from pytest_aerobust.varying import Boundary, find_boundary
from pytest_aerobust.verdict import Verdict, explain, headline, judge
from pytest_aerobust.weighing import Remembered
from pytest_aerobust.worst import worst_cases


@dataclass(frozen=True)
class Parts:
    """What the user's fixtures give, as it came."""

    model: Any
    data: Any
    filter: Any
    bounds: Any
    unfiltered_model: Any
    mutable: Any = None


@dataclass(frozen=True)
class Judged:
    """An evaluation with its verdict and the words for a person.

    Attributes:
        evaluation: What was measured, at the budget that decides.
        verdict: What it means for the contract.
        boundary: Where budgets vary, the smallest that fails.
        examples: Where its counterexamples are stored, if they are.
    """

    evaluation: Evaluation
    verdict: Verdict
    boundary: Boundary | None = None
    examples: Path | None = None

    def enforce(self, rerun: str, replay: str | None = None) -> None:
        """Raise what the verdict means for a test, with the words that a person needs.

        Args:
            rerun: The command that runs the test again.
            replay: The command that shows its stored counterexamples again.

        Raises:
            FloorBroken: A floor does not hold.
            Inconclusive: The floors hold, the evidence is void.
        """
        if self.verdict.outcome == "failed":
            raise FloorBroken(self._words(rerun, replay), pytrace=False)
        if self.verdict.outcome != "passed":
            raise Inconclusive(self._words(rerun, replay), pytrace=False)

    @property
    def words(self) -> str:
        """The verdict with the numbers and the evidence."""
        return explain(self.verdict, self.evaluation)

    def _words(self, rerun: str, replay: str | None) -> str:
        lines = [self.words]
        if self.boundary is not None and self.boundary.failing is not None:
            lines.append(_boundary_words(self.boundary))
        full = "" if self.evaluation.complete else " --aerobust-full"
        lines.append(f"run again: {rerun}{full}")
        if replay is not None:
            lines.append(
                f"its worst cases are stored; see them again, without the attack: {replay}"
            )
        return "\n  ".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """Plain scalars, lists and dicts, for reports of other processes."""
        return {
            "evaluation": self.evaluation.to_dict(),
            "verdict": self.verdict.outcome,
            "headline": headline(self.verdict, self.evaluation),
            "floors": {check.name: float(check.floor) for check in self.verdict.checks},
            "smallest_failing_eps": None if self.boundary is None else self.boundary.failing,
        }

    def properties(self) -> list[tuple[str, Any]]:
        """Flat scalars for JUnit's properties."""
        evaluation = self.evaluation
        found: dict[str, Any] = {
            "attack": evaluation.attack,
            "norm": evaluation.norm,
            "eps": evaluation.eps,
            "threat": evaluation.threat,
            "verdict": self.verdict.outcome,
            "samples": evaluation.pipeline.samples,
            "clean_accuracy": evaluation.pipeline.clean_accuracy,
            "seconds": round(evaluation.seconds, 3),
        }
        for name, arm in evaluation.arms.items():
            low, high = arm.accuracy_interval
            found[f"{name}_accuracy_low"] = float(low)
            found[f"{name}_accuracy_high"] = float(high)
        if evaluation.targets is not None:
            low, high = evaluation.pipeline.target_hits_interval
            found["target"] = evaluation.target
            found |= {"target_hits_low": float(low), "target_hits_high": float(high)}
        if (queries := evaluation.queries) is not None:
            found |= {"queries_most": queries.most, "queries_mean": queries.mean}
            found |= {} if queries.limit is None else {"queries_limit": queries.limit}
        found |= {check.name: float(check.floor) for check in self.verdict.checks}
        return [(f"aerobust_{name}", value) for name, value in found.items()]


def _boundary_words(boundary: Boundary) -> str:
    below = (
        "every smaller budget breaks it, too"
        if boundary.withstood is None
        else f"eps={boundary.withstood:.4g} does not break it"
    )
    return (
        f"smallest failing budget: eps={boundary.failing:.4g} ({below}; "
        f"{boundary.tried} budgets tried)"
    )


class Session:
    """What one pytest run keeps between its items.

    Args:
        settings: The options.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._read: dict[int, tuple[Any, Pairs]] = {}
        self._known: dict[Any, tuple[Parts, Remembered]] = {}
        if settings.workers > 1:
            torch.set_num_threads(max(1, _cores() // settings.workers))

    def guard(self, contract: Contract, parts: Parts, test: str) -> "Robustness":
        """A contract bound to its subject.

        Args:
            contract: What the test demands, settled.
            parts: What the fixtures gave.
            test: The test's id, which seeds the draws of varying budgets.

        Raises:
            SubjectError: What can't be evaluated, with the reason.
        """
        costs = self.settings.costs(contract)
        subject = build_subject(
            parts.model,
            self._samples(parts.data),
            parts.filter,
            bounds=contract.bounds or checked_feature_bounds(parts.bounds),
            mutable=checked_mask(parts.mutable),
            unfiltered_model=parts.unfiltered_model,
            mean=contract.mean,
            std=contract.std,
            filter_gradient=contract.filter_gradient,
            draws=contract.eot or 1,
            samples=costs.samples,
            seed=costs.seed or 0,
        )
        if subject.filter is None and contract.floors.min_gain is not None:
            raise ContractError(
                "min_gain compares with and without the filter, but the fixture "
                f"{contract.filter} gives None"
            )
        if subject.filter is None and contract.filter_gradient is not None:
            raise ContractError(
                f"filter_gradient={contract.filter_gradient!r} says how gradients pass the filter, "
                f"but the fixture {contract.filter} gives None"
            )
        return Robustness(
            contract, subject, self.settings, test, self._remembered(contract, parts, subject)
        )

    def _remembered(self, contract: Contract, parts: Parts, subject: Subject) -> Remembered:
        """What is known of the very same model, filter and data, while their weights last."""
        costs = self.settings.costs(contract)
        key = (
            *(id(part) for part in (parts.model, parts.filter, parts.unfiltered_model, parts.data)),
            *(subject.bounds.arguments, contract.mean, contract.std, costs),
            *(contract.filter_gradient, subject.draws, digest(subject.modules)),
        )
        # The objects are kept beside what is known of them: an id is unique only while they live.
        return self._known.setdefault(key, (parts, {}))[1]

    def _samples(self, data: Any) -> Pairs:
        """The data as a pair; a loader is read once a session, not once a test."""
        if id(data) not in self._read:
            # The object is kept beside its samples: an id is unique only while it lives.
            self._read[id(data)] = (data, read_samples(data))
        return self._read[id(data)][1]


def needed(verdict: Verdict) -> Need:
    """What a measurement still has to give before this verdict stands."""
    if verdict.outcome == "undecided":
        return Need.ATTACK
    unreliable = any(finding.name in OF_ANSWERS for finding in verdict.void)
    return Need.NOTHING if verdict.outcome == "failed" or unreliable else Need.EVIDENCE


def _cores() -> int:
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


class Robustness:
    """What the fixture `robustness` gives: measures its contract on request.

    Args:
        contract: What the test demands.
        subject: What is under test.
        settings: The options.
        test: The test's id.
        remembered: What earlier contracts found out about the subject.
    """

    def __init__(
        self,
        contract: Contract,
        subject: Subject,
        settings: Settings,
        test: str,
        remembered: Remembered,
    ) -> None:
        self._contract, self._subject, self._settings = contract, subject, settings
        self._remembered = remembered
        self._costs = settings.costs(contract)
        self._test = test
        self._measured: dict[float, Evaluation] = {}
        self._worst: dict[float, Saved | None] = {}

    def __call__(self, eps: float | None = None) -> Evaluation:
        """The evaluation, measured in full and once.

        Args:
            eps: A budget, where the contract's budgets vary; the largest by default.

        Raises:
            ContractError: The contract has one budget, and it is not this.
        """
        budgets = self._contract.eps
        asked = self._contract.largest_eps if eps is None else checked_eps(eps)
        if not isinstance(budgets, Epsilons) and asked != budgets:
            raise ContractError(
                f"robustness({asked:g}): this contract's only budget is {budgets:g}; let it "
                "vary with eps=epsilons(...)"
            )
        if isinstance(budgets, Epsilons) and not budgets.low <= asked <= budgets.high:
            raise ContractError(
                f"robustness({asked:g}): this contract's budgets lie in {budgets}; widen "
                "eps=epsilons(...)"
            )
        return self._evaluation(asked, full=True)

    def check(self) -> Judged:
        """Measure as much as the verdict needs, judge, and store what proves a failure."""
        return self._stored(self._checked())

    def replay(self, saved: Saved) -> ReplayedContract:
        """Judge stored examples again, without an attack; the data are theirs.

        Raises:
            SubjectError: Model or filter refuse the inputs.
        """
        return judge_again(self._subject, saved, self._costs.device)

    def _checked(self) -> Judged:
        budgets = self._contract.eps
        if not isinstance(budgets, Epsilons):
            return self._judged(budgets)
        boundary = find_boundary(budgets, self._withstands, self._draw_seed())
        if boundary.failing is not None:
            return replace(self._judged(boundary.failing), boundary=boundary)
        # A proof beats a doubt: only where nothing fails, void evidence at any budget counts.
        doubtful = [eps for eps in self._measured if not self._passes(eps)]
        return replace(self._judged(max(doubtful, default=budgets.high)), boundary=boundary)

    def _withstands(self, eps: float) -> bool:
        return self._judged(eps).verdict.outcome not in ("failed", "undecided")

    def _passes(self, eps: float) -> bool:
        return self._judged(eps).verdict.outcome == "passed"

    def _judged(self, eps: float) -> Judged:
        evaluation = self._evaluation(eps, full=self._settings.full)
        return Judged(evaluation, judge(self._contract.floors, evaluation))

    def _evaluation(self, eps: float, full: bool) -> Evaluation:
        known = self._measured.get(eps)
        if known is None or (full and not known.complete):
            self._measured[eps] = self._measure(eps, full)
        return self._measured[eps]

    def _measure(self, eps: float, full: bool) -> Evaluation:
        contract, floors = self._contract, self._contract.floors
        measurement = Measurement(
            contract.attack,
            eps,
            contract.threat_under(self._settings.threat, self._subject.filter is not None),
            contract.target,
            self._costs.seed or 0,
            contract.waivers,
            contract.strength,
            contract.queries,
            compared=floors.min_gain is not None,
        )
        kept = Counterexamples("unfiltered" if self._subject.filter is None else "filtered")
        evaluation = measure(
            self._subject,
            measurement,
            need=lambda e: Need.ATTACK if full and not e.complete else needed(judge(floors, e)),
            remembered=self._remembered,
            on_examples=kept if self._settings.examples else unseen,
            device=self._costs.device,
        )
        self._worst[eps] = self._worst_of(evaluation, kept) if self._settings.examples else None
        notes = (
            *evaluation.notes,
            *vacuous_notes(floors, self._subject.samples.labels),
            *exempt_notes(floors, evaluation.pipeline),
        )
        return replace(evaluation, notes=notes)

    def _worst_of(self, evaluation: Evaluation, kept: Counterexamples) -> Saved | None:
        """A few of the examples, so that no measurement keeps all of its own in memory."""
        verdict = judge(self._contract.floors, evaluation)
        if verdict.outcome != "failed":
            return None
        device, test = self._costs.device, self._test
        return worst_cases(
            self._subject, self._contract, evaluation, verdict, kept, test=test, device=device
        )

    def _stored(self, judged: Judged) -> Judged:
        """With the worst cases on disk; what an earlier run stored for this test is gone.

        A failure stays one where they can't be written, hours after the folder was tried.
        """
        folder = self._settings.examples
        if folder is None:
            return judged
        worst = self._worst[judged.evaluation.eps]
        try:
            if worst is not None:
                return replace(judged, examples=save(folder, worst))
            remove(folder, self._test)
        except OSError as error:
            note = f"counterexamples in {folder} could not be brought up to date: {error}"
            notes = (*judged.evaluation.notes, note)
            return replace(judged, evaluation=replace(judged.evaluation, notes=notes))
        return judged

    def _draw_seed(self) -> int:
        told = f"{self._costs.seed}/{self._test}"
        return int.from_bytes(hashlib.blake2b(told.encode(), digest_size=8).digest())


def evaluate(
    model: Any,
    data: Any,
    *,
    attack: Any,
    eps: float,
    filter: Any = None,
    norm: Norm | None = None,
    threat: Threat | None = None,
    target: int | Mapping[int, int] | Rule | None = None,
    unfiltered_model: Any = None,
    bounds: Any = (0.0, 1.0),
    mutable: Any = None,
    mean: float | Sequence[float] | None = None,
    std: float | Sequence[float] | None = None,
    filter_gradient: FilterGradient | None = None,
    eot: int | None = None,
    steps: int | None = None,
    attack_args: Mapping[str, Any] | None = None,
    samples: int | None = None,
    seed: int = 0,
    queries: int | None = None,
    device: str | None = None,
    waive: Mapping[str, str] | None = None,
    strength: Strength = "standard",
    on_examples: OnExamples | None = None,
) -> Evaluation:
    """Attack a model with and without a filter and count who survives; pytest not needed.

    Args:
        model: A torch or Lightning module from inputs ``(N, ...)`` to logits ``(N, K)``, a fitted
            scikit-learn classifier (one that is neither linear nor an MLP: under ``black-box``
            alone), or a ready ``foolbox.Model``.
        data: ``(inputs, labels)``, a Dataset, a DataLoader or a LightningDataModule.
        attack: Name of an attack, or an instance of a Foolbox attack.
        eps: Budget in the units of the data, at least 0.
        filter: In front of the model, from inputs to inputs; None tests the bare model.
        norm: Norm of the budget's ball; the attack's own by default.
        threat: What the attacker knows; the attack's own by default.
        target: What the attacker wants: a class, a mapping class to class, ``"natural"`` or
            ``"non-natural"``, as in :func:`robust`; untargeted by default.
        unfiltered_model: A model of its own for the arm without the filter.
        bounds: Smallest and largest value of an input; either may be an array of one number a
            feature, or of any shape that broadcasts to a sample's, such as ``(C, 1, 1)``.
        mutable: Which features may change, an array of booleans that broadcasts to a sample's
            shape; all by default.
        mean: Subtracted in front of the models, one number or one a channel.
        std: Divides what is left, likewise.
        filter_gradient: How gradients pass the filter, ``"exact"`` or ``"identity"``, as in
            :func:`robust`; decided by the filter's own gradient by default.
        eot: How many random answers to average, as in :func:`robust`.
        steps: Steps of the attack, where it has steps.
        attack_args: Further arguments for the attack's constructor.
        samples: Draw this many, stratified by label; all by default.
        seed: Seed of everything random.
        queries: Most answers of the pipeline for one sample, at least 1, as in :func:`robust`.
        device: Where to run; None stays where the model is.
        waive: Checks of the evidence that are turned off, each with the reason.
        strength: How much evidence is gathered: ``"standard"`` or ``"thorough"``.
        on_examples: Is shown every verified adversarial example; see :class:`Counterexamples`.

    Returns:
        The evaluation of all samples.

    Raises:
        ContractError: An argument that can't be meant.
        SubjectError: What can't be evaluated, with the reason.
        AttackError: The attack itself broke down.
    """
    choice = chosen(attack, norm, steps, attack_args)
    settled = checked_threat(threat) or choice.spec.threats[0]
    wanted = checked_target(target)
    drawn = checked_count("seed", seed, least=0) or 0
    passing = checked_filter_gradient(filter_gradient)
    granted = checked_count("queries", queries, least=1)
    Contract(
        choice,
        checked_eps(eps),
        settled,
        wanted,
        filter=None if filter is None else "filter",
        filter_gradient=passing,
        queries=granted,
    ).check()
    subject = build_subject(
        model,
        read_samples(data),
        filter,
        bounds=checked_feature_bounds(bounds),
        mutable=checked_mask(mutable),
        unfiltered_model=unfiltered_model,
        mean=checked_statistics("mean", mean),
        std=checked_statistics("std", std, positive=True),
        filter_gradient=passing,
        draws=checked_count("eot", eot, least=1) or 1,
        samples=checked_count("samples", samples, least=1),
        seed=drawn,
    )
    return measure(
        subject,
        Measurement(
            choice,
            float(eps),
            settled,
            wanted,
            drawn,
            checked_waivers(waive),
            checked_strength(strength),
            granted,
        ),
        on_examples=on_examples or unseen,
        device=device,
    )
