r"""Entropy, cross entropy and divergences of predictions, per sample.

Arguments are logits, to avoid logarithms of probabilities that round to 0:
\(\log(p + \epsilon)\) is biased and has the wrong gradient. Results are in nats,
computed in float32, or in float64 where an argument is float64.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jssl.ops.precision import widen
from jssl.ops.shapes import expect


def entropy(logits: Float[Array, "*n c"]) -> Float[Array, "*n"]:
    r"""Entropy of softmax(z), between 0 and log c.

    .. math:: H(p) = -\sum_c p_c \log p_c, \qquad
              \partial H / \partial z_k = -p_k (\log p_k + H)

    Raises:
      ValueError: when the logits are not a floating array of one axis or more.

    >>> print(f"{entropy(jnp.zeros(4)):.4f}")    # log 4
    1.3863
    """
    expect("entropy", logits=(logits, "... c"))
    (logits,) = widen(logits)
    log_p = jax.nn.log_softmax(logits)
    return -(jnp.exp(log_p) * log_p).sum(-1)


def soft_cross_entropy(
    logits: Float[Array, "*n c"], target: Float[Array, "*n c"]
) -> Float[Array, "*n"]:
    r"""Cross entropy of a target distribution q and p = softmax(logits).

    .. math:: H(q, p) = -\sum_c q_c \log p_c

    Raises:
      ValueError: when the shapes differ or an argument is not floating.

    >>> print(f"{soft_cross_entropy(jnp.zeros(2), jnp.array([0.3, 0.7])):.4f}")  # log 2
    0.6931
    """
    _expect_alike("soft_cross_entropy", logits=logits, target=target)
    logits, target = widen(logits, target)
    return -(target * jax.nn.log_softmax(logits)).sum(-1)


def kl_divergence(
    logits_q: Float[Array, "*n c"], logits_p: Float[Array, "*n c"]
) -> Float[Array, "*n"]:
    r"""Kullback-Leibler divergence of p = softmax(logits_p) from q.

    .. math:: KL(q \Vert p) = \sum_c q_c (\log q_c - \log p_c) \ge 0

    0 only where the logits differ by a constant. Its gradient by logits_p is p - q.
    Gradients flow into both arguments; stop that of the target.

    Raises:
      ValueError: when the shapes differ or an argument is not floating.

    >>> q, p = jnp.log(jnp.array([0.5, 0.5])), jnp.log(jnp.array([0.25, 0.75]))
    >>> print(f"{kl_divergence(q, p):.4f}")    # log(4 / 3) / 2
    0.1438
    """
    _expect_alike("kl_divergence", logits_q=logits_q, logits_p=logits_p)
    logits_q, logits_p = widen(logits_q, logits_p)
    log_q, log_p = jax.nn.log_softmax(logits_q), jax.nn.log_softmax(logits_p)
    return (jnp.exp(log_q) * (log_q - log_p)).sum(-1)


def softmax_squared_error(
    logits_a: Float[Array, "*n c"], logits_b: Float[Array, "*n c"]
) -> Float[Array, "*n"]:
    r"""Squared difference of two softmax predictions, averaged over classes.

    .. math:: \frac{1}{c} \lVert p - q \rVert^2 \le \frac{2}{c}

    Raises:
      ValueError: when the shapes differ or an argument is not floating.

    >>> a, b = jnp.array([100.0, 0.0]), jnp.array([0.0, 100.0])
    >>> print(softmax_squared_error(a, b))    # opposite and certain: 2 / 2
    1.0
    """
    _expect_alike("softmax_squared_error", logits_a=logits_a, logits_b=logits_b)
    logits_a, logits_b = widen(logits_a, logits_b)
    return jnp.square(jax.nn.softmax(logits_a) - jax.nn.softmax(logits_b)).mean(-1)


def _expect_alike(function, **arrays):
    """Check that the arrays are floating and have the shape of the first."""
    axes = max(1, jnp.ndim(next(iter(arrays.values()))))
    shape = " ".join([*(f"n{i}" for i in range(1, axes)), "c"])
    expect(function, **{name: (x, shape) for name, x in arrays.items()})
