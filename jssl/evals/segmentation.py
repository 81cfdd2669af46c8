r"""Semantic segmentation with a small head on frozen maps, evaluated by mean IoU.

J. Long, E. Shelhamer, T. Darrell, "Fully Convolutional Networks for Semantic
Segmentation", CVPR 2015 (https://arxiv.org/abs/1411.4038). Heads:

    linear   standardize, 1 x 1 layer
    fcn      standardize, 3 x 3 convolution, norm, ReLU, dropout 0.1, 1 x 1 layer

then bilinear upsampling to the size of the mask (half-pixel centers), and cross entropy per
pixel. The maps are frozen, so their channels are standardized by the exact moments of the
rows fitted on, which a batch norm would estimate; the norm of "fcn" is over the channels of
each location, so that scenes are independent. Maps of a single layer may be too coarse for
thin objects; those of all layers are the hypercolumns of B. Hariharan et al., CVPR 2015
(https://arxiv.org/abs/1411.5752).
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax
from jaxtyping import Array, Float, Int, Integer, PRNGKeyArray

from jssl.evals.iou import IGNORE, confusion_matrix, mean_iou
from jssl.evals.protocol import Eval, Features
from jssl.ops.shapes import expect

BATCH, WIDTH, DROPOUT = 32, 256, 0.1


def pixel_cross_entropy(
    logits: Float[Array, "n h w c"], mask: Integer[Array, "n h w"], ignore: int = IGNORE
) -> Float[Array, ""]:
    """-ln softmax(logits)[mask], mean over pixels that are not ignored; 0 if all are.

    >>> logits = jnp.log(jnp.array([[[[0.75, 0.25], [0.5, 0.5]]]]))
    >>> print(f"{pixel_cross_entropy(logits, jnp.array([[[1, 255]]])):.4f}")  # ln 4
    1.3863
    """
    expect("pixel_cross_entropy", logits=(logits, "n h w c"), mask=(mask, "n h w", "int"))
    seen = mask != ignore
    # Sums over classes are then contiguous: 5 times as fast as optax's loss on CPU.
    rows = jnp.moveaxis(logits, -1, 1)
    hit = jnp.arange(logits.shape[-1])[:, None, None] == mask[:, None]
    each = jax.nn.logsumexp(rows, 1) - jnp.sum(rows, 1, where=hit)
    return jnp.sum(each, where=seen) / jnp.maximum(seen.sum(), 1)


def hypercolumns(layers: Any) -> Float[Array, "n h w d"]:
    """Maps [n, h, w, c] of several layers, upsampled and concatenated along channels.

    All are resized to the finest grid, bilinearly, with half-pixel centers.

    >>> fine, coarse = jnp.ones((1, 4, 4, 3)), jnp.full((1, 2, 2, 5), 2.0)
    >>> hypercolumns((fine, coarse))[0, 0, 0].tolist()
    [1.0, 1.0, 1.0, 2.0, 2.0, 2.0, 2.0, 2.0]
    """
    every = jax.tree.leaves(layers)
    if any(maps.ndim != 4 for maps in every):
        shapes = [list(maps.shape) for maps in every]
        raise ValueError(f"hypercolumns: every layer needs maps [n, h, w, c], got {shapes}")
    n, h, w, _ = max((maps.shape for maps in every), key=lambda shape: shape[1])
    return jnp.concatenate(
        [jax.image.resize(x, (n, h, w, x.shape[3]), "bilinear") for x in every], -1
    )


def train(
    loss: Callable, params: Any, arrays: tuple, *, lr: float, steps: int, seed: int
) -> Any:
    """Weights after `steps` of Adam on random batches, with cosine decay from `lr` to 0.

    One dispatch per step, since gradients of convolutions are up to 50 times slower inside
    XLA loops on CPU.

    Args:
      loss: (params, key, *rows of the arrays) -> scalar; compiled once per object.
      params: initial weights.
      arrays: with rows first.
      lr, steps, seed: of training.
    """
    rng, key = np.random.default_rng(seed), jax.random.key(seed)
    n, moments = len(arrays[0]), optax.scale_by_adam().init(params)
    for i in range(steps):
        rows = rng.choice(n, min(BATCH, n), replace=False)
        some, rate = [x[rows] for x in arrays], lr * (1 + np.cos(np.pi * i / steps)) / 2
        params, moments = _step(loss, params, moments, key, i, rate, some)
    return params


@partial(jax.jit, static_argnames="loss")
def _step(loss, params, moments, key, i, rate, rows):
    slopes = jax.grad(loss)(params, jax.random.fold_in(key, i), *rows)
    updates, moments = optax.scale_by_adam().update(slopes, moments)
    return jax.tree.map(lambda p, u: p - rate * u, params, updates), moments


def head_init(
    key: PRNGKeyArray, head: str, channels: int, classes: int
) -> dict[str, Array]:
    """Weights of "linear" or "fcn": He-normal kernel, zeros in the last layer."""
    hidden = {}
    if head == "fcn":
        kernel = jax.nn.initializers.he_normal()(key, (3, 3, channels, WIDTH))
        hidden = {"kernel": kernel, "scale": jnp.ones(WIDTH), "shift": jnp.zeros(WIDTH)}
        channels = WIDTH
    return hidden | {"weights": jnp.zeros((channels, classes)), "bias": jnp.zeros(classes)}


def head_logits(
    params: dict[str, Array], maps: Float[Array, "n h w c"], key: Any = None
) -> Float[Array, "n h w classes"]:
    """Logits at every location of the maps; dropout only with a key."""
    if "kernel" in params:
        kernel, axes = params["kernel"], ("NHWC", "HWIO", "NHWC")
        maps = lax.conv_general_dilated(maps, kernel, (1, 1), "SAME", None, None, axes)
        maps = params["scale"] * jax.nn.standardize(maps) + params["shift"]
        maps = jax.nn.relu(maps)
        if key is not None:
            kept = jax.random.bernoulli(key, 1 - DROPOUT, maps.shape)
            maps = jnp.where(kept, maps / (1 - DROPOUT), 0)
    return maps @ params["weights"] + params["bias"]


def _logits(params, maps, key, size):
    """Logits at every pixel of masks of that size."""
    coarse = head_logits(params, maps, key)
    return jax.image.resize(coarse, (len(maps), *size, coarse.shape[-1]), "bilinear")


def _loss(params, key, maps, mask):
    return pixel_cross_entropy(_logits(params, maps, key, mask.shape[1:]), mask)


class Segmenter(NamedTuple):
    """A trained head, and the moments of the maps it was trained on."""

    params: dict[str, Array]
    mean: np.ndarray  # [c]
    std: np.ndarray  # [c]


def fit_segmenter(
    maps: Float[np.ndarray, "n h w c"],
    masks: Integer[np.ndarray, "n height width"],
    *,
    head: str = "linear",
    lr: float,
    steps: int = 300,
    seed: int = 0,
) -> Segmenter:
    """Trains a head on frozen maps.

    Raises:
      ValueError: inconsistent shapes, or masks without valid classes.
    """
    expect("fit_segmenter", maps=(maps, "n h w c"), masks=(masks, "n y x", "int"))
    seen = masks[masks != IGNORE]
    if not seen.size or seen.min() < 0:
        raise ValueError(
            f"fit_segmenter: masks must hold classes 0, 1, ..., and {IGNORE} only where a "
            f"pixel is ignored, got {np.unique(masks)[:5].tolist()}"
        )
    mean, std = (f(maps, (0, 1, 2), np.float64) for f in (np.mean, np.std))
    std = np.where(std <= 1e-7 * np.abs(mean), 1, std)  # less is rounding error
    mean, std = np.asarray(mean, np.float32), np.asarray(std, np.float32)
    start = head_init(jax.random.key(seed), head, maps.shape[3], int(seen.max()) + 1)
    arrays = ((maps - mean) / std, masks)
    params = train(_loss, start, arrays, lr=lr, steps=steps, seed=seed)
    return Segmenter(params, mean, std)


def segment(
    model: Segmenter, maps: Float[np.ndarray, "n h w c"], size: tuple[int, int]
) -> Int[np.ndarray, "n height width"]:
    """The class with the highest logit at every pixel of masks of that size."""
    n, (params, mean, std) = len(maps), model
    rows = np.arange(-(-n // BATCH) * BATCH).reshape(-1, BATCH) % n  # the first fill up
    return np.concatenate([_segment(params, (maps[i] - mean) / std, size) for i in rows])[
        :n
    ]


@partial(jax.jit, static_argnames="size")
def _segment(params, maps, size):
    return _logits(params, maps, None, size).argmax(-1).astype(jnp.int32)


def segmentation(
    scenes: Callable[[str], Mapping],
    name: str = "maps",
    head: str = "linear",
    steps: int = 300,
    lr: Sequence[float] = (3e-3, 1e-2, 3e-2),
    seed: int = 0,
    *,
    task: str = "scenes",
) -> Eval:
    """mIoU and pixel accuracy, in [0, 1], of a head on the frozen maps of scenes.

    Metrics of the fcn head are named miou/fcn and pixel_accuracy/fcn.

    The learning rate is selected by mIoU on val; at the end the head is retrained with it
    on train + val and evaluated on test. Values on val reported during training are the
    best over learning rates, hence slightly optimistic.

    Args:
      scenes: split -> {"image": float32 [m, h, w, c], "mask": int [m, h, w]}, from images
        of that split.
      name: output of the method with the maps [m, h', w', d]; "layers" are hypercolumns of
        all layers.
      head: "linear" or "fcn".
      steps: of training.
      lr: learning rates to select from.
      seed: of the head and the batches.
      task: description of the scenes, for the protocol.

    Raises:
      ValueError: invalid settings; scenes or maps that are not as above or not finite.
    """
    grid = tuple(sorted(float(x) for x in lr))
    if head not in ("linear", "fcn") or steps < 1 or not grid or not grid[0] > 0:
        raise ValueError(
            f'segmentation: head is "linear" or "fcn", steps at least 1 and every lr '
            f"positive, got {head!r}, {steps}, {grid}"
        )
    learn = partial(fit_segmenter, head=head, steps=steps, seed=seed)
    mark = "" if head == "linear" else f"/{head}"

    def run(features: Features, final: bool) -> dict:
        return {f"{k}{mark}": v for k, v in best(features, final).items()}

    def best(features, final):
        fit, judge = (_mapped(features, scenes, x, name) for x in ("train", "val"))
        tried = [_judged(learn(*fit, lr=x), *judge) for x in grid]
        first = max(range(len(grid)), key=lambda i: tried[i]["miou"])
        if not final:
            return tried[first]
        both = [np.concatenate(pair) for pair in zip(fit, judge, strict=True)]
        model = learn(*both, lr=grid[first])
        return _judged(model, *_mapped(features, scenes, "test", name))

    rates = ", ".join(f"{x:g}" for x in grid)
    told = "linear head" if head == "linear" else f"fcn head of {WIDTH} channels"
    seen = "hypercolumns of all layers" if name == "layers" else name
    return Eval(
        f"segmentation of {task}: {told} on frozen {seen}, standardised, Adam to 0 by a "
        f"cosine, lr chosen on val from {rates}, {steps} steps of {BATCH}, seed={seed}; "
        f"mIoU over the whole set, with background",
        run,
    )


def _mapped(features, scenes, split, name):
    """The maps of a split's scenes, and their masks."""
    found = scenes(split)
    if not {"image", "mask"} <= set(found):
        raise ValueError(f"the {split} scenes need 'image' and 'mask', got {list(found)}")
    images, masks = np.asarray(found["image"]), np.asarray(found["mask"])
    maps = np.asarray(features.of({"image": images}, name, hypercolumns), np.float32)
    if maps.ndim != 4 or not len(maps) == len(masks) > 0 or not np.isfinite(maps).all():
        raise ValueError(
            f"segmentation: {name!r} of the {split} scenes must be finite maps [m, h, w, "
            f"d], one a mask, got {list(maps.shape)} for masks {list(masks.shape)}"
        )
    return maps, masks


def _judged(model, maps, masks):
    found = segment(model, maps, masks.shape[1:])
    classes = 1 + max(found.max(), np.max(masks, initial=0, where=masks != IGNORE))
    matrix = confusion_matrix(found, masks, int(classes))
    right = float(np.trace(matrix) / matrix.sum())
    return {"miou": mean_iou(matrix), "pixel_accuracy": right}
