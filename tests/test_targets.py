"""Targets as pure values: from what an untargeted attack made of each class to a table."""

import pytest

from pytest_aerobust import ContractError
from pytest_aerobust.contract.targets import Mistakes, checked_target


def never():
    raise AssertionError("a stated target asked for the untargeted attack")


def seen(*rows, runners_up=None):
    return lambda: Mistakes(rows, runners_up or rows)


def test_one_class_is_the_target_of_all():
    """A class is everyone's target, its own samples' included, without any attack."""
    assert checked_target(1).table(range(3), never) == (1, 1, 1)


def test_a_mapping_leaves_the_other_classes_alone():
    """Classes that a mapping does not name have no target."""
    assert checked_target({2: 0, 0: 1}).table(range(3), never) == (1, None, 0)


def test_natural_is_the_commonest_mistake():
    """Each class goes to what it is most often mistaken for, never to itself."""
    mistakes = seen([9, 1, 3], [4, 2, 0], [5, 6, 1])
    assert checked_target("natural").table(range(3), mistakes) == (2, 0, 1)


def test_non_natural_is_the_rarest_mistake():
    """Each class goes to what it is least often mistaken for, never to itself."""
    mistakes = seen([0, 1, 3], [4, 0, 2], [5, 6, 0])
    assert checked_target("non-natural").table(range(3), mistakes) == (1, 2, 0)


def test_of_equal_counts_the_lowest_class_is_taken():
    """Ties go to the lowest class that is not the sample's own."""
    mistakes = seen([1, 2, 2], [2, 0, 2], [0, 0, 5])
    assert checked_target("natural").table(range(3), mistakes) == (1, 0, 0)
    assert checked_target("non-natural").table(range(3), mistakes) == (1, 0, 0)


def test_a_class_never_mistaken_goes_to_its_likeliest_wrong_answer():
    """Where the attack beat no sample of a class, the clean answers say what is near."""
    mistakes = seen([7, 0, 0], [0, 5, 2], [0, 0, 0], runners_up=[[0, 1, 6], [9, 0, 0], [3, 4, 0]])
    assert checked_target("natural").table(range(3), mistakes) == (2, 2, 1)


def test_the_rules_of_the_paper_give_its_table_of_non_natural_targets():
    """Figure 16: 0 is mistaken for 1 least often, 1 for 0, 3 for 1, and so on."""
    table = (1, 0, 0, 1, 1, 1, 1, 6, 0, 6)
    counts = [[5] * 10 for _ in range(10)]
    for actual, rarest in enumerate(table):
        counts[actual][rarest] = 0
    assert checked_target("non-natural").table(range(10), lambda: Mistakes(counts, counts)) == table


@pytest.mark.parametrize("value", [3, {3: 0}, {0: 3}])
def test_a_class_that_the_model_lacks_is_refused(value):
    """A target beyond the classes names their number."""
    with pytest.raises(ContractError, match="target=3, but the model has 3 classes"):
        checked_target(value).table(range(3), never)


def test_words_for_people():
    """A target is shown as it was stated; a long mapping is cut."""
    assert checked_target(7).plain == 7
    assert checked_target("natural").plain == "natural"
    assert checked_target({3: 8}).plain == "3→8"
    assert checked_target({n: n + 1 for n in range(5)}).plain == "0→1 1→2 2→3 ..."


def test_a_model_with_classes_of_its_own_is_asked_by_their_names():
    """Targets name the model's own classes, tables count their places."""
    assert checked_target(8).table((3, 8), never) == (1, 1)
    assert checked_target({8: 3}).table((3, 8), never) == (None, 0)
    with pytest.raises(ContractError, match="target=1, but the model has the classes 3, 8"):
        checked_target(1).table((3, 8), never)
