r"""Fidelity of reconstructed images: PSNR and SSIM.

    PSNR = 10 log10(1 / mean (x - y)^2), for images in [0, 1], in decibels
                (2 m_x m_y + c_1) (2 s_xy + c_2)
    SSIM = mean ------------------------------------------------
                (m_x^2 + m_y^2 + c_1) (s_x^2 + s_y^2 + c_2)

with means m, variances s^2 and covariance s_xy in Gaussian windows of 11 x 11 pixels and
deviation 1.5, c_1 = 0.01^2 and c_2 = 0.03^2, and the mean over all windows within the image
(Wang, Bovik, Sheikh and Simoncelli 2004, https://doi.org/10.1109/TIP.2003.819861).
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from jssl.evals.protocol import Eval, Features

Images = Float[np.ndarray, "n h w c"]
Each = Float[np.ndarray, " n"]

BT601 = (65.481 / 255, 128.553 / 255, 24.966 / 255)
RADIUS, DEVIATION = 5, 1.5
ROWS = 500  # in float64 at a time


def psnr(x: Images, y: Images) -> Each:
    """Peak signal-to-noise ratio of each pair of images in [0, 1], in decibels.

    At most 120, that of a mean squared error of 1e-12.

    Raises:
      ValueError: not two arrays of images [n, h, w, c] of one shape.

    >>> psnr(np.zeros((1, 2, 2, 1)), np.full((1, 2, 2, 1), 0.1)).round(6).tolist()
    [20.0]
    """
    x, y = _pair("psnr", x, y)
    error = np.square(x - y).mean((1, 2, 3))
    return -10 * np.log10(np.maximum(error, 1e-12))


def ssim(x: Images, y: Images) -> Each:
    """Structural similarity of each pair of images in [0, 1]; mean over channels.

    Raises:
      ValueError: not two arrays of images [n, h, w, c] of one shape, 11 x 11 or larger.

    >>> ramp = np.linspace(0, 1, 144).reshape(1, 12, 12, 1)
    >>> ssim(ramp, ramp).tolist()
    [1.0]
    """
    x, y = _pair("ssim", x, y)
    if min(x.shape[1:3]) <= 2 * RADIUS:
        raise ValueError(f"ssim needs images of 11 x 11 pixels or more, got {x.shape[1:3]}")
    one, two = _blurred(x), _blurred(y)
    vx, vy = _blurred(x * x) - one**2, _blurred(y * y) - two**2
    both = _blurred(x * y) - one * two
    c1, c2 = 0.01**2, 0.03**2
    alike = (2 * one * two + c1) * (2 * both + c2)
    return (alike / ((one**2 + two**2 + c1) * (vx + vy + c2))).mean((1, 2, 3))


def image_quality(
    names: Sequence[str] = ("reconstruction",), *, border: int = 0, luma: bool = False
) -> Eval:
    """PSNR and SSIM of the method's reconstructions, means over the images.

    `embed` returns "input" and the reconstructions, images [N, h, w, c] in [0, 1]. Those of
    the first name are "psnr" and "ssim", those of others "psnr/NAME" and "ssim/NAME".
    Images smaller than 11 x 11 within the border have no SSIM.

    Args:
      names: outputs of the method with the reconstructions.
      border: pixels on each side that are not compared; 4 in the papers of
        super-resolution.
      luma: True compares the luma of color images (ITU-R BT.601), as these papers do.

    Raises:
      ValueError: an output is missing, or no images.
    """

    def judged(features, split, name):
        try:
            x, y = (np.asarray(features(split, key)) for key in ("input", name))
        except KeyError as error:
            raise ValueError(f"the {split} split has no {name!r}: {error}") from error
        if x.shape != y.shape or x.ndim != 4:
            raise ValueError(
                f"image_quality needs images [n, h, w, c], got {list(x.shape)} as 'input' "
                f"and {list(y.shape)} as {name!r}"
            )
        inside = slice(border, -border or None)
        found: dict[str, list[Each]] = {"psnr": [], "ssim": []}
        for first in range(0, len(x), ROWS):
            pair = [a[first : first + ROWS, inside, inside] for a in (x, y)]
            if luma and x.shape[-1] == 3:
                pair = [(a @ np.array(BT601))[..., None] + 16 / 255 for a in pair]
            found["psnr"].append(psnr(*pair))
            if min(pair[0].shape[1:3]) > 2 * RADIUS:
                found["ssim"].append(ssim(*pair))
        return {k: float(np.concatenate(each).mean()) for k, each in found.items() if each}

    def run(features: Features, final: bool) -> dict:
        found = {}
        for name in names:
            of = "" if name == names[0] else f"/{name}"
            numbers = judged(features, "test" if final else "val", name)
            found |= {metric + of: number for metric, number in numbers.items()}
        return found

    of = "luma, " if luma else ""
    how = f"PSNR and SSIM (11 x 11 Gaussian windows) of {', '.join(names)}"
    return Eval(f"{how}: {of}border={border}", run, outputs=("input", *names))


def _blurred(x):
    """Weighted means of all windows within the images: [n, h - 10, w - 10, c]."""
    at = np.arange(-RADIUS, RADIUS + 1)
    weight = np.exp(-0.5 * (at / DEVIATION) ** 2)
    weight /= weight.sum()
    for axis in (1, 2):
        windows = np.lib.stride_tricks.sliding_window_view(x, len(weight), axis)
        x = windows @ weight
    return x


def _pair(function, *images):
    found = [np.asarray(x, np.float64) for x in images]
    shapes = [list(x.shape) for x in found]
    finite = all(np.isfinite(x).all() for x in found)
    if shapes[0] != shapes[1] or len(shapes[0]) != 4 or not finite:
        raise ValueError(
            f"{function} needs two arrays of finite images [n, h, w, c], got "
            f"{shapes[0]} and {shapes[1]}"
        )
    return found
