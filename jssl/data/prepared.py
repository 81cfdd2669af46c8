"""Prepared TensorFlow Datasets, read without TensorFlow."""

import io
import math
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np

from jssl.data.decoding import check_shape, decode, fit_all
from jssl.data.fields import Dataset, Labels
from jssl.data.files import RESIDENT
from jssl.data.source import Records
from jssl.data.splits import fingerprint, tenths
from jssl.data.subsets import Chosen

_SPLITS = {"validation": "val"}  # names of TFDS and of jssl; others are unchanged


@dataclass(frozen=True, eq=False)
class Prepared(Records):
    """Examples of one split, decoded one by one.

    Attributes:
      name: data set, configuration, version and split.
      examples: row -> {"image": encoded bytes or an array, "label": int, ...}.
      size: side of the square that images are fitted to, or None.
      shape: (h, w, c) of each fitted image.
      labeled: True if there are labels.
    """

    name: str
    examples: Any
    size: int | None
    shape: tuple[int, ...]
    labeled: bool

    @property
    def digest(self) -> str:
        """Fingerprint of name, version and sizes, since hashing images takes too long."""
        return fingerprint(self.name, str(len(self)), str(self.shape))

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, row: int) -> Mapping[str, Any]:
        example, name = self.examples[row], f"{self.name}, record {row},"
        image = _image(example["image"], name, self.size, self.shape[-1])
        if image.shape != self.shape:
            raise ValueError(
                f"{name} has shape {image.shape}, others have {self.shape}; give a size, "
                f"e.g. size=224"
            )
        label = {"label": np.int32(example["label"])} if self.labeled else {}
        return {"image": image} | label

    @cached_property
    def labels(self) -> np.ndarray | None:
        """Labels of all rows; the first access reads all records."""
        if not self.labeled:
            return None
        with ThreadPoolExecutor() as pool:
            label = pool.map(lambda i: self.examples[i]["label"], range(len(self)))
            return np.fromiter(label, np.int32, len(self))


def _image(image, name, size, channels):
    if isinstance(image, bytes):
        return decode(io.BytesIO(image), name, size, channels)
    return fit_all(image[None], size, channels)[0]


def tfds(
    name: str,
    /,
    *,
    size: int | None = None,
    channels: int | None = None,
    resident: int = RESIDENT,
    data_dir: str | None = None,
) -> Dataset:
    """Loads a TensorFlow dataset in array_record format.

    A tenth of train, drawn without regard to labels, becomes val if there is none.

    Args:
      name: in TFDS: "mnist", "imagenet2012:5.1.0", "cifar10_1/v6".
      size: side of the square that images are fitted to; None keeps the size, which must
        then be the same for all. Random crops are taken on the device: choose `size` larger
        than the network's input, e.g. 256 for 224.
      channels: 1 (gray) or 3 (color); None: those of the data set.
      resident: splits of more bytes than this are streamed from disk.
      data_dir: folder of TFDS; None: its default, or the variable TFDS_DATA_DIR.

    Raises:
      ValueError: the data set is not prepared in array_record format, or has no images.
    """
    check_shape(size, channels)
    builder = _builder(name, data_dir)
    features = dict(builder.info.features.items())
    undecoded, native = _image_feature(name, features)
    classes = getattr(features.get("label"), "num_classes", None) or 0

    def records(split):
        examples = builder.as_data_source(split, decoders=undecoded)
        full, c = f"{builder.info.full_name}/{split}", channels or native
        if size is not None:
            shape: tuple[int, ...] = (size, size, c)
        else:
            shape = _image(examples[0]["image"], f"{full}, record 0,", None, c).shape
        return Prepared(full, examples, size, shape, bool(classes))

    held = {_SPLITS.get(split, split): split for split in builder.info.splits}
    splits = {part: partial(_opened, records, x, resident) for part, x in held.items()}
    if "val" not in held and "train" in held:
        cuts = tenths(builder.info.splits["train"].num_examples, None, "val")
        for part, rows in cuts.items():
            splits[part] = partial(_opened, records, "train", resident, rows)
    names = Labels(tuple(getattr(features.get("label"), "names", None) or ()))
    return Dataset(splits, classes, {"label": names})


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


def _opened(records, split, resident, rows=None):
    found = records(split)
    large = math.prod(found.shape) * (len(found) if rows is None else len(rows))
    chosen = found if rows is None else Chosen(found, rows)
    if large > resident:
        return chosen
    with ThreadPoolExecutor() as pool:
        examples = list(pool.map(chosen.__getitem__, range(len(chosen))))
    return {name: np.stack([x[name] for x in examples]) for name in examples[0]}
