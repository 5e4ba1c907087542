"""The options of a run: command line and ini file as one frozen value."""

import argparse
import os
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, cast

import pytest

from pytest_aerobust.contract.arguments import checked_count, checked_floor, checked_threat
from pytest_aerobust.contract.catalogue import Threat
from pytest_aerobust.contract.contract import Contract
from pytest_aerobust.contract.floors import Floors
from pytest_aerobust.errors import ContractError
from pytest_aerobust.names import home, ini_of
from pytest_aerobust.profiles import Profile, chosen_profile


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
_OPTIONS = ("samples", "seed", "device")

# The floors that make sense for every contract; a gain needs a filter, target hits a target.
INI_FLOORS = ("min_acc", "max_drop", "min_clean_acc", "max_regression")

Update = Literal["all", "new"]
"""Which entries of the baseline a run writes."""

Prune = Literal["gone", "all"]
"""Which entries of the baseline a run removes, of those that it has no test for."""

DEFAULT_BASELINE = "aerobust-baseline.json"

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
        told = {name: getattr(self.command_line, name) for name in _OPTIONS}
        own = {name: value for name, value in told.items() if value is not None}
        costs = [
            f"--aerobust-{name}={value}"
            for name, value in own.items()
            if value != getattr(self.profile, name, None)
        ]
        return " ".join(["--aerobust", *costs, *self.demands])


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
        "--aerobust-profile",
        metavar="NAME",
        help="what this run may cost: quick (200 samples, 3 budgets), full, or a profile of the "
        "ini key aerobust_profiles",
    )
    group.addoption(
        "--aerobust-full",
        action="store_true",
        help="attack every sample even when the verdict is already certain",
    )
    group.addoption(
        "--aerobust-no-cache",
        action="store_true",
        help="measure everything anew and keep nothing for later runs",
    )
    group.addoption(
        "--aerobust-max-regression",
        metavar="SHARE",
        help="most accuracy under attack that contracts may lose against the baseline, in [0, 1] "
        "(such as 0.02), where their mark does not say",
    )
    group.addoption(
        "--aerobust-update",
        nargs="?",
        const="all",
        metavar="new",
        help="write what this run measures into the baseline, for review and commit; =new only "
        "adds missing entries",
    )
    group.addoption(
        "--aerobust-prune",
        action="store_const",
        const="gone",
        help="remove entries of the baseline whose tests are gone",
    )
    group.addoption(
        "--aerobust-prune-all",
        action="store_const",
        const="all",
        dest="aerobust_prune",
        help="also remove those whose functions are still there, but without such a test",
    )
    group.addoption(
        "--aerobust-strict",
        action="store_true",
        help="fail contracts with max_regression that the baseline has no fitting entry for",
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
    parser.addini(
        "aerobust_baseline",
        f"file of the baseline, relative to the ini file (default: {DEFAULT_BASELINE})",
        default=DEFAULT_BASELINE,
    )
    parser.addini(
        "aerobust_memory",
        "folder of adversarial examples of earlier runs, committed with the suite, relative to the "
        "ini file",
        type="string",
        default=None,
    )
    parser.addini("aerobust_profile", "as --aerobust-profile", type="string", default=None)
    parser.addini(
        "aerobust_profiles",
        "profiles, one a line: a name, a colon, and some of samples=, steps= and budgets=",
        type="linelist",
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
    settings = _told(config)
    if not settings.enabled and (settings.update or settings.prune):
        raise ContractError("--aerobust-update and --aerobust-prune need --aerobust")
    return settings


def _told(config: pytest.Config) -> Settings:
    told = config.getoption("aerobust_profile")
    profile = chosen_profile(
        told or _ini(config, "aerobust_profile"), _ini(config, "aerobust_profiles")
    )
    switched, replay = config.getoption("aerobust"), config.getoption("aerobust_replay")
    return Settings(
        enabled=bool(replay or (_ini(config, "aerobust") if switched is None else switched)),
        cached=not config.getoption("aerobust_no_cache"),
        full=config.getoption("aerobust_full"),
        profile=profile,
        command_line=_costs(
            {name: config.getoption(f"aerobust_{name}") for name in _OPTIONS}
        ).or_else(_paid(profile) if told else Costs()),
        ini=_costs({name: _ini(config, f"aerobust_{name}") for name in _OPTIONS}).or_else(
            Costs() if told else _paid(profile)
        ),
        threat=checked_threat(_ini(config, "aerobust_threat")),
        floors=_floors(config),
        workers=getattr(config, "workerinput", {}).get("workercount", 1),
        root=_beside(config),
        baseline=_baseline(config, profile),
        update=_update(config.getoption("aerobust_update")),
        prune=config.getoption("aerobust_prune"),
        strict=config.getoption("aerobust_strict"),
        memory=_memory_folder(config),
        demands=_demands(config),
        examples=None if replay else _examples_folder(config),
        replay=config.invocation_params.dir / replay if replay else None,
        reports={} if replay else _report_files(config),
        job_page=None if replay else _job_page(),
    )


def _floors(config: pytest.Config) -> Floors:
    told = {name: checked_floor(name, _ini(config, f"aerobust_{name}")) for name in INI_FLOORS}
    option = config.getoption("aerobust_max_regression")
    if option is not None:
        told["max_regression"] = checked_floor("max_regression", _number(option))
    return Floors(**told)


def _demands(config: pytest.Config) -> tuple[str, ...]:
    told = [
        f"--aerobust-{name}={config.getoption('aerobust_' + name.replace('-', '_'))}"
        for name in ("profile", "max-regression")
        if config.getoption("aerobust_" + name.replace("-", "_")) is not None
    ]
    return (*told, *(["--aerobust-strict"] if config.getoption("aerobust_strict") else []))


def _number(text: str) -> float | str:
    """As a number, or as it is: the check that follows says what was expected."""
    try:
        return float(text)
    except ValueError:
        return text


def _update(told: str | None) -> Update | None:
    if told in (None, "all", "new"):
        return cast("Update | None", told)
    raise ContractError(
        f"--aerobust-update={told}: expected nothing or new; write paths before the option, or "
        "another option between"
    )


def _beside(config: pytest.Config) -> Path:
    """The folder of the ini file, which its paths are relative to."""
    return home(ini_of(config), config.rootpath)


def _baseline(config: pytest.Config, profile: Profile) -> Path:
    """Runs of another profile measure something else, so each profile has a file of its own."""
    path = _beside(config) / (_ini(config, "aerobust_baseline") or DEFAULT_BASELINE)
    return path.with_stem(f"{path.stem}-{profile.name}") if profile.name else path


def _paid(profile: Profile) -> Costs:
    return Costs(samples=profile.samples, steps=profile.steps, draws=profile.budgets)


def _memory_folder(config: pytest.Config) -> Path | None:
    ini = _ini(config, "aerobust_memory")
    return None if ini is None else _folder("aerobust_memory", _beside(config), ini)


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
        return _folder("aerobust_examples", config.invocation_params.dir, told)
    return None if ini is None else _folder("aerobust_examples", _beside(config), ini)


def _folder(name: str, base: Path, told: str) -> Path:
    if not told:
        raise ContractError(f"{name} is empty: expected a folder")
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


def whole_places(config: pytest.Config) -> tuple[Path, ...]:
    """Files and folders whose tests this run collects all of; none where it picks some out."""
    option = config.option
    chosen = (option.keyword, option.markexpr, option.deselect, option.ignore, option.ignore_glob)
    remembered = (getattr(option, name, False) for name in ("lf", "stepwise"))
    if any(chosen) or any(remembered):
        return ()
    start = config.invocation_params.dir
    return tuple((start / arg).resolve() for arg in config.args if "::" not in arg)


def options_of_conftests(config: pytest.Config) -> list[str]:
    """Names of the options that the suite's own conftests added and this run was given."""
    # Parsed before any conftest is read, so it holds what plugins added, and no more.
    of_plugins = vars(config.known_args_namespace)
    return [name for name in _given(config) if name not in of_plugins]


class _Noted(argparse.Action):
    """Notes that its option is there, and converts nothing."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: Any = None) -> None:
        setattr(namespace, self.dest, True)


def _given(config: pytest.Config) -> list[str]:
    """Names of the options that somebody gave to this one run.

    Values say nothing: they may know no equality, and converting a default anew may fail, or read
    a file. What the ini file's `addopts` gives doesn't count: every run has it, so it chooses
    nothing that another run would have, and whoever has one there could never prune.
    """
    reader = argparse.ArgumentParser(add_help=False, allow_abbrev=False, fromfile_prefix_chars="@")
    for action in config._parser.optparser._actions:
        if action.option_strings:
            reader.add_argument(
                *action.option_strings,
                dest=action.dest,
                nargs=action.nargs,
                action=_Noted,
                default=argparse.SUPPRESS,
            )
    of_shell = shlex.split(os.environ.get("PYTEST_ADDOPTS", ""))
    told = [*of_shell, *map(os.fspath, config.invocation_params.args)]
    return [*vars(reader.parse_known_args(told)[0])]


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
