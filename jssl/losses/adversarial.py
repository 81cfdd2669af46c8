r"""Adversarial losses: a generator against a discriminator of real and fake samples.

.. math:: \min_G \max_D \; \mathbb{E}_x[\log D(x)] + \mathbb{E}_z[\log(1 - D(G(z)))]

Every loss takes the discriminator's *logits* s, with D = sigmoid(s), on real and on
generated samples, of any shape (one per sample, or a map of them), and is minimized by
the player in its name. No gradient is stopped here: each step differentiates with
respect to one player's weights alone.

Goodfellow et al., "Generative Adversarial Nets", NIPS 2014.
https://arxiv.org/abs/1406.2661
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.nn import relu, softplus
from jaxtyping import Array, Float, ScalarLike

from jssl.ops.precision import widen
from jssl.ops.shapes import expect


def minimax_discriminator(
    real: Float[Array, "..."], fake: Float[Array, "..."], smoothing: ScalarLike = 0.0
) -> Float[Array, ""]:
    r"""Binary cross entropy of the discriminator: minus the value of the minimax game.

    .. math:: -\mathbb{E}[\log D(x)] - \mathbb{E}[\log(1 - D(G(z)))]

    `smoothing` (e.g. 0.1) is one-sided label smoothing: it lowers the label of real
    samples only (Salimans et al. 2016, https://arxiv.org/abs/1606.03498). The same
    discriminator loss serves the minimax and the non-saturating generator.

    Goodfellow et al. 2014, eq. 1. https://arxiv.org/abs/1406.2661

    Raises:
      ValueError: when an argument is not floating.

    >>> print(f"{minimax_discriminator(jnp.zeros(4), jnp.zeros(4)):.4f}")    # log 4
    1.3863
    """
    expect("minimax_discriminator", real=(real, "..."), fake=(fake, "..."))
    real, fake = widen(real, fake)
    on_real = (1 - smoothing) * softplus(-real) + smoothing * softplus(real)
    return on_real.mean() + softplus(fake).mean()


def matching_aware_discriminator(
    real: Float[Array, "..."], wrong: Float[Array, "..."], fake: Float[Array, "..."]
) -> Float[Array, ""]:
    r"""Binary cross entropy of a discriminator of pairs: real ones, against two kinds.

    .. math:: -\mathbb{E}[\log D(x, c)] - \frac{1}{2} \Big( \mathbb{E}[\log(1 - D(x', c))]
              + \mathbb{E}[\log(1 - D(G(z, c), c))] \Big)

    x' is a real sample of another condition than c (`wrong`): without these pairs the
    discriminator need not regard the condition.

    Reed et al. 2016, "Generative Adversarial Text to Image Synthesis", algorithm 1.
    https://arxiv.org/abs/1605.05396

    Raises:
      ValueError: when an argument is not floating.

    >>> zero = jnp.zeros(4)
    >>> print(f"{matching_aware_discriminator(zero, zero, zero):.4f}")    # 2 log 2
    1.3863
    """
    name = "matching_aware_discriminator"
    expect(name, real=(real, "..."), wrong=(wrong, "..."), fake=(fake, "..."))
    real, wrong, fake = widen(real, wrong, fake)
    others = 0.5 * (softplus(wrong).mean() + softplus(fake).mean())
    return softplus(-real).mean() + others


def minimax_generator(fake: Float[Array, "..."]) -> Float[Array, ""]:
    r"""Generator loss of the minimax game: mean log(1 - D(G(z))).

    Its gradient by the logits, -D, vanishes where D is near 0, as early in training:
    prefer `non_saturating_generator` there.

    Goodfellow et al. 2014, algorithm 1. https://arxiv.org/abs/1406.2661

    Raises:
      ValueError: when `fake` is not floating.

    >>> print(f"{minimax_generator(jnp.zeros(4)):.4f}")    # log(1 / 2)
    -0.6931
    """
    expect("minimax_generator", fake=(fake, "..."))
    (fake,) = widen(fake)
    return -softplus(fake).mean()


def non_saturating_generator(fake: Float[Array, "..."]) -> Float[Array, ""]:
    r"""Non-saturating generator loss: minus mean log D(G(z)), steepest where D is near 0.

    Goodfellow et al. 2014, section 3. https://arxiv.org/abs/1406.2661

    Raises:
      ValueError: when `fake` is not floating.

    >>> print(f"{non_saturating_generator(jnp.zeros(4)):.4f}")    # log 2
    0.6931
    """
    expect("non_saturating_generator", fake=(fake, "..."))
    (fake,) = widen(fake)
    return softplus(-fake).mean()


def hinge_discriminator(
    real: Float[Array, "..."], fake: Float[Array, "..."]
) -> Float[Array, ""]:
    r"""Hinge loss of the discriminator: mean max(0, 1 - s(x)) + mean max(0, 1 + s(G(z))).

    Lim and Ye 2017, "Geometric GAN". https://arxiv.org/abs/1705.02894

    Raises:
      ValueError: when an argument is not floating.

    >>> print(hinge_discriminator(jnp.array([2.0]), jnp.array([0.5])))    # 0 + 1.5
    1.5
    """
    expect("hinge_discriminator", real=(real, "..."), fake=(fake, "..."))
    real, fake = widen(real, fake)
    return relu(1 - real).mean() + relu(1 + fake).mean()


def hinge_generator(fake: Float[Array, "..."]) -> Float[Array, ""]:
    r"""Generator loss of the hinge GAN: minus mean s(G(z)).

    Lim and Ye 2017, "Geometric GAN". https://arxiv.org/abs/1705.02894

    Raises:
      ValueError: when `fake` is not floating.

    >>> print(hinge_generator(jnp.array([1.0, 2.0])))
    -1.5
    """
    expect("hinge_generator", fake=(fake, "..."))
    (fake,) = widen(fake)
    return -fake.mean()


def least_squares_discriminator(
    real: Float[Array, "..."], fake: Float[Array, "..."]
) -> Float[Array, ""]:
    r"""Least-squares discriminator loss: half the mean squares of s(x) - 1 and s(G(z)).

    Mao et al. 2017, "Least Squares Generative Adversarial Networks", eq. 9.
    https://arxiv.org/abs/1611.04076

    Raises:
      ValueError: when an argument is not floating.

    >>> loss = least_squares_discriminator(jnp.array([3.0]), jnp.array([1.0]))
    >>> print(loss)    # (2^2 + 1) / 2
    2.5
    """
    expect("least_squares_discriminator", real=(real, "..."), fake=(fake, "..."))
    real, fake = widen(real, fake)
    return 0.5 * (jnp.square(real - 1).mean() + jnp.square(fake).mean())


def least_squares_generator(fake: Float[Array, "..."]) -> Float[Array, ""]:
    r"""Least-squares generator loss: half the mean square of s(G(z)) - 1.

    Mao et al. 2017, eq. 9. https://arxiv.org/abs/1611.04076

    Raises:
      ValueError: when `fake` is not floating.

    >>> print(least_squares_generator(jnp.array([3.0])))    # 2^2 / 2
    2.0
    """
    expect("least_squares_generator", fake=(fake, "..."))
    (fake,) = widen(fake)
    return 0.5 * jnp.square(fake - 1).mean()


def wasserstein_critic(
    real: Float[Array, "..."], fake: Float[Array, "..."]
) -> Float[Array, ""]:
    r"""Critic loss of the Wasserstein GAN: mean s(G(z)) - mean s(x).

    For the best critic of Lipschitz constant 1 it is minus the Wasserstein-1 distance;
    add `gradient_penalty` (times 10) for the constraint.

    Arjovsky et al. 2017, "Wasserstein GAN". https://arxiv.org/abs/1701.07875

    Raises:
      ValueError: when an argument is not floating.

    >>> print(wasserstein_critic(jnp.array([2.0]), jnp.array([0.5])))
    -1.5
    """
    expect("wasserstein_critic", real=(real, "..."), fake=(fake, "..."))
    real, fake = widen(real, fake)
    return fake.mean() - real.mean()


def wasserstein_generator(fake: Float[Array, "..."]) -> Float[Array, ""]:
    r"""Generator loss of the Wasserstein GAN: minus mean s(G(z)).

    Arjovsky et al. 2017, "Wasserstein GAN". https://arxiv.org/abs/1701.07875

    Raises:
      ValueError: when `fake` is not floating.

    >>> print(wasserstein_generator(jnp.array([1.0, 2.0])))
    -1.5
    """
    expect("wasserstein_generator", fake=(fake, "..."))
    (fake,) = widen(fake)
    return -fake.mean()


def gradient_penalty(
    key: jax.Array,
    critic: Callable[[Array], Array],
    real: Float[Array, "n *d"],
    fake: Float[Array, "n *d"],
    target: ScalarLike = 1.0,
) -> Float[Array, ""]:
    r"""Squared difference of the critic's gradient norm, between samples, from `target`.

    .. math:: \frac{1}{n} \sum_i \big( \lVert \nabla_x s(u_i x_i + (1 - u_i) G(z_i))
              \rVert - 1 \big)^2, \qquad u_i \sim U[0, 1]

    `critic` maps samples to logits, one or more each, and should have no batch norm.
    The paper adds 10 times the penalty. A flat critic has penalty 1 and no gradient.

    Gulrajani et al. 2017, "Improved Training of Wasserstein GANs", eq. 3.
    https://arxiv.org/abs/1704.00028

    Raises:
      ValueError: when shapes differ or `real` and `fake` are not floating.

    >>> x = jnp.ones((8, 2))
    >>> slope = jnp.array([3.0, 4.0])    # of norm 5
    >>> print(f"{gradient_penalty(jax.random.key(0), lambda x: x @ slope, x, -x):.4f}")
    16.0000
    """
    shape = " ".join(map(str, jnp.shape(real)))
    expect("gradient_penalty", real=(real, "... d"), fake=(fake, shape))
    u = jax.random.uniform(key, (len(real),) + (1,) * (real.ndim - 1), real.dtype)
    square = _squared_slope(critic, u * real + (1 - u) * fake)
    return jnp.square(jnp.sqrt(square + 1e-12) - target).mean()


def r1_penalty(
    critic: Callable[[Array], Array], real: Float[Array, "n *d"]
) -> Float[Array, ""]:
    r"""R1 penalty: mean squared gradient norm of the discriminator at real samples.

    .. math:: \frac{1}{n} \sum_i \lVert \nabla_x s(x_i) \rVert^2

    The paper adds gamma / 2 times this with gamma = 10; the authors' code omits the
    factor 1 / 2.

    Mescheder et al. 2018, "Which Training Methods for GANs do actually Converge?",
    eq. 9. https://arxiv.org/abs/1801.04406

    Raises:
      ValueError: when `real` is not floating or has no axes.

    >>> print(r1_penalty(lambda x: x @ jnp.array([3.0, 4.0]), jnp.ones((8, 2))))
    25.0
    """
    expect("r1_penalty", real=(real, "... d"))
    return _squared_slope(critic, real).mean()


def _squared_slope(critic, x):
    """Squared norm of each sample's gradient: [n].

    The gradient of the sum is each sample's own unless layers mix samples.
    """
    (slope,) = widen(jax.grad(lambda x: critic(x).sum())(x))
    return jnp.square(slope).reshape(len(x), -1).sum(-1)
