import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader

from lightning_modules.autoencoders import ACTIVATIONS, LOSSES, VanillaAutoencoder
from lightning_modules.autoencoders.losses import categorical_cross_entropy
from lightning_modules.batches import Batch
from lightning_modules.errors import UnknownNameError


def small(
    last: str = "sigmoid", shape: tuple[int, ...] = (1, 4, 4), **options
) -> VanillaAutoencoder:
    torch.manual_seed(0)
    return VanillaAutoencoder(shape, 12, 5, ("relu", "relu", "elu", last), **options)


def images(count: int = 6, high: float = 1.0) -> Tensor:
    return high * torch.rand(count, 1, 4, 4, generator=torch.Generator().manual_seed(1))


def loss_of(model: VanillaAutoencoder, batch: Batch) -> Tensor:
    return sum(model.loss_terms(batch).values())


class TestOutputs:
    @pytest.mark.parametrize("bounds", [(0.0, 1.0), (-1.0, 1.0), (0.0, 255.0), (0.1, 0.7)])
    @pytest.mark.parametrize("last", ACTIVATIONS)
    def test_lie_in_the_bounds_whatever_the_last_activation(self, last, bounds):
        """Outputs have the shape of the inputs and never leave the bounds, not by a rounding."""
        x = images(high=bounds[1])
        y = small(last, bounds=bounds)(x)
        low, high = (torch.tensor(bound) for bound in bounds)
        assert y.shape == x.shape
        assert low <= y.min() <= y.max() <= high

    @pytest.mark.parametrize("last", ACTIVATIONS)
    def test_pass_gradients_back_to_the_inputs(self, last):
        """No map to the bounds cuts gradients off: a filter must not hide them."""
        x = images().requires_grad_()
        (gradient,) = torch.autograd.grad(small(last)(x).square().sum(), x)
        assert torch.isfinite(gradient).all()
        assert (gradient.flatten(1).abs().amax(dim=1) > 0).all()

    @pytest.mark.parametrize(("last", "low", "high"), [("sigmoid", 0, 1), ("tanh", -1, 1)])
    def test_of_a_known_range_are_mapped_by_one_affine_map(self, last, low, high):
        """A finite range goes to the bounds as a whole, so that samples keep their contrast."""
        x = images(high=5.0)
        model = small(last, bounds=(0.0, 5.0))
        decoded = model.decode(model.encode(x / 5))
        assert torch.allclose(model(x), 5 * (decoded - low) / (high - low))

    @pytest.mark.parametrize("last", [n for n, row in ACTIVATIONS.items() if not row.finite])
    def test_of_an_open_range_are_stretched_sample_by_sample(self, last):
        """Each sample reaches both bounds exactly, and its neighbours in the batch don't matter."""
        x = images()
        model = small(last, bounds=(0.1, 0.7))
        y = model(x)
        assert (y.flatten(1).amin(dim=1) == torch.tensor(0.1)).all()
        assert (y.flatten(1).amax(dim=1) == torch.tensor(0.7)).all()
        assert torch.allclose(model(x[2:3])[0], y[2], atol=1e-5)

    def test_that_are_constant_go_to_the_lower_bound_with_finite_gradients(self):
        """A dead decoder is no division by zero, forwards or backwards."""
        model = small("relu", bounds=(2.0, 3.0))
        linear = [layer for layer in model.modules() if isinstance(layer, torch.nn.Linear)][-1]
        torch.nn.init.zeros_(linear.weight)
        torch.nn.init.constant_(linear.bias, 0.5)
        x = images().requires_grad_()
        y = model(x)
        (gradient,) = torch.autograd.grad(y.square().sum(), x)
        assert (y == 2.0).all()
        assert torch.isfinite(gradient).all()

    @pytest.mark.parametrize("last", ["softplus", "tanh"])
    def test_stay_as_they_are_when_raw_ones_are_asked_for(self, last):
        """output="raw" is the last activation and nothing else, as in the paper."""
        x = images()
        model = small(last, output="raw")
        assert torch.equal(model(x), model.decode(model.encode(x)))

    @pytest.mark.parametrize("shape", [(7,), (3, 4, 4), (1, 28, 28)])
    def test_have_the_shape_of_any_input(self, shape):
        """Vectors and images of any number of channels are flattened inside."""
        assert small(shape=shape)(torch.rand(2, *shape)).shape == (2, *shape)

    def test_scale_with_the_data(self):
        """The same weights do the same to data in 0..255 as to data in 0..1."""
        x = images()
        assert torch.allclose(small(bounds=(0.0, 255.0))(255 * x), 255 * small()(x), atol=1e-3)

    @pytest.mark.parametrize("name", ACTIVATIONS)
    def test_of_each_activation_stay_in_the_range_of_its_row(self, name):
        """The table tells the truth about ranges."""
        row = ACTIVATIONS[name]
        y = row.layer()(torch.linspace(-50, 50, 1001))
        assert row.low <= y.min() <= y.max() <= row.high


class TestLosses:
    def test_mse_is_the_mean_of_squares(self):
        """((0.5 - 0)^2 + (0.5 - 1)^2) / 2."""
        loss = LOSSES["mse"].function(torch.tensor([[0.5, 0.5]]), torch.tensor([[0.0, 1.0]]))
        assert loss.item() == pytest.approx(0.25)

    def test_bce_is_the_mean_of_binary_cross_entropies(self):
        """-(log 0.8 + log(1 - 0.4)) / 2."""
        loss = LOSSES["bce"].function(torch.tensor([[0.8, 0.4]]), torch.tensor([[1.0, 0.0]]))
        assert loss.item() == pytest.approx(-(math.log(0.8) + math.log(0.6)) / 2)

    def test_cce_is_the_cross_entropy_with_outputs_as_shares(self):
        """-(0.5 log(1/4) + 1 log(3/4)) for one sample, then the mean over samples."""
        outputs = torch.tensor([[[2.0, 6.0]], [[1.0, 1.0]]])
        targets = torch.tensor([[[0.5, 1.0]], [[0.0, 1.0]]])
        first, second = -(0.5 * math.log(1 / 4) + math.log(3 / 4)), -math.log(1 / 2)
        loss = categorical_cross_entropy(outputs, targets)
        assert loss.item() == pytest.approx((first + second) / 2)

    def test_cce_does_not_see_the_scale_of_the_outputs(self):
        """What makes raw outputs treacherous: any scale has the same loss."""
        x = images()
        assert torch.allclose(
            categorical_cross_entropy(75 * x, x), categorical_cross_entropy(x, x), rtol=1e-5
        )

    @pytest.mark.parametrize("loss", LOSSES)
    @pytest.mark.parametrize("last", ["relu", "sigmoid", "identity"])
    def test_have_finite_gradients_with_every_kind_of_output(self, loss, last):
        """Stretched outputs are exactly 0 and 1 somewhere; no logarithm may blow up there."""
        model = small(last, loss=loss)
        loss_of(model, images()).backward()
        assert all(torch.isfinite(weight.grad).all() for weight in model.parameters())

    @pytest.mark.parametrize("loss", LOSSES)
    def test_compare_on_the_scale_of_one(self, loss):
        """Bounds don't change a loss: data are brought to [0, 1] first."""
        x = images()
        wide = loss_of(small(loss=loss, bounds=(-1.0, 3.0)), 4 * x - 1)
        assert torch.allclose(wide, loss_of(small(loss=loss), x), atol=1e-5)

    def test_are_dead_for_no_output(self):
        """Cce of an output that is zero everywhere is finite."""
        assert torch.isfinite(categorical_cross_entropy(torch.zeros(1, 4), torch.ones(1, 4)))


class TestTraining:
    def test_takes_inputs_with_labels_or_alone(self):
        """Labels are ignored where they come along."""
        x = images()
        alone, paired = loss_of(small(), x), loss_of(small(), [x, torch.zeros(6)])
        assert torch.equal(alone, paired)

    @pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning")  # Lightning 2.6, torch 2.13
    def test_minimises_and_logs_the_sum_of_the_terms(self, trainer):
        """A variant adds a term by overriding `loss_terms`; each is logged beside the total."""

        class Penalised(VanillaAutoencoder):
            def loss_terms(self, batch: Batch) -> dict[str, Tensor]:
                return super().loss_terms(batch) | {"penalty": torch.tensor(2.0)}

        batches = DataLoader(images(), batch_size=3)
        model = Penalised((1, 4, 4), 6, 2)
        trainer.fit(model, batches, batches)
        logged = trainer.callback_metrics
        for stage in ("train", "val"):
            terms = logged[f"{stage}_reconstruction"] + logged[f"{stage}_penalty"]
            assert torch.allclose(logged[f"{stage}_loss"], terms)
        assert "test_loss" in trainer.test(model, batches, verbose=False)[0]

    def test_lowers_the_reconstruction_error(self):
        """A few steps of Adam on one batch more than halve the error."""
        model, x = small(learning_rate=1e-2), images(32)
        optimizer = model.configure_optimizers()
        before = F.mse_loss(model(x), x).item()
        for _ in range(150):
            optimizer.zero_grad()
            loss_of(model, x).backward()
            optimizer.step()
        assert F.mse_loss(model(x), x).item() < before / 2


class TestConstruction:
    def test_has_the_layers_of_the_paper(self):
        """784-504-28-504-784, and the paper's own choice of activations and loss builds."""
        model = VanillaAutoencoder(
            (1, 28, 28),
            activations=("relu", "relu", "exponential", "softplus"),
            loss="cce",
            output="raw",
        )
        linear = [layer for layer in model.modules() if isinstance(layer, torch.nn.Linear)]
        assert [layer.in_features for layer in linear] == [784, 504, 28, 504]
        assert linear[-1].out_features == 784

    def test_keeps_all_arguments_as_hyperparameters(self):
        """Those of the variant and those of the base, given or not."""
        kept = small("tanh", bounds=(0.0, 2.0)).hparams
        assert set(kept) == {
            "input_shape", "hidden", "latent", "activations", "network", "bounds", "loss",
            "output", "learning_rate",
        }  # fmt: skip
        assert (kept["bounds"], kept["loss"]) == ((0.0, 2.0), "mse")

    def test_refuses_unknown_names_with_the_known_ones(self):
        """Nothing falls through to a default; the message lists what exists, the nearest first."""
        with pytest.raises(UnknownNameError, match=r"'sigmoyd': did you mean sigmoid\?.*softplus"):
            small("sigmoyd")
        with pytest.raises(ValueError, match="unknown loss 'l7': known are mse, bce, cce"):
            small(loss="l7")
        with pytest.raises(ValueError, match="unknown output 'clamped': known are bounded, raw"):
            small(output="clamped")

    @pytest.mark.parametrize(("last", "loss"), [("softplus", "bce"), ("tanh", "cce")])
    def test_refuses_a_loss_that_raw_outputs_do_not_fit(self, last, loss):
        """Bce needs outputs in [0, 1] and cce none below 0; bounded outputs fit both."""
        with pytest.raises(ValueError, match=f"{loss}' on raw outputs needs .*{last}' span"):
            small(last, loss=loss, output="raw")
        assert loss_of(small(last, loss=loss), images()).isfinite()

    @pytest.mark.parametrize("bounds", [(1.0, 0.0), (0.5, 0.5), (0.0, math.nan), (-math.inf, 1.0)])
    def test_refuses_bounds_that_span_nothing(self, bounds):
        """Reversed, equal and non-finite bounds are errors."""
        with pytest.raises(ValueError, match="lower first"):
            small(bounds=bounds)

    @pytest.mark.parametrize("shape", [(), (0, 4)])
    def test_refuses_empty_shapes(self, shape):
        """A sample has at least one number."""
        with pytest.raises(ValueError, match="input_shape"):
            small(shape=shape)

    def test_refuses_too_few_activations_and_empty_layers(self):
        """Four layers take four activations, each layer at least one unit."""
        with pytest.raises(ValueError, match="expected 4"):
            VanillaAutoencoder((4,), activations=("relu", "sigmoid"))
        with pytest.raises(ValueError, match="latent=0"):
            VanillaAutoencoder((4,), latent=0)
        with pytest.raises(ValueError, match="hidden=0"):
            VanillaAutoencoder((4,), hidden=0)

    def test_refuses_inputs_of_another_shape(self):
        """The message has both shapes: a missing batch dimension would broadcast otherwise."""
        with pytest.raises(ValueError, match=r"\(1, 4, 4\), expected \(N, 1, 4, 4\)"):
            small()(images()[0])
        with pytest.raises(ValueError, match=r"\(6, 4, 4\), expected \(N, 1, 4, 4\)"):
            small().loss_terms(images()[:, 0])
