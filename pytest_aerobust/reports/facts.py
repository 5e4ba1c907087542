"""What may be known of a contract beside its row: one line each, in pages as in Markdown."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

Result = Mapping[str, Any]


def _subject(result: Result) -> str:
    return ", ".join(f"{part} {name}" for part, name in result["subject"].items() if name)


def _drawn(result: Result) -> str:
    return ", ".join(f"{eps:.6g}" for eps in result["drawn"] or ())


def _draws(result: Result) -> str:
    return "; ".join(result["draws"] or ())


def _cached(result: Result) -> str:
    return "by an earlier run, on the same model and data" if result["evaluation"]["cached"] else ""


def _baseline(result: Result) -> str:
    told = result["evaluation"]["regression"]
    if told is None:
        return ""
    if told["status"] != "compared":
        return f"{told['status']} {told['reason']}".strip()
    places = [f"{word}: {_places(told[word])}" for word in ("lost", "won") if told[word]]
    return "; ".join([f"McNemar's exact p = {told['p']:.2g}", *places])


def _places(places: Sequence[int]) -> str:
    return ", ".join(map(str, places))


def _memory(result: Result) -> str:
    told = result["evaluation"]["memory"]
    if told is None:
        return ""
    return (
        f"{told['tried']} examples tried; fell to them alone: {_places(told['fell']) or 'nobody'}"
    )


# What a line is called, and what it says of a contract; empty where it says nothing.
_FACTS: tuple[tuple[str, Callable[[Result], str]], ...] = (
    ("under test", _subject),
    ("budgets drawn", _drawn),
    ("draws", _draws),
    ("measured", _cached),
    ("since the baseline, samples", _baseline),
    ("memory of attacks", _memory),
)


def facts(result: Result) -> Iterator[tuple[str, str]]:
    """Name and text of every line that says something.

    Args:
        result: What a report carries, as ``report.aerobust``.
    """
    for name, told in _FACTS:
        if text := told(result):
            yield name, text
