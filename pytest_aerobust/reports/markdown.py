"""A run as Markdown for CI job pages.

Ids, notes and messages are not to be trusted. Their punctuation becomes character references,
which are never structure (CommonMark 0.31, section 2.5), and what users name stands in ``<code>``
or ``<pre>``, where job pages look for no mentions, references or emoji.
"""

import html
import re
from collections.abc import Iterator

from pytest_aerobust.reports.facts import facts
from pytest_aerobust.reports.rows import PAGE_COLUMNS, WORDS, notes
from pytest_aerobust.reports.run import HEADINGS, SIGNS, Checked, Incident, Run

# Job pages take 1 MiB a step, and nothing at all of what is longer.
ROOM = 1_000_000

# ASCII punctuation, without what means nothing inside a line, and without decimal points.
_ACTIVE = re.compile(r"(?<!\d)\.|\.(?!\d)|[!-'*/:-<>-@\[-`{-~]")
_TOO_LONG = "\n<p>More details are left out: they would not fit.</p>\n"


def render(run: Run, room: int = ROOM) -> str:
    """The text of the file.

    Args:
        run: What is told.
        room: Bytes that details may fill up; what comes before them is always told.
    """
    text = _head(run)
    for block in _blocks(run):
        if len((text + block + _TOO_LONG).encode("utf-8", "replace")) > room:
            return text + _TOO_LONG
        text += block
    return text


def _head(run: Run) -> str:
    lines = [f"## Robustness contracts: {HEADINGS[run.verdict]}", "", inline(run.summary), ""]
    if run.contracts:
        lines += [*_table(run), ""]
    return "\n".join(lines)


def _table(run: Run) -> Iterator[str]:
    yield f"| {' | '.join(PAGE_COLUMNS)} |"
    yield f"|{'|'.join('---' if column in WORDS else '---:' for column in PAGE_COLUMNS)}|"
    for checked in run.contracts:
        cells = {column: inline(text) for column, text in checked.row.items()}
        cells |= {column: code(checked.row[column]) for column in ("test", "attack")}
        cells["verdict"] = f"{SIGNS[checked.rank]} {cells['verdict']}"
        yield f"| {' | '.join(cells[column] for column in PAGE_COLUMNS)} |"


def _blocks(run: Run) -> Iterator[str]:
    """What can be left out, the most important first."""
    yield from (_failure(checked) for checked in run.contracts if checked.rank != "passed")
    yield from map(_incident, run.incidents)
    told = notes([checked.result for checked in run.contracts])
    if told:
        yield "\n" + "\n".join(f"- {code(note)}" for note in told) + "\n"
    versions = ", ".join(f"{name} {number}" for name, number in run.versions.items())
    yield f"\n{inline(versions)}\n"


def _failure(checked: Checked) -> str:
    told = [checked.failure or checked.result["words"]]
    told += [f"{name}: {text}" for name, text in facts(checked.result)]
    return _folded(f"{SIGNS[checked.rank]} {code(checked.test)}", "\n".join(told))


def _incident(incident: Incident) -> str:
    sign = "-" if incident.outcome in ("skipped", "xfailed") else "✗"
    title = f"{sign} {code(incident.test)}: {inline(incident.outcome)} ({inline(incident.when)})"
    return _folded(title, incident.message)


def _folded(title: str, text: str) -> str:
    body = html.escape("\n".join(map(printable, text.splitlines())))
    return f"\n<details>\n<summary>{title}</summary>\n\n<pre>\n{body}\n</pre>\n\n</details>\n"


def code(text: str) -> str:
    """Text that a user wrote, inside a line."""
    return f"<code>{inline(text)}</code>"


def inline(text: str) -> str:
    """Text in one line that reads as it is, whatever is in it."""
    return _ACTIVE.sub(lambda found: f"&#{ord(found[0])};", printable(" ".join(text.split())))


def printable(line: str) -> str:
    """Without what steers terminals or turns the direction of writing."""
    return "".join(char if char.isprintable() else "?" for char in line)
