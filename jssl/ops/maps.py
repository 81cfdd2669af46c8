"""Pooling and upsampling of feature maps [n, h, w, c]."""

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from jssl.ops.shapes import expect


def max_cells(maps: Float[Array, "n h w c"], side: int) -> Float[Array, "n s s c"]:
    r"""Adaptive max pooling to side x side cells that cover a map.

    .. math:: \text{rows of cell } i: \; \lfloor i h / s \rfloor \text{ to }
              \lceil (i + 1) h / s \rceil

    and likewise for columns: where s does not divide h, neighboring cells share a row.

    He et al. 2014, "Spatial Pyramid Pooling". https://arxiv.org/abs/1406.4729

    Raises:
      ValueError: when the maps are not float[n, h, w, c] or smaller than side x side.

    >>> maps = jnp.array([[1.0, 5.0, 2.0], [0.0, 3.0, 4.0], [9.0, 8.0, 7.0]])
    >>> max_cells(maps[None, :, :, None], 2)[0, :, :, 0].tolist()  # rows 0, 1 and 1, 2
    [[5.0, 5.0], [9.0, 8.0]]
    """
    sizes = expect("max_cells", maps=(maps, "n h w c"))
    if not 1 <= side <= min(sizes["h"], sizes["w"]):
        raise ValueError(
            f"max_cells: side must be 1 to {min(sizes['h'], sizes['w'])}, got {side}"
        )

    def largest(x, axis):
        size = x.shape[axis]
        cells = ((i * size // side, -(-(i + 1) * size // side)) for i in range(side))
        return jnp.stack(
            [jnp.take(x, jnp.arange(*cell), axis).max(axis) for cell in cells], axis
        )

    return largest(largest(maps, 1), 2)


def doubled(
    maps: Float[Array, "n h w c"], kernel: Float[Array, "k k c d"]
) -> Float[Array, "n h2 w2 d"]:
    r"""Transposed convolution of stride 2, which doubles the height and width of a map.

    .. math:: y_t = \sum_j k_j u_{t + j - 2}, \qquad u_{2 m} = x_m, \; u_{2 m + 1} = 0

    along either axis, for kernels of side 3 to 5. With sides 4 and 5 it is the gradient of
    a convolution of stride 2 and padding 1 and 2 with the flipped kernel: torch's
    ConvTranspose2d(4, 2, 1) and (5, 2, 2, output_padding=1).

    Each of the four phases of y is an ordinary 3 x 3 convolution of x, and they are
    computed together: on CPU the gradients take at most half the time of those through a
    convolution of zero-interleaved maps.

    Dumoulin and Visin 2016, section 4. https://arxiv.org/abs/1603.07285; Shi et al. 2016,
    https://arxiv.org/abs/1609.07009

    Raises:
      ValueError: when shapes do not fit, or the kernel's side is not 3 to 5.

    >>> maps = jnp.array([1.0, 10.0])[None, None, :, None]    # a row of two
    >>> kernel = jnp.zeros((4, 4, 1, 1)).at[2].set(jnp.arange(1.0, 5)[:, None, None])
    >>> doubled(maps, kernel)[0, 0, :, 0].tolist()    # 3 1, 2 1 + 4 10, 1 1 + 3 10, 2 10
    [3.0, 42.0, 31.0, 20.0]
    """
    sizes = expect("doubled", maps=(maps, "n h w c"), kernel=(kernel, "k k c d"))
    n, h, w, c, k, d = (sizes[x] for x in "nhwckd")
    if not 3 <= k <= 5:
        raise ValueError(f"doubled: the kernel's side must be 3 to 5, got {k}")
    grown = jnp.pad(kernel, [(1, 5 - k)] * 2 + [(0, 0)] * 2)
    taps = grown.reshape(3, 2, 3, 2, c, d)[:, ::-1, :, ::-1]  # even outputs use odd taps
    phases = lax.conv_general_dilated(
        maps,
        taps.transpose(0, 2, 4, 1, 3, 5).reshape(3, 3, c, 4 * d),
        (1, 1),
        "SAME",
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )
    phases = phases.reshape(n, h, w, 2, 2, d).transpose(0, 1, 3, 2, 4, 5)
    return phases.reshape(n, 2 * h, 2 * w, d)
