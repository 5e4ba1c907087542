"""A run as JSON; ``results.schema.json`` beside this file says what is in it."""

import json
from dataclasses import asdict
from typing import Any

from pytest_aerobust.reports.run import Checked, Run

SCHEMA = 1

# What of a report's `aerobust` is told; pictures are not.
_TOLD = (
    "verdict",
    "headline",
    "words",
    "floors",
    "smallest_failing_eps",
    "drawn",
    "draws",
    "simplest_failing_draw",
    "subject",
    "rerun",
    "evaluation",
)


def render(run: Run) -> str:
    """The text of the file, in ASCII."""
    told = {
        "schema": SCHEMA,
        "verdict": run.verdict,
        "summary": run.summary,
        "collected": run.collected,
        "versions": dict(run.versions),
        "options": run.options,
        "contracts": [_contract(checked) for checked in run.contracts],
        "incidents": [asdict(incident) for incident in run.incidents],
    }
    return json.dumps(told, indent=1, allow_nan=False) + "\n"


def _contract(checked: Checked) -> dict[str, Any]:
    own = {"test": checked.test, "outcome": checked.outcome, "failure": checked.failure}
    return own | {name: checked.result[name] for name in _TOLD}
