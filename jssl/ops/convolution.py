"""A convolution whose input is materialized for the kernel's gradient on CPU."""

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
