"""An evaluation against the baseline, sample by sample."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from pytest_aerobust.contract.contract import Contract
from pytest_aerobust.history.attack_code import NOT_FOLLOWED
from pytest_aerobust.history.baseline.entries import Entry, rounded
from pytest_aerobust.history.fingerprints import DEFAULTS, DataPrint, described, in_order
from pytest_aerobust.options.settings import Update
from pytest_aerobust.results.arm import EXEMPT, SURVIVED, UNDECIDED, WRONG
from pytest_aerobust.results.evaluation import Evaluation, Regression
from pytest_aerobust.subjects.subject import Subject
from pytest_aerobust.verdict.statistics import mcnemar

_STANDING = [ord(SURVIVED), ord(EXEMPT)]


@dataclass(frozen=True)
class BaselineComparison:
    """One contract's place in the baseline.

    Attributes:
        contract: What the test demands.
        subject: What it is measured on.
        data: What its samples are known by.
        entry: What the baseline holds of it; None where that is nothing.
        update: Whether this run stores what it measures.
        strict: Whether an entry must be there and fit.
        made_of: What its attack is made of, in words by name.
    """

    contract: Contract
    subject: Subject
    data: DataPrint
    entry: Entry | None
    update: Update | None = None
    strict: bool = False
    made_of: Mapping[str, str] = field(default_factory=dict)

    def compared(self, evaluation: Evaluation) -> Regression:
        """What became of each sample since; the evaluation is complete."""
        if self.update == "all" or (self.update == "new" and self.entry is None):
            return Regression("stored")
        if self.entry is None:
            return Regression("new", "the baseline has no entry for it", required=self.strict)
        data = self.data
        reason = _changed(self.entry.contract, self._described(evaluation))
        reason = reason or _other_data(self.entry, data)
        if reason:
            return Regression("stale", reason, required=self.strict)
        order = self._order(evaluation)
        ids = self.subject.samples.ids.numpy()[order]
        before = _copies_sorted(self.entry.survivors, [data.samples[place] for place in order])
        after, open_ = _standing(evaluation, order), _undecided(evaluation, order)
        lost, won = ids[before & ~after & ~open_], ids[after & ~before & ~open_]
        return Regression(
            "compared",
            samples=len(ids),
            before=int(before.sum()),
            lost=tuple(sorted(lost.tolist())),
            won=tuple(sorted(won.tolist())),
            undecided=(int((open_ & before).sum()), int((open_ & ~before).sum())),
            distinct=self._distinct(order, before, after, open_),
            p=mcnemar(len(lost), len(won)),
        )

    def _described(self, evaluation: Evaluation) -> dict[str, str]:
        return described(self.contract, evaluation, self.subject, self.made_of)

    def _order(self, evaluation: Evaluation) -> np.ndarray:
        """The baseline's order of the samples; of copies those that stand come first.

        Nobody knows which copy was which, so as many as possible are taken to be what they were.
        """
        places = np.arange(len(self.data.samples))
        fallen, open_ = ~_standing(evaluation, places), _undecided(evaluation, places)
        ranks = np.where(open_, 1, 2 * fallen)
        order = sorted(self.data.order, key=lambda place: (self.data.samples[place], ranks[place]))
        return np.array(order)

    def _distinct(
        self, order: np.ndarray, before: np.ndarray, after: np.ndarray, open_: np.ndarray
    ) -> tuple[int, int, int, int]:
        """Lost and won inputs, whatever label a copy has: one stands where all its copies do."""
        _, groups = np.unique(self.subject.firsts.numpy()[order], return_inverse=True)
        count = groups.max() + 1

        def all_of(standing: np.ndarray) -> np.ndarray:
            whole: np.ndarray = np.bincount(groups, weights=~standing, minlength=count) == 0
            return whole

        stood, least, most = all_of(before), all_of(after), all_of(after | open_)
        pairs = ((stood, ~most), (~stood, most), (stood, ~least), (~stood, least))
        lost, most_won, most_lost, won = (int((one & other).sum()) for one, other in pairs)
        return lost, most_won, most_lost, won

    def measured(self, evaluation: Evaluation) -> Entry:
        """The entry that an evaluation makes; it is complete."""
        arms = {name: arm.accuracy for name, arm in evaluation.arms.items()}
        return Entry(
            contract=self._described(evaluation),
            data=self.data.digest,
            samples=len(self.subject.samples),
            accuracy=rounded({"clean": evaluation.pipeline.clean_accuracy, **arms}),
            survivors=tuple(_standing(evaluation, self._order(evaluation)).tolist()),
        )


def _copies_sorted(standing: Sequence[bool], digests: Sequence[str]) -> np.ndarray:
    """Bits in the order of their samples' digests; of equal ones those that stand come first."""
    order = sorted(range(len(digests)), key=lambda place: (digests[place], not standing[place]))
    return np.array(standing)[order]


def _standing(evaluation: Evaluation, order: np.ndarray) -> np.ndarray:
    return np.isin(in_order(evaluation.pipeline.outcomes, order), _STANDING)


def _undecided(evaluation: Evaluation, order: np.ndarray) -> np.ndarray:
    """Of whom nothing may be claimed, in the order of the baseline."""
    arm = evaluation.pipeline
    unsure = np.zeros(arm.samples, dtype=bool)
    unsure[list(arm.unsure)] = True
    letters = in_order(arm.outcomes, order)
    wrong, undecided = letters == ord(WRONG), letters == ord(UNDECIDED)
    open_: np.ndarray = undecided | (wrong & unsure[order])
    return open_


def _changed(before: Mapping[str, str], now: Mapping[str, str]) -> str:
    """Where two contracts differ, in words; empty where nowhere."""
    stated = [{**DEFAULTS, **told} for told in (before, now)]
    pairs = {name: [told.get(name) for told in stated] for name in {**before, **now}}
    told = [
        f"{name} was {was} and is {now}"
        for name, (was, now) in pairs.items()
        if was != now or now == NOT_FOLLOWED
    ]
    return f"the contract changed: {', '.join(told)}" if told else ""


def _other_data(entry: Entry, data: DataPrint) -> str:
    if entry.samples != len(data.order):
        return f"the data changed: {entry.samples} samples then, {len(data.order)} now"
    if entry.data != data.digest:
        return f"the data changed: {entry.samples} samples then and now, but not the same ones"
    return ""
