import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from lightning_modules.autoencoders import NETWORKS, VARIANTS, VanillaAutoencoder, variant
from lightning_modules.autoencoders.networks import CHANNELS
from lightning_modules.datasets import Digits
from lightning_modules.errors import UnknownNameError
from lightning_modules.training import fit_or_load

each_variant = pytest.mark.parametrize("name", VARIANTS)
each_network = pytest.mark.parametrize("network", NETWORKS)


def small(name, shape=(1, 5, 4), **options):
    torch.manual_seed(0)
    return VARIANTS[name](shape, 12, 3, **options).eval()


class TestTable:
    def test_gives_a_variant_by_name(self):
        """The name in the paper leads to the class."""
        assert variant("vanilla") is VanillaAutoencoder
        assert set(VARIANTS) == {"vanilla", "sparse", "denoising", "variational"}

    def test_refuses_an_unknown_variant_with_the_nearest(self):
        """A misspelled name is an error, not a default."""
        with pytest.raises(UnknownNameError, match=r"variant 'vanila': did you mean vanilla"):
            variant("vanila")


class TestEveryVariant:
    @each_network
    @each_variant
    @pytest.mark.parametrize("bounds", [(0.0, 1.0), (-1.0, 1.0), (0.0, 255.0)])
    def test_stays_in_the_bounds_with_every_network(self, name, network, bounds):
        """Outputs have the shape of the inputs and lie in the bounds, trained or not."""
        low, high = bounds
        x = low + (high - low) * torch.rand(4, 1, 5, 4)
        y = small(name, network=network, bounds=bounds)(x)
        assert y.shape == x.shape
        assert low <= y.min() <= y.max() <= high

    @each_network
    @each_variant
    def test_has_a_loss_with_finite_gradients_for_every_weight(self, name, network):
        """Nothing of a network is left out of the training."""
        model = small(name, network=network)
        sum(model.loss_terms(torch.rand(6, 1, 5, 4)).values()).backward()
        for weight, parameter in model.named_parameters():
            assert parameter.grad is not None, weight
            assert parameter.grad.isfinite().all(), weight

    @each_network
    @each_variant
    def test_is_a_function_of_its_inputs_in_eval_mode(self, name, network):
        """A filter that draws numbers would look robust without being so."""
        x = torch.rand(4, 1, 5, 4)
        model = small(name, network=network)
        assert torch.equal(model(x), model(x))

    @each_variant
    def test_takes_vectors(self, name):
        """Dense networks reconstruct data that are no images."""
        x = torch.rand(3, 7)
        assert small(name, (7,))(x).shape == x.shape

    @each_variant
    def test_refuses_a_convolution_of_vectors(self, name):
        """With the network that would do."""
        with pytest.raises(ValueError, match=r"\(7,\): .*images \(C, H, W\).*'dense'"):
            small(name, (7,), network="convolutional")

    @each_variant
    def test_refuses_what_the_base_refuses(self, name):
        """Whatever the variant: unknown networks and activations, layers of no width."""
        with pytest.raises(UnknownNameError, match=r"network 'dens': did you mean dense\?"):
            small(name, network="dens")
        with pytest.raises(UnknownNameError, match=r"activation 'rulu': did you mean .*relu"):
            small(name, activations=("rulu", "sigmoid", "elu", "sigmoid"))
        with pytest.raises(ValueError, match="latent=0"):
            VARIANTS[name]((4,), latent=0)
        with pytest.raises(ValueError, match="hidden=-1"):
            VARIANTS[name]((4,), hidden=-1)

    @each_variant
    def test_trains_once_and_loads_with_the_same_history(self, name, tmp_path):
        """Every argument is in the key, and a loaded module differs in nothing."""

        def ready(**options):
            return fit_or_load(
                lambda: small(name, (1, 8, 8), **options), Digits(512), folder=tmp_path,
                max_epochs=2,
            )  # fmt: skip

        first, second = ready(), ready()
        assert len(list(tmp_path.glob("*.pt"))) == 1
        assert all(map(torch.equal, first.state_dict().values(), second.state_dict().values()))
        assert first.history == second.history
        assert {"train_loss", "val_loss", "train_reconstruction"} <= set(first.history)
        assert {len(numbers) for numbers in first.history.values()} == {2}
        ready(bounds=(0.0, 2.0))
        assert len(list(tmp_path.glob("*.pt"))) == 2

    @each_variant
    def test_beats_the_mean_image_on_digits(self, name, on_digits, digits):
        """Each of them has learned more of unseen digits than what they have in common."""
        model = on_digits(name)
        with torch.no_grad():
            error = F.mse_loss(model(digits), digits)
        assert error < 0.85 * digits.var(dim=0, correction=0).mean()

    @each_network
    def test_the_vanilla_one_reconstructs_digits(self, network, on_digits, digits):
        """It explains over half of the variance of unseen digits, 59 to 75 % by six seeds."""
        with torch.no_grad():
            error = F.mse_loss(on_digits("vanilla", network=network)(digits), digits)
        assert error < digits.var(dim=0, correction=0).mean() / 2


class TestNetworks:
    @settings(max_examples=40, deadline=None)
    @given(st.tuples(st.integers(1, 4), st.integers(1, 14), st.integers(1, 14)))
    def test_convolve_images_of_any_shape(self, shape):
        """Odd sizes and single pixels come back as they went in, through a code of 3 numbers."""
        model = small("vanilla", shape, network="convolutional")
        x = torch.rand(2, *shape)
        assert model.encode(x).shape == (2, 3)
        assert model(x).shape == x.shape

    def test_have_the_sizes_of_the_paper(self):
        """784-504-28-504-784 when dense."""
        linear = [m for m in VanillaAutoencoder((1, 28, 28)).modules() if hasattr(m, "in_features")]
        assert [layer.in_features for layer in linear] == [784, 504, 28, 504]
        assert linear[-1].out_features == 784

    def test_convolve_with_16_and_32_channels_and_stride_2(self):
        """28x28 pixels become 32 maps of 7x7, and back."""
        model = VanillaAutoencoder((1, 28, 28), network="convolutional")
        *convolutions, first_linear = [
            layer for layer in model.encoder_body if hasattr(layer, "weight")
        ]
        assert tuple(layer.out_channels for layer in convolutions) == CHANNELS == (16, 32)
        assert {layer.stride for layer in convolutions} == {(2, 2)}
        assert first_linear.in_features == 32 * 7 * 7
