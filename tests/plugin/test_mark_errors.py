"""A mark that can't be meant, or can't be carried, is an error: never a silent pass."""

from xml.etree import ElementTree

import pytest

# The checked function, and the bare mark that pytest gives.
SPELLINGS = ("robust", "pytest.mark.robust")


def _collection_error(suite, decorator, *options):
    """The output of a run that must stop at the collection of one decorated test."""
    suite.tests(f"""
        @{decorator}
        def test_it():
            pass
    """)
    result = suite.run(*options)
    result.assert_outcomes(errors=1)
    assert result.ret == pytest.ExitCode.INTERRUPTED
    return result.stdout.str()


def test_the_plain_mark_works_the_same(suite):
    """`@pytest.mark.robust(...)` gives the same items with the same verdicts as `@robust(...)`."""
    for spelling in SPELLINGS:
        suite.tests(f"""
            @{spelling}(["fgsm", "bim"], [0.02, pytest.param(0.1, marks=pytest.mark.xfail)],
                        min_acc=0.9)
            @{spelling}(attack="bim", eps=0.2, min_acc=0.9)
            def test_it():
                pass
        """)
        result = suite.run("--strict-markers")
        result.assert_outcomes(passed=2, xfailed=2, failed=1)
        assert suite.ids(result) == [
            "test_it[bim-eps0.02]",
            "test_it[bim-eps0.1]",
            "test_it[bim-eps0.2]",
            "test_it[fgsm-eps0.02]",
            "test_it[fgsm-eps0.1]",
        ]


def test_the_marker_is_registered(suite):
    """`--markers` tells about the mark, so `--strict-markers` accepts it."""
    suite.plain_run("--markers").stdout.fnmatch_lines(["@pytest.mark.robust(attack, eps,*"])


# Arguments that can't be meant, and what the error says of them ("*": anything).
REFUSED = (
    ("'bmi', 0.1, min_acc=0.9", "attack='bmi' is unknown: did you mean *bim*?"),
    ("'bim', 0.1, min_ac=0.9", "robust() has no argument 'min_ac': did you mean min_acc*?"),
    ("'bim', 0.1, min_acc=0.9, norm='linff'", "norm='linff' is unknown: did you mean linf*?"),
    ("'bim', 0.1, min_acc=0.9, norm='l0'", "attack='bim' has no norm 'l0'; it works in linf, "),
    (
        "'bim', 0.1, min_acc=0.9, threat='whitebox'",
        "threat='whitebox' is unknown: did you mean white-box*?",
    ),
    (
        "'bim', 0.1, min_acc=0.9, attack_args={'random_strat': True}",
        "bim takes no argument 'random_strat': did you mean random_start*?",
    ),
    ("'fgsm', 0.1, min_acc=0.9, steps=5", "fgsm takes no argument 'steps'"),
    ("'bim', 0.1, min_acc=0.9, steps=0", "bim: steps=0, expected a whole number of at least 1"),
    ("'bim', -0.1, min_acc=0.9", "eps=-0.1: a budget is a radius, at least 0"),
    ("'bim', '0.1', min_acc=0.9", "eps='0.1': expected a finite number of at least 0"),
    ("'bim', float('nan'), min_acc=0.9", "eps=nan: expected a finite number"),
    ("'bim', True, min_acc=0.9", "eps=True: expected a finite number"),
    ("'bim', [], min_acc=0.9", "eps=[] is empty: nothing would be tested"),
    ("[], 0.1, min_acc=0.9", "attack=[] is empty: nothing would be tested"),
    ("'bim', 0.1, min_acc=90", "min_acc=90 is outside [0, 1]; did you mean 0.9?"),
    ("'bim', 0.1, min_acc='high'", "min_acc='high': expected a number in [0, 1]"),
    (
        "'bim', 0.1, min_acc=0.9, model=object()",
        "model=<object *expected the name of a fixture",
    ),
    ("'bim', 0.1, min_acc=0.9, data=None", "data=None: expected the name of a fixture"),
    ("'bim', 0.1, min_acc=0.9, target=-1", "target=-1: expected a class"),
    ("'bim', 0.1, max_target_hits=0.1", "max_target_hits needs target="),
    ("'bim', 0.1, min_gain=0.1, filter=None", "min_gain compares *but filter=None"),
    ("'bim', 0.1, min_acc=0.9, bounds=(1, 0)", "bounds=(1, 0): expected the smaller *"),
    ("'bim', 0.1, min_acc=0.9, std=0", "std=0: expected numbers above 0"),
    ("'bim', 0.1, min_acc=0.9, samples=0", "samples=0: expected a whole number of at least 1"),
    ("'bim', 0.1, min_acc=0.9, seed=-1", "seed=-1: expected a whole number of at least 0"),
    ("'bim', 0.1, min_acc=0.9, threat='black-box'", "bim under threat='black-box' means noth*"),
    ("'SpatialAttack', 0.1, min_acc=0.9", "attack='SpatialAttack' can't hold a contract: *"),
    ("'bim', 0.1, max_regression=2", "max_regression=2 is outside *"),
    ("'bim', 0.1, min_acc=0.9, confidence=95", "confidence=95: expected a number *"),
)


@pytest.fixture(scope="module")
def refusals(tmp_path_factory, own_process):
    """What one run says of each wrong argument in each spelling, a file each."""
    folder = tmp_path_factory.mktemp("refused")
    (folder / "conftest.py").touch()
    for spelling in SPELLINGS:
        for number, (arguments, _) in enumerate(REFUSED):
            (folder / f"test_{spelling.replace('.', '_')}_{number}.py").write_text(
                "import pytest\nfrom pytest_aerobust import robust\n\n\n"
                f"@{spelling}({arguments})\ndef test_it():\n    pass\n"
            )
    run = own_process(folder, "--aerobust", "--junit-xml=junit.xml")
    assert run.returncode == pytest.ExitCode.INTERRUPTED
    cases = ElementTree.parse(folder / "junit.xml").iter("testcase")
    return {case.attrib["name"]: "".join(case.find("error").itertext()) for case in cases}


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize("number", range(len(REFUSED)), ids=[row[0] for row in REFUSED])
def test_what_cant_be_meant_is_refused(refusals, number, spelling):
    """A wrong argument stops at collection, in either spelling, with what was expected."""
    text = refusals[f"test_{spelling.replace('.', '_')}_{number}"]
    assert all(part in text for part in REFUSED[number][1].split("*")), text


def test_a_misspelt_attack_names_attacks_that_exist(suite):
    """Names that an error proposes are accepted when they are pasted."""
    text = _collection_error(suite, "robust('L2DeepFolAttack', 0.1, min_acc=0.9)")
    assert "did you mean" in text
    assert "L2DeepFoolAttack" in text
    suite.tests("""
        @robust("L2DeepFoolAttack", 0.01, min_acc=0.9)
        def test_it():
            pass
    """)
    suite.run().assert_outcomes(passed=1)


@pytest.mark.parametrize(
    ("mark", "words"),
    [
        ("pytest.mark.robust", "robust() needs attack, as in robust(attack='bim'"),
        ("pytest.mark.robust()", "robust() needs attack, as in robust(attack='bim'"),
        ("pytest.mark.robust('bim')", "robust() needs eps, as in robust(attack='bim'"),
        ("pytest.mark.robust('bim', 0.1, 0.9)", "takes attack and eps by position, but 3 came"),
        ("robust", "robust() needs eps, as in robust(attack='bim'"),
        ("robust('bim', 0.1, 0.9)", "takes from 0 to 2 positional arguments but 3 were given"),
    ],
)
def test_an_incomplete_mark_is_refused(suite, mark, words):
    """A mark without attack or budget, or without parentheses, is an error at collection."""
    assert words in _collection_error(suite, mark)


def test_an_error_of_a_plain_mark_names_the_test(suite):
    """An error that is found in the mark alone says which test carries it."""
    text = _collection_error(suite, "pytest.mark.robust('bmi', 0.1, min_acc=0.9)")
    assert "test_suite.py::test_it: attack='bmi' is unknown" in text


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_the_short_summary_keeps_the_reason(suite, spelling):
    """The summary line of a collection error names what is wrong, in either spelling."""
    suite.tests(f"""
        @{spelling}("bmi", 0.1, min_acc=0.9)
        def test_it():
            pass
    """)
    suite.run().stdout.fnmatch_lines(["ERROR test_suite.py* - *attack='bmi' is unknown*"])


def test_an_error_at_collection_shows_the_users_line_alone(suite):
    """A wrong argument of `robust` points at the user's line, without frames of ours."""
    text = _collection_error(suite, "robust('bmi', 0.1, min_acc=0.9)")
    assert "@robust('bmi', 0.1, min_acc=0.9)" in text
    assert "pytest_aerobust/" not in text.replace("\\", "/")


def test_one_wrong_mark_stops_even_an_unrelated_run(suite):
    """Without --aerobust a wrong mark is an error as well: it would never run."""
    suite.tests("""
        @pytest.mark.robust("bmi", 0.1, min_acc=0.9)
        def test_it():
            pass
    """)
    suite.plain_run().assert_outcomes(errors=1)


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_a_contract_without_a_floor_is_refused(suite, spelling):
    """A contract that could only pass is an error at collection that lists the floors."""
    text = _collection_error(suite, f"{spelling}('bim', 0.1)")
    assert "bim-eps0.1: the contract has no floor, so it could only pass" in text
    for floor in ("min_acc", "max_drop", "min_gain", "max_target_hits", "min_clean_acc"):
        assert floor in text


UNITTEST = {
    "method": """
        import unittest

        class TestIt(unittest.TestCase):
            @robust("bim", 0.1, min_acc=0.9)
            def test_it(self):
                pass
    """,
    "class": """
        import unittest

        @robust("bim", 0.1, min_acc=0.9)
        class TestIt(unittest.TestCase):
            def test_it(self):
                pass
    """,
    "module": """
        import unittest

        pytestmark = robust("bim", 0.1, min_acc=0.9)

        class TestIt(unittest.TestCase):
            def test_it(self):
                pass
    """,
}


@pytest.mark.parametrize("option", ["--aerobust", "--no-aerobust"])
@pytest.mark.parametrize("place", UNITTEST)
def test_a_unittest_method_never_passes(suite, place, option):
    """A unittest.TestCase can't carry a contract: with the switch on the method fails and says so.

    Off, it may be skipped like any contract, but must not pass either.
    """
    suite.tests(UNITTEST[place])
    result = suite.plain_run(option)
    assert "passed" not in result.parseoutcomes()
    if option == "--aerobust":
        assert result.ret not in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED)
        text = result.stdout.str() + result.stderr.str()
        assert "test_suite.py::TestIt::test_it" in text
        assert "@robust works on test functions and on methods of plain classes" in text


def test_a_mark_added_after_collection_is_an_error(suite):
    """A hook that adds the mark to an item comes too late: an error, not a silent pass."""
    suite.conftest("""
        from pytest_aerobust import robust

        def pytest_collection_modifyitems(items):
            for item in items:
                item.add_marker(robust("bim", 0.1, min_acc=0.9))
    """)
    suite.tests("""
        def test_it():
            pass
    """)
    result = suite.run()
    assert result.ret != pytest.ExitCode.OK
    assert "passed" not in result.parseoutcomes()


@pytest.mark.parametrize("place", ["fixture", "body"])
@pytest.mark.parametrize("own", ["", '@robust("bim", 0.02, min_acc=0.9)'], ids=["alone", "second"])
def test_a_mark_added_while_a_test_runs_is_an_error(suite, place, own):
    """A mark applied by a fixture or a body is too late: the test must not pass unchecked."""
    late = 'request.applymarker(robust("bim", 0.1, min_acc=0.9))'
    suite.tests(f"""
        @pytest.fixture
        def around(request):
            {late if place == "fixture" else "pass"}

        {own}
        def test_it(around, request):
            {late if place == "body" else "pass"}

        @robust("bim", 0.02, min_acc=0.9)
        def test_other():
            pass
    """)
    suite.run().assert_outcomes(passed=1, failed=1)


SECOND_CONTRACT = {
    "hook": """
        @robust("bim", 0.02, min_acc=0.9)
        def test_it():
            pass
    """,
    "param": """
        @pytest.mark.parametrize("x", [pytest.param(2, marks=robust("bim", 0.1, min_acc=0.9))])
        @robust("bim", 0.02, min_acc=0.9)
        def test_it(x):
            pass
    """,
}


@pytest.mark.parametrize("place", SECOND_CONTRACT)
def test_a_second_contract_that_nobody_checks_is_an_error(suite, place):
    """A broken contract beside one that holds is checked or refused, wherever it was added."""
    if place == "hook":
        suite.conftest("""
            from pytest_aerobust import robust

            def pytest_collection_modifyitems(items):
                items[0].add_marker(robust("bim", 0.1, min_acc=0.9))
        """)
    suite.tests(SECOND_CONTRACT[place])
    assert suite.run().ret != pytest.ExitCode.OK


def test_a_contract_on_one_case_of_a_parametrization_is_checked(suite):
    """`pytest.param(..., marks=robust(...))` holds its case to the contract, or says it can't."""
    suite.tests("""
        @pytest.mark.parametrize(
            "x", [1, pytest.param(2, marks=robust("bim", 0.1, min_acc=0.9))], ids=["free", "held"]
        )
        def test_it(x):
            pass
    """)
    result = suite.run()
    result.assert_outcomes(passed=1, failed=1)
    text = suite.failure(result)
    assert text.startswith("robust accuracy 0.800") or "pytest.param" in text
    assert "unittest" not in text


def test_doctests_in_a_marked_module_are_left_alone(suite):
    """A module's mark is for its tests: a doctest beside them runs as ever."""
    suite.tests('''
        pytestmark = robust("bim", 0.02, min_acc=0.9)

        def double(x):
            """Twice a number.

            >>> double(2)
            4
            """
            return 2 * x

        def test_it():
            pass
    ''')
    suite.run("--doctest-modules").assert_outcomes(passed=2)


def test_a_fixture_cant_carry_a_contract(suite):
    """A mark on a fixture is refused."""
    suite.tests("""
        @robust("bim", 0.02, min_acc=0.9)
        @pytest.fixture
        def thing():
            pass

        def test_it(thing):
            pass
    """)
    suite.run().assert_outcomes(errors=1)


@pytest.mark.parametrize(
    ("contract", "words"),
    [
        ("'bim', 0.1, min_gain=0.1", "min_gain compares*fixture aerobust_filter gives None"),
        ("'bim', 0.1, min_acc=0.5, threat='gray-box'", "threat='gray-box' is an attacker who*"),
        ("'bim', 0.1, min_acc=0.5, target=2", "target=2, but the model has 2 classes*"),
        ("'bim', 0.1, min_acc=0.5, data='grey'", "inputs span *0.95*, bounds are (0, 0.5)*"),
        ("'bim', 0.1, min_acc=0.5, model='text'", "model is a builtins.str: expected a torch.nn*"),
    ],
)
def test_what_only_the_run_can_know_is_an_error_too(suite, contract, words):
    """What contradicts the fixtures is told in the test that meets it, and nothing passes."""
    suite.conftest("""
        @pytest.fixture
        def text():
            return "a path, not a model"

        @pytest.fixture
        def grey():
            return samples()
    """)
    bounds = ", bounds=(0, 0.5)" if "grey" in contract else ""
    suite.tests(f"""
        @robust({contract}{bounds})
        def test_it():
            pass
    """)
    result = suite.run()
    assert "passed" not in result.parseoutcomes()
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines([f"*{words}"])
