"""What may be known of a contract beside its row: one line each, in pages as in Markdown."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

Result = Mapping[str, Any]


def _subject(result: Result) -> str:
    return ", ".join(f"{part} {name}" for part, name in result["subject"].items() if name)


def _drawn(result: Result) -> str:
    return ", ".join(f"{eps:.6g}" for eps in result["drawn"] or ())


def _draws(result: Result) -> str:
    return "; ".join(result["draws"] or ())


# What a line is called, and what it says of a contract; empty where it says nothing.
_FACTS: tuple[tuple[str, Callable[[Result], str]], ...] = (
    ("under test", _subject),
    ("budgets drawn", _drawn),
    ("draws", _draws),
)


def facts(result: Result) -> Iterator[tuple[str, str]]:
    """Name and text of every line that says something.

    Args:
        result: What a report carries, as ``report.aerobust``.
    """
    for name, told in _FACTS:
        if text := told(result):
            yield name, text
