from importlib import import_module

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jssl.evals import Features
from jssl.evals.boxes import coco_ap
from jssl.evals.detection import (
    Cells,
    centerness,
    detection,
    fcos_decode,
    fcos_loss,
    fcos_targets,
    head_apply,
    head_init,
    locations,
)

pytestmark = pytest.mark.slow

targets = jax.jit(fcos_targets)
decode = jax.jit(fcos_decode, static_argnames="most")
loss_and_slope = jax.jit(jax.value_and_grad(fcos_loss))
CLASSES, SIZE, CELLS = 3, 32, 8
COUNTS = {"train": 70, "val": 20, "test": 40}


def _scene(seed=0, m=5, size=64):
    """Boxes of which some overlap, the second is small and the fourth is not valid."""
    rng = np.random.default_rng(seed)
    corner = rng.uniform(0, size / 2, size=(m, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(6, size / 2, (m, 2))], axis=1)
    boxes[1] = [9, 9, 11, 11]
    label = rng.integers(CLASSES, size=m).astype(np.int32)
    return jnp.float32(boxes), jnp.asarray(label), jnp.arange(m) != 3


def _said(p, seed=0):
    rng = np.random.default_rng(seed)
    logits, sides = rng.normal(size=(*p, CLASSES)), rng.uniform(1, 20, size=(*p, 4))
    return Cells(*map(jnp.float32, (logits, sides, rng.normal(size=p))))


def _sure(true):
    """A detector that knows what is true."""
    logits = 30.0 * (2 * jax.nn.one_hot(true.label, CLASSES) - 1)
    central = jnp.clip(true.centerness, 1e-6, 1 - 1e-6)
    return Cells(logits, jnp.maximum(true.distances, 1), jnp.log(central / (1 - central)))


@pytest.fixture(scope="module")
def pictures():
    """What is true of two pictures: of one with objects and of one without."""
    boxes, label, valid = _scene()
    points = locations(8, 8, 8)
    one = lambda valid: fcos_targets(boxes, label, valid, points, 12.0)
    return jax.jit(jax.vmap(one))(np.stack([valid, np.zeros(5, bool)]))


def test_locations_are_the_middles_of_cells_for_even_strides_the_papers():
    found = np.asarray(locations(3, 5, 8)).reshape(3, 5, 2)
    for i, j in np.ndindex(3, 5):
        assert found[i, j].tolist() == [8 // 2 + j * 8, 8 // 2 + i * 8]
    assert locations(1, 2, 1).tolist() == [[0.5, 0.5], [1.5, 0.5]]


def test_centerness_has_its_golden_value():
    sides = jnp.array([[1.0, 2, 3, 2], [2, 2, 2, 2], [0, 2, 4, 2], [0, 0, 0, 0]])
    np.testing.assert_allclose(centerness(sides), [0.577350, 1, 0, 0], atol=1e-6)


@pytest.mark.parametrize("radius", [np.inf, 12.0])
def test_a_point_belongs_to_the_smallest_box_that_it_is_in(radius):
    points = locations(16, 16, 4)
    found = jax.device_get(targets(*_scene(), points, radius))
    boxes, label, valid = map(np.asarray, _scene())
    owners = set()
    for (x, y), said, sides, central in zip(np.asarray(points), *found, strict=True):
        owner, smallest = None, np.inf
        for k, (x0, y0, x1, y1) in enumerate(boxes):
            inside = valid[k] and x0 < x < x1 and y0 < y < y1
            far = max(abs(x - (x0 + x1) / 2), abs(y - (y0 + y1) / 2))
            if inside and far < radius and (x1 - x0) * (y1 - y0) < smallest:
                owner, smallest = k, (x1 - x0) * (y1 - y0)
        owners.add(owner)
        if owner is None:
            assert said == -1 and not sides.any() and central == 0
            continue
        x0, y0, x1, y1 = boxes[owner]
        l, t, r, b = wanted = x - x0, y - y0, x1 - x, y1 - y  # noqa: E741
        middle = np.sqrt(min(l, r) / max(l, r) * min(t, b) / max(t, b))
        assert said == label[owner]
        np.testing.assert_allclose([*sides, central], [*wanted, middle], rtol=1e-5)
    assert {0, 1, None} <= owners and 3 not in owners


def test_decoding_the_targets_gives_the_boxes_back():
    (boxes, label, valid), points = _scene(), locations(16, 16, 4)
    true = targets(boxes, label, valid, points, np.inf)
    found = jax.device_get(decode(_sure(true), points))
    truths = {"boxes": boxes[None], "label": label[None], "valid": valid[None]}
    ap = coco_ap({key: value[None] for key, value in found.items()}, truths)
    assert ap == {"ap": 1, "ap50": 1, "ap75": 1}
    apart = found["boxes"][found["valid"]] - np.asarray(boxes[valid])[:, None]
    assert np.abs(apart).max(axis=2).min(axis=1).max() < 1e-5


def _loop_loss(said, true):
    """The loss by a loop over points, in float64."""
    logits, sides, central = (np.asarray(x, np.float64) for x in said)
    label, wanted, middle = (np.asarray(x, np.float64) for x in true)
    area = lambda d: (d[0] + d[2]) * (d[1] + d[3])
    focal = box = binary = weights = n = 0
    for at in np.ndindex(label.shape):
        for c, logit in enumerate(logits[at]):
            p = 1 / (1 + np.exp(-logit))
            right, alpha = (p, 0.25) if c == label[at] else (1 - p, 0.75)
            focal -= alpha * (1 - right) ** 2 * np.log(right)
        if label[at] < 0:
            continue
        n, weights = n + 1, weights + middle[at]
        a, b = sides[at], wanted[at]
        shared, hull = area(np.minimum(a, b)), area(np.maximum(a, b))
        union = area(a) + area(b) - shared
        box += middle[at] * (1 - shared / union + (hull - union) / hull)
        p = 1 / (1 + np.exp(-central[at]))
        binary -= middle[at] * np.log(p) + (1 - middle[at]) * np.log(1 - p)
    return focal / max(n, 1) + (box / weights if weights else 0) + binary / max(n, 1)


def test_the_loss_is_that_of_a_loop_and_without_objects_the_focal_loss_alone(pictures):
    said, none = _said((2, 64)), jax.tree.map(lambda x: np.asarray(x)[[1, 1]], pictures)
    for true in (pictures, none):
        value, slope = loss_and_slope(said, true)
        np.testing.assert_allclose(value, _loop_loss(said, true), rtol=1e-5)
    assert slope.label.all() and not slope.distances.any() and not slope.centerness.any()


def test_the_truth_costs_no_more_than_the_entropy_of_its_centerness(pictures):
    c = np.float64(pictures.centerness[pictures.label >= 0])
    entropy = -np.mean(c * np.log(c) + (1 - c) * np.log(1 - c))
    value, _ = loss_and_slope(_sure(pictures), pictures)
    np.testing.assert_allclose(value, entropy, rtol=1e-4)


@pytest.mark.parametrize("scale", [1e-6, 1e4])
def test_answers_far_off_have_finite_gradients(scale, pictures):
    said = jax.tree.map(lambda x: scale * x, _said((2, 64)))
    every = jax.tree.leaves(loss_and_slope(said, pictures))
    assert all(np.isfinite(x).all() for x in every)


def test_suppression_is_by_class_and_weak_scores_are_dropped():
    points = jnp.array([[8.0, 8], [8, 8], [8, 8], [40, 40]])
    p = np.full((4, CLASSES), 1e-20)
    p[0, 0], p[1, 0], p[2, 1] = 0.9, 0.8, 0.7
    p[3, 0] = 0.002  # its square root with c = 1 is .045, below .05
    said = Cells(jnp.float32(np.log(p / (1 - p))), jnp.full((4, 4), 4.0), jnp.full(4, 50.0))
    found = jax.device_get(decode(said, points))
    assert found["boxes"].shape == (100, 4) and found["boxes"][0].tolist() == [4, 4, 12, 12]
    assert found["label"].tolist() == [0, 1] + 98 * [-1] and found["valid"].sum() == 2
    scores = [*np.sqrt([0.9, 0.7]), *np.zeros(98)]
    np.testing.assert_allclose(found["scores"], scores, rtol=1e-5)


def test_scores_are_geometric_means_of_class_and_centerness():
    said = _said((4,), seed=1)
    found = decode(said, locations(2, 2, 8), threshold=0.0, iou=1.0, most=12)
    sigmoid = lambda x: 1 / (1 + np.exp(-np.asarray(x, np.float64)))
    scores = np.sqrt(sigmoid(said.label) * sigmoid(said.centerness)[:, None]).ravel()
    order = np.argsort(-scores)
    np.testing.assert_allclose(found["scores"], scores[order], rtol=1e-5)
    np.testing.assert_array_equal(found["label"], order % CLASSES)


def test_a_new_head_gives_every_class_one_percent_and_positive_distances():
    params = head_init(jax.random.key(0), 7, 10)
    said = jax.jit(head_apply)(params, jnp.zeros((2, 3, 4, 7)), 8.0)
    assert said.label.shape == (2, 12, 10) and said.centerness.shape == (2, 12)
    np.testing.assert_allclose(said.label, -4.595, atol=1e-3)
    np.testing.assert_allclose(said.distances, 8 * np.log(2), rtol=1e-6)  # softplus(0)


class Oracle(Features):
    """Maps that hold the answer, or noise; a picture's brightness says which it is."""

    def __init__(self, blind=False):
        self.blind, self.asked = blind, []
        self.drawn = {split: self._draw(n) for split, n in COUNTS.items()}
        self.known = {n: dict(self.drawn[split]) for split, n in COUNTS.items()}

    def _draw(self, n):
        rng = np.random.default_rng(n)
        corner = rng.integers(0, 16, size=(n, 2, 2)).astype(np.float32)
        boxes = np.concatenate([corner, corner + rng.integers(9, 17, size=(n, 2, 2))], 2)
        valid = np.stack([np.ones(n, bool), rng.random(n) < 0.5], axis=1)
        label = np.where(valid, rng.integers(CLASSES, size=(n, 2)), -1)
        image = np.full((n, SIZE, SIZE, 1), np.arange(n)[:, None, None, None] / n)
        image, boxes = image.astype(np.float32), boxes.astype(np.float32)
        return {"image": image, "boxes": boxes, "label": label, "valid": valid}

    def __call__(self, split, name="h"):
        raise AssertionError("scenes are no split's rows")

    def scenes(self, split):
        self.asked.append(split)
        return self.drawn[split]

    def of(self, rows, name):
        assert name == "maps"
        images = rows["image"]
        n, points = len(images), locations(CELLS, CELLS, SIZE // CELLS)
        if self.blind:
            return np.random.default_rng(0).normal(size=(n, CELLS, CELLS, 7))
        rows = np.round(images[:, 0, 0, 0] * n).astype(int)
        true = (self.known[n][field][rows] for field in ("boxes", "label", "valid"))
        found = jax.vmap(lambda *x: targets(*x, points, np.inf))(*map(jnp.asarray, true))
        kind = np.asarray(found.label)[..., None] == np.arange(CLASSES)
        maps = np.concatenate([kind, found.distances / SIZE], axis=2, dtype=np.float32)
        return maps.reshape(n, CELLS, CELLS, CLASSES + 4)


def _judge(features, final=False, **settings):
    return detection(features.scenes, **({"steps": 150} | settings))(features, final)


def test_a_head_on_maps_that_hold_the_answer_finds_it_and_on_noise_does_not():
    seeing, blind = _judge(Oracle()), _judge(Oracle(blind=True))
    assert list(seeing) == ["ap", "ap50", "ap75"]
    assert seeing["ap50"] > 0.8 and seeing["ap"] > 0.4 and blind["ap50"] < 0.2


def test_train_fits_and_val_judges_then_test_and_a_seed_tells_all():
    features, untouched = Oracle(), Oracle().drawn
    first, second = _judge(features, steps=20), _judge(features, steps=20)
    assert features.asked == ["train", "val"] * 2
    assert first == second != _judge(features, steps=20, seed=1)
    features.asked.clear()
    assert _judge(features, True, steps=20) != first
    assert features.asked == ["train", "val", "test"]
    jax.tree.map(np.testing.assert_array_equal, features.drawn, untouched)


def test_the_truths_of_test_change_the_number_and_no_detection(monkeypatch):
    room, seen = import_module("jssl.evals.detection"), []
    monkeypatch.setattr(room, "coco_ap", lambda *x: seen.append(x[0]) or coco_ap(*x))
    features = Oracle()
    first = _judge(features, True)
    test = features.drawn["test"]
    test["label"] = np.where(test["valid"], (test["label"] + 1) % CLASSES, -1)
    second = _judge(features, True)
    jax.tree.map(np.testing.assert_array_equal, *seen)
    assert second["ap50"] < first["ap50"] / 2


def test_protocols_tell_settings_apart_and_those_without_a_meaning_are_refused():
    scenes = Oracle().scenes
    changes = [{}, {"name": "h3"}, {"steps": 9}, {"lr": 0.1}, {"seed": 1}, {"task": "mine"}]
    assert len({detection(scenes, **x).protocol for x in changes}) == len(changes)
    for settings in ({"steps": 0}, {"lr": np.nan}):
        with pytest.raises(ValueError, match="needs steps >= 1 and lr > 0"):
            detection(scenes, **settings)


@pytest.mark.parametrize(
    ("field", "change", "message"),
    [
        ("image", None, "val scenes: there is no image"),
        ("valid", lambda x: x & False, "val scenes: there must be a valid box"),
        ("boxes", lambda x: x[..., ::-1], "val scenes: .* x0 < x1"),
        ("boxes", lambda x: x + 9, r"val images .* 0 \.\.\. 32 pixels"),
        ("boxes", lambda x: x[:, :1], r"label must be int\[n=20, k=1\]"),
        ("image", lambda x: 255 * x, r"val images must be in \[0, 1\]"),
        ("image", lambda x: x[:, :16, :16], r"val image must .* got float32\[20, 16, 16"),
        ("maps", lambda x: x[:, :4], r"val maps must be float\[val=20, h=8"),
        ("maps", lambda x: x * np.nan, "maps finite"),
    ],
)
def test_scenes_that_do_not_fit_are_refused(field, change, message):
    features, n = Oracle(blind=True), COUNTS["val"]
    val, of = features.drawn["val"], features.of
    if field == "maps":
        changed = lambda x: len(x["image"]) == n
        features.of = lambda x, name: change(of(x, name)) if changed(x) else of(x, name)
    elif change is None:
        del val[field]
    else:
        val[field] = change(val[field])
    with pytest.raises(ValueError, match=message):
        _judge(features)


def test_arrays_that_do_not_fit_are_refused(unhooked):
    boxes, label, valid = _scene()
    points, said = locations(2, 2, 4), _said((4,))
    with pytest.raises(ValueError, match=r"label must be int\[m=5\]"):
        fcos_targets(boxes, label[:4], valid, points)
    with pytest.raises(ValueError, match=r"points must be float\[p=4, 2\]"):
        fcos_decode(said, points[:3])
    with pytest.raises(ValueError, match=r"true_label must be int\[\.\.\., p=4\]"):
        fcos_loss(said, said)
