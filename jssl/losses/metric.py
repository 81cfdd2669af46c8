"""Metric learning: margin losses on Euclidean distances.

The earliest contrastive losses, still in use for ranking and verification.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, ScalarLike, Shaped

from jssl.ops.precision import widen
from jssl.ops.shapes import expect
from jssl.ops.vectors import norm


def triplet(
    anchors: Float[Array, "n d"],
    positives: Float[Array, "n d"],
    negatives: Float[Array, "n d"],
    margin: ScalarLike = 1.0,
    squared: bool = False,
) -> Float[Array, ""]:
    r"""Triplet loss: the positive should be nearer than the negative, by a margin.

    .. math:: \frac{1}{n} \sum_i \max(0, d(a_i, p_i) - d(a_i, n_i) + \alpha)

    d is the Euclidean distance or, with `squared`, its square, which FaceNet uses on unit
    vectors with margin 0.2. (1 - cosine is half of that.) No gradient flows through a
    distance of 0.

    Schroff, Kalenichenko and Philbin 2015, eq. 3. https://arxiv.org/abs/1503.03832

    Raises:
      ValueError: when shapes differ.

    >>> a, p, n = jnp.zeros((1, 2)), jnp.array([[3.0, 4.0]]), jnp.array([[0.0, 5.5]])
    >>> print(triplet(a, p, n))    # 5 - 5.5 + 1
    0.5
    """
    expect(
        "triplet",
        anchors=(anchors, "n d"),
        positives=(positives, "n d"),
        negatives=(negatives, "n d"),
    )
    anchors, positives, negatives = widen(anchors, positives, negatives)
    near, far = norm(anchors - positives), norm(anchors - negatives)
    if squared:
        near, far = jnp.square(near), jnp.square(far)
    return jax.nn.relu(near - far + margin).mean()


def margin(
    a: Float[Array, "n d"],
    b: Float[Array, "n d"],
    match: Shaped[Array, " n"],
    margin: ScalarLike = 1.0,
) -> Float[Array, ""]:
    r"""Margin loss: matching pairs are pulled together, others pushed a margin apart.

    .. math:: \frac{1}{n} \sum_i y_i \, d_i^2 + (1 - y_i) \max(0, \alpha - d_i)^2,
              \qquad d_i = \lVert a_i - b_i \rVert

    `match` is y, bool or 0 and 1 (the paper's Y is 1 - y, and it halves both terms).

    Hadsell, Chopra and LeCun 2006, eq. 4. https://doi.org/10.1109/CVPR.2006.100

    Raises:
      ValueError: when shapes differ.

    >>> a, b = jnp.zeros((2, 2)), jnp.array([[3.0, 4.0], [0.5, 0.0]])
    >>> print(margin(a, b, jnp.array([True, False])))    # (25 + 0.25) / 2
    12.625
    """
    expect("margin", a=(a, "n d"), b=(b, "n d"), match=(match, "n", "any"))
    a, b, match = widen(a, b, match)
    distance = norm(a - b)
    push = jnp.square(jax.nn.relu(margin - distance))
    return (match * jnp.square(distance) + (1 - match) * push).mean()


def counting(
    whole: Float[Array, "n d"],
    tiles: Float[Array, "n t d"],
    other: Float[Array, "n d"],
    margin: ScalarLike = 10.0,
) -> tuple[Float[Array, ""], dict[str, Array]]:
    r"""Counting loss: counts of tiles add up to those of the whole image, not of another.

    .. math:: \frac{1}{n} \sum_i \lVert \phi(D x_i) - s_i \rVert^2 +
              \max(0, \alpha - \lVert \phi(D y_i) - s_i \rVert^2),
              \qquad s_i = \sum_j \phi(T_j x_i)

    Squared norms are sums over the d counts. Without the second term, counts of 0 cost
    nothing; with it they cost alpha.

    Noroozi, Pirsiavash and Favaro 2017, eq. 5. https://arxiv.org/abs/1708.06734

    Args:
      whole: counts of the downsampled images.
      tiles: counts of the tiles of the same images.
      other: counts of other images, downsampled.
      margin: alpha.

    Returns:
      The loss, and its terms before the margin: "same", the mean of the first norm, and
      "different", that of the second.

    Raises:
      ValueError: when shapes differ.

    >>> whole, tiles = jnp.array([[2.0, 1.0]]), jnp.array([[[1.0, 1.0], [0.0, 0.0]]])
    >>> loss, terms = counting(whole, tiles, jnp.array([[3.0, 1.0]]))
    >>> print(loss, terms["same"], terms["different"])    # 1 + (10 - 4)
    7.0 1.0 4.0
    """
    expect("counting", whole=(whole, "n d"), tiles=(tiles, "n t d"), other=(other, "n d"))
    whole, tiles, other = widen(whole, tiles, other)
    total = tiles.sum(1)
    same, different = (jnp.square(x - total).sum(-1) for x in (whole, other))
    loss = (same + jax.nn.relu(margin - different)).mean()
    return loss, {"same": same.mean(), "different": different.mean()}
