r"""Lower bounds on the log likelihood of a latent variable model.

An encoder gives the approximate posterior q(z|x) = N(mu, diag sigma^2) of the latent
variable z of a sample, and a decoder the likelihood p(x|z). Then, in nats,

.. math:: \log p(x) \ge \mathbb{E}_q[\log p(x|z)] - \mathrm{KL}(q(z|x) \,\|\, p(z)),
          \qquad p(z) = N(0, I)

The losses are minus the bounds. Log likelihoods are those of `jssl.ops.densities`: summed
over a sample's entries, not averaged; with an average over d entries, the divergence
would be weighted d times too high.

Kingma and Welling, "Auto-Encoding Variational Bayes", ICLR 2014.
https://arxiv.org/abs/1312.6114
Burda, Grosse and Salakhutdinov, "Importance Weighted Autoencoders", ICLR 2016.
https://arxiv.org/abs/1509.00519
"""

import math

import jax.numpy as jnp
from jax.scipy.special import logsumexp
from jaxtyping import Array, Float, ScalarLike

from jssl.ops.densities import gaussian_divergence, gaussian_log_density
from jssl.ops.gather import pmean
from jssl.ops.precision import widen
from jssl.ops.shapes import expect


def gaussian_kl(
    mean: Float[Array, "n d"],
    log_variance: Float[Array, "n d"],
    prior_mean: Float[Array, "n d"] | None = None,
    prior_log_variance: Float[Array, "n d"] | None = None,
) -> Float[Array, ""]:
    r"""Kullback-Leibler divergence of q = N(mean, exp(log_variance)) from its prior.

    .. math:: \frac{1}{2n} \sum_{ij} \sigma_{ij}^2 + \mu_{ij}^2 - 1 - \log \sigma_{ij}^2

    for the default prior N(0, I); in general `jssl.ops.densities.gaussian_divergence`,
    summed over d and averaged over samples, in nats. `log_variance` is log sigma^2, not
    log sigma.

    Kingma and Welling 2014, appendix B. https://arxiv.org/abs/1312.6114

    Raises:
      ValueError: when shapes differ or an argument is not floating.

    >>> mean, log_variance = jnp.array([[1.0]]), jnp.log(jnp.array([[0.25]]))
    >>> print(f"{gaussian_kl(mean, log_variance):.4f}")  # (1/4 + 1 - 1 + log 4) / 2
    0.8181
    """
    expect(
        "gaussian_kl",
        mean=(mean, "n d"),
        log_variance=(log_variance, "n d"),
        prior_mean=(prior_mean, "n d"),
        prior_log_variance=(prior_log_variance, "n d"),
    )
    nats = gaussian_divergence(mean, log_variance, prior_mean, prior_log_variance)
    return nats.sum(-1).mean()


def negative_elbo(
    log_likelihood: Float[Array, " n"],
    mean: Float[Array, "n d"],
    log_variance: Float[Array, "n d"],
    beta: ScalarLike = 1.0,
    free_bits: ScalarLike = 0.0,
    axis_name: str | None = None,
) -> tuple[Float[Array, ""], dict[str, Float[Array, ""]]]:
    r"""Negative evidence lower bound, in nats per sample: the VAE's loss.

    .. math:: -\frac{1}{n} \sum_i \log p(x_i | z_i) + \beta \sum_j
              \max\Big( \lambda, \frac{1}{n} \sum_i \mathrm{KL}_{ij} \Big)

    `log_likelihood` is log p(x|z) at a sample z of q (`reparameterise`), or its mean over
    samples. beta != 1 is the beta-VAE; the loss is then not a bound. lambda is
    `free_bits`: no unit is penalized below so many nats (averaged over all devices'
    samples with `axis_name`).

    Kingma and Welling 2014, eq. 3; Higgins et al. 2017, "beta-VAE", ICLR, for beta;
    Kingma et al. 2016, appendix C.8, for free bits. https://arxiv.org/abs/1606.04934

    Returns:
      The loss, and its parts: "reconstruction" (-log p(x|z)) and "kl", in nats per
      sample, with neither beta nor free bits.

    Raises:
      ValueError: when shapes differ or an argument is not floating.

    >>> mean, log_variance = jnp.ones((1, 2)), jnp.zeros((1, 2))
    >>> loss, parts = negative_elbo(jnp.array([-5.0]), mean, log_variance)
    >>> print(loss, parts["kl"])    # 5 + 2 / 2
    6.0 1.0
    """
    expect(
        "negative_elbo",
        log_likelihood=(log_likelihood, "n"),
        mean=(mean, "n d"),
        log_variance=(log_variance, "n d"),
    )
    log_likelihood, mean, log_variance = widen(log_likelihood, mean, log_variance)
    reconstruction = -pmean(log_likelihood.mean(), axis_name)
    units = pmean(gaussian_divergence(mean, log_variance).mean(0), axis_name)  # [d]
    loss = reconstruction + beta * jnp.maximum(units, free_bits).sum()
    return loss, {"reconstruction": reconstruction, "kl": units.sum()}


def negative_iwae(
    log_likelihood: Float[Array, "k n"],
    z: Float[Array, "k n d"],
    mean: Float[Array, "n d"],
    log_variance: Float[Array, "n d"],
) -> Float[Array, ""]:
    r"""Negative importance-weighted bound of k samples of z, in nats per sample of x.

    .. math:: -\frac{1}{n} \sum_i \log \frac{1}{k} \sum_{l=1}^k
              \frac{p(x_i | z_{li}) \, p(z_{li})}{q(z_{li} | x_i)}

    z are draws of q = N(mean, exp(log_variance)) and `log_likelihood` is log p(x|z) at
    each. One draw gives the ELBO (with a Monte Carlo estimate of the divergence); more
    draws never loosen the bound in expectation.

    Burda et al. 2016, eq. 8. https://arxiv.org/abs/1509.00519

    Raises:
      ValueError: when shapes differ or an argument is not floating.

    >>> zero = jnp.zeros((1, 1))    # q is the prior, so both weights are likelihoods
    >>> log_likelihood = jnp.log(jnp.array([[0.2], [0.4]]))
    >>> loss = negative_iwae(log_likelihood, jnp.zeros((2, 1, 1)), zero, zero)
    >>> print(f"{loss:.4f}")    # -log 0.3
    1.2040
    """
    expect(
        "negative_iwae",
        log_likelihood=(log_likelihood, "k n"),
        z=(z, "k n d"),
        mean=(mean, "n d"),
        log_variance=(log_variance, "n d"),
    )
    log_likelihood, z, mean, log_variance = widen(log_likelihood, z, mean, log_variance)
    prior = gaussian_log_density(z, jnp.zeros_like(z), jnp.zeros_like(z))
    posterior = gaussian_log_density(z, mean[None], log_variance[None])
    log_weights = log_likelihood + prior - posterior  # [k, n]
    return math.log(len(z)) - logsumexp(log_weights, axis=0).mean()
