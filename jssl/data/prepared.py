"""Prepared TensorFlow Datasets, read without TensorFlow."""

import io
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from jssl.data.crops import Crops
from jssl.data.encoded import RESIDENT, Shelf, check_knobs, encoded
from jssl.data.fields import Dataset

_SPLITS = {"validation": "val"}  # names of TFDS and of jssl; others are unchanged


@dataclass(frozen=True, eq=False)
class Prepared(Shelf):
    """Examples of one split.

    Attributes:
      full: data set, configuration, version and split.
      examples: row -> {"image": encoded bytes or an array, "label": int, ...}.
      labeled: True if there are labels.
    """

    full: str
    examples: Any
    labeled: bool

    @property
    def identity(self) -> tuple[str, ...]:
        """Name, version and number of rows: versions do not change."""
        return self.full, str(len(self))

    def __len__(self) -> int:
        return len(self.examples)

    def name(self, row: int) -> str:
        """The name of the split, and the number of the record."""
        return f"{self.full}, record {row},"

    def open(self, row: int) -> Any:
        """The encoded image or the array of a record."""
        image = self.examples[row]["image"]
        return io.BytesIO(image) if isinstance(image, bytes) else image

    def label(self, row: int) -> int:
        """Class number of a record."""
        return int(self.examples[row]["label"])

    @property
    def has_labels(self) -> bool:
        """True if the first records have a label; labels of -1 are none."""
        few = range(min(len(self), 16))
        return self.labeled and any(self.label(i) >= 0 for i in few)

    @cached_property
    def labels(self) -> np.ndarray | None:
        """Labels of all rows; the first access reads all records."""
        if not self.labeled:
            return None
        with ThreadPoolExecutor() as pool:
            return np.fromiter(pool.map(self.label, range(len(self))), np.int32, len(self))


def tfds(
    name: str,
    /,
    *,
    size: int | None = None,
    channels: int | None = None,
    corrupt: str = "refuse",
    resident: int = RESIDENT,
    cut: int | None = None,
    hold_out: bool = True,
    crops: Crops | None = None,
    data_dir: str | None = None,
) -> Dataset:
    """Loads a TensorFlow dataset in array_record format.

    Splits that are missing, or have no labels, are cut as in `splits.completed`, without
    regard to labels: for ImageNet, test is the published validation set.

    Args:
      name: in TFDS: "mnist", "imagenet2012:5.1.0", "cifar10_1/v6".
      size: side of the square that images are fitted to; None keeps the size, which must
        then be the same for all. Without `crops`, random crops are taken on the device from
        this square: choose `size` larger than the network's input, e.g. 256 for 224.
      channels: 1 (gray) or 3 (color); None: those of the data set.
      corrupt, resident, cut, hold_out, crops: as in `encoded`.
      data_dir: folder of TFDS; None: its default, or the variable TFDS_DATA_DIR.

    Raises:
      ValueError: the data set is not prepared in array_record format, or has no images.
    """
    check_knobs(size, channels, corrupt)
    builder = _builder(name, data_dir)
    features = dict(builder.info.features.items())
    undecoded, native = _image_feature(name, features)
    classes = getattr(features.get("label"), "num_classes", None) or 0

    shelves = {
        _SPLITS.get(split, split): Prepared(
            f"{builder.info.full_name}/{split}",
            builder.as_data_source(split, decoders=undecoded),
            bool(classes),
        )
        for split in builder.info.splits
    }
    return encoded(
        shelves,
        getattr(features.get("label"), "names", None) or (),
        classes=classes,
        size=size,
        channels=channels or native,
        corrupt=corrupt,
        resident=resident,
        cut=cut,
        hold_out=hold_out,
        crops=crops,
        stratify=False,
    )


def _builder(name, data_dir):
    import tensorflow_datasets as library

    try:
        builder = library.core.read_only_builder.builder_from_files(name, data_dir=data_dir)
    except library.core.DatasetNotFoundError as missing:
        where = data_dir or "TFDS's default folder, or that of TFDS_DATA_DIR"
        raise ValueError(
            f"tfds:{name} is not prepared in {where}. Where TensorFlow runs: "
            f"`pip install 'jssl[tensorflow]'`, then `tfds build {name} "
            f"--file_format=array_record`; the resulting files can be copied"
        ) from missing
    held = builder.info.available_file_formats()
    if not held & library.core.file_adapters.FileFormat.with_random_access():
        raise ValueError(
            f"tfds:{name} is prepared as {', '.join(x.value for x in held)}, which "
            f"only TensorFlow reads. Where that runs: `pip install 'jssl[tensorflow]' "
            f"apache-beam`, then `tfds convert_format --out_file_format=array_record "
            f"--dataset_version_dir={builder.data_path}`"
        )
    return builder


def _image_feature(name, features):
    """Decoders that keep images encoded, and the number of channels."""
    import tensorflow_datasets as library

    image = features.get("image")
    if image is None or len(image.shape) != 3 or image.np_dtype != np.uint8:
        raise ValueError(
            f"tfds:{name} must have a feature `image` of bytes, got "
            f"{', '.join(f'{key}: {features[key]}' for key in sorted(features))}"
        )
    encoded = isinstance(image, library.features.Image)
    decoders = {"image": library.decode.SkipDecoding()} if encoded else None
    return decoders, image.shape[-1] or 3
