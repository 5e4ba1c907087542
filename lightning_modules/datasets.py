"""Data of images and labels: the bundled digits (offline, everywhere), MNIST and Fashion-MNIST."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from lightning_modules.extra import from_extra, pl
from lightning_modules.idx import Published

Arrays = tuple[Tensor, Tensor]
"""Inputs, float32 ``(N, C, H, W)`` in [0, 1], and labels, int64 ``(N,)``."""


class Samples(Dataset[Arrays]):
    """Images in memory as they were published, scaled to [0, 1] when they are asked for.

    Args:
        images: numbers from 0 to ``largest``, ``(N, C, H, W)``.
        labels: classes from 0, ``(N,)``.
        largest: the number that becomes 1.
    """

    def __init__(self, images: Tensor, labels: Tensor, largest: float) -> None:
        self._images = images
        self._labels = labels.long()
        self._largest = largest

    def __len__(self) -> int:
        return len(self._labels)

    def __getitem__(self, index: int) -> Arrays:
        return self._images[index].float() / self._largest, self._labels[index]

    def __getitems__(self, indices: Sequence[int]) -> list[Arrays]:
        """The samples of a batch: scaled at once, which is faster than one at a time."""
        chosen = torch.as_tensor(indices)
        images = self._images[chosen].float() / self._largest
        return list(zip(images, self._labels[chosen], strict=True))

    def arrays(self) -> Arrays:
        """All samples."""
        return self._images.float() / self._largest, self._labels

    def subset(self, indices: Tensor) -> "Samples":
        """The samples at ``indices``, in that order."""
        return Samples(self._images[indices], self._labels[indices], self._largest)


class Images(pl.LightningDataModule, ABC):
    """Images scaled to [0, 1] in a training, a validation and a test set, held in memory.

    Splits and the order of the training batches depend on ``seed`` alone; the global random state
    is neither read nor changed.

    Attributes:
        input_shape: shape of one sample, ``(C, H, W)``.
        classes: number of classes.
        bounds: smallest and largest value a pixel may take.

    Args:
        batch_size: samples in a batch of each loader.
        seed: of the split and of the order of the training batches.
    """

    input_shape: tuple[int, int, int]
    classes: int = 10
    bounds: tuple[float, float] = (0.0, 1.0)
    # Arguments of a subclass's constructor that it puts into the hyperparameters itself.
    described: ClassVar[tuple[str, ...]] = ()

    def __init__(self, batch_size: int = 128, seed: int = 0) -> None:
        super().__init__()
        self.save_hyperparameters(ignore=self.described)
        if batch_size < 1:
            raise ValueError(f"batch_size={batch_size}: expected 1 or more")
        self.batch_size = batch_size
        self.seed = seed
        self._train: Samples | None = None
        self._val: Samples | None = None
        self._test: Samples | None = None

    @abstractmethod
    def training_samples(self) -> tuple[Samples, Samples]:
        """The training and the validation set."""

    @abstractmethod
    def test_samples(self) -> Samples:
        """The test set, the same for every seed where it is published as such."""

    def setup(self, stage: str | None = None) -> None:
        """Read what the stage needs (``fit``, ``validate``, ``test``, ``predict``), or all."""
        if stage in ("fit", "validate", None) and self._train is None:
            self._train, self._val = self.training_samples()
        if stage in ("test", "predict", None) and self._test is None:
            self._test = self.test_samples()

    def test_arrays(self) -> Arrays:
        """The test set as two tensors, what a suite's fixture `aerobust_data` gives.

        Returns:
            Inputs, float32 ``(N, C, H, W)`` in [0, 1], and labels, int64 ``(N,)``.

        Raises:
            DataSourceError: the data set can't be had, or is not the published one.
        """
        self.setup("test")
        return _ready(self._test).arrays()

    def training_arrays(self) -> Arrays:
        """The training set as two tensors, for what is not trained in batches.

        Returns:
            Inputs, float32 ``(N, C, H, W)`` in [0, 1], and labels, int64 ``(N,)``.

        Raises:
            DataSourceError: the data set can't be had, or is not the published one.
        """
        self.setup("fit")
        return _ready(self._train).arrays()

    def train_dataloader(self) -> DataLoader[Arrays]:
        """Batches of the training set, in an order drawn anew for each epoch from the seed."""
        return self._loader(self._train, shuffle=True)

    def val_dataloader(self) -> DataLoader[Arrays]:
        """Batches of the validation set, in order."""
        return self._loader(self._val)

    def test_dataloader(self) -> DataLoader[Arrays]:
        """Batches of the test set, in order."""
        return self._loader(self._test)

    def predict_dataloader(self) -> DataLoader[Arrays]:
        """Batches of the test set, in order."""
        return self._loader(self._test)

    def _loader(self, samples: Samples | None, shuffle: bool = False) -> DataLoader[Arrays]:
        return DataLoader(
            _ready(samples),
            batch_size=self.batch_size,
            shuffle=shuffle,
            # A loader without a generator draws from the global one, even in order.
            generator=torch.Generator().manual_seed(self.seed),
        )


class Digits(Images):
    """The 1,797 handwritten digits of 8x8 pixels that scikit-learn bundles (no download).

    Alpaydin and Kaynak, 1998 (UCI). Split by class and seed into 1,257 training, 180 validation
    and 360 test images. Arguments are those of `Images`.
    """

    input_shape = (1, 8, 8)
    LARGEST = 16.0
    TEST, VAL = 360, 180

    def training_samples(self) -> tuple[Samples, Samples]:
        """1,257 and 180 samples."""
        everything, (train, val, _) = self._split()
        return everything.subset(train), everything.subset(val)

    def test_samples(self) -> Samples:
        """360 samples."""
        everything, (_, _, test) = self._split()
        return everything.subset(test)

    def _split(self) -> tuple[Samples, tuple[Tensor, Tensor, Tensor]]:
        # Here because scikit-learn is slow to import and the other data sets do without.
        with from_extra():
            from sklearn.datasets import load_digits
            from sklearn.model_selection import train_test_split

        pixels, labels = load_digits(return_X_y=True)
        images = torch.from_numpy(pixels).reshape(-1, *self.input_shape)
        rest, test = train_test_split(
            range(len(labels)), test_size=self.TEST, stratify=labels, random_state=self.seed
        )
        train, val = train_test_split(
            rest, test_size=self.VAL, stratify=labels[rest], random_state=self.seed
        )
        everything = Samples(images, torch.from_numpy(labels), self.LARGEST)
        return everything, (torch.tensor(train), torch.tensor(val), torch.tensor(test))


class _IdxImages(Images):
    """70,000 images of 28x28 pixels as four IDX files: 55,000 / 5,000 by seed, 10,000 to test."""

    input_shape = (1, 28, 28)
    published: ClassVar[Published]
    LARGEST = 255.0
    VAL = 5_000

    def prepare_data(self) -> None:
        """Have all four files on this machine; Lightning calls this in one process only.

        Raises:
            SourceAbsentError: no folder has a file and no mirror gave it.
        """
        for file in self.published.hashes:
            self.published.find(file)

    def training_samples(self) -> tuple[Samples, Samples]:
        """55,000 and 5,000 samples."""
        everything = self._read("train")
        order = torch.randperm(len(everything), generator=torch.Generator().manual_seed(self.seed))
        return everything.subset(order[self.VAL :]), everything.subset(order[: self.VAL])

    def test_samples(self) -> Samples:
        """The 10,000 samples published as the test set."""
        return self._read("t10k")

    def _read(self, part: str) -> Samples:
        images = self.published.read(f"{part}-images-idx3-ubyte")
        labels = self.published.read(f"{part}-labels-idx1-ubyte")
        return Samples(images.unsqueeze(1), labels, self.LARGEST)


class MNIST(_IdxImages):
    """Handwritten digits (LeCun, Cortes and Burges), 28x28 pixels.

    55,000 training and 5,000 validation images drawn by seed, the 10,000 published test images.
    Looked for in ``AEROBUST_DATA_DIR/mnist``, then downloaded. Arguments are those of `Images`.
    """

    published = Published(
        name="mnist",
        hashes={
            "train-images-idx3-ubyte": (
                "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db"
            ),
            "train-labels-idx1-ubyte": (
                "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5"
            ),
            "t10k-images-idx3-ubyte": (
                "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7"
            ),
            "t10k-labels-idx1-ubyte": (
                "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2"
            ),
        },
        mirrors=(
            "https://ossci-datasets.s3.amazonaws.com/mnist/",
            "https://storage.googleapis.com/cvdf-datasets/mnist/",
        ),
    )


class FashionMNIST(_IdxImages):
    """Articles of clothing (Xiao, Rasul and Vollgraf, 2017), in the format of MNIST.

    55,000 training and 5,000 validation images drawn by seed, the 10,000 published test images.
    Looked for in ``AEROBUST_DATA_DIR/fashion-mnist``, then where Debian's package
    ``dataset-fashion-mnist`` puts it, then downloaded. Arguments are those of `Images`.
    """

    published = Published(
        name="fashion-mnist",
        hashes={
            "train-images-idx3-ubyte": (
                "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888"
            ),
            "train-labels-idx1-ubyte": (
                "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9"
            ),
            "t10k-images-idx3-ubyte": (
                "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b"
            ),
            "t10k-labels-idx1-ubyte": (
                "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34"
            ),
        },
        mirrors=(
            # The publisher's own bucket serves plain HTTP only; the hash guards the content.
            "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
            "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
        ),
        package="dataset-fashion-mnist",
        package_folder=Path("/usr/share/datasets/fashion-mnist"),
    )


def _ready(samples: Samples | None) -> Samples:
    if samples is None:
        raise RuntimeError("the data set has not been read: call setup() first, as a Trainer does")
    return samples
