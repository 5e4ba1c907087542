"""filter_gradient= and eot= in marks reach the measurement and its notes."""

FILTERS = """
    import numpy as np

    @pytest.fixture(scope="session")
    def aerobust_filter():
        return lambda x: (x * 20).round() / 20

    @pytest.fixture(scope="session")
    def noise():
        return lambda x: x + 0.01 * torch.randn_like(x)

    @pytest.fixture(scope="session")
    def arrays():
        return lambda x: np.clip(np.asarray(x), 0, 1).astype("f8")
"""


def test_filters_that_hide_their_gradients(suite):
    """The identity is chosen and said; asked for the exact gradient, a pass is inconclusive."""
    suite.conftest(
        FILTERS
        + """
    @pytest.fixture(scope="session")
    def aerobust_unfiltered_model():
        return Border(shift=0.01)  # of its own, so that the pipeline is searched by itself
    """
    )
    suite.tests("""
        @robust("bim", 0.2, min_acc=0.5)
        def test_chosen():
            pass

        @robust("bim", 0.2, min_acc=0.5, filter_gradient="exact")
        def test_exact():
            pass

        @robust("bim", 0.2, min_acc=0.5, filter="arrays")
        def test_arrays():
            pass
    """)
    result = suite.run("--aerobust-full")
    result.assert_outcomes(passed=2, failed=1)
    found = {name.split("[")[0]: run for name, run in suite.measured(result).items()}
    accuracies = {name: run["filtered_accuracy_low"] for name, run in found.items()}
    # What transfers from the model without the filter counts, also where gradients find nothing.
    assert accuracies == {"test_chosen": 0.6, "test_exact": 0.6, "test_arrays": 0.6}
    assert found["test_exact"]["verdict"] == "inconclusive"
    result.stdout.fnmatch_lines_random(
        ["*filter_gradient='identity', BPDA*", "*answers with NumPy*"]
    )


def test_a_filter_that_the_fixture_does_not_give(suite):
    """How gradients pass a filter is no question where the fixture gives None."""
    suite.tests("""
        @robust("bim", 0.2, min_acc=0.5, filter_gradient="identity")
        def test_it():
            pass
    """)
    result = suite.run()
    result.assert_outcomes(errors=1)
    assert "but the fixture aerobust_filter gives None" in suite.failure(result)


def test_random_filters_are_averaged(suite):
    """eot= judges a mean, and the note gives the range of single draws."""
    suite.conftest(FILTERS)
    suite.tests("""
        @robust("bim", 0.2, min_acc=0.5, filter="noise", eot=4)
        def test_it():
            pass
    """)
    result = suite.run("--aerobust-full")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["*the mean of 4 draws is judged (eot=4); single draws are right*"])
