"""Predicted maps against true ones: masks, depth, and the order of depths."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
from jaxtyping import Float, Shaped

from jssl.evals.protocol import Eval, Features

PAIRS = 500  # of pixels of an image
APART = 0.05  # least relative difference of the depths of a pair
Map = Callable[[Mapping[str, Any]], Shaped[np.ndarray, "n h w"]]


def resized(maps: Shaped[np.ndarray, "n h w"], h: int, w: int) -> np.ndarray:
    """Maps averaged over, or interpolated to, h x w cells: float32 [n, h, w].

    >>> resized(np.array([[[1, 0], [0, 0]]]), 1, 1).tolist()
    [[[0.25]]]
    """
    maps = np.asarray(maps, np.float32)
    if maps.shape[1] % h or maps.shape[2] % w:
        return np.asarray(jax.image.resize(maps, (len(maps), h, w), "linear"))
    shape = len(maps), h, maps.shape[1] // h, w, maps.shape[2] // w
    return maps.reshape(shape).mean((2, 4))


def mask_iou(truth: Map, others: Mapping[str, Map] = {}, *, name: str = "mask") -> Eval:
    """Intersection over union of predicted masks and true ones, over the whole set.

    Predictions above 0.5 are foreground; true masks are averaged over their cells, and are
    foreground above 0.5.

    Args:
      truth: decoded rows -> masks [n, h, w].
      others: masks from the rows to compare with, as "iou/NAME".
      name: output of the method with the probabilities [n, g, g].

    Raises:
      ValueError: the output is missing, or no maps.
    """

    def run(features: Features, final: bool) -> dict:
        split = "test" if final else "val"
        found = _maps(features, split, name)
        rows = features.rows(split)
        cells = lambda of: resized(of(rows), *found.shape[1:]) > 0.5
        wanted = cells(truth)
        seen = {"iou": found > 0.5}
        seen |= {f"iou/{other}": cells(of) for other, of in others.items()}
        return {metric: iou(mask, wanted) for metric, mask in seen.items()}

    beside = f", beside {', '.join(others)}" if others else ""
    return Eval(f"IoU of {name} over the whole set{beside}", run, (name,), online=True)


def iou(a: Shaped[np.ndarray, "..."], b: Shaped[np.ndarray, "..."]) -> float:
    """Intersection over union of two masks; 1 for two empty ones.

    >>> iou(np.array([True, True, False]), np.array([False, True, False]))
    0.5
    """
    union = (a | b).sum()
    return float((a & b).sum() / union) if union else 1.0


def ordinal_accuracy(
    pred: Float[np.ndarray, "n h w"],
    truth: Float[np.ndarray, "n h w"],
    *,
    pairs: int = PAIRS,
    seed: int = 0,
) -> float:
    """Fraction of pairs of pixels of an image that are predicted in the order of depth.

    Random pairs whose depths differ by more than 5 %; equal predictions count half. Chance
    is 0.5. Zoran et al. 2015, https://doi.org/10.1109/ICCV.2015.52

    Raises:
      ValueError: shapes differ, or no pair differs in depth.

    >>> depth = np.array([[[1.0, 2.0], [3.0, 4.0]]])
    >>> ordinal_accuracy(depth**2, depth), ordinal_accuracy(-depth, depth)
    (1.0, 0.0)
    """
    if pred.shape != truth.shape or pred.ndim != 3:
        raise ValueError(
            f"ordinal_accuracy needs two maps [n, h, w] of one shape, got "
            f"{list(pred.shape)} and {list(truth.shape)}"
        )
    n, size = len(pred), pred[0].size
    at = np.random.default_rng(seed).integers(0, size, (2, n, pairs))
    of = lambda x: [np.take_along_axis(x.reshape(n, -1), i, 1) for i in at]
    (a, b), (c, d) = of(pred), of(truth)
    judged = np.abs(c - d) > APART * np.minimum(np.abs(c), np.abs(d))
    if not judged.any():
        raise ValueError("ordinal_accuracy: no pair of pixels differs in depth")
    right = np.where(a == b, 0.5, (a > b) == (c > d))
    return float(right[judged].mean())


def depth_maps(
    truth: Map,
    *,
    name: str = "depth",
    metric: bool = True,
    other: Callable[[str], Mapping[str, Any]] | None = None,
    of: str = "",
) -> Eval:
    """Mean absolute error and ordinal accuracy of predicted depths.

    Beside "depth_mae" and "ordinal" stand those of the mean depth of the training split
    ("depth_mae/mean") and of the mean depth of each row of pixels ("depth_mae/row",
    "ordinal/row"), which need no image.

    Args:
      truth: decoded rows -> depths [n, h, w].
      name: output of the method with the predictions [n, g, g].
      metric: False for predictions that are only ordered as depths, which have no
        "depth_mae".
      other: split -> other decoded rows than those of the data, such as of another domain.
      of: suffix of the numbers' names, for other rows.

    Raises:
      ValueError: the output is missing, or no maps.
    """

    def run(features: Features, final: bool) -> dict:
        split = "test" if final else "val"
        rows = other or features.rows
        found = _maps(features, split, name, other)
        at = lambda split: resized(truth(rows(split)), *found.shape[1:])
        wanted, known = at(split), at("train")
        by_row = np.broadcast_to(known.mean((0, 2))[:, None], found.shape)
        numbers = {
            "ordinal": ordinal_accuracy(found, wanted),
            "ordinal/row": ordinal_accuracy(by_row, wanted),
        }
        if metric:
            error = lambda x: float(np.abs(x - wanted).mean())
            numbers |= {
                "depth_mae": error(found),
                "depth_mae/mean": error(known.mean()),
                "depth_mae/row": error(by_row),
            }
        return {key + of: number for key, number in numbers.items()}

    what = "absolute error and order" if metric else "order"
    whose = ", of other rows" if other else ""
    how = f"{what} of {name}, {PAIRS} pairs of pixels an image, beside mean depths{whose}"
    return Eval(how, run, (name,), online=True)


def _maps(features, split, name, other=None):
    try:
        found = features.of(other(split), name) if other else features(split, name)
        found = np.asarray(found)
    except KeyError as error:
        raise ValueError(f"the {split} split has no {name!r}: {error}") from error
    if found.ndim != 3 or not np.isfinite(found).all():
        raise ValueError(
            f"{name!r} of the {split} split must be finite maps [n, h, w], got "
            f"{list(found.shape)}"
        )
    return found
