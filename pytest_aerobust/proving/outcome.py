"""A verdict ready for people, JUnit and other processes."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pytest_aerobust.contract.vary import draw_words
from pytest_aerobust.counterexamples.files import Saved
from pytest_aerobust.errors import FloorBroken, Inconclusive
from pytest_aerobust.history.baseline.entries import Entry
from pytest_aerobust.proving.drawing import Boundary, Search
from pytest_aerobust.results.evaluation import Evaluation, Evidence
from pytest_aerobust.verdict.judge import Verdict
from pytest_aerobust.verdict.words import explain, headline


@dataclass(frozen=True)
class Outcome:
    """An evaluation with its verdict and the words for a person.

    Attributes:
        evaluation: What was measured, at the budget that decides.
        verdict: What it means for the contract.
        boundary: Where budgets vary, the smallest that fails.
        search: Where other things vary, what Hypothesis found.
        settled: Where budgets vary, how those were settled that nobody attacked with.
        examples: Where its counterexamples are stored, if they are.
        entry: What the baseline is to hold of it; None where it stays as it is.
        worst: The counterexamples themselves, where a report shows them.
    """

    evaluation: Evaluation
    verdict: Verdict
    boundary: Boundary | None = None
    search: Search | None = None
    settled: str = ""
    examples: Path | None = None
    entry: Entry | None = None
    worst: Saved | None = None

    def __str__(self) -> str:
        return self.words

    @property
    def passed(self) -> bool:
        """Whether the floors hold, and nothing speaks against it."""
        return self.verdict.outcome == "passed"

    @property
    def failed(self) -> bool:
        """Whether a floor is broken."""
        return self.verdict.outcome == "failed"

    @property
    def inconclusive(self) -> bool:
        """Whether no floor is broken, but the evidence is void, or too little for a verdict."""
        return not (self.passed or self.failed)

    @property
    def evidence(self) -> tuple[Evidence, ...]:
        """What was found about the run itself."""
        return self.evaluation.evidence

    def enforce(self, rerun: str | None = None, replay: str | None = None) -> None:
        """Raise what the verdict means for a test, with the words that a person needs.

        What is raised are pytest's own failures, which derive from `BaseException`.

        Args:
            rerun: The command that runs the test again; None where there is none.
            replay: The command that shows its stored counterexamples again.

        Raises:
            FloorBroken: A floor does not hold.
            Inconclusive: The floors hold, the evidence is void.
        """
        if self.failed:
            raise FloorBroken(self._words(rerun, replay), pytrace=False)
        if self.inconclusive:
            raise Inconclusive(self._words(rerun, replay), pytrace=False)

    @property
    def words(self) -> str:
        """The verdict with the numbers and the evidence, and what it says of all budgets."""
        return "\n  ".join(filter(None, (explain(self.verdict, self.evaluation), self.settled)))

    def _words(self, rerun: str | None, replay: str | None) -> str:
        lines = [self.words]
        if rerun is not None:
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
            "words": self.words,
            "floors": {check.name: float(check.floor) for check in self.verdict.checks},
            "smallest_failing_eps": None if self.boundary is None else self.boundary.failing,
            "drawn": None if self.boundary is None else list(self.boundary.drawn),
            "draws": None if self.search is None else list(map(draw_words, self.search.drawn)),
            "simplest_failing_draw": None
            if self.search is None or self.search.failing is None
            else draw_words(self.search.failing),
            "baseline": None if self.entry is None else self.entry.to_dict(),
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
        if evaluation.cached:
            found["cached"] = "yes"
        if evaluation.before:
            found["disturbances"] = evaluation.before
        if evaluation.targets is not None:
            low, high = evaluation.pipeline.target_hits_interval
            found["target"] = evaluation.target
            found |= {"target_hits_low": float(low), "target_hits_high": float(high)}
        if (queries := evaluation.queries) is not None:
            found |= {"queries_most": queries.most, "queries_mean": queries.mean}
            found |= {} if queries.limit is None else {"queries_limit": queries.limit}
        if (past := evaluation.regression) is not None:
            found["baseline"] = past.status
            if past.status == "compared":
                found |= {"regression": float(past.drop), "regression_p": past.p}
                found |= {"newly_lost": len(past.lost), "newly_won": len(past.won)}
        if (memory := evaluation.memory) is not None:
            low, high = evaluation.without_memory
            found |= {"memory_tried": memory.tried, "memory_fell": len(memory.fell)}
            found |= {"without_memory_low": float(low), "without_memory_high": float(high)}
        if (boundary := self.boundary) is not None:
            found["drawn"] = " ".join(f"{eps:.6g}" for eps in boundary.drawn)
            if boundary.failing is not None:
                found["smallest_failing_eps"] = boundary.failing
        if (search := self.search) is not None:
            found["draws"] = len(search.drawn)
            if search.failing is not None:
                found["simplest_failing_draw"] = draw_words(search.failing)
        found |= {check.name: float(check.floor) for check in self.verdict.checks}
        return [(f"aerobust_{name}", value) for name, value in found.items()]
