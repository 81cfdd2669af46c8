"""Black images in the shape of a data set, for plans and timing."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from jssl.data.crops import Crops, Key
from jssl.data.decoding import check_shape
from jssl.data.fields import Cropped, Dataset
from jssl.data.records import Records
from jssl.data.splits import completed, fingerprint

KNOWN = {
    "imagenet2012": ({"train": 1_281_167, "val": 50_000}, 1000, 256),
    "cifar10": ({"train": 50_000, "test": 10_000}, 10, 32),
}
"""Published labeled images, classes, and usual side in pixels."""


@dataclass(frozen=True, eq=False)
class Blank(Records):
    """Black images.

    Attributes:
      count: number of images.
      shape: (h, w, c) of each.
      crops: that training batches have, as in `encoded`.
    """

    count: int
    shape: tuple[int, ...]
    crops: Crops | None = None

    @property
    def digest(self) -> str:
        cut = "" if self.crops is None else self.crops.identity
        return fingerprint("blank", str(self.count), str(self.shape), cut)

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, row: int) -> Mapping[str, Any]:
        return {"image": np.zeros(self.shape, np.uint8), "label": np.int32(0)}

    def draw(self, row: int, key: Key) -> Mapping[str, Any]:
        """The columns of a row of a training batch, as of `Encoded`."""
        if self.crops is None:
            return self[row]
        count, size = self.crops.count, self.crops.size
        crops = np.zeros((count, size, size, self.shape[-1]), np.uint8)
        return {"crops": crops, "label": np.int32(0)}

    @property
    def labels(self) -> np.ndarray:
        return np.zeros(self.count, np.int32)


def blank(
    what: str = "imagenet2012",
    /,
    *,
    size: int | None = None,
    channels: int = 3,
    hold_out: bool = True,
    crops: Crops | None = None,
) -> Dataset:
    """Black images in the number and the splits of a known data set, as `tfds` reads it.

    The splits are those of `splits.completed`: ImageNet's test is the published validation
    set, and its val 10,000 images of train.

    Args:
      what: "imagenet2012", "cifar10", or ROWSxCLASSES such as "50000x10", which has a val
        and a test of a tenth beside its rows.
      size: side of the images; None: 32 of "cifar10", else 256.
      channels: 1 (gray) or 3 (color).
      hold_out, crops: as in `encoded`.

    >>> found = blank("1000x5", size=32)
    >>> train = found.splits["train"]()
    >>> found.classes, len(train), train[0]["image"].shape
    (5, 1000, (32, 32, 3))
    """
    name = what.partition(":")[0]
    if name in KNOWN:
        sizes, classes, usual = KNOWN[name]
    else:
        rows, cross, kinds = name.partition("x")
        if not (cross and rows.isdigit() and kinds.isdigit() and int(rows)):
            known = ", ".join(KNOWN)
            raise ValueError(
                f"blank:{what}: {known}, or ROWSxCLASSES such as 50000x10, got {what!r}"
            )
        train, classes, usual = int(rows), int(kinds), 256
        sizes = {"train": train} | dict.fromkeys(("val", "test"), max(train // 10, 1))
    size = usual if size is None else size
    check_shape(size, channels)
    parts, includes, _ = completed(sizes, dict.fromkeys(sizes, True), None, hold_out)
    shape = (size, size, channels)
    splits = {
        part: partial(
            Blank,
            sizes[whole] if rows is None else len(rows),
            shape,
            crops if part == "train" else None,
        )
        for part, (whole, rows) in parts.items()
    }
    fields = {"crops": Cropped()} if crops else {}
    return Dataset(splits, classes, fields, includes=includes)
