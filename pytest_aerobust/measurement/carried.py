"""What measurements hand on to those of the same subject that differ in little."""

from dataclasses import dataclass, field

from torch import Tensor

from pytest_aerobust.contract.targets import Table
from pytest_aerobust.measurement.clean import CleanPass
from pytest_aerobust.measurement.ledger import Ledger


@dataclass
class CarriedArm:
    """What measurements of one arm hand on to those at other budgets.

    Attributes:
        clean: Its clean pass, the same at every budget; None until one was made.
        ledger: What is known of each sample; None until there are samples.
    """

    clean: CleanPass | None = None
    ledger: Ledger | None = None


@dataclass
class Carried:
    """What measurements hand on to those of the same subject that differ in the budget alone.

    Attributes:
        unfiltered: Of the bare arm.
        filtered: Of the pipeline's.
        aimed_at: Budget of the attack that derived targets come from; None takes the first.
        table: The target of each class, where there are targets, the same at every budget.
        doubts: What a reader should know of these targets.
    """

    unfiltered: CarriedArm = field(default_factory=CarriedArm)
    filtered: CarriedArm = field(default_factory=CarriedArm)
    aimed_at: float | None = None
    table: Table | None = None
    doubts: tuple[str, ...] = ()


@dataclass(frozen=True)
class RememberedExamples:
    """Adversarial examples of earlier runs, to be tried on the pipeline before any search.

    Attributes:
        rows: Their samples, by place among those measured ``(n,)``.
        examples: One for each row ``(n, ...)``.
        digest: What they are known by, from one process to the next.
    """

    rows: Tensor
    examples: Tensor
    digest: str
