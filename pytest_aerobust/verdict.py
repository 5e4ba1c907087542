"""From a contract's floors and an evaluation to a verdict, and the words for it."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from pytest_aerobust.chance import usual_causes
from pytest_aerobust.contract.catalogue import NOTHING
from pytest_aerobust.contract.disturbances import disturbance_words
from pytest_aerobust.contract.floors import Floors
from pytest_aerobust.contract.waivers import OF_ANSWERS
from pytest_aerobust.results import AT_TARGET, Arm, Evaluation, Evidence, Interval, Regression

# Pairs of classes spelled out in a failure before the rest is only counted.
_TOLD_TARGETS = 12

# Newly lost samples named before the rest is only counted.
_TOLD_PLACES = 20

Outcome = Literal["passed", "failed", "inconclusive", "undecided"]


@dataclass(frozen=True)
class FloorCheck:
    """One floor against what is known of its quantity.

    Attributes:
        name: The floor's name in the mark.
        floor: Its value.
        measured: What the quantity can still be.
        holds: Whether it holds; None while that is open.
        of: Whose quantity it is, in words; empty where it is that of the samples.
        remedy: What would settle it, in words, where no attack does.
        missing: Why its quantity has no value, in words; empty where it has one.
    """

    name: str
    floor: Fraction
    measured: Interval
    holds: bool | None
    of: str = ""
    remedy: str = ""
    missing: str = ""

    @property
    def slack(self) -> Fraction:
        """How far the worst that its quantity can still be lies on the right side of it."""
        low, high = self.measured
        return low - self.floor if QUANTITIES[self.name].at_least else self.floor - high


@dataclass(frozen=True)
class Verdict:
    """The outcome of a contract.

    Attributes:
        outcome: ``passed``; ``failed``; ``inconclusive``, no floor is broken but the evidence
            is void or too little, or the model does not stand by its answers; or ``undecided``,
            more samples have to be attacked.
        checks: Every floor with its numbers.
        void: The evidence that a pass can't rest on.
    """

    outcome: Outcome
    checks: tuple[FloorCheck, ...]
    void: tuple[Evidence, ...] = ()


Check = Callable[[str, Fraction, Evaluation], FloorCheck]
"""Holds one floor, by name and value, against an evaluation."""


@dataclass(frozen=True)
class Quantity:
    """What a floor is about.

    Attributes:
        words: Its name for people.
        measure: What it can still be, of the samples.
        at_least: Whether the floor is the least that it may be, or the most.
    """

    words: str
    measure: Callable[[Evaluation], Interval]
    at_least: bool


def _gain(evaluation: Evaluation) -> Interval:
    filtered, unfiltered = evaluation.pipeline, evaluation.unfiltered
    return filtered.accuracy_interval - unfiltered.accuracy_interval


def _regression(evaluation: Evaluation) -> Interval:
    found = evaluation.regression
    if found is None or found.status != "compared":
        return ANYTHING
    return found.drop_interval


ANYTHING = Interval(Fraction(-1), Fraction(1))

QUANTITIES = {
    "min_clean_acc": Quantity("clean accuracy", lambda e: e.pipeline.clean_interval, True),
    "min_acc": Quantity("robust accuracy", lambda e: e.pipeline.accuracy_interval, True),
    "max_drop": Quantity("accuracy lost", lambda e: e.pipeline.drop_interval, False),
    "min_gain": Quantity("accuracy gained by the filter", _gain, True),
    "max_regression": Quantity("accuracy lost since the baseline", _regression, False),
    "max_target_hits": Quantity("target hits", lambda e: e.pipeline.target_hits_interval, False),
}


def about_samples(name: str, floor: Fraction, evaluation: Evaluation) -> FloorCheck:
    """One floor against what is known of the samples at hand."""
    if name == "max_regression" and evaluation.regression is not None:
        return about_baseline(floor, evaluation.regression)
    measured = QUANTITIES[name].measure(evaluation)
    holds = holding(name, floor, measured)
    remedy = _UNDECIDED if holds is None and evaluation.complete else ""
    return FloorCheck(name, floor, measured, holds, remedy=remedy)


_UNDECIDED = "a tie of logits or their rounding decides (see the notes)"


def about_baseline(floor: Fraction, found: Regression) -> FloorCheck:
    """A floor against the baseline, of which there may be none that fits."""
    name = "max_regression"
    if found.status == "compared":
        drop = found.drop_interval
        return FloorCheck(name, floor, drop, holding(name, floor, drop))
    if found.status == "stored":
        return FloorCheck(name, floor, ANYTHING, True, missing="this run is the new baseline")
    words = f"{found.status}, {found.reason}; store it with --aerobust-update"
    return FloorCheck(name, floor, ANYTHING, False if found.required else None, missing=words)


def holding(name: str, floor: Fraction, measured: Interval) -> bool | None:
    """Whether a floor holds whatever its quantity still turns out to be; None while open."""
    low, high = measured
    if QUANTITIES[name].at_least:
        return True if low >= floor else False if high < floor else None
    return True if high <= floor else False if low > floor else None


def judge(floors: Floors, evaluation: Evaluation, check: Check = about_samples) -> Verdict:
    """The verdict on an evaluation, finished or not; a pure function of both.

    A floor is decided by interval arithmetic over everything that the samples not yet attacked
    could still do, so the verdict of an early stop is that of the full run. A model that does not
    stand by its answers makes witnesses as worthless as survivors.
    """
    demanded = floors.at(evaluation.eps).items()
    checks = _telling(check(name, floor, evaluation) for name, floor in demanded)
    void = tuple(f for f in evaluation.evidence if f.void and f.arm in _weighed(floors, evaluation))
    if any(finding.name in OF_ANSWERS for finding in void):
        return Verdict("inconclusive", checks, void)
    if any(check.holds is False for check in checks):
        return Verdict("failed", checks)
    if any(check.holds is None for check in checks):
        if evaluation.complete:
            return Verdict("inconclusive", checks, void)
        return Verdict("undecided", checks)
    return Verdict("inconclusive" if void else "passed", checks, void)


def _telling(checks: Iterable[FloorCheck]) -> tuple[FloorCheck, ...]:
    """Without those that have nothing to say yet, where others have."""
    found = (*checks,)
    told = tuple(check for check in found if not check.missing or check.holds is False)
    return told or found


def _weighed(floors: Floors, evaluation: Evaluation) -> set[str]:
    """The arms whose evidence counts: the pipeline's, and both where a floor compares them."""
    pipeline = "unfiltered" if evaluation.filtered is None else "filtered"
    return {pipeline} if floors.min_gain is None else {"filtered", "unfiltered"}


def explain(verdict: Verdict, evaluation: Evaluation) -> str:
    """The verdict in words: the numbers first, then what a person needs next."""
    facts = (
        _arms(evaluation),
        _attack(evaluation),
        _asked(evaluation),
        _targets(evaluation),
        *_since(evaluation.regression),
        *_from_memory(evaluation),
        *_other_checks(verdict),
    )
    findings = [*_findings(verdict, evaluation), *evaluation.notes]
    return "\n  ".join([headline(verdict, evaluation), *filter(None, facts), *findings])


def _findings(verdict: Verdict, evaluation: Evaluation) -> list[str]:
    """One line for each piece of evidence, the void ones first; a failure needs what is noted."""
    others = [finding for finding in evaluation.evidence if finding not in verdict.void]
    if verdict.outcome == "failed":
        others = [finding for finding in others if finding.weight == "noted"]
    return [
        f"{finding.name} ({finding.arm}) {_WEIGHTS[finding.weight]}: {finding.text}"
        for finding in (*verdict.void, *others)
    ]


_WEIGHTS = {
    "sound": "ok",
    "void": "VOID",
    "noted": "note",
    "skipped": "skipped",
    "waived": "waived",
}


def headline(verdict: Verdict, evaluation: Evaluation) -> str:
    """The one line that a summary keeps."""
    if verdict.outcome == "passed":
        return f"{_nothing_found(evaluation)}: {_sentence(_decisive(verdict))}"
    check = _decisive(verdict)
    words = f"{_before(check, evaluation) or _sentence(check)}  [{_conditions(evaluation)}]"
    if verdict.outcome != "inconclusive":
        return words
    if not verdict.void:
        return f"INCONCLUSIVE: {words}"
    arms = " and ".join(sorted({finding.arm for finding in verdict.void}))
    names = ", ".join(sorted({finding.name for finding in verdict.void}))
    return f"INCONCLUSIVE: {words}, but the evidence is void: {names} ({arms})"


def _before(check: FloorCheck, evaluation: Evaluation) -> str:
    """What is wrong before any attack, where that alone breaks a floor or voids all evidence."""
    arm, causes = evaluation.pipeline, usual_causes(evaluation)
    broken = check.name in ("min_acc", "min_clean_acc") and check.holds is False
    if broken and not check.of and arm.clean_interval.high < check.floor:
        number, floor = _told_apart(arm.clean_interval.high, check.floor)
        told = f"clean accuracy {number} < {check.name} {floor}, before any attack"
        return f"{told}; {causes}" if causes else told
    if not causes:
        # Of a population: what its sentence says is known of samples that nobody attacked.
        untouched = broken and arm.pending == arm.correct - arm.exempt
        return f"{_sentence(check)}, before any attack" if untouched else ""
    sentence = _sentence(check)
    told = f"clean accuracy {arm.clean_accuracy:.3f} before any attack is {causes}"
    return f"{told} {sentence[0].upper()}{sentence[1:]}"


def _nothing_found(evaluation: Evaluation) -> str:
    """A pass is what an attack did not find, and never that a model is robust."""
    arm = evaluation.pipeline
    if evaluation.attack == NOTHING.name:
        return f"{arm.survivors} of {arm.samples} samples are right  [{_conditions(evaluation)}]"
    steps = evaluation.arguments.get("steps")
    told = f" ({steps} steps)" if steps else ""
    return (
        f"no adversarial example found by {evaluation.attack}{told} for {arm.survivors} of "
        f"{arm.samples} samples  [{_conditions(evaluation)}]"
    )


def _decisive(verdict: Verdict) -> FloorCheck:
    """The floor that the verdict hangs on: the first broken one, the first open one, the first."""
    return min(verdict.checks, key=lambda check: _URGENCY.index(check.holds))


_URGENCY = (False, None, True)


def _other_checks(verdict: Verdict) -> list[str]:
    decisive = _decisive(verdict)
    return [_sentence(check) for check in verdict.checks if check is not decisive]


def _sentence(check: FloorCheck) -> str:
    """Such as ``robust accuracy at most 0.683 < min_acc 0.900``."""
    quantity = QUANTITIES[check.name]
    relation = {
        (True, True): "≥",
        (True, False): "<",
        (False, True): "≤",
        (False, False): ">",
    }.get((quantity.at_least, bool(check.holds)))
    words = f"{quantity.words} {check.of}".rstrip()
    if check.missing:
        return f"{words} is unknown, so {check.name} {float(check.floor):.3f} is: {check.missing}"
    low, high = check.measured
    if check.holds is None:
        told = f"{words} between {float(low):.3f} and {float(high):.3f}, "
        told += f"{check.name} {float(check.floor):.3f} still open"
        return f"{told}; {check.remedy}" if check.remedy else told
    # The end of the interval that decides: the smallest value that still satisfies or exceeds.
    end, bound = (low, "at least ") if relation in ("≥", ">") else (high, "at most ")
    number, floor = _told_apart(end, check.floor)
    return (
        f"{words} {'' if check.measured.decided else bound}{number} {relation} {check.name} {floor}"
    )


def _told_apart(value: Fraction, floor: Fraction) -> tuple[str, str]:
    """Both with three decimals, or as many as it takes to show that they differ."""
    for digits in range(3, 18):
        texts = f"{float(value):.{digits}f}", f"{float(floor):.{digits}f}"
        if value == floor or texts[0] != texts[1]:
            return texts
    return str(value), str(floor)


def _conditions(evaluation: Evaluation) -> str:
    parts = [disturbance_words(evaluation.disturbances)] if evaluation.disturbances else []
    parts += [NOTHING.title] if evaluation.attack == NOTHING.name else _attacker(evaluation)
    parts += ["no filter" if evaluation.filtered is None else "filter on"]
    return ", ".join(parts)


def _attacker(evaluation: Evaluation) -> list[str]:
    aim = [] if evaluation.target is None else [f"target {evaluation.target}"]
    budget = f"{evaluation.label} eps={evaluation.eps:.4g}"
    return [budget, *aim, evaluation.threat, *_limit(evaluation)]


def _limit(evaluation: Evaluation) -> list[str]:
    queries = evaluation.queries
    if queries is None or queries.limit is None:
        return []
    return [f"within {queries.limit} {'query' if queries.limit == 1 else 'queries'} a sample"]


def _asked(evaluation: Evaluation) -> str:
    queries = evaluation.queries
    if queries is None:
        return ""
    return f"asked up to {queries.most} times a sample, {queries.mean:.0f} on average"


def _since(found: Regression | None) -> list[str]:
    """What became of the samples since the baseline; each one that is lost has its place."""
    if found is None or found.status != "compared":
        return []
    before = found.before / found.samples
    lines = [
        f"since the baseline: {before:.3f} → {before - float(found.drop):.3f}; newly lost "
        f"{len(found.lost)}, newly won {len(found.won)} of {found.samples} samples (McNemar's "
        f"exact p = {found.p:.2g})"
    ]
    lines += [f"newly lost samples: {_places(found.lost)}"] if found.lost else []
    lines += ["better than the baseline: lock it in with --aerobust-update"] * (found.drop < 0)
    return lines


def _from_memory(evaluation: Evaluation) -> list[str]:
    """Both counts, and which samples fall to what earlier runs found alone."""
    memory = evaluation.memory
    if memory is None:
        return []
    low, high = (float(end) for end in evaluation.without_memory)
    without = f"{low:.3f}" if low == high else f"{low:.3f}..{high:.3f}"
    why = "this run's attack did not beat" if memory.attacked else "were not attacked again"
    lines = [
        f"memory: {memory.tried} examples of earlier runs tried; {len(memory.fell)} samples fall "
        f"to them that {why}; robust accuracy without memory {without}"
    ]
    return [*lines, f"samples that fall to memory: {_places(memory.fell)}"][: 1 + bool(memory.fell)]


def _places(places: Sequence[int]) -> str:
    told = ", ".join(map(str, places[:_TOLD_PLACES]))
    more = len(places) - _TOLD_PLACES
    return f"{told} and {more} more" if more > 0 else told


def _arms(evaluation: Evaluation) -> str:
    shares = [f"clean {evaluation.pipeline.clean_accuracy:.3f}"]
    shares += [f"{name} {_known(arm)}" for name, arm in evaluation.arms.items()]
    shares += [_beaten(evaluation.pipeline)]
    shares += [_hits(evaluation.pipeline)] if evaluation.targets is not None else []
    return " · ".join(shares)


def _known(arm: Arm) -> str:
    low, high = arm.accuracy_interval
    if low == high:
        return f"{float(low):.3f}"
    told = f"decided after {arm.samples - arm.pending} of {arm.samples} samples"
    if not arm.pending:
        told = f"{arm.undecided} of {arm.samples} samples undecided"
    return f"{float(low):.3f}..{float(high):.3f} ({told})"


def _beaten(arm: Arm) -> str:
    attacked = arm.correct - arm.exempt - arm.pending
    if not attacked:
        return "nobody attacked"
    return f"{arm.beaten} of {attacked} attacked samples beaten"


def _hits(arm: Arm) -> str:
    return f"{arm.outcomes.count(AT_TARGET)} at their target"


def _attack(evaluation: Evaluation) -> str:
    if evaluation.attack == NOTHING.name:
        return f"seed {evaluation.seed}"
    told = ", ".join(f"{name}={value}" for name, value in evaluation.arguments.items())
    return f"{evaluation.attack}({told}), seed {evaluation.seed}"


def _targets(evaluation: Evaluation) -> str:
    """The table of a mapping or a rule; of a single class the first line says enough."""
    if evaluation.targets is None or len(set(evaluation.targets)) == 1:
        return ""
    pairs = zip(evaluation.classes, evaluation.targets, strict=True)
    told = [f"{name}→{evaluation.classes[to]}" for name, to in pairs if to is not None]
    more = f" and {len(told) - _TOLD_TARGETS} more" if len(told) > _TOLD_TARGETS else ""
    return f"targets {' '.join(told[:_TOLD_TARGETS])}{more}"
