"""Searches of their own, on some of the samples, that a pass must stand up to.

A failed verdict rests on witnesses; a pass is only what an attack did not find. So where a search
that should be weaker finds more, or one that can't miss misses, the pass is void. The checks
together cost at most a fifth of the contract's own attack.
"""

from collections.abc import Callable, MutableMapping

from pytest_aerobust.contract.waivers import OF_SEARCH, THOROUGH, Strength, Waivers
from pytest_aerobust.evidence.binarisation import binarisation
from pytest_aerobust.evidence.inquiry import Finding, Inquiry
from pytest_aerobust.evidence.rivals import black_box, doubling, nesting, noise, one_step, transfer
from pytest_aerobust.evidence.tallies import FEWEST
from pytest_aerobust.evidence.unbounded import unbounded
from pytest_aerobust.results.evaluation import Evidence

__all__ = ["Inquiry", "KnownFindings", "weigh"]

KnownFindings = MutableMapping[tuple[str, ...], Evidence]
"""Findings about a model, kept for as long as it is the same."""

_CHECKS: dict[str, Callable[[Inquiry], Finding]] = {
    "noise": noise,
    "one step": one_step,
    "unbounded": unbounded,
    "nesting": nesting,
    "transfer": transfer,
    "doubling": doubling,
    "black-box": black_box,
    "binarisation": binarisation,
}
# Found once a contract, whatever its budgets: they say nothing of the contract's own attack.
_ABOUT_THE_MODEL = ("unbounded",)


def weigh(
    inquiry: Inquiry, waivers: Waivers, strength: Strength, remembered: KnownFindings
) -> list[Evidence]:
    """One finding for each check that is asked for, cheap ones first.

    Where hardly anybody survived there is no pass to guard, and nothing is asked; nor where they
    survived at another budget, whose evidence theirs is.

    Args:
        inquiry: Whose survivors are questioned.
        waivers: The checks that are turned off.
        strength: Whether the dear checks are asked for, too.
        remembered: Findings about the model from earlier contracts; new ones are added.
    """
    arm, waived = inquiry.arm, dict(waivers)
    if inquiry.searched < FEWEST:
        return []
    names = OF_SEARCH if strength == "standard" else (*OF_SEARCH, *THOROUGH)
    found = []
    for name in names:
        if name not in waived:
            key = (name, arm.name, inquiry.threat, *(side.name for side in inquiry.followed))
            found.append(remembered.get(key) or Evidence(name, arm.name, *_CHECKS[name](inquiry)))
            if name in _ABOUT_THE_MODEL:
                remembered[key] = found[-1]
    return found
