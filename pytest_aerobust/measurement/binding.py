"""What a contract is measured on: from what the user has to a subject."""

from dataclasses import dataclass
from typing import Any

from pytest_aerobust.contract.arguments import checked_feature_bounds, checked_mask
from pytest_aerobust.contract.contract import Contract
from pytest_aerobust.errors import ContractError
from pytest_aerobust.subjects.subject import Subject, build_subject


@dataclass(frozen=True)
class Parts:
    """What the user gives, by fixtures or by hand, as it came.

    Attributes:
        model: A torch or Lightning module, a scikit-learn classifier or a ``foolbox.Model``.
        data: Inputs and labels in any form.
        filter: A module or callable from inputs to inputs; None where there is none.
        bounds: Smallest and largest value of an input, or of each of its features.
        unfiltered_model: A model of its own for the arm without the filter, or None.
        mutable: Which features may change; None where all may.
    """

    model: Any
    data: Any
    filter: Any
    bounds: Any
    unfiltered_model: Any
    mutable: Any = None


def bound_subject(
    contract: Contract, parts: Parts, data: tuple[Any, ...], samples: int | None, seed: int
) -> Subject:
    """The subject of a contract.

    Args:
        contract: What the test demands.
        parts: What the user gives.
        data: Its inputs and labels, as :func:`~pytest_aerobust.subjects.data.read_samples` reads.
        samples: Draw so many of them; None takes all.
        seed: Seed of that draw.

    Raises:
        SubjectError: What can't be evaluated, with the reason.
        ContractError: The contract speaks of a filter, and there is none.
    """
    subject = build_subject(
        parts.model,
        data,
        parts.filter,
        bounds=contract.bounds or checked_feature_bounds(parts.bounds),
        mutable=checked_mask(parts.mutable),
        unfiltered_model=parts.unfiltered_model,
        mean=contract.mean,
        std=contract.std,
        filter_gradient=contract.filter_gradient,
        draws=contract.eot or 1,
        samples=samples,
        shuffle=contract.sequential,
        seed=seed,
    )
    if subject.filter is None and contract.floors.min_gain is not None:
        raise ContractError(
            f"min_gain compares with and without the filter, but the fixture {contract.filter} "
            "gives None"
        )
    if subject.filter is None and contract.filter_gradient is not None:
        raise ContractError(
            f"filter_gradient={contract.filter_gradient!r} says how gradients pass the filter, "
            f"but the fixture {contract.filter} gives None"
        )
    return subject
