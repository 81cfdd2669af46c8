"""Losses of maps that are predicted for every pixel: masks, depth, normals, contours."""

import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Shaped

from jssl.ops.means import masked_mean
from jssl.ops.precision import widen
from jssl.ops.shapes import expect
from jssl.ops.vectors import cosine


def mask_cross_entropy(
    logits: Float[Array, "n h w"],
    mask: Float[Array, "n h w"],
    valid: Shaped[Array, "n h w"],
) -> Float[Array, ""]:
    r"""Binary cross entropy of a mask m, mean over valid pixels v.

    .. math:: \frac{\sum v \, (\log(1 + e^s) - m s)}{\sum v}

    Other pixels get no gradient. Pathak et al. 2017, "Learning Features by Watching Objects
    Move". https://arxiv.org/abs/1612.06370

    Raises:
      ValueError: when shapes differ, or logits or mask are not floating.

    >>> logits, mask = jnp.zeros((1, 1, 2)), jnp.array([[[1.0, 0.0]]])
    >>> print(f"{mask_cross_entropy(logits, mask, jnp.array([[[1, 0]]])):.4f}")    # log 2
    0.6931
    """
    expect(
        "mask_cross_entropy",
        logits=(logits, "n h w"),
        mask=(mask, "n h w"),
        valid=(valid, "n h w", "any"),
    )
    logits, mask = widen(logits, mask)
    return masked_mean(optax.sigmoid_binary_cross_entropy(logits, mask), valid)


def relative_depth(
    pred: Float[Array, "n h w"],
    target: Float[Array, "n h w"],
    valid: Shaped[Array, "n h w"],
) -> Float[Array, ""]:
    r"""Absolute error of depths as percentiles p of their image, mean over valid pixels v.

    .. math:: \frac{\sum v \, |\hat p - p|}{\sum v}

    Jiang et al. 2018, "Self-Supervised Relative Depth Learning for Urban Scene
    Understanding". https://arxiv.org/abs/1712.04850

    Raises:
      ValueError: when shapes differ, or predictions or targets are not floating.

    >>> pred, target = jnp.array([[[0.2, 0.9]]]), jnp.array([[[0.5, 0.0]]])
    >>> print(f"{relative_depth(pred, target, jnp.array([[[1, 0]]])):.1f}")
    0.3
    """
    expect(
        "relative_depth",
        pred=(pred, "n h w"),
        target=(target, "n h w"),
        valid=(valid, "n h w", "any"),
    )
    pred, target = widen(pred, target)
    return masked_mean(jnp.abs(pred - target), valid)


def depth_error(
    pred: Float[Array, "n h w"], target: Float[Array, "n h w"]
) -> Float[Array, ""]:
    r"""Squared error of depths, with more weight on their mean over an image.

    .. math:: \frac{1}{2} \Big( \overline{(\hat d - d)^2} + \frac{1}{2} \,
              \overline{\hat d - d}^2 \Big)

    with means over the pixels of an image, averaged over images. d is a normalized or
    logarithmic depth. Ren and Lee 2018, https://arxiv.org/abs/1711.09082; their released
    code takes the second mean over the batch.

    Raises:
      ValueError: when shapes differ or an argument is not floating.

    >>> print(depth_error(jnp.zeros((1, 1, 2)), jnp.array([[[1.0, 3.0]]])))    # (5 + 2) / 2
    3.5
    """
    expect("depth_error", pred=(pred, "n h w"), target=(target, "n h w"))
    pred, target = widen(pred, target)
    gap = pred - target
    each = jnp.square(gap).mean((1, 2)) + 0.5 * jnp.square(gap.mean((1, 2)))
    return 0.5 * each.mean()


def normal_error(
    pred: Float[Array, "n h w 3"], target: Float[Array, "n h w 3"]
) -> Float[Array, ""]:
    r"""One minus the cosine of the angle between surface normals, mean over pixels.

    Ren and Lee 2018, https://arxiv.org/abs/1711.09082

    Raises:
      ValueError: when shapes differ or an argument is not floating.

    >>> pred = jnp.array([[[[0.0, 0.0, 2.0]]]])
    >>> print(normal_error(pred, jnp.array([[[[0.0, 1.0, 0.0]]]])))
    1.0
    """
    expect("normal_error", pred=(pred, "n h w 3"), target=(target, "n h w 3"))
    pred, target = widen(pred, target)
    return (1 - cosine(pred, target)).mean()


def edge_cross_entropy(
    logits: Float[Array, "n h w"], edges: Float[Array, "n h w"]
) -> Float[Array, ""]:
    r"""Binary cross entropy of contours, in which both classes of an image weigh the same.

    .. math:: \frac{1}{h w} \sum \Big(e \, \frac{h w - \sum e}{\sum e} \log(1 + e^{-s}) +
              (1 - e) \log(1 + e^s) \Big)

    averaged over images; e is 1 on contours. An image without any has the second term only.
    Xie and Tu 2015, https://arxiv.org/abs/1504.06375, weigh the rare contours so; Ren and
    Lee 2018, https://arxiv.org/abs/1711.09082

    Raises:
      ValueError: when shapes differ or an argument is not floating.

    >>> logits, edges = jnp.zeros((1, 1, 4)), jnp.array([[[1.0, 0.0, 0.0, 0.0]]])
    >>> print(f"{edge_cross_entropy(logits, edges):.4f}")    # (3 + 3) / 4 log 2
    1.0397
    """
    expect("edge_cross_entropy", logits=(logits, "n h w"), edges=(edges, "n h w"))
    logits, edges = widen(logits, edges)
    count = edges.sum((1, 2), keepdims=True)
    total = edges.shape[1] * edges.shape[2]
    weight = jnp.where(edges > 0, (total - count) / jnp.maximum(count, 1), 1.0)
    return (weight * optax.sigmoid_binary_cross_entropy(logits, edges)).mean()
