"""Affine maps of images: matrices, resampling, and random geometric distortions.

Label-preserving distortions enlarge a training set (Simard, Steinkraus and Platt, "Best
Practices for Convolutional Neural Networks Applied to Visual Document Analysis", ICDAR
2003): translation, rotation, scaling and shearing, about the center of the image.
"""

import jax
import jax.numpy as jnp
from jax.scipy.ndimage import map_coordinates
from jax.typing import ArrayLike
from jaxtyping import Array, Float, PRNGKeyArray

from jssl.ops.shapes import expect


def affine(
    image: Float[Array, "h w c"], matrix: Float[Array, "2 3"], fill: ArrayLike = 0.0
) -> Float[Array, "h w c"]:
    """Applies an affine map of coordinates with bilinear interpolation.

    With p = (row, column) relative to the image center and matrix = [A | t],
    out[p] = image[A p + t], and `fill`, a number or one per channel, beyond the border.

    >>> one_right = jnp.array([[1.0, 0.0, 0.0], [0.0, 1.0, -1.0]])
    >>> affine(jnp.arange(1.0, 4.0).reshape(1, 3, 1), one_right).ravel()
    Array([0., 1., 2.], dtype=float32)
    """
    size = expect("affine", image=(image, "h w c"), matrix=(matrix, "2 3"))
    center = [(size["h"] - 1) / 2, (size["w"] - 1) / 2]
    row = jnp.arange(size["h"], dtype=jnp.float32)[:, None] - center[0]
    column = jnp.arange(size["w"], dtype=jnp.float32) - center[1]
    (a, b, y), (c, d, x) = matrix
    rows = a * row + b * column + y + center[0]  # [h, w]
    columns = c * row + d * column + x + center[1]
    # Zero beyond the border of image - fill is `fill` beyond that of the image.
    fill = jnp.asarray(fill, image.dtype)
    moved = jax.vmap(
        lambda plane: map_coordinates(plane, [rows, columns], order=1),
        in_axes=-1,
        out_axes=-1,
    )(image - fill)
    return (moved + fill).astype(image.dtype)


def motion(
    degrees: ArrayLike = 0.0, dy: ArrayLike = 0.0, dx: ArrayLike = 0.0
) -> Float[Array, "2 3"]:
    """The `affine` matrix of a counterclockwise rotation, then a shift (down, right).

    >>> motion(degrees=30.0, dx=2.0)  # cos 30 = 0.866, sin 30 = 0.5
    Array([[ 0.8660254,  0.5      , -1.       ],
           [-0.5      ,  0.8660254, -1.7320508]], dtype=float32)
    """
    angle = jnp.deg2rad(jnp.asarray(degrees, jnp.float32))
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    turn = jnp.stack([jnp.stack([cos, sin]), jnp.stack([-sin, cos])])
    # out(p) = image(R^-1 (p - d)): the matrix is [R^-1 | -R^-1 d].
    offset = jnp.stack([jnp.asarray(dy, jnp.float32), jnp.asarray(dx, jnp.float32)])
    return jnp.concatenate([turn, -(turn * offset).sum(1, keepdims=True)], axis=1)


def random_geometric(
    key: PRNGKeyArray,
    images: Float[Array, "n h w c"],
    *,
    shift: float = 0.1,
    degrees: float = 15.0,
    scale: float = 0.1,
    shear: float = 0.1,
    fill: ArrayLike = 0.0,
) -> Float[Array, "n h w c"]:
    r"""Shifts, rotates, scales and shears each image at random, about its center.

    .. math:: x'(p) = x(A^{-1}(p - t)), \qquad A = R_\theta \, \mathrm{diag}(s_y, s_x)
              \begin{pmatrix} 1 & 0 \\ k & 1 \end{pmatrix}

    for p = (row, column). All numbers are uniform: t up to `shift` of the sides, theta up
    to `degrees`, s in 1 -+ `scale`, k up to `shear`.

    Simard, Steinkraus and Platt, ICDAR 2003, https://doi.org/10.1109/ICDAR.2003.1227801

    Args:
      key: of all draws.
      images: any floats.
      shift, degrees, scale, shear: the largest distortions; 0 for none.
      fill: value beyond the border.

    >>> random_geometric(jax.random.key(0), jnp.ones((2, 8, 8, 1))).shape
    (2, 8, 8, 1)
    """
    n, h, w, _ = images.shape
    turn, move, size, slant = jax.random.split(key, 4)
    uniform = lambda key, most, *shape: (
        most * jax.random.uniform(key, (n, *shape), minval=-1.0)
    )
    moves = uniform(move, shift, 2) * jnp.array([h, w])
    sizes, slants = 1 + uniform(size, scale, 2), uniform(slant, shear)

    def distorted(image, angle, d, s, k):
        inverse = jnp.array([[1.0, 0.0], [-k, 1.0]]) / s  # of shear, then of scale
        return affine(image, inverse @ motion(angle, *d), fill)

    return jax.vmap(distorted)(images, uniform(turn, degrees), moves, sizes, slants)
