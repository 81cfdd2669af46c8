r"""Log densities and divergences of generative models, in nats.

.. math:: \log N(x; \mu, \sigma^2)
          = -\tfrac{1}{2} \sum_j \Big( \frac{(x_j - \mu_j)^2}{\sigma_j^2}
            + \log 2 \pi \sigma_j^2 \Big)

Variances are parameterized by their logarithm, so any real network output is valid. The
exponential continues as its tangent beyond e^40, so that values and gradients are finite
for every log variance.
"""

import math

import jax
import jax.numpy as jnp
from jax.scipy.special import log_ndtr
from jaxtyping import Array, Float

from jssl.ops.precision import widen
from jssl.ops.shapes import expect


def bernoulli_log_density(
    x: Float[Array, "*#b d"], logits: Float[Array, "*#b d"]
) -> Float[Array, "..."]:
    r"""Log probability of binary x given logits s: the sum over d of x s - log(1 + e^s).

    Leading axes broadcast. For gray values in [0, 1] it is not a log likelihood.

    >>> log_p = bernoulli_log_density(jnp.array([[1.0, 0.0]]), jnp.zeros((1, 2)))
    >>> print(f"{log_p[0]:.4f}")    # -2 log 2
    -1.3863
    """
    expect("bernoulli_log_density", x=(x, "... d"), logits=(logits, "... d"))
    x, logits = widen(x, logits)
    return (x * logits - jax.nn.softplus(logits)).sum(-1)


def gaussian_log_density(
    x: Float[Array, "*#b d"],
    mean: Float[Array, "*#b d"],
    log_variance: Float[Array, "*#b d"],
) -> Float[Array, "..."]:
    r"""Log density of N(mean, diag exp(log_variance)), summed over d.

    Leading axes broadcast.

    >>> x = jnp.zeros((1, 1))
    >>> print(f"{gaussian_log_density(x, x, x)[0]:.4f}")    # -log(2 pi) / 2
    -0.9189
    """
    expect(
        "gaussian_log_density",
        x=(x, "... d"),
        mean=(mean, "... d"),
        log_variance=(log_variance, "... d"),
    )
    x, mean, log_variance = widen(x, mean, log_variance)
    square = jnp.square(x - mean) * _exp(-log_variance)
    return -0.5 * (square + log_variance + math.log(2 * math.pi)).sum(-1)


def laplace_log_density(
    x: Float[Array, "*#b d"],
    mean: Float[Array, "*#b d"],
    log_scale: Float[Array, "*#b d"],
) -> Float[Array, "..."]:
    r"""Log density of the Laplace distribution of scale s, summed over d.

    .. math:: -\sum_j \Big( \frac{|x_j - \mu_j|}{s_j} + \log 2 s_j \Big)

    Leading axes broadcast. Its maximum likelihood is the least absolute error.

    >>> x = jnp.zeros((1, 1))
    >>> print(f"{laplace_log_density(x, x + 1, x)[0]:.4f}")    # -1 - log 2
    -1.6931
    """
    expect(
        "laplace_log_density",
        x=(x, "... d"),
        mean=(mean, "... d"),
        log_scale=(log_scale, "... d"),
    )
    x, mean, log_scale = widen(x, mean, log_scale)
    apart = jnp.abs(x - mean) * _exp(-log_scale)
    return -(apart + log_scale + math.log(2)).sum(-1)


def gaussian_divergence(
    mean: Float[Array, "*#b"],
    log_variance: Float[Array, "*#b"],
    prior_mean: Float[Array, "*#b"] | None = None,
    prior_log_variance: Float[Array, "*#b"] | None = None,
) -> Float[Array, "..."]:
    r"""Kullback-Leibler divergence of a Gaussian from its prior, per unit.

    .. math:: \tfrac{1}{2} \Big( \frac{\sigma^2 + (\mu - m)^2}{s^2} - 1
              - \log \frac{\sigma^2}{s^2} \Big)

    The prior N(m, s^2) defaults to N(0, 1). All axes broadcast.

    >>> mean, log_variance = jnp.array([1.0]), jnp.log(jnp.array([0.25]))
    >>> print(f"{gaussian_divergence(mean, log_variance)[0]:.4f}")  # 1/8 + log 2
    0.8181
    """
    zero = jnp.zeros_like(mean)
    prior_mean = zero if prior_mean is None else prior_mean
    prior_log_variance = zero if prior_log_variance is None else prior_log_variance
    expect(
        "gaussian_divergence",
        mean=(mean, "..."),
        log_variance=(log_variance, "..."),
        prior_mean=(prior_mean, "..."),
        prior_log_variance=(prior_log_variance, "..."),
    )
    q, log_q, p, log_p = widen(mean, log_variance, prior_mean, prior_log_variance)
    ratio = log_q - log_p
    return 0.5 * (_exp(ratio) + jnp.square(q - p) * _exp(-log_p) - 1 - ratio)


def reparameterise(
    key: jax.Array, mean: Float[Array, "*b d"], log_variance: Float[Array, "*b d"]
) -> Float[Array, "*b d"]:
    r"""Sample N(mean, exp(log_variance)), differentiable by both parameters.

    .. math:: z = \mu + \sigma \epsilon, \quad \epsilon \sim N(0, I)

    Kingma and Welling 2014, section 2.4. https://arxiv.org/abs/1312.6114

    >>> mean = jnp.ones((2, 3))
    >>> bool((reparameterise(jax.random.key(0), mean, mean - 1e4) == mean).all())
    True
    """
    expect("reparameterise", mean=(mean, "... d"), log_variance=(log_variance, "... d"))
    mean, log_variance = widen(mean, log_variance)
    noise = jax.random.normal(key, mean.shape, mean.dtype)
    return mean + _exp(0.5 * log_variance) * noise


def discretised_gaussian_log_density(
    x: Float[Array, "*#b"],
    mean: Float[Array, "*#b"],
    log_scale: Float[Array, "*#b"],
    levels: int = 256,
) -> Float[Array, "..."]:
    r"""Log probability of x, one of `levels` gray values spaced evenly over [-1, 1].

    A level's probability is that of the interval of width 2 / (levels - 1) around it,
    unbounded for the first and the last, so that all probabilities sum to 1:

    .. math:: \log \Big[ \Phi\Big(\frac{x + \delta - \mu}{\sigma}\Big)
              - \Phi\Big(\frac{x - \delta - \mu}{\sigma}\Big) \Big],
              \quad \delta = \frac{1}{\text{levels} - 1}

    Ho et al. 2020, "Denoising Diffusion Probabilistic Models", eq. 13.
    https://arxiv.org/abs/2006.11239

    >>> zero = jnp.zeros(())
    >>> log_p = discretised_gaussian_log_density(zero + 1, zero, zero, levels=2)
    >>> print(f"{log_p:.4f}")    # of two levels, -1 and 1, either is as likely
    -0.6931
    """
    expect(
        "discretised_gaussian_log_density",
        x=(x, "..."),
        mean=(mean, "..."),
        log_scale=(log_scale, "..."),
    )
    x, mean, log_scale = widen(x, mean, log_scale)
    delta, per_scale = 1 / (levels - 1), _exp(-log_scale, knee=20)
    low, high = (x - delta - mean) * per_scale, (x + delta - mean) * per_scale
    first, last = x < -1 + delta, x > 1 - delta
    # In the upper tail both probabilities round to 1: mirror the interval there.
    mirror = last | (~first & (low + high > 0))
    near, far = jnp.where(mirror, -low, high), jnp.where(mirror, -high, low)
    log_near, log_far = _log_cdf(jnp.stack([near, far]))
    gap = jnp.minimum(log_far - log_near, -jnp.finfo(x.dtype).eps)
    return log_near + jnp.where(first | last, 0, jnp.log(-jnp.expm1(gap)))


def _exp(x, knee=40):
    """e^x, and beyond the knee its tangent there."""
    return jnp.exp(jnp.minimum(x, knee)) * (1 + jnp.maximum(x - knee, 0))


def _log_cdf(z):
    """log Phi(z); below -20 by its asymptotic series, as log_ndtr's gradient is wrong."""
    far = jnp.minimum(z, -20)
    series = jnp.log1p(-(far**-2) + 3 * far**-4)
    tail = -0.5 * far**2 - jnp.log(-far) - 0.5 * math.log(2 * math.pi) + series
    return jnp.where(z > -20, log_ndtr(jnp.maximum(z, -20)), tail)
