"""From the command line and the ini file to the settings of a run."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import pytest

from pytest_aerobust.contract.arguments import checked_count, checked_floor, checked_threat
from pytest_aerobust.contract.floors import Floors
from pytest_aerobust.errors import ContractError
from pytest_aerobust.names import home, ini_of
from pytest_aerobust.options.command_line import DEFAULT_BASELINE, INI_FLOORS, REPORTS
from pytest_aerobust.options.profiles import Profile, chosen_profile
from pytest_aerobust.options.settings import COST_OPTIONS, Costs, Settings, Update

# Where GitHub Actions shows Markdown of a job.
_JOB_PAGE = "GITHUB_STEP_SUMMARY"


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
            {name: config.getoption(f"aerobust_{name}") for name in COST_OPTIONS}
        ).or_else(_paid(profile) if told else Costs()),
        ini=_costs({name: _ini(config, f"aerobust_{name}") for name in COST_OPTIONS}).or_else(
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
