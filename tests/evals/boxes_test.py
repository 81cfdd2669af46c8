from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jssl.evals.boxes import (
    COCO_THRESHOLDS,
    average_precision_from_matches,
    box_iou,
    coco_ap,
    giou,
    nms,
)

COCO = np.load(Path(__file__).parents[1] / "golden" / "coco.npz")
TP, SCORES = np.array([True, False, True, True]), np.array([0.9, 0.8, 0.7, 0.6])


def _draw(n, seed=0, size=20):
    """Boxes with whole coordinates, so that their pixels can be counted."""
    rng = np.random.default_rng(seed)
    corner = rng.integers(size - 8, size=(n, 2))
    boxes = np.concatenate([corner, corner + rng.integers(1, 9, size=(n, 2))], axis=1)
    return boxes.astype(np.float32)


def _pixels(box, size=20):
    x0, y0, x1, y1 = box.astype(int)
    mask = np.zeros((size, size), bool)
    mask[y0:y1, x0:x1] = True
    return mask


def _case(name):
    """COCO's detections, truths and numbers of one of the golden cases."""

    def part(kind):
        start = f"{name}/{kind}/"
        return {key[len(start) :]: COCO[key] for key in COCO if key.startswith(start)}

    return part("detections"), part("truths"), COCO[f"{name}/stats"]


def _one(boxes, scores=None, label=0):
    """Boxes of one class in one picture."""
    n = len(boxes)
    table = {"boxes": np.array([boxes], np.float64).reshape(1, n, 4)}
    table |= {"label": np.full((1, n), label), "valid": np.ones((1, n), bool)}
    return table if scores is None else table | {"scores": np.array([scores], np.float64)}


def test_overlaps_have_their_golden_values():
    a, b = jnp.array([[0.0, 0, 2, 2]]), jnp.array([[1.0, 1, 3, 3]])
    np.testing.assert_allclose(box_iou(a, b), [[1 / 7]], rtol=1e-6)
    np.testing.assert_allclose(giou(a, b), [[-0.079365]], atol=1e-6)
    a, b = jnp.array([[0.0, 0, 1, 1]]), jnp.array([[2.0, 0, 3, 1]])
    np.testing.assert_allclose(giou(a, b), [[-1 / 3]], rtol=1e-6)


def test_overlaps_are_those_of_counted_pixels():
    a, b = _draw(7), _draw(9, seed=1)
    found = {f: np.asarray(jax.jit(f)(a, b)) for f in (box_iou, giou)}
    iou, generalized = np.zeros((7, 9)), np.zeros((7, 9))
    for i, j in np.ndindex(7, 9):
        p, q = _pixels(a[i]), _pixels(b[j])
        hull = np.concatenate([np.minimum(a[i], b[j])[:2], np.maximum(a[i], b[j])[2:]])
        union, hull = (p | q).sum(), _pixels(hull).sum()
        iou[i, j] = (p & q).sum() / union
        generalized[i, j] = iou[i, j] - (hull - union) / hull
    np.testing.assert_allclose(found[box_iou], iou, atol=1e-6)
    np.testing.assert_allclose(found[giou], generalized, atol=1e-6)
    assert (found[giou] > -1).all() and (found[giou] <= found[box_iou] + 1e-6).all()
    np.testing.assert_allclose(jax.jit(giou)(3 * a + 5, 3 * b + 5), found[giou], atol=1e-5)
    np.testing.assert_allclose(np.diag(jax.jit(giou)(a, a)), 1, rtol=1e-6)


def test_boxes_without_area_overlap_nothing_and_have_finite_gradients():
    points = jnp.array([[1.0, 1, 1, 1], [3, 3, 2, 2]])
    assert not box_iou(points, points).any()
    for overlap in (box_iou, giou):
        total = lambda a, overlap=overlap: overlap(a, points).sum()
        assert np.isfinite(jax.jit(jax.grad(total))(points)).all()


def _greedy(boxes, scores, iou, most, groups):
    left, taken = list(np.argsort(-scores, kind="stable")), []
    pixels = [_pixels(box) for box in boxes]

    def struck(i, j):
        both = (pixels[i] & pixels[j]).sum() / (pixels[i] | pixels[j]).sum()
        return groups[i] == groups[j] and both > iou

    while left and len(taken) < most:
        best = left.pop(0)
        taken.append(best)
        left = [i for i in left if not struck(i, best)]
    return taken


@pytest.mark.parametrize("most", [5, 60])
def test_suppression_is_that_of_a_loop_over_a_sorted_list(most):
    boxes, rng = _draw(60, size=14), np.random.default_rng(2)
    scores = rng.permutation(60).astype(np.float32)
    groups = rng.integers(3, size=60).astype(np.int32)
    run = jax.jit(nms, static_argnames="most")
    for classes in (groups, np.zeros(60, np.int32)):
        taken, filled = run(boxes, scores, 0.3, most, classes)
        wanted = _greedy(boxes, scores, 0.3, most, classes)
        assert taken.shape == filled.shape == (most,)
        assert taken[filled].tolist() == wanted
    alone, _ = run(boxes, scores, 0.3, most)  # no groups: all are one
    np.testing.assert_array_equal(alone, taken)


def test_boxes_of_score_minus_infinity_are_no_candidates():
    boxes = np.tile(_draw(4), (2, 1, 1))
    scores = np.array([[1, 2, 3, -np.inf], [-np.inf] * 4], np.float32)
    taken, filled = jax.vmap(partial(nms, iou=1.0, most=6))(boxes, scores)
    assert taken[0][filled[0]].tolist() == [2, 1, 0]
    assert not filled[1].any()


@pytest.mark.parametrize(
    ("method", "value"), [("area", 0.833333), ("coco101", 0.834158), ("voc07", 0.840909)]
)
def test_average_precision_has_its_golden_values(method, value):
    found = average_precision_from_matches(TP, SCORES, 3, method)
    np.testing.assert_allclose(found, value, atol=5e-7)
    shuffled = [2, 0, 3, 1]
    again = average_precision_from_matches(TP[shuffled], SCORES[shuffled], 3, method)
    assert again == found


@pytest.mark.parametrize(("method", "points"), [("coco101", 101), ("voc07", 11)])
def test_average_precision_is_the_best_precision_at_each_recall_or_beyond(method, points):
    rng = np.random.default_rng(0)
    tp, scores = rng.random(40) < 0.5, rng.random(40)
    ranked = tp[np.argsort(-scores)]
    curve = [(ranked[:k].sum(), ranked[:k].sum() / k) for k in range(1, 41)]
    # Hits against 30 i / (points - 1) truths, in whole numbers.
    best = [
        max((p for hits, p in curve if hits * (points - 1) >= 30 * i), default=0)
        for i in range(points)
    ]
    found = average_precision_from_matches(tp, scores, 30, method)
    np.testing.assert_allclose(found, np.mean(best), rtol=1e-12)


def test_finding_nothing_scores_zero_and_finding_all_first_scores_one():
    none = np.zeros(0, bool), np.zeros(0)
    for method in ("area", "coco101", "voc07"):
        assert average_precision_from_matches(*none, 3, method) == 0
        assert average_precision_from_matches(TP[:2], SCORES[:2], 1, method) == 1


@pytest.mark.parametrize(
    ("tp", "scores", "n_gt", "method", "message"),
    [
        (TP, SCORES, 3, "voc", "method must be one of"),
        (TP, SCORES, 2, "area", "n_gt 2 and 3 found"),
        (TP[:0], SCORES[:0], 0, "area", "n_gt 0"),
        (TP, np.full(4, np.nan), 3, "area", "finite scores"),
    ],
)
def test_matches_without_a_meaning_are_refused(tp, scores, n_gt, method, message):
    with pytest.raises(ValueError, match=message):
        average_precision_from_matches(tp, scores, n_gt, method)


@pytest.mark.parametrize("name", ["reals", "ties", "many"])
def test_numbers_are_those_of_pycocotools(name):
    detections, truths, stats = _case(name)
    found = coco_ap(detections, truths)
    assert list(found) == ["ap", "ap50", "ap75"]
    np.testing.assert_allclose(list(found.values()), stats, rtol=0, atol=1e-12)
    for threshold, value in zip(COCO_THRESHOLDS, COCO[f"{name}/by_threshold"], strict=True):
        alone = coco_ap(detections, truths, (threshold,))["ap"]
        np.testing.assert_allclose(alone, value, rtol=0, atol=1e-12)


def test_the_golden_cases_hold_what_is_hard():
    detections, truths, _ = _case("ties")
    assert len(np.unique(detections["scores"])) < 20  # 1,000 detections share them
    assert not truths["valid"].any(axis=1).all()  # pictures without truths
    assert not detections["valid"].any(axis=1).all()
    detections, truths, _ = _case("many")
    counts = [
        np.bincount(label[shown], minlength=6)
        for label, shown in zip(detections["label"], detections["valid"], strict=True)
    ]
    assert np.max(counts) > 100
    assert 5 in detections["label"] and 5 not in truths["label"]


def test_a_second_detection_of_one_truth_is_false():
    box = [0, 0, 4, 4]
    truths = _one([box, [9, 9, 12, 12]])
    once = coco_ap(_one([box], [0.9]), truths)
    twice = coco_ap(_one([box, box], [0.9, 0.8]), truths)
    then = coco_ap(_one([box, box, [9, 9, 12, 12]], [0.9, 0.8, 0.7]), truths)
    assert once == twice == {key: pytest.approx(51 / 101) for key in once}
    # Precision 1 up to recall 1/2, 2/3 up to 1.
    assert then["ap"] == pytest.approx((51 + 50 * 2 / 3) / 101)


def test_the_surest_takes_the_truth_that_overlaps_it_most():
    truths = _one([[0, 0, 4, 4], [0, 1, 4, 5]])
    found = _one([[0, 1, 4, 5], [0, 0, 4, 4]], [0.9, 0.8])
    assert coco_ap(found, truths)["ap"] == 1


def test_without_detections_it_is_zero_and_classes_without_truths_do_not_count():
    truths = _one([[0, 0, 4, 4]], label=2)
    assert coco_ap(_one([], []), truths) == {"ap": 0, "ap50": 0, "ap75": 0}
    right = _one([[0, 0, 4, 4]], [0.5], label=2)
    other = _one([[0, 0, 4, 4]], [0.9], label=7)
    both = {key: np.concatenate([right[key], other[key]], axis=1) for key in right}
    assert coco_ap(both, truths)["ap"] == 1


def test_what_is_not_valid_is_padding():
    detections, truths, _ = _case("reals")
    for table in (detections, truths):
        for column in ("boxes", "scores", "label"):
            if column in table:
                table[column][~table["valid"]] = -7
    stats = _case("reals")[2]
    found = list(coco_ap(detections, truths).values())
    np.testing.assert_allclose(found, stats, rtol=0, atol=1e-12)


FOUND, TRUE = _one([[0, 0, 4, 4]], [0.5]), _one([[0, 0, 4, 4]])


@pytest.mark.parametrize(
    ("found", "truths", "message"),
    [
        (TRUE, TRUE, "detections: there is no scores"),
        (FOUND, {}, "truths: there is no boxes, label, valid"),
        (FOUND, TRUE | {"valid": np.zeros((1, 1), bool)}, "must be a valid box"),
        (FOUND, _one([[3, 3, 2, 2]]), "x0 < x1"),
        (FOUND, _one([[0, 0, 1, 1]], label=-1), "label >= 0"),
        (FOUND | {"scores": np.array([[np.nan]])}, TRUE, "scores are not finite"),
        (FOUND, _one([[0, 0, np.inf, 1]]), "boxes are not finite"),
        (FOUND | {"label": np.zeros((1, 2), int)}, TRUE, r"label must be int\[n=1, k=1\]"),
        (FOUND, {k: np.concatenate([v, v]) for k, v in TRUE.items()}, "1 and 2 pictures"),
    ],
)
def test_tables_that_do_not_fit_are_refused(found, truths, message, unhooked):
    with pytest.raises(ValueError, match=message):
        coco_ap(found, truths)


def test_arrays_that_are_no_boxes_are_refused(unhooked):
    with pytest.raises(ValueError, match=r"b must be float\[m, 4\]"):
        box_iou(jnp.ones((2, 4)), jnp.ones((2, 3)))
    with pytest.raises(ValueError, match=r"a must be float\[n, 4\]"):
        giou(jnp.ones((2, 4), int), jnp.ones((2, 4)))
    with pytest.raises(ValueError, match=r"scores must be float\[n=2\]"):
        nms(jnp.ones((2, 4)), jnp.ones(3), 0.5, 1)
    with pytest.raises(ValueError, match="most >= 1, got 2 and 0"):
        nms(jnp.ones((2, 4)), jnp.ones(2), 0.5, 0)
    with pytest.raises(ValueError, match="needs thresholds"):
        coco_ap(FOUND, TRUE, ())
