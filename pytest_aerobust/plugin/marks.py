"""What a test carries of ours: how many contracts it states, and how many are checked."""

import pytest

# The parameter that says which contract a test is about.
CASE = "_aerobust_case"
# Where what `@hypothesis.seed` gave to a test waits for its contract.
SEED = "_aerobust_seed"


def contract_marks(item: pytest.Item) -> int:
    """How many contracts' marks an item has; a doctest only inherits those of its module."""
    if isinstance(item, pytest.DoctestItem):
        return 0
    return sum(1 for _ in item.iter_markers("robust"))


def checked_marks(item: pytest.Item) -> int:
    """How many marks there were when the item's contracts were read; 0 where nobody read any."""
    parameter = getattr(getattr(item, "callspec", None), "params", {}).get(CASE)
    return parameter.marks if parameter else 0
