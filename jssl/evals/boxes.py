"""Bounding boxes: overlap, non-maximum suppression, average precision.

A box is (x0, y0, x1, y1) in pixels from the upper left corner of the image: left, upper,
right and lower edge, with area (x1 - x0) (y1 - y0).

For average precision, the detections of a class are sorted by decreasing score; with
`hits` ground-truth boxes found among the first k detections,

    precision_k = hits / k,    recall_k = hits / truths,
    AP = the mean over recalls r of max {precision_k : recall_k >= r}.

COCO takes that mean over 101 recalls, ten IoU thresholds and all classes. T.-Y. Lin et
al., "Microsoft COCO: Common Objects in Context", ECCV 2014
(https://arxiv.org/abs/1405.0312); https://cocodataset.org/#detection-eval.
"""

from collections.abc import Mapping, Sequence

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Int, Integer, ScalarLike

from jssl.ops.shapes import expect

COCO_THRESHOLDS = tuple(np.linspace(0.5, 0.95, 10).tolist())  # .50, .55, ..., .95
MOST = 100  # detections per class and image that count, those with the highest scores


def box_iou(
    a: Float[Array | np.ndarray, "n 4"], b: Float[Array | np.ndarray, "m 4"]
) -> Float[Array, "n m"]:
    """Intersection over union of every box of `a` with every box of `b`, in [0, 1].

    A box with swapped edges has area 0; two boxes of area 0 have IoU 0.

    Raises:
      ValueError: they are not floats [n, 4] and [m, 4].

    >>> a, b = jnp.array([[0.0, 0, 2, 2]]), jnp.array([[1.0, 1, 3, 3], [2, 0, 4, 2]])
    >>> print(*(f"{iou:.4f}" for iou in box_iou(a, b)[0]))  # 1 / (4 + 4 - 1); touching
    0.1429 0.0000
    """
    expect("box_iou", a=(a, "n 4"), b=(b, "m 4"))
    shared, union = _shared_and_union(jnp.asarray(a)[:, None], jnp.asarray(b), jnp)
    return shared / jnp.where(union > 0, union, 1)


def giou(
    a: Float[Array | np.ndarray, "n 4"], b: Float[Array | np.ndarray, "m 4"]
) -> Float[Array, "n m"]:
    """Generalized IoU of every box of `a` with every box of `b`, in (-1, 1].

        GIoU = IoU - (hull - union) / hull

    where the hull is the smallest box around both. Unlike IoU, it has a gradient for boxes
    that do not overlap.

    Raises:
      ValueError: they are not floats [n, 4] and [m, 4].

    Reference: H. Rezatofighi et al., "Generalized Intersection over Union", CVPR 2019
    (https://arxiv.org/abs/1902.09630).

    >>> a, b = jnp.array([[0.0, 0, 1, 1]]), jnp.array([[2.0, 0, 3, 1]])
    >>> print(giou(a, b).round(4))  # 0 - (3 - 2) / 3
    [[-0.3333]]
    """
    expect("giou", a=(a, "n 4"), b=(b, "m 4"))
    a, b = jnp.asarray(a)[:, None], jnp.asarray(b)
    shared, union = _shared_and_union(a, b, jnp)
    low = jnp.minimum(a[..., :2], b[..., :2])
    hull = _area(low, jnp.maximum(a[..., 2:], b[..., 2:]), jnp)
    iou = shared / jnp.where(union > 0, union, 1)
    return iou - (hull - union) / jnp.where(hull > 0, hull, 1)


def nms(
    boxes: Float[Array | np.ndarray, "n 4"],
    scores: Float[Array | np.ndarray, " n"],
    iou: ScalarLike,
    most: int,
    groups: Integer[Array | np.ndarray, " n"] | None = None,
) -> tuple[Int[Array, " most"], Bool[Array, " most"]]:
    """Greedy non-maximum suppression.

    The box with the highest score is selected, and boxes whose IoU with it exceeds `iou`
    are suppressed; repeated for the remaining boxes. Ties go to the earlier box. The result
    has a fixed size, so the function can be jitted and vmapped.

    Args:
      boxes: (x0, y0, x1, y1) each.
      scores: of the boxes; -inf excludes a box.
      iou: threshold of suppression.
      most: largest number of selected boxes.
      groups: group of each box, such as its class; boxes suppress only their own group.

    Returns:
      Indices of the selected boxes, in order, and True where a place is filled.

    Raises:
      ValueError: shapes or dtypes do not fit, or most is below 1.

    >>> boxes = jnp.array([[0.0, 0, 4, 4], [0, 0, 4, 3], [5, 5, 6, 6]])
    >>> # The second overlaps the first by 12 / 16.
    >>> taken, filled = nms(boxes, jnp.array([0.9, 0.8, 0.3]), 0.6, 3)
    >>> print(taken[filled], filled)
    [0 2] [ True  True False]
    """
    expect(
        "nms",
        boxes=(boxes, "n 4"),
        scores=(scores, "n"),
        groups=(groups, "n", "int"),
    )
    if most < 1 or not len(boxes):
        raise ValueError(f"nms needs a box and most >= 1, got {len(boxes)} and {most}")
    boxes = jnp.asarray(boxes)
    groups = None if groups is None else jnp.asarray(groups)

    def take(left, _):
        best = jnp.argmax(left)
        struck = box_iou(boxes[best][None], boxes)[0] > iou
        if groups is not None:
            struck &= groups == groups[best]
        after = jnp.where(struck, -jnp.inf, left).at[best].set(-jnp.inf)
        return after, (best.astype(jnp.int32), left[best] > -jnp.inf)

    return lax.scan(take, jnp.asarray(scores), length=most)[1]


def average_precision_from_matches(
    tp: Bool[np.ndarray, " k"],
    scores: Float[np.ndarray, " k"],
    n_gt: int,
    method: str = "coco101",
) -> float:
    """Average precision of one class, in [0, 1], from matched detections.

    Ties in score go to the earlier detection.

    Args:
      tp: True where a detection matches a ground-truth box not matched before.
      scores: of the detections.
      n_gt: number of ground-truth boxes.
      method: recalls over which precision is averaged: "coco101" 0, .01, ..., 1; "voc07"
        0, .1, ..., 1; "area" all of them, the area under the curve (PASCAL VOC from 2010).

    Raises:
      ValueError: no ground truth, fewer boxes than matches, or an unknown method.

    Reference: M. Everingham et al., "The PASCAL Visual Object Classes (VOC) Challenge",
    IJCV 2010; Lin et al., ECCV 2014.

    >>> tp, scores = np.array([True, False, True, True]), np.array([0.9, 0.8, 0.7, 0.6])
    >>> # Precision 1 up to recall 1/3, .75 beyond: 1/3 + 2/3 * .75; (4 + 7 * .75) / 11.
    >>> for method in ("area", "voc07"):
    ...     print(f"{average_precision_from_matches(tp, scores, 3, method):.4f}")
    0.8333
    0.8409
    """
    points = {"coco101": 101, "voc07": 11, "area": 0}
    if method not in points:
        raise ValueError(f"method must be one of {', '.join(points)}, got {method!r}")
    if n_gt < max(1, tp.sum()) or not np.isfinite(scores).all():
        raise ValueError(
            "average_precision_from_matches needs finite scores and n_gt >= 1, no less "
            f"than were found, got n_gt {n_gt} and {tp.sum()} found"
        )
    hits = np.cumsum(tp[np.argsort(-scores, kind="stable")])
    recall, precision = hits / n_gt, hits / np.arange(1, len(hits) + 1)
    best = np.maximum.accumulate(precision[::-1])[::-1]  # at this recall or beyond
    if method == "area":
        return float(np.sum(np.diff(recall, prepend=0.0) * best))
    first = np.searchsorted(recall, np.linspace(0, 1, points[method]))
    return float(np.append(best, 0.0)[first].mean())


def coco_ap(
    detections: Mapping[str, Array | np.ndarray],
    truths: Mapping[str, Array | np.ndarray],
    iou_thresholds: Sequence[float] = COCO_THRESHOLDS,
) -> dict[str, float]:
    """COCO's average precision of the detections in n images, in float64.

    In each image the detections of a class are matched by decreasing score, each to the
    unmatched ground-truth box of highest IoU, if that reaches the threshold; without a
    match a detection is a false positive. The detections of all images form one list, whose
    average precision is averaged over thresholds and over classes with ground truth. Crowd
    and ignore flags are not supported.

    Args:
      detections: "boxes" [n, k, 4], "scores" [n, k], "label" int [n, k] and "valid" bool
        [n, k], False on padding. The 100 highest scores per class and image count.
      truths: "boxes" [n, m, 4], "label" and "valid" [n, m].
      iou_thresholds: thresholds over which "ap" is averaged.

    Returns:
      {"ap", "ap50", "ap75"}: over the thresholds, at .5 and at .75.

    Raises:
      ValueError: an array is missing, of another shape or not finite; no ground truth, or a
        box without area.

    Reference: Lin et al., ECCV 2014, as in pycocotools' COCOeval.

    >>> truths = {"boxes": np.array([[[0.0, 0, 2, 2]]]), "label": np.array([[3]])}
    >>> truths["valid"] = np.array([[True]])
    >>> found = truths | {"boxes": np.array([[[0, 0, 2, 1.3]]])}  # IoU .65: 4 of 10
    >>> print(coco_ap(found | {"scores": np.array([[0.7]])}, truths))
    {'ap': 0.4, 'ap50': 1.0, 'ap75': 0.0}
    """
    found = _columns("coco_ap, detections", detections, "boxes", "scores")
    truth = checked_truths("coco_ap, truths", truths)
    if len(found["boxes"]) != len(truth["boxes"]) or not len(iou_thresholds):
        raise ValueError(
            "coco_ap needs thresholds, and detections and truths a picture in one order, "
            f"got {len(found['boxes'])} and {len(truth['boxes'])} pictures"
        )
    classes = np.unique(truth["label"][truth["valid"]])
    thresholds = np.array([*iou_thresholds, 0.5, 0.75])
    ap = np.mean([_class_ap(found, truth, c, thresholds) for c in classes], axis=0)
    return {"ap": float(ap[:-2].mean()), "ap50": float(ap[-2]), "ap75": float(ap[-1])}


def checked_truths(told: str, truths: Mapping, *others: str) -> dict[str, np.ndarray]:
    """Ground truth "boxes" in float64, "label" and "valid", validated.

    Args:
      told: beginning of error messages.
      truths: the columns.
      *others: further columns that must exist.

    Raises:
      ValueError: a column is missing, of another shape or not finite; no box is valid; a
        box has no area or a negative label.
    """
    columns = _columns(told, truths, "boxes", others=others)
    boxes, label = (columns[column][columns["valid"]] for column in ("boxes", "label"))
    if not len(boxes) or label.min() < 0 or not (boxes[:, 2:] > boxes[:, :2]).all():
        raise ValueError(
            f"{told}: there must be a valid box, and each have x0 < x1, y0 < y1 and a "
            "label >= 0: are these boxes (x, y, width, height)?"
        )
    return columns


def _class_ap(found, truth, label, thresholds) -> list[float]:
    """Average precision of one class at each threshold."""
    scores, tp, n_gt = [], [], 0
    wanted = truth["valid"] & (truth["label"] == label)
    given = found["valid"] & (found["label"] == label)
    for i in range(len(wanted)):
        score, boxes = found["scores"][i, given[i]], found["boxes"][i, given[i]]
        order = np.argsort(-score, kind="stable")[:MOST]
        scores.append(score[order])
        tp.append(_matches(boxes[order], truth["boxes"][i, wanted[i]], thresholds))
        n_gt += wanted[i].sum()
    scores, tp = np.concatenate(scores), np.concatenate(tp, axis=1)
    return [average_precision_from_matches(row, scores, int(n_gt)) for row in tp]


def _matches(boxes, truths, thresholds):
    """True positives [t, d] at each threshold among boxes [d, 4] by decreasing score."""
    tp = np.zeros((len(thresholds), len(boxes)), bool)
    if not len(truths):
        return tp
    shared, union = _shared_and_union(boxes[:, None], truths, np)
    least = np.minimum(thresholds, 1 - 1e-10)[:, None]
    free = np.ones((len(thresholds), len(truths)), bool)
    for i, iou in enumerate(shared / union):
        fits = np.where(free & (iou >= least), iou, -1.0)
        # In pycocotools the last of equal overlaps wins.
        best = len(truths) - 1 - fits[:, ::-1].argmax(axis=1)
        tp[:, i] = fits.max(axis=1) >= 0
        free[tp[:, i], best[tp[:, i]]] = False
    return tp


def _columns(told, table, *floats, others=()):
    """The columns `floats` in float64, "label" and "valid", with consistent shapes."""
    wanted = (*floats, "label", "valid")
    missing = [column for column in (*wanted, *others) if column not in (table or ())]
    if missing:
        raise ValueError(f"{told}: there is no {', '.join(missing)}")
    columns = {column: np.asarray(table[column]) for column in wanted}
    shapes: dict[str, tuple[str, ...]] = {"boxes": ("n k 4",), "scores": ("n k",)}
    shapes |= {"label": ("n k", "int"), "valid": ("n k", "bool")}
    expect(told, **{column: (columns[column], *shapes[column]) for column in wanted})
    for column in floats:
        columns[column] = columns[column].astype(np.float64)
        if not np.isfinite(columns[column][columns["valid"]]).all():
            raise ValueError(f"{told}: {column} are not finite")
    return columns


def _shared_and_union(a, b, xp):
    """Areas of the intersection and of the union of boxes [..., 4] that broadcast."""
    low = xp.maximum(a[..., :2], b[..., :2])
    shared = _area(low, xp.minimum(a[..., 2:], b[..., 2:]), xp)
    areas = _area(a[..., :2], a[..., 2:], xp) + _area(b[..., :2], b[..., 2:], xp)
    return shared, areas - shared


def _area(low, high, xp):
    sides = xp.maximum(high - low, 0)
    return sides[..., 0] * sides[..., 1]
