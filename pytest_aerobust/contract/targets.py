"""What a targeted attacker wants to see: one class, a class for each class, or a rule.

Natural and non-natural targets are those of Sivaslioglu, Catak & Gul 2020, section 5.2.1: each
class goes to what it is most, or least, often mistaken for under the untargeted attack.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, get_args

from pytest_aerobust.contract.arguments import is_whole
from pytest_aerobust.errors import ContractError, did_you_mean

Rule = Literal["natural", "non-natural"]
RULES: tuple[Rule, ...] = get_args(Rule)

Table = tuple[int | None, ...]
"""The target of each class from 0; None where its samples are not attacked."""

# An id or a headline that spelled more pairs than this would hide everything else.
_SPELLED_PAIRS = 3


@dataclass(frozen=True)
class Mistakes:
    """What an untargeted attack made of each class.

    Attributes:
        counts: ``counts[actual][answered]``, how often; square, one row a class.
        runners_up: ``runners_up[actual][other]``, how often `other` is the likeliest wrong answer
            to an input that nobody attacked.
    """

    counts: Sequence[Sequence[int]]
    runners_up: Sequence[Sequence[int]]


class Target(Protocol):
    """What the attacker wants, as a contract states it."""

    @property
    def derived(self) -> bool:
        """Whether an untargeted attack has to be run first."""

    @property
    def plain(self) -> int | str:
        """As a person would write it: a class, or words."""

    def table(self, classes: Sequence[int], mistakes: Callable[[], Mistakes]) -> Table:
        """The target of each class, by their places.

        Args:
            classes: The model's own numbers of its classes, in its order.
            mistakes: Runs the untargeted attack; asked only where `derived`.

        Raises:
            ContractError: It names a class that the model does not have.
        """


@dataclass(frozen=True)
class OneTarget:
    """The same class for all."""

    wanted: int
    derived = False

    @property
    def plain(self) -> int | str:
        return self.wanted

    def table(self, classes: Sequence[int], mistakes: Callable[[], Mistakes]) -> Table:
        return (_place(self.wanted, classes),) * len(classes)


@dataclass(frozen=True)
class MappedTarget:
    """A class for each class that is named; the samples of the others are not attacked."""

    pairs: tuple[tuple[int, int], ...]
    derived = False

    @property
    def plain(self) -> int | str:
        spelled = " ".join(f"{label}→{wanted}" for label, wanted in self.pairs[:_SPELLED_PAIRS])
        return f"{spelled} ..." if len(self.pairs) > _SPELLED_PAIRS else spelled

    def table(self, classes: Sequence[int], mistakes: Callable[[], Mistakes]) -> Table:
        wanted = {_place(label, classes): _place(to, classes) for label, to in self.pairs}
        return tuple(wanted.get(label) for label in range(len(classes)))


@dataclass(frozen=True)
class DerivedTarget:
    """A class for each class, by what the untargeted attack makes of it.

    Of classes that are equally often answered the lowest is taken (so does the paper's table of
    non-natural targets). A class that was never mistaken has no natural target of its own: it
    goes to the likeliest wrong answer to its unattacked inputs.
    """

    rule: Rule
    derived = True

    @property
    def plain(self) -> int | str:
        return self.rule

    def table(self, classes: Sequence[int], mistakes: Callable[[], Mistakes]) -> Table:
        seen = mistakes()
        choose = _commonest if self.rule == "natural" else _rarest
        return tuple(choose(label, seen) for label in range(len(classes)))


def _commonest(label: int, seen: Mistakes) -> int:
    others = _others(label, len(seen.counts))
    counts = seen.counts[label]
    decisive = counts if any(counts[other] for other in others) else seen.runners_up[label]
    return max(others, key=lambda other: decisive[other])


def _rarest(label: int, seen: Mistakes) -> int:
    return min(_others(label, len(seen.counts)), key=lambda other: seen.counts[label][other])


def _others(label: int, classes: int) -> list[int]:
    return [other for other in range(classes) if other != label]


def _place(named: int, classes: Sequence[int]) -> int:
    if named in classes:
        return list(classes).index(named)
    if list(classes) == list(range(len(classes))):
        known = f"{len(classes)} classes: expected at most {len(classes) - 1}"
    else:
        known = f"the classes {', '.join(map(str, classes))}"
    raise ContractError(f"target={named}, but the model has {known}")


def checked_target(value: Any) -> Target | None:
    """A target as a mark states it; None where there is none.

    Args:
        value: A class, a mapping class to class, ``"natural"`` or ``"non-natural"``.

    Raises:
        ContractError: It is none of these, or maps a class to itself.
    """
    if value is None:
        return None
    if isinstance(value, str):
        return DerivedTarget(_checked_rule(value))
    if isinstance(value, Mapping):
        return _mapped(value)
    return OneTarget(_checked_class(value, value))


def _checked_rule(value: str) -> Rule:
    for rule in RULES:
        if value == rule:
            return rule
    raise ContractError(
        f"target={value!r} is unknown: {did_you_mean(value, RULES).rstrip('?')}. A class is a "
        "whole number of at least 0"
    )


def _mapped(value: Mapping[Any, Any]) -> MappedTarget:
    if not value:
        raise ContractError("target={} is empty: nothing would be attacked; expected {3: 8}")
    pairs = tuple(
        (_checked_class(label, value), _checked_class(wanted, value))
        for label, wanted in value.items()
    )
    own = next((label for label, wanted in pairs if label == wanted), None)
    if own is not None:
        raise ContractError(
            f"target={dict(value)!r} sends class {own} to itself: nothing to attack; leave it out"
        )
    return MappedTarget(tuple(sorted(pairs)))


def _checked_class(named: Any, value: Any) -> int:
    if not is_whole(named) or named < 0:
        raise ContractError(
            f"target={value!r}: expected a class (a whole number of at least 0), a mapping such as "
            "{3: 8}, 'natural' or 'non-natural'"
        )
    return int(named)
