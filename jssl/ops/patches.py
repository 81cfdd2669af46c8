"""Conversion between images, or videos, and sequences of patches."""

import jax.numpy as jnp
from jaxtyping import Array, Float, Shaped

from jssl.ops.shapes import expect


def patchify(images: Shaped[Array, "n h w c"], patch: int) -> Shaped[Array, "n l k"]:
    """Split images into l = (h / patch)(w / patch) patches of k = patch * patch * c values.

    Patches are in row-major order; inside a patch the order is (row, column, channel).

    Raises:
      ValueError: when `patch` does not divide height and width.

    >>> patchify(jnp.arange(16).reshape(1, 4, 4, 1), 2)[0, 1].tolist()
    [2, 3, 6, 7]
    """
    expect("patchify", images=(images, "n h w c", "any"))
    n, h, w, c = images.shape
    if patch < 1 or h % patch or w % patch:
        raise ValueError(
            f"a patch of {patch} does not divide an image of {h}x{w}: "
            f"choose a divisor of both sides"
        )
    cells = images.reshape(n, h // patch, patch, w // patch, patch, c)
    return cells.swapaxes(2, 3).reshape(n, -1, patch * patch * c)


def unpatchify(
    patches: Shaped[Array, "n l k"], patch: int, size: tuple[int, int]
) -> Shaped[Array, "n h w c"]:
    """Inverse of `patchify` for images of `size` (height, width).

    >>> x = jnp.arange(32.0).reshape(1, 4, 4, 2)
    >>> bool((unpatchify(patchify(x, 2), 2, (4, 4)) == x).all())
    True
    """
    expect("unpatchify", patches=(patches, "n l k", "any"))
    n = len(patches)
    h, w = size
    cells = patches.reshape(n, h // patch, w // patch, patch, patch, -1)
    return cells.swapaxes(2, 3).reshape(n, h, w, -1)


def patchify_video(
    videos: Shaped[Array, "n t h w c"], patch: tuple[int, int, int]
) -> Shaped[Array, "n l k"]:
    """Split videos into boxes of pt frames, ph rows and pw columns.

    The order of boxes is (time, row, column), inside a box (frame, row, column, channel).
    With pt = 1 the patches of a frame are those of `patchify`, frame after frame.

    Raises:
      ValueError: when `patch` does not divide frames, height and width.

    >>> video = jnp.arange(16).reshape(1, 4, 2, 2, 1)
    >>> patchify_video(video, (2, 1, 2))[0, 1].tolist()    # second row of frames 0 and 1
    [2, 3, 6, 7]
    """
    expect("patchify_video", videos=(videos, "n t h w c", "any"))
    n, *sides, c = videos.shape
    if min(patch) < 1 or any(s % p for s, p in zip(sides, patch, strict=True)):
        asked, there = ("x".join(map(str, x)) for x in (patch, sides))
        raise ValueError(
            f"patches of {asked} (frames, rows, columns) do not divide a video of {there}: "
            f"choose divisors"
        )
    (t, h, w), (pt, ph, pw) = sides, patch
    boxes = videos.reshape(n, t // pt, pt, h // ph, ph, w // pw, pw, c)
    return boxes.transpose(0, 1, 3, 5, 2, 4, 6, 7).reshape(n, -1, pt * ph * pw * c)


def unpatchify_video(
    patches: Shaped[Array, "n l k"], patch: tuple[int, int, int], size: tuple[int, int, int]
) -> Shaped[Array, "n t h w c"]:
    """Inverse of `patchify_video` for videos of `size` (frames, height, width).

    >>> x, patch = jnp.arange(64.0).reshape(1, 4, 4, 2, 2), (2, 2, 1)
    >>> bool((unpatchify_video(patchify_video(x, patch), patch, (4, 4, 2)) == x).all())
    True
    """
    expect("unpatchify_video", patches=(patches, "n l k", "any"))
    (t, h, w), (pt, ph, pw), n = size, patch, len(patches)
    boxes = patches.reshape(n, t // pt, h // ph, w // pw, pt, ph, pw, -1)
    return boxes.transpose(0, 1, 4, 2, 5, 3, 6, 7).reshape(n, t, h, w, -1)


def normalize_patches(
    patches: Float[Array, "n l k"], eps: float = 1e-6
) -> Float[Array, "n l k"]:
    """Standardize each patch: MAE's target.

    (t - mean) / sqrt(var + eps) over the patch's k values, with the unbiased variance
    (over k - 1), as in the authors' code. He et al. 2022, section 4.1.
    https://arxiv.org/abs/2111.06377

    >>> normalize_patches(jnp.array([[[0.0, 2.0]]]), eps=0.0)    # var = 2
    Array([[[-0.70710677,  0.70710677]]], dtype=float32)
    """
    expect("normalize_patches", patches=(patches, "n l k"))
    mean = patches.mean(-1, keepdims=True)
    var = patches.var(-1, keepdims=True, ddof=1)
    return (patches - mean) / jnp.sqrt(var + eps)


def denormalize_patches(
    t: Float[Array, "n l k"], patches: Float[Array, "n l k"], eps: float = 1e-6
) -> Float[Array, "n l k"]:
    """The inverse of `normalize_patches`, with the mean and variance of `patches`.

    >>> t = jnp.array([[[0.0, 2.0]]])
    >>> denormalize_patches(normalize_patches(t), t).round(4).tolist()
    [[[0.0, 2.0]]]
    """
    mean = patches.mean(-1, keepdims=True)
    return t * jnp.sqrt(patches.var(-1, keepdims=True, ddof=1) + eps) + mean


def normalize_cubes(
    cubes: Float[Array, "n l k"], channels: int, eps: float = 1e-6
) -> Float[Array, "n l k"]:
    """Standardize each channel of each cube of a video: VideoMAE's target.

    (t - mean) / (sqrt(var) + eps) over the k / channels pixels of a cube, with the unbiased
    variance, in each channel alone. MAE's `normalize_patches` has one mean and variance for
    all channels, and its eps within the root. Tong et al. 2022,
    https://arxiv.org/abs/2203.12602, and https://github.com/MCG-NJU/VideoMAE

    Args:
      cubes: those of `patchify_video`, k numbers each, channels last.
      channels: of the video; divides k.
      eps: added to the standard deviation.

    >>> cubes = jnp.array([[[0.0, 5.0, 2.0, 5.0]]])    # two pixels of two channels
    >>> print(normalize_cubes(cubes, 2).round(4))
    [[[-0.7071  0.      0.7071  0.    ]]]
    """
    pixels, mean, deviation = _moments(cubes, channels)
    return ((pixels - mean) / (deviation + eps)).reshape(cubes.shape)


def denormalize_cubes(
    t: Float[Array, "n l k"], cubes: Float[Array, "n l k"], channels: int, eps: float = 1e-6
) -> Float[Array, "n l k"]:
    """The inverse of `normalize_cubes`, with the means and deviations of `cubes`.

    >>> t = jnp.array([[[0.0, 5.0, 2.0, 6.0]]])
    >>> denormalize_cubes(normalize_cubes(t, 2), t, 2).round(4).tolist()
    [[[0.0, 5.0, 2.0, 6.0]]]
    """
    pixels, mean, deviation = _moments(cubes, channels)
    return (t.reshape(pixels.shape) * (deviation + eps) + mean).reshape(cubes.shape)


def _moments(cubes, channels):
    """Cubes as pixels [n, l, k / c, c], and their mean and deviation in each channel."""
    expect("normalize_cubes", cubes=(cubes, "n l k"))
    if channels < 1 or cubes.shape[2] % channels:
        raise ValueError(
            f"normalize_cubes: {channels} channels do not divide cubes of "
            f"{cubes.shape[2]} numbers"
        )
    pixels = cubes.reshape(*cubes.shape[:2], -1, channels)
    mean = pixels.mean(2, keepdims=True)
    return pixels, mean, pixels.std(2, keepdims=True, ddof=1)
