import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.distributions import Bernoulli, kl_divergence

from lightning_modules.autoencoders import PENALTIES, SparseAutoencoder
from lightning_modules.autoencoders.sparse import kl_sparsity, l1_sparsity
from lightning_modules.errors import UnknownNameError

SIGMOID_CODE = ("relu", "sigmoid", "elu", "sigmoid")
shares = st.floats(0.001, 0.999)


def active(model, x):
    """Share of the code's units above 1/2, over samples and units."""
    with torch.no_grad():
        return (model.encode(x) > 0.5).float().mean().item()


class TestPenalties:
    @given(rho=shares, first=st.lists(shares, min_size=3, max_size=3))
    def test_kl_is_that_of_bernoulli_variables(self, rho, first):
        """The sum over units of what torch.distributions says of rho and the unit's mean."""
        code = torch.tensor([first, [0.2, 0.5, 0.8]], dtype=torch.float64)
        wanted, means = torch.full((3,), rho, dtype=torch.float64), code.mean(dim=0)
        expected = kl_divergence(Bernoulli(wanted), Bernoulli(means)).sum()
        assert torch.allclose(kl_sparsity(code, rho), expected, atol=1e-9)

    def test_kl_is_zero_at_rho_alone(self):
        """Means count, not single activations."""
        code = torch.tensor([[0.0, 0.2], [0.4, 0.2]])
        assert kl_sparsity(code, 0.2).item() == pytest.approx(0, abs=1e-6)
        assert kl_sparsity(code, 0.1) > 0.03

    @pytest.mark.parametrize("value", [0.0, 1.0])
    def test_kl_of_dead_and_saturated_units_is_finite(self, value):
        """Also its gradient: a unit that is off for a batch must not end a training."""
        code = torch.full((4, 2), value, requires_grad=True)
        penalty = kl_sparsity(code, 0.05)
        penalty.backward()
        assert penalty.isfinite()
        assert code.grad.isfinite().all()

    def test_l1_is_the_sum_of_magnitudes(self):
        """(|1| + |-2| + |0| + |3|) / 2 for two samples."""
        assert l1_sparsity(torch.tensor([[1.0, -2.0], [0.0, 3.0]]), 0.05).item() == 3

    @pytest.mark.parametrize("penalty", PENALTIES)
    def test_are_weighted(self, penalty):
        """Twice the weight is twice the term; the reconstruction stays as it is."""
        x = torch.rand(5, 1, 4, 4)
        terms = []
        for weight in (0.5, 1.0):
            torch.manual_seed(0)
            model = SparseAutoencoder((1, 4, 4), 8, 3, penalty=penalty, weight=weight)
            terms.append(model.loss_terms(x))
        assert terms[1]["sparsity"].item() == pytest.approx(2 * terms[0]["sparsity"].item())
        assert terms[1]["reconstruction"] == terms[0]["reconstruction"]


class TestTraining:
    @pytest.mark.parametrize("penalty", PENALTIES)
    def test_without_weight_gives_the_weights_of_a_vanilla_one(self, on_digits, penalty):
        """Bit for bit, and with a weight it does not."""
        vanilla = on_digits("vanilla", max_epochs=2, activations=SIGMOID_CODE).state_dict()
        for weight, alike in ((0.0, True), (0.01, False)):
            sparse = on_digits("sparse", max_epochs=2, penalty=penalty, weight=weight).state_dict()
            assert list(sparse) == list(vanilla)
            assert all(torch.equal(sparse[name], vanilla[name]) for name in vanilla) == alike

    def test_makes_few_units_active(self, on_digits, digits):
        """9 % of activations above 1/2 were measured, against 54 % without the penalty."""
        vanilla = on_digits("vanilla", activations=SIGMOID_CODE)
        assert active(on_digits("sparse"), digits) < active(vanilla, digits) / 3

    def test_with_l1_makes_small_codes(self, on_digits, digits):
        """A ReLU code shrinks to less than a fifth on average (0.11 against 1.98 measured)."""
        relu = ("relu", "relu", "elu", "sigmoid")
        with torch.no_grad():
            sparse = on_digits("sparse", penalty="l1", activations=relu).encode(digits).mean()
            assert 0 < sparse < on_digits("vanilla").encode(digits).mean() / 5


class TestConstruction:
    @pytest.mark.parametrize("code", ["relu", "softplus", "tanh", "identity"])
    def test_refuses_kl_of_a_code_that_leaves_0_to_1(self, code):
        """With the activation that would do; L1 takes any."""
        activations = ("relu", code, "elu", "sigmoid")
        with pytest.raises(ValueError, match=rf"'kl' needs .*\[0, 1\].*'{code}' span.*sigmoid"):
            SparseAutoencoder((4,), 3, 2, activations)
        SparseAutoencoder((4,), 3, 2, activations, penalty="l1")

    def test_refuses_an_unknown_penalty(self):
        """With the known ones."""
        with pytest.raises(UnknownNameError, match="penalty 'l3': known are kl, l1"):
            SparseAutoencoder((4,), penalty="l3")

    @pytest.mark.parametrize("rho", [0.0, 1.0, -0.1, 1.5, float("nan")])
    def test_refuses_a_mean_activation_outside_0_to_1(self, rho):
        """At the ends the divergence is infinite."""
        with pytest.raises(ValueError, match="rho="):
            SparseAutoencoder((4,), rho=rho)

    @pytest.mark.parametrize("weight", [-0.1, float("inf"), float("nan")])
    def test_refuses_a_negative_or_infinite_weight(self, weight):
        """A negative one would reward activity."""
        with pytest.raises(ValueError, match="weight="):
            SparseAutoencoder((4,), weight=weight)
