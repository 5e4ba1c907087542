"""The fixtures that give model, data and filter: missing, named, parametrized, overridden."""

import pytest

CONTRACT = """
    @robust("bim", 0.1, min_acc=0.5)
    def test_it():
        pass
"""


@pytest.mark.parametrize(
    ("missing", "given"),
    [
        ("aerobust_model", "aerobust_data"),
        ("aerobust_data", "aerobust_model"),
    ],
)
def test_a_missing_fixture_comes_with_a_snippet(suite, missing, given):
    """Without a model or data the error holds a fixture to paste, and pasted it is defined."""
    suite.conftest("", base="import pytest\n")
    suite.conftest(
        f"""
        @pytest.fixture(scope="session")
        def {given}():
            return torch.tensor([[0.1], [0.9]]), torch.tensor([0, 1])
        """
        if given == "aerobust_data"
        else f"""
        @pytest.fixture(scope="session")
        def {given}():
            return torch.nn.Linear(1, 2)
        """,
        base="import pytest\nimport torch\n",
    )
    suite.tests(CONTRACT)
    result = suite.run()
    result.assert_outcomes(errors=1)
    text = suite.failure(result)
    assert f"the fixture {missing} is not defined. Paste this into conftest.py" in text
    snippet = "\n".join(line.removeprefix("    ") for line in text.splitlines()[2:])
    body = "load_my_classifier()" if missing == "aerobust_model" else "inputs, labels"
    assert snippet.startswith(f'@pytest.fixture(scope="session")\ndef {missing}():')
    assert f"return {body}" in snippet
    compile(snippet.split("=====")[0], "snippet", "exec")


def test_a_named_fixture_that_does_not_exist(suite):
    """A name that no fixture has is an error that shows the name and the known ones."""
    suite.tests("""
        @robust("bim", 0.1, min_acc=0.5, model="my_modle")
        def test_it():
            pass
    """)
    result = suite.run()
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*fixture 'my_modle' not found*"])


def test_other_fixtures_by_name(suite):
    """`model=`, `data=` and `filter=` in a mark take other fixtures than the default ones."""
    suite.conftest("""
        @pytest.fixture
        def near_model():
            return Border(shift=0.1)

        @pytest.fixture
        def far_data():
            inputs, labels = samples()
            far = (inputs[:, 0] - 0.5).abs() > 0.2
            return inputs[far], labels[far]

        @pytest.fixture
        def back_filter():
            return lambda x: x - 0.1
    """)
    suite.tests("""
        @robust("bim", 0.1, min_acc=0.1)
        def test_default(robustness):
            assert robustness().unfiltered.outcomes == "bssssbssss"
            assert robustness().filtered is None

        @robust("bim", 0.1, min_acc=0.1, model="near_model")
        def test_model(robustness):
            assert robustness().unfiltered.outcomes == "-bssssssss"

        @robust("bim", 0.2, min_acc=0.1, data="far_data")
        def test_data(robustness):
            assert robustness().unfiltered.outcomes == "ssssss"

        @robust("bim", 0.1, min_acc=0.1, model="near_model", filter="back_filter")
        def test_filter(robustness):
            assert robustness().unfiltered.outcomes == "-bssssssss"
            assert robustness().filtered.outcomes == "bssssbssss"
    """)
    suite.run().assert_outcomes(passed=4)


def test_no_filter_on_request(suite):
    """`filter=None` tests the bare model although the suite has a filter."""
    suite.conftest("""
        @pytest.fixture
        def aerobust_filter():
            return lambda x: 0 * x
    """)
    suite.tests("""
        @robust("bim", 0.1, min_acc=0.7, filter=None)
        def test_bare(robustness):
            assert robustness().filtered is None

        @robust("bim", 0.1, min_acc=0.7)
        def test_filtered():
            pass
    """)
    result = suite.run()
    assert result.parseoutcomes()["passed"] == 1
    assert "test_bare" not in suite.failure(result)


def test_the_fixture_of_the_filter_is_not_built_where_it_is_not_used(suite):
    """`filter=None` builds no filter."""
    suite.conftest("""
        @pytest.fixture
        def aerobust_filter():
            raise RuntimeError("built")
    """)
    suite.tests("""
        @robust("bim", 0.1, min_acc=0.7, filter=None)
        def test_bare():
            pass
    """)
    suite.run().assert_outcomes(passed=1)


@pytest.mark.parametrize("name", ["aerobust_model", "my_model"])
def test_a_parametrized_model_multiplies(suite, name):
    """A model fixture with `params` gives an item for each model and contract."""
    suite.conftest(f"""
        @pytest.fixture(scope="session", params=[0.0, 0.1], ids=["straight", "shifted"])
        def {name}(request):
            return Border(shift=request.param)
    """)
    suite.tests(f"""
        @robust("bim", [0.02, 0.07], min_acc=0.9, model="{name}")
        def test_it():
            pass
    """)
    assert len(suite.collected()) == 4
    assert len(suite.collected("-k", "shifted")) == 2
    result = suite.run()
    # straight: 1.0 and 0.8; shifted by 0.1, one sample at 0.05 is wrong and another is beaten
    # from 0.05 on: 0.9 and 0.8.
    result.assert_outcomes(passed=2, failed=2)
    verdicts = {
        (name, row["verdict"]): row["clean_accuracy"]
        for name, row in suite.measured(result).items()
    }
    assert sorted(verdicts.values()) == [0.9, 0.9, 1.0, 1.0]


def test_parametrized_data_and_filter_multiply(suite):
    """Data and filter with `params` multiply as the model does."""
    suite.conftest("""
        @pytest.fixture(params=[1, 2])
        def aerobust_data(request):
            return samples(request.param)

        @pytest.fixture(params=["plain", "twice"])
        def aerobust_filter(request):
            return torch.nn.Identity()
    """)
    suite.tests(CONTRACT)
    result = suite.run()
    result.assert_outcomes(passed=4)
    sizes = sorted(row["samples"] for row in suite.measured(result).values())
    assert sizes == [10, 10, 20, 20]


def test_the_test_may_ask_for_the_parametrized_model_itself(suite):
    """A body that asks for the parametrized model gets the one that is measured."""
    suite.conftest("""
        @pytest.fixture(params=[0.0, 0.1])
        def aerobust_model(request):
            return Border(shift=request.param)
    """)
    suite.tests("""
        @robust("bim", 0.02, min_acc=0.9)
        def test_it(aerobust_model, robustness):
            right = {0.0: 10, 0.1: 9}[aerobust_model.shift]
            assert robustness().unfiltered.correct == right
    """)
    suite.run().assert_outcomes(passed=2)


def test_a_parametrized_fixture_behind_the_model(suite):
    """A model built from a parametrized fixture multiplies too, as in any pytest suite."""
    suite.conftest("""
        @pytest.fixture(params=[0.0, 0.1])
        def shift(request):
            return request.param

        @pytest.fixture
        def aerobust_model(shift):
            return Border(shift=shift)
    """)
    suite.tests(CONTRACT)
    suite.run().assert_outcomes(passed=2)


def test_a_parametrized_fixture_behind_an_overridden_model(suite):
    """A module that builds on the conftest's model is multiplied by what that one asks for."""
    suite.conftest("""
        @pytest.fixture(params=[0.0, 0.1])
        def shift(request):
            return request.param

        @pytest.fixture
        def aerobust_model(shift):
            return Border(shift=shift)
    """)
    suite.tests("""
        @pytest.fixture
        def aerobust_model(aerobust_model):
            return aerobust_model

        @robust("bim", 0.02, min_acc=0.9)
        def test_it():
            pass
    """)
    suite.run().assert_outcomes(passed=2)


def test_a_parametrized_model_may_be_overridden(suite):
    """A module's own model without `params` replaces a parametrized one: one item is left."""
    suite.conftest("""
        @pytest.fixture(params=[0.0, 0.1])
        def aerobust_model(request):
            return Border(shift=request.param)
    """)
    suite.tests("""
        @pytest.fixture
        def aerobust_model():
            from conftest import Border

            return Border()

        @robust("bim", 0.02, min_acc=1)
        def test_it():
            pass
    """)
    suite.run().assert_outcomes(passed=1)


def test_only_the_fixtures_of_its_own_contract_are_built(suite):
    """Of two contracts on one test with models of their own, each item builds one of them."""
    suite.conftest("""
        @pytest.fixture
        def near(request):
            return Border()

        @pytest.fixture
        def far(request):
            raise RuntimeError("built")
    """)
    suite.tests("""
        @robust("bim", 0.02, min_acc=0.9, model="near")
        @robust("bim", 0.02, min_acc=0.9, model="far")
        def test_it():
            pass
    """)
    result = suite.run()
    result.assert_outcomes(passed=1, errors=1)
    assert suite.ids(result) == ["test_it[bim-eps0.02-near]"]


INDIRECT = """
    @pytest.mark.parametrize("aerobust_model", [0.0, 0.1], indirect=True)
    @robust("bim", 0.02, min_acc=0.9)
    def test_it({argument}):
        pass
"""


def test_a_model_parametrized_from_the_test(suite):
    """`parametrize("aerobust_model", ..., indirect=True)` reaches the contract's model."""
    suite.conftest("""
        @pytest.fixture
        def aerobust_model(request):
            return Border(shift=request.param)
    """)
    suite.tests(INDIRECT.format(argument="aerobust_model"))
    result = suite.run()
    result.assert_outcomes(passed=2)
    clean = sorted(row["clean_accuracy"] for row in suite.measured(result).values())
    assert clean == [0.9, 1.0]


def test_a_model_parametrized_from_a_test_that_does_not_ask_for_it(suite):
    """The same without the argument: the contract uses the fixture, so the test does."""
    suite.conftest("""
        @pytest.fixture
        def aerobust_model(request):
            return Border(shift=request.param)
    """)
    suite.tests(INDIRECT.format(argument=""))
    suite.run().assert_outcomes(passed=2)


@pytest.mark.parametrize("name", ["aerobust_bounds", "aerobust_unfiltered_model"])
def test_the_other_fixtures_may_be_parametrized_too(suite, name):
    """Bounds, and a bare arm's own model, with `params` multiply as the rest does."""
    value = "(0, request.param)" if name == "aerobust_bounds" else "Border(scale=request.param)"
    suite.conftest(f"""
        @pytest.fixture(params=[1.0, 2.0])
        def {name}(request):
            return {value}
    """)
    suite.tests(CONTRACT)
    suite.run().assert_outcomes(passed=2)


def test_the_bare_arm_may_have_a_model_of_its_own(suite):
    """`aerobust_unfiltered_model` is what the unfiltered arm attacks and judges."""
    suite.conftest("""
        @pytest.fixture
        def aerobust_unfiltered_model():
            return Border(shift=0.1)
    """)
    suite.tests("""
        @robust("bim", 0.1, min_gain=-0.1, filter="identity")
        def test_it(robustness):
            assert robustness().unfiltered.outcomes == "-bssssssss"
            assert robustness().filtered.outcomes == "bssssbssss"
    """)
    suite.run().assert_outcomes(passed=1)


def test_bounds_of_the_fixture(suite):
    """`aerobust_bounds` states the units: eps of 25.5 on data in (0, 255) is 0.1 in (0, 1)."""
    suite.conftest("""
        @pytest.fixture
        def aerobust_bounds():
            return (0, 255)

        @pytest.fixture
        def aerobust_data():
            inputs, labels = samples()
            return inputs * 255, labels

        @pytest.fixture
        def aerobust_model():
            return torch.nn.Sequential(Scaled(), Border())

        class Scaled(nn.Module):
            def forward(self, x):
                return x / 255
    """)
    suite.tests("""
        @robust("bim", 25.5, min_acc=0.5)
        def test_it(robustness):
            assert robustness().unfiltered.outcomes == "bssssbssss"
    """)
    suite.run().assert_outcomes(passed=1)


def test_bounds_of_the_mark_win(suite):
    """`bounds=` in a mark wins over the fixture: the attack stops at these bounds."""
    suite.conftest("""
        @pytest.fixture
        def aerobust_bounds():
            return (0, 0.5)
    """)
    suite.tests("""
        @robust("bim", 0.1, min_acc=0.5, bounds=(0, 1))
        def test_mark():
            pass

        @robust("bim", 0.1, min_acc=0.5)
        def test_fixture():
            pass
    """)
    result = suite.run()
    assert result.parseoutcomes()["passed"] == 1
    assert "DataError: inputs span [0.05, 0.95], bounds are (0, 0.5)" in suite.failure(result)


@pytest.mark.parametrize("statistics", ["mean=0.5, std=0.25", "mean=[0.5], std=[0.25]"])
def test_normalisation_stands_in_front_of_the_model(suite, statistics):
    """`mean=` and `std=` let eps stay in the units of the data."""
    suite.conftest("""
        @pytest.fixture
        def aerobust_model():
            # Its border is at 0.8 of what it sees: at 0.5 + 0.25 * 0.8 = 0.7 of the data.
            return nn.Sequential(nn.Flatten(), Border(shift=-0.3))

        @pytest.fixture
        def aerobust_data():
            inputs, labels = samples()
            return inputs.reshape(10, 1, 2, 2), labels
    """)
    suite.tests(f"""
        @robust("bim", 0.1, min_acc=0.5, {statistics})
        def test_it(robustness):
            assert robustness().unfiltered.outcomes == "sssss--bss"
    """)
    suite.run().assert_outcomes(passed=1)


def test_a_model_comes_back_as_it_was(suite):
    """Train mode, gradient flags and gradients of the model are what they were before."""
    suite.conftest("""
        @pytest.fixture
        def aerobust_model():
            model = nn.Sequential(Border(), nn.Dropout(0.5)).train()
            model[0].eval()
            yield model
            assert model.training and model[1].training and not model[0].training
            assert model[0].scale.requires_grad
            assert model[0].scale.grad is None
    """)
    suite.tests(CONTRACT)
    suite.run().assert_outcomes(passed=1)


def test_data_of_the_users_own_are_read_once_a_contract(suite):
    """Their code may depend on anything; but no contract reads them twice."""
    suite.conftest("""
        from torch.utils.data import DataLoader, TensorDataset

        class Counted(TensorDataset):
            reads = 0

            def __getitem__(self, index):
                Counted.reads += 1
                return super().__getitem__(index)

        @pytest.fixture(scope="session")
        def aerobust_data():
            yield DataLoader(Counted(*samples()), batch_size=4)
            assert Counted.reads == 2 * 10
    """)
    suite.tests("""
        @robust("bim", [0.1, 0.02], min_acc=0.5)
        def test_it():
            pass
    """)
    suite.run().assert_outcomes(passed=2)


def test_an_error_of_the_users_fixture_is_the_users(suite):
    """An exception in a user's fixture is an ordinary error at setup, with its own line
    (BAD INPUTS 5.18).
    """
    suite.conftest("""
        @pytest.fixture
        def aerobust_model():
            raise OSError("no checkpoint at /models/net.ckpt")
    """)
    suite.tests(CONTRACT)
    result = suite.run()
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["E  *OSError: no checkpoint at /models/net.ckpt"])


def test_a_skip_in_a_users_fixture_skips(suite):
    """A fixture that skips (no checkpoint here, say) skips the contract."""
    suite.conftest("""
        @pytest.fixture
        def aerobust_data():
            pytest.skip("no data here")
    """)
    suite.tests(CONTRACT)
    suite.run().assert_outcomes(skipped=1)


def test_fixtures_may_be_overridden_in_the_test_file(suite):
    """A module's own fixture wins over the conftest's, as always."""
    suite.tests("""
        import torch

        @pytest.fixture
        def aerobust_model(aerobust_model):
            aerobust_model.shift = 0.1
            yield aerobust_model
            aerobust_model.shift = 0.0

        @robust("bim", 0.1, min_acc=0.5)
        def test_it(robustness):
            assert robustness().unfiltered.outcomes == "-bssssssss"
    """)
    suite.run().assert_outcomes(passed=1)
