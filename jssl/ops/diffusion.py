r"""Noise schedules, forward diffusion and reverse steps of diffusion models.

Over T steps a sample x_0 becomes noise, x_t = signal_t x_0 + noise_t epsilon:

.. math:: q(x_t | x_0) = N(\sqrt{\bar\alpha_t}\, x_0, (1 - \bar\alpha_t) I), \qquad
          \bar\alpha_t = \prod_{s \le t} (1 - \beta_s)

Steps are numbered t = 1 ... T in the papers and by the array index i = t - 1 here.

Sohl-Dickstein et al., "Deep Unsupervised Learning using Nonequilibrium
Thermodynamics", ICML 2015. https://arxiv.org/abs/1503.03585
Ho, Jain and Abbeel, "Denoising Diffusion Probabilistic Models", NeurIPS 2020.
https://arxiv.org/abs/2006.11239
"""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jssl.ops.explicit import compares_rows
from jssl.ops.precision import widen
from jssl.ops.shapes import expect

Target = Literal["epsilon", "x0", "v"]
Variance = Literal["small", "large"]


class Schedule(NamedTuple):
    r"""Coefficients of T noise levels; entry i belongs to step t = i + 1.

    Attributes:
      beta: [T] variance added by the step.
      alpha_bar: [T] fraction of the sample's variance that remains.
      signal: [T] sqrt(alpha_bar).
      noise: [T] sqrt(1 - alpha_bar).
      posterior_x0: [T] weight of x_0 in the mean of q(x_{t-1} | x_t, x_0).
      posterior_xt: [T] weight of x_t in the same mean.
      posterior_variance: [T] its variance: 0 at the first step.
      posterior_log_variance: [T] its log variance; the first entry repeats the second.
    """

    beta: Float[Array, " t"]
    alpha_bar: Float[Array, " t"]
    signal: Float[Array, " t"]
    noise: Float[Array, " t"]
    posterior_x0: Float[Array, " t"]
    posterior_xt: Float[Array, " t"]
    posterior_variance: Float[Array, " t"]
    posterior_log_variance: Float[Array, " t"]


def schedule(beta: np.ndarray) -> Schedule:
    r"""Build a schedule from the variance added by each step, computed in float64.

    .. math:: q(x_{t-1} | x_t, x_0) = N\Big(
              \frac{\sqrt{\bar\alpha_{t-1}} \beta_t}{1 - \bar\alpha_t} x_0
              + \frac{\sqrt{\alpha_t} (1 - \bar\alpha_{t-1})}{1 - \bar\alpha_t} x_t, \;
              \frac{1 - \bar\alpha_{t-1}}{1 - \bar\alpha_t} \beta_t I \Big)

    Ho et al. 2020, eq. 7. https://arxiv.org/abs/2006.11239

    Raises:
      ValueError: when `beta` is not a vector of at least two numbers in (0, 1).

    >>> schedule(np.array([0.2, 0.5])).alpha_bar    # 0.8, 0.8 * 0.5
    Array([0.8, 0.4], dtype=float32)
    """
    beta = np.asarray(beta, np.float64)
    if beta.ndim != 1 or len(beta) < 2 or not ((beta > 0) & (beta < 1)).all():
        raise ValueError(
            f"schedule: beta must be a vector of at least 2 numbers between 0 and 1, "
            f"got {beta!r}"
        )
    alpha_bar = np.cumprod(1 - beta)
    before = np.append(1.0, alpha_bar[:-1])
    variance = (1 - before) / (1 - alpha_bar) * beta
    arrays = Schedule(
        beta=beta,
        alpha_bar=alpha_bar,
        signal=np.sqrt(alpha_bar),
        noise=np.sqrt(1 - alpha_bar),
        posterior_x0=np.sqrt(before) * beta / (1 - alpha_bar),
        posterior_xt=np.sqrt(1 - beta) * (1 - before) / (1 - alpha_bar),
        posterior_variance=variance,
        posterior_log_variance=np.log(np.append(variance[1], variance[1:])),
    )
    return Schedule(*map(jnp.asarray, arrays))


def linear_schedule(steps: int) -> Schedule:
    """Linear schedule: beta from 1e-4 to 0.02 over 1,000 steps, scaled by 1,000 / steps.

    Ho et al. 2020, section 4. https://arxiv.org/abs/2006.11239

    >>> print(f"{linear_schedule(1000).alpha_bar[499]:.6f}")
    0.078587
    """
    beta = np.linspace(1e-4, 0.02, steps) * 1000 / steps
    return schedule(np.minimum(beta, 0.999))


def scaled_linear_schedule(steps: int) -> Schedule:
    """Scaled linear schedule of latent diffusion: the square root of beta is linear.

    Rombach et al. 2022, "High-Resolution Image Synthesis with Latent Diffusion Models".
    https://arxiv.org/abs/2112.10752

    >>> print(f"{scaled_linear_schedule(1000).alpha_bar[0]:.5f}")    # 1 - 0.00085
    0.99915
    """
    return schedule(np.linspace(0.00085**0.5, 0.012**0.5, steps) ** 2)


def cosine_schedule(steps: int) -> Schedule:
    r"""Cosine schedule: alpha bar decreases as a squared cosine, slowly at both ends.

    .. math:: \bar\alpha_t = \frac{f(t / T)}{f(0)}, \qquad
              f(u) = \cos^2 \Big( \frac{u + 0.008}{1.008} \frac{\pi}{2} \Big)

    with beta clipped at 0.999.

    Nichol and Dhariwal 2021, "Improved Denoising Diffusion Probabilistic Models",
    eq. 17. https://arxiv.org/abs/2102.09672

    >>> print(f"{cosine_schedule(1000).alpha_bar[499]:.6f}")    # a half, nearly
    0.493844
    """
    u = np.arange(steps + 1) / steps
    f = np.cos((u + 0.008) / 1.008 * np.pi / 2) ** 2
    return schedule(np.minimum(1 - f[1:] / f[:-1], 0.999))


SCHEDULES = {
    "cosine": cosine_schedule,
    "linear": linear_schedule,
    "scaled_linear": scaled_linear_schedule,
}
TARGETS: dict[str, Target] = {x: x for x in get_args(Target)}


@compares_rows(like="i")
def at_step(
    values: Float[Array, " t"], i: Int[Array, " n"], x: Float[Array, "n *d"]
) -> Float[Array, "n ..."]:
    """values[i], with axes that broadcast against x, and in the dtype of x.

    >>> at_step(jnp.array([5.0, 6.0]), jnp.array([1, 1, 0]), jnp.ones((3, 2))).tolist()
    [[6.0], [6.0], [5.0]]
    """
    return values[i].reshape((-1,) + (1,) * (x.ndim - 1)).astype(x.dtype)


def diffuse(
    levels: Schedule,
    x0: Float[Array, "n *d"],
    i: Int[Array, " n"],
    epsilon: Float[Array, "n *d"],
) -> Float[Array, "n *d"]:
    """Forward diffusion: x_t = signal x_0 + noise epsilon, each sample at its own step.

    >>> levels = schedule(np.array([0.36, 0.5]))    # alpha bar 0.64 and 0.32
    >>> x = diffuse(levels, jnp.ones((1, 1)), jnp.array([0]), jnp.ones((1, 1)))
    >>> print(f"{x[0, 0]:.1f}")    # 0.8 + 0.6
    1.4
    """
    x0, epsilon = _samples("diffuse", i, x0=x0, epsilon=epsilon)
    return at_step(levels.signal, i, x0) * x0 + at_step(levels.noise, i, x0) * epsilon


def diffusion_target(
    levels: Schedule,
    x0: Float[Array, "n *d"],
    i: Int[Array, " n"],
    epsilon: Float[Array, "n *d"],
    target: Target = "epsilon",
) -> Float[Array, "n *d"]:
    r"""Regression target of the network: the noise epsilon, the sample x_0, or v.

    .. math:: v = \sqrt{\bar\alpha_t}\, \epsilon - \sqrt{1 - \bar\alpha_t}\, x_0

    Salimans and Ho 2022, "Progressive Distillation for Fast Sampling of Diffusion
    Models", section 4, for v. https://arxiv.org/abs/2202.00512

    Raises:
      ValueError: when shapes differ or `target` is none of the three.

    >>> levels = schedule(np.array([0.36, 0.5]))
    >>> one, i = jnp.ones((1, 1)), jnp.array([0])
    >>> print(f"{diffusion_target(levels, one, i, one, 'v')[0, 0]:.1f}")    # 0.8 - 0.6
    0.2
    """
    x0, epsilon = _samples("diffusion_target", i, x0=x0, epsilon=epsilon)
    _known(target)
    if target == "epsilon":
        return epsilon
    if target == "x0":
        return x0
    return at_step(levels.signal, i, x0) * epsilon - at_step(levels.noise, i, x0) * x0


def diffusion_estimates(
    levels: Schedule,
    xt: Float[Array, "n *d"],
    i: Int[Array, " n"],
    output: Float[Array, "n *d"],
    target: Target = "epsilon",
    clip: bool = False,
) -> tuple[Float[Array, "n *d"], Float[Array, "n *d"]]:
    r"""Estimates of the sample x_0 and the noise epsilon from a network's output at x_t.

    From v: x_0 = signal x_t - noise v, and epsilon = noise x_t + signal v. The score,
    the gradient of log q(x_t), is then estimated by -epsilon / noise. With `clip`, x_0 is
    clipped to [-1, 1], and epsilon is that of the clipped x_0.

    Raises:
      ValueError: when shapes differ or `target` is none of the three.

    >>> levels = schedule(np.array([0.36, 0.5]))
    >>> xt, i = jnp.array([[1.4]]), jnp.array([0])
    >>> x0, epsilon = diffusion_estimates(levels, xt, i, jnp.array([[0.2]]), "v")
    >>> print(f"{x0[0, 0]:.1f} {epsilon[0, 0]:.1f}")
    1.0 1.0
    """
    xt, output = _samples("diffusion_estimates", i, xt=xt, output=output)
    _known(target)
    signal, noise = at_step(levels.signal, i, xt), at_step(levels.noise, i, xt)
    if target == "epsilon":
        x0, epsilon = (xt - noise * output) / signal, output
    elif target == "x0":
        x0, epsilon = output, (xt - signal * output) / noise
    else:
        x0, epsilon = signal * xt - noise * output, noise * xt + signal * output
    if not clip:
        return x0, epsilon
    x0 = jnp.clip(x0, -1, 1)
    return x0, (xt - signal * x0) / noise


def diffusion_posterior(
    levels: Schedule,
    x0: Float[Array, "n *d"],
    xt: Float[Array, "n *d"],
    i: Int[Array, " n"],
) -> tuple[Float[Array, "n *d"], Float[Array, "n ..."]]:
    """Mean and variance of x_{t-1}, given x_t and x_0 or an estimate of it.

    A sample of it is one ancestral step; the first step (i = 0) has variance 0. The
    variance has one number per sample, with axes that broadcast against the mean.

    Ho et al. 2020, eq. 7. https://arxiv.org/abs/2006.11239

    >>> levels = schedule(np.array([0.5, 0.5]))    # alpha bar 1/2 and 1/4
    >>> one = jnp.ones((1, 1))
    >>> mean, variance = diffusion_posterior(levels, 0 * one, one, jnp.array([1]))
    >>> print(f"{mean[0, 0]:.4f} {variance[0, 0]:.4f}")    # sqrt(1/2) 2/3, 1/2 2/3
    0.4714 0.3333
    """
    x0, xt = _samples("diffusion_posterior", i, x0=x0, xt=xt)
    of_x0 = at_step(levels.posterior_x0, i, x0)
    of_xt = at_step(levels.posterior_xt, i, x0)
    return of_x0 * x0 + of_xt * xt, at_step(levels.posterior_variance, i, x0)


def ddim_step(
    levels: Schedule,
    x0: Float[Array, "n *d"],
    epsilon: Float[Array, "n *d"],
    i: Int[Array, " n"],
    j: Int[Array, " n"],
    eta: float | int = 0.0,
    noise: Float[Array, "n *d"] | None = None,
    variance: Variance = "small",
) -> Float[Array, "n *d"]:
    r"""DDIM update from step i to any earlier step j; j = -1 is the sample itself.

    .. math:: x_s = \sqrt{\bar\alpha_s}\, \hat x_0
              + \sqrt{1 - \bar\alpha_s - \sigma^2}\, \hat\epsilon + \sigma z, \qquad
              \sigma^2 = \eta^2 \frac{1 - \bar\alpha_s}{1 - \bar\alpha_t}
              \Big( 1 - \frac{\bar\alpha_t}{\bar\alpha_s} \Big)

    The estimates of x_0 and epsilon are those of `diffusion_estimates`; if x_0 is
    clipped, recompute epsilon from it. eta = 0 is deterministic; eta = 1 is the ancestral
    sampler, with `noise` for z. With the large variance z has the factor
    eta sqrt(1 - alpha bar_t / alpha bar_s), which is sqrt(beta_t) between neighbors, where
    it has sigma with the small one, the posterior's. For j = -1 there is no noise.

    Song, Meng and Ermon 2021, "Denoising Diffusion Implicit Models", eq. 12 and 16, and
    section 5 for the large variance. https://arxiv.org/abs/2010.02502

    Raises:
      ValueError: when shapes differ, `variance` is unknown, or eta is not 0 and there is no
        `noise`.

    >>> levels, one = schedule(np.array([0.36, 0.5])), jnp.ones((1, 1))
    >>> x = ddim_step(levels, one, one, jnp.array([1]), jnp.array([0]))
    >>> print(f"{x[0, 0]:.1f}")    # 0.8 + 0.6
    1.4
    """
    if eta and noise is None:
        raise ValueError(f"ddim_step: eta={eta} needs noise, got None; pass noise or eta=0")
    if variance not in ("small", "large"):
        raise ValueError(f"variance must be small or large, got {variance!r}")
    noise = jnp.zeros_like(x0) if noise is None else noise
    expect("ddim_step", i=(i, "n", "int"), j=(j, "n", "int"))
    x0, epsilon, noise = _samples("ddim_step", i, x0=x0, epsilon=epsilon, noise=noise)
    kept = at_step(levels.alpha_bar, i, x0) / at_step(
        jnp.append(levels.alpha_bar, 1.0), j, x0
    )
    now = at_step(jnp.square(levels.noise), i, x0)
    then = at_step(jnp.square(jnp.append(levels.noise, 0.0)), j, x0)  # -1 takes the last
    signal = at_step(jnp.append(levels.signal, 1.0), j, x0)
    # 1 - kept, by the form that does not cancel: both are differences of numbers near 1.
    added = jnp.where(now < 0.5, (now - then) / jnp.square(signal), 1 - kept)
    large = eta**2 * added
    small = large * then / now
    old = jnp.sqrt(jnp.maximum(then - small, 0))
    spread = small if variance == "small" else jnp.where(then > 0, large, 0)
    return signal * x0 + old * epsilon + jnp.sqrt(spread) * noise


def ddim_indices(levels: Schedule, steps: int = 0) -> np.ndarray:
    """Ascending indices of `steps` levels, spread evenly from 0 to T - 1; 0: all T.

    Raises:
      ValueError: when there are fewer than `steps` levels, or `steps` is negative.

    >>> ddim_indices(cosine_schedule(200), 5).tolist()
    [0, 50, 100, 149, 199]
    """
    count = len(levels.beta)
    if not 0 <= steps <= count:
        raise ValueError(f"sampling steps must be 0 (all) to {count}, got {steps}")
    return np.round(np.linspace(0, count - 1, steps or count)).astype(np.int32)


def partly_diffuse(
    levels: Schedule,
    x0: Float[Array, "n *d"],
    indices: Int[np.ndarray, " s"],
    strength: Float[Array, " n"],
    epsilon: Float[Array, "n *d"],
) -> tuple[Float[Array, "n *d"], Int[Array, " n"]]:
    """Diffuse samples by a fraction of the levels, to be denoised from there.

    Each sample goes to level round(strength s) of the s levels at `indices`: strength 0
    returns it unchanged, 1 gives nearly pure noise.

    Meng et al. 2022, "SDEdit". https://arxiv.org/abs/2108.01073

    Returns:
      x_t, and the number of levels that `reverse_diffusion` has to undo.

    >>> levels, one = schedule(np.array([0.36, 0.5])), jnp.ones((2, 1))
    >>> half = jnp.array([0.0, 0.5])    # none of two levels, and one: 0.8 + 0.6
    >>> xt, count = partly_diffuse(levels, one, np.arange(2), half, one)
    >>> print(f"{xt[0, 0]:.1f} {xt[1, 0]:.1f}", count.tolist())
    1.0 1.4 [0, 1]
    """
    count = jnp.round(strength * len(indices)).astype(jnp.int32)
    at = jnp.asarray(indices)[jnp.maximum(count - 1, 0)]
    some = (count > 0).reshape((-1,) + (1,) * (x0.ndim - 1))
    return jnp.where(some, diffuse(levels, x0, at, epsilon), x0), count


def reverse_diffusion(
    key: jax.Array,
    levels: Schedule,
    estimate: Callable[[Any, Any], tuple[Any, Any]],
    xt: Float[Array, "n *d"],
    indices: Int[np.ndarray, " s"],
    *,
    eta: float | int = 0.0,
    variance: Variance = "small",
    count: Int[Array, " n"] | None = None,
) -> Float[Array, "n *d"]:
    """Samples of x_0 from x_t, by `ddim_step` through the levels at `indices`.

    With all levels and eta = 1 it is the ancestral sampler of Ho et al., with the small
    (posterior) or large (beta) variance; with eta = 0 it is deterministic and the key has
    no effect. Not meant to be differentiated.

    Args:
      key: of the noise.
      levels: the noise levels.
      estimate: (x_t, i) -> estimates of x_0 and epsilon, as of `diffusion_estimates`.
      xt: at the last level of `indices`, or where `partly_diffuse` has put it.
      indices: ascending, from `ddim_indices`.
      eta, variance: see `ddim_step`.
      count: levels to undo of each sample, from `partly_diffuse`; None: all.

    >>> levels = linear_schedule(100)
    >>> half = lambda xt, i: (0.5 + 0 * xt, (xt - 0.5 * levels.signal[i]) / levels.noise[i])
    >>> x = reverse_diffusion(
    ...     jax.random.key(0), levels, half, jnp.ones(1), ddim_indices(levels, 10), eta=1.0
    ... )
    >>> print(x)
    [0.5]
    """
    indices = np.asarray(indices)
    order = np.arange(len(indices))[::-1]
    to = np.append(-1, indices[:-1])[::-1]

    def back(xt, step):
        k, i, j, key = step
        rows = jnp.zeros(len(xt), jnp.int32)
        x0, epsilon = estimate(xt, rows + i)
        noise = jax.random.normal(key, xt.shape, xt.dtype) if eta else None
        x = ddim_step(levels, x0, epsilon, rows + i, rows + j, eta, noise, variance)
        if count is not None:
            due = (k < count).reshape((-1,) + (1,) * (xt.ndim - 1))
            x = jnp.where(due, x, xt)
        return x.astype(xt.dtype), None

    steps = order, indices[::-1], to, jax.random.split(key, len(indices))
    return jax.lax.scan(back, xt, steps)[0]


def guided(
    unconditional: Float[Array, "n *d"],
    conditional: Float[Array, "n *d"],
    scale: float | int,
) -> Float[Array, "n *d"]:
    """Classifier-free guidance: u + scale (c - u) of a network's outputs u and c.

    Scale 0 is unconditional and 1 conditional; the paper's w is scale - 1. Outputs may be
    estimates of epsilon, x_0 or v, before any clipping.

    Ho and Salimans 2022. https://arxiv.org/abs/2207.12598

    >>> guided(jnp.array([[1.0]]), jnp.array([[2.0]]), 3.0).tolist()
    [[4.0]]
    """
    return unconditional + scale * (conditional - unconditional)


def timestep_embedding(
    t: Int[Array, " n"] | Float[Array, " n"], width: int, order: str = "sin"
) -> Float[Array, "n d"]:
    r"""Sine-cosine embeddings of steps, [n, width], with periods from 2 pi to 2 pi 10^4.

    .. math:: \omega_j = 10^{-4 j / (h - 1)} \text{ (sin)} \quad\text{or}\quad
              10^{-4 j / h} \text{ (cos)}, \qquad h = \text{width} / 2

    Args:
      t: steps; not fractions of T, which would all look alike.
      width: even.
      order: "sin", sines first, as in the code of Ho et al. 2020, or "cos", cosines first,
        as in that of Nichol and Dhariwal 2021 and of latent diffusion.

    Raises:
      ValueError: when `width` is odd or less than 4, or `order` is unknown.

    >>> timestep_embedding(jnp.array([0]), 4).tolist()
    [[0.0, 0.0, 1.0, 1.0]]
    """
    if width % 2 or width < 4 or order not in ("sin", "cos"):
        raise ValueError(
            f"timestep_embedding: width must be even, 4 or more, and order sin or cos, got "
            f"{width} and {order!r}"
        )
    half = width // 2
    omega = 1e4 ** (-np.arange(half) / (half - 1 if order == "sin" else half))
    angles = t[:, None] * jnp.asarray(omega)
    sin, cos = jnp.sin(angles), jnp.cos(angles)
    return jnp.concatenate([sin, cos] if order == "sin" else [cos, sin], 1)


def _samples(function, i, **arrays):
    """Check that the arrays are float[n, ...] of one shape, with one step i per sample."""
    axes = max(jnp.ndim(x) for x in arrays.values())
    shape = " ".join(["n", *(f"d{axis}" for axis in range(1, axes))])
    named = {name: (x, shape) for name, x in arrays.items()}
    expect(function, i=(i, "n", "int"), **named)
    return widen(*arrays.values())


def _known(target):
    if target not in TARGETS:
        raise ValueError(f"target must be epsilon, x0 or v, got {target!r}")
