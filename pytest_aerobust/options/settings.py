"""The options of a run, as one frozen value."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Literal

from pytest_aerobust.contract.catalogue import Threat
from pytest_aerobust.contract.contract import Contract
from pytest_aerobust.contract.floors import Floors
from pytest_aerobust.options.command_line import DEFAULT_BASELINE
from pytest_aerobust.options.profiles import Profile


@dataclass(frozen=True)
class Costs:
    """What a run may cost; None leaves the choice to the next in line.

    Attributes:
        samples: Draw this many, stratified by label; None takes all.
        seed: Seed of everything random.
        device: Device of the run, such as ``cpu`` or ``cuda:0``; None stays where the model is.
        steps: Steps of each attack that has steps; None leaves them to the attack.
        draws: How many budgets, or values of whatever varies, are drawn; None asks Hypothesis.
    """

    samples: int | None = None
    seed: int | None = None
    device: str | None = None
    steps: int | None = None
    draws: int | None = None

    def or_else(self, other: "Costs") -> "Costs":
        mine, theirs = (tuple(getattr(c, f.name) for f in fields(Costs)) for c in (self, other))
        return Costs(*(b if a is None else a for a, b in zip(mine, theirs, strict=True)))


DEFAULT_COSTS = Costs(seed=0)
# The costs that have an option of their own.
COST_OPTIONS = ("samples", "seed", "device")


Update = Literal["all", "new"]
"""Which entries of the baseline a run writes."""

Prune = Literal["gone", "all"]
"""Which entries of the baseline a run removes, of those that it has no test for."""


@dataclass(frozen=True)
class Settings:
    """Everything that options decide.

    Attributes:
        enabled: Whether contracts are checked at all.
        cached: Whether results are kept from run to run.
        full: Whether every sample is attacked, decided or not.
        profile: What runs of this kind may cost; its name tells baselines apart.
        command_line: Costs from the command line.
        ini: Costs from the ini file.
        threat: The threat where a mark states none.
        floors: The floors where a mark states none.
        workers: Processes that share this machine, one without xdist.
        root: Folder that tests are named from, and that paths of the ini file start from: its own.
        baseline: File of the baseline.
        update: Which of its entries this run writes; None writes none.
        prune: Which entries without a test this run removes; None removes none.
        strict: Whether a contract with max_regression must have an entry that fits.
        memory: Folder of adversarial examples that are committed with the suite; None keeps none.
        demands: What else the command line says that a contract's outcome depends on.
        examples: Folder for the counterexamples of failing contracts; None keeps none.
        replay: Stored counterexamples to judge again instead of measuring.
        reports: File of each format that is wanted, by the keys of `REPORTS`.
        job_page: File that the Markdown is appended to; None where there is no such page.
    """

    enabled: bool = False
    cached: bool = True
    full: bool = False
    profile: Profile = field(default_factory=Profile)
    command_line: Costs = field(default_factory=Costs)
    ini: Costs = field(default_factory=Costs)
    threat: Threat | None = None
    floors: Floors = field(default_factory=Floors)
    workers: int = 1
    root: Path = Path()
    baseline: Path = Path(DEFAULT_BASELINE)
    update: Update | None = None
    prune: Prune | None = None
    strict: bool = False
    memory: Path | None = None
    demands: tuple[str, ...] = ()
    examples: Path | None = None
    replay: Path | None = None
    reports: Mapping[str, Path] = field(default_factory=dict)
    job_page: Path | None = None

    def costs(self, contract: Contract) -> Costs:
        """What this contract's run may cost: command line, mark, ini file, default."""
        mark = Costs(contract.samples, contract.seed, None, contract.steps, contract.draws)
        return self.command_line.or_else(mark).or_else(self.ini).or_else(DEFAULT_COSTS)

    @property
    def shared_costs(self) -> Costs:
        """What a run may cost where the mark says nothing."""
        return self.command_line.or_else(self.ini).or_else(DEFAULT_COSTS)

    @property
    def draws_examples(self) -> bool:
        """Whether the worst counterexamples are shown in a report."""
        return "html" in self.reports

    @property
    def keeps_examples(self) -> bool:
        """Whether counterexamples are kept while a contract is measured."""
        return self.examples is not None or self.draws_examples

    def compares(self, contract: Contract) -> bool:
        """Whether the baseline has, or gets, an entry that the contract is held against."""
        wanted = self.update is not None or contract.floors.max_regression is not None
        return wanted and contract.single and self.replay is None

    def settle(self, contract: Contract) -> Contract:
        """The contract with the options' floors and steps where the mark states none."""
        return contract.settled(self.floors).paced(self.costs(contract).steps)

    @property
    def remembers(self) -> bool:
        """Whether this run adds to the memory of attacks."""
        return self.memory is not None and self.update is not None

    @property
    def flags(self) -> str:
        """What a command line must repeat to run a contract under the same options."""
        told = {name: getattr(self.command_line, name) for name in COST_OPTIONS}
        own = {name: value for name, value in told.items() if value is not None}
        costs = [
            f"--aerobust-{name}={value}"
            for name, value in own.items()
            if value != getattr(self.profile, name, None)
        ]
        return " ".join(["--aerobust", *costs, *self.demands])
