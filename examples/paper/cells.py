"""What one contract measured, told apart from the others: the cells of the paper's tables."""

from dataclasses import dataclass
from typing import Any

from pytest_aerobust import Evaluation

# What the paper calls the attacks. Its non-targeted attack on the regression is one step along
# the sign of the gradient, which is FGSM: one measurement, two of its rows.
ATTACKS: dict[str, dict[str, Any]] = {
    "non-targeted (FGSM)": {"attack": "fgsm"},
    "natural targets": {"attack": "fgsm", "target": "natural"},
    "non-natural targets": {"attack": "fgsm", "target": "non-natural"},
    "one number (7)": {"attack": "fgsm", "target": 7},
    "T-FGSM (5)": {"attack": "fgsm", "target": 5},
    "BIM": {"attack": "bim"},
}

# Of 255: the paper shows its regression at 50, and its networks were attacked through a library
# whose default is 0.3 of the range, 76.5.
BUDGETS = tuple(part / 255 for part in (10, 25, 50, 76.5))
USUAL = {"regression": BUDGETS[2], "network": BUDGETS[3]}


@dataclass(frozen=True)
class Cell:
    """One contract's result.

    Attributes:
        test: Name of the test function, which says what the attacker knew.
        kind: ``regression`` or ``network``.
        filter: Name of the autoencoder; None without one.
        evaluation: What was measured.
        verdict: Of the paper's claim.
    """

    test: str
    kind: str
    filter: str | None
    evaluation: Evaluation
    verdict: str

    @property
    def attack(self) -> str:
        """The paper's name of the attack."""
        told = {"attack": self.evaluation.attack}
        if self.evaluation.target is not None:
            told["target"] = self.evaluation.target
        return next(name for name, stated in ATTACKS.items() if stated == told)


def cell_of(report: Any) -> Cell:
    """The cell of a report that carries a contract's result."""
    told = dict(report.user_properties)
    _, _, item = report.nodeid.rpartition("::")
    return Cell(
        test=item.partition("[")[0],
        kind=told["kind"],
        filter=told.get("variant"),
        evaluation=Evaluation.from_dict(report.aerobust["evaluation"]),
        verdict=report.aerobust["verdict"],
    )
