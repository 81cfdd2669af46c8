"""Fixed sine-cosine positions for tokens on a line and on a grid.

Vaswani et al. 2017, https://arxiv.org/abs/1706.03762; on a grid as in MAE, He et al. 2022.
"""

import numpy as np


def sincos_1d(width: int, positions: np.ndarray) -> np.ndarray:
    """[l, width]: sines of position * omega_k, then cosines, omega_k = 10000^(-2k/width).

    Raises:
      ValueError: when `width` is odd.

    >>> sincos_1d(2, np.array([0.0, np.pi / 2])).round(6).tolist()
    [[0.0, 1.0], [1.0, 0.0]]
    """
    if width % 2:
        raise ValueError(f"sine-cosine positions need an even width, got {width}")
    omega = 10000.0 ** (-np.arange(width // 2) / (width / 2))
    angles = np.outer(positions, omega)
    return np.concatenate([np.sin(angles), np.cos(angles)], axis=1)


def sincos_2d(width: int, rows: int, columns: int) -> np.ndarray:
    """[rows * columns, width], row by row: the first half tells the column, the second
    the row, in the order of the authors' code.

    Every row has norm sqrt(width / 2).

    Raises:
      ValueError: when 4 does not divide `width`.

    >>> sincos_2d(4, 1, 2)[0].tolist()    # column 0: sin, cos; row 0: sin, cos
    [0.0, 1.0, 0.0, 1.0]
    """
    if width % 4:
        raise ValueError(f"positions on a grid need a width divisible by 4, got {width}")
    row, column = np.meshgrid(np.arange(rows), np.arange(columns), indexing="ij")
    return np.concatenate(
        [sincos_1d(width // 2, column.ravel()), sincos_1d(width // 2, row.ravel())], axis=1
    )
