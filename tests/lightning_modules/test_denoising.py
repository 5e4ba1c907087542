import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from lightning_modules.autoencoders import CORRUPTIONS, DenoisingAutoencoder
from lightning_modules.errors import UnknownNameError

each_corruption = pytest.mark.parametrize("corruption", CORRUPTIONS)


def corrupted(corruption, strength, value=0.3, count=40_000):
    torch.manual_seed(0)
    return CORRUPTIONS[corruption].function(torch.full((count,), value), strength)


class TestCorruptions:
    def test_gaussian_adds_noise_of_that_deviation(self):
        """Around the input, in both directions."""
        noise = corrupted("gaussian", 0.2) - 0.3
        assert noise.mean().item() == pytest.approx(0, abs=0.005)
        assert noise.std().item() == pytest.approx(0.2, rel=0.03)

    @given(st.floats(0, 1))
    def test_masking_zeroes_that_share_and_nothing_else(self, strength):
        """A share of 1 leaves nothing, one of 0 everything."""
        x = corrupted("masking", strength)
        assert set(x.tolist()) <= {0.0, torch.tensor(0.3).item()}
        assert (x == 0).float().mean().item() == pytest.approx(strength, abs=0.015)

    @given(st.floats(0, 1))
    def test_salt_and_pepper_replace_that_share_by_both_extremes(self, strength):
        """Half of it by 0 and half by 1."""
        x = corrupted("salt-and-pepper", strength)
        for extreme in (0, 1):
            assert (x == extreme).float().mean().item() == pytest.approx(strength / 2, abs=0.015)
        assert (x == 0.3).float().mean().item() == pytest.approx(1 - strength, abs=0.015)

    @each_corruption
    def test_are_on_the_scale_of_one(self, corruption):
        """What the encoder is shown does not depend on the bounds."""
        x, shown = torch.rand(5, 6), []
        for low, high in ((0.0, 1.0), (-1.0, 3.0)):
            model = DenoisingAutoencoder((6,), 4, 2, corruption=corruption, bounds=(low, high))
            torch.manual_seed(0)
            shown.append(model.presented(model.unit_inputs(low + (high - low) * x)))
        assert torch.allclose(*shown, atol=1e-6)
        assert not torch.allclose(shown[0], x, atol=1e-3)


class TestTraining:
    @each_corruption
    def test_without_strength_gives_the_weights_of_a_vanilla_one(self, on_digits, corruption):
        """Bit for bit, and with a strength it does not."""
        vanilla = on_digits("vanilla", max_epochs=2).state_dict()
        for strength, alike in ((0.0, True), (0.3, False)):
            options = {"corruption": corruption, "strength": strength}
            denoising = on_digits("denoising", max_epochs=2, **options).state_dict()
            assert list(denoising) == list(vanilla)
            assert all(torch.equal(denoising[name], vanilla[name]) for name in vanilla) == alike

    @each_corruption
    def test_without_strength_draws_no_random_number(self, corruption):
        """What else is random in a training, such as dropout, stays as it was too."""
        model = DenoisingAutoencoder((6,), 4, 2, corruption=corruption, strength=0.0)
        state = torch.get_rng_state()
        model.loss_terms(torch.rand(5, 6, generator=torch.Generator().manual_seed(0)))
        assert torch.equal(torch.get_rng_state(), state)

    def test_reconstructs_noisy_digits_better_than_a_vanilla_one(self, on_digits, digits):
        """Its error to the clean images is the smaller one, by a fifth or so."""
        noise = torch.randn(digits.shape, generator=torch.Generator().manual_seed(1))
        noisy = digits + 0.3 * noise
        with torch.no_grad():
            vanilla, denoising = (
                F.mse_loss(on_digits(name)(noisy), digits) for name in ("vanilla", "denoising")
            )
        assert denoising < vanilla

    def test_compares_with_the_clean_inputs_in_every_mode(self):
        """The loss of a step is that of the corrupted inputs against the clean ones."""
        model = DenoisingAutoencoder((6,), 4, 2, corruption="masking", strength=0.5)
        x = torch.rand(5, 6)
        for module in (model.train(), model.eval()):
            torch.manual_seed(3)
            loss = module.loss_terms(x)["reconstruction"]
            torch.manual_seed(3)
            outputs = module.decode(module.encode(module.presented(x)))
            assert loss.item() == pytest.approx(F.mse_loss(outputs, x).item())

    def test_corrupts_nothing_outside_of_losses(self):
        """`forward` is a function of its inputs in training mode too."""
        model, x = DenoisingAutoencoder((6,), 4, 2).train(), torch.rand(5, 6)
        assert torch.equal(model(x), model(x))
        assert torch.equal(model(x), model.eval()(x))


class TestConstruction:
    def test_refuses_an_unknown_corruption(self):
        """With the nearest."""
        with pytest.raises(UnknownNameError, match=r"corruption 'mask': did you mean masking\?"):
            DenoisingAutoencoder((4,), corruption="mask")

    @each_corruption
    @pytest.mark.parametrize("strength", [-0.1, float("inf"), float("nan")])
    def test_refuses_a_negative_or_infinite_strength(self, corruption, strength):
        """No noise has a negative deviation."""
        with pytest.raises(ValueError, match="strength="):
            DenoisingAutoencoder((4,), corruption=corruption, strength=strength)

    @pytest.mark.parametrize("corruption", ["masking", "salt-and-pepper"])
    def test_refuses_a_share_above_1(self, corruption):
        """A deviation may be above 1, a share may not."""
        with pytest.raises(ValueError, match=f"strength=1.5: .*'{corruption}' .* 0 to 1"):
            DenoisingAutoencoder((4,), corruption=corruption, strength=1.5)
        DenoisingAutoencoder((4,), corruption="gaussian", strength=1.5)
