"""Imported weights as a stage: a frozen encoder, its data, its normalization of images."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from jssl import data, weights
from jssl.config import Stage
from jssl.data.tokenizing import FILE
from jssl.method import Batch, Method
from jssl.weights import Loaded, Preprocessing


@dataclass(frozen=True)
class Pretrained:
    """Weights of a file, and the images they are applied to.

    Attributes:
      loaded: the encoder.
      source: the images.
      preprocessing: their normalization.
    """

    loaded: Loaded
    source: data.Source
    preprocessing: Preprocessing

    @property
    def state(self) -> dict[str, Any]:
        """The weights, as state of the stage's method."""
        return {"params": self.loaded.params, **self.loaded.stats}

    def prepare(self, batch: Batch) -> jax.Array:
        """Normalized images; gray ones are repeated for networks of several channels."""
        image, channels = batch["image"], self.loaded.info["channels"]
        if image.shape[-1] != channels:
            image = jnp.repeat(image, channels, -1)
        return self.preprocessing(image)

    def stage(self) -> Stage:
        """A stage without steps, whose `embed` gives h, and the layers if there are any."""
        module = self.loaded.module

        def embed(state, batch):
            out, seen = module.apply(state, self.prepare(batch), mutable=["layers"])
            layers = tuple(jax.tree.leaves(seen.get("layers", {})))
            return {"h": out} | ({"layers": layers} if layers else {})

        def frozen(key, state, batch):
            raise ValueError("imported weights cannot be trained: give the stage no steps")

        def init(key, batch):
            variables = dict(module.init(key, self.prepare(batch)[:1]))
            return {k: v for k, v in variables.items() if k in ("params", "batch_stats")}

        method = Method(init, frozen, embed)
        return Stage(name="weights", method=method, data=self.source, steps=0)


def pretrained(
    path: str | Path,
    source: str | data.Source,
    batch: int,
    *,
    heads: int | None = None,
    size: int | None = None,
    corrupt: str = "refuse",
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    labeled: bool = True,
) -> Pretrained:
    """Loads weights and the data set that they are applied to.

    Args:
      path: of the weights, see `weights.load`.
      source: of the images, see `data.load`; or these themselves.
      batch: images per batch.
      heads: attention heads of a ViT, if not inferred from its width.
      size: side of the images; None: for image files that of training, if known.
      corrupt: "refuse" or "skip", for image files.
      mean, std: normalization; None: see `weights.preprocessing`.
      labeled: True requires labels.

    Raises:
      ValueError: the weights, the data, or both together cannot be used.
    """
    layout = weights.recognize(weights.read(path))
    prepare = weights.preprocessing(path, layout.channels, mean, std)
    usual = prepare.size[0] if prepare.size else None
    if isinstance(source, str):
        knobs = reading(source, size, usual, layout.channels, corrupt)
        found = data.load(source, batch, labeled=labeled, **knobs)
    else:
        found = replace(source, batch=batch, labeled=labeled)
    image = found.row_shapes().get("image")
    if image is None or len(image.shape) != 4:
        raise ValueError(f"{path} takes images, {found.name} has none")
    *side, channels = image.shape[1:]
    if channels not in (1, layout.channels):
        raise ValueError(
            f"{path} takes images of {layout.channels} channels, {found.name} has "
            f"{channels}"
        )
    loaded = weights.load(path, heads, image=tuple(side))
    return Pretrained(loaded, found, prepare)


def of_options(
    options: Any, path: Any = None, labeled: bool = True, source: data.Source | None = None
) -> Pretrained:
    """The weights and the data that the options of `command.add_encoder` name.

    Args:
      options: parsed.
      path: of the weights; None: `options.weights`.
      labeled: True requires labels.
      source: the data; None: `options.source`.
    """
    return pretrained(
        path or options.weights,
        source or options.source,
        options.batch,
        heads=options.heads,
        size=options.size,
        corrupt=options.corrupt,
        mean=numbers("--mean", options.mean),
        std=numbers("--std", options.std),
        labeled=labeled,
    )


def elsewhere(stage: Stage, state: Any, options: Any) -> Stage:
    """The stage of a run, to embed the data that `options.source` names.

    It has no evals and baselines, and only this state: batches of the data need not be such
    as the method trains on.

    Args:
      stage: of the run.
      state: of its method.
      options: parsed, with those of `command.add_encoder`, `source` and `batch`.

    Raises:
      ValueError: the data have no images, or images of another number of channels, where
        the run has images; or no text, where the run has text.
    """
    image = stage.data.row_shapes().get("image")
    usual, channels = (None, 0) if image is None else (image.shape[1], image.shape[-1])
    knobs = reading(options.source, options.size, usual, channels, options.corrupt)
    if FILE in stage.data.files:
        knobs |= as_read(stage.data, options)
    other = data.load(options.source, options.batch, **knobs)
    if image is not None:
        found = other.row_shapes().get("image")
        if found is None or found.shape[-1] != channels:
            came = "no images" if found is None else f"{found.shape[-1]} channels"
            raise ValueError(
                f"the run has images of {channels} channels, {options.source} has {came}: "
                "give a --source like the run's"
            )
    method = stage.method._replace(init=lambda key, batch: state)
    return replace(
        stage, data=other, method=method, evals={}, baselines={}, start=None, steps=0
    )


def as_read(text: data.Source, options: Any) -> dict[str, Any]:
    """Arguments of `data.load` for text with the tokens and rows of a run.

    Args:
      text: the data of the run.
      options: parsed, with `workdir` and `source`.

    Raises:
      ValueError: `options.source` is no text.
    """
    if options.source.partition(":")[0] not in data.TEXTS:
        raise ValueError(
            f"the run has text, {options.source} is none: give a --source of "
            f"{', '.join(data.TEXTS)}"
        )
    length = text.field_of("start").length  # type: ignore[attr-defined]
    return {"tokenizer": str(Path(options.workdir) / FILE), "length": length}


def reading(
    source: str,
    size: int | None,
    usual: int | None,
    channels: int,
    corrupt: str = "refuse",
) -> dict[str, Any]:
    """Arguments of `data.load` for images as a network takes them.

    Args:
      source: of the images.
      size: side of the images; None: `usual` for image files, else as they are.
      usual: side of the images in training, or None.
      channels: of the network, for image files.
      corrupt: "refuse" or "skip", for image files.

    >>> reading("folder:photos", None, 224, 3), reading("mnist", None, 224, 3)
    ({'channels': 3, 'size': 224}, {})
    """
    files = source.partition(":")[0] in data.IN_FILES
    knobs: dict[str, Any] = {"channels": channels} if files and channels in (1, 3) else {}
    if size := size or (usual if files else None):
        knobs["size"] = size
    return knobs | ({"corrupt": corrupt} if corrupt != "refuse" else {})


def numbers(option: str, text: str | None) -> list[float] | None:
    """The numbers of an option such as --mean=0.485,0.456,0.406; None stays.

    Raises:
      ValueError: the text is no list of numbers.

    >>> numbers("--mean", "0.5,1")
    [0.5, 1.0]
    """
    if text is None:
        return None
    try:
        return [float(word) for word in text.split(",")]
    except ValueError:
        raise ValueError(
            f"{option} must be one number, or one a channel, as in "
            f"{option}=0.485,0.456,0.406, got {text!r}"
        ) from None
