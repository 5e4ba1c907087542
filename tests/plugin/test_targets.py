"""Targets and the threat behind the filter, as a suite states them and a person reads them."""


def test_ids_name_rules_and_mappings(suite):
    """A rule and a mapping stand in the id in a form that a shell does not mangle."""
    suite.tests("""
        @robust("bim", 0.1, target="natural", min_acc=0.1)
        @robust("bim", 0.1, target={0: 1}, min_acc=0.1)
        @robust("bim", 0.1, threat="behind-filter", filter="identity", min_acc=0.1)
        def test_ids():
            pass
    """)
    assert suite.collected() == [
        "test_ids[bim-eps0.1-behind-filter-identity]",
        "test_ids[bim-eps0.1-target-0to1]",
        "test_ids[bim-eps0.1-target-natural]",
    ]


def test_a_failure_says_where_each_class_was_sent(suite):
    """Rule, hits and derived table are in the failure; the summary's row names the rule."""
    suite.tests("""
        @robust("bim", 0.1, target="natural", min_acc=0.9)
        def test_it():
            pass
    """)
    result = suite.run()
    text = suite.failure(result)
    assert "[BIM Linf eps=0.1, target natural, white-box, no filter]" in text
    assert "2 of 10 attacked samples beaten · 2 at their target" in text
    assert "targets 0→1 1→0" in text
    result.stdout.fnmatch_lines(["test_it*bim to natural *failed*"])


def test_hits_are_properties_of_the_case(suite):
    """JUnit's properties hold the target and the share of hits where there is a target."""
    suite.tests("""
        @robust("bim", 0.1, target="non-natural", max_target_hits=0.5)
        @robust("bim", 0.1, min_acc=0.1)
        def test_it():
            pass
    """)
    measured = suite.measured(suite.run())
    targeted = measured["test_it[bim-eps0.1-target-non-natural]"]
    assert targeted["target"] == "non-natural"
    assert targeted["target_hits_low"] == targeted["target_hits_high"] == 0.2
    assert "target" not in measured["test_it[bim-eps0.1]"]


def test_the_table_reaches_the_body(suite):
    """`robustness()` gives the derived table and the confusion matrices, also under xdist."""
    suite.tests("""
        @robust("bim", 0.1, target="natural", min_acc=0.5)
        def test_it(robustness):
            evaluation = robustness()
            assert evaluation.targets == (1, 0)
            assert evaluation.unfiltered.clean_confusion == ((0, 0, 5), (1, 1, 5))
            assert evaluation.unfiltered.confusion == ((0, 0, 4), (0, 1, 1), (1, 0, 1), (1, 1, 4))
    """)
    suite.run().assert_outcomes(passed=1)
    suite.run("-n", "1").assert_outcomes(passed=1)


def test_behind_the_filter_says_what_it_is(suite):
    """The summary notes once that this threat shows nothing of what is deployed."""
    suite.tests("""
        @robust("bim", [0.1, 0.2], threat="behind-filter", filter="identity", min_acc=0.1)
        def test_it():
            pass
    """)
    result = suite.run()
    result.assert_outcomes(passed=2)
    assert result.stdout.str().count("shows nothing of the pipeline") == 1


def test_behind_a_filter_that_a_fixture_leaves_out(suite):
    """Where the fixture gives no filter, the contract is an error that names the fixture."""
    suite.tests("""
        @robust("bim", 0.1, threat="behind-filter", min_acc=0.1)
        def test_it():
            pass
    """)
    assert "there is no filter: give one (fixture aerobust_filter)" in suite.failure(suite.run())
