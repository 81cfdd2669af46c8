"""Fields: the kinds of columns of a data set.

A field defines the transfer and decoding of a column, its raw features, its picture, and
the arrays that are valid. Sources hold fields by name; methods, evals and reports do not
depend on the kind.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from jssl import pictures
from jssl.ops.cells import cell_means

RAW_NUMBERS = 1024  # of an image that is its own raw features
RAW_SIDE = 16  # pixels, of larger ones


@dataclass(frozen=True)
class Field:
    """Numbers [n, ...] without decoding."""

    on_host: ClassVar[bool] = False  # True: not transferred to the device
    is_target: ClassVar[bool] = False  # True: missing in unlabeled streams

    def decode(self, x: Any) -> Any:
        """The array that a method receives, computed on the device."""
        return x

    def plain(self, x: Any, batch: Mapping[str, Any]) -> Any | None:
        """Raw features [n, d], as a baseline; None if there are none.

        Args:
          x: the decoded column.
          batch: all decoded fields, and the context.
        """
        return x.reshape(len(x), -1) if jnp.issubdtype(x.dtype, jnp.floating) else None

    def shown(
        self, x: Any, columns: tuple[str, ...] = (), batch: Mapping[str, Any] = {}
    ) -> pictures.Picture | None:
        """A picture of decoded values [rows, columns, ...]; None if there is none."""
        return None

    def check(self, name: str, x: np.ndarray) -> None:
        """Raises ValueError unless `x` is a valid column."""


@dataclass(frozen=True)
class Measurements(Field):
    """Numbers [n, ...] that come with an input, such as depth, flow or a camera's motion.

    They are part of unlabeled streams, as input or target of a pretext task, and no raw
    features.
    """

    def plain(self, x, batch):
        return None


@dataclass(frozen=True)
class Scaled(Measurements):
    """Levels [n, ...], whole numbers, decoded to start + unit * level.

    Attributes:
      unit: difference of two levels.
      start: value of level 0.
    """

    unit: float = 1.0
    start: float = 0.0

    def decode(self, x):
        return self.start + self.unit * x.astype(jnp.float32)


@dataclass(frozen=True)
class Image(Field):
    """Images [n, h, w, c]: bytes, decoded to numbers in [0, 1], or floats in [0, 1]."""

    def decode(self, x):
        return x.astype(jnp.float32) / 255 if x.dtype == jnp.uint8 else x

    def plain(self, x, batch):
        """Pixels [n, d]; images of more than 1,024 numbers are averaged (`raw_size`)."""
        if size := self.raw_size(x.shape[1:]):
            x = cell_means(x, size)
        return x.reshape(len(x), -1)

    def raw_size(self, shape: tuple[int, ...]) -> tuple[int, int] | None:
        """Rows and columns of cells to which `plain` averages images; None: all pixels.

        >>> Image().raw_size((28, 28, 1)), Image().raw_size((224, 224, 3))
        (None, (16, 16))
        """
        h, w, c = shape
        if h * w * c <= RAW_NUMBERS or max(h, w) <= RAW_SIDE:
            return None
        return min(h, RAW_SIDE), min(w, RAW_SIDE)

    def shown(self, x, columns=(), batch={}):
        return pictures.Grid(x, columns) if x.shape[-1] in (1, 3) else None

    def check(self, name, x):
        if x.ndim != 4 or x.dtype not in (np.uint8, np.float32):
            raise ValueError(
                f"{name} must be uint8[n, h, w, c], or float32 in [0, 1], got "
                f"{x.dtype}{list(x.shape)}; fields={{...: Field()}} takes other arrays"
            )
        check_channels_last(name, x.shape)


def check_channels_last(name: str, shape: tuple[int, ...]) -> None:
    """Raises ValueError for shapes of images that have their channels first.

    >>> check_channels_last("image", (60, 3, 32, 32))
    Traceback (most recent call last):
    ValueError: image must be [n, h, w, c], but [60, 3, 32, 32] has its channels first: ...
    """
    _, first, _, last = shape
    if first in (1, 3) and last > 4:
        raise ValueError(
            f"{name} must be [n, h, w, c], but {list(shape)} has its channels first: "
            f"x.transpose(0, 2, 3, 1)"
        )


@dataclass(frozen=True)
class Cropped(Image):
    """Crops of images [n, count, h, w, c]: bytes, decoded to numbers in [0, 1].

    They are random, in training batches only, and no raw features.
    """

    def plain(self, x, batch):
        return None

    def shown(self, x, columns=(), batch={}):
        return None

    def check(self, name, x):
        if x.ndim != 5 or x.dtype != np.uint8:
            raise ValueError(
                f"{name} must be uint8[n, count, h, w, c], got {x.dtype}{list(x.shape)}"
            )


@dataclass(frozen=True)
class Video(Image):
    """Clips [n, t, h, w, c]: bytes, decoded to numbers in [0, 1], or floats in [0, 1].

    Attributes:
      fps: frames per second.
    """

    fps: float = 8.0

    def raw_size(self, shape):
        """As of images, for each frame of long clips."""
        t, h, w, c = shape
        frame = super().raw_size((h, w, t * c))
        return frame and (t, *frame)

    def shown(self, x, columns=(), batch={}):
        return pictures.Clip(x, columns, self.fps) if x.shape[-1] in (1, 3) else None

    def check(self, name, x):
        if x.ndim != 5 or x.dtype not in (np.uint8, np.float32):
            raise ValueError(
                f"{name} must be uint8[n, t, h, w, c], or float32 in [0, 1], got "
                f"{x.dtype}{list(x.shape)}"
            )


@dataclass(frozen=True)
class Sound(Field):
    """Waveforms [n, s] or [n, s, channels]: 16 bits or floats, decoded to [-1, 1].

    Attributes:
      rate: samples per second.
    """

    rate: int = 16_000

    def decode(self, x):
        return x.astype(jnp.float32) / 2**15 if x.dtype == jnp.int16 else x

    def shown(self, x, columns=(), batch={}):
        mono = x if x.ndim == 3 else np.asarray(x).mean(-1)
        return pictures.Sound(mono, columns, self.rate)

    def check(self, name, x):
        if x.ndim not in (2, 3) or x.dtype not in (np.int16, np.float32):
            raise ValueError(
                f"{name} must be int16 or float32 [n, s] or [n, s, channels], got "
                f"{x.dtype}{list(x.shape)}"
            )


COUNTED = 2048  # words of a bag


@dataclass(frozen=True)
class Tokens(Field):
    """Token numbers [n, l] of a vocabulary, decoded to int32.

    Attributes:
      vocabulary: the tokens; number i stands for vocabulary[i].
      mask: name of the optional field [n, l] that is 1 on tokens and 0 on padding.
      separator: text between two tokens when shown.
      pad: number of the padding token, which is neither counted nor shown; None: there is
        none, or a mask.
      join: tokens as strings -> text, when shown; None: they are joined by the separator.
    """

    vocabulary: tuple[str, ...] = ()
    mask: str = "mask"
    separator: str = " "
    pad: int | None = None
    join: Callable[[list[str]], str] | None = field(default=None, compare=False)

    def decode(self, x):
        return x.astype(jnp.int32)

    def plain(self, x, batch):
        """Counts of the first `COUNTED` tokens, the frequent ones: a bag of words [n, d].

        The time of an exact linear probe grows with d^3.
        """
        if not self.vocabulary or x.ndim != 2:
            return None
        weight = jnp.asarray(batch.get(self.mask, jnp.ones(x.shape)), jnp.float32)
        weight = weight if self.pad is None else weight * (x != self.pad)
        size = min(len(self.vocabulary), COUNTED)
        counts = lambda x, m: jnp.zeros(size).at[x].add(m, mode="drop")
        return jax.vmap(counts)(x, weight)

    def shown(self, x, columns=(), batch={}):
        x = np.asarray(x)
        mask = np.broadcast_to(np.asarray(batch.get(self.mask, True), bool), x.shape)
        mask = mask if self.pad is None else mask & (x != self.pad)
        join = self.join or self.separator.join

        def words(tokens, kept):
            names = self.vocabulary or range(tokens.max() + 1)
            return join([str(names[i]) for i in tokens[kept]])

        rows, count = x.shape[:2]
        cells = [[words(x[i, j], mask[i, j]) for j in range(count)] for i in range(rows)]
        return "\n".join(_listed(row, columns) for row in cells)

    def check(self, name, x):
        if x.dtype.kind not in "iu":
            raise ValueError(f"{name} must be int[n, l], got {x.dtype}{list(x.shape)}")
        top = len(self.vocabulary)
        if top and x.size and not 0 <= x.min() <= x.max() < top:
            raise ValueError(
                f"{name}: tokens must be 0 to {top - 1}, got {x.min()} to {x.max()}"
            )


@dataclass(frozen=True)
class Labels(Field):
    """Class numbers, int [n], or tags, int [n, l]; -1 for none.

    Attributes:
      names: of the classes.
    """

    is_target: ClassVar[bool] = True

    names: tuple[str, ...] = ()

    def plain(self, x, batch):
        return None

    def check(self, name, x):
        if x.dtype.kind not in "iu":
            raise ValueError(f"{name} must be int[n], got {x.dtype}{list(x.shape)}")
        if x.size and x.min() < -1:
            raise ValueError(
                f"{name} must be class numbers from 0, or -1 for none, but some are "
                f"negative: from {x.min()} to {x.max()}"
            )


@dataclass(frozen=True)
class WeakLabels(Labels):
    """Class numbers that data have of themselves, such as emojis: no target."""

    is_target: ClassVar[bool] = False


@dataclass(frozen=True)
class Spans(Field):
    """First and last place of a span, int [n, 2]: a target, as in question answering."""

    is_target: ClassVar[bool] = True

    def plain(self, x, batch):
        return None

    def check(self, name, x):
        if x.shape[1:] != (2,) or x.dtype.kind not in "iu":
            raise ValueError(f"{name} must be int[n, 2], got {x.dtype}{list(x.shape)}")


@dataclass(frozen=True)
class Numbers(Field):
    """Regression targets, float [n] or [n, k], such as poses."""

    is_target: ClassVar[bool] = True

    def plain(self, x, batch):
        return None

    def check(self, name, x):
        if x.ndim not in (1, 2) or x.dtype.kind != "f":
            raise ValueError(
                f"{name} must be float[n] or float[n, k], got {x.dtype}{list(x.shape)}"
            )


@dataclass(frozen=True)
class Edges(Field):
    """Adjacency matrices [n, v, v] of graphs padded to v nodes: weights, 0 for no edge."""

    def shown(self, x, columns=(), batch={}):
        return pictures.Graph(x, columns)

    def check(self, name, x):
        if x.ndim != 3 or x.shape[1] != x.shape[2]:
            raise ValueError(f"{name} must be [n, v, v], got {x.dtype}{list(x.shape)}")


@dataclass(frozen=True)
class Text(Field):
    """Strings [n], kept on the host: part of `Source.column`, not of batches."""

    on_host: ClassVar[bool] = True

    def shown(self, x, columns=(), batch={}):
        return "\n".join(_listed(row, columns) for row in x)

    def check(self, name, x):
        if x.dtype.kind not in "UO":
            raise ValueError(f"{name} must be strings [n], got {x.dtype}{list(x.shape)}")


@dataclass(frozen=True)
class Index(Field):
    """Positions in a context array, int [n]: a row is an item of it, or a window.

    Attributes:
      of: name of the context array.
      length: of the window from the position on; 0: the item alone.
      kind: field of the values there.
    """

    of: str
    length: int = 0
    kind: Field = field(default_factory=Field)

    def take(self, x: Any, batch: Mapping[str, Any]) -> Any:
        """The values at positions x [n]: [n, ...], or [n, length, ...]."""
        return batch[self.of][x[..., None] + jnp.arange(self.length) if self.length else x]

    def plain(self, x, batch):
        return self.kind.plain(self.take(x, batch), batch)

    def shown(self, x, columns=(), batch={}):
        if self.of not in batch:
            return None
        return self.kind.shown(np.asarray(self.take(jnp.asarray(x), batch)), columns, batch)

    def check(self, name, x):
        if x.ndim != 1 or x.dtype.kind not in "iu":
            raise ValueError(f"{name} must be int[n], got {x.dtype}{list(x.shape)}")


def _listed(cells, columns):
    """A row of texts as lines, with headings."""
    heads = columns or ("",) * len(cells)
    return pictures.text_table(zip(heads, map(str, cells), strict=True)) + "\n"


KNOWN: Mapping[str, Field] = {
    "image": Image(),
    "video": Video(),
    "audio": Sound(),
    "label": Labels(),
}
"""Default fields of columns with these names."""


@dataclass(frozen=True)
class Dataset:
    """A loader's result.

    Attributes:
      splits: by name, a table of equally long arrays, `Records`, or a function that
        returns either.
      classes: number of classes of "label"; 0: unlabeled.
      fields: by column; columns with default names need none.
      context: arrays that are part of every batch as a whole.
      license: of the data, as stated by the publisher.
      summary: a line that says what was found.
      warnings: lines on departures from what a user may expect.
      includes: places in train of rows that are in another split too, by that split.
      skipped: names of images that could not be read so far, by split and row.
      files: contents of text files by name, such as a tokenizer, which a run keeps.
    """

    splits: Mapping[str, Mapping[str, Any] | Callable | Any]
    classes: int = 0
    fields: Mapping[str, Field] = field(default_factory=dict)
    context: Mapping[str, Any] = field(default_factory=dict)
    license: str = ""
    summary: str = ""
    warnings: tuple[str, ...] = ()
    includes: Mapping[str, np.ndarray] = field(default_factory=dict)
    skipped: Mapping[str, Mapping[int, str]] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
