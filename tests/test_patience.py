"""How long a session follows the code of what its tests give."""

import gc
import time
from weakref import ref

import pytest
from torch import nn

from pytest_aerobust.history.cache import measurements
from pytest_aerobust.history.cache.identity import TooLongError
from pytest_aerobust.history.cache.measurements import Patience

ENDLESS = [(number,) for number in range(1_000_000)]


class Small(nn.Module):
    pass


@pytest.fixture
def patience(monkeypatch):
    monkeypatch.setattr(measurements, "_SECONDS", 0.2)
    monkeypatch.setattr(measurements, "_SECONDS_EACH", 0.05)
    return Patience()


def in_vain(patience, *given):
    """Seconds until it gives up."""
    started = time.perf_counter()
    with pytest.raises(TooLongError):
        patience.digest(given, [ENDLESS])
    return time.perf_counter() - started


def test_nothing_is_put_aside_for_another(patience):
    """What one object holds says nothing of others of its class, or of those beside it."""
    large, small = Small(), Small()
    assert in_vain(patience, large, None) >= 0.2
    assert patience.digest([small, None], [1])
    assert patience.digest([large, small], [1])
    with pytest.raises(TooLongError, match="given up before"):
        patience.digest([large, None], [1])


def test_an_object_in_the_place_of_a_dead_one(patience):
    """Objects live in turn at one address: none inherits from the one before, and none is kept."""
    gone = []
    for _ in range(3):
        given = Small()
        gone.append(ref(given))
        assert in_vain(patience, given) >= 0.2
        del given
        gc.collect()
    assert [each() for each in gone] == [None] * 3
    assert patience.digest([Small()], [1])


def test_large_objects_without_end(patience):
    """Each test may give a new one: a session spends five times its seconds on them, not more."""
    given = [Small() for _ in range(20)]
    assert sum(in_vain(patience, each) for each in given) < 3
    assert sum(in_vain(patience, each) for each in given) < 0.1
    assert patience.digest([Small()], [1]), "what is small is followed all the same"


def test_what_can_not_be_referred_to(patience):
    """It is tried again, in the same bounds."""
    assert in_vain(patience, ()) >= 0.2
    assert sum(in_vain(patience, ()) for _ in range(20)) < 3


def test_each_digest_has_its_share(patience, monkeypatch):
    """However much of the session's seconds is spent."""
    monkeypatch.setattr(measurements, "_SECONDS", 0.0)
    assert patience.digest([Small()], [1])
