"""The baseline compares like with like: what makes a measurement another one makes it stale."""

import json

import pytest

BASELINE = "aerobust-baseline.json"
# Of 40 samples those within 0.2 of the border fall; whatever freezes features lets them stand.
DATA = """
    import os, foolbox

    @pytest.fixture(scope="session")
    def aerobust_data():
        near = torch.tensor([0.05, 0.15, 0.25, 0.35]).repeat(5)
        distances = torch.cat([-near, torch.full_like(near, 0.4)])
        return 0.5 + distances[:, None].expand(-1, 4), (distances > 0).long()
"""
GUARD = """
    import foolbox, torch

    @robust("bim", eps=0.2, max_regression=0.02, id="it")
    def test_guard():
        pass
"""
MASK = """
    @pytest.fixture(scope="session")
    def aerobust_mutable():
        return torch.tensor([True, True, False, False])
"""
BOUNDS = """
    @pytest.fixture(scope="session")
    def aerobust_bounds():
        return {}
"""
FILTER = """
    @pytest.fixture(scope="session")
    def aerobust_filter():
        return nn.Identity()
"""
BARE = """
    @pytest.fixture(scope="session")
    def aerobust_unfiltered_model():
        return Border(shift=0.01)
"""


@pytest.fixture
def guarded(suite):
    """One contract with its baseline to come."""
    suite.conftest(DATA)
    suite.tests(GUARD)
    return suite


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        ("", MASK, "mutable was all features and is 2 of 4 features, digest "),
        (MASK, "", " and is all features"),
        (MASK, MASK.replace("True, False", "False, True"), "mutable was 2 of 4 features, digest "),
        ("", BOUNDS.format("(0.0, 2.0)"), "bounds was (0.0, 1.0) and is (0.0, 2.0)"),
        (BOUNDS.format("(-1, 1)"), "", "bounds was (-1.0, 1.0) and is (0.0, 1.0)"),
        ("", BOUNDS.format("([0.0] * 4, [1.0, 1.0, 1.0, 2.0])"), "bounds was (0.0, 1.0) and is (("),
        ("", FILTER, "filter was none and is on"),
        (FILTER, FILTER + BARE, "unfiltered model was the model and is one of its own"),
    ],
)
@pytest.mark.parametrize("options", [(), ("--aerobust-strict",)])
def test_what_fixtures_change_is_stale(guarded, before, after, words, options):
    """Fixtures are as much a part of the measurement as what the mark says."""
    guarded.conftest(DATA + before)
    guarded.run("--aerobust-update").assert_outcomes(passed=1)
    guarded.run("--aerobust-strict").assert_outcomes(passed=1)
    guarded.conftest(DATA + after)
    result = guarded.run(*options)
    result.assert_outcomes(failed=1)
    text = guarded.failure(result)
    assert "stale, the contract changed: " in text
    assert words in text
    assert text.startswith("INCONCLUSIVE") == (not options)


def test_frozen_features_hide_no_regression(guarded):
    """A worse model behind a mask that freezes what it lost is no pass."""
    guarded.run("--aerobust-update").assert_outcomes(passed=1)
    worse = "\n    @pytest.fixture(scope='session')\n    def aerobust_model():\n        "
    worse += "return Border(shift=0.06)\n"
    guarded.conftest(DATA + worse)
    assert "> max_regression 0.020" in guarded.failure(guarded.run())
    guarded.conftest(DATA + worse + MASK)
    guarded.run().assert_outcomes(failed=1)
    guarded.run("--aerobust-strict").assert_outcomes(failed=1)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", MASK.replace("False", "True")),
        ("", BOUNDS.format("(0, 1)")),
        ("", BOUNDS.format("(torch.zeros(4), torch.ones(4))")),
        (MASK, MASK.replace("[True, True, False, False]", "[[True, True, False, False]][0]")),
        ("", BARE),  # without a filter it has no part
    ],
)
def test_the_same_in_other_words_is_the_same(guarded, before, after):
    """A mask that freezes nothing and the default bounds written out change no measurement."""
    guarded.conftest(DATA + before)
    guarded.run("--aerobust-update").assert_outcomes(passed=1)
    guarded.conftest(DATA + after)
    guarded.run("--aerobust-strict").assert_outcomes(passed=1)


def test_bounds_are_the_same_from_mark_and_fixture(guarded):
    """Where they were stated is nothing that was measured."""
    guarded.conftest(DATA + BOUNDS.format("(-1, 1)"))
    guarded.run("--aerobust-update").assert_outcomes(passed=1)
    guarded.conftest(DATA)
    guarded.tests(GUARD.replace("max_", "bounds=(-1, 1), max_"))
    guarded.run("--aerobust-strict").assert_outcomes(passed=1)


def test_entries_of_earlier_versions_are_compared(guarded):
    """They name bounds and masks only where a mark stated them; those by default still fit."""
    guarded.run("--aerobust-update").assert_outcomes(passed=1)
    path = guarded.path / BASELINE
    (entry,) = json.loads(path.read_text())["contracts"].values()
    assert entry["contract"].keys() == {
        "attack", "eps", "filter", "norm", "random_start", "rel_stepsize", "seed", "steps",
        "strength", "threat",
    }  # fmt: skip
    plain = json.loads(path.read_text())
    plain["contracts"]["test_suite.py::test_guard[it]"]["contract"]["bounds"] = "(0.0, 1.0)"
    path.write_text(json.dumps(plain))
    guarded.run("--aerobust-strict").assert_outcomes(passed=1)


# Five classes along a line; nearest centre wins.
FIVE = """
    CENTRES = torch.linspace(0.1, 0.9, 5)

    @pytest.fixture(scope="session")
    def five():
        model = nn.Linear(4, 5)
        with torch.no_grad():
            model.weight.copy_(50 * CENTRES[:, None].expand(-1, 4))
            model.bias.copy_(-100 * CENTRES**2)
        return model

    @pytest.fixture(scope="session")
    def fives():
        return CENTRES.repeat(4)[:, None].expand(-1, 4), torch.arange(5).repeat(4)
"""


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        (
            '"boundary", attack_args={"steps": 20, "init_attack": foolbox.attacks.'
            'LinearSearchBlendedUniformNoiseAttack(directions=20)}',
            '"boundary", attack_args={"steps": 20, "init_attack": foolbox.attacks.'
            'LinearSearchBlendedUniformNoiseAttack(directions=30)}',
            "init_attack was LinearSearchBlendedUniformNoiseAttack(",
        ),
        ("Mine(1)", "Mine(2)", "private settings was {'_depth': 1} and is {'_depth': 2}"),
        (
            '"bim", model="five", data="fives", target={0: 1, 1: 2, 2: 3, 3: 4}',
            '"bim", model="five", data="fives", target={0: 1, 1: 2, 2: 3, 3: 0}',
            "target was 0→1 1→2 2→3 3→4 and is 0→1 1→2 2→3 3→0",
        ),
    ],
)  # fmt: skip
def test_what_the_attack_is_made_of_is_told(guarded, before, after, words):
    """Attacks within attacks, what an instance keeps to itself, the end of a long mapping."""
    head = GUARD.replace('"bim"', "{}").replace(
        "\n    @robust",
        """
    class Mine(foolbox.attacks.LinfBasicIterativeAttack):
        def __init__(self, depth):
            super().__init__(steps=3)
            self._depth = depth

    @robust""",
    )
    guarded.conftest(DATA + FIVE)
    guarded.tests(head.replace("{}", before))
    guarded.run("--aerobust-update").assert_outcomes(passed=1)
    guarded.run("--aerobust-strict", "--aerobust-no-cache").assert_outcomes(passed=1)
    guarded.tests(head.replace("{}", after))
    text = guarded.failure(guarded.run("--aerobust-strict"))
    assert words in text
