"""Distinct samples prove a population: whoever comes again is no new draw."""

import pytest

# 60 samples of which 48 withstand eps=0.2: too few to show 0.7 of a population, of which 480
# that really are so many would show it.
DATA = """
    from torch.utils.data import (
        ConcatDataset, DataLoader, IterableDataset, RandomSampler, TensorDataset, get_worker_info
    )

    def pair(count=60):
        distances = torch.tensor([0.1, 0.3, 0.35, 0.4, 0.45]).repeat(count // 5)
        signs = torch.tensor([1.0, -1.0]).repeat(count // 2)
        apart = torch.linspace(0, 0.02, count)[:, None] * torch.tensor([1.0, -1.0, 0.0, 0.0])
        return 0.5 + (signs * distances)[:, None].expand(-1, 4) + apart, (signs > 0).long()

    class Stream(IterableDataset):
        def __iter__(self):
            return zip(*pair())

    @pytest.fixture(scope="session")
    def once():
        return pair()

    @pytest.fixture(scope="session")
    def stream():
        return DataLoader(Stream(), batch_size=20, num_workers=2)

    @pytest.fixture(scope="session")
    def replacement():
        data = TensorDataset(*pair())
        return DataLoader(data, sampler=RandomSampler(data, replacement=True, num_samples=480))

    @pytest.fixture(scope="session")
    def concatenated():
        return ConcatDataset([TensorDataset(*pair())] * 8)

    @pytest.fixture(scope="session")
    def tiled():
        inputs, labels = pair()
        return inputs.repeat(8, 1), labels.repeat(8)

    @pytest.fixture(scope="session")
    def interleaved():
        inputs, labels = pair()
        return inputs.repeat_interleave(8, dim=0).double().numpy(), labels.repeat_interleave(8)

    @pytest.fixture(scope="session")
    def labelled_twice():
        inputs, labels = pair()
        return torch.cat([inputs, inputs[:3]]), torch.cat([labels, 1 - labels[:3]])

    @pytest.fixture(scope="session")
    def cast():
        \"\"\"Copies that differ by less than the model's float32 can tell.\"\"\"
        inputs, labels = pair()
        apart = 1e-12 * torch.arange(8, dtype=torch.float64).repeat_interleave(60)[:, None]
        return inputs.double().repeat(8, 1) + apart, labels.repeat(8)

    @pytest.fixture(scope="session")
    def zeros():
        \"\"\"Copies that differ by the sign of a zero, which no comparison can tell.\"\"\"
        inputs, labels = pair()
        zeros = torch.tensor([0.0, -0.0] * 4).repeat_interleave(60)[:, None]
        # The ones make up for what the zeros take from the sum.
        return torch.cat([inputs.repeat(8, 1), zeros, zeros + 1], dim=1), labels.repeat(8)

    @pytest.fixture(scope="session")
    def padded():
        \"\"\"As a DistributedSampler pads the last batch.\"\"\"
        inputs, labels = pair()
        return torch.cat([inputs, inputs[:4]]), torch.cat([labels, labels[:4]])

    @pytest.fixture(scope="session")
    def plenty():
        return pair(480)

    @pytest.fixture(scope="session")
    def identity():
        return nn.Identity()
"""
COPIES = ["stream", "replacement", "concatenated", "tiled", "interleaved", "cast"]


@pytest.fixture
def repeating(suite):
    """A suite with the same 60 samples in many forms."""
    suite.conftest(DATA)
    return suite


def checked(suite, data, mark="min_acc=0.7, confidence=0.95", *options):
    suite.tests(f"""
        @robust("bim", 0.2, {mark}, data="{data}")
        def test_it():
            pass
    """)
    result = suite.run("-rP", "--aerobust-no-cache", *options)
    (row,) = suite.measured(result).values()
    words = result.stdout.str() if row["verdict"] == "passed" else suite.failure(result)
    return row["verdict"], words


def bounds(words):
    """What the first line says of the population."""
    _, _, rest = words.partition("confidence) ")
    return rest.partition("  [")[0]


@pytest.mark.parametrize("data", COPIES)
@pytest.mark.parametrize("more", ["", ", sequential=True"])
def test_copies_show_nothing_of_a_population(repeating, data, more):
    """Copies leave the bounds and the advice where the distinct samples put them."""
    verdict, words = checked(repeating, data, f"min_acc=0.7, confidence=0.95{more}")
    assert verdict == "inconclusive"
    told, once = checked(repeating, "once", f"min_acc=0.7, confidence=0.95{more}")
    assert told == "inconclusive"
    assert " of 60 samples repeat" not in once
    if data != "replacement" and not more:  # in sequence the bounds hold for their own order
        assert bounds(words) == bounds(once)
    assert checked(repeating, "plenty", f"min_acc=0.7, confidence=0.95{more}")[0] == "passed"


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ("tiled", "420 of 480 samples repeat the inputs of others, 60 are distinct; confidence="),
        ("cast", "420 of 480 samples repeat the inputs of others, 60 are distinct"),
        ("zeros", "420 of 480 samples repeat the inputs of others, 60 are distinct"),
        ("stream", "60 of 120 samples repeat the inputs of others, 60 are distinct"),
        ("padded", "4 of 64 samples repeat the inputs of others, 60 are distinct"),
        ("labelled_twice", "3 of 63 samples repeat the inputs of others, 60 are distinct"),
        ("labelled_twice", "3 of them come with several labels, of which one at most can be right"),
    ],
)
def test_repeats_are_told(repeating, data, words):
    """Also where the verdict is about the samples at hand, which count as they are."""
    verdict, text = checked(repeating, data, "min_acc=0.7")
    assert verdict == "passed"
    assert words in text


def test_no_repeats_no_words(repeating):
    """Near-duplicates are samples of their own."""
    assert "repeat the inputs" not in checked(repeating, "plenty", "min_acc=0.7")[1]


@pytest.mark.parametrize(
    ("floor", "holds"),
    [("min_acc=0.66", True), ("max_drop=0.34", True), ("min_clean_acc=0.9", True)],
)
def test_each_floor_counts_distinct_samples(repeating, floor, holds):
    """One draw each, whatever the floor is about."""
    mark = f"{floor}, confidence=0.95"
    assert checked(repeating, "tiled", mark)[0] == checked(repeating, "once", mark)[0] == "passed"
    tighter = {"min_acc=0.66": "min_acc=0.75", "max_drop=0.34": "max_drop=0.25"}
    tighter |= {"min_clean_acc=0.9": "min_clean_acc=0.99"}
    mark = f"{tighter[floor]}, confidence=0.95"
    assert checked(repeating, "tiled", mark)[0] == "inconclusive"
    assert checked(repeating, "plenty", mark)[0] == "passed"


def test_a_gain_counts_distinct_pairs(repeating):
    """480 copies bound the gain of a filter no better than their 60 originals."""
    mark = 'min_gain=-0.05, confidence=0.95, filter="identity"'
    told, words = checked(repeating, "tiled", mark)
    assert (told, bounds(words)) == ("inconclusive", bounds(checked(repeating, "once", mark)[1]))
    assert checked(repeating, "plenty", mark)[0] == "passed"


def test_a_regression_counts_distinct_pairs(repeating):
    """A baseline of copies shows as much as one of their originals."""
    mark = "max_regression=0.05, confidence=0.95"
    for data, verdict in (
        ("tiled", "inconclusive"),
        ("once", "inconclusive"),
        ("plenty", "passed"),
    ):
        checked(repeating, data, f'{mark}, id="{data}"', "--aerobust-update")
        assert checked(repeating, data, f'{mark}, id="{data}"')[0] == verdict


def test_draws_of_fewer_samples(repeating):
    """samples= may draw copies, which count once all the same."""
    verdict, words = checked(repeating, "tiled", "min_acc=0.7, confidence=0.95, samples=300")
    assert verdict == "inconclusive"
    assert "of 300 samples repeat the inputs of others" in words
