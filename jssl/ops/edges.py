"""Edges: gradients by Sobel, morphological edges, and contours of segmentations."""

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Integer

from jssl.ops.shapes import expect


def sobel(images: Float[Array, "n h w c"]) -> Float[Array, "n h w 2"]:
    """Horizontal and vertical gradients of the mean over channels, by Sobel filters.

    Edge padding, so that a constant image has gradient 0. Caron et al. 2018, section 3.4
    (fixed filters in front of the network).

    Raises:
      ValueError: when the images are not float[n, h, w, c].

    >>> sobel(jnp.arange(9.0).reshape(1, 3, 3, 1))[0, 1, 1].tolist()    # 8 and 8 * 3
    [8.0, 24.0]
    """
    expect("sobel", images=(images, "n h w c"))
    gray = jnp.pad(images.mean(-1), ((0, 0), (1, 1), (1, 1)), mode="edge")[..., None]
    across = jnp.array([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]], gray.dtype)
    kernels = jnp.stack([across, across.T], -1)[:, :, None]  # [3, 3, 1, 2]
    layout = ("NHWC", "HWIO", "NHWC")
    return lax.conv_general_dilated(
        gray, kernels, (1, 1), "VALID", dimension_numbers=layout
    )


def edge_image(images: Float[Array, "n h w c"]) -> Float[Array, "n h w c"]:
    r"""The external morphological gradient: dilation by a 3 x 3 square, minus the image.

    .. math:: y_{ij} = \max_{|a|, |b| \le 1} x_{i + a, j + b} - x_{ij}

    for each channel; 0 on constant images, and in the range of images in [0, 1]. The second
    domain of CoGAN's digits: Liu and Tuzel 2016, section 4.
    https://arxiv.org/abs/1606.07536

    Raises:
      ValueError: when the images are not float[n, h, w, c].

    >>> row = jnp.array([0.0, 0.0, 1.0, 0.25, 0.0])
    >>> edge_image(row[None, None, :, None])[0, 0, :, 0].tolist()
    [0.0, 1.0, 0.0, 0.75, 0.25]
    """
    expect("edge_image", images=(images, "n h w c"))
    largest = lax.reduce_window(
        images, -jnp.inf, lax.max, (1, 3, 3, 1), (1, 1, 1, 1), "SAME"
    )
    return largest - images


def edge_map(ids: Integer[Array, "*n h w"]) -> Bool[Array, "*n h w"]:
    """True where one of the 4 neighbors of a pixel has another number.

    The contours of a segmentation, two pixels wide.

    Raises:
      ValueError: when the numbers are not int[..., h, w].

    >>> edge_map(jnp.array([[0, 0, 0, 1, 1]]))[0].tolist()
    [False, False, True, True, False]
    """
    expect("edge_map", ids=(ids, "... h w", "int"))
    found = jnp.zeros(ids.shape, bool)
    rest = [(0, 0)] * (ids.ndim - 2)
    for differ, axes in (
        (ids[..., 1:, :] != ids[..., :-1, :], lambda low: [(low, 1 - low), (0, 0)]),
        (ids[..., 1:] != ids[..., :-1], lambda low: [(0, 0), (low, 1 - low)]),
    ):
        found |= jnp.pad(differ, rest + axes(0)) | jnp.pad(differ, rest + axes(1))
    return found
