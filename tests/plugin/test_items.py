"""Every case of a mark is a test item of its own, and behaves as pytest users expect."""

import pytest

TWO_BY_TWO = """
    @robust(["fgsm", "bim"], [0.02, 0.1], min_acc=0.9)
    def test_grid():
        pass
"""


def test_lists_multiply(suite):
    """Lists of attacks and budgets give one item for each pair, with a readable id."""
    suite.tests(TWO_BY_TWO)
    assert suite.collected() == [
        "test_grid[bim-eps0.02]",
        "test_grid[bim-eps0.1]",
        "test_grid[fgsm-eps0.02]",
        "test_grid[fgsm-eps0.1]",
    ]
    suite.run().assert_outcomes(passed=2, failed=2)


def test_items_come_in_the_order_of_the_file(suite):
    """Without a plugin that shuffles: marks from the top, attacks in their order, then budgets."""
    suite.tests("""
        @robust("bim", 0.1, min_acc=0.5)
        @robust(["pgd", "fgsm"], [0.2, 0.1], min_acc=0.5)
        def test_order():
            pass
    """)
    result = suite.plain_run("--collect-only", "-q")
    names = [line.split("::")[1] for line in result.outlines if "::" in line]
    cases = ("bim-eps0.1", "pgd-eps0.2", "pgd-eps0.1", "fgsm-eps0.2", "fgsm-eps0.1")
    assert names == [f"test_order[{case}]" for case in cases]


def test_stacked_marks_add_up(suite):
    """Two marks on one function are two contracts, each with its own verdict."""
    suite.tests("""
        @robust("fgsm", 0.1, min_acc=0.9)
        @robust("bim", 0.02, min_acc=0.9)
        def test_stacked():
            pass
    """)
    result = suite.run()
    result.assert_outcomes(passed=1, failed=1)
    verdicts = {name: row["verdict"] for name, row in suite.measured(result).items()}
    assert verdicts == {
        "test_stacked[fgsm-eps0.1]": "failed",
        "test_stacked[bim-eps0.02]": "passed",
    }


def test_a_mark_on_a_class_reaches_its_methods(suite):
    """Each method of a marked class carries the class's contract beside its own."""
    suite.tests("""
        @robust("bim", 0.02, min_acc=0.9)
        class TestClassifier:
            def test_one(self):
                pass

            @robust("fgsm", 0.1, min_acc=0.9)
            def test_two(self, robustness):
                assert robustness().norm == "linf"
    """)
    assert suite.collected() == [
        "TestClassifier::test_one[bim-eps0.02]",
        "TestClassifier::test_two[bim-eps0.02]",
        "TestClassifier::test_two[fgsm-eps0.1]",
    ]
    suite.run().assert_outcomes(passed=2, failed=1)


def test_marks_are_inherited_with_a_class(suite):
    """A subclass of a marked class states the base's contract and its own."""
    suite.tests("""
        @robust("bim", 0.02, min_acc=0.9)
        class Base:
            def test_it(self):
                pass

        @robust("fgsm", 0.02, min_acc=0.9)
        class TestBoth(Base):
            pass
    """)
    assert suite.collected() == [
        "TestBoth::test_it[bim-eps0.02]",
        "TestBoth::test_it[fgsm-eps0.02]",
    ]
    suite.run().assert_outcomes(passed=2)


def test_a_mark_on_a_module_reaches_its_functions(suite):
    """`pytestmark = robust(...)` marks all tests of a module, beside a function's own mark."""
    suite.tests("""
        pytestmark = robust("fgsm", 0.1, min_acc=0.9)

        def test_plain():
            pass

        @robust("bim", 0.02, min_acc=0.9)
        def test_own():
            pass
    """)
    assert suite.collected() == [
        "test_own[bim-eps0.02]",
        "test_own[fgsm-eps0.1]",
        "test_plain[fgsm-eps0.1]",
    ]
    suite.run().assert_outcomes(passed=1, failed=2)


def test_a_list_of_marks_on_a_module(suite):
    """`pytestmark` may be a list, with other marks among the contracts."""
    suite.tests("""
        pytestmark = [robust("fgsm", 0.02, min_acc=0.9), pytest.mark.xfail(run=True, strict=False)]

        def test_plain():
            pass
    """)
    suite.run().assert_outcomes(xpassed=1)


def test_marks_inside_lists_belong_to_their_cases(suite):
    """`pytest.param` with marks works in the list of budgets and in that of attacks."""
    suite.tests("""
        known = pytest.mark.xfail(raises=FloorBroken, strict=True)

        @robust("bim", [0.02, pytest.param(0.1, marks=known)], min_acc=0.9)
        def test_budgets():
            pass

        @robust(["bim", pytest.param("fgsm", marks=pytest.mark.skip)], 0.02, min_acc=0.9)
        def test_attacks():
            pass
    """)
    suite.run().assert_outcomes(passed=2, xfailed=1, skipped=1)


def test_marks_of_a_contract(suite):
    """`marks=` takes one mark or several, and they reach only that contract's items."""
    suite.tests("""
        known = pytest.mark.xfail(raises=FloorBroken, strict=True)

        @robust("bim", [0.1, 0.2], min_acc=0.9, marks=known)
        @robust("bim", 0.3, min_acc=0.9, marks=[known, pytest.mark.slow])
        @robust("bim", 0.02, min_acc=0.9)
        def test_marks():
            pass
    """)
    suite.write("pytest.ini", "[pytest]\nmarkers = slow: takes long\n")
    suite.run("--strict-markers").assert_outcomes(passed=1, xfailed=3)
    assert suite.collected("-m", "slow") == ["test_marks[bim-eps0.3]"]


def test_the_id_of_a_contract(suite):
    """`id=` names the item of a contract that gives only one."""
    suite.tests("""
        @robust("bim", 0.02, min_acc=0.9, id="grey level")
        def test_named():
            pass
    """)
    assert suite.collected() == ["test_named[grey level]"]


def test_one_id_for_many_items_is_refused(suite):
    """`id=` on lists of several cases is an error at collection that says what to do."""
    suite.tests("""
        @robust("bim", [0.02, 0.1], min_acc=0.9, id="both")
        def test_named():
            pass
    """)
    result = suite.run()
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*id='both' names one item, but the lists give 2*"])


def test_an_id_in_a_list_keeps_the_other_list_in_view(suite):
    """An id of one entry names that entry: the items still tell which attack they run."""
    suite.tests("""
        @robust(["fgsm", "bim"], [pytest.param(0.02, id="small")], min_acc=0.9)
        def test_named():
            pass
    """)
    names = suite.collected()
    assert all("small" in name for name in names)
    assert ["bim" in name for name in names] == [True, False]
    assert ["fgsm" in name for name in names] == [False, True]


def test_identical_contracts_have_ids_of_their_own(suite):
    """Contracts that differ in nothing but floors still give items with unique ids."""
    suite.tests("""
        @robust("bim", 0.1, min_acc=0.9)
        @robust("bim", 0.1, max_drop=0.5)
        @robust("bim", 0.1, min_acc=0.7)
        def test_floors():
            pass
    """)
    # Not what pytest would make of doubles, eps0.10 and eps0.11: that reads as other budgets.
    assert suite.collected() == [f"test_floors[bim-eps0.1-{n}]" for n in (1, 2, 3)]
    suite.run().assert_outcomes(passed=2, failed=1)


def test_an_id_says_what_is_not_by_default(suite):
    """Norm, threat, target, and fixtures of other names appear in the id."""
    suite.tests("""
        @robust("bim", 0.1, norm="l2", min_acc=0.1)
        @robust("bim", 0.1, target=1, min_acc=0.1)
        @robust("bim", 0.1, threat="gray-box", filter="identity", min_acc=0.1)
        @robust("bim", 0.1, model="saturated", data="many", filter=None, min_acc=0.1)
        @robust("bim", epsilons(0.02, 0.3), min_acc=0.1)
        def test_ids():
            pass
    """)
    assert suite.collected() == [
        "test_ids[bim-eps0.02..0.3]",
        "test_ids[bim-eps0.1-gray-box-identity]",
        "test_ids[bim-eps0.1-saturated-many-unfiltered]",
        "test_ids[bim-eps0.1-target1]",
        "test_ids[bim-l2-eps0.1]",
    ]


def test_a_mark_may_be_kept_and_used_again(suite):
    """A contract with a name of its own serves several tests, ready attacks among them."""
    suite.tests("""
        import foolbox

        hard = robust([foolbox.attacks.LinfPGD(steps=5), "bim"], 0.02, min_acc=0.9)

        @hard
        def test_one():
            pass

        @hard
        def test_two():
            pass
    """)
    result = suite.run()
    result.assert_outcomes(passed=4)
    assert suite.ids(result) == [
        "test_one[LinfProjectedGradientDescentAttack-eps0.02]",
        "test_one[bim-eps0.02]",
        "test_two[LinfProjectedGradientDescentAttack-eps0.02]",
        "test_two[bim-eps0.02]",
    ]


def test_the_users_parametrization_combines(suite):
    """`@pytest.mark.parametrize` multiplies with the contracts, and its values arrive."""
    suite.tests("""
        @pytest.mark.parametrize("word", ["a", "b"])
        @robust("bim", [0.02, 0.1], min_acc=0.9)
        def test_both(word, robustness):
            assert word in "ab"
            assert robustness().eps in (0.02, 0.1)
    """)
    assert len(suite.collected()) == 4
    suite.run().assert_outcomes(passed=2, failed=2)


def test_a_parametrized_fixture_of_the_user_combines(suite):
    """A test's own parametrized fixture multiplies with the contracts as well."""
    suite.tests("""
        @pytest.fixture(params=[1, 2], scope="module")
        def number(request):
            return request.param

        @robust("bim", [0.02, 0.1], min_acc=0.5)
        def test_both(number):
            assert number in (1, 2)
    """)
    assert len(suite.collected()) == 4
    suite.run().assert_outcomes(passed=4)


def test_a_test_named_by_its_node_id(suite):
    """A node id selects one case."""
    suite.tests(TWO_BY_TWO)
    result = suite.run("test_suite.py::test_grid[fgsm-eps0.1]")
    result.assert_outcomes(failed=1)
    assert suite.ids(result) == ["test_grid[fgsm-eps0.1]"]


def test_keywords_select_cases(suite):
    """`-k` sees the attack and the budget."""
    suite.tests(TWO_BY_TWO)
    result = suite.run("-k", "bim")
    result.assert_outcomes(passed=1, failed=1, deselected=2)
    assert suite.ids(result) == ["test_grid[bim-eps0.02]", "test_grid[bim-eps0.1]"]


def test_the_mark_selects_contracts(suite):
    """`-m robust` runs the contracts alone."""
    suite.tests(TWO_BY_TWO + "\n\n    def test_plain():\n        pass\n")
    suite.run("-m", "robust").assert_outcomes(passed=2, failed=2, deselected=1)


def test_last_failed_runs_the_failed_cases_alone(suite):
    """A second run with `--lf` runs exactly the contracts that failed."""
    suite.tests(TWO_BY_TWO)
    suite.run().assert_outcomes(passed=2, failed=2)
    result = suite.run("--lf")
    result.assert_outcomes(failed=2)
    assert suite.ids(result) == ["test_grid[bim-eps0.1]", "test_grid[fgsm-eps0.1]"]


def test_exit_first_stops(suite):
    """`-x` stops at the first broken contract."""
    suite.tests("""
        @robust("bim", [0.1, 0.2, 0.3], min_acc=0.9)
        def test_broken():
            pass
    """)
    result = suite.run("-x")
    result.assert_outcomes(failed=1)
    assert len(suite.measured(result)) == 1


def test_a_body_that_is_a_hypothesis_test(suite):
    """A body under `@given` runs for each of its examples, and then comes one check."""
    suite.tests("""
        import hypothesis
        from hypothesis import strategies as st

        seen = []

        @robust("bim", [0.02, 0.1], min_acc=0.9)
        @hypothesis.given(x=st.integers(0, 9))
        @hypothesis.settings(max_examples=5, database=None)
        def test_body(x):
            seen.append(x)

        def test_seen():
            assert len(seen) == 0 or len(seen) >= 5
    """)
    result = suite.run()
    result.assert_outcomes(passed=2, failed=1)
    assert suite.failure(result).startswith("robust accuracy 0.800")


def test_a_hypothesis_test_may_ask_for_fixtures(suite):
    """A `@given` body may use `robustness` and other fixtures of one test, as Hypothesis lets."""
    suite.tests("""
        import hypothesis
        from hypothesis import strategies as st

        shared = hypothesis.HealthCheck.function_scoped_fixture

        @robust("bim", [0.02, 0.1], min_acc=0.9)
        @hypothesis.given(x=st.integers(0, 9))
        @hypothesis.settings(max_examples=5, database=None, suppress_health_check=[shared])
        def test_body(robustness, tmp_path, x):
            assert tmp_path.is_dir()
            assert robustness().unfiltered.samples == 10
    """)
    result = suite.run()
    result.assert_outcomes(passed=1, failed=1)
    assert suite.failure(result).startswith("robust accuracy 0.800")


def test_a_contract_needs_no_leave_of_hypothesis(suite):
    """The contract's own fixture does not trip Hypothesis' check of function-scoped fixtures."""
    suite.tests("""
        import hypothesis
        from hypothesis import strategies as st

        @robust("bim", epsilons(0.01, 0.04, max_examples=2), min_acc=0.9)
        @hypothesis.given(st.integers(0, 9))
        @hypothesis.settings(max_examples=5, database=None)
        def test_body(x):
            pass
    """)
    suite.run().assert_outcomes(passed=1)


def test_a_falsified_body_is_reported(suite):
    """Where Hypothesis falsifies the body, that is the failure, not the contract."""
    suite.tests("""
        import hypothesis
        from hypothesis import strategies as st

        @robust("bim", 0.1, min_acc=0.9)
        @hypothesis.given(x=st.integers(0, 9))
        @hypothesis.settings(database=None)
        def test_body(x):
            assert x < 5
    """)
    result = suite.run()
    result.assert_outcomes(failed=1)
    assert "assert 5 < 5" in suite.failure(result)
    assert "robust accuracy" not in suite.failure(result)


def test_assertions_in_the_users_tests_are_rewritten(suite):
    """A failing assert in the body shows the values that it compared."""
    suite.tests("""
        @robust("bim", 0.1, min_acc=0.5)
        def test_body(robustness):
            assert robustness().unfiltered.accuracy > 0.95
    """)
    result = suite.run()
    result.assert_outcomes(failed=1)
    assert "assert 0.8 > 0.95" in suite.failure(result)


def test_a_coroutine_is_no_silent_pass(suite):
    """An async test that nothing awaits fails or skips as pytest does: it never passes."""
    suite.tests("""
        @robust("bim", 0.1, min_acc=0.9)
        async def test_async():
            pass
    """)
    assert "passed" not in suite.run().parseoutcomes()


@pytest.mark.parametrize("scope", ["function", "class", "module", "session"])
def test_the_users_fixtures_may_have_any_scope(suite, scope):
    """Model and data of every scope serve a contract."""
    suite.conftest(f"""
        @pytest.fixture(scope="{scope}")
        def aerobust_model():
            return Border()

        @pytest.fixture(scope="{scope}")
        def aerobust_data():
            return samples()
    """)
    suite.tests(TWO_BY_TWO)
    suite.run().assert_outcomes(passed=2, failed=2)
