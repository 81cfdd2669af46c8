"""Losses of motions: classes of each component of a pose, and tracked patches."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, PRNGKeyArray, ScalarLike

from jssl.ops.explicit import compares_rows
from jssl.ops.precision import widen
from jssl.ops.shapes import expect
from jssl.ops.vectors import dots, unit


def motion_cross_entropy(
    logits: Sequence[Float[Array, "n _"]], labels: Int[Array, "n k"]
) -> Float[Array, ""]:
    r"""Sum over the components of a motion of the cross entropies of their classes.

    .. math:: \frac{1}{n} \sum_i \sum_k -\log \mathrm{softmax}(\ell_{ik})_{y_{ik}}

    Agrawal, Carreira and Malik 2015, section 3. https://arxiv.org/abs/1505.01596

    Args:
      logits: of the classes of each component.
      labels: the class of each component.

    Raises:
      ValueError: when shapes differ.

    >>> logits = [jnp.zeros((1, classes)) for classes in (7, 7, 20)]
    >>> print(f"{motion_cross_entropy(logits, jnp.array([[3, 0, 19]])):.4f}")
    6.8876
    """
    named = {f"logits[{i}]": (x, f"n c{i}") for i, x in enumerate(logits)}
    sizes = expect("motion_cross_entropy", labels=(labels, "n k", "int"), **named)
    if len(logits) != sizes["k"]:
        raise ValueError(
            f"motion_cross_entropy: {sizes['k']} components of labels need as many logits, "
            f"got {len(logits)}"
        )
    entropy = optax.softmax_cross_entropy_with_integer_labels
    each = [entropy(*widen(x), labels[:, i]) for i, x in enumerate(logits)]
    return sum(each, jnp.zeros(())).mean()


@compares_rows
def triplet_ranking(
    key: PRNGKeyArray,
    z: Float[Array, "p 2 d"],
    margin: ScalarLike = 0.5,
    negatives: int = 4,
    hard: float = 0.5,
) -> Float[Array, ""]:
    r"""Ranking loss of pairs of tracked patches: nearer to each other than to others.

    .. math:: \frac{1}{2 k p} \sum_i \sum_{j \in S_i} \max(0, d(z_i, z_i') - d(z_i, z_j) +
              \alpha) + \max(0, d(z_i, z_i') - d(z_i', z_j) + \alpha)

    d is 1 - cosine, and S_i has k patches of other pairs: a fraction `hard` of them drawn
    among the k that violate the margin most, the others uniformly among the violators, or
    among all once these are exhausted. No gradient flows through the choice.

    Wang and Gupta 2015, section 4. https://arxiv.org/abs/1505.00687

    Args:
      key: of the choice of negatives.
      z: features of the first and last patch of each track.
      margin: alpha.
      negatives: k, at most 2 p - 2.
      hard: from 0 to 1.

    Raises:
      ValueError: another shape, or numbers out of range.

    >>> print(triplet_ranking(jax.random.key(0), jnp.ones((4, 2, 3))))    # all coincide
    0.5
    """
    sizes = expect("triplet_ranking", z=(z, "p 2 d"))
    p = sizes["p"]
    if not (1 <= negatives <= 2 * p - 2 and 0 <= hard <= 1):
        raise ValueError(
            f"triplet_ranking: negatives must be 1 to {2 * p - 2} for {p} pairs and hard 0 "
            f"to 1, got {negatives} and {hard}"
        )
    (z,) = widen(z)
    z = unit(z)
    every = z.reshape(2 * p, -1)
    similar = dots(every, every).reshape(p, 2, 2 * p)
    near = 1 - (z[:, 0] * z[:, 1]).sum(-1)  # [p]
    terms = jax.nn.relu(near[:, None, None] - (1 - similar) + margin).sum(1)  # [p, 2 p]
    own = jnp.arange(2 * p) // 2 == jnp.arange(p)[:, None]
    chosen = jax.lax.stop_gradient(_negatives(key, terms, own, negatives, hard))
    return (jnp.where(chosen, terms, 0)).sum() / (2 * negatives * p)


def _negatives(key, terms, own, k, hard):
    """True for k columns of each row, none of them its own."""
    noise = jax.random.uniform(key, terms.shape)
    rank = lambda x: jnp.argsort(jnp.argsort(-x, axis=1), axis=1)
    worst = rank(jnp.where(own, -1.0, terms)) < k
    first = rank(jnp.where(worst, noise, -1.0)) < round(hard * k)
    # The others: violators first, in random order.
    rest = jnp.where(own | first, -1.0, noise + (terms > 0))
    return first | (rank(rest) < k - round(hard * k))
