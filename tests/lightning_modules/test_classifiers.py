import pytest
import torch

from lightning_modules.classifiers import ConvNet, PaperNetwork, SoftmaxRegression
from lightning_modules.datasets import Digits

ALL = [SoftmaxRegression, PaperNetwork, ConvNet]


@pytest.mark.parametrize("shape", [(1, 8, 8), (1, 28, 28), (3, 7, 5)])
@pytest.mark.parametrize("build", ALL)
def test_gives_one_logit_a_class(build, shape):
    """Every classifier takes images of any size and number of channels."""
    assert build(shape, 7)(torch.rand(2, *shape)).shape == (2, 7)


@pytest.mark.parametrize("build", [SoftmaxRegression, PaperNetwork])
def test_takes_vectors_where_it_is_dense(build):
    """Tabular data need no image shape."""
    assert build((20,), 3)(torch.rand(4, 20)).shape == (4, 3)


def test_has_the_widths_of_the_paper():
    """784-504-28-504-10, ReLU in between."""
    linear = [m for m in PaperNetwork((1, 28, 28), 10).modules() if isinstance(m, torch.nn.Linear)]
    assert [(m.in_features, m.out_features) for m in linear] == [
        (784, 504), (504, 28), (28, 504), (504, 10),
    ]  # fmt: skip


@pytest.mark.filterwarnings("ignore:You are trying to `self.log")  # no Trainer is needed here
def test_loss_is_the_cross_entropy_of_the_logits():
    """Logits of zero know nothing: the loss is log(classes)."""
    model = SoftmaxRegression((4,), 5)
    torch.nn.init.zeros_(model.network[1].weight)
    torch.nn.init.zeros_(model.network[1].bias)
    loss = model.training_step((torch.rand(6, 4), torch.arange(6) % 5), 0)
    assert loss.item() == pytest.approx(torch.tensor(5.0).log().item())


@pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning")  # Lightning 2.6, torch 2.13
def test_logged_accuracy_is_the_one_of_its_predictions(trainer):
    """What the trainer reports for the test set is what the logits say."""
    torch.manual_seed(0)
    model, data = SoftmaxRegression((1, 8, 8), 10, learning_rate=3e-2), Digits(32)
    trainer.fit(model, datamodule=data)
    assert {"train_loss", "train_accuracy", "val_loss", "val_accuracy"} <= set(
        trainer.callback_metrics
    )
    (logged,) = trainer.test(model, datamodule=data, verbose=False)
    x, y = data.test_arrays()
    accuracy = (model.eval()(x).argmax(1) == y).float().mean().item()
    assert logged["test_accuracy"] == pytest.approx(accuracy)
    assert accuracy > 0.5


def test_keeps_all_arguments_as_hyperparameters():
    """Those of the subclass and those of the base."""
    kept = ConvNet((1, 8, 8), 10, channels=(4, 8)).hparams
    assert dict(kept) == {
        "input_shape": (1, 8, 8), "classes": 10, "channels": (4, 8), "learning_rate": 1e-3,
    }  # fmt: skip


@pytest.mark.parametrize("shape", [(64,), (1, 3, 8)])
def test_convnet_refuses_what_it_can_not_pool_twice(shape):
    """Vectors and images under 4 pixels wide are refused with the shape that came."""
    with pytest.raises(ValueError, match="expected \\(C, H, W\\)"):
        ConvNet(shape, 10)


def test_refuses_a_single_class_and_other_shapes():
    """One logit is always right, and a wrong shape says which was expected."""
    with pytest.raises(ValueError, match="classes=1"):
        SoftmaxRegression((4,), 1)
    with pytest.raises(ValueError, match="expected \\(N, 1, 8, 8\\)"):
        ConvNet((1, 8, 8), 10)(torch.rand(2, 8, 8, 1))
