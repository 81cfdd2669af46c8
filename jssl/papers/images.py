"""Images, views and schedules of papers: ImageNet and CIFAR-10."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar

import jax
import optax

from jssl import data, optim, views
from jssl.config import Count, Positive
from jssl.data import Source
from jssl.knobs import Data, Pictures, Run
from jssl.method import Augment, Prepare


@dataclass(frozen=True, kw_only=True)
class Photos(Pictures):
    """A large data set, read from disk by many processes.

    Attributes:
      source: Data set: a prepared TFDS data set (tfds:NAME) or folder:PATH.
      stored: Side in pixels of the central square that is cut from every image on loading.
      workers: Processes per host that read and decode images.
    """

    stored: Count = 256
    workers: int = 16

    def load(
        self, run: Run, labeled: bool = False, crops: data.Crops | None = None
    ) -> Source:
        """The training split, as squares of `stored` pixels.

        Args:
          run: has the seed.
          labeled: True includes labels in the batches.
          crops: of whole photographs, in training batches in place of the squares; without
            effect on data sets that have no whole photographs.
        """
        whole = self.source.partition(":")[0] in data.CROPPED
        cut = crops if whole else None
        threads = 2 * self.workers + 2
        return self.read(run, labeled, size=self.stored, crops=cut, threads=threads)


@dataclass(frozen=True, kw_only=True)
class Published(Pictures, ABC):
    """Images, views and schedule of a paper.

    Attributes:
      hold_out: Leave val out of training where it is cut from the published training
        images; off trains on all of them, as the papers do, and val is for choosing only.
      dtype: Floating-point type of the network, e.g. bfloat16; empty: float32.
      lr: Peak learning rate for a batch of 256; scales with the batch.
      warmup: Epochs of linear warm-up of the learning rate.
    """

    column: ClassVar[str] = "image"

    hold_out: bool = False
    dtype: str = "bfloat16"
    lr: Positive = 0.1
    warmup: float = 0.0

    @property
    def peak(self) -> float:
        """The learning rate for this batch."""
        return self.lr * self.batch / 256

    def schedule(self, train: Source, end: float = 0.0) -> optax.Schedule:
        """Linear warm-up to the peak, then cosine decay to `end` times the peak."""
        warmup = train.steps(self.warmup) if self.warmup else 0
        steps = train.steps(self.epochs)
        return optim.warmup_cosine(self.peak, warmup, steps, end=self.peak * end)

    def viewed(
        self, run: Run, looks: str | views.View, labeled: bool = False
    ) -> tuple[Source, Augment, Prepare]:
        """The training split, its augmentation, and the input outside training.

        Inputs are normalized outside training as the views are.

        Args:
          run: has the seed.
          looks: a recipe, for [n, views, size, size, c]; or a view, for [n, size, size, c].
          labeled: True includes labels in the batches.
        """
        if isinstance(looks, str):
            several = views.recipe(looks)
            several = tuple(replace(x, size=self.scaled(x.size)) for x in several)
            look = partial(views.multi_view, views=several)
        else:
            several, look = (looks,), looks
        return self._viewed(run, labeled, several, look)

    def cropped(
        self, run: Run, recipe: str, patch: int = 1
    ) -> tuple[Source, Augment, Prepare]:
        """As `viewed`, with views in groups of one size, as `views.multi_size`.

        The sides of small crops are multiples of `patch`. A recipe of views of one size
        gives one group.
        """
        several = views.recipe(recipe)
        largest = max(view.size for view in several)
        several = views.resized(several, self.scaled(largest), patch)
        look = partial(views.multi_size, views=several)
        return self._viewed(run, False, several, look)

    def _viewed(self, run, labeled, several, look):
        statistics = several[0].statistics

        def prepare(batch):
            x = self.centered(batch[self.column])
            return x if statistics is None else views.normalize(x, *statistics)

        look = views.on(self.whole_row(look), self.column)
        return self.seen(run, labeled, several), look, prepare

    def whole_row(self, look: Callable) -> Callable:
        """A view of images as a view of rows."""
        return look

    def scaled(self, size: int) -> int:
        """The side of a recipe's view, in pixels."""
        return size

    def centered(self, images: jax.Array) -> jax.Array:
        """The part of images that is the network's input outside training."""
        return images

    @abstractmethod
    def seen(self, run: Run, labeled: bool, several: Sequence[views.View]) -> Source:
        """The training split, for these views."""


@dataclass(frozen=True, kw_only=True)
class ImageNet(Published, Photos):
    """ImageNet at the scale of a paper.

    Attributes:
      whole: Cut random crops from whole photographs, on the host, as the papers do; off:
        from their central squares of `stored` pixels, on the device, which needs fewer
        cores of the host and never sees a quarter of a photograph of 500 x 375 pixels.
      size: Side in pixels of the network's input.
    """

    source: str = "tfds:imagenet2012"
    workers: int = 16
    whole: bool = True
    size: Count = 224

    def scaled(self, size: int) -> int:
        return round(size * self.size / 224)

    def centered(self, images: jax.Array) -> jax.Array:
        """The central squares of `size` pixels, [n, size, size, c]."""
        share = self.size / self.stored
        return jax.vmap(lambda image: views.center_crop(image, share))(images)

    def seen(self, run: Run, labeled: bool, several: Sequence[views.View]) -> Source:
        if not self.whole:
            return self.load(run, labeled)
        if len({(view.size, view.area) for view in several}) > 1:
            raise ValueError(
                "multi-crop needs whole=False: crops of several sizes are cut on the "
                f"device, from squares of stored={self.stored} pixels"
            )
        count, size, area, ratio, method = views.crop_of(several)
        crops = data.Crops(count=count, size=size, area=area, ratio=ratio, filter=method)
        return self.load(run, labeled, crops)

    def crop_and_flip(self, **changes: Any) -> views.View:
        """The view of linear evaluation: 8 to 100 % of the area, and a flip, normalized."""
        usual = views.View(
            size=self.size,
            area=(0.08, 1.0),
            antialias=True,
            flip=0.5,
            statistics=views.IMAGENET,
        )
        return replace(usual, **changes)


@dataclass(frozen=True, kw_only=True)
class Cifar(Published, Data):
    """CIFAR-10 at the scale of a paper, held in memory.

    Attributes:
      source: Data set: tfds:cifar10, cifar10:FOLDER or another of images of 32 pixels.
    """

    source: str = "tfds:cifar10"

    def seen(self, run: Run, labeled: bool, several: Sequence[views.View]) -> Source:
        return self.load(run, labeled)

    def crop_and_flip(self, **changes: Any) -> views.View:
        """The view of linear evaluation: 8 to 100 % of the area, and a flip, normalized."""
        usual = views.View(size=32, area=(0.08, 1.0), flip=0.5, statistics=views.CIFAR10)
        return replace(usual, **changes)


@dataclass(frozen=True, kw_only=True)
class Videos(Published):
    """A data set of videos at the scale of a paper, as clips that are held in memory.

    Attributes:
      source: Data set: clips:FOLDER, of videos in a folder for each class.
      stored: Side in pixels of the central square that is cut from every frame on loading.
      size: Side in pixels of the network's input.
    """

    column: ClassVar[str] = "video"

    source: str = "clips:kinetics400"
    stored: Count = 256
    size: Count = 224

    def centered(self, images: jax.Array) -> jax.Array:
        """The central squares of `size` pixels of all frames, [n, t, size, size, c]."""
        crop = partial(views.center_crop, fraction=self.size / self.stored)
        return jax.vmap(jax.vmap(crop))(images)

    def seen(self, run: Run, labeled: bool, several: Sequence[views.View]) -> Source:
        return self.read(run, labeled, size=self.stored)

    def whole_row(self, look: Callable) -> Callable:
        return views.of_clips(look)
