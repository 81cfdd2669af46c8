"""Convolutions that are fast on CPU: of images, in loops, and of clips by their frames."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from jssl.ops.shapes import expect


def convolve(
    x: Float[Array, "n ... c"], kernel: Float[Array, "... c d"], *args, **kwargs
) -> Float[Array, "n ... d"]:
    """`lax.conv_general_dilated`, for the `conv_general_dilated` argument of flax's `Conv`.

    The gradient of the kernel reads the input transposed. On CPU, XLA would recompute the
    preceding norms, ReLUs and sums inside that transposition, along the wrong axis of
    memory: in a ResNet-18 this costs a quarter of the step (benchmarks/LEVERS.md). An
    optimization barrier makes it read the stored input. Values and derivatives are those
    of the convolution.

    The barrier is effective under `jssl.tuning`; elsewhere it does nothing.
    """
    x = lax.platform_dependent(x, cpu=lax.optimization_barrier, default=lambda x: x)
    return lax.conv_general_dilated(x, kernel, *args, **kwargs)


def convolve_clips(
    x: Float[Array, "n t h w c"],
    kernel: Float[Array, "k _ _ c d"],
    strides: Sequence[int],
    padding: Any,
    *,
    precision: Any = None,
    **_: Any,
) -> Float[Array, "n t _ _ d"]:
    """`lax.conv_general_dilated` of clips, for the same argument of flax's `Conv`.

    The k frames around each frame become channels of one image, which is convolved in space
    alone: XLA's convolutions over three axes take many times as long on CPU. There is no
    stride in time, whose padding is "SAME"; frames beyond the ends are black.

    Args:
      x: clips.
      kernel: k frames, rows, columns, channels.
      strides: along time, 1, rows and columns.
      padding: in space, "SAME" or "VALID".
      precision: as of `lax.conv_general_dilated`.

    >>> clip = jnp.arange(3.0).reshape(1, 3, 1, 1, 1)
    >>> convolve_clips(clip, jnp.ones((3, 1, 1, 1, 1)), (1, 1, 1), "SAME").ravel().tolist()
    [1.0, 3.0, 3.0]
    """
    (k, rows, columns, c, d), t = kernel.shape, x.shape[1]
    before = (k - 1) // 2
    padded = jnp.pad(x, ((0, 0), (before, k - 1 - before), (0, 0), (0, 0), (0, 0)))
    around = jnp.concatenate([padded[:, i : i + t] for i in range(k)], -1)
    out = lax.conv_general_dilated(
        around.reshape(-1, *around.shape[2:]),
        kernel.transpose(1, 2, 0, 3, 4).reshape(rows, columns, k * c, d),
        tuple(strides)[1:],
        padding,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        precision=precision,
    )
    return out.reshape(len(x), t, *out.shape[1:])


@jax.checkpoint
def convolve_in_loop(
    x: Float[Array, "n h w c"], kernel: Float[Array, "k k c d"]
) -> Float[Array, "n h w d"]:
    """A convolution of stride 1 that keeps the size, for the body of `lax.scan`.

    On CPU gradients of convolutions are slow within XLA's loops, so there it is the product
    of the kernel with the k x k neighborhood of each place. Nothing but its inputs is kept
    for the backward pass, neighborhoods least of all. Measured on two busy cores, 19 steps
    of two ConvLSTM cells of 32 channels on 8 x 8 places, 8 rows: 13 s of compilation and
    0.5 s a step; as convolutions in the loop 15 s and 11 s, in an unrolled one 113 s and
    0.8 s.

    Args:
      x: maps.
      kernel: of an odd side.

    Raises:
      ValueError: shapes that do not fit, or a side that is not odd.

    >>> row = jnp.array([1.0, 2.0, 3.0]).reshape(1, 1, 3, 1)
    >>> kernel = jnp.zeros((3, 3, 1, 1)).at[1, :, 0, 0].set(jnp.array([10.0, 1.0, 0.0]))
    >>> convolve_in_loop(row, kernel).ravel().tolist()    # 10 left + 1 center
    [1.0, 12.0, 23.0]
    """
    sizes = expect("convolve_in_loop", x=(x, "n h w c"), kernel=(kernel, "k k c d"))
    if sizes["k"] % 2 == 0:
        raise ValueError(
            f"convolve_in_loop: the side of the kernel must be odd, got {sizes['k']}"
        )
    return lax.platform_dependent(x, kernel, cpu=_by_product, default=_convolved)


def _convolved(x, kernel):
    return lax.conv_general_dilated(
        x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


def _by_product(x, kernel):
    h, w = x.shape[1:3]
    k, _, _, d = kernel.shape
    grown = jnp.pad(x, ((0, 0), (k // 2, k // 2), (k // 2, k // 2), (0, 0)))
    near = [grown[:, i : i + h, j : j + w] for i in range(k) for j in range(k)]
    return jnp.concatenate(near, -1) @ kernel.reshape(-1, d)
