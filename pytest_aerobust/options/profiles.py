"""Profiles: what runs of one kind may cost, under a name."""

from collections.abc import Iterable
from dataclasses import dataclass, fields

from pytest_aerobust.contract.arguments import checked_count
from pytest_aerobust.errors import ContractError, did_you_mean


@dataclass(frozen=True)
class Profile:
    """What a run may cost; None leaves it to the marks.

    Attributes:
        name: What it is called; empty where none was chosen.
        samples: Draw so many samples, stratified by label.
        steps: Steps of each attack that has steps and whose mark states none.
        budgets: Draw so many budgets, or values of whatever varies.
    """

    name: str = ""
    samples: int | None = None
    steps: int | None = None
    budgets: int | None = None

    def __str__(self) -> str:
        stated = [(name, getattr(self, name)) for name in _NUMBERS]
        told = " ".join(f"{name}={value}" for name, value in stated if value is not None)
        return f"{self.name} ({told or 'as the marks say'})"


_NUMBERS = tuple(field.name for field in fields(Profile) if field.name != "name")

BUILT_IN = (Profile("quick", samples=200, budgets=3), Profile("full"))


def chosen_profile(name: str | None, lines: Iterable[str]) -> Profile:
    """The profile of a name.

    Args:
        name: As the options say; None chooses none.
        lines: Of the ini file, such as ``quick: samples=100 steps=5``; they replace built-in
            profiles of the same name.

    Raises:
        ContractError: There is no such profile, or a line can't be meant.
    """
    known = {profile.name: profile for profile in (*BUILT_IN, *map(_profile, lines))}
    if not name:
        return Profile()
    if name not in known:
        raise ContractError(f"aerobust_profile={name!r} is unknown: {did_you_mean(name, known)}")
    return known[name]


def _profile(line: str) -> Profile:
    name, colon, rest = line.partition(":")
    given = dict(word.partition("=")[::2] for word in rest.split())
    if not colon or not name.strip().isidentifier() or not given.keys() <= {*_NUMBERS}:
        raise ContractError(
            f"aerobust_profiles: {line!r} is no profile: expected a name, a colon and some of "
            f"{', '.join(_NUMBERS)}, as in quick: samples=100 steps=5"
        )
    numbers = {
        each: checked_count(f"aerobust_profiles: {each}", _whole(text), least=1)
        for each, text in given.items()
    }
    return Profile(name.strip(), **numbers)


def _whole(text: str) -> int | str:
    return int(text) if text.isdecimal() else text
