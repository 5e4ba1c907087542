"""Torch's switches: each is part of what a kept answer depends on, and none breaks a contract."""

from contextlib import contextmanager
from operator import attrgetter

import pytest
import torch

from pytest_aerobust.history.cache.surroundings import surroundings


@contextmanager
def turned(read, turn, value):
    """A switch in another position, and then back."""
    before = read()
    turn(value)
    yield
    turn(before)


def of_backends(name):
    """How to read and to turn a switch of `torch.backends`."""
    owner, _, last = name.rpartition(".")
    backend = attrgetter(owner)(torch.backends) if owner else torch.backends
    return lambda: getattr(backend, last), lambda value: setattr(backend, last, value)


@pytest.mark.parametrize(
    ("read", "turn", "value"),
    [
        (torch.get_default_dtype, torch.set_default_dtype, torch.float64),
        (torch.are_deterministic_algorithms_enabled, torch.use_deterministic_algorithms, True),
        (lambda: False, torch.set_flush_denormal, True),
        (
            lambda: torch.get_autocast_dtype("cpu"),
            lambda dtype: torch.set_autocast_dtype("cpu", dtype),
            torch.float16,
        ),
        (*of_backends("cudnn.deterministic"), True),
        (lambda: True, lambda on: torch.backends.mkldnn.set_flags(_enabled=on), False),
    ],
)
def test_each_switch_is_part_of_the_key(read, turn, value):
    """What is measured under one position answers nothing under another."""
    before = surroundings()
    with turned(read, turn, value):
        assert surroundings() != before
    assert surroundings() == before


def test_the_number_of_threads_is_not():
    """Workers have fewer threads than a run in one process, and share its cache."""
    before = surroundings()
    with turned(torch.get_num_threads, torch.set_num_threads, 2):
        assert surroundings() == before


@pytest.mark.parametrize(
    "name",
    ["fp32_precision", "mkldnn.matmul.fp32_precision", "cuda.matmul.fp32_precision"],
)
def test_the_precision_of_products_set_in_the_new_way(own_process, small_conftest, tmp_path, name):
    """Where torch's older question about it raises, contracts are proved and kept all the same."""
    (tmp_path / "conftest.py").write_text(
        f"{small_conftest}\n\ntorch.backends.{name} = 'tf32'\n", encoding="utf-8"
    )
    (tmp_path / "test_suite.py").write_text(
        "from pytest_aerobust import robust\n\n\n"
        "@robust('bim', eps=0.2, min_acc=0.5)\ndef test_it(): ...\n",
        encoding="utf-8",
    )
    first, second = (own_process(tmp_path, "--aerobust", "-p", "cacheprovider") for _ in range(2))
    assert "1 passed" in first.stdout, first.stdout
    assert "cached" not in first.stdout
    assert "cached" in second.stdout
