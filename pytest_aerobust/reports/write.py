"""Files about a whole run, each written once, by the process that the user sees."""

from collections.abc import Callable, Iterator, Mapping
from functools import cache, partial
from importlib.util import find_spec
from pathlib import Path

from pytest_aerobust.errors import ContractError
from pytest_aerobust.files import check_writable, written_whole
from pytest_aerobust.options.settings import Settings
from pytest_aerobust.reports import json_file, markdown
from pytest_aerobust.reports.run import Run


def _html(run: Run) -> str:
    # Here because it loads matplotlib and torch.
    from pytest_aerobust.reports import html

    return html.render(run)


_FORMATS: Mapping[str, Callable[[Run], str]] = {
    "json": json_file.render,
    "markdown": markdown.render,
    "html": _html,
}
# What a format needs beyond what every run does; the extra has its name.
_NEEDS = {"html": ("jinja2", "matplotlib")}


def check_files(settings: Settings) -> None:
    """Find out now what can't be written later.

    Raises:
        ContractError: A package is missing, or a file can't be made.
    """
    if settings.examples is not None:
        _check_folder("--aerobust-examples", settings.examples, "a folder")
    for name, path in settings.reports.items():
        for package in _NEEDS.get(name, ()):
            if not _installed(package):
                raise ContractError(
                    f"--aerobust-{name} needs {package}, which is not installed: "
                    f"pip install 'pytest-aerobust[{name}]'"
                )
        if path.exists() and not path.is_file():
            raise ContractError(f"--aerobust-{name}: {path} is a folder or a device: give a file")
        _check_folder(f"--aerobust-{name}", path.parent, "a file in a folder")


def _installed(package: str) -> bool:
    try:
        return find_spec(package) is not None
    except (ModuleNotFoundError, ValueError):  # a finder that refuses it, or None in its place
        return False


def _check_folder(option: str, folder: Path, expected: str) -> None:
    try:
        check_writable(folder)
    except OSError as error:
        raise ContractError(
            f"{option}: {folder} can't be written: {error}. Give {expected} that can"
        ) from error


def write_reports(settings: Settings, gather: Callable[[], Run]) -> Iterator[tuple[str, bool]]:
    """Write every file that is wanted.

    Args:
        settings: Which those are.
        gather: Gives what they tell.

    Yields:
        A line for the user about each file, and whether it was written.
    """
    run = cache(gather)
    for name, path in settings.reports.items():
        yield _told(f"--aerobust-{name}", path, partial(_write, name, path, run))
    if (page := settings.job_page) is not None:
        yield _told("GITHUB_STEP_SUMMARY", page, partial(_append, page, run))


def _told(name: str, path: Path, write: Callable[[], None]) -> tuple[str, bool]:
    try:
        write()
    # Whatever it is: the result of the run is worth more than a file about it.
    except Exception as error:
        return f"{name}: {path} was not written: {type(error).__name__}: {error}", False
    return f"{name}: {path}", True


def _write(name: str, path: Path, run: Callable[[], Run]) -> None:
    text = _FORMATS[name](run())
    with written_whole(path) as temporary:
        temporary.write_bytes(_bytes(text))


def _append(page: Path, run: Callable[[], Run]) -> None:
    """After what other steps of the job wrote there; nothing where there was no contract."""
    if not (run().collected or run().incidents):
        return
    room = markdown.ROOM - (page.stat().st_size if page.exists() else 0)
    with page.open("ab") as file:
        file.write(_bytes("\n" + markdown.render(run(), room)))


def _bytes(text: str) -> bytes:
    """Names of files may hold what is no character in UTF-8."""
    return text.encode("utf-8", "backslashreplace")
