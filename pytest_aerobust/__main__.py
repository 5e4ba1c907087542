"""The command line: ``python -m pytest_aerobust replay DIR`` shows counterexamples again."""

import argparse
import os
import subprocess
import sys
from collections.abc import Sequence
from importlib import import_module
from inspect import isclass, isroutine, signature
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pytest_aerobust.errors import AerobustError, ContractError, ExamplesError

_PROGRAM = "python -m pytest_aerobust"


def main(words: Sequence[str] | None = None) -> int:
    """Run one subcommand.

    Args:
        words: In place of those of the process.

    Returns:
        0 where every stored example still fools the pipeline, 1 where some no longer do, 2 where
        they could not be judged.
    """
    given = list(sys.argv[1:] if words is None else words)
    cut = given.index("--") if "--" in given else len(given)
    parser = _parser()
    options = parser.parse_args(given[:cut])
    if options.model is None and options.filter is not None:
        parser.error("--filter needs --model; without both the test's fixtures give them")
    try:
        if options.model is None:
            return _in_tests(options, given[cut + 1 :])
        return _by_name(options)
    except AerobustError as error:
        print(f"{_PROGRAM} replay: {error}", file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=_PROGRAM, allow_abbrev=False)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    replay = commands.add_parser(
        "replay",
        allow_abbrev=False,
        help="judge stored counterexamples again, without an attack",
        description="Judge counterexamples that --aerobust-examples=DIR stored again, without an "
        "attack. The fixtures of the recorded tests give the pipelines, unless --model does. "
        "Status: 0, every example still fools its pipeline; 1, some no longer do; 2, they could "
        "not be judged.",
        epilog="What follows -- is handed to pytest, such as: replay DIR -- -n 4",
    )
    replay.add_argument("path", type=Path, help="a stored file, or a folder of them")
    replay.add_argument(
        "-c",
        dest="ini",
        type=Path,
        metavar="FILE",
        help="the ini file of the run, whose folder recorded tests are named from (default: that "
        "of the root folder, if it has one)",
    )
    replay.add_argument(
        "--rootdir",
        type=Path,
        metavar="DIR",
        help="pytest's root folder, which they are named from where there is no ini file (default: "
        "that of the ini file, or else here)",
    )
    replay.add_argument("--device", help="run on this device (default: where the model is)")
    replay.add_argument(
        "--model",
        metavar="PACKAGE.MODULE:NAME",
        help="a model, or a function that gives it; no test is looked for",
    )
    replay.add_argument(
        "--filter", metavar="PACKAGE.MODULE:NAME", help="the filter in front of it, likewise"
    )
    return parser


def _in_tests(options: argparse.Namespace, further: list[str]) -> int:
    """Let pytest build the pipelines, in a process of its own."""
    from pytest_aerobust.counterexamples.files import load_all
    from pytest_aerobust.names import home

    rootdir, ini = _roots(options)
    named_from = home(ini, rootdir)
    files = dict.fromkeys(str(_file(named_from, test, rootdir)) for test in load_all(options.path))
    device = [] if options.device is None else [f"--aerobust-device={options.device}"]
    with TemporaryDirectory() as cache:
        command = [
            *(sys.executable, "-m", "pytest", "-p", "pytest_aerobust.plugin", "-q"),
            *("--runxfail", "--maxfail=0"),
            # What failed last is to be asked of real runs.
            *("-o", f"cache_dir={cache}"),
            # Else an ini file below would be read, and the tests named from its folder.
            *("-c", str(ini or os.devnull)),
            # What pytest does of its own accord where nobody told it what to read.
            *([] if options.ini else [f"--confcutdir={rootdir}"]),
            *(f"--rootdir={rootdir}", f"--aerobust-replay={options.path.absolute()}"),
            *(*device, *further, *files),
        ]
        status = subprocess.run(command, check=False).returncode
    return status if status in (0, 1) else 2


def _roots(options: argparse.Namespace) -> tuple[Path, Path | None]:
    """Pytest's root folder, and its ini file if there is one."""
    import pytest

    from pytest_aerobust.names import home, ini_in

    here = Path.cwd()
    if options.ini is not None:
        given = _normal(here / options.ini)
        # As for pytest: what is there and no file (/dev/null) asks for none.
        ini = None if given.exists() and not given.is_file() else given
        return _normal(here / (options.rootdir or home(ini, here))), ini
    rootdir = _normal(here / (options.rootdir or ""))
    try:
        return rootdir, ini_in(rootdir)
    except (pytest.UsageError, pytest.fail.Exception) as error:
        raise ExamplesError(f"pytest can't be started in {rootdir}: {error}") from error


def _normal(path: Path) -> Path:
    return Path(os.path.normpath(path))


def _file(folder: Path, test: str, rootdir: Path) -> Path:
    """Where a recorded test is; a file may name none outside of the root folder and of this one."""
    path = _normal(folder / test.split("::")[0])
    if not any(path.is_relative_to(known) for known in (rootdir, Path.cwd())):
        raise ExamplesError(
            f"the recorded test {test!r} lies outside {rootdir} and the folder that you start in: "
            "refused; if it is yours, start in a folder above it"
        )
    if not path.is_file():
        raise ExamplesError(
            f"the recorded test {test!r} has no file in {folder}: start in the folder of the ini "
            "file (without one, pytest's root folder), or name it with --rootdir, or the file "
            "with -c; or name the model itself with --model"
        )
    return path


def _by_name(options: argparse.Namespace) -> int:
    from pytest_aerobust.counterexamples.replay import replay

    model = _made("model", options.model)
    filter = None if options.filter is None else _made("filter", options.filter)
    replayed = replay(options.path, model, filter=filter, device=options.device)
    print(replayed)
    return 0 if replayed.fooled == replayed.stored else 1


def _made(name: str, told: str) -> Any:
    """What ``package.module:name`` is, or gives when it is called."""
    module, _, attribute = told.partition(":")
    if not module or not attribute:
        raise ContractError(f"--{name}={told!r}: expected package.module:name")
    try:
        found = getattr(import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise ContractError(f"--{name}={told!r}: {error}") from error
    return found() if _makes(found) else found


def _makes(found: Any) -> bool:
    """Whether it gives the model when called without arguments, and is not the model itself."""
    if not isroutine(found) and not isclass(found):
        return False
    try:
        signature(found).bind()
    except TypeError:
        return False
    return True


if __name__ == "__main__":
    raise SystemExit(main())
