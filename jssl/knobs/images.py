"""Knobs of data sets of images, and functions of their sources."""

from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jssl import data, views
from jssl.config import Count, Positive
from jssl.data import Source
from jssl.data.captioned import UNKNOWN, tokenized, vocabulary
from jssl.knobs.reading import arguments
from jssl.knobs.run import Run
from jssl.method import Augment, Prepare, field


@dataclass(frozen=True, kw_only=True)
class Pictures:
    """A data set of images, how it is read, and the training budget.

    Attributes:
      source: Data set: mnist, fashion_mnist, digits, photos, folder:PATH, tfds:NAME ...
      limit: Number of training images used, stratified by class; 0: all.
      epochs: Passes over the training split.
      batch: Images per step.
      channels: Channels of the images, 1 (gray) or 3 (color); 0: those of the data set,
        and 3 for a folder.
      corrupt: Images in files that cannot be read: refuse raises an error, skip omits them.
      workers: Processes per host that read and decode images; 0: the main process.
      hold_out: Leave val out of training where it is cut from the published training
        images; off trains on all of them, and val is for choosing only.
      reading: Further arguments of the data set's loader, e.g. stride=4;data_dir=/tfds.
    """

    source: str = "mnist"
    limit: int = 0
    epochs: Positive = 30.0
    batch: Count = 64
    channels: int = 0
    corrupt: str = "refuse"
    workers: int = 0
    hold_out: bool = True
    reading: str = ""

    def read(self, run: Run, labeled: bool, **knobs: Any) -> Source:
        """The training split, shuffled by the run's seed; `knobs` are those of `data.load`.

        Raises:
          ValueError: knobs that the data set does not have.
        """
        if self.channels:
            knobs["channels"] = self.channels
        if self.corrupt != "refuse":
            knobs["corrupt"] = self.corrupt
        return data.load(
            self.source,
            self.batch,
            seed=run.seed,
            limit=self.limit,
            labeled=labeled,
            workers=self.workers,
            hold_out=self.hold_out,
            **knobs,
            **arguments(self.reading),
        )


@dataclass(frozen=True, kw_only=True)
class Data(Pictures):
    """A small data set of images.

    Attributes:
      size: Side in pixels of the central square that is cut from every image, whose short
        side is first resized to it; 0: as they are if they have one size of at most 128,
        else 32 or, with patches, the largest multiple of the patch up to 32.
    """

    size: int = 0

    def load(self, run: Run, labeled: bool = False, patch: int = 1) -> Source:
        """The training split, shuffled by the run's seed.

        Args:
          run: has the seed.
          labeled: True includes labels in the batches.
          patch: side in pixels of the patches that images are divided into.

        Raises:
          ValueError: images that do not divide into patches.
        """
        cut = max(patch, 32 // patch * patch)
        size = {"size": self.size} if self.size else {}
        train = self.read(run, labeled, cut=cut, **size)
        h, w, _ = train.image_shape if patch > 1 else (0, 0, 0)
        if h % patch or w % patch:
            side = max(patch, min(h, w) // patch * patch)
            fits = [x for x in range(2, patch + 1) if h % x == w % x == 0]
            ways = f"size={side}" + (f" or patch={fits[-1]}" if fits else "")
            raise ValueError(
                f"images of {w}x{h} pixels do not divide into patches of {patch}: give "
                f"{ways}"
            )
        return train


@dataclass(frozen=True, kw_only=True)
class Images(Data):
    """A small data set that fits in memory, with a supervised baseline.

    Attributes:
      supervised_epochs: Training length of the supervised baseline (cached), in epochs; 0
        omits it.
    """

    supervised_epochs: float = 10.0


@dataclass(frozen=True, kw_only=True)
class ViewedImages(Images):
    """A small data set with augmented views.

    Attributes:
      recipe: Recipe of the views: digits, garments, photos, simclr_cifar ...; empty: digits
        for gray images, photos for color.
    """

    recipe: str = ""

    def recipe_of(self, train: Source) -> tuple[views.View, ...]:
        """The recipe's views, in the size of the images, not normalized, as `prepare`."""
        name = self.recipe or ("photos" if train.image_shape[-1] == 3 else "digits")
        return views.recipe(name, size=train.side, statistics=None)

    def augment(self, train: Source) -> Augment:
        """(key, batch) -> the recipe's views, [n, views, h, w, c]."""
        return views.on(partial(views.multi_view, views=self.recipe_of(train)))

    def one_view(self, train: Source) -> Augment:
        """(key, batch) -> the recipe's first view, [n, h, w, c]."""
        return views.on(self.recipe_of(train)[0])


@dataclass(frozen=True, kw_only=True)
class CroppedImages(ViewedImages):
    """A small data set with augmented views of two sizes: multi-crop.

    Attributes:
      recipe: Recipe of the views: digits_multicrop, garments_multicrop, cifar_multicrop; or
        one of two views, without small crops; empty: digits_multicrop for gray images,
        cifar_multicrop for color.
    """

    def recipe_of(self, train: Source, patch: int = 1) -> tuple[views.View, ...]:
        """The recipe's views, the large ones in the size of the images, not normalized.

        Args:
          train: the training split.
          patch: side of a patch in pixels, of which the sides of small crops are multiples.
        """
        color = train.image_shape[-1] == 3
        name = self.recipe or ("cifar_multicrop" if color else "digits_multicrop")
        return views.resized(views.recipe(name), train.side, patch, statistics=None)

    def augment(self, train: Source, patch: int = 1) -> Augment:
        """(key, batch) -> groups of views, ([n, 2, h, w, c], [n, k, h', w', c]).

        There is one group where all views have the same size. The args are those of
        `recipe_of`.
        """
        several = self.recipe_of(train, patch)
        return views.on(partial(views.multi_size, views=several))


def mean_image(train: Source) -> jax.Array:
    """The mean of all training images, float [h * w * c] in [0, 1]."""
    return jnp.asarray(train.column("image").mean(0) / 255).ravel()


def in_color(train: Source) -> Source:
    """A source, after a check that its images have three channels.

    Raises:
      ValueError: they are gray, or have other channels.
    """
    channels = train.image_shape[-1]
    if channels != 3:
        raise ValueError(
            f"{train.data_name} must have images in color, of 3 channels, got {channels}: "
            "give another data set, such as source=photos"
        )
    return train


def in_motion(train: Source, frames: int = 2, color: bool = False) -> Source:
    """A source, after a check that it has clips of so many frames.

    Args:
      train: the source.
      frames: least number of frames.
      color: True for frames of three channels.

    Raises:
      ValueError: it has no column video, or shorter clips, or gray ones.
    """
    video = train.row_shapes().get("video")
    t, *_, channels = (0, 0) if video is None else video.shape[1:]
    if t < frames or (color and channels != 3):
        wanted = f"clips of {frames} frames or more" + (" in color" if color else "")
        there = "none" if video is None else f"{t} frames of {channels} channels"
        raise ValueError(
            f"{train.data_name} must have {wanted}, as column video, got {there}: give "
            f"another data set, such as source=bouncing_digits, or reading=frames={frames}"
        )
    return train


def with_labels(train: Source, **changes: Any) -> Source:
    """The same source, with labels in its batches."""
    return replace(train, labeled=True, **changes)


def captions(train: Source, length: int = 8) -> tuple[Prepare | None, int]:
    """The text of each row, batch -> tokens [n, l], and the size of its vocabulary.

    It is the caption of the row without unknown words; else, of labeled data, the name of
    its class, at most `length` words of it; else there is none. Padding is 0.
    """
    if "tokens" in train.row_shapes():
        known = train.field_of("tokens").vocabulary  # type: ignore[attr-defined]
        unknown = known.index(UNKNOWN) if UNKNOWN in known else -1
        return field("tokens", lambda x: jnp.where(x == unknown, 0, x)), len(known)
    if not train.classes:
        return None, 0
    known = vocabulary(train.class_names)
    named, _ = tokenized(train.class_names, known, length)
    named = np.pad(named, ((0, 1), (0, 0)))  # the last, number -1, is no class
    return field("label", lambda y: jnp.asarray(named)[y]), len(known)
