r"""Motion of a camera and depth from it: parallax of pixels under translation.

For a static world, a focal length of f pixels, a camera that moves by (U, V, W) and turns
by omega (right, down, forward), and a pixel (x, y) from the center of the frame, the
instantaneous flow is

$$ u = \frac{-f U + x W}{Z} + \frac{x y}{f} \omega_x - \Big(f + \frac{x^2}{f}\Big)
       \omega_y + y \omega_z, \qquad
   v = \frac{-f V + y W}{Z} + \Big(f + \frac{y^2}{f}\Big) \omega_x - \frac{x y}{f}
       \omega_y - x \omega_z $$

Only the first term depends on the depth Z, and Z is known up to the scale of the
translation. Longuet-Higgins and Prazdny 1980, https://doi.org/10.1098/rspb.1980.0057;
as a pretext task: Jiang et al., "Self-Supervised Relative Depth Learning for Urban Scene
Understanding", ECCV 2018, https://arxiv.org/abs/1712.04850.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Shaped

from jssl.ops.shapes import expect


def rotational_flow(
    omega: Float[Array, "*n 3"], focal: float, h: int, w: int
) -> Float[Array, "*n h w 2"]:
    """The part of the flow that is due to a rotation, in pixels.

    Args:
      omega: rotation vector of the camera in radians.
      focal: length, in pixels.
      h: height of the frame.
      w: width of the frame.

    >>> rotational_flow(jnp.array([0.0, 0.1, 0.0]), 32.0, 1, 1)[0, 0].round(4).tolist()
    [-3.200000047683716, 0.0]
    """
    expect("rotational_flow", omega=(omega, "... 3"))
    x, y = _centered(h, w, omega.dtype)
    a, b, c = (omega[..., i, None, None] for i in range(3))
    u = x * y / focal * a - (focal + x**2 / focal) * b + y * c
    v = (focal + y**2 / focal) * a - x * y / focal * b - x * c
    return jnp.stack(jnp.broadcast_arrays(u, v), -1)


def relative_depth(
    flow: Float[Array, "*n h w 2"],
    direction: Float[Array, "*n 3"],
    focal: float,
    *,
    least: float = 0.05,
    agree: float = 0.95,
) -> tuple[Float[Array, "*n h w"], Bool[Array, "*n h w"]]:
    r"""Depth in units of the camera's translation, from the flow without its rotation.

    .. math:: Z = \frac{|(-f U + x W, \, -f V + y W)|}{|(u, v)|}

    Invalid are pixels of hardly any flow, as at the focus of expansion, and those that flow
    in another direction than a static world would: objects that move.

    Args:
      flow: in pixels, e.g. minus `rotational_flow`.
      direction: (U, V, W), of any length; Z scales with it.
      focal: length, in pixels.
      least: smallest flow of valid pixels, in pixels.
      agree: least cosine of the angle between the flow and that of a static world.

    Returns:
      Z, 0 where invalid, and True where it is valid.

    Raises:
      ValueError: when shapes do not fit.

    >>> flow = jnp.array([[[-2.0, 0.0], [-1.0, 0.0], [0.0, 1.0]]])    # the last one moves
    >>> z, valid = relative_depth(flow, jnp.array([1.0, 0.0, 0.0]), focal=8.0)
    >>> z.tolist(), valid.tolist()
    ([[4.0, 8.0, 0.0]], [[True, True, False]])
    """
    sizes = expect(
        "relative_depth", flow=(flow, "... h w 2"), direction=(direction, "... 3")
    )
    wanted = _parallax(direction, focal, sizes["h"], sizes["w"])
    seen, far = (jnp.sqrt(jnp.square(x).sum(-1)) for x in (flow, wanted))
    valid = (seen >= least) & ((flow * wanted).sum(-1) >= agree * seen * far) & (far > 0)
    return jnp.where(valid, far / jnp.where(valid, seen, 1), 0), valid


def estimate_translation(
    flow: Float[Array, "*n h w 2"],
    focal: float,
    weight: Shaped[Array, "*n h w"] | None = None,
) -> Float[Array, "*n 3"]:
    """The direction (U, V, W) of the camera's translation, of length 1.

    Least squares on u (-f V + y W) = v (-f U + x W), the flow's direction, which does not
    depend on depth: the eigenvector of the least eigenvalue of a 3 x 3 matrix, with the
    sign for which most depths are positive.

    Args:
      flow: of a static world in pixels, without its rotation.
      focal: length, in pixels.
      weight: of each pixel, e.g. 0 on moving objects; None: 1.

    Raises:
      ValueError: when shapes do not fit.

    >>> flow = jnp.full((4, 4, 2), jnp.array([-3.0, 0.0]))    # the camera moves right
    >>> (estimate_translation(flow, 4.0) + 0.0).round(3).tolist()
    [1.0, 0.0, 0.0]
    """
    sizes = expect("estimate_translation", flow=(flow, "... h w 2"))
    expect("estimate_translation", weight=(weight, "... h w", "any"))
    x, y = _centered(sizes["h"], sizes["w"], flow.dtype)
    u, v = flow[..., 0], flow[..., 1]
    rows = jnp.stack([focal * v, -focal * u, u * y - v * x], -1)
    weight = jnp.ones_like(u) if weight is None else weight.astype(flow.dtype)
    square = jnp.einsum("...hw,...hwi,...hwj->...ij", weight, rows, rows)
    square /= jnp.maximum(jnp.trace(square, axis1=-2, axis2=-1), 1e-30)[..., None, None]
    direction = jnp.linalg.eigh(square)[1][..., 0]
    wanted = _parallax(direction, focal, sizes["h"], sizes["w"])
    along = (weight[..., None] * flow * wanted).sum((-3, -2, -1))
    return direction * jnp.where(along < 0, -1, 1)[..., None]


def percentile_normalize(
    z: Float[Array, "*n h w"], valid: Bool[Array, "*n h w"], *, tolerance: float = 0.0
) -> Float[Array, "*n h w"]:
    """The fraction of an image's valid pixels that are nearer; equal ones count half.

    It does not depend on the scale of z, or on any other increasing map of it. 0 where
    invalid.

    Args:
      z: positive numbers.
      valid: False for pixels that are neither ranked nor counted.
      tolerance: relative difference of numbers that count as equal.

    Raises:
      ValueError: when shapes do not fit.

    >>> z, valid = jnp.array([[4.0, 2.0], [2.0, 9.0]]), jnp.array([[1, 1], [1, 0]], bool)
    >>> percentile_normalize(6 * z, valid) * 6    # of three: 2.5, 1 and 1
    Array([[5., 2.],
           [2., 0.]], dtype=float32)
    """
    expect("percentile_normalize", z=(z, "... h w"), valid=(valid, "... h w", "bool"))

    def one(z, valid):
        known = jnp.where(valid, z, jnp.inf)
        ordered, count = jnp.sort(known), jnp.maximum(valid.sum(), 1)
        low = jnp.searchsorted(ordered, known * (1 - tolerance), side="left")
        high = jnp.searchsorted(ordered, known * (1 + tolerance), side="right")
        return jnp.where(valid, (low + high) / (2 * count), 0).astype(z.dtype)

    size = z.shape[-2] * z.shape[-1]
    return jax.vmap(one)(z.reshape(-1, size), valid.reshape(-1, size)).reshape(z.shape)


def _parallax(direction, focal, h, w):
    """(-f U + x W, -f V + y W) of every pixel, [..., h, w, 2]."""
    x, y = _centered(h, w, direction.dtype)
    a, b, c = (direction[..., i, None, None] for i in range(3))
    return jnp.stack(jnp.broadcast_arrays(x * c - focal * a, y * c - focal * b), -1)


def _centered(h, w, dtype):
    """Columns and rows of pixels, from the center: x [1, w] and y [h, 1]."""
    x, y = np.arange(w) - (w - 1) / 2, np.arange(h) - (h - 1) / 2
    return jnp.asarray(x[None], dtype), jnp.asarray(y[:, None], dtype)
