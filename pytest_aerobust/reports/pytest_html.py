"""The pieces of a contract that pytest-html shows beside its test."""

import html
from typing import Any

from pytest_aerobust.results.evaluation import Evaluation


def add_extras(report: Any) -> None:
    """Add the headline, and of a failure the confusion matrix where it can be drawn.

    Args:
        report: Of a checked contract.
    """
    from pytest_html import extras

    result = report.aerobust
    told = [extras.html(f"<p>{html.escape(result['headline'])}</p>")]
    if result["verdict"] == "failed":
        image = _confusion(Evaluation.from_dict(result["evaluation"]))
        told += [extras.png(image, name="confusion matrix under attack")] if image else []
    report.extras = [*getattr(report, "extras", []), *told]


def _confusion(evaluation: Evaluation) -> str:
    """PNG in base64; nothing where matplotlib is missing or the matrix is open."""
    try:
        from pytest_aerobust.reports.pictures import confusion

        return confusion(evaluation).image
    # Whatever it is: here an error would end the run, and it is only a picture.
    except Exception:
        return ""
