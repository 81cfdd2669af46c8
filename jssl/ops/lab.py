r"""CIE L*a*b* colors, and a quantization of their ab plane into 313 bins.

Zhang, Isola and Efros 2016, "Colorful Image Colorization", section 2.
https://arxiv.org/abs/1603.08511
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from jssl.ops.shapes import expect

RGB_TO_XYZ = (
    (0.412453, 0.357580, 0.180423),
    (0.212671, 0.715160, 0.072169),
    (0.019334, 0.119193, 0.950227),
)
D65 = (0.95047, 1.0, 1.08883)  # XYZ of the white point
# First and last b of the bins of each a, in steps of 10: resources/pts_in_hull.npy of
# https://github.com/richzhang/colorization. They are more than those that the gamut of sRGB
# meets, and no rule for them is published.
RANGES = {
    -90: (50, 90),
    -80: (20, 90),
    -70: (0, 90),
    -60: (-20, 90),
    -50: (-30, 100),
    -40: (-40, 100),
    -30: (-50, 100),
    -20: (-50, 100),
    -10: (-60, 100),
    0: (-70, 100),
    10: (-80, 90),
    20: (-80, 90),
    30: (-90, 90),
    40: (-100, 90),
    50: (-100, 80),
    60: (-110, 80),
    70: (-110, 80),
    80: (-110, 70),
    90: (-110, 70),
    100: (-90, 0),
}


def rgb_to_lab(image: Float[Array, "*n c"]) -> Float[Array, "*n 3"]:
    """Converts sRGB to CIE L*a*b* under D65: L in [0, 100], a and b around zero.

    Each channel is linearized and transformed to XYZ relative to the white point. With
    f(t) the cube root (linear near zero): L = 116 f(Y) - 16, a = 500 (f(X) - f(Y)),
    b = 200 (f(Y) - f(Z)).

    Raises:
      ValueError: when the last axis is not of three channels.

    >>> rgb_to_lab(jnp.ones((1, 1, 3))).ravel().round(1) + 0.0  # white
    Array([100.,   0.,   0.], dtype=float32)
    """
    _three("rgb_to_lab", image, "RGB")
    linear = jnp.where(
        image > 0.04045,
        ((jnp.maximum(image, 0.04045) + 0.055) / 1.055) ** 2.4,
        image / 12.92,
    )
    weights = jnp.array(RGB_TO_XYZ, image.dtype) / jnp.array(D65, image.dtype)[:, None]
    t = sum(linear[..., i : i + 1] * weights[:, i] for i in range(3))
    f = jnp.where(t > 0.008856, jnp.maximum(t, 0.008856) ** (1 / 3), 7.787 * t + 16 / 116)
    x, y, z = f[..., :1], f[..., 1:2], f[..., 2:]
    return jnp.concatenate([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)


def lab_to_rgb(lab: Float[Array, "*n c"]) -> Float[Array, "*n 3"]:
    """Converts CIE L*a*b* under D65 to sRGB, the inverse of `rgb_to_lab`.

    Colors outside the gamut of sRGB are clipped to [0, 1] in each channel.

    Raises:
      ValueError: when the last axis is not of three channels.

    >>> lab_to_rgb(jnp.array([53.24, 80.09, 67.20])).round(2) + 0.0  # red
    Array([1., 0., 0.], dtype=float32)
    """
    _three("lab_to_rgb", lab, "L, a, b")
    y = (lab[..., :1] + 16) / 116
    z = jnp.maximum(y - lab[..., 2:] / 200, 0)  # as scikit-image, for b out of gamut
    f = jnp.concatenate([y + lab[..., 1:2] / 500, y, z], axis=-1)
    t = jnp.where(f > 0.2068966, f**3, (f - 16 / 116) / 7.787)
    inverse = np.linalg.inv(np.array(RGB_TO_XYZ)) * np.array(D65)
    weights = jnp.array(inverse, lab.dtype)
    linear = sum(t[..., i : i + 1] * weights[:, i] for i in range(3))
    curved = 1.055 * jnp.maximum(linear, 0.0031308) ** (1 / 2.4) - 0.055
    return jnp.clip(jnp.where(linear > 0.0031308, curved, 12.92 * linear), 0, 1)


def ab_bins(spacing: int = 10) -> np.ndarray:
    """Centers of the color bins, float32 [q, 2] of a and b, by a and then by b.

    The 313 published ones for a spacing of 10; for a multiple of it those of them whose
    coordinates are multiples of it.

    Raises:
      ValueError: for a spacing that is not a multiple of 10, up to 50.

    >>> len(ab_bins()), len(ab_bins(20)), ab_bins()[:2].tolist()
    (313, 78, [[-90.0, 50.0], [-90.0, 60.0]])
    """
    if spacing not in (10, 20, 30, 40, 50):
        raise ValueError(f"ab_bins: spacing must be 10, 20, 30, 40 or 50, got {spacing}")
    every = [(a, b) for a, (low, top) in RANGES.items() for b in range(low, top + 1, 10)]
    return np.array([p for p in every if not any(x % spacing for x in p)], np.float32)


def nearest_bin(
    ab: Float[Array, "*n 2"], bins: Float[np.ndarray | Array, "q 2"]
) -> Int[Array, "*n"]:
    """Number of the bin nearest to each color.

    Raises:
      ValueError: when shapes do not fit.

    >>> nearest_bin(jnp.array([4.0, 6.0]), jnp.array([[0.0, 0.0], [0.0, 10.0]])).item()
    1
    """
    return _squared_distances("nearest_bin", ab, bins).argmin(-1).astype(jnp.int32)


def encode_ab(
    ab: Float[Array, "*n 2"],
    bins: Float[np.ndarray | Array, "q 2"],
    neighbors: int = 5,
    sigma: float = 5.0,
) -> Float[Array, "*n q"]:
    r"""Soft encoding of colors as distributions over the bins nearest to them.

    .. math:: Z_q \propto \exp(-\|y - c_q\|^2 / 2 \sigma^2)

    on the nearest neighbors of the color y, and 0 elsewhere; of equally distant bins, the
    first. The paper has 5 neighbors, the released code 10; sigma is 5 in both.

    Raises:
      ValueError: when shapes do not fit, or there are fewer bins than neighbors.

    >>> bins = jnp.array([[0.0, 0.0], [0.0, 10.0], [0.0, 20.0]])
    >>> encode_ab(jnp.array([0.0, 5.0]), bins, neighbors=2)
    Array([0.5, 0.5, 0. ], dtype=float32)
    """
    squared = _squared_distances("encode_ab", ab, bins)
    if not 1 <= neighbors <= len(bins):
        raise ValueError(
            f"encode_ab: neighbors must be 1 to {len(bins)}, the bins, got {neighbors}"
        )
    negative, index = lax.top_k(-squared, neighbors)
    weights = jax.nn.softmax(negative / (2 * sigma**2))  # [..., neighbors]
    # Measured on one core: a third of the time of a sum of one-hot rows.
    return jnp.put_along_axis(jnp.zeros_like(squared), index, weights, -1, inplace=False)


def smooth_prior(
    counts: Float[Array, " q"],
    bins: Float[np.ndarray | Array, "q 2"],
    sigma: float = 5.0,
) -> Float[Array, " q"]:
    r"""Frequencies of the bins, smoothed on the ab plane by a Gaussian of deviation sigma.

    .. math:: p_q \propto \sum_r n_r \exp(-\|c_q - c_r\|^2 / 2 \sigma^2)

    Raises:
      ValueError: when shapes do not fit.

    >>> bins = jnp.array([[0.0, 0.0], [0.0, 10.0]])
    >>> prior = smooth_prior(jnp.array([3.0, 0.0]), bins)    # 1 : exp(-2)
    >>> [round(p, 3) for p in prior.tolist()]
    [0.881, 0.119]
    """
    expect("smooth_prior", counts=(counts, "q"), bins=(bins, "q 2"))
    kernel = jnp.exp(-_squared_distances("smooth_prior", bins, bins) / (2 * sigma**2))
    smoothed = (kernel * counts).sum(-1)
    return smoothed / smoothed.sum()


def annealed_mean(
    logits: Float[Array, "*n q"],
    bins: Float[np.ndarray | Array, "q 2"],
    temperature: float = 0.38,
) -> Float[Array, "*n 2"]:
    r"""The color of a distribution over bins: its mean at a temperature T.

    .. math:: \sum_q c_q \frac{\exp(\log z_q / T)}{\sum_r \exp(\log z_r / T)}

    with z the softmax of the logits: their mean at T = 1, which is grayish, and their mode
    as T goes to 0, which may be inconsistent in space. The paper has 0.38.

    Raises:
      ValueError: when shapes do not fit, or the temperature is not positive.

    >>> bins = jnp.array([[0.0, 0.0], [0.0, 10.0]])
    >>> color = annealed_mean(jnp.array([0.0, jnp.log(3.0)]), bins, 1.0)    # 3/4 of the way
    >>> [round(x, 3) for x in color.tolist()]
    [0.0, 7.5]
    """
    bins = jnp.asarray(bins)
    expect("annealed_mean", logits=(logits, "... q"), bins=(bins, "q 2"))
    if temperature <= 0:
        raise ValueError(f"annealed_mean: temperature must be positive, got {temperature}")
    weights = jax.nn.softmax(logits / temperature)
    return jnp.stack([(weights * bins[:, i]).sum(-1) for i in range(2)], -1)


def is_colored(ab: Float[Array, "n h w 2"], threshold: float = 5.0) -> Bool[Array, " n"]:
    """False for gray images, in which neither |a| nor |b| exceeds the threshold anywhere.

    Raises:
      ValueError: when `ab` is not float[n, h, w, 2].

    >>> is_colored(jnp.array([0.0, 4.0, 0.0, 6.0]).reshape(2, 1, 1, 2)).tolist()
    [False, True]
    """
    expect("is_colored", ab=(ab, "n h w 2"))
    return (jnp.abs(ab) > threshold).any((1, 2, 3))


def lightness(images: Float[Array, "n h w c"]) -> Float[Array, "n h w 1"]:
    """L of RGB images in [0, 1], less 50 and divided by 100: a network's gray input.

    Raises:
      ValueError: when there are not three channels.

    >>> lightness(jnp.ones((1, 1, 1, 3))).round(3).item()    # white
    0.5
    """
    return (rgb_to_lab(images)[..., :1] - 50) / 100


def colored(
    light: Float[Array, "n h w 1"], ab: Float[Array, "n k l 2"]
) -> Float[Array, "n h w 3"]:
    """RGB images [n, h, w, 3] of L, from 0 to 100, and of a and b at a lower resolution.

    Raises:
      ValueError: when shapes do not fit.

    >>> gray = colored(jnp.full((1, 4, 4, 1), 50.0), jnp.zeros((1, 2, 2, 2)))
    >>> gray.shape, gray.mean().round(2).item()
    ((1, 4, 4, 3), 0.4699999988079071)
    """
    sizes = expect("colored", light=(light, "n h w 1"), ab=(ab, "n k l 2"))
    shape = sizes["n"], sizes["h"], sizes["w"], 2
    return lab_to_rgb(jnp.concatenate([light, jax.image.resize(ab, shape, "linear")], -1))


def _three(function, image, names):
    if jnp.ndim(image) == 0 or image.shape[-1] != 3:
        raise ValueError(
            f"{function}: image must have 3 channels, last ({names}), got "
            f"{list(jnp.shape(image))}"
        )


def _squared_distances(function, ab, bins):
    """[..., q], without the cancellation of the product form."""
    expect(function, ab=(ab, "... 2"), bins=(bins, "q 2"))
    bins = jnp.asarray(bins, ab.dtype)
    return sum(jnp.square(ab[..., i, None] - bins[:, i]) for i in range(2))
