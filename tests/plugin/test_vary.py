"""`vary=`: what Hypothesis varies beside the budget, in marks, failures and reports."""

import json

import pytest

from pytest_aerobust import ContractError, robust

STRATEGIES = "from hypothesis import strategies as st\n"


def failing(suite, mark, *options):
    """The failure of one contract, and its row of properties."""
    suite.tests(f"{STRATEGIES}\n\n@robust({mark})\ndef test_it():\n    pass\n")
    result = suite.run(*options)
    result.assert_outcomes(failed=1)
    (row,) = suite.measured(result).values()
    return suite.failure(result), row


def test_a_disturbance_alone_is_a_contract(suite):
    """The simplest severity that breaks the floor is named, with its unit."""
    text, row = failing(
        suite, 'vary={"brightness": st.integers(-30, 30).map(lambda k: k / 100)}, min_acc=0.75'
    )
    first, *rest = text.splitlines()
    # Brightness beats one of the two samples at each distance: three of ten from 0.25 on.
    assert first.startswith("robust accuracy 0.700 < min_acc 0.750  [brightness 0.26 added, no a")
    assert any("simplest failing draw: brightness 0.26 added" in line for line in rest)
    assert row["simplest_failing_draw"] == "brightness 0.26 added"
    assert row["clean_accuracy"] == 1.0
    assert row["disturbances"] == "brightness 0.26 added"


def test_a_disturbance_that_is_withstood(suite):
    """A pass names how many draws were looked at, and the weakest of them."""
    suite.tests(f"""
        {STRATEGIES}
        @robust(vary={{"brightness": st.floats(-0.1, 0.1)}}, min_acc=0.9)
        def test_it():
            pass
    """)
    result = suite.run("-rP")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(
        ["*of 10 samples are right*no attack*", "*held as stated and at * draws of brightness;*"]
    )
    (row,) = suite.measured(result).values()
    assert int(row["draws"]) >= 5


def test_an_attack_under_a_disturbance(suite):
    """Brightness moves the sample, and the attack moves it on from there."""
    text, _ = failing(
        suite,
        '"bim", 0.1, vary={"brightness": st.integers(0, 20).map(lambda k: k / 100)}, min_acc=0.75',
    )
    # Of one class three fall once both together reach 0.25, of the other none.
    assert "[brightness 0.16 added, BIM Linf eps=0.1, white-box" in text.splitlines()[0]


def test_steps_are_varied(suite):
    """A contract that needs three steps to break is shrunk to three."""
    text, row = failing(
        suite,
        '"bim", 0.3, vary={"steps": st.integers(1, 9)}, attack_args={"abs_stepsize": 0.1}, '
        "steps=1, min_acc=0.5",
    )
    assert "simplest failing draw: steps 3" in text
    assert "steps=3" in text
    assert row["simplest_failing_draw"] == "steps 3"


def test_targets_and_seeds_are_varied(suite):
    """Both reach the attack, and the conditions say so."""
    suite.conftest("""
        @pytest.fixture
        def shifted():
            return Border(shift=0.2)
    """)
    # The nearest sample of class 0 is 0.05 from the border, that of class 1 is 0.25 from it.
    text, _ = failing(
        suite,
        '"bim", 0.1, model="shifted", target=0, vary={"target": st.sampled_from([0, 1])}, '
        "max_target_hits=0.2",
    )
    assert "target 1" in text.splitlines()[0]
    assert "simplest failing draw: target 1" in text
    text, _ = failing(suite, '"pgd", 0.3, vary={"seed": st.just(11)}, min_acc=0.9')
    assert "it fails as it is stated, before Hypothesis varies seed" in text


def test_draws_are_those_of_the_seed(suite):
    """Two runs draw alike; another test, or another seed, draws otherwise."""
    suite.conftest("""
        import json

        found = {}

        def pytest_runtest_logreport(report):
            if hasattr(report, "aerobust"):
                found[report.nodeid] = report.aerobust["draws"]

        def pytest_unconfigure(config):
            (config.rootpath / "draws.json").write_text(json.dumps(found))
    """)
    suite.tests(f"""
        {STRATEGIES}
        @robust(vary={{"brightness": st.floats(-0.1, 0.1)}}, min_acc=0.5)
        def test_one():
            pass

        @robust(vary={{"brightness": st.floats(-0.1, 0.1)}}, min_acc=0.5)
        def test_two():
            pass
    """)

    def draws(*options):
        suite.run(*options).assert_outcomes(passed=2)
        return list(json.loads((suite.path / "draws.json").read_text()).values())

    first = draws()
    assert draws() == first
    assert draws("--aerobust-seed=3") != first
    assert first[0] != first[1]


def test_the_counterexample_is_stored_and_replayed(suite):
    """What was misread under the shrunk disturbance is kept, and misread again."""
    text, _ = failing(
        suite,
        'vary={"brightness": st.integers(-30, 30).map(lambda k: k / 100)}, min_acc=0.75',
        "--aerobust-examples=found",
    )
    assert "its worst cases are stored" in text
    (note,) = (suite.path / "found").glob("*.json")
    told = json.loads(note.read_text())
    assert "brightness 0.26 added" in told["headline"]
    assert len(told["examples"]) == 3
    result = suite.plain_run("--aerobust-replay=found")
    assert result.ret == 0
    result.stdout.fnmatch_lines(["*3 of 3 stored examples still fool the pipeline*"])


def test_a_body_that_uses_hypothesis_itself(suite):
    """Its own draws and settings are left alone, function-scoped fixtures work."""
    suite.tests(f"""
        from hypothesis import HealthCheck, given, settings
        {STRATEGIES}
        seen = []

        @pytest.fixture
        def fresh():
            return []

        @robust("fgsm", epsilons(0.01, 0.04), min_acc=0.9)
        @robust(vary={{"brightness": st.floats(-0.04, 0.04)}}, min_acc=0.9)
        @settings(max_examples=7, suppress_health_check=[HealthCheck.function_scoped_fixture])
        @given(number=st.integers(0, 1000))
        def test_it(fresh, number):
            fresh.append(number)
            seen.append(number)

        def test_after():
            assert len(seen) == 14
    """)
    suite.run().assert_outcomes(passed=3)


@pytest.mark.parametrize(
    ("mark", "words"),
    [
        ({"vary": {}}, "expected Hypothesis strategies by name"),
        ({"vary": {"rotate": None}}, "did you mean.*rotation"),
        ({"vary": {"rotation": 15}}, "expected a Hypothesis strategy"),
        ({"vary": "rotation"}, "expected Hypothesis strategies by name"),
        ({"attack": "bim", "vary": {"rotation": 15}, "eps": 0.1}, "expected a Hypothesis strategy"),
    ],
    ids=str,
)
def test_what_cant_be_varied(mark, words):
    """A mark that can't be meant is refused where it stands."""
    with pytest.raises(ContractError, match=words):
        robust(**mark, min_acc=0.5)


@pytest.mark.parametrize(
    ("mark", "words"),
    [
        (
            '"fgsm", 0.1, vary={"steps": st.integers(1, 3)}',
            "vary= states steps, but fgsm takes none",
        ),
        (
            '"deepfool", 0.1, vary={"target": st.just(1)}',
            "states a target, but deepfool takes none",
        ),
        ('"bim", epsilons(0.1, 0.2), vary={"seed": st.integers(0)}', "state one budget"),
        ('vary={"steps": st.integers(1, 3)}', "robust() needs attack"),
    ],
    ids=str,
)
def test_pairings_that_mean_nothing(suite, mark, words):
    """They fail at collection, in words."""
    suite.tests(f"{STRATEGIES}\n\n@robust({mark}, min_acc=0.5)\ndef test_it():\n    pass\n")
    result = suite.run()
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines([f"*{words}*".replace("[", "[[]")])


@pytest.mark.parametrize(
    ("strategy", "words"),
    [
        ('{"steps": st.just(0)}', "steps=0, expected a whole number of at least 1"),
        ('{"seed": st.text()}', "seed='"),
        ('{"blur": st.just(-1.0)}', "blur=-1.0: expected at least 0"),
        ('{"rotation": st.just(5.0)}', "rotation moves pixels"),
    ],
    ids=str,
)
def test_draws_that_cant_be_meant(suite, strategy, words):
    """A strategy that yields nonsense is an error that shows the draw, no broken floor."""
    suite.tests(f"""
        {STRATEGIES}
        @robust("bim", 0.01, vary={strategy}, min_acc=0.5)
        def test_it():
            pass
    """)
    result = suite.run()
    result.assert_outcomes(failed=1)
    assert words in suite.failure(result)
    assert "FloorBroken" not in result.stdout.str()
