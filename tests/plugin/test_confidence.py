"""`confidence=`: verdicts on the population that the samples were drawn from."""

import re
from fractions import Fraction

import pytest

from pytest_aerobust import ContractError, epsilons, robust
from pytest_aerobust.contract.floors import Floors
from pytest_aerobust.results.arm import Arm
from pytest_aerobust.results.evaluation import Evaluation
from pytest_aerobust.verdict.judge import judge
from pytest_aerobust.verdict.population import about_population
from pytest_aerobust.verdict.words import headline


def checked(suite, mark, *options):
    """The outcome and the first lines of one contract on 400 samples."""
    suite.tests(f"""
        @robust({mark}, data="many")
        def test_it():
            pass
    """)
    result = suite.run("-rA", *options)
    (row,) = suite.measured(result).values()
    return result, row


def test_a_floor_that_the_bound_clears(suite):
    """240 of 400 survive: at least 0.558 of the population, so a floor of 0.55 holds
    (BAD INPUTS 3.1).
    """
    result, row = checked(suite, '"bim", 0.2, min_acc=0.55, confidence=0.95')
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(
        ["*robust accuracy of the population (95 % confidence) at least 0.558 ≥ min_acc 0.550*"]
    )
    assert row["verdict"] == "passed"


def test_a_floor_that_the_samples_hold_and_the_population_may_not(suite):
    """0.6 of the samples hold a floor of 0.59; of the population that is not known."""
    result, row = checked(suite, '"bim", 0.2, min_acc=0.59, confidence=0.95')
    result.assert_outcomes(failed=1)
    assert suite.failure(result).splitlines()[0] == (
        "INCONCLUSIVE: robust accuracy of the population (95 % confidence) between 0.558 and "
        "0.641, min_acc 0.590 still open; about 6635 samples would decide, were the shares to stay "
        "as they are  [BIM Linf eps=0.2, white-box, no filter]"
    )
    assert row["verdict"] == "inconclusive"


def test_a_floor_that_the_bound_misses(suite):
    """A failure says that not even the upper bound reaches the floor."""
    result, row = checked(suite, '"bim", 0.2, min_acc=0.7, confidence=0.95')
    result.assert_outcomes(failed=1)
    first = suite.failure(result).splitlines()[0]
    assert first.startswith("robust accuracy of the population (95 % confidence) at most 0.6")
    assert row["verdict"] == "failed"


def test_the_sequential_test_needs_few_samples(suite):
    """Far from the floor it stops after some, in random order, and says after how many."""
    result, row = checked(suite, '"bim", 0.04, min_acc=0.8, confidence=0.95, sequential=True')
    result.assert_outcomes(passed=1)
    assert float(row["unfiltered_accuracy_high"]) == 1.0
    assert 0.2 < float(row["unfiltered_accuracy_low"]) < 0.5
    result.stdout.fnmatch_lines(["*(95 % confidence) at least 0.80* ≥ min_acc 0.800*"])


def test_the_sequential_test_is_the_same_for_any_number_of_workers(suite):
    """Order and verdict come from the seed alone."""
    mark = '"bim", 0.2, min_acc=0.5, confidence=0.95, sequential=True'
    _, alone = checked(suite, mark, "--aerobust-no-cache")
    _, again = checked(suite, mark, "--aerobust-no-cache", "-n1")
    assert {name: v for name, v in alone.items() if name != "seconds"} == {
        name: v for name, v in again.items() if name != "seconds"
    }


def test_a_gain_is_compared_sample_by_sample(suite):
    """A filter that changes nothing wins and loses nobody, so all 400 pairs bound its gain."""
    result, _ = checked(suite, '"bim", 0.2, min_gain=-0.1, confidence=0.9, filter="identity"')
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(
        ["*by the filter of the population (90 % confidence) at least -0.007 ≥ min_gain -0.100*"]
    )


def test_the_advice_exceeds_the_samples_at_hand(suite):
    """Few samples round a share so much that fewer of them would seem to decide."""
    suite.tests("""
        @robust("bim", 0.2, min_acc=0.3, confidence=0.5, data="four")
        def test_it():
            pass
    """)
    suite.conftest("""
        @pytest.fixture(scope="session")
        def four():
            return tuple(each[[0, 1, 5, 9]] for each in samples())
    """)
    first = suite.failure(suite.run()).splitlines()[0]
    assert int(re.search(r"about (\d+) samples", first)[1]) > 4, first


@pytest.mark.parametrize(
    ("floor", "outcomes", "outcome", "relation"),
    [
        ("min_acc=0.9", "sb", "failed", "at most 0.899999999999 < min_acc 0.900000000000"),
        ("min_acc=0.1", "bs", "passed", "at least 0.100000000001 ≥ min_acc 0.100000000000"),
        ("max_drop=0.9", "bs", "passed", "at most 0.899999999999 ≤ max_drop 0.900000000000"),
        ("max_drop=0.1", "sb", "failed", "at least 0.100000000001 > max_drop 0.100000000000"),
    ],
)
def test_evidence_that_just_suffices(floor, outcomes, outcome, relation):
    """One of two shows a share above 0.1 with a likelihood ratio of exactly 2: no rounding asks
    for more, and the words are numbers that differ.
    """
    name, _, value = floor.partition("=")
    arm = Arm(outcomes)
    evaluation = Evaluation("bim", "BIM Linf", "linf", 0.1, "white-box", None, {}, 0, arm, None)
    check = about_population(Fraction(1, 2), 1, range(2), sequential=True)
    verdict = judge(Floors(**{name: Fraction(value)}), evaluation, check)
    assert verdict.outcome == outcome
    assert relation in headline(verdict, evaluation)


def test_one_failure_among_very_many_has_a_bound(suite):
    """However sure one must be, a test in sequence ends in a verdict, and not in an error."""
    suite.conftest("""
        @pytest.fixture(scope="session")
        def very_many():
            inputs, labels = samples()
            inputs = inputs[[4, 9]].repeat(1500, 1) + 1e-5 * torch.arange(3000)[:, None]
            labels = labels[[4, 9]].repeat(1500)
            labels[7] = 1 - labels[7]
            return inputs, labels
    """)
    mark = 'min_clean_acc=0.9999, confidence=0.999999, sequential=True, data="very_many"'
    suite.tests(f"""
        @robust("fgsm", 0.001, {mark})
        def test_it():
            pass
    """)
    first = suite.failure(suite.run()).splitlines()[0]
    assert first.startswith("INCONCLUSIVE: clean accuracy of the population"), first


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"confidence": 95}, ("confidence=95", "did you mean 0.95?")),
        ({"confidence": 1}, ("confidence=1", "in (0, 1)")),
        ({"confidence": 0.05}, ("confidence=0.05", "at least 0.5", "did you mean 0.95?")),
        ({"confidence": 0.01}, ("wrong more often than right", "did you mean 0.99?")),
        ({"confidence": "high"}, ("confidence='high'", "in (0, 1)")),
        ({"sequential": True}, ("sequential=True", "confidence=0.95")),
        ({"sequential": 1, "confidence": 0.9}, ("sequential=1", "True or False")),
    ],
)
def test_what_can_not_be_meant(arguments, words):
    """Each is refused where the mark stands, with what would be right."""
    with pytest.raises(ContractError) as caught:
        robust("bim", 0.1, min_acc=0.9, **arguments)
    assert all(word in str(caught.value) for word in words)


def test_confidence_is_about_one_budget():
    """Budgets that vary would ask many questions at the price of one."""
    with pytest.raises(ContractError, match="state one number as eps"):
        robust("bim", epsilons(0.1, 0.2), min_acc=0.9, confidence=0.95)


def test_a_gain_has_no_sequential_test():
    """It compares two arms."""
    with pytest.raises(ContractError, match="can't test min_gain"):
        robust("bim", 0.1, min_gain=0.1, confidence=0.95, sequential=True)
