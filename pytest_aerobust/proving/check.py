"""A verdict without pytest: for notebooks, training loops and scripts."""

from typing import Any, Unpack

from pytest_aerobust.contract.demands import DemandArguments, defaults, refuse_unknown
from pytest_aerobust.contract.mark import cases
from pytest_aerobust.errors import ContractError
from pytest_aerobust.measurement.binding import Parts, bound_subject
from pytest_aerobust.measurement.measurement import OnProgress, silent
from pytest_aerobust.options.settings import Costs, Settings
from pytest_aerobust.proving.bound_contract import BoundContract
from pytest_aerobust.proving.outcome import Outcome
from pytest_aerobust.proving.robustness import Robustness
from pytest_aerobust.subjects.data import read_samples

# What seeds the draws of varying budgets, as the id of a test does.
_NAME = "check"


def check(
    model: Any,
    data: Any,
    attack: Any = None,
    eps: Any = None,
    *,
    filter: Any = None,
    unfiltered_model: Any = None,
    bounds: Any = (0.0, 1.0),
    mutable: Any = None,
    device: str | None = None,
    full: bool = False,
    on_progress: OnProgress = silent,
    **demands: Unpack[DemandArguments],
) -> Outcome:
    """Whether a model withstands an attack, as the mark :func:`robust` states it.

    Args:
        model: A torch or Lightning module from inputs ``(N, ...)`` to logits ``(N, K)``, a fitted
            scikit-learn classifier or a ready ``foolbox.Model``.
        data: ``(inputs, labels)``, a Dataset, a DataLoader or a LightningDataModule.
        attack: Name of an attack, or an instance of a Foolbox attack.
        eps: Budget in the units of the data: a number of at least 0, :func:`epsilons`, or a
            Hypothesis strategy of such numbers.
        filter: In front of the model, from inputs to inputs; None tests the bare model.
        unfiltered_model: A model of its own for the arm without the filter.
        bounds: Smallest and largest value of an input, or arrays that broadcast to a sample's
            shape.
        mutable: Which features may change, an array of booleans that broadcasts to a sample's
            shape; all by default.
        device: Where to run; None stays where the model is.
        full: Whether every sample is attacked, also where the verdict is certain before.
        on_progress: Is told how far each measurement has come.
        demands: As of :func:`robust`, one floor at least: ``min_acc``, ``max_drop``, ``min_gain``,
            ``max_target_hits`` or ``min_clean_acc``, and whatever else a mark takes.
            ``max_regression`` needs the baseline of a suite.

    Returns:
        The outcome; its method ``enforce`` raises unless it passed.

    Raises:
        ContractError: An argument that can't be meant.
        SubjectError: What can't be evaluated, with the reason.
        AttackError: The attack itself broke down.
    """
    refuse_unknown("check", demands, defaults(DemandArguments))
    if demands.get("max_regression") is not None:
        raise ContractError(
            "check(max_regression=...) has no baseline to compare with: run the contract in a "
            "suite under pytest --aerobust, or demand min_acc"
        )
    stated = {
        name: value for name, value in (("attack", attack), ("eps", eps)) if value is not None
    }
    front = None if filter is None else "filter"
    found = cases(**stated, **demands, filter=front, mutable=None)
    if len(found) != 1:
        raise ContractError(
            f"check() judges one contract, but the lists of attack= and eps= state {len(found)}: "
            "call it for each, or let budgets vary with eps=epsilons(...)"
        )
    settings = Settings(full=full, command_line=Costs(device=device))
    contract = settings.settle(found[0].contract)
    costs = settings.costs(contract)
    parts = Parts(model, data, filter, bounds, unfiltered_model, mutable)
    subject = bound_subject(contract, parts, read_samples(data), costs.samples, costs.seed or 0)
    bound = BoundContract(contract, subject, settings, _NAME, {}, on_progress=on_progress)
    return Robustness(bound).check()
