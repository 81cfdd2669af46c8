r"""Denoising diffusion losses: predict the noise that was added to a sample.

.. math:: x_t = \sqrt{\bar\alpha_t}\, x_0 + \sqrt{1 - \bar\alpha_t}\, \epsilon, \qquad
          L_{\text{simple}} = \mathbb{E}_{t, x_0, \epsilon}
          \lVert \epsilon - \epsilon_\theta(x_t, t) \rVert^2

Draw a step for each sample and noise, compute x_t with `jssl.ops.diffusion.diffuse`,
apply the network, and pass its output to one of the objectives here.

Ho, Jain and Abbeel, "Denoising Diffusion Probabilistic Models", NeurIPS 2020.
https://arxiv.org/abs/2006.11239
"""

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jssl.ops.densities import (
    discretised_gaussian_log_density,
    gaussian_divergence,
    gaussian_log_density,
)
from jssl.ops.diffusion import (
    Schedule,
    Target,
    Variance,
    at_step,
    diffuse,
    diffusion_estimates,
    diffusion_posterior,
    diffusion_target,
)
from jssl.ops.precision import widen
from jssl.ops.shapes import expect


def simple_diffusion(
    levels: Schedule,
    output: Float[Array, "n *d"],
    x0: Float[Array, "n *d"],
    i: Int[Array, " n"],
    epsilon: Float[Array, "n *d"],
    target: Target = "epsilon",
) -> Float[Array, ""]:
    r"""Mean squared error of the network's output at x_t, all noise levels weighted alike.

    `target` is the quantity predicted: the noise, the sample x_0, or
    v = signal epsilon - noise x_0. The choice changes the relative weights of the levels:
    an error in epsilon is one in x_0 times signal / noise.

    Args:
      levels: the noise levels.
      output: the network's output for `diffuse(levels, x0, i, epsilon)`.
      x0: clean samples.
      i: the step of each sample minus 1: integers in [0, T).
      epsilon: the standard normal noise that was mixed in.
      target: "epsilon", "x0" or "v".

    Ho et al. 2020, eq. 14. https://arxiv.org/abs/2006.11239
    Salimans and Ho 2022, for v. https://arxiv.org/abs/2202.00512

    Raises:
      ValueError: when shapes differ or `target` is none of the three.

    >>> from jssl.ops.diffusion import linear_schedule
    >>> x0, epsilon = jnp.zeros((1, 2)), jnp.array([[1.0, 3.0]])
    >>> levels, i = linear_schedule(99), jnp.array([7])
    >>> print(simple_diffusion(levels, 0 * x0, x0, i, epsilon))    # (1 + 9) / 2
    5.0
    """
    (output,) = widen(output)
    wanted = diffusion_target(levels, x0, i, epsilon, target)
    _expect_output("simple_diffusion", output, wanted)
    return jnp.square(output - wanted).mean()


def variational_diffusion(
    levels: Schedule,
    output: Float[Array, "n *d"],
    x0: Float[Array, "n *d"],
    i: Int[Array, " n"],
    epsilon: Float[Array, "n *d"],
    target: Target = "epsilon",
    variance: Variance = "small",
    gray_levels: int | None = 256,
) -> Float[Array, ""]:
    r"""Minus the variational bound on log p(x_0), in nats per sample.

    .. math:: L_T + \sum_{t > 1} \mathrm{KL}(q(x_{t-1} | x_t, x_0) \,\|\,
              p_\theta(x_{t-1} | x_t)) - \log p_\theta(x_0 | x_1)

    estimated from one step per sample: T times that step's term, and L_T in closed form.
    It is unbiased when i is uniform. Where t > 1 and the variance is small, the term is
    beta_t^2 / (2 sigma_t^2 alpha_t (1 - alpha bar_t)) times the squared error of
    epsilon. Divide by d log 2 for bits per dimension.

    Args:
      levels: the noise levels.
      output: the network's output for `diffuse(levels, x0, i, epsilon)`.
      x0: clean samples, in [-1, 1] where `gray_levels` is a number.
      i: the step of each sample minus 1: integers in [0, T).
      epsilon: the standard normal noise that was mixed in.
      target: the quantity predicted: "epsilon", "x0" or "v".
      variance: the model's variance of x_{t-1} given x_t: "small", the posterior's, or
        "large", beta_t.
      gray_levels: number of values of x0, for log p(x_0 | x_1); None for a density.

    Ho et al. 2020, eq. 5, 12 and 13. https://arxiv.org/abs/2006.11239

    Raises:
      ValueError: when shapes differ, or `target` or `variance` is unknown.

    >>> from jssl.ops.diffusion import schedule
    >>> import numpy as np
    >>> levels = schedule(np.array([0.5, 0.99]))    # alpha bar 0.5 and 0.005
    >>> x0, epsilon = jnp.zeros((1, 1)), jnp.ones((1, 1))
    >>> perfect = variational_diffusion(levels, epsilon, x0, jnp.array([1]), epsilon)
    >>> print(f"{perfect:.2e}")    # L_T alone: -(0.005 + log 0.995) / 2
    6.27e-06
    """
    if variance not in ("small", "large"):
        raise ValueError(f"variance must be small or large, got {variance!r}")
    xt = diffuse(levels, x0, i, epsilon)
    x0, output = widen(x0, output)
    _expect_output("variational_diffusion", output, xt)
    guess, _ = diffusion_estimates(levels, xt, i, output, target)
    true_mean, _ = diffusion_posterior(levels, x0, xt, i)
    mean, _ = diffusion_posterior(levels, guess, xt, i)
    true_log_variance = at_step(levels.posterior_log_variance, i, x0)
    log_variance = at_step(_log_variance(levels, variance), i, x0)

    nats = gaussian_divergence(true_mean, true_log_variance, mean, log_variance)
    first = -_log_density(x0, mean, log_variance, gray_levels)
    at_first = i.reshape((-1,) + (1,) * (x0.ndim - 1)) == 0
    chosen = jnp.where(at_first, first, nats)
    terms = len(levels.beta) * chosen + _prior_divergence(levels, x0)
    return terms.reshape(len(x0), -1).sum(-1).mean()


def _log_variance(levels, variance):
    """The model's log variance of every step; the first takes the second's posterior."""
    if variance == "small":
        return levels.posterior_log_variance
    first = levels.posterior_log_variance[:1]
    return jnp.concatenate([first, jnp.log(levels.beta[1:])])


def _log_density(x0, mean, log_variance, gray_levels):
    """log p(x_0 | x_1), entry by entry."""
    if gray_levels is None:
        each = (x[..., None] for x in (x0, mean, log_variance))
        return gaussian_log_density(*each)
    return discretised_gaussian_log_density(x0, mean, 0.5 * log_variance, gray_levels)


def _prior_divergence(levels, x0):
    """L_T: the divergence of q(x_T | x_0) from the prior N(0, I), entry by entry."""
    last = levels.alpha_bar[-1].astype(x0.dtype)
    return gaussian_divergence(jnp.sqrt(last) * x0, jnp.log1p(-last))


def _expect_output(function, output, wanted):
    expect(function, output=(output, " ".join(map(str, wanted.shape))))
