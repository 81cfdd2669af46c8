"""Convolutions that are fast on CPU: of images, and of clips by means of their frames."""

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float


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
