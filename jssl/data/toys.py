"""Toy data: points in the plane with a known density."""

import numpy as np
from jaxtyping import Float

from jssl.data.fields import Dataset, Field

RING = np.stack([f(2 * np.pi * np.arange(8) / 8) for f in (np.cos, np.sin)], axis=1)
"""The eight means of `ring8`, [8, 2], on the unit circle."""


def ring8(*, deviation: float = 0.05) -> Dataset:
    """55,000 points of eight equal Gaussians on a circle, 2,500 each for val and test.

    The label is the Gaussian. A standard test of the mode coverage of generators:
    Srivastava et al. 2017, "VEEGAN", https://arxiv.org/abs/1705.07761, whose deviation
    is 0.01.

    Args:
      deviation: of each Gaussian, along either axis.
    """
    if not deviation > 0:
        raise ValueError(f"ring8: deviation must be positive, got {deviation}")
    sizes = {"train": 50_000, "val": 2_500, "test": 2_500}
    splits = {
        part: _ring(size, deviation, seed)
        for seed, (part, size) in enumerate(sizes.items())
    }
    return Dataset(splits, 8, {"image": Field()})  # points under the images' name


def _ring(n, deviation, seed):
    bits = np.random.PCG64(seed)
    label = (bits.random_raw(n) >> np.uint64(61)).astype(np.int32)  # the top three bits
    points = RING[label] + deviation * normal_pairs(bits, n)
    return {"image": points.astype(np.float32), "label": label}


def normal_pairs(bits: np.random.PCG64, n: int) -> Float[np.ndarray, "n 2"]:
    """Normal pairs from raw bits, which are stable across versions of NumPy (NEP 19).

    Box and Muller 1958, https://doi.org/10.1214/aoms/1177706645

    >>> normal_pairs(np.random.PCG64(0), 3).shape
    (3, 2)
    """
    u, v = (((bits.random_raw(n) >> np.uint64(11)) + 0.5) / 2**53 for _ in range(2))
    return np.sqrt(-2 * np.log(u))[:, None] * np.stack(
        [np.cos(2 * np.pi * v), np.sin(2 * np.pi * v)], axis=1
    )


def uniform(bits: np.random.PCG64, *shape: int) -> Float[np.ndarray, "*shape"]:
    """Uniform numbers in [0, 1) from raw bits, stable across versions of NumPy (NEP 19).

    >>> uniform(np.random.PCG64(0), 2, 3).shape
    (2, 3)
    """
    raw = bits.random_raw(int(np.prod(shape))).reshape(shape)
    return (raw >> np.uint64(11)) / 2**53
