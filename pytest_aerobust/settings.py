"""The options of a run: command line and ini file as one frozen value."""

import argparse
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import pytest

from pytest_aerobust.arguments import checked_count, checked_floor, checked_threat
from pytest_aerobust.catalogue import Threat
from pytest_aerobust.contract import Contract
from pytest_aerobust.errors import ContractError
from pytest_aerobust.floors import Floors


@dataclass(frozen=True)
class Costs:
    """What a run may cost; None leaves the choice to the next in line.

    Attributes:
        samples: Draw this many, stratified by label; None takes all.
        seed: Seed of everything random.
        device: Device of the run, such as ``cpu`` or ``cuda:0``; None stays where the model is.
    """

    samples: int | None = None
    seed: int | None = None
    device: str | None = None

    def or_else(self, other: "Costs") -> "Costs":
        mine, theirs = (tuple(getattr(c, f.name) for f in fields(Costs)) for c in (self, other))
        return Costs(*(b if a is None else a for a, b in zip(mine, theirs, strict=True)))


DEFAULT_COSTS = Costs(seed=0)

# The floors that make sense for every contract; a gain needs a filter, target hits a target.
INI_FLOORS = ("min_acc", "max_drop", "min_clean_acc")

# Files about a whole run: the format, and what its option promises.
REPORTS = {
    "json": "write every contract's result into this file, as JSON of a versioned schema",
    "markdown": "write a summary for CI job pages into this file",
    "html": "write one self-contained page into this file (needs pytest-aerobust[html])",
}
# Where GitHub Actions shows Markdown of a job.
_JOB_PAGE = "GITHUB_STEP_SUMMARY"


@dataclass(frozen=True)
class Settings:
    """Everything that options decide.

    Attributes:
        enabled: Whether contracts are checked at all.
        full: Whether every sample is attacked, decided or not.
        command_line: Costs from the command line.
        ini: Costs from the ini file.
        threat: The threat where a mark states none.
        floors: The floors where a mark states none.
        workers: Processes that share this machine, one without xdist.
        examples: Folder for the counterexamples of failing contracts; None keeps none.
        replay: Stored counterexamples to judge again instead of measuring.
        reports: File of each format that is wanted, by the keys of `REPORTS`.
        job_page: File that the Markdown is appended to; None where there is no such page.
    """

    enabled: bool = False
    full: bool = False
    command_line: Costs = field(default_factory=Costs)
    ini: Costs = field(default_factory=Costs)
    threat: Threat | None = None
    floors: Floors = field(default_factory=Floors)
    workers: int = 1
    examples: Path | None = None
    replay: Path | None = None
    reports: Mapping[str, Path] = field(default_factory=dict)
    job_page: Path | None = None

    def costs(self, contract: Contract) -> Costs:
        """What this contract's run may cost: command line, mark, ini file, default."""
        mark = Costs(samples=contract.samples, seed=contract.seed)
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

    def settle(self, contract: Contract) -> Contract:
        """The contract with the options' floors where the mark states none."""
        return contract.settled(self.floors)

    @property
    def flags(self) -> str:
        """What a command line must repeat to run a contract under the same options."""
        told = {f.name: getattr(self.command_line, f.name) for f in fields(Costs)}
        return " ".join(
            ["--aerobust"]
            + [f"--aerobust-{name}={value}" for name, value in told.items() if value is not None]
        )


def add_options(parser: pytest.Parser) -> None:
    group = parser.getgroup("aerobust", "robustness contracts (pytest-aerobust)")
    group.addoption(
        "--aerobust",
        action="store_true",
        default=None,
        help="check robustness contracts; without it their tests are skipped",
    )
    group.addoption(
        "--no-aerobust",
        action="store_false",
        dest="aerobust",
        help="skip robustness contracts although the ini file says aerobust = true",
    )
    group.addoption(
        "--aerobust-samples",
        type=int,
        metavar="N",
        help="attack N samples, drawn by seed and stratified by label (default: all)",
    )
    group.addoption(
        "--aerobust-seed",
        type=int,
        metavar="SEED",
        help="seed of random starts and draws (default: 0)",
    )
    group.addoption(
        "--aerobust-device",
        metavar="DEVICE",
        help="run on this device, such as cpu or cuda:0 (default: where the model is)",
    )
    group.addoption(
        "--aerobust-full",
        action="store_true",
        help="attack every sample even when the verdict is already certain",
    )
    group.addoption(
        "--aerobust-examples",
        metavar="DIR",
        help="write the worst counterexamples of each failing contract into this folder",
    )
    group.addoption(
        "--aerobust-attacks",
        action="store_true",
        help="print the attacks that a contract can name, and exit",
    )
    for name, promise in REPORTS.items():
        group.addoption(f"--aerobust-{name}", metavar="FILE", help=promise)
    # What `python -m pytest_aerobust replay` runs.
    group.addoption("--aerobust-replay", metavar="PATH", help=argparse.SUPPRESS)
    parser.addini("aerobust", "check robustness contracts (bool)", type="bool", default=None)
    parser.addini("aerobust_samples", "as --aerobust-samples (int)", type="int", default=None)
    parser.addini("aerobust_seed", "as --aerobust-seed (int)", type="int", default=None)
    parser.addini("aerobust_device", "as --aerobust-device", type="string", default=None)
    parser.addini(
        "aerobust_examples",
        "as --aerobust-examples, relative to the ini file",
        type="string",
        default=None,
    )
    parser.addini("aerobust_threat", "threat where a mark states none", default=None)
    for name in INI_FLOORS:
        parser.addini(
            f"aerobust_{name}",
            f"{name} for marks that state no floor (float)",
            type="float",
            default=None,
        )


def read_settings(config: pytest.Config) -> Settings:
    """The settings of a run.

    Raises:
        pytest.UsageError: An option's value that can't be meant.
    """
    try:
        return _read(config)
    except ContractError as error:
        raise pytest.UsageError(f"aerobust options: {error}") from error


def _read(config: pytest.Config) -> Settings:
    switched, replay = config.getoption("aerobust"), config.getoption("aerobust_replay")
    return Settings(
        enabled=bool(replay or (_ini(config, "aerobust") if switched is None else switched)),
        full=config.getoption("aerobust_full"),
        command_line=_costs(
            {name: config.getoption(f"aerobust_{name}") for name in ("samples", "seed", "device")}
        ),
        ini=_costs(
            {name: _ini(config, f"aerobust_{name}") for name in ("samples", "seed", "device")}
        ),
        threat=checked_threat(_ini(config, "aerobust_threat")),
        floors=Floors(
            **{name: checked_floor(name, _ini(config, f"aerobust_{name}")) for name in INI_FLOORS}
        ),
        workers=getattr(config, "workerinput", {}).get("workercount", 1),
        examples=None if replay else _examples_folder(config),
        replay=config.invocation_params.dir / replay if replay else None,
        reports={} if replay else _report_files(config),
        job_page=None if replay else _job_page(),
    )


def _report_files(config: pytest.Config) -> Mapping[str, Path]:
    told = {name: config.getoption(f"aerobust_{name}") for name in REPORTS}
    empty = [name for name, file in told.items() if file == ""]
    if empty:
        raise ContractError(f"aerobust_{empty[0]} is empty: expected a file")
    start = config.invocation_params.dir
    # Where a link points: the file there is replaced, and never the link.
    files = {name: (start / file).resolve() for name, file in told.items() if file}
    if len(set(files.values())) < len(files):
        raise ContractError("two reports go into one file: give each a name of its own")
    return files


def _job_page() -> Path | None:
    told = os.environ.get(_JOB_PAGE)
    return Path(told) if told else None


def _examples_folder(config: pytest.Config) -> Path | None:
    told, ini = config.getoption("aerobust_examples"), _ini(config, "aerobust_examples")
    if told is not None:
        return _folder(config.invocation_params.dir, told)
    beside = config.rootpath if config.inipath is None else config.inipath.parent
    return None if ini is None else _folder(beside, ini)


def _folder(base: Path, told: str) -> Path:
    if not told:
        raise ContractError("aerobust_examples is empty: expected a folder")
    return base / told


def _ini(config: pytest.Config, key: str) -> Any:
    try:
        return config.getini(key)
    except (TypeError, ValueError, pytest.UsageError) as error:
        raise ContractError(f"ini key {key}: {error}") from error


def _costs(given: Mapping[str, Any]) -> Costs:
    return Costs(
        samples=checked_count("samples", given["samples"], least=1),
        seed=checked_count("seed", given["seed"], least=0),
        device=given["device"] or None,
    )


def selects_tests(config: pytest.Config) -> bool:
    """Whether the command line runs only a part of the suite, so that finding nothing is fine."""
    option = config.option
    chosen = (option.keyword, option.markexpr, option.deselect)
    remembered = (getattr(option, name, False) for name in ("lf", "stepwise"))
    if any(chosen) or any(remembered):
        return True
    # aerobust = true in the ini file must not fail a run of one unrelated file.
    by_path = config.args_source is pytest.Config.ArgsSource.ARGS
    return by_path and config.getoption("aerobust") is None
