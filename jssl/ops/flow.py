r"""Optical flow: warping, estimation from two frames, dominant motion, motion masks.

A flow [n, h, w, 2] holds the displacement (x, y), right and down in pixels, of each pixel
of one frame to the next: brightness is constant, I_1(p) = I_2(p + flow(p)).
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from jssl.ops.cells import cell_means
from jssl.ops.hypercolumns import sample_bilinear
from jssl.ops.shapes import expect

MAD = 1.4826  # standard deviation of a Gaussian over its median absolute deviation
CUT = 4.685  # Tukey's constant, 95 % efficient for Gaussian residuals


def warp(images: Float[Array, "n h w c"], flow: Float[Array, "n h w 2"]) -> Array:
    """Backward warping: out[y, x] = images[y + flow_y, x + flow_x], [n, h, w, c].

    Bilinear; beyond the border images are constant. The next frame, warped by the flow from
    the first, is the first where nothing is hidden.

    Raises:
      ValueError: when shapes do not fit.

    >>> row = jnp.arange(4.0).reshape(1, 1, 4, 1)
    >>> warp(row, jnp.full((1, 1, 4, 2), jnp.array([0.5, 0.0])))[0, 0, :, 0].tolist()
    [0.5, 1.5, 2.5, 3.0]
    """
    sizes = expect("warp", images=(images, "n h w c"), flow=(flow, "n h w 2"))
    n, h, w = (sizes[x] for x in "nhw")
    row, column = jnp.meshgrid(jnp.arange(h), jnp.arange(w), indexing="ij")
    points = jnp.stack([row + flow[..., 1], column + flow[..., 0]], -1)
    return sample_bilinear(images, points.reshape(n, h * w, 2)).reshape(images.shape)


def end_point_error(
    flow: Float[Array, "*n h w 2"], truth: Float[Array, "*n h w 2"]
) -> Float[Array, "*n h w"]:
    """Distance of the ends of two flows at every pixel, in pixels.

    Otte and Nagel 1994, https://doi.org/10.1007/3-540-57956-7_5

    >>> end_point_error(jnp.zeros((1, 1, 2)), jnp.array([[[3.0, 4.0]]])).item()
    5.0
    """
    expect("end_point_error", flow=(flow, "... h w 2"), truth=(truth, "... h w 2"))
    return jnp.sqrt(jnp.square(flow - truth).sum(-1))


def block_matching_flow(
    first: Float[Array, "n h w c"],
    second: Float[Array, "n h w c"],
    *,
    radius: int = 4,
    block: int = 7,
    penalty: float = 3e-4,
) -> Float[Array, "n h w 2"]:
    r"""Flow in whole pixels: the displacement of the most similar block of the next frame.

    .. math:: \arg\min_{|d_x|, |d_y| \le r} \; \text{mean}_{q \in \text{block}}
              |I_1(p + q) - I_2(p + q + d)|^2 + \lambda |d|

    The penalty prefers the nearest of blocks that are equal up to noise. Blocks are cut off
    at the border, and frames are constant beyond it. Jain and Jain 1981, https://doi.org/10.1109/TCOM.1981.1094950

    Args:
      first: frames.
      second: the next frames.
      radius: largest displacement along an axis, in pixels.
      block: side of a block, odd.
      penalty: lambda, for frames in [0, 1].

    Raises:
      ValueError: when shapes do not fit, or the sizes are out of range.

    >>> x = jax.random.uniform(jax.random.key(0), (1, 9, 9, 1))
    >>> block_matching_flow(x, jnp.roll(x, (1, 2), (1, 2)))[0, 4, 4].tolist()
    [2.0, 1.0]
    """
    _frames("block_matching_flow", first, second)
    if radius < 1 or block < 1 or block % 2 == 0:
        raise ValueError(
            f"block_matching_flow: radius must be at least 1 and block odd, got {radius} "
            f"and {block}"
        )
    h, w = first.shape[1:3]
    sides = range(-radius, radius + 1)
    steps = sorted(((x, y) for y in sides for x in sides), key=lambda d: math.hypot(*d))
    far = [(0, 0), (radius, radius), (radius, radius), (0, 0)]
    padded = jnp.pad(second, far, mode="edge")

    def cost(step):
        start = (0, radius + step[1], radius + step[0], 0)
        moved = lax.dynamic_slice(padded, start, first.shape)
        far = penalty * jnp.sqrt(jnp.square(step).sum().astype(first.dtype))
        return _box(jnp.square(first - moved).sum(-1), block) + far

    steps = jnp.array(steps)
    costs = lax.map(cost, steps)  # [displacements, n, h, w]
    return steps[costs.argmin(0)].astype(first.dtype)


def lucas_kanade(
    first: Float[Array, "n h w c"],
    second: Float[Array, "n h w c"],
    *,
    window: int = 5,
    levels: int = 3,
    rounds: int = 3,
    damping: float = 1e-3,
) -> Float[Array, "n h w 2"]:
    r"""Flow by least squares in windows, from coarse to fine.

    .. math:: \Big(\sum \nabla I_1 \nabla I_1^\top + \epsilon\Big) \, \delta =
              \sum \nabla I_1 \, (I_1(q) - I_2(q + d))

    with weighted sums over the pixels q of a window, and d <- d + delta in each round. A
    median of 3 x 3 pixels ends each level. Each level of
    the pyramid halves the frames; its flow, doubled, is the start of the next finer level.
    Lucas and Kanade 1981, https://www.ijcai.org/Proceedings/81-2/Papers/017.pdf; the
    pyramid: Bouguet 2001.

    Args:
      first: frames in [0, 1].
      second: the next frames.
      window: w, odd; a window has 2 w - 1 pixels along each side, of weights that fall
        linearly from the center.
      levels: of the pyramid; 1: the frames themselves.
      rounds: of each level.
      damping: epsilon, which keeps the flow of windows without texture near the start.

    Raises:
      ValueError: when shapes do not fit, a size is out of range, or the sides of frames are
        no multiples of 2^(levels - 1).

    >>> bump = lambda at: jnp.cos(0.3 * at)[None, None, :, None] * jnp.ones((1, 17, 1, 1))
    >>> at = jnp.arange(-8.0, 9.0)
    >>> flow = lucas_kanade(bump(at), bump(at - 0.5), levels=1)    # half a pixel right
    >>> print(f"{flow[0, 8, 8, 0]:.2f}")
    0.50
    """
    h, w = _frames("lucas_kanade", first, second)
    times = 2 ** (levels - 1) if levels >= 1 else 0
    if not times or h % times or w % times or window % 2 == 0 or rounds < 1:
        raise ValueError(
            f"lucas_kanade: levels and rounds must be at least 1, the window odd, and "
            f"sides multiples of 2^(levels - 1), got levels {levels}, rounds {rounds}, "
            f"window {window} and {h} x {w} pixels"
        )
    flow = None
    for level in reversed(range(levels)):
        shape = (len(first), h // 2**level, w // 2**level)
        one, two = (
            jax.image.resize(x, (*shape, x.shape[-1]), "linear") for x in (first, second)
        )
        if flow is None:
            flow = jnp.zeros((*shape, 2), first.dtype)
        else:
            flow = 2 * jax.image.resize(flow, (*shape, 2), "linear")
        flow = _registered(one, two, flow, window, rounds, damping)
    return flow


def _registered(one, two, flow, window, rounds, damping):
    """The flow of one level, from a start."""
    gy, gx = (_slope(one, axis) for axis in (1, 2))
    # Of two boxes, no frequency has a negative response, for which rounds would diverge.
    total = lambda x: _box(_box(x.mean(-1), window), window)
    xx, xy, yy = total(gx * gx) + damping, total(gx * gy), total(gy * gy) + damping
    determinant = xx * yy - xy * xy
    for _ in range(rounds):
        gap = one - warp(two, flow)
        bx, by = total(gx * gap), total(gy * gap)
        step = jnp.stack([yy * bx - xy * by, xx * by - xy * bx], -1)
        flow = flow + jnp.clip(step / determinant[..., None], -1, 1)
    return _median(flow)


def affine_flow(matrix: Float[Array, "*n 2 3"], h: int, w: int) -> Float[Array, "*n h w 2"]:
    """The flow A (x, y, 1) of matrices A; x, y in pixels from the center of the frame.

    >>> affine_flow(jnp.array([[0.0, 0.0, 2.0], [1.0, 0.0, 0.0]]), 1, 3)[0].tolist()
    [[2.0, -1.0], [2.0, 0.0], [2.0, 1.0]]
    """
    expect("affine_flow", matrix=(matrix, "... 2 3"))
    return jnp.einsum("...ij,hwj->...hwi", matrix, _homogeneous(h, w, matrix.dtype))


def fit_affine_flow(
    flow: Float[Array, "*n h w 2"], *, rounds: int = 20, floor: float = 1e-3
) -> tuple[Float[Array, "*n 2 3"], Float[Array, "*n h w"]]:
    r"""The dominant affine motion of a flow, and the weight of each pixel in it.

    Iteratively reweighted least squares from the median of the flow, with Tukey's weights

    .. math:: w = (1 - (r / c)^2)^2 \; \text{ for } r < c, \text{ else } 0

    of the residual r and c = 4.685 times its robust standard deviation. Up to half of the
    pixels may move in another way. Holland and Welsch 1977,
    https://doi.org/10.1080/03610927708827533

    Args:
      flow: in pixels.
      rounds: of reweighting.
      floor: least standard deviation, in pixels.

    Returns:
      A, for `affine_flow`, and the weights of the last round in [0, 1].

    Raises:
      ValueError: the flow is not float[..., h, w, 2].

    >>> flow = affine_flow(jnp.array([[0.1, 0.0, 2.0], [0.0, 0.1, 0.0]]), 4, 4)
    >>> flow = flow.at[0, 0].set(9.0)    # a pixel that moves otherwise
    >>> matrix, weight = fit_affine_flow(flow)
    >>> matrix.round(3).tolist()[0], weight[0, 0].item()
    ([0.10000000149011612, 0.0, 2.0], 0.0)
    """
    sizes = expect("fit_affine_flow", flow=(flow, "... h w 2"))
    h, w = sizes["h"], sizes["w"]
    scale = jnp.array([2 / max(w, 2), 2 / max(h, 2), 1.0], flow.dtype)
    basis = (_homogeneous(h, w, flow.dtype) * scale).reshape(h * w, 3)
    seen = flow.reshape(*flow.shape[:-3], h * w, 2)
    ridge = 1e-7 * jnp.eye(3, dtype=flow.dtype)
    fitted = jnp.median(seen, -2, keepdims=True)
    for _ in range(rounds):
        r = jnp.sqrt(jnp.square(seen - fitted).sum(-1))
        deviation = MAD * jnp.median(r, -1, keepdims=True)
        reach = CUT * jnp.maximum(deviation, floor)
        weight = jnp.square(jnp.maximum(1 - jnp.square(r / reach), 0))
        weighted = weight[..., None] * basis
        left = jnp.einsum("...pi,pj->...ij", weighted, basis)
        left += ridge * jnp.trace(left, axis1=-2, axis2=-1)[..., None, None]
        matrix = jnp.linalg.solve(left, jnp.einsum("...pi,...pj->...ij", weighted, seen))
        fitted = basis @ matrix
    matrix = jnp.swapaxes(matrix, -1, -2) * scale
    return matrix, weight.reshape(flow.shape[:-1])


def motion_mask(
    flow: Float[Array, "*n h w 2"],
    *,
    threshold: float = 0.5,
    softness: float = 0.1,
    low: float = 0.4,
    high: float = 0.7,
    cells: int = 0,
) -> tuple[Float[Array, "*n g g"], Float[Array, "*n g g"]]:
    r"""Pixels that do not move with the camera, and those of which that is certain.

    .. math:: s = \sigma\Big(\frac{|flow - A (x, y, 1)| - \tau}{\delta}\Big)

    with A of `fit_affine_flow`. Motion segmentation as a label without an annotator: Pathak
    et al. 2017, https://arxiv.org/abs/1612.06370, whose thresholds of s are the defaults.

    Args:
      flow: in pixels.
      threshold: tau, in pixels.
      softness: delta, in pixels.
      low: least certain background.
      high: least certain foreground.
      cells: side of a grid of cells over which s is averaged; 0: all pixels.

    Returns:
      1 where s > `high`, else 0; and 1 where s is not between `low` and `high`, else 0.

    Raises:
      ValueError: the flow is not float[..., h, w, 2], or low exceeds high.

    >>> flow = jnp.ones((4, 4, 2)).at[1, 2].set(5.0)    # the camera pans, a pixel moves
    >>> mask, valid = motion_mask(flow)
    >>> np.argwhere(mask).tolist(), valid.min().item()
    ([[1, 2]], 1.0)
    """
    sizes = expect("motion_mask", flow=(flow, "... h w 2"))
    if not 0 <= low <= high <= 1:
        raise ValueError(
            f"motion_mask: low and high must be in [0, 1] and in order, got {low}, {high}"
        )
    matrix, _ = fit_affine_flow(flow)
    rest = flow - affine_flow(matrix, sizes["h"], sizes["w"])
    r = jnp.sqrt(jnp.square(rest).sum(-1))
    soft = jax.nn.sigmoid((r - threshold) / softness)
    if cells:
        flat = soft.reshape(-1, sizes["h"], sizes["w"], 1)
        soft = cell_means(flat, (cells, cells)).reshape(*flow.shape[:-3], cells, cells)
    sure = (soft > high) | (soft < low)
    return (soft > high).astype(flow.dtype), sure.astype(flow.dtype)


def _frames(function, first, second):
    sizes = expect(function, first=(first, "n h w c"), second=(second, "n h w c"))
    return sizes["h"], sizes["w"]


def _homogeneous(h, w, dtype):
    """(x, y, 1) of each pixel, from the center: [h, w, 3]."""
    x, y = np.arange(w) - (w - 1) / 2, np.arange(h) - (h - 1) / 2
    return jnp.asarray(np.stack([*np.meshgrid(x, y), np.ones((h, w))], -1), dtype)


def _slope(x, axis):
    """Central differences along an axis, one-sided at the border."""
    last = x.shape[axis] - 1
    at = jnp.arange(last + 1)
    before, after = jnp.maximum(at - 1, 0), jnp.minimum(at + 1, last)
    gap = (after - before).reshape([-1 if i == axis else 1 for i in range(x.ndim)])
    return (jnp.take(x, after, axis) - jnp.take(x, before, axis)) / gap


def _median(x):
    """Median over 3 x 3 pixels, [n, h, w, d]."""
    h, w = x.shape[1:3]
    padded = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="edge")
    near = [padded[:, i : i + h, j : j + w] for i, j in np.ndindex(3, 3)]
    return jnp.median(jnp.stack(near), 0)


def _box(x, side):
    """Mean over side x side pixels, of those within the image: [n, h, w]."""
    shape, steps = (1, side, side), (1, 1, 1)
    total = lax.reduce_window(x, 0.0, lax.add, shape, steps, "SAME")
    reach, counts = side // 2, []
    for length in x.shape[1:]:
        at = np.arange(length)
        counts.append(np.minimum(at + reach, length - 1) - np.maximum(at - reach, 0) + 1)
    return total / jnp.asarray(np.outer(*counts), x.dtype)
