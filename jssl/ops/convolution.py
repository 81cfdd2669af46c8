"""A convolution whose input XLA's CPU compiler keeps, for the kernel's gradient."""

from jax import lax
from jaxtyping import Array, Float


def convolve(
    x: Float[Array, "n ... c"], kernel: Float[Array, "... c d"], *args, **kwargs
) -> Float[Array, "n ... d"]:
    """`lax.conv_general_dilated`, to give a flax `Conv` as its `conv_general_dilated`.

    The gradient of the kernel reads the input transposed. On CPU, XLA would compute the
    norms, ReLUs and sums that made it once more inside that transposition, along the
    wrong axis of memory: in a ResNet-18 this costs a quarter of the step
    (benchmarks/LEVERS.md). A barrier makes it read what lies there. Values and
    derivatives are those of the convolution.

    The barrier holds under `jssl.tuning`; elsewhere it does nothing.
    """
    x = lax.platform_dependent(x, cpu=lax.optimization_barrier, default=lambda x: x)
    return lax.conv_general_dilated(x, kernel, *args, **kwargs)
