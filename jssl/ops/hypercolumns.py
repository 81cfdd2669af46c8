"""Hypercolumns: the values of all layers' maps at places of an image, and histograms there.

Hariharan, Arbelaez, Girshick and Malik 2015, https://arxiv.org/abs/1411.5752; Larsson,
Maire and Shakhnarovich 2016, section 3.2, https://arxiv.org/abs/1603.06668
"""

from collections.abc import Sequence

import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Shaped

from jssl.ops.shapes import expect


def sample_bilinear(
    maps: Float[Array, "n h w c"], points: Float[Array, "n p 2"]
) -> Float[Array, "n p c"]:
    """Values of maps at points (row, column), by bilinear interpolation.

    Integers are centers of cells; beyond the outermost centers, maps are constant.

    Raises:
      ValueError: when shapes do not fit.

    >>> maps = jnp.arange(4.0).reshape(1, 2, 2, 1)
    >>> sample_bilinear(maps, jnp.array([[[0.5, 0.0], [0.25, 1.0]]]))[0, :, 0].tolist()
    [1.0, 1.5]
    """
    sizes = expect("sample_bilinear", maps=(maps, "n h w c"), points=(points, "n p 2"))
    last = jnp.array([sizes["h"] - 1, sizes["w"] - 1])
    points = jnp.clip(points, 0, last)
    low = jnp.floor(points).astype(jnp.int32)
    high = jnp.minimum(low + 1, last)
    share = (points - low).astype(maps.dtype)
    row = jnp.arange(sizes["n"])[:, None]

    def along(i):
        """Values [n, p, c] in rows i, interpolated between columns."""
        left, right = maps[row, i, low[..., 1]], maps[row, i, high[..., 1]]
        return left + share[..., 1:] * (right - left)

    above, below = along(low[..., 0]), along(high[..., 0])
    return above + share[..., :1] * (below - above)


def hypercolumn(
    maps: Sequence[Float[Array, "n _ _ _"]], places: Shaped[Array, "n p 2"]
) -> Float[Array, "n p d"]:
    r"""Values of several maps of an image at its pixels, concatenated along channels.

    .. math:: \mathrm{concat}_l \; f_l\big((y + 1/2) / s_l - 1/2\big)

    for the stride s of each map, by bilinear interpolation: the rows of maps that are
    resized to the image and concatenated, without the computation of other places.

    Args:
      maps: of one image each row; the first has the resolution of the image.
      places: row and column of pixels, which may lie between them.

    Raises:
      ValueError: when shapes do not fit.

    >>> fine, coarse = jnp.arange(4.0).reshape(1, 2, 2, 1), jnp.full((1, 1, 1, 1), 9.0)
    >>> hypercolumn([fine, coarse], jnp.array([[[1, 0]]])).tolist()
    [[[2.0, 9.0]]]
    """
    size = jnp.array(maps[0].shape[1:3], jnp.float32)
    found = []
    for x in maps:
        share = jnp.array(x.shape[1:3], jnp.float32) / size
        points = (places.astype(jnp.float32) + 0.5) * share - 0.5
        found.append(sample_bilinear(x, points).astype(jnp.float32))
    return jnp.concatenate(found, -1)


def bin_numbers(values: Float[Array, "*n"], bins: int) -> Int[Array, "*n"]:
    """Numbers of equal bins of [0, 1] that contain the values; 1 is in the last bin.

    >>> bin_numbers(jnp.array([0.0, 0.49, 0.5, 1.0]), 2).tolist()
    [0, 0, 1, 1]
    """
    return jnp.clip(jnp.floor(values * bins), 0, bins - 1).astype(jnp.int32)


def window_histograms(
    values: Float[Array, "n h w"], places: Int[Array, "n p 2"], bins: int, window: int
) -> Float[Array, "n p k"]:
    """Frequencies of values in [0, 1] in windows around pixels, [n, p, bins].

    Args:
      values: of each pixel.
      places: rows and columns of the centers. Windows repeat the pixels of the border.
      bins: number of bins of equal width.
      window: side of the square windows in pixels, odd; 1: one-hot codes.

    Raises:
      ValueError: when shapes do not fit, or the window is even.

    >>> values = jnp.array([[[0.1, 0.9, 0.9]]])
    >>> window_histograms(values, jnp.array([[[0, 1]]]), 2, 1).tolist()
    [[[0.0, 1.0]]]
    """
    sizes = expect(
        "window_histograms", values=(values, "n h w"), places=(places, "n p 2", "int")
    )
    if window < 1 or window % 2 == 0:
        raise ValueError(f"window_histograms: window must be odd, got {window}")
    near = jnp.arange(window) - window // 2
    rows = jnp.clip(places[..., :1] + near, 0, sizes["h"] - 1)  # [n, p, window]
    columns = jnp.clip(places[..., 1:] + near, 0, sizes["w"] - 1)
    row = jnp.arange(sizes["n"])[:, None, None, None]
    seen = bin_numbers(values, bins)[row, rows[..., :, None], columns[..., None, :]]
    seen = seen.reshape(*places.shape[:2], -1, 1)
    return (seen == jnp.arange(bins)).astype(values.dtype).mean(-2)


def histogram_median(frequencies: Float[Array, "*n k"]) -> Float[Array, "*n"]:
    """Center of the bin of the median of histograms over [0, 1].

    >>> histogram_median(jnp.array([0.25, 0.25, 0.25, 0.25])).item()    # in the second bin
    0.375
    """
    below = (jnp.cumsum(frequencies, -1) < 0.5).sum(-1)
    bins = frequencies.shape[-1]
    return (jnp.minimum(below, bins - 1) + 0.5) / bins


def circular_mean(
    frequencies: Float[Array, "*n k"],
) -> tuple[Float[Array, "*n"], Float[Array, "*n"]]:
    r"""Mean of histograms over a circle of circumference 1, and its certainty in [0, 1].

    .. math:: z = \sum_k p_k e^{2 \pi i (k + 1/2) / K}, \qquad \arg z / 2 \pi, \quad |z|

    >>> mean, length = circular_mean(jnp.array([0.5, 0.0, 0.0, 0.5]))    # 1/8 and 7/8
    >>> round(mean.item(), 3) % 1, round(length.item(), 3)
    (0.0, 0.707)
    """
    bins = frequencies.shape[-1]
    turn = 2 * jnp.pi * (jnp.arange(bins) + 0.5) / bins
    x, y = (frequencies * jnp.cos(turn)).sum(-1), (frequencies * jnp.sin(turn)).sum(-1)
    angle = jnp.arctan2(y, x) / (2 * jnp.pi)
    return angle - jnp.floor(angle), jnp.sqrt(x * x + y * y)
