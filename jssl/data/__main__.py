"""Shows a data set before anything is trained on it.

  python -m jssl.data folder:PATH                 splits, classes, sizes, warnings
  python -m jssl.data mnist --out mnist.png       and a sheet of ten images
  python -m jssl.data text:FILE                   of text, ten rows

Near-duplicates of images across splits are found by perceptual hashes, of text by equality.
"""

import argparse
import logging
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from jssl.command import new_parser, say
from jssl.data.splits import skipped_words


def main(arguments: list[str] | None = None) -> int:
    """Runs the command `jssl data` and returns its exit status.

    0: done. 1: a user error, reported in one line.
    """
    options = parser().parse_args(arguments)
    return say(lambda: launch(options), options.debug)


def parser() -> argparse.ArgumentParser:
    parse = new_parser("data", __doc__)
    add = parse.add_argument
    add("source", help="data set, as in the knob `source`: folder:PATH, mnist ...")
    add("--out", metavar="FILE", default="data.png", help="sheet of images (data.png)")
    add("--limit", type=int, default=20_000, help="images a split that are read (20,000)")
    add("--size", type=int, help="side of the central squares (default: as in training)")
    return parse


def launch(options) -> int:
    from jssl import data
    from jssl.data.logged import unlogged

    logging.basicConfig(format="warning: %(message)s")  # images that cannot be read
    knobs: dict[str, Any] = {"size": options.size} if options.size else {}
    if options.source.partition(":")[0] in data.IN_FILES:
        knobs |= {"corrupt": "skip", "resident": 0}
    with unlogged():  # its lines are printed below
        source = data.load(options.source, 1, cut=32, **knobs)
    image = source.row_shapes().get("image")
    if "corpus" in source.fields:
        return show_text(options.source, source, options.limit)
    if image is None or len(image.shape) != 4 or image.shape[-1] not in (1, 3):
        raise ValueError(f"{options.source} has no images to show")
    print(f"{options.source}: {source.summary or summary(source)}")
    splits = {name: source.split(name) for name in source.split_names()}
    pairs = duplicates(splits, options.limit)  # which reads the images
    for name, split in splits.items():
        print(f"  {name}: {described(split)}")
    for line in [*source.warnings, *pairs]:
        print(f"warning: {line}")
    if names := source.unreadable:
        print(skipped_words(names))
    sheet(source, Path(options.out))
    print(f"ten images: {options.out}")
    return 0


def show_text(name: str, source, limit: int) -> int:
    """Prints splits, classes, equal rows across splits, and ten rows of training.

    Of a corpus that is not in memory, `limit` rows of each split are compared.
    """
    from jssl.data.corpora import windows_of

    print(f"{name}: {source.summary}")
    windows = {}
    for part in source.split_names():
        split = source.split(part)
        print(f"  {part}: {split.size:,} rows{classes(split) if split.classes else ''}")
        count = split.size if split.table is not None else min(split.size, limit)
        windows[part] = {row.tobytes() for row in windows_of(split, range(count))}
    parts = list(windows)
    for i, one in enumerate(parts):
        for other in parts[i + 1 :]:
            if both := len(windows[one] & windows[other]):
                print(f"warning: {both:,} rows of {other} are in {one} too")
    rows = np.linspace(0, len(source) - 1, 10).astype(int)
    kind = source.field_of("corpus")
    print(kind.shown(windows_of(source, rows)[:, None], ("",)), end="")
    return 0


def summary(source) -> str:
    """Size of the images, and number of classes."""
    h, w, c = source.image_shape
    return f"images of {w}x{h}, {c} channels; {source.classes or 'no'} classes"


def described(split) -> str:
    """Number of readable rows, and of those of a class."""
    h, w, c = split.image_shape
    told = f"{split.readable:,} images of {w}x{h}x{c}"
    return told + (classes(split) if split.has_labels() else ", no labels")


def classes(split) -> str:
    """Numbers of readable rows of the classes."""
    lost = [*split.records.skipped] if split.records else []
    counts = np.bincount(np.delete(split.labels(), lost), minlength=split.classes)
    names = split.class_names
    if len(counts) > 12:
        rare, often = counts.argmin(), counts.argmax()
        return (
            f", {len(counts)} classes of {counts[rare]:,} ({names[rare]}) to "
            f"{counts[often]:,} ({names[often]})"
        )
    each = (f"{name} {n:,}" for name, n in zip(names, counts, strict=True))
    return f": {', '.join(each)}"


def duplicates(splits, limit: int) -> list[str]:
    """A line for each of the first ten pairs of near-duplicates across splits."""
    from jssl.data.duplicates import near_duplicates

    pairs = near_duplicates({name: images(x, limit) for name, x in splits.items()})
    lines = [
        f"near-duplicates: {named(splits, *a)} and {named(splits, *b)}"
        for a, b in pairs[:10]
    ]
    if len(pairs) > 10:
        lines.append(f"{len(pairs):,} pairs of near-duplicates across splits in all")
    return lines


def images(split, limit: int) -> Iterator[np.ndarray]:
    """The first `limit` images of a split, uint8 [h, w, c]."""
    for row in range(min(len(split), limit)):
        yield shown(split.at([row])["image"][0])


def shown(image: np.ndarray) -> np.ndarray:
    """An image as bytes."""
    if image.dtype == np.uint8:
        return image
    return np.rint(np.clip(image, 0, 1) * 255).astype(np.uint8)


def named(splits, part: str, row: int) -> str:
    """File name of a row and its split, or its number."""
    name = getattr(splits[part].records, "name", None)
    return f"{name(row)} ({part})" if name else f"row {row} of {part}"


def sheet(source, out: Path) -> None:
    """Draws ten images, evenly spread over the split, in two rows."""
    from PIL import Image

    from jssl.cache import written

    rows = np.linspace(0, len(source) - 1, 10).astype(int)
    side = max(64, *source.image_shape[:2])
    page = Image.new("RGB", (5 * (side + 4), 2 * (side + 4)), "white")
    for i, row in enumerate(rows):
        image = shown(source.at([row])["image"][0])
        image = image if image.shape[-1] == 3 else np.repeat(image[..., :1], 3, -1)
        tile = Image.fromarray(image)
        scale = side / max(tile.size)
        tile = tile.resize([max(1, round(x * scale)) for x in tile.size])
        page.paste(tile, ((i % 5) * (side + 4), (i // 5) * (side + 4)))
    with written(out) as part:
        page.save(part, "PNG")


if __name__ == "__main__":
    sys.exit(main())
