"""A first convolution for images of another number of channels."""

import numpy as np
from jaxtyping import Float


def adapt_input(
    kernel: Float[np.ndarray, "h w c d"], channels: int
) -> Float[np.ndarray, "h w k d"]:
    r"""A kernel that answers grey images of `channels` equal channels as the old one does.

    .. math:: K'_{ijkd} = \frac{1}{k} \sum_c K_{ijcd}

    The sum for one channel, K / k repeated from one channel to k; the same kernel where
    the number is the same. Colour is lost between two numbers above one.

    Raises:
      ValueError: when `channels` is no positive number.

    >>> rgb = np.array([1.0, 2.0, 3.0]).reshape(1, 1, 3, 1)
    >>> adapt_input(rgb, 1).item()    # 1 + 2 + 3
    6.0
    >>> adapt_input(rgb, 2).ravel().tolist()    # 6 / 2, twice
    [3.0, 3.0]
    """
    if kernel.ndim != 4 or channels < 1:
        raise ValueError(
            f"adapt_input: wants a kernel [h, w, c, d] and channels >= 1, got "
            f"{[*kernel.shape]} and {channels}"
        )
    if kernel.shape[2] == channels:
        return kernel
    gray = kernel.sum(axis=2, keepdims=True) / channels
    return np.repeat(gray, channels, axis=2)
