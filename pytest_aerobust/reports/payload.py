"""What the report of a test carries from the process that ran it, in plain values."""

from typing import Any

from pytest_aerobust.contract.contract import Contract
from pytest_aerobust.proving.outcome import Outcome


def carried(outcome: Outcome, contract: Contract, rerun: str) -> dict[str, Any]:
    """The value of ``report.aerobust``.

    Args:
        outcome: The verdict.
        contract: What was demanded.
        rerun: The command that runs the test again.
    """
    fixture = None if outcome.evaluation.filtered is None else contract.filter
    subject = {"model": contract.model, "data": contract.data, "filter": fixture}
    told = outcome.to_dict() | {"subject": subject, "rerun": rerun}
    if outcome.worst is None:
        return told | {"gallery": None}
    # Here because it draws, which most runs do without.
    from pytest_aerobust.reports.gallery import gallery

    return told | {"gallery": gallery(outcome.worst)}
