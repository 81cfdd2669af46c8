"""Small data sets in the layout of published ones, to rehearse runs without the data.

The pictures are random and smooth. Names, splits, features, sizes and irregularities are
those of the real sets: ImageNet has pictures of many sizes, gray and CMYK ones among them,
and a test split whose labels are -1.
"""

import io
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

SIZES = ((500, 375), (375, 500), (500, 333), (640, 480), (150, 200), (1200, 900), (60, 90))
"""Width and height of ImageNet's pictures, in turn."""
MODES = {3: "L", 5: "CMYK"}
"""Modes of some rows; the others are RGB."""


def texts(folder: str | Path, files: int = 60) -> None:
    """Writes files of stories, in place of a corpus."""
    from jssl.data.toy_text import Draw, facts, story

    root, draw = Path(folder), Draw(0)
    root.mkdir(parents=True, exist_ok=True)
    for i in range(files):
        told = [text for _ in range(50) for _, text in story(draw, facts(draw))]
        (root / f"{i}.txt").write_text(" ".join(x.capitalize() for x in told))


def latents(folder: str | Path, classes: int = 5, each: int = 16) -> Path:
    """Writes an archive of latents of ImageNet, [n, 32, 32, 4] bytes: its file."""
    labels = np.tile(np.arange(classes), each + 4)
    rows = [picture(i, 32, 32)[..., [0, 1, 2, 0]] for i in range(len(labels))]
    file = Path(folder) / "latents.npz"
    file.parent.mkdir(parents=True, exist_ok=True)
    np.savez(file, image=np.stack(rows), label=labels)
    return file


def videos(folder: str | Path, classes: int = 2, each: int = 10, frames: int = 130) -> None:
    """Writes UCF101's layout: a folder a class, of videos, here folders of their frames.

    Pictures drift to the left.
    """
    for c, k in np.ndindex(classes, each):
        there = Path(folder) / f"Class{c}" / f"v_{k:02}"
        there.mkdir(parents=True)
        wide = picture(classes * k + c, 64 + frames, 48)
        for t in range(frames):
            frame = Image.fromarray(wide[:, t : t + 64])
            frame.save(there / f"{t:03}.jpg", quality=90)


def prepare(name: str, folder: str | Path, classes: int = 5, each: int = 16) -> None:
    """Writes a small data set as TFDS prepares it, as array_record.

    `load("tfds:imagenet2012", batch, data_dir=folder)` reads it.

    Args:
      name: of the data set: "imagenet2012", "cifar10", "mnist" ...
      folder: for data sets of TFDS.
      classes: number of classes.
      each: training rows of each class.

    Raises:
      ValueError: a data set without a stand-in.
    """
    if name not in LAYOUTS:
        raise ValueError(
            f"there is no stand-in for {name!r}, only for {', '.join(LAYOUTS)}"
        )
    import tensorflow_datasets as library

    library.disable_progress_bar()
    shape, held, encoded, labeled = LAYOUTS[name]
    image = (
        library.features.Image(shape=shape)
        if encoded
        else library.features.Tensor(shape=shape, dtype=np.uint8)
    )
    if labeled:
        column, noted = "label", library.features.ClassLabel(num_classes=classes)
    else:
        column, noted = "attributes", {"Male": np.bool_, "Smiling": np.bool_}
    splits = {"train": each * classes} | dict.fromkeys(held, 4 * classes)

    def info(self):
        features = library.features.FeaturesDict({"image": image, column: noted})
        return library.core.DatasetInfo(builder=self, features=features)

    def generators(self, _):
        return {split: rows(split, n) for split, n in splits.items()}

    def rows(split, n) -> Iterator[tuple[int, dict[str, Any]]]:
        for i in range(n):
            known = held.get(split, True)
            pixels = picture(i, *(shape[1::-1] if shape[0] else SIZES[i % len(SIZES)]))
            found = jpeg(i, pixels) if encoded else pixels[..., : shape[2]]
            label = i % classes if known else -1
            signs = {"Male": i % 2 == 0, "Smiling": i % 3 == 0}
            yield i, {"image": found, column: label if labeled else signs}

    body = {
        "VERSION": library.core.Version("5.1.0"),
        "_info": info,
        "_split_generators": generators,
        "_generate_examples": None,
    }
    base, _, variant = name.partition("/")
    if variant:
        body["BUILDER_CONFIGS"] = [library.core.BuilderConfig(name=variant)]
    kind = "".join(part.capitalize() for part in base.split("_"))
    builder = type(
        kind, (library.core.GeneratorBasedBuilder,), body, skip_registration=True
    )
    builder(data_dir=str(folder), file_format="array_record").download_and_prepare()


class Layout(NamedTuple):
    """Layout of a data set of TFDS.

    Attributes:
      shape: of images; None for sides that vary.
      held: splits beside train, and if their labels are known.
      encoded: True for images in files, JPEG.
      labeled: True for a column "label", False for one of binary "attributes".
    """

    shape: tuple[Any, Any, int]
    held: Mapping[str, bool]
    encoded: bool = False
    labeled: bool = True


LAYOUTS = {
    "imagenet2012": Layout((None, None, 3), {"validation": True, "test": False}, True),
    "cifar10": Layout((32, 32, 3), {"test": True}),
    "cifar100": Layout((32, 32, 3), {"test": True}),
    "svhn_cropped": Layout((32, 32, 3), {"test": True, "extra": True}),
    "imagenet_resized/32x32": Layout((32, 32, 3), {"validation": True}, True),
    "imagenette/160px-v2": Layout((None, None, 3), {"validation": True}, True),
    "caltech_birds2011": Layout((None, None, 3), {"test": True}, True),
    "mnist": Layout((28, 28, 1), {"test": True}),
    "celeb_a": Layout((218, 178, 3), {"validation": True, "test": True}, True, False),
}


def picture(i: int, width: int, height: int) -> np.ndarray:
    """A random smooth picture, uint8 [height, width, 3]."""
    coarse = np.random.default_rng(i).integers(0, 256, (8, 8, 3), np.uint8)
    small, smooth = Image.fromarray(coarse), Image.Resampling.BICUBIC
    return np.asarray(small.resize((width, height), smooth))


def jpeg(i: int, pixels: np.ndarray) -> io.BytesIO:
    """A picture as JPEG, in the mode of its row; row 6 as PNG."""
    file, image = io.BytesIO(), Image.fromarray(pixels)
    if i == 6:
        image.save(file, "PNG")
    else:
        image.convert(MODES.get(i, "RGB")).save(file, "JPEG", quality=90)
    file.seek(0)
    return file


def folders(folder: str | Path, classes: int = 5, each: int = 16) -> None:
    """Writes ImageNet's layout of files: train and val of a folder a class, flat test."""
    for split, count in {"train": each, "val": 4}.items():
        for c in range(classes):
            there = Path(folder) / split / f"n{c:08}"
            there.mkdir(parents=True)
            for k in range(count):
                i = k * classes + c
                content = jpeg(i, picture(i, *SIZES[i % len(SIZES)])).getvalue()
                (there / f"{split}_{i:08}.JPEG").write_bytes(content)
    flat = Path(folder) / "test"
    flat.mkdir()
    for i in range(12):
        content = jpeg(i, picture(i, *SIZES[i % len(SIZES)])).getvalue()
        (flat / f"test_{i:08}.JPEG").write_bytes(content)
