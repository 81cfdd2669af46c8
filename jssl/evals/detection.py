"""Object detection with a small FCOS head on frozen feature maps.

Z. Tian, C. Shen, H. Chen, T. He, "FCOS: Fully Convolutional One-Stage Object Detection",
ICCV 2019 (https://arxiv.org/abs/1904.01355). For every cell inside an object the head
predicts the class, the distances to the left, top, right and bottom edge of the box (l, t,
r, b), and the centerness of the cell. Over the N cells inside objects it minimizes

    1/N sum_all focal(class)  +  sum c (1 - GIoU) / sum c  +  1/N sum BCE(centerness, c),
    c = sqrt(min(l, r) / max(l, r) * min(t, b) / max(t, b)).

Departures: one map, not a pyramid of five; two convolutions without norm, not four with.
Objects without a cell center inside are not learned. Section numbers are the paper's.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax
from jaxtyping import Array, Bool, Float, Integer, PRNGKeyArray, ScalarLike

from jssl.evals.boxes import checked_truths, coco_ap, giou, nms
from jssl.evals.protocol import Eval, Features
from jssl.ops.shapes import expect

BATCH, WIDTH, CANDIDATES, RADIUS = 32, 64, 1000, 1.5  # the radius in strides
ADAM = optax.chain(optax.clip_by_global_norm(1.0), optax.scale_by_adam())


class Cells(NamedTuple):
    """Predictions or targets of p cells."""

    label: Array  # predicted: logits [..., p, classes]; target: int [..., p], -1: none
    distances: Array  # [..., p, 4], in pixels
    centerness: Array  # [..., p]; predicted: its logit


def locations(h: int, w: int, stride: ScalarLike) -> Float[Array, "p 2"]:
    """Centers ((j + 1/2) stride, (i + 1/2) stride) of cells, row by row, in pixels.

    Section 3.1 has floor(stride / 2) + j stride, for odd strides half a pixel off.

    >>> print(locations(2, 2, 8).tolist())
    [[4.0, 4.0], [12.0, 4.0], [4.0, 12.0], [12.0, 12.0]]
    """
    y, x = jnp.mgrid[:h, :w]
    return (jnp.stack([x.ravel(), y.ravel()], axis=1) + 0.5) * stride


def centerness(distances: Float[Array, "... 4"]) -> Float[Array, "..."]:
    """Centerness of a point in a box (equation 3): 1 at the center, 0 on an edge.

    >>> print(f"{centerness(jnp.array([1.0, 2, 3, 2])):.4f}")  # sqrt(1/3 * 2/2)
    0.5774
    """
    pairs = jnp.sort(distances.reshape(*distances.shape[:-1], 2, 2), axis=-2)
    ratio = pairs[..., 0, :] / jnp.maximum(pairs[..., 1, :], 1e-30)  # l, r and t, b
    return jnp.sqrt(ratio[..., 0] * ratio[..., 1])


def fcos_targets(
    boxes: Float[Array, "m 4"],
    label: Integer[Array, " m"],
    valid: Bool[Array, " m"],
    points: Float[Array, "p 2"],
    radius: ScalarLike = np.inf,
) -> Cells:
    """Targets of the points of an image: the smallest box around each (section 3.1).

    Args:
      boxes, label, valid: the objects; valid is False on padding.
      points: positions (x, y) in pixels.
      radius: points belong to a box only if nearer than this, in pixels, to its center, in
        x and in y (1.5 strides in https://arxiv.org/abs/2006.09214).

    Raises:
      ValueError: shapes or dtypes do not fit.

    >>> boxes, label = jnp.array([[0.0, 0, 4, 4]]), jnp.array([7])
    >>> at = jnp.array([[1.0, 2.0], [5.0, 2.0]])  # in the box, and outside
    >>> found = fcos_targets(boxes, label, jnp.array([True]), at)
    >>> print(found.label, found.distances[0], found.centerness[1])
    [ 7 -1] [1. 2. 3. 2.] 0.0
    """
    truth = {"label": (label, "m", "int"), "valid": (valid, "m", "bool")}
    expect("fcos_targets", boxes=(boxes, "m 4"), points=(points, "p 2"), **truth)
    low, high, at = boxes[:, :2], boxes[:, 2:], points[:, None]
    sides = jnp.concatenate([at - low, high - at], axis=-1)  # [p, m, 4]
    near = jnp.abs(at - (low + high) / 2).max(axis=-1) < radius
    inside = valid & near & (sides.min(axis=-1) > 0)
    area = jnp.where(inside, jnp.prod(high - low, axis=-1), jnp.inf)
    owner, owned = area.argmin(axis=1), inside.any(axis=1)
    mine = jnp.take_along_axis(sides, owner[:, None, None], axis=1)[:, 0]
    distances = jnp.where(owned[:, None], mine, 0.0)
    return Cells(jnp.where(owned, label[owner], -1), distances, centerness(distances))


def fcos_loss(said: Cells, true: Cells) -> Float[Array, ""]:
    """Focal loss of the classes + 1 - GIoU of the boxes + BCE of the centerness.

    The focal loss (gamma 2, alpha .25, https://arxiv.org/abs/1708.02002) has one sigmoid
    per class. Equation 2 has -ln IoU; the authors' later version 1 - GIoU.

    Raises:
      ValueError: shapes or dtypes do not fit.

    >>> one = jnp.ones((1, 4))  # a box of 4 pixels where one of 8 is; the rest is sure
    >>> said = Cells(jnp.array([[50.0, -50.0]]), one, jnp.array([50.0]))
    >>> true = Cells(jnp.array([0]), one * jnp.array([1, 1, 1, 3]), jnp.ones(1))
    >>> print(f"{fcos_loss(said, true):.4f}")
    0.5000
    """
    _checked("fcos_loss", said, true_label=(true.label, "... p", "int"))
    owned = true.label >= 0
    n = jnp.maximum(owned.sum(), 1)
    classes = jax.nn.one_hot(true.label, said.label.shape[-1])  # zeros for background
    focal = optax.sigmoid_focal_loss(said.label, classes, alpha=0.25, gamma=2.0)
    around = jnp.array([-1.0, -1, 1, 1])  # distances become a box around their point
    found = (said.distances * around).reshape(-1, 1, 4)
    box = jnp.where(owned[..., None], true.distances, 1.0) * around
    overlap = jax.vmap(giou)(found, box.reshape(-1, 1, 4)).reshape(owned.shape)
    weight = jnp.where(owned, true.centerness, 0.0)
    total = jnp.where(weight.sum() > 0, weight.sum(), 1.0)
    middle = optax.sigmoid_binary_cross_entropy(said.centerness, true.centerness)
    middle = jnp.where(owned, middle, 0.0)
    return (focal.sum() + middle.sum()) / n + (weight * (1 - overlap)).sum() / total


def fcos_decode(
    said: Cells, points: Float[Array, "p 2"], *, threshold=0.05, iou=0.6, most: int = 100
) -> dict[str, Array]:
    """Detections in an image: "boxes" [most, 4], "scores", "label" and "valid" [most].

    A score is sqrt(p c), with the probability p of the class and the centerness c. The 1000
    highest scores above the threshold enter non-maximum suppression, class by class
    (section 4). Padding has label -1 and score 0.

    Raises:
      ValueError: shapes or dtypes do not fit.

    >>> said = Cells(jnp.zeros((1, 1)), jnp.array([[1.0, 2, 3, 4]]), jnp.array([50.0]))
    >>> best = fcos_decode(said, jnp.array([[10.0, 10.0]]), most=1)
    >>> print(best["boxes"], best["scores"].round(4), best["label"])  # sqrt(1/2 * 1)
    [[ 9. 8. 13. 14.]] [0.7071] [0]
    """
    sizes = _checked("fcos_decode", said, points=(points, "p 2"))
    central = jax.nn.sigmoid(said.centerness)[:, None]
    scores = jnp.sqrt(jax.nn.sigmoid(said.label) * central).ravel()
    low, high = points - said.distances[:, :2], points + said.distances[:, 2:]
    scores, which = lax.top_k(scores, min(CANDIDATES, len(scores)))
    boxes = jnp.concatenate([low, high], axis=1)[which // sizes["c"]]
    label = which % sizes["c"]
    scores = jnp.where(scores > threshold, scores, -jnp.inf)
    taken, valid = nms(boxes, scores, iou, most, groups=label)
    scores, label = jnp.where(valid, scores[taken], 0), jnp.where(valid, label[taken], -1)
    return {"boxes": boxes[taken], "scores": scores, "label": label, "valid": valid}


@partial(jax.jit, static_argnames=("channels", "classes"))
def head_init(key: PRNGKeyArray, channels: int, classes: int) -> dict:
    """Two 3 x 3 convolutions and a linear layer with initial class probabilities .01."""
    he, keys = jax.nn.initializers.he_normal(), jax.random.split(key, 3)
    last = 0.01 * jax.random.normal(keys[2], (WIDTH, classes + 5))
    return {
        "one": {"w": he(keys[0], (3, 3, channels, WIDTH)), "b": jnp.zeros(WIDTH)},
        "two": {"w": he(keys[1], (3, 3, WIDTH, WIDTH)), "b": jnp.zeros(WIDTH)},
        "out": {"w": last, "b": jnp.zeros(classes + 5).at[:classes].set(-np.log(99.0))},
    }


def head_apply(params: dict, maps: Float[Array, "n h w c"], stride: ScalarLike) -> Cells:
    """Predictions of the head for every cell; distances are stride * softplus(.) > 0."""
    x, axes = maps, ("NHWC", "HWIO", "NHWC")
    for layer in (params["one"], params["two"]):
        x = lax.conv_general_dilated(x, layer["w"], (1, 1), "SAME", None, None, axes)
        x = jax.nn.relu(x + layer["b"])
    x = x.reshape(len(x), -1, WIDTH) @ params["out"]["w"] + params["out"]["b"]
    distances = stride * jax.nn.softplus(x[..., -5:-1])
    return Cells(x[..., :-5], distances, x[..., -1])  # type: ignore[arg-type]


def detection(
    scenes: Callable[[str], Mapping],
    name: str = "maps",
    *,
    steps: int = 400,
    lr: float = 6e-3,
    seed: int = 0,
    task: str = "scenes",
) -> Eval:
    """COCO average precision of a detector trained on frozen maps of scenes.

    Args:
      scenes: split -> {"image": float [n, size, size, k] in [0, 1], "boxes": float [n, m,
        4], "label": int [n, m], "valid": bool [n, m], False for padding}.
      name: output of the method with the maps [n, h, h, c].
      steps: of training.
      lr: peak learning rate. On val, for raw pixels and untrained maps of digits on
        canvases, half of 6e-3 was worse and twice it equal.
      seed: of the head and the order of scenes.
      task: description of the scenes, for the protocol.

    Raises:
      ValueError: steps < 1 or lr <= 0; scenes or maps are missing, inconsistent or not
        finite, an image is not in [0, 1], or a box has no area or leaves its image.
    """
    if steps < 1 or not lr > 0:
        raise ValueError(f"detection needs steps >= 1 and lr > 0, got {steps}, {lr}")

    def run(features: Features, final: bool) -> dict:
        splits = ("train", "val", "test") if final else ("train", "val")
        (*fit, judge), stride = _seen(features, scenes, splits, name)
        fit = {field: np.concatenate([part[field] for part in fit]) for field in judge}
        mean, std = (f(fit["maps"], (0, 1, 2), np.float64) for f in (np.mean, np.std))
        std = np.where(std <= 1e-7 * np.abs(mean), 1, std)  # less is rounding error
        for part in (fit, judge):
            part["maps"] = (part["maps"] - np.float32(mean)) / np.float32(std)
        params = _trained(fit, stride, steps, lr, seed)
        return coco_ap(_detected(params, judge["maps"], stride), judge)

    return Eval(
        f"detection in {task}: FCOS on frozen {name}, standardised; 2 convolutions 3x3 of "
        f"{WIDTH}, centre radius {RADIUS:g} strides, GIoU, Adam lr={lr:g}, 10 % warm-up, "
        f"cosine, clipped to 1, {steps} steps of {BATCH}, seed={seed}; COCO AP",
        run,
    )


def _trained(fit, stride, steps, lr, seed):
    """Weights of the head after training."""
    n, classes = len(fit["maps"]), int(fit["label"][fit["valid"]].max()) + 1
    params = head_init(jax.random.key(seed), fit["maps"].shape[-1], classes)
    opt, rng = ADAM.init(params), np.random.default_rng(seed)
    done = np.arange(steps) / steps
    rates = lr * np.minimum(1, 10 * done + 1 / steps) * np.cos(np.pi / 2 * done) ** 2
    order = np.concatenate([rng.permutation(n) for _ in range(1 + steps * BATCH // n)])
    batches = order[: steps * BATCH].reshape(steps, BATCH)
    for rows, rate in zip(batches, rates.astype(np.float32), strict=True):
        batch = {field: fit[field][rows] for field in fit}
        params, opt = _step(params, opt, rate, batch, stride)
    return params


@partial(jax.jit, static_argnames="stride")
def _step(params, opt, rate, batch, stride):
    maps, *truth = (batch[field] for field in ("maps", "boxes", "label", "valid"))
    h, w = maps.shape[1:3]
    points = locations(h, w, stride)
    targets = partial(fcos_targets, points=points, radius=RADIUS * stride)
    true = jax.vmap(targets)(*truth)
    slope = jax.grad(lambda p: fcos_loss(head_apply(p, maps, stride), true))(params)
    updates, opt = ADAM.update(slope, opt)
    return jax.tree.map(lambda p, u: p - rate * u, params, updates), opt


def _detected(params, maps, stride):
    """Detections in every image; the last batch is padded with the first rows."""
    rows = np.arange(-(-len(maps) // BATCH) * BATCH).reshape(-1, BATCH) % len(maps)
    found = [jax.device_get(_objects(params, maps[i], stride)) for i in rows]
    return jax.tree.map(lambda *x: np.concatenate(x)[: len(maps)], *found)


@partial(jax.jit, static_argnames="stride")
def _objects(params, maps, stride):
    h, w = maps.shape[1:3]
    points = locations(h, w, stride)
    return jax.vmap(partial(fcos_decode, points=points))(head_apply(params, maps, stride))


def _seen(features, scenes, splits, name):
    """Ground truth and maps of each split's scenes, and the stride of the maps."""
    seen, shapes = [], {}
    for split in splits:
        given = scenes(split)
        truth = checked_truths(f"detection, {split} scenes", given, "image")
        image = np.asarray(given["image"])
        truth["maps"] = np.asarray(features.of({"image": image}, name))
        shapes[f"{split} image"] = image, f"{split} s s k"
        shapes[f"{split} boxes"] = truth["boxes"], f"{split} m 4"
        shapes[f"{split} maps"] = truth["maps"], f"{split} h h c"
        seen.append(truth)
    sizes = expect("detection", **shapes)  # a letter has one size in all splits
    for split, truth in zip(splits, seen, strict=True):
        pixels, boxes = shapes[f"{split} image"][0], truth["boxes"][truth["valid"]]
        fits = pixels.min() >= 0 and pixels.max() <= 1 and boxes.min() >= 0
        fits = fits and boxes.max() <= sizes["s"] and np.isfinite(truth["maps"]).all()
        if not fits:
            raise ValueError(
                f"detection: {split} images must be in [0, 1], boxes in 0 ... {sizes['s']} "
                f"pixels, {name} finite; got up to {pixels.max():g}, {boxes.min():g} ... "
                f"{boxes.max():g}, up to {np.abs(truth['maps']).max():g}"
            )
    return seen, sizes["s"] / sizes["h"]


def _checked(function, said, **others):
    wanted = {"label": "... p c", "distances": "... p 4", "centerness": "... p"}
    said = {field: (getattr(said, field), wanted[field]) for field in wanted}
    return expect(function, **said, **others)
