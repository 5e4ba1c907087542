"""What each argument of a contract may be, with the error for what it may not."""

from collections.abc import Callable, Iterator
from decimal import Decimal
from fractions import Fraction
from math import isfinite
from numbers import Integral, Rational, Real
from typing import Any, Literal, cast, get_args

from pytest_aerobust.contract.catalogue import THREATS, Threat
from pytest_aerobust.errors import ContractError, did_you_mean

Bounds = tuple[float, float]
# One number, or nested tuples of them in the shape of what they broadcast to.
Ends = float | tuple["Ends", ...]
FeatureBounds = tuple[Ends, Ends]
Mask = tuple["bool | Mask", ...]
FilterGradient = Literal["exact", "identity"]
Statistics = float | tuple[float, ...]


def checked_eps(value: Any) -> float:
    """One budget as a float.

    Raises:
        ContractError: It is no finite number of at least 0.
    """
    if not is_number(value):
        raise ContractError(
            f"eps={value!r}: expected a finite number of at least 0, in the units of the data"
        )
    if value < 0:
        raise ContractError(f"eps={float(value):g}: a budget is a radius, at least 0")
    return float(value)


def checked_floor(name: str, value: Any) -> Fraction | None:
    """A floor as the exact fraction of its decimal text.

    Raises:
        ContractError: It is no number in [0, 1] ([-1, 1] for min_gain).
    """
    if value is None:
        return None
    least = -1 if name == "min_gain" else 0
    if not is_number(value):
        raise ContractError(f"{name}={value!r}: expected a number in [{least}, 1]")
    # 0.9 is not 9/10 in binary, but its text is: 9 of 10 survivors hold a floor of 0.9.
    floor = Fraction(value) if isinstance(value, Rational) else Fraction(str(value))
    if not least <= floor <= 1:
        hint = f"; did you mean {float(floor) / 100:g}?" if 2 <= floor <= 100 else ""
        raise ContractError(f"{name}={float(floor):g} is outside [{least}, 1]{hint}")
    return floor


def checked_confidence(value: Any) -> Fraction | None:
    """A probability as the exact fraction of its decimal text.

    Raises:
        ContractError: It is no number in (0, 1), or a verdict would be wrong more often than right.
    """
    if value is None:
        return None
    if not is_number(value) or not 0 < value < 1:
        percent = is_number(value) and 50 <= value < 100
        hint = f"; did you mean {value / 100:g}?" if percent else ""
        raise ContractError(f"confidence={value!r}: expected a number in (0, 1){hint}")
    sure = Fraction(str(value))
    if sure < Fraction(1, 2):
        raise ContractError(
            f"confidence={value!r} lets a verdict be wrong more often than right: expected at "
            f"least 0.5 and less than 1; did you mean {float(1 - sure):g}?"
        )
    return sure


def checked_switch(name: str, value: Any) -> bool:
    """True or False, and nothing that merely counts as one of them."""
    if not isinstance(value, bool):
        raise ContractError(f"{name}={value!r}: expected True or False")
    return value


def checked_bounds(value: Any) -> Bounds:
    """Bounds as two floats.

    Raises:
        ContractError: They are not two finite numbers, the smaller first.
    """
    pair = _listed(value)
    pair = tuple(pair) if isinstance(pair, list | tuple) else ()
    if len(pair) != 2 or not all(is_number(end) for end in pair):
        raise ContractError(f"bounds={value!r}: expected two finite numbers, as in (0, 1)")
    low, high = (float(end) for end in pair)
    if not low < high:
        raise ContractError(
            f"bounds=({low:g}, {high:g}): expected the smaller value first, as in (0, 1)"
        )
    return low, high


def checked_feature_bounds(value: Any) -> FeatureBounds:
    """Bounds as two floats, or as nested tuples where features have their own.

    Raises:
        ContractError: They are not two finite numbers, or two arrays of finite numbers.
    """
    pair = _listed(value)
    pair = tuple(map(_listed, pair)) if isinstance(pair, list | tuple) else ()
    if len(pair) != 2 or not any(isinstance(end, list | tuple) and len(end) for end in pair):
        return checked_bounds(value)
    low, high = (_nested(end, is_number, float) for end in pair)
    if low is None or high is None:
        raise ContractError(
            f"bounds={value!r}: expected two arrays of finite numbers, the smallest values of the "
            "features and their largest, as in ([0, 0, 0], [1, 5, 255])"
        )
    return low, high


def hull(bounds: FeatureBounds) -> Bounds:
    """The smallest and the largest value of any feature."""
    low, high = bounds
    return min(_flat(low)), max(_flat(high))


def _flat(ends: Ends) -> Iterator[float]:
    if isinstance(ends, tuple):
        for entry in ends:
            yield from _flat(entry)
    else:
        yield ends


def checked_mask(value: Any) -> Mask | None:
    """Which features may change, as nested tuples of booleans; None where all may.

    Raises:
        ContractError: It is no array of booleans, or lets nothing change.
    """
    if value is None:
        return None
    listed = _listed(value)
    mask = _nested(listed, lambda entry: isinstance(entry, bool), bool)
    if not isinstance(mask, tuple):
        raise ContractError(
            f"mutable={value!r}: expected an array of booleans, True for each feature that may "
            "change, of a shape that broadcasts to one sample's"
        )
    if not _any(mask):
        raise ContractError(
            "mutable is False for every feature: nothing may change, so there is nothing to attack"
        )
    return mask


def checked_mutable(value: Any) -> Mask | str | None:
    """A mask, the name of the fixture that gives it, or None.

    Raises:
        ContractError: As :func:`checked_mask`.
    """
    return checked_fixture("mutable", value) if isinstance(value, str) else checked_mask(value)


def _nested(value: Any, fits: Callable[[Any], bool], kind: type) -> Any:
    """Nested lists as nested tuples; None where an entry doesn't fit."""
    value = _listed(value)
    if not isinstance(value, list | tuple):
        return kind(value) if fits(value) else None
    entries = tuple(_nested(entry, fits, kind) for entry in value)
    return None if not entries or None in entries else entries


def _any(mask: Mask) -> bool:
    return any(_any(entry) if isinstance(entry, tuple) else entry for entry in mask)


def checked_statistics(name: str, value: Any, positive: bool = False) -> Statistics | None:
    if value is None:
        return None
    value = _listed(value)
    single = not isinstance(value, list | tuple)
    numbers = (value,) if single else tuple(value)
    if not numbers or not all(is_number(number) for number in numbers):
        raise ContractError(f"{name}={value!r}: expected a number, or one number a channel")
    if positive and min(numbers) <= 0:
        raise ContractError(f"{name}={value!r}: expected numbers above 0")
    return float(numbers[0]) if single else tuple(float(number) for number in numbers)


def checked_count(name: str, value: Any, least: int) -> int | None:
    if value is None:
        return None
    if not is_whole(value) or value < least:
        raise ContractError(f"{name}={value!r}: expected a whole number of at least {least}")
    return int(value)


def checked_fixture(name: str, value: Any, optional: bool = False) -> str | None:
    if (value is None and optional) or (isinstance(value, str) and value.isidentifier()):
        return value
    raise ContractError(
        f"{name}={value!r}: expected the name of a fixture"
        + (" or None" if optional else "")
        + f"; a {name} itself comes from a fixture, such as aerobust_{name}"
    )


def _listed(value: Any) -> Any:
    """An array or tensor as the numbers in it; anything else as it is."""
    return value.tolist() if hasattr(value, "tolist") else value


def is_number(value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, Real | Decimal):
        return False
    try:
        return isfinite(value)
    except OverflowError:  # a whole number that no float can hold
        return False


def is_whole(value: Any) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool)


def checked_threat(threat: Any) -> Threat | None:
    if threat is not None and threat not in THREATS:
        raise ContractError(f"threat={threat!r} is unknown: {did_you_mean(threat, THREATS)}")
    return cast("Threat | None", threat)


def checked_filter_gradient(value: Any) -> FilterGradient | None:
    known = get_args(FilterGradient)
    if value is not None and value not in known:
        raise ContractError(f"filter_gradient={value!r} is unknown: {did_you_mean(value, known)}")
    return cast("FilterGradient | None", value)
