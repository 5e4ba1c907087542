"""The variational autoencoder: codes with a distribution, from which new samples are drawn."""

from collections.abc import Mapping
from typing import Unpack

import torch
from torch import Tensor, nn
from torch.distributions import Normal

from lightning_modules.autoencoders.activations import check_range
from lightning_modules.autoencoders.base import Activations, Autoencoder, Options, total
from lightning_modules.autoencoders.likelihoods import LIKELIHOODS, squashed
from lightning_modules.batches import Batch
from lightning_modules.errors import named


def kl_to_standard_normal(mean: Tensor, log_variance: Tensor) -> Tensor:
    """``KL(N(mean, exp(log_variance)) || N(0, I))`` in nats, in closed form.

    ``-sum(1 + log s^2 - m^2 - s^2) / 2``: Kingma and Welling, "Auto-Encoding Variational Bayes"
    (2014), appendix B.

    Args:
        mean: ``(N, latent)``.
        log_variance: of the same shape.

    Returns:
        One divergence a sample, ``(N,)``, 0 or more.
    """
    # expm1, because exp(v) - 1 - v loses its digits for variances near 1.
    return 0.5 * (mean.square() + torch.expm1(log_variance) - log_variance).sum(dim=1)


class VariationalAutoencoder(Autoencoder):
    """An encoder of distributions: minimises the negative evidence lower bound (ELBO).

    ``KL(q(h|x) || p(h)) - E_q log p(x|h)`` with ``q(h|x) = N(m(x), s^2(x) I)``, the prior
    ``p(h) = N(0, I)`` and one reparameterised draw of h for each sample (Kingma and Welling, 2014;
    Sivaslioglu, Catak and Gul, 2020, section 5.5). All in nats, on data scaled to [0, 1].

    `forward` decodes the mean in eval mode, so that as a filter it is a function of its inputs;
    in training mode it decodes a draw. Losses draw in every mode. The log variance of the code is
    kept in (-10, 10), by a tanh, so that nothing overflows.

    Args:
        input_shape: shape of one sample, ``(C, H, W)`` or ``(d,)``.
        hidden: width of the two hidden layers.
        latent: width of the code; 2, as in the paper, can be drawn as a plane.
        activations: of encoder, mean of the code, decoder and outputs, as of `Autoencoder`.
        likelihood: name from `LIKELIHOODS`: ``"gaussian"`` or ``"bernoulli"``. It takes the place
            of a loss.
        **options: network, bounds, output and learning_rate, as of `Autoencoder`.

    Raises:
        UnknownNameError: a likelihood that does not exist, or what `Autoencoder` does not know.
        ValueError: a likelihood that is not defined for the raw outputs of the last activation, or
            what `Autoencoder` refuses.
    """

    LOG_VARIANCE = (-10.0, 10.0)

    def __init__(
        self,
        input_shape: tuple[int, ...],
        hidden: int = 504,
        latent: int = 2,
        activations: Activations = ("relu", "identity", "elu", "sigmoid"),
        *,
        likelihood: str = "gaussian",
        **options: Unpack[Options],
    ) -> None:
        super().__init__(input_shape, hidden, latent, activations, **options)
        self.log_variance = nn.Linear(hidden, latent)
        self.likelihood = named(LIKELIHOODS, likelihood, "likelihood")(hidden)
        if not self.bounded:
            low, high = self.likelihood.low, self.likelihood.high
            check_range(f"likelihood {likelihood!r} on raw outputs", low, high, activations[3])

    def posterior(self, x: Tensor) -> Normal:
        """``q(h|x)``: a normal distribution for each number of the code, ``(N, latent)``.

        Args:
            x: inputs ``(N, *input_shape)`` in the units of `bounds`.

        Raises:
            ValueError: ``x`` has another shape.
        """
        return _normal(*self._moments(self.unit_inputs(x)))

    @torch.no_grad()
    def sample(self, count: int, generator: torch.Generator | None = None) -> Tensor:
        """New samples: the means ``mu(h)`` for codes h that are drawn from the prior.

        Args:
            count: how many.
            generator: to draw from, instead of torch's global random state.

        Returns:
            ``(count, *input_shape)`` in `bounds` (unless ``output="raw"``).
        """
        device = generator.device if generator else self.device
        code = torch.randn(count, self.latent, generator=generator, device=device)
        return self.render(code.to(self.device))

    def code(self, x: Tensor) -> Tensor:
        """A draw from the posterior of inputs in [0, 1] in training mode, its mean otherwise."""
        return _normal(*self._moments(x)).rsample() if self.training else self.encode(x)

    def loss_terms(self, batch: Batch) -> dict[str, Tensor]:
        """The negative log likelihood of one draw (``reconstruction``) and the divergence (``kl``).

        Nats, summed over the features of a sample, mean over samples; their sum is the negative
        ELBO.
        """
        x = self.unit_inputs(batch)
        mean, log_variance = self._moments(x)
        features = self.decoder_body(_normal(mean, log_variance).rsample())
        outputs = self.scaled(self.output_layer(features))
        return {
            "reconstruction": self.likelihood(features, outputs, x).mean(),
            "kl": kl_to_standard_normal(mean, log_variance).mean(),
        }

    def elbo(self, batch: Batch) -> Tensor:
        """The evidence lower bound in nats, mean over samples, from one draw for each."""
        return -total(self.loss_terms(batch))

    def logged(self, terms: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The terms, and the ELBO as ``elbo``."""
        return {**terms, "elbo": -total(terms)}

    def _moments(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log variance of the code, of inputs in [0, 1]."""
        features = self.encoder_body(x)
        log_variance = squashed(self.log_variance(features), *self.LOG_VARIANCE)
        return self.code_layer(features), log_variance


def _normal(mean: Tensor, log_variance: Tensor) -> Normal:
    return Normal(mean, torch.exp(0.5 * log_variance))
