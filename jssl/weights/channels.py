"""Adaptation of a first convolution to another number of input channels."""

import numpy as np
from jaxtyping import Float


def adapt_input(
    kernel: Float[np.ndarray, "h w c d"], channels: int
) -> Float[np.ndarray, "h w k d"]:
    r"""Adapts a convolution kernel to `channels` input channels, exactly for gray images.

    .. math:: K'_{ijkd} = \frac{1}{k} \sum_c K_{ijcd}

    The response to an image of k equal channels is that of the old kernel to the same
    gray image: the sum over channels for k = 1, and K / k repeated k times for a kernel of
    one channel. Returned unchanged if the number of channels is the same. Color is lost
    between two numbers above one.

    Raises:
      ValueError: if the kernel does not have four axes or `channels` is not positive.

    >>> rgb = np.array([1.0, 2.0, 3.0]).reshape(1, 1, 3, 1)
    >>> adapt_input(rgb, 1).item()    # 1 + 2 + 3
    6.0
    >>> adapt_input(rgb, 2).ravel().tolist()    # 6 / 2, twice
    [3.0, 3.0]
    """
    if kernel.ndim != 4 or channels < 1:
        raise ValueError(
            f"adapt_input: needs a kernel [h, w, c, d] and channels >= 1, got "
            f"{[*kernel.shape]} and {channels}"
        )
    if kernel.shape[2] == channels:
        return kernel
    gray = kernel.sum(axis=2, keepdims=True) / channels
    return np.repeat(gray, channels, axis=2)
