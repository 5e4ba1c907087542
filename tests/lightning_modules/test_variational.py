import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.distributions import Bernoulli, Independent, Normal, kl_divergence

from lightning_modules.autoencoders import (
    LIKELIHOODS,
    VariationalAutoencoder,
    kl_to_standard_normal,
)
from lightning_modules.autoencoders.likelihoods import (
    BernoulliLikelihood,
    GaussianLikelihood,
    squashed,
)
from lightning_modules.errors import UnknownNameError

each_likelihood = pytest.mark.parametrize("likelihood", LIKELIHOODS)
each_bounds = pytest.mark.parametrize("bounds", [(0.0, 1.0), (-1.0, 1.0)])


def numbers(low, high, size):
    return st.lists(st.floats(low, high), min_size=size, max_size=size).map(
        lambda values: torch.tensor([values], dtype=torch.float64)
    )


def small(**options):
    torch.manual_seed(0)
    return VariationalAutoencoder((1, 4, 3), 10, **options)


def images(count=5):
    return torch.rand(count, 1, 4, 3, generator=torch.Generator().manual_seed(1))


class TestDivergence:
    @given(numbers(-9, 9, 3), numbers(-10, 10, 3))
    def test_is_that_of_normal_distributions(self, mean, log_variance):
        """What torch.distributions says, summed over the code."""
        posterior = Normal(mean, torch.exp(log_variance / 2))
        prior = Normal(torch.zeros_like(mean), torch.ones_like(mean))
        expected = kl_divergence(posterior, prior).sum(dim=1)
        divergence = kl_to_standard_normal(mean, log_variance)
        assert torch.allclose(divergence, expected, rtol=1e-6, atol=1e-9)
        assert (divergence >= 0).all()

    def test_has_known_values(self):
        """0 for the prior itself, m^2 / 2 for a shift, (s^2 - 1 - log s^2) / 2 for a spread."""
        mean = torch.tensor([[0.0, 0.0], [3.0, 0.0], [0.0, 0.0]])
        log_variance = torch.tensor([[0.0, 0.0], [0.0, 0.0], [math.log(4), 0.0]])
        expected = torch.tensor([0.0, 4.5, (4 - 1 - math.log(4)) / 2])
        assert torch.allclose(kl_to_standard_normal(mean, log_variance), expected)


class TestLikelihoods:
    @given(numbers(0, 1, 6), numbers(-3, 3, 4))
    def test_gaussian_is_the_density_of_one_normal_a_sample(self, targets, features):
        """In nats, summed over features, with the variance that the layer gives."""
        likelihood = GaussianLikelihood(4).double()
        outputs = torch.linspace(0, 1, 6, dtype=torch.float64).reshape(1, 1, 2, 3)
        log_variance = squashed(likelihood.log_variance(features), *GaussianLikelihood.LOG_VARIANCE)
        density = Independent(Normal(outputs.flatten(1), torch.exp(log_variance / 2)), 1)
        found = likelihood(features, outputs, targets.reshape(1, 1, 2, 3))
        assert torch.allclose(found, -density.log_prob(targets))

    @given(numbers(0.001, 0.999, 6), st.lists(st.booleans(), min_size=6, max_size=6))
    def test_bernoulli_is_the_probability_of_black_and_white(self, outputs, pixels):
        """In nats, summed over features."""
        targets = torch.tensor([pixels], dtype=torch.float64)
        expected = -Bernoulli(outputs).log_prob(targets).sum(dim=1)
        found = BernoulliLikelihood(4)(torch.zeros(1, 4), outputs, targets)
        assert torch.allclose(found, expected)

    @pytest.mark.parametrize("weight", [-1e6, 1e6])
    def test_gaussian_variances_are_bounded(self, weight):
        """Perfect reconstructions aren't infinitely probable, nor does a variance overflow."""
        likelihood = GaussianLikelihood(1)
        torch.nn.init.constant_(likelihood.log_variance.weight, weight)
        nats = likelihood(torch.ones(1, 1), torch.ones(1, 8), torch.ones(1, 8))
        bound = GaussianLikelihood.LOG_VARIANCE[weight > 0]
        assert nats.item() == pytest.approx(4 * (math.log(2 * math.pi) + bound), rel=1e-4)

    @given(st.floats(-1e3, 1e3), st.floats(-10, 10), st.floats(0.1, 20))
    def test_are_squashed_between_two_numbers(self, x, low, span):
        """Zero goes to the middle, and the order is kept."""
        values = squashed(
            torch.tensor([-x, 0.0, x], dtype=torch.float64).sort()[0], low, low + span
        )
        assert (low - 1e-9 <= values).all()
        assert (values <= low + span + 1e-9).all()
        assert values[1].item() == pytest.approx(low + span / 2)
        assert (values.diff() >= 0).all()


class TestLoss:
    @each_bounds
    @each_likelihood
    def test_is_the_negative_evidence_lower_bound(self, likelihood, bounds):
        """Both terms, computed anew from the model's distributions and the same draw."""
        low, high = bounds
        model, unit = small(likelihood=likelihood, bounds=bounds), images()
        x = low + (high - low) * unit
        torch.manual_seed(5)
        terms = model.loss_terms(x)
        torch.manual_seed(5)
        posterior = model.posterior(x)
        code = posterior.rsample()
        nats = model.likelihood(model.decoder_body(code), model.decode(code), unit)
        prior = Normal(torch.zeros(2), torch.ones(2))
        divergences = kl_divergence(posterior, prior).sum(dim=1)
        assert nats.shape == divergences.shape == (5,)
        assert terms["reconstruction"].item() == pytest.approx(nats.mean().item(), rel=1e-5)
        assert terms["kl"].item() == pytest.approx(divergences.mean().item(), rel=1e-4)
        torch.manual_seed(5)
        assert model.elbo(x).item() == pytest.approx(-sum(terms.values()).item(), rel=1e-5)

    def test_bounds_the_evidence_from_below(self):
        """The evidence itself, by drawing 20,000 codes from the prior, is higher."""
        model, x = small(likelihood="bernoulli"), images(1).round()
        with torch.no_grad():
            codes = torch.randn(20_000, 2)
            outputs = model.decode(codes)
            nats = model.likelihood(codes, outputs, x.expand_as(outputs))
            evidence = torch.logsumexp(-nats, dim=0) - math.log(len(codes))
            elbo = model.elbo(x.expand(2_000, -1, -1, -1))
        assert evidence - 1.0 < elbo < evidence

    def test_improves_over_the_epochs(self, on_digits):
        """On unseen digits, and the logged bound is the loss with another sign."""
        history = on_digits("variational").history
        elbo = torch.tensor(history["val_elbo"])
        assert elbo[-5:].min() > elbo[:5].max()
        assert torch.allclose(elbo, -torch.tensor(history["val_loss"]))
        parts = torch.tensor([history["val_reconstruction"], history["val_kl"]])
        assert torch.allclose(elbo, -parts.sum(dim=0), atol=1e-4)

    def test_uses_its_code(self, on_digits, digits):
        """The divergence of a trained one is nats above 0: it did not collapse into the prior."""
        assert on_digits("variational").history["val_kl"][-1] > 1
        assert on_digits("variational").posterior(digits).mean.shape == (360, 2)


class TestForward:
    def test_draws_in_training_mode_alone(self):
        """Random, but the same for the same seed; in eval mode the mean is decoded."""
        model, x = small().train(), images()
        assert not torch.equal(model(x), model(x))
        drawn = []
        for _ in range(2):
            torch.manual_seed(9)
            drawn.append(model(x))
        assert torch.equal(*drawn)
        model.eval()
        assert torch.equal(model(x), model(x))
        assert torch.equal(model(x), model.render(model.posterior(x).mean))

    def test_has_a_posterior_in_the_units_of_the_data(self):
        """The same picture has the same distribution whatever its bounds."""
        ours, theirs = small(), small(bounds=(-1.0, 1.0))
        one, other = ours.posterior(images()), theirs.posterior(2 * images() - 1)
        assert torch.allclose(one.mean, other.mean, atol=1e-6)
        assert torch.allclose(one.stddev, other.stddev, atol=1e-6)
        assert not torch.allclose(one.stddev[0], one.stddev[1], atol=1e-5)


class TestSamples:
    @each_bounds
    @pytest.mark.parametrize("network", ["dense", "convolutional"])
    def test_look_like_data(self, network, bounds):
        """In the shape and the bounds of the data, as many as were asked for."""
        x = small(network=network, bounds=bounds).sample(7)
        assert x.shape == (7, 1, 4, 3)
        assert bounds[0] <= x.min() <= x.max() <= bounds[1]
        assert not torch.equal(x[0], x[1])

    def test_follow_a_generator(self):
        """The same numbers from it are the same samples, and the global state is left alone."""
        model = small()
        state = torch.get_rng_state()
        one, other = (model.sample(3, torch.Generator().manual_seed(4)) for _ in range(2))
        assert torch.equal(one, other)
        assert torch.equal(torch.get_rng_state(), state)
        assert not torch.equal(one, model.sample(3, torch.Generator().manual_seed(5)))

    def test_vary_as_much_as_digits_after_training(self, on_digits, digits):
        """A decoder that ignored its code would give the same picture for every draw."""
        drawn = on_digits("variational").sample(200, torch.Generator().manual_seed(0))
        assert drawn.var(dim=0).mean() > digits.var(dim=0).mean() / 10


class TestConstruction:
    def test_has_a_plane_as_its_code(self):
        """Two numbers a sample, as in the paper, unless told otherwise."""
        assert small().posterior(images()).mean.shape == (5, 2)
        assert VariationalAutoencoder((12,), 10, 6).posterior(torch.rand(5, 12)).mean.shape == (
            5,
            6,
        )

    def test_refuses_an_unknown_likelihood(self):
        """With the nearest."""
        with pytest.raises(UnknownNameError, match=r"'gausian': did you mean gaussian\?"):
            small(likelihood="gausian")

    def test_refuses_raw_outputs_that_are_no_probabilities(self):
        """The mean of a normal distribution may be any number, a probability may not."""
        options = {"activations": ("relu", "identity", "elu", "softplus"), "output": "raw"}
        with pytest.raises(ValueError, match="likelihood 'bernoulli' on raw outputs needs"):
            small(likelihood="bernoulli", **options)
        assert small(likelihood="gaussian", **options).elbo(images()).isfinite()

    def test_knows_no_loss(self):
        """A likelihood takes its place; an argument without effect would mislead."""
        with pytest.raises(TypeError, match="loss"):
            small(loss="mse")
