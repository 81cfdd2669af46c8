"""Metrics of two classes of unequal frequency, within a batch."""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from jssl.ops.means import masked_mean
from jssl.ops.shapes import expect


def area_under_curve(
    scores: Float[Array, " n"], positive: Bool[Array, " n"]
) -> Float[Array, ""]:
    """Area under the ROC curve: the fraction of pairs of which the positive scores more.

    Ties count one half. 0.5 without learning, whatever the classes' frequencies; 0 if the
    batch has one class only.

    >>> x, positive = jnp.array([0.9, 0.4, 0.4, 0.1]), jnp.array([True, True, False, False])
    >>> print(area_under_curve(x, positive))  # 1, 1, 0.5, 1
    0.875
    """
    expect("area_under_curve", scores=(scores, "n"), positive=(positive, "n", "bool"))
    gap = scores[:, None] - scores[None]
    return masked_mean((1 + jnp.sign(gap)) / 2, positive[:, None] & ~positive[None])


def balanced_accuracy(
    right: Bool[Array, " n"], positive: Bool[Array, " n"]
) -> Float[Array, ""]:
    """Mean of the accuracies on the positive and on the negative rows.

    0.5 without learning, whatever the classes' frequencies.

    >>> right, positive = jnp.array([True, False, True]), jnp.array([True, False, False])
    >>> print(balanced_accuracy(right, positive))
    0.75
    """
    expect(
        "balanced_accuracy", right=(right, "n", "bool"), positive=(positive, "n", "bool")
    )
    right = right.astype(jnp.float32)
    return (masked_mean(right, positive) + masked_mean(right, ~positive)) / 2
