import pytest
import torch
from torch.utils.data import DataLoader

from lightning_modules.datasets import MNIST, Digits, FashionMNIST, Images, Samples


def rows(data: Images) -> list[set[bytes]]:
    """The images of each set as bytes."""
    data.setup()
    loaders = (data.train_dataloader(), data.val_dataloader(), data.test_dataloader())
    return [{x.numpy().tobytes() for batch, _ in loader for x in batch} for loader in loaders]


def labels(loader: DataLoader) -> torch.Tensor:
    return torch.cat([y for _, y in loader])


def ready(**options) -> Digits:
    data = Digits(**options)
    data.setup()
    return data


class TestDigits:
    def test_are_1797_images_in_three_disjoint_sets(self):
        """1,257 to train, 180 to validate, 360 to test; none is in two sets."""
        train, val, test = rows(Digits())
        assert (len(train), len(val), len(test)) == (1257, 180, 360)
        assert len(train | val | test) == 1797

    def test_have_all_classes_in_every_set_in_proportion(self):
        """Splits are by class: each of ten has about a tenth."""
        data = ready()
        for loader in (data.train_dataloader(), data.val_dataloader(), data.test_dataloader()):
            shares = labels(loader).bincount(minlength=10) / len(labels(loader))
            assert (shares - 0.1).abs().max() < 0.01

    def test_give_the_test_set_as_two_tensors(self):
        """What a fixture `aerobust_data` needs, without a Trainer."""
        x, y = Digits().test_arrays()
        assert (x.shape, x.dtype) == ((360, 1, 8, 8), torch.float32)
        assert (y.shape, y.dtype) == ((360,), torch.int64)
        assert (x.min(), x.max()) == Digits.bounds

    def test_say_what_a_model_needs_to_know(self):
        """Shape, classes and bounds are there before anything is read."""
        data = Digits()
        assert (data.input_shape, data.classes, data.bounds) == ((1, 8, 8), 10, (0.0, 1.0))

    def test_are_split_by_seed_alone(self):
        """The same seed gives the same sets, another seed others."""
        assert rows(Digits(seed=3)) == rows(Digits(seed=3))
        assert rows(Digits(seed=3)) != rows(Digits(seed=4))

    def test_are_shuffled_by_seed_alone(self):
        """Training batches come in an order of the seed, and in another one in each epoch."""
        first, again = ready().train_dataloader(), ready().train_dataloader()
        epochs = [labels(first), labels(first)]
        assert torch.equal(epochs[0], labels(again))
        assert torch.equal(epochs[1], labels(again))
        assert not torch.equal(*epochs)

    def test_leave_the_global_random_state_alone(self):
        """Neither splits nor loaders draw from it."""
        before = torch.get_rng_state()
        rows(Digits())
        assert torch.equal(before, torch.get_rng_state())

    def test_come_in_batches_of_the_size_asked_for(self):
        """And the last one holds the rest."""
        sizes = [len(y) for _, y in ready(batch_size=500).train_dataloader()]
        assert sizes == [500, 500, 257]

    def test_refuse_a_loader_before_they_are_read(self):
        """The message says what a Trainer would have done."""
        with pytest.raises(RuntimeError, match=r"setup\(\)"):
            Digits().train_dataloader()

    def test_refuse_empty_batches(self):
        """A batch size below 1 is an error of the argument."""
        with pytest.raises(ValueError, match="batch_size=0"):
            Digits(batch_size=0)


def test_samples_are_the_same_one_by_one_and_in_batches():
    """A loader of the user's own gets what ours get."""
    samples = Samples(torch.arange(12).reshape(3, 1, 2, 2), torch.tensor([2, 0, 1]), 11.0)
    (x, y), *_ = DataLoader(samples, batch_size=3)
    one, label = samples[1]
    assert torch.equal(x[1], one)
    assert (label, y.tolist()) == (0, [2, 0, 1])
    assert torch.equal(x, samples.arrays()[0])


@pytest.mark.parametrize("build", [MNIST, FashionMNIST])
class TestPublished:
    @pytest.fixture(autouse=True)
    def _present(self, has_data, build):
        if not has_data(build.published):
            pytest.skip(f"{build.published.name} is in no folder of this machine")

    def test_are_70000_images_in_three_sets(self, build):
        """55,000 to train, 5,000 to validate, the 10,000 published ones to test."""
        data = build(batch_size=5000)
        data.prepare_data()
        data.setup()
        loaders = (data.train_dataloader(), data.val_dataloader(), data.test_dataloader())
        assert [len(labels(loader)) for loader in loaders] == [55_000, 5_000, 10_000]

    def test_give_the_test_set_as_two_tensors(self, build):
        """Images in [0, 1] of the shape announced, labels 0 to 9."""
        x, y = build().test_arrays()
        assert (x.shape, x.dtype) == ((10_000, 1, 28, 28), torch.float32)
        assert (x.min(), x.max()) == (0.0, 1.0)
        assert y.unique().tolist() == list(range(10))


def test_mnist_is_in_its_published_order(has_data):
    """The first test images are a 7, a 2, a 1 and a 0, upright: a 1 is taller than wide."""
    if not has_data(MNIST.published):
        pytest.skip("mnist is in no folder of this machine")
    x, y = MNIST().test_arrays()
    inked = x[2, 0] > 0.5
    assert y[:4].tolist() == [7, 2, 1, 0]
    assert inked.any(dim=1).sum() > inked.any(dim=0).sum()
