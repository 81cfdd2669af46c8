"""Pairs of images that differ by a small motion of the camera in the image plane."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from jssl.ops.affine import affine, motion
from jssl.ops.shapes import expect


def motion_between(
    labels: Int[Array, "n 3"], shift: int, degrees: float, bins: int
) -> Float[Array, "n 3"]:
    """The motion (down, right, counterclockwise degrees) of classes (y, x, rotation).

    Translations are whole pixels, class 0 is -shift. Rotations are the centers of `bins`
    equal intervals from -degrees to degrees.

    >>> motion_between(jnp.array([[3, 6, 0], [0, 3, 19]]), shift=3, degrees=30.0, bins=20)
    Array([[  0. ,   3. , -28.5],
           [ -3. ,   0. ,  28.5]], dtype=float32)
    """
    expect("motion_between", labels=(labels, "n 3", "int"))
    moved = (labels[:, :2] - shift).astype(jnp.float32)
    turned = (2 * labels[:, 2:] + 1 - bins) * (degrees / bins)
    return jnp.concatenate([moved, turned], 1)


def ego_pairs(
    key: PRNGKeyArray,
    images: Float[Array, "n h w c"],
    *,
    shift: int = 3,
    degrees: float = 30.0,
    bins: int = 20,
    margin: int = 0,
) -> tuple[Float[Array, "n 2 h2 w2 c"], Int[Array, "n 3"]]:
    """Each image moved at random, and moved once more by a motion of a known class.

    The first motion, a nuisance, is uniform in the same range. Images are 0 beyond their
    border, which betrays the motion unless their background is 0, too: `margin` removes it.

    Agrawal, Carreira and Malik 2015, section 4.1. https://arxiv.org/abs/1505.01596

    Args:
      key: of all draws.
      images: in [0, 1].
      shift: largest translation along either axis, in pixels.
      degrees: bound of the rotation.
      bins: classes of rotation; there are 2 shift + 1 of either translation.
      margin: pixels cut from each side of both images.

    Returns:
      The pairs, [n, 2, h - 2 margin, w - 2 margin, c], and the classes (y, x, rotation).

    Raises:
      ValueError: a margin that leaves nothing.

    >>> pairs, labels = ego_pairs(jax.random.key(0), jnp.ones((2, 8, 8, 1)), margin=2)
    >>> pairs.shape, labels.shape
    ((2, 2, 4, 4, 1), (2, 3))
    """
    sizes = expect("ego_pairs", images=(images, "n h w c"))
    n, h, w = sizes["n"], sizes["h"], sizes["w"]
    if not 0 <= 2 * margin < min(h, w):
        raise ValueError(
            f"ego_pairs: a margin of {margin} leaves nothing of {h}x{w} pixels"
        )
    first, second = jax.random.split(key)
    bound = jnp.array([shift, shift, degrees], jnp.float32)
    before = bound * jax.random.uniform(first, (n, 3), minval=-1.0)
    labels = jax.random.randint(second, (n, 3), 0, jnp.array([*[2 * shift + 1] * 2, bins]))
    then = motion_between(labels, shift, degrees, bins)
    pairs = jax.vmap(_moved_twice)(images, before, then)
    return pairs[:, :, margin : h - margin, margin : w - margin], labels


def _moved_twice(image, before, then):
    one, two = (motion(x[2], x[0], x[1]) for x in (before, then))
    # x2(p) = x1(A2 p + t2) = x(A1 (A2 p + t2) + t1): one interpolation, not two.
    offset = one[:, :2] @ two[:, 2:] + one[:, 2:]
    both = jnp.concatenate([one[:, :2] @ two[:, :2], offset], 1)
    return jnp.stack([affine(image, one), affine(image, both)])
