"""Boxes in a picture: how far two overlap, which to keep, and how right a list of them is.

A box is (x0, y0, x1, y1) in pixels from the picture's upper left corner: its left and
upper edge, then its right and lower one, so that its area is (x1 - x0) (y1 - y0).

Average precision goes down the detections of a class from the surest; with `hits` truths
found among the first k of them,

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
MOST = 100  # detections of a class in a picture that are scored, the surest ones


def box_iou(
    a: Float[Array | np.ndarray, "n 4"], b: Float[Array | np.ndarray, "m 4"]
) -> Float[Array, "n m"]:
    """Intersection over union of every box of `a` with every box of `b`, in [0, 1].

    A box whose edges have changed places has no area, and two without area IoU 0.

    Raises:
      ValueError: they are not floats [n, 4] and [m, 4].

    >>> a, b = jnp.array([[0.0, 0, 2, 2]]), jnp.array([[1.0, 1, 3, 3], [2, 0, 4, 2]])
    >>> print(*(f"{iou:.4f}" for iou in box_iou(a, b)[0]))  # 1 / (4 + 4 - 1); they touch
    0.1429 0.0000
    """
    expect("box_iou", a=(a, "n 4"), b=(b, "m 4"))
    shared, union = _shared_and_union(jnp.asarray(a)[:, None], jnp.asarray(b), jnp)
    return shared / jnp.where(union > 0, union, 1)


def giou(
    a: Float[Array | np.ndarray, "n 4"], b: Float[Array | np.ndarray, "m 4"]
) -> Float[Array, "n m"]:
    """Generalised IoU of every box of `a` with every box of `b`, in (-1, 1].

        GIoU = IoU - (hull - union) / hull

    where the hull is the smallest box around both: it still tells near from far when
    nothing overlaps.

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
    """Non-maximum suppression: the surest box, then the surest of those left, and so on.

    A box taken strikes out those that overlap it by more than `iou`. Of equal scores the
    earlier box is surer. The result has a fixed size, so it can be jitted and vmapped.

    Args:
      scores: -inf for a box that is no candidate.
      most: how many to take at most.
      groups: a box strikes out only those of its own group, such as its class.

    Returns:
      Which boxes were taken, in order, and whether each place was filled.

    Raises:
      ValueError: shapes or dtypes do not fit, or most is below 1.

    >>> boxes = jnp.array([[0.0, 0, 4, 4], [0, 0, 4, 3], [5, 5, 6, 6]])
    >>> # The second overlaps the surer first by 12 / 16.
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
    """Average precision of one class, in [0, 1], given which detections were right.

    Of equal scores the earlier detection comes first.

    Args:
      tp: whether a detection found a truth that none before it had found.
      n_gt: how many truths there were to find.
      method: the recalls of the mean: "coco101" 0, .01, ..., 1; "voc07" 0, .1, ..., 1;
        "area" all of them, the area under the curve (PASCAL VOC from 2010).

    Raises:
      ValueError: there are no truths, fewer than were found, or another method.

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
    """COCO's average precision of the detections in n pictures, in float64.

    In a picture the detections of a class choose in turn, from the surest: the truth not
    yet chosen that overlaps most, if by the threshold. One that finds none is false. Then
    those of all pictures make one list, whose average precision is averaged over the
    thresholds and the classes that have truths. There are no crowds nor ignored truths.

    Args:
      detections: "boxes" [n, k, 4], "scores" [n, k], "label" int [n, k] and "valid" bool
        [n, k]; what is not valid is padding. The 100 surest of a class and picture count.
      truths: "boxes" [n, m, 4], "label" and "valid" [n, m].
      iou_thresholds: those that "ap" is averaged over.

    Returns:
      {"ap", "ap50", "ap75"}: over the thresholds, at .5 and at .75.

    Raises:
      ValueError: an array is missing, of another shape or not finite; no truth at all, or
        one without area.

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
    """The "boxes", in float64, "label" and "valid" of pictures that have `others` too.

    Raises:
      ValueError: one is missing, of another shape or not finite; no box is valid; one
        has no area or a negative label. The message begins with `told`.
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
    """Which of the boxes [d, 4], surest first, find a truth at each threshold: [t, d]."""
    tp = np.zeros((len(thresholds), len(boxes)), bool)
    if not len(truths):
        return tp
    shared, union = _shared_and_union(boxes[:, None], truths, np)
    least = np.minimum(thresholds, 1 - 1e-10)[:, None]
    free = np.ones((len(thresholds), len(truths)), bool)
    for i, iou in enumerate(shared / union):
        fits = np.where(free & (iou >= least), iou, -1.0)
        # Of equal overlaps pycocotools takes the last.
        best = len(truths) - 1 - fits[:, ::-1].argmax(axis=1)
        tp[:, i] = fits.max(axis=1) >= 0
        free[tp[:, i], best[tp[:, i]]] = False
    return tp


def _columns(told, table, *floats, others=()):
    """Those columns in float64, "label" and "valid", if they fit one another."""
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
