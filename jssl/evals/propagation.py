r"""Tracking: masks of objects propagated through clips along pointers of frozen features.

    y_t = sum over reference frames s of A_ts y_s,
    A_ts = softmax of cos(f_t, f_s) / tau,

with f the maps of frames, and y_1 the masks of the first frame, averaged over the places of
the maps; the references are the first frame and the last m, whose masks are propagated ones
(Vondrick et al. 2018, "Tracking Emerges by Colorizing Videos",
https://arxiv.org/abs/1806.09594, section 4; with cosines, for features of any method, Jabri
et al. 2020, https://arxiv.org/abs/2006.14613, who keep the largest weights only). Masks are
enlarged bilinearly, and a pixel belongs to the object with the largest value.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Integer

from jssl.evals.protocol import Eval, Features
from jssl.ops.cells import cell_means
from jssl.ops.hsv import hsv_to_rgb
from jssl.ops.pointers import propagate_labels
from jssl.ops.shapes import expect
from jssl.ops.vectors import unit
from jssl.pictures import Clip

TOGETHER = 16  # clips whose pointers are in memory at a time
SHOWN = 4

Masks = Integer[np.ndarray, "n h w"]


def propagated_masks(
    maps: Float[np.ndarray, "n t y x d"],
    objects: Masks,
    *,
    temperature: float,
    references: int = 3,
    count: int | None = None,
) -> Integer[np.ndarray, "n t h w"]:
    """Masks of all frames, from those of the first.

    Args:
      maps: of all frames.
      objects: numbers of the objects in the first frame, [n, h, w], 0 for the background.
      temperature: tau of the pointers.
      references: frames before each frame that are references, besides the first.
      count: number of objects with the background; None: that in the masks.

    Raises:
      ValueError: shapes that do not fit.

    >>> maps = np.eye(2)[[[0, 1], [1, 0]]].reshape(1, 2, 1, 2, 2)    # two places swap
    >>> propagated_masks(maps, np.array([[[0, 1]]]), temperature=0.1).tolist()
    [[[[0, 1]], [[1, 0]]]]
    """
    expect("propagated_masks", maps=(maps, "n t y x d"), objects=(objects, "n h w", "int"))
    count = count or int(np.max(objects, initial=0)) + 1
    n = len(maps)
    rows = np.arange(-(-n // TOGETHER) * TOGETHER).reshape(-1, TOGETHER) % n
    kept = dict(references=references, count=count)
    found = [
        np.asarray(_propagated(maps[i], objects[i], jnp.float32(temperature), **kept))
        for i in rows
    ]
    return np.concatenate(found)[:n]


@partial(jax.jit, static_argnames=("references", "count"))
def _propagated(maps, objects, temperature, references, count):
    n, t, y, x, d = maps.shape
    masks = jax.nn.one_hot(objects, count)  # [n, h, w, count]
    labels = cell_means(masks, (y, x)).reshape(n, y * x, count)
    found = propagate_labels(
        unit(maps.astype(jnp.float32)).reshape(n, t, y * x, d),
        labels,
        references=references,
        temperature=temperature,
    )
    size = n * t, *masks.shape[1:]
    large = jax.image.resize(found.reshape(n * t, y, x, count), size, "bilinear")
    return large.argmax(-1).astype(jnp.uint8).reshape(n, t, *masks.shape[1:3])


def object_iou(found: Masks, truth: Masks, known: Masks) -> float:
    """Mean IoU of objects, over all clips: those that are in the first frame and in this.

    Args:
      found: propagated masks of a frame of each clip.
      truth: true masks of that frame.
      known: masks of the first frame.

    Raises:
      ValueError: shapes differ, or there is no such object.

    >>> found, truth = np.array([[[1, 1, 0]]]), np.array([[[0, 1, 2]]])
    >>> object_iou(found, truth, truth)    # of object 1 a half, of object 2 nothing
    0.25
    """
    shape = "n h w"
    expect(
        "object_iou",
        found=(found, shape, "int"),
        truth=(truth, shape, "int"),
        known=(known, shape, "int"),
    )
    ious = []
    for object in range(1, int(np.max(known, initial=0)) + 1):
        mine, true = found == object, truth == object
        there = true.any((1, 2)) & (known == object).any((1, 2))
        both, either = (mine & true).sum((1, 2)), (mine | true).sum((1, 2))
        ious.append(both[there] / either[there])
    ious = np.concatenate([np.zeros(0), *ious])
    if not len(ious):
        raise ValueError("object_iou: no object is in the first frame and in this one")
    return float(ious.mean())


def propagation(
    clips: Callable[[str], Mapping] | None = None,
    *,
    frames: bool = False,
    steps: Sequence[int] = (5, 10),
    temperatures: Sequence[float] = (0.003, 0.01, 0.03, 0.1),
    references: int = 3,
    limit: int = 200,
    task: str = "clips",
) -> Eval:
    """IoU of masks propagated over some steps, beside copying those of the first frame.

    "iou@5" is that after five steps; "iou@5/copy" of the first frame's masks; "iou@5/grid"
    of the true masks at the resolution of the maps, which bounds what they can locate. The
    temperature is selected on val. Random features are those of an untrained network: a
    baseline of the stage.

    Args:
      clips: split -> {"video": [m, t, h, w, c], "objects": int [m, t, h, w]}, numbers of
        objects at each pixel, 0 for the background; None: the columns of the data set.
      frames: True embeds frames one by one, as "image"; else clips, as "video".
      steps: numbers of frames after the first; those beyond the clips are left out.
      temperatures: to select from.
      references: frames before each frame that are references, besides the first.
      limit: number of clips of a split, the first ones.
      task: description of the clips, for the protocol.

    Raises:
      ValueError: invalid settings; no masks; maps that are not of places; clips of one
        frame.
    """
    grid = tuple(sorted(float(x) for x in temperatures))
    if not grid or not grid[0] > 0 or not steps or min(*steps, references, limit) < 1:
        raise ValueError(
            f"propagation: temperatures, steps, references and limit must be positive, got "
            f"{grid}, {tuple(steps)}, {references}, {limit}"
        )

    def judged(features, split):
        """IoU by step and temperature, other metrics, and masks by temperature."""
        video, objects = _clips(features, clips, split, limit)
        maps = _maps(features, video, frames, split)
        first, count = objects[:, 0], int(objects.max()) + 1
        at = [x for x in steps if x < video.shape[1]] or [video.shape[1] - 1]
        how: dict[str, Any] = dict(references=references, count=count)
        track = partial(propagated_masks, maps, first, **how)
        tried = {x: track(temperature=x) for x in grid}
        sizes = maps.shape[2:4]
        fitted = {t: _on_grid(objects[:, t], sizes, count) for t in at}
        iou = {
            x: {f"iou@{t}": object_iou(y[:, t], objects[:, t], first) for t in at}
            for x, y in tried.items()
        }
        bounds = {f"iou@{t}/copy": object_iou(first, objects[:, t], first) for t in at}
        bounds |= {f"iou@{t}/grid": object_iou(fitted[t], objects[:, t], first) for t in at}
        return iou, bounds, lambda x: _drawn(video, objects, tried[x])

    def run(features: Features, final: bool) -> dict:
        iou, bounds, drawn = judged(features, "val")
        best = max(grid, key=lambda x: sum(iou[x].values()))
        if final:
            iou, bounds, drawn = judged(features, "test")
        return iou[best] | bounds | {"propagated masks": drawn(best)}

    rates = ", ".join(f"{x:g}" for x in grid)
    return Eval(
        f"masks of {task} propagated by cosines of maps, from the first frame and the last "
        f"{references}, temperature chosen on val from {rates}, {limit} clips; mean IoU of "
        f"objects",
        run,
        ("maps",),
    )


def _clips(features, clips, split, limit):
    """Clips [m, t, h, w, c] and masks [m, t, h, w] of a split."""
    if clips is None:
        found = dict(features.rows(split, limit))
        if "objects" not in found:  # a target, which unlabeled streams do not have
            found["objects"] = features.targets(split, "objects")
    else:
        found = clips(split)
    video, objects = (np.asarray(found[x])[:limit] for x in ("video", "objects"))
    if video.ndim != 5 or objects.shape != video.shape[:4] or video.shape[1] < 2:
        raise ValueError(
            f"propagation: the {split} clips must be [n, t, h, w, c], of two frames or "
            f"more, with masks [n, t, h, w], got {list(video.shape)} and "
            f"{list(objects.shape)}"
        )
    return video, objects.astype(np.int64)


def _maps(features, video, frames, split):
    """Maps [m, t, y, x, d] of clips."""
    n, t = video.shape[:2]
    if frames:
        found = features.of({"image": video.reshape(n * t, *video.shape[2:])}, "maps")
        found = np.asarray(found).reshape(n, t, *np.shape(found)[1:])
    else:
        found = np.asarray(features.of({"video": video}, "maps"))
    if found.ndim != 5 or found.shape[:2] != (n, t) or not np.isfinite(found).all():
        raise ValueError(
            f"propagation: the maps of the {split} clips must be finite [n={n}, t={t}, h, "
            f"w, d], got {list(found.shape)}"
        )
    return found


def _on_grid(objects, sizes, count):
    """True masks [n, h, w] at the resolution of maps, and enlarged again."""
    masks = jax.nn.one_hot(objects, count)
    large = jax.image.resize(cell_means(masks, sizes), masks.shape, "bilinear")
    return np.asarray(large.argmax(-1))


def _drawn(video, objects, found):
    """Clips with true masks, and with propagated ones, each object in a color."""
    shown = min(SHOWN, len(video))
    hue = np.arange(1, objects.max() + 1) / max(1, objects.max())
    full = np.stack([hue, 0 * hue + 1, 0 * hue + 1], -1).astype(np.float32)
    colors = np.concatenate([np.zeros((1, 3)), np.asarray(hsv_to_rgb(jnp.asarray(full)))])
    gray = video[:shown].mean(-1, keepdims=True)

    def painted(masks):
        inside = (masks > 0)[..., None]
        return np.where(inside, (gray + colors[masks]) / 2, gray)

    pair = [painted(x[:shown]) for x in (objects, found)]
    return Clip(np.stack(pair, 1), ("true masks", "propagated"))
