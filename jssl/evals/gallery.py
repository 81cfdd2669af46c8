"""Arrays for visualization: filters, strongest images, attention maps, spectra.

All functions return arrays, or images [rows, columns, h, w, c] in [0, 1]; none draws.
Compare pictures of a trained network with those of an untrained one.

Attention maps A_h,w = sum_c |F_h,w,c|^p of convolutions: Zagoruyko and Komodakis, ICLR
2017 (https://arxiv.org/abs/1612.03928). Attention of a transformer's class token, and the
cells with 60 % of its mass: Caron et al., ICCV 2021 (https://arxiv.org/abs/2104.14294).
Rollout, prod_l (A_l + I) / 2: Abnar and Zuidema, ACL 2020
(https://arxiv.org/abs/2005.00928).
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Bool, Float, Integer, Num

from jssl.evals.collapse import singular_values
from jssl.ops.shapes import expect


class Top(NamedTuple):
    """The images with the strongest activation of a unit, strongest first."""

    images: np.ndarray  # [k, *image]
    scores: np.ndarray  # [k]
    index: np.ndarray  # int [k]


def filter_grid(
    kernel: Float[Array | np.ndarray, "h w i o"],
) -> Float[np.ndarray, "rows columns h w c"]:
    """Filters of a convolution as images: 0 is gray, the largest weight black or white.

        0.5 + w / (2 max |w|),    max over one filter

    Filters of 1 or 3 channels are arranged in about a square, padded with gray; others
    have a row each, with their channels side by side.

    Raises:
      ValueError: kernel is not [h, w, inputs, outputs], or not finite.

    >>> kernel = np.array([[-1.0, 2.0], [0.0, 0.0]]).reshape(1, 2, 1, 2)  # by input, output
    >>> print(filter_grid(kernel).shape, filter_grid(kernel)[0, :, 0, :, 0].tolist())
    (1, 2, 1, 2, 1) [[0.0, 0.5], [1.0, 0.5]]
    """
    sizes = expect("filter_grid", kernel=(kernel, "h w i o"))
    kernel = np.moveaxis(_finite("filter_grid", kernel), -1, 0)  # [o, h, w, i]
    largest = np.abs(kernel).max(axis=(1, 2, 3), keepdims=True)
    shown = 0.5 + kernel / (2 * np.where(largest > 0, largest, 1))
    if sizes["i"] not in (1, 3):
        return np.moveaxis(shown, -1, 1)[..., None]
    columns = math.ceil(math.sqrt(len(shown)))
    rows = math.ceil(len(shown) / columns)
    gray = np.full((rows * columns - len(shown), *shown.shape[1:]), 0.5)
    return np.concatenate([shown, gray]).reshape(rows, columns, *shown.shape[1:])


def top_activating(
    maps: Float[Array | np.ndarray, "n h w c"],
    images: Num[Array | np.ndarray, "n *image"],
    unit: int,
    n: int = 9,
    reduce: str = "mean",
) -> Top:
    """The n images with the largest mean or maximum of one channel over its map.

    Args:
      maps: feature maps after the nonlinearity.
      images: of the maps.
      unit: number of the channel.
      n: number of images; ties go to the earlier image.
      reduce: "mean", as in Caron et al. (https://arxiv.org/abs/1807.05520), or "max".

    Raises:
      ValueError: too few images or channels, unknown `reduce`, or inconsistent shapes.

    >>> maps = np.array([[1.0, 1.0], [5.0, 0.0], [0.0, 3.0]]).reshape(3, 1, 2, 1)
    >>> found = top_activating(maps, np.array([10, 11, 12]), unit=0, n=2)
    >>> print(found.images, found.scores)  # means 1, 2.5, 1.5
    [11 12] [2.5 1.5]
    """
    sizes = expect("top_activating", maps=(maps, "n h w c"))
    maps, images = _finite("top_activating", maps), np.asarray(images)
    most, units = sizes["n"], sizes["c"]
    if len(images) != most or not 1 <= n <= most or not 0 <= unit < units:
        raise ValueError(
            f"top_activating needs a map for each image, n among 1 ... {most} and a unit "
            f"below {units}, got {most} maps, {len(images)} images, n={n}, unit={unit}"
        )
    if reduce not in ("mean", "max"):
        raise ValueError(f'top_activating: reduce is "mean" or "max", got {reduce!r}')
    scores = getattr(maps[..., unit], reduce)(axis=(1, 2))
    index = np.argsort(-scores, kind="stable")[:n]
    return Top(images[index], scores[index], index)


def activation_attention(
    fmap: Float[Array | np.ndarray, "n h w c"], size: tuple[int, int], p: float | int = 2
) -> Float[np.ndarray, "n height width"]:
    """Activation-based attention, sum_c |F|^p, scaled to [0, 1] and to the image size.

    Each map is rescaled to [0, 1], then upsampled bilinearly; constant maps become 0.

    Args:
      fmap: feature maps of a convolution.
      size: height and width of the images.
      p: exponent; larger values emphasize the strongest locations.

    Raises:
      ValueError: fmap is not float [n, h, w, c], or not finite.

    >>> fmap = np.array([[[[3.0, 4.0]], [[0.0, 0.0]], [[0.0, 5.0]]]])  # 25, 0, 25
    >>> print(activation_attention(fmap, (3, 1))[0, :, 0])
    [1. 0. 1.]
    """
    expect("activation_attention", fmap=(fmap, "n h w c"))
    a = (np.abs(_finite("activation_attention", fmap)) ** p).sum(axis=-1)
    low, high = a.min(axis=(1, 2), keepdims=True), a.max(axis=(1, 2), keepdims=True)
    a = (a - low) / np.where(high > low, high - low, 1)
    return np.asarray(jax.image.resize(a, (len(a), *size), "bilinear"))


def cls_attention(
    probabilities: Float[Array | np.ndarray, "n heads t t"], grid: tuple[int, int]
) -> Float[np.ndarray, "n heads rows columns"]:
    """Attention of the class token, the first of 1 + l, to the l patches, by head.

    Its attention to itself is omitted, so a map sums to less than 1.

    Args:
      probabilities: after the softmax, of one block, usually the last.
      grid: rows and columns of patches, l in all.

    Raises:
      ValueError: rows do not add up to 1, or t is not 1 + l.

    >>> rows = np.array([[0.2, 0.5, 0.3], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    >>> print(cls_attention(rows[None, None], (1, 2)))
    [[[[0.5 0.3]]]]
    """
    probabilities = _stochastic("cls_attention", probabilities)
    n, heads, t, _ = probabilities.shape
    if t != 1 + math.prod(grid):
        raise ValueError(
            f"cls_attention: a grid of {grid} has {1 + math.prod(grid)} tokens with the "
            f"class token, got {t}"
        )
    return probabilities[:, :, 0, 1:].reshape(n, heads, *grid)


def attention_mass_mask(
    a: Float[Array | np.ndarray, "*b h w"], mass: float = 0.6
) -> Bool[np.ndarray, "*b h w"]:
    """Mask of the fewest cells of each map whose sum is the fraction `mass` of the total.

    Args:
      a: nonnegative maps; ties go to the earlier cell. Maps of zeros give empty masks.
      mass: fraction of the total, in (0, 1].

    Raises:
      ValueError: a negative or non-finite cell, or a mass outside (0, 1].

    >>> a = np.array([[4.0, 1.0], [2.0, 3.0]])
    >>> print(attention_mass_mask(a, 0.6).astype(int))  # 4 + 3 of 10
    [[1 0]
     [0 1]]
    """
    a = _finite("attention_mass_mask", a)
    if (a < 0).any() or not 0 < mass <= 1:
        raise ValueError(
            f"attention_mass_mask needs cells >= 0 and mass in (0, 1], got a least cell of "
            f"{a.min():g} and {mass}"
        )
    cells = a.reshape(*a.shape[:-2], -1)
    order = np.argsort(-cells, axis=-1, kind="stable")
    held = np.take_along_axis(cells, order, axis=-1).cumsum(axis=-1)
    before = np.concatenate([np.zeros_like(held[..., :1]), held[..., :-1]], axis=-1)
    mask = np.empty(cells.shape, bool)
    np.put_along_axis(mask, order, before < mass * held[..., -1:], axis=-1)
    return mask.reshape(a.shape)


def attention_rollout(
    layers: Sequence[Float[Array | np.ndarray, "n heads t t"]],
) -> Float[np.ndarray, "n t t"]:
    """Attention rollout: attention from last to first layer, accumulated over layers.

        (A_L + I) / 2 ... (A_2 + I) / 2 (A_1 + I) / 2,    A_l the mean over heads

    Args:
      layers: attention after the softmax, the first layer first.

    Raises:
      ValueError: no layers, of several shapes, or with rows that do not add up to 1.

    >>> swap = np.array([[0.0, 1.0], [1.0, 0.0]])[None, None]
    >>> print(attention_rollout([swap]).tolist())
    [[[0.5, 0.5], [0.5, 0.5]]]
    """
    found = [_stochastic("attention_rollout", a).mean(axis=1) for a in layers]
    if len({a.shape for a in found}) != 1:
        raise ValueError(
            f"attention_rollout needs layers of one shape, got {[a.shape for a in found]}"
        )
    rolled = np.eye(found[0].shape[-1])
    for a in found:
        rolled = (a + np.eye(a.shape[-1])) / 2 @ rolled
    return rolled


def nearest_neighbor_panel(
    images: Num[Array | np.ndarray, "n h w c"], idx: Integer[Array | np.ndarray, "q k"]
) -> Num[np.ndarray, "q k h w c"]:
    """Images of queries and their neighbors, one row per query.

    Args:
      images: all images.
      idx: row numbers of images: the query, then its neighbors, nearest first.

    Raises:
      ValueError: an index is out of range, or a query is among its own neighbors.

    >>> images = np.arange(3.0).reshape(3, 1, 1, 1)
    >>> print(nearest_neighbor_panel(images, np.array([[0, 2], [1, 0]])).squeeze())
    [[0. 2.]
     [1. 0.]]
    """
    images, idx = np.asarray(images), np.asarray(idx)
    if idx.size and not 0 <= idx.min() <= idx.max() < len(images):
        raise ValueError(
            f"nearest_neighbor_panel: idx must be 0 ... {len(images) - 1}, got "
            f"{idx.min()} ... {idx.max()}"
        )
    if (idx[:, 1:] == idx[:, :1]).any():
        raise ValueError(
            "nearest_neighbor_panel: a query is among its own neighbors: leave it out"
        )
    return images[idx]


def spectrum_points(z: Float[np.ndarray, "n d"]) -> Float[np.ndarray, " k"]:
    """Singular values of centered z, largest first, relative to the largest.

    k = min(n - 1, d): centering makes all further values zero, whatever z is.
    They decay slowly for healthy z and drop sharply under dimensional collapse
    (https://arxiv.org/abs/2110.09348). All are 0 if z is constant.

    Raises:
      ValueError: z is not finite rows [n, d], two or more.

    >>> z = np.array([[4.0, 0.0], [-4.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
    >>> print(spectrum_points(z))  # sqrt(32) and sqrt(2)
    [1.   0.25]
    """
    values = singular_values(z)
    constant = values[0] <= 1e-6 * np.abs(z).max() * math.sqrt(len(z))  # rounding
    return np.zeros_like(values) if constant else values / values[0]


def _stochastic(function, a):
    expect(function, probabilities=(a, "n heads t t"))
    a = _finite(function, a)
    off = np.abs(a.sum(axis=-1) - 1).max()
    if off > 1e-2 or (a < 0).any():  # bfloat16 has a rounding error of 0.4 %
        raise ValueError(
            f"{function}: rows must be probabilities, each adding up to 1, got some off by "
            f"{off:g}: give attention after the softmax"
        )
    return a


def _finite(function, x):
    x = np.asarray(x, np.float64)
    if not x.size or not np.isfinite(x).all():
        raise ValueError(f"{function}: {list(x.shape)} is empty or not finite")
    return x
