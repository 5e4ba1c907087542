"""What a measurement still has to give before its verdict stands."""

from enum import Enum

from pytest_aerobust.contract.waivers import OF_ANSWERS
from pytest_aerobust.verdict.judge import Verdict


class Need(Enum):
    """What a verdict still needs."""

    ATTACK = "more samples have to be attacked"
    EVIDENCE = "the floors hold whatever the other samples do; the evidence is still weighed"
    PROOF = "the other samples don't count; the evidence of these is still weighed"
    NOTHING = "the verdict is certain"


def needed(verdict: Verdict, sequential: bool = False) -> Need:
    """What a measurement still has to give before this verdict stands."""
    if verdict.outcome == "undecided":
        return Need.ATTACK
    unreliable = any(finding.name in OF_ANSWERS for finding in verdict.void)
    if verdict.outcome == "failed" or unreliable:
        return Need.NOTHING
    return Need.PROOF if sequential else Need.EVIDENCE
