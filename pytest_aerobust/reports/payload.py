"""What the report of a test carries from the process that ran it, in plain values."""

from typing import Any

from pytest_aerobust.contract.contract import Contract
from pytest_aerobust.proving.outcome import Judged


def carried(judged: Judged, contract: Contract, rerun: str) -> dict[str, Any]:
    """The value of ``report.aerobust``.

    Args:
        judged: The verdict.
        contract: What was demanded.
        rerun: The command that runs the test again.
    """
    fixture = None if judged.evaluation.filtered is None else contract.filter
    subject = {"model": contract.model, "data": contract.data, "filter": fixture}
    told = judged.to_dict() | {"subject": subject, "rerun": rerun}
    if judged.worst is None:
        return told | {"gallery": None}
    # Here because it draws, which most runs do without.
    from pytest_aerobust.reports.gallery import gallery

    return told | {"gallery": gallery(judged.worst)}
