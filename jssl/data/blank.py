"""Black images in the shape of a data set, for plans and timing."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from jssl.data.decoding import check_shape
from jssl.data.fields import Dataset
from jssl.data.source import Records

KNOWN = {"imagenet2012": (1_281_167, 50_000, 1000), "cifar10": (50_000, 10_000, 10)}
"""Images for training, labeled images beside them, and classes."""


@dataclass(frozen=True, eq=False)
class Blank(Records):
    """Black images.

    Attributes:
      count: number of images.
      shape: (h, w, c) of each.
    """

    count: int
    shape: tuple[int, ...]
    digest: str = "blank"

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, row: int) -> Mapping[str, Any]:
        return {"image": np.zeros(self.shape, np.uint8), "label": np.int32(0)}

    @property
    def labels(self) -> np.ndarray:
        return np.zeros(self.count, np.int32)


def blank(what: str = "imagenet2012", /, *, size: int = 256, channels: int = 3) -> Dataset:
    """Black images in the number and the splits of a known data set, as `tfds` reads it.

    ImageNet's test is the published validation set, and its val 10,000 images of train.

    Args:
      what: "imagenet2012", "cifar10", or ROWSxCLASSES such as "50000x10".
      size: side of the images.
      channels: 1 (gray) or 3 (color).

    >>> found = blank("1000x5", size=32)
    >>> train = found.splits["train"]()
    >>> found.classes, len(train), train[0]["image"].shape
    (5, 1000, (32, 32, 3))
    """
    check_shape(size, channels)
    name = what.partition(":")[0]
    if name in KNOWN:
        train, held, classes = KNOWN[name]
        val = min(train // 10, 10_000 if name == "imagenet2012" else train)
        counts = {"train": train - val, "val": val, "test": held}
    else:
        rows, cross, kinds = name.partition("x")
        if not (cross and rows.isdigit() and kinds.isdigit() and int(rows)):
            known = ", ".join(KNOWN)
            raise ValueError(
                f"blank:{what}: {known}, or ROWSxCLASSES such as 50000x10, got {what!r}"
            )
        train, classes = int(rows), int(kinds)
        held = max(train // 10, 1)
        counts = {"train": train, "val": held, "test": held}
    shape = (size, size, channels)
    splits = {split: partial(Blank, n, shape) for split, n in counts.items()}
    return Dataset(splits, classes)
