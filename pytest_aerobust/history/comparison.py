"""An evaluation against the baseline, sample by sample."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from pytest_aerobust.contract import Contract
from pytest_aerobust.history.baseline import Entry, rounded
from pytest_aerobust.history.fingerprints import DEFAULTS, DataPrint, described, in_order
from pytest_aerobust.results import (
    EXEMPT,
    SURVIVED,
    UNDECIDED,
    WRONG,
    Evaluation,
    Regression,
)
from pytest_aerobust.settings import Update
from pytest_aerobust.statistics import mcnemar
from pytest_aerobust.subjects.subject import Subject

_STANDING = [ord(SURVIVED), ord(EXEMPT)]


@dataclass(frozen=True)
class Past:
    """One contract's place in the baseline.

    Attributes:
        contract: What the test demands.
        subject: What it is measured on.
        data: What its samples are known by.
        entry: What the baseline holds of it; None where that is nothing.
        update: Whether this run stores what it measures.
        strict: Whether an entry must be there and fit.
    """

    contract: Contract
    subject: Subject
    data: DataPrint
    entry: Entry | None
    update: Update | None = None
    strict: bool = False

    def compared(self, evaluation: Evaluation) -> Regression:
        """What became of each sample since; the evaluation is complete."""
        if self.update == "all" or (self.update == "new" and self.entry is None):
            return Regression("stored")
        if self.entry is None:
            return Regression("new", "the baseline has no entry for it", required=self.strict)
        data, now = self.data, described(self.contract, evaluation, self.subject)
        reason = _changed(self.entry.contract, now) or _other_data(self.entry, data)
        if reason:
            return Regression("stale", reason, required=self.strict)
        ids = self.subject.samples.ids.numpy()[list(data.order)]
        before, after = np.array(self.entry.survivors), _standing(evaluation, data)
        open_ = _undecided(evaluation, data)
        lost, won = ids[before & ~after & ~open_], ids[after & ~before & ~open_]
        return Regression(
            "compared",
            samples=len(ids),
            before=int(before.sum()),
            lost=tuple(sorted(lost.tolist())),
            won=tuple(sorted(won.tolist())),
            undecided=(int((open_ & before).sum()), int((open_ & ~before).sum())),
            p=mcnemar(len(lost), len(won)),
        )

    def measured(self, evaluation: Evaluation) -> Entry:
        """The entry that an evaluation makes; it is complete."""
        arms = {name: arm.accuracy for name, arm in evaluation.arms.items()}
        return Entry(
            contract=described(self.contract, evaluation, self.subject),
            data=self.data.digest,
            samples=len(self.subject.samples),
            accuracy=rounded({"clean": evaluation.pipeline.clean_accuracy, **arms}),
            survivors=tuple(_standing(evaluation, self.data).tolist()),
        )


def _standing(evaluation: Evaluation, data: DataPrint) -> np.ndarray:
    return np.isin(in_order(evaluation.pipeline.outcomes, data.order), _STANDING)


def _undecided(evaluation: Evaluation, data: DataPrint) -> np.ndarray:
    """Of whom nothing may be claimed, in the order of the baseline."""
    arm = evaluation.pipeline
    unsure = np.zeros(arm.samples, dtype=bool)
    unsure[list(arm.unsure)] = True
    wrong = in_order(arm.outcomes, data.order) == ord(WRONG)
    undecided = in_order(arm.outcomes, data.order) == ord(UNDECIDED)
    open_: np.ndarray = undecided | (wrong & unsure[list(data.order)])
    return open_


def _changed(before: Mapping[str, str], now: Mapping[str, str]) -> str:
    """Where two contracts differ, in words; empty where nowhere."""
    stated = [{**DEFAULTS, **told} for told in (before, now)]
    pairs = {name: [told.get(name) for told in stated] for name in {**before, **now}}
    told = [f"{name} was {was} and is {now}" for name, (was, now) in pairs.items() if was != now]
    return f"the contract changed: {', '.join(told)}" if told else ""


def _other_data(entry: Entry, data: DataPrint) -> str:
    if entry.samples != len(data.order):
        return f"the data changed: {entry.samples} samples then, {len(data.order)} now"
    if entry.data != data.digest:
        return f"the data changed: {entry.samples} samples then and now, but not the same ones"
    return ""
