"""Sources of batches: `load("mnist", batch=64)`."""

import difflib
import inspect
from collections.abc import Callable
from typing import Any

import numpy as np

from jssl.data.archives import cifar10, cifar100, stl10
from jssl.data.arrays import npz
from jssl.data.blank import blank
from jssl.data.bouncing import bounce16, bouncing_digits, moving_digits
from jssl.data.clips import clips
from jssl.data.crops import Crops
from jssl.data.described import captions
from jssl.data.doom import doom
from jssl.data.drawings import emoji, openclipart
from jssl.data.eeg import eeg, eeg_features, eeg_toy
from jssl.data.embedded import digits, fashion_mnist, mnist, photos
from jssl.data.fields import (
    Dataset,
    Edges,
    Field,
    Image,
    Index,
    Labels,
    Measurements,
    Numbers,
    Scaled,
    Sound,
    Spans,
    Text,
    Tokens,
    Video,
    WeakLabels,
)
from jssl.data.files import folder
from jssl.data.logged import inform_once, warn_once
from jssl.data.nested import minibatches, pair
from jssl.data.of_arrays import dataset
from jssl.data.photographs import photographs
from jssl.data.prepared import tfds
from jssl.data.reaching import point_reach
from jssl.data.scenes import scenes
from jssl.data.shards import shards
from jssl.data.shortcuts import shortcuts
from jssl.data.source import Batch, Source
from jssl.data.stamps import stamps
from jssl.data.subsets import (
    apart,
    columns,
    drawn,
    first_classes,
    labels_per_class,
    random_labels,
    subset,
    with_foreign,
)
from jssl.data.tables import hf
from jssl.data.texts import brown, entities, noise, posts, python_docs, spam, text, tweets
from jssl.data.toy_text import toy_text
from jssl.data.toys import ring8

__all__ = [
    "COMPUTED",
    "CROPPED",
    "IN_FILES",
    "TEXTS",
    "Batch",
    "Crops",
    "Dataset",
    "Edges",
    "Field",
    "Image",
    "Index",
    "Labels",
    "Measurements",
    "Numbers",
    "Scaled",
    "Sound",
    "Source",
    "Spans",
    "Text",
    "Tokens",
    "Video",
    "WeakLabels",
    "apart",
    "columns",
    "dataset",
    "first_classes",
    "labels_per_class",
    "load",
    "minibatches",
    "pair",
    "random_labels",
    "subset",
    "with_foreign",
]

_LOADERS: dict[str, Callable[..., Dataset]] = {
    "digits": digits,
    "mnist": mnist,
    "fashion_mnist": fashion_mnist,
    "photos": photos,
    "ring8": ring8,
    "folder": folder,
    "npz": npz,
    "hf": hf,
    "tar": shards,
    "cifar10": cifar10,
    "cifar100": cifar100,
    "stl10": stl10,
    "tfds": tfds,
    "blank": blank,
    "photographs": photographs,
    "stamps": stamps,
    "emoji": emoji,
    "openclipart": openclipart,
    "doom": doom,
    "clips": clips,
    "bounce16": bounce16,
    "point_reach": point_reach,
    "moving_digits": moving_digits,
    "bouncing_digits": bouncing_digits,
    "scenes": scenes,
    "eeg": eeg,
    "eeg_features": eeg_features,
    "eeg_toy": eeg_toy,
    "captions": captions,
    "shortcuts": shortcuts,
    "text": text,
    "posts": posts,
    "toy_text": toy_text,
    "brown": brown,
    "tweets": tweets,
    "entities": entities,
    "spam": spam,
    "python_docs": python_docs,
    "noise": noise,
}
IN_FILES = ("folder", "hf", "tar", "tfds")
"""Data sets of encoded images, which have the knobs `corrupt` and `resident`."""
CROPPED = (*IN_FILES, "blank")
"""Data sets of which whole images can be cropped on the host."""
COMPUTED = ("bouncing_digits", "moving_digits", "scenes")
"""Data sets of videos that are computed: in rehearsals they stand in for themselves."""
TEXTS = (
    *("toy_text", "text", "posts", "python_docs", "brown", "tweets", "entities"),
    *("spam", "noise"),
)
"""Corpora, whose rows are windows: they have the knobs of `documents.Windows`."""
_DISTRIBUTIONS = {
    "PIL": "pillow",
    "sklearn": "scikit-learn",
    "pyarrow": "jssl[hf]",
    "tokenizers": "jssl[text]",
    "tensorflow": "jssl[tensorflow]",
    "tensorflow_datasets": "tensorflow-datasets",
}


def load(
    name: str,
    batch: int,
    *,
    seed: int = 0,
    labeled: bool = False,
    limit: int = 0,
    threads: int = 8,
    workers: int = 0,
    cut: int | None = None,
    hold_out: bool = True,
    crops: Crops | None = None,
    each: int = 0,
    **knobs: Any,
) -> Source:
    """The training split of a data set; `source.split("val")` is another.

    Args:
      name: "digits", "mnist", "fashion_mnist", "fashion_mnist:FOLDER", "photos", "ring8"
        (points), "shortcuts:ARTIFACT" (textures and digits that betray pretext tasks),
        "captions" and "captions:digits" (digits with captions), "folder:PATH",
        "npz:FILE", "hf:FOLDER" (Arrow or Parquet), "tar:FOLDER"
        (shards of WebDataset), "cifar10:FOLDER", "cifar100:FOLDER", "stl10:FOLDER" (the
        official binary archives), "tfds:NAME", or "blank:NAME" for black images
        in the number of a known data set; from installed packages "photographs" (patches),
        "stamps", "emoji" and "openclipart" (with captions); videos "doom:SCENARIO"
        (rendered walks), "clips:FOLDER", "bounce16", "moving_digits" and
        "bouncing_digits" (digits), "scenes:DOMAIN" (rooms, with flow and depth); rows
        "eeg_toy", "eeg" (trials of eeggan) and "eeg_features:FILE"; text "toy_text",
        "toy_text:TASK", "text:FILE" (a file or folder), "posts:FILE" (texts with emojis,
        one a line),
        "python_docs", "brown", "brown:pos" (tags),
        "brown:packed", "tweets" (sentiment), "entities" (tags), "spam", and
        "noise:TOKENSxVOCABULARY" (random tokens, for plans).
      batch: rows of one global batch.
      seed: of the order; the splits do not depend on it.
      labeled: True includes labels in training batches.
      limit: number of training rows used, the first ones (stratified by class if labels are
        known); 0: all.
      threads: threads that read data not held in memory, and number of prefetched batches.
      workers: processes that do so, each with `threads` threads.
      cut: `size` of images in files, where none is given and they are of several sizes, or
        larger than 128 pixels; other data sets have one size.
      hold_out: False trains on all published training images where val is cut from them,
        and `source.includes` says so; val stays the same part, for choosing only. Without
        effect on data sets that are published with a val, or are no published training set
        and split by rules of their own.
      crops: random crops of the whole image, cut on the host, that training batches have
        as `crops` uint8 [n, count, size, size, c] in place of `image`, for the data sets of
        `CROPPED`. None: training batches have the central square, which is faster.
      each: number of rows of every split, drawn at random, for rehearsals; 0: all.
      **knobs: arguments of the data set's loader: `size` (side in pixels) and `channels` of
        all images; of text the fields of `documents.Windows`, such as `tokens` and
        `length`; of images in files `corrupt`, and of these and of text in files `resident`
        (largest split, or corpus, held in memory, in bytes); `deviation` of `ring8`,
        `subject` of `eeg_toy`, `stride` of `photos`, `data_dir` of
        `tfds`.

    Raises:
      ValueError: an unknown name or knob, missing labels or rows, or missing packages or
        files, with instructions to get them.

    >>> source = load("digits", batch=64)
    >>> source.size, source.split("test").size, next(source.scan())["image"].shape
    (1077, 360, (64, 8, 8, 1))
    """
    kind, colon, where = name.partition(":")
    if kind not in _LOADERS:
        near = difflib.get_close_matches(kind, _LOADERS, n=1, cutoff=0.0)[0]
        raise ValueError(
            f"unknown data set {name!r}; the nearest is {near!r}, "
            f"the others: {', '.join(x for x in _LOADERS if x != near)}; "
            f"tfds:{kind} is the one of TensorFlow Datasets, if it is prepared"
        )
    loader, arguments = _LOADERS[kind], (where,) if colon else ()
    takes = inspect.signature(loader).parameters
    if cut is not None and "cut" in takes:
        knobs |= {"cut": cut}
    if not hold_out and "hold_out" in takes:
        knobs |= {"hold_out": False}
    elif not hold_out:
        inform_once(f"{name}: hold_out=False has no effect: its splits are its own")
    if crops is not None:
        if kind not in CROPPED:
            raise ValueError(
                f"{name} has no whole images to cut crops from; {', '.join(CROPPED)} have"
            )
        knobs |= {"crops": crops}
    try:
        inspect.signature(loader).bind(*arguments, **knobs)
    except TypeError as error:
        knobs = inspect.signature(loader).parameters.values()
        wanted = ", ".join(map(str, knobs))
        raise ValueError(f"load({name!r}): {error}; it takes {wanted}") from error
    try:
        found = loader(*arguments, **knobs)
        if found.summary:
            inform_once(f"{name}: {found.summary}")
        for line in found.warnings:
            warn_once(f"{name}: {line}")
        source = dataset(
            name,
            found.splits,
            batch,
            classes=found.classes,
            fields=found.fields,
            context=found.context,
            license=found.license,
            summary=found.summary,
            warnings=found.warnings,
            includes=found.includes,
            skipped=found.skipped,
            files=found.files,
            seed=seed,
            labeled=labeled,
            threads=threads,
            workers=workers,
        )
    except ModuleNotFoundError as missing:
        package = str(missing.name).partition(".")[0]
        package = _DISTRIBUTIONS.get(package, package)
        message = f"{name} needs {package}: `pip install '{package}'`"
        raise ValueError(message) from missing
    except ValueError as reason:
        if not where or where in str(reason) or name in str(reason):
            raise
        raise ValueError(f"{name}: {reason}") from reason
    source = subset(source, np.arange(limit)) if limit else source
    return drawn(source, each) if each else source
