"""Rows of a data set that are read one by one."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np


class Records(ABC):
    """Rows that are read one by one because they do not fit in memory.

    Attributes:
      digest: fingerprint of the content.
      labels: int32 [n], the label of every row, or None.
      skipped: names of rows that could not be read so far; the next row was read in place
        of each.
    """

    digest: str
    labels: np.ndarray | None
    skipped: Mapping[int, str] = MappingProxyType({})

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def __getitem__(self, row: int) -> Mapping[str, Any]:
        """The fields of a row; must be thread-safe."""

    def draw(self, row: int, key: tuple[int, int, int]) -> Mapping[str, Any]:
        """The fields of a row of a training batch; must be thread-safe.

        Args:
          row: its number.
          key: seed, step and position in the global batch, which determine what is random.
        """
        return self[row]

    @property
    def has_labels(self) -> bool:
        """True if there is a label; labels of -1 are none."""
        return some_labels(self.labels)


def some_labels(labels):
    """True if there is a label; -1 is none, targets of other kinds are labels."""
    if labels is None:
        return False
    labels = np.asarray(labels)
    return labels.dtype.kind not in "iu" or bool((labels >= 0).any())
