"""A verdict in words: what broke, by how much, and what it rests on."""

from collections.abc import Sequence
from fractions import Fraction

from pytest_aerobust.results.arm import AT_TARGET, Arm
from pytest_aerobust.results.evaluation import Evaluation, Regression
from pytest_aerobust.verdict.chance import usual_causes
from pytest_aerobust.verdict.judge import QUANTITIES, FloorCheck, Verdict

# Pairs of classes spelled out in a failure before the rest is only counted.
_TOLD_TARGETS = 12

# Newly lost samples named before the rest is only counted.
_TOLD_PLACES = 20


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
    if not evaluation.attacked:
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
    return f"{evaluation.words()}, {'no filter' if evaluation.filtered is None else 'filter on'}"


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
    if not evaluation.attacked:
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
