r"""Features and distortions of EEG: band power as differential entropy, and electrodes.

The differential entropy of a Gaussian signal is half its log variance, up to a constant:

.. math:: h(X) = \tfrac12 \log(2 \pi e \sigma^2) \quad \text{nats}

Duan, Zhu and Lu, "Differential Entropy Feature for EEG-based Emotion Classification", NER
2013; Zheng and Lu, "Investigating Critical Frequency Bands and Channels", IEEE TAMD 2015.
Public variants with log2(100 mean |FFT|^2) are other features.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from jssl.ops.shapes import expect

BANDS = {
    "delta": (1.0, 4.0),
    "theta": (4.0, 8.0),
    "alpha": (8.0, 14.0),
    "beta": (14.0, 31.0),
    "gamma": (31.0, 50.0),
}
"""The five usual bands, in Hz: from the first frequency to below the second."""


def band_filter(
    x: Float[Array, "*ch t"], rate: float | int, band: tuple[float | int, float | int]
) -> Float[Array, "*ch t"]:
    """Removes all frequencies of a signal outside low <= f < high, by its Fourier series.

    Args:
      x: signals, time last.
      rate: samples per second.
      band: low and high, in Hz.

    Raises:
      ValueError: not 0 <= low < high, or no frequency of the signals is in the band.

    >>> t = jnp.arange(100) / 100
    >>> slow, fast = jnp.sin(2 * jnp.pi * 3 * t), jnp.sin(2 * jnp.pi * 20 * t)
    >>> print(jnp.abs(band_filter(slow + fast, 100, (1.0, 4.0)) - slow).max() < 1e-5)
    True
    """
    expect("band_filter", x=(x, "... t"))
    low, high = band
    if not 0 <= low < high:
        raise ValueError(f"band_filter: band must be 0 <= low < high, got {low}, {high}")
    frequency = np.fft.rfftfreq(x.shape[-1], 1 / rate)
    inside = (low <= frequency) & (frequency < high)
    if not inside.any():
        raise ValueError(
            f"band_filter: {x.shape[-1]} samples at the rate {rate} have no frequency from "
            f"{low} to {high}: give longer windows, a higher rate or another band"
        )
    return jnp.fft.irfft(jnp.fft.rfft(x) * inside, x.shape[-1]).astype(x.dtype)


def differential_entropy(x: Float[Array, "... t"], axis: int = -1) -> Float[Array, "..."]:
    """Differential entropy in nats of signals that are taken to be Gaussian.

    >>> one = jnp.array([-1.0, 1.0])    # of variance 1: log(2 pi e) / 2
    >>> print(f"{differential_entropy(one):.4f}")
    1.4189
    """
    return 0.5 * jnp.log(2 * jnp.pi * jnp.e * jnp.var(x, axis))


def de_features(
    x: Float[Array, "ch t"],
    rate: float | int,
    bands: tuple[tuple[float, float], ...] = tuple(BANDS.values()),
    window: float | int = 1.0,
) -> Float[Array, "windows ch bands"]:
    """Differential entropy of each channel and band, in consecutive windows.

    Args:
      x: signals of the channels.
      rate: samples per second.
      bands: (low, high) of each, in Hz.
      window: length of a window in seconds; the rest of the signal is dropped.

    Raises:
      ValueError: a signal shorter than a window.

    >>> de_features(jnp.ones((62, 400)), 200).shape
    (2, 62, 5)
    """
    sizes = expect("de_features", x=(x, "ch t"))
    size = round(window * rate)
    count = sizes["t"] // size
    if not count:
        raise ValueError(f"de_features: {sizes['t']} samples are no window of {size}")

    def windows(band):
        filtered = band_filter(x, rate, band)[:, : count * size]
        return differential_entropy(filtered.reshape(sizes["ch"], count, size)).T

    return jnp.stack([windows(band) for band in bands], -1)


def moving_average(
    x: Float[Array, "n *d"] | Float[np.ndarray, "n *d"], k: int
) -> Float[Array, "n *d"]:
    """Means over k consecutive rows around each row, fewer at both ends.

    >>> moving_average(jnp.array([0.0, 3.0, 6.0, 0.0]), 3).tolist()
    [1.5, 3.0, 3.0, 3.0]
    """
    rows = np.arange(len(x))
    first = np.maximum(rows - (k - 1) // 2, 0)
    last = np.minimum(rows + k // 2 + 1, len(x))
    inside = (first[:, None] <= rows) & (rows < last[:, None])
    return jnp.tensordot(jnp.asarray(inside / inside.sum(1, keepdims=True), x.dtype), x, 1)


def hemisphere(count: int = 62) -> Float[np.ndarray, "ch 3"]:
    """Electrodes spread evenly over the upper half of the unit sphere: (right, front, up).

    A Fibonacci lattice: equal steps in height, and turns by the golden angle.

    >>> print(np.linalg.norm(hemisphere(4), axis=1).round(6))
    [1. 1. 1. 1.]
    """
    up = 1 - (np.arange(count) + 0.5) / count
    turn = np.pi * (3 - np.sqrt(5)) * np.arange(count)
    flat = np.sqrt(1 - up**2)
    return np.stack([flat * np.cos(turn), flat * np.sin(turn), up], axis=1)


def eeg_noise(
    key: PRNGKeyArray, x: Float[Array, "n *d"], deviation: float | int = 0.2
) -> Float[Array, "n *d"]:
    """Adds Gaussian noise to features, in units of each feature's standard deviation.

    Wang, Zhong, Peng, Jiang and Liu, "Data Augmentation for EEG-Based Emotion Recognition
    with Deep Convolutional Neural Networks", MMM 2018.

    >>> eeg_noise(jax.random.key(0), jnp.ones((3, 2))).tolist()    # nothing varies
    [[1.0, 1.0], [1.0, 1.0], [1.0, 1.0]]
    """
    x = jnp.asarray(x)
    return x + deviation * x.std(0) * jax.random.normal(key, x.shape, x.dtype)


def eeg_rotate(
    x: Float[Array, "n ch f"],
    positions: Float[np.ndarray, "ch 3"],
    degrees: float | int = 18.0,
    axis: str = "up",
    width: float = 0.3,
) -> Float[Array, "n ch f"]:
    """Values at the electrodes as if the cap were turned about one of its axes.

    Values between electrodes are those of `interpolation`.

    Krell and Kim, "Rotational Data Augmentation for Electroencephalographic Data", EMBC
    2017, whose angles are 18 degrees and less.

    Args:
      x: features of the channels.
      positions: of the electrodes, on a sphere: (right, front, up).
      degrees: of the rotation.
      axis: "right", "front" or "up".
      width: of the radial basis functions, in units of the positions.

    Raises:
      ValueError: an unknown axis, or electrodes other than the channels.

    >>> x = jnp.arange(62.0).reshape(1, 62, 1)
    >>> print(jnp.abs(eeg_rotate(x, hemisphere(), 0.0) - x).max() < 1e-4)
    True
    """
    axes = ("right", "front", "up")
    if axis not in axes:
        raise ValueError(f"eeg_rotate: axis must be right, front or up, got {axis!r}")
    expect("eeg_rotate", positions=(positions, "ch 3"), x=(x, "n ch f"))
    angle, (i, j) = np.deg2rad(degrees), [k for k in range(3) if axes[k] != axis]
    cos, sin = np.cos(angle), np.sin(angle)
    turn = np.eye(3)
    turn[[i, i, j, j], [i, j, i, j]] = cos, -sin, sin, cos
    weights = interpolation(positions @ turn.T, positions, width)
    return jnp.einsum("ij,njf->nif", jnp.asarray(weights, x.dtype), x)


def interpolation(
    points: Float[np.ndarray, "m 3"],
    positions: Float[np.ndarray, "ch 3"],
    width: float = 0.3,
) -> Float[np.ndarray, "m ch"]:
    r"""Weights of the electrodes at other points, by Gaussian radial basis functions.

    .. math:: W = \Phi(p, r) \Phi(r, r)^{-1}, \qquad
              \Phi(p, r) = \exp(-\lVert p - r \rVert^2 / 2 \,\mathrm{width}^2)

    At the electrodes W is the identity. What is missing in a row to 1 is spread evenly, so
    that equal values stay equal.

    >>> electrodes = hemisphere(3)
    >>> print(interpolation(electrodes, electrodes).round(6).tolist())
    [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]
    """

    def basis(a, b):
        far = np.square(a[:, None] - b[None]).sum(-1)
        return np.exp(-far / (2 * width**2))

    own = basis(positions, positions)
    weights = np.linalg.solve(own, basis(points, positions).T).T
    weights += (1 - weights.sum(1, keepdims=True)) / len(positions)
    return weights + 0.0


def topographic_map(
    values: Float[np.ndarray, "n ch"],
    positions: Float[np.ndarray, "ch 3"],
    side: int = 32,
    width: float = 0.3,
) -> Float[np.ndarray, "n side side"]:
    """Values at electrodes as maps of the head from above, nose up; NaN outside the head.

    A point at the angle a from the top is drawn at the distance a / 90 degrees from the
    center. Values between electrodes are those of `interpolation`.

    >>> seen = topographic_map(np.ones((1, 62)), hemisphere())
    >>> print(seen.shape, seen[0, 16, 16].round(6), seen[0, 0, 0])
    (1, 32, 32) 1.0 nan
    """
    y, x = np.mgrid[1 : -1 : side * 1j, -1 : 1 : side * 1j]
    far = np.hypot(x, y)
    angle = far * np.pi / 2
    ratio = np.sin(angle) / np.maximum(far, 1e-9)
    points = np.stack([ratio * x, ratio * y, np.cos(angle)], -1).reshape(-1, 3)
    maps = np.asarray(values, np.float64) @ interpolation(points, positions, width).T
    return np.where(far <= 1, maps.reshape(-1, side, side), np.nan)
