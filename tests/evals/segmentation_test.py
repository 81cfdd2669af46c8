"""Segmentation: the measure against scikit-learn, the heads against known optima."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jssl.evals import Features
from jssl.evals.iou import confusion_matrix, iou_from_confusion, mean_iou
from jssl.evals.segmentation import (
    WIDTH,
    _logits,
    fit_segmenter,
    head_init,
    head_logits,
    hypercolumns,
    pixel_cross_entropy,
    segment,
    segmentation,
)

pytestmark = pytest.mark.slow

LOGITS = jax.jit(head_logits)
LOSS = jax.jit(jax.value_and_grad(pixel_cross_entropy))
GOLDEN = np.array([[3, 1], [2, 4]])


@pytest.fixture
def masks():
    """(said, truth): 6 masks of 4 classes, the third of which is nowhere."""
    rng = np.random.default_rng(0)
    truth = rng.choice([0, 1, 3], (6, 8, 8)).astype(np.int32)
    said = np.where(rng.random((6, 8, 8)) < 0.6, truth, rng.choice([0, 1, 3], (6, 8, 8)))
    return said, truth


def test_the_catalogues_matrix_has_its_values_and_a_class_only_predicted_none():
    np.testing.assert_allclose(iou_from_confusion(GOLDEN), [0.5, 0.571429], atol=1e-6)
    assert mean_iou(GOLDEN) == pytest.approx(0.535714, abs=1e-6)
    only_predicted = np.array([[2, 1], [0, 0]])
    assert iou_from_confusion(only_predicted).tolist() == [2 / 3, 0]


def test_scikit_learn_counts_the_same(masks):
    from sklearn import metrics

    said, truth = masks
    ours = confusion_matrix(said, truth, 4)
    flat = truth.ravel(), said.ravel()
    np.testing.assert_array_equal(ours, metrics.confusion_matrix(*flat, labels=range(4)))
    theirs = metrics.jaccard_score(*flat, labels=[0, 1, 3], average=None)
    iou = iou_from_confusion(ours)
    np.testing.assert_allclose(iou[[0, 1, 3]], theirs)
    assert np.isnan(iou[2]) and mean_iou(ours) == pytest.approx(theirs.mean())


def test_matrices_of_parts_add_up_and_a_perfect_answer_scores_one(masks):
    said, truth = masks
    parts = [confusion_matrix(said[i], truth[i], 4) for i in range(6)]
    np.testing.assert_array_equal(sum(parts), confusion_matrix(said, truth, 4))
    assert mean_iou(confusion_matrix(truth, truth, 4)) == 1


def test_ignored_pixels_do_not_count_whatever_was_said_there(masks):
    said, truth = masks
    truth[:, ::2] = 255
    kept = confusion_matrix(said[:, 1::2], truth[:, 1::2], 4)
    said[:, ::2] = -7
    np.testing.assert_array_equal(confusion_matrix(said, truth, 4), kept)
    with pytest.raises(ValueError, match="no pixel was counted"):
        mean_iou(confusion_matrix(said[:, ::2], truth[:, ::2], 4))


def test_the_mean_over_the_set_is_not_the_mean_over_images():
    truth = np.array([[0, 0, 0, 1], [1, 1, 1, 1]])
    said = np.array([[0, 0, 0, 0], [1, 1, 1, 1]])
    each = [mean_iou(confusion_matrix(*pair, 2)) for pair in zip(said, truth, strict=True)]
    assert np.mean(each) == pytest.approx((3 / 8 + 1) / 2)
    # Over the set: class 0 has 3 of 4, class 1 has 4 of 5.
    assert mean_iou(confusion_matrix(said, truth, 2)) == pytest.approx((3 / 4 + 4 / 5) / 2)


@pytest.mark.parametrize(
    ("said", "truth", "ignore", "message"),
    [
        ([0, 1], [0, 1, 1], 255, r"one shape .* got \[2\] and \[3\]"),
        ([0, 2], [0, 1], 255, r"hold 0 \.\.\. 1"),
        ([0, 1], [-1, 1], 255, r"hold 0 \.\.\. 1, .*\[-1, 0, 1\]"),
        ([0, 1], [0, 1], 1, "none of these"),
        ([0.0, 1.0], [0, 1], 255, "pred must be int"),
    ],
)
def test_what_cannot_be_counted_is_refused(said, truth, ignore, message, unhooked):
    with pytest.raises(ValueError, match=message):
        confusion_matrix(np.array(said), np.array(truth), 2, ignore)


def test_the_loss_is_that_of_a_double_loop_and_ignored_pixels_have_no_slope():
    rng = np.random.default_rng(1)
    logits = rng.normal(size=(2, 3, 3, 4)).astype(np.float32)
    mask = rng.integers(4, size=(2, 3, 3)).astype(np.int32)
    mask[0] = 255
    each = []
    for place in np.argwhere(mask != 255):
        x = logits[tuple(place)].astype(np.float64)
        each.append(np.log(np.exp(x).sum()) - x[mask[tuple(place)]])
    loss, slope = map(np.asarray, LOSS(logits, mask))
    np.testing.assert_allclose(loss, np.mean(each), rtol=1e-6)
    assert (slope[0] == 0).all() and (slope[1] != 0).all()
    assert LOSS(logits, np.full_like(mask, 255))[0] == 0


def test_logits_grow_with_half_pixel_centers_and_a_constant_stays_one():
    from scipy.ndimage import zoom

    coarse = np.random.default_rng(2).normal(size=(4, 4)).astype(np.float32)
    theirs = zoom(coarse, 4, order=1, grid_mode=True, mode="nearest")
    params = {"weights": jnp.eye(1), "bias": jnp.zeros(1)}
    maps = jnp.stack([coarse, np.ones((4, 4), np.float32)])[..., None]
    ours = _logits(params, maps, None, (16, 16))[..., 0]
    np.testing.assert_allclose(ours[0], theirs, atol=1e-6)
    np.testing.assert_allclose(ours[1], 1, rtol=1e-6)


def test_the_linear_head_comes_to_the_optimum_of_logistic_regression():
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import log_loss

    rng = np.random.default_rng(3)
    maps = rng.normal(2, 3, (16, 4, 4, 5)).astype(np.float32)
    noisy = maps @ rng.normal(size=(5, 3)) / 3 + rng.gumbel(size=(16, 4, 4, 3))
    truth = noisy.argmax(-1).astype(np.int32)
    model = fit_segmenter(maps, truth, lr=0.1)
    x, y = maps.reshape(-1, 5), truth.ravel()
    best = LogisticRegression(C=1e6).fit(x, y)
    logits = LOGITS(model.params, (maps - model.mean) / model.std)
    ours, _ = LOSS(logits, truth)
    assert abs(ours - log_loss(y, best.predict_proba(x))) < 1e-3
    assert np.mean(segment(model, maps, (4, 4)).ravel() == best.predict(x)) > 0.98


@pytest.fixture
def shifted():
    """Maps of signs, and masks that tell the sign one place to the left."""
    maps = np.random.default_rng(4).choice([-1.0, 1.0], (40, 6, 6, 2)).astype(np.float32)
    return maps, (np.roll(maps, 1, 2)[..., 0] > 0).astype(np.int32)


def test_a_convolution_sees_the_neighbor_that_a_linear_layer_does_not(shifted):
    maps, truth = shifted
    right = {}
    for head in ("linear", "fcn"):
        model = fit_segmenter(maps[:30], truth[:30], head=head, lr=1e-2, steps=40)
        found = segment(model, maps[30:], (6, 6))
        right[head] = (found == truth[30:])[:, :, 1:].mean()  # the first has no left
    assert right["fcn"] > 0.95 and abs(right["linear"] - 0.5) < 0.12


def test_dropout_is_a_key_and_leaves_the_mean():
    params = head_init(jax.random.key(0), "fcn", 2, 3)
    rng = np.random.default_rng(1)
    params["weights"] = rng.normal(size=(WIDTH, 3)).astype(np.float32)
    maps = rng.normal(size=(2, 4, 4, 2)).astype(np.float32)
    keys = jax.random.split(jax.random.key(3), 200)
    draw = jax.jit(jax.vmap(head_logits, (None, None, 0)))
    drawn = np.asarray(draw(params, maps, keys))
    assert drawn.std(0).min() > 0.1
    error = drawn.std(0) / np.sqrt(200)
    assert (np.abs(drawn.mean(0) - LOGITS(params, maps)) < 5 * error).all()


def test_no_scene_depends_on_another(shifted):
    maps, truth = shifted
    model = fit_segmenter(maps, truth, head="fcn", lr=1e-2, steps=2)
    others = np.concatenate([maps[:2], 5 * maps[2:4]])
    alone, among = (LOGITS(model.params, x) for x in (maps[:4], others))
    np.testing.assert_allclose(alone[:2], among[:2], atol=1e-6)
    assert (np.abs(alone[2:] - among[2:]) > 1e-6).any()


def test_the_seed_decides_all_of_a_fit(shifted):
    maps, truth = shifted
    settings = {"head": "fcn", "lr": 1e-2, "steps": 2}
    seeds = (0, 0, 1)
    a, b, c = (fit_segmenter(maps, truth, seed=i, **settings).params for i in seeds)
    assert all((a[name] == b[name]).all() for name in a)
    assert (a["kernel"] != c["kernel"]).any()


class Blurred(Features):
    """An encoder of images [n, 8, 8, 1] whose maps are means of 2 x 2 pixels."""

    def __init__(self):
        self.broken = lambda maps: maps

    def __call__(self, split, name="h"):
        raise AssertionError("the split's own images are not asked for")

    def of(self, rows, name="h", then=None):
        images = rows["image"]
        assert isinstance(images, np.ndarray)
        means = images.reshape(len(images), 4, 2, 4, 2).mean((2, 4))
        maps = np.stack([means, means**2], -1)
        coarse = maps.reshape(-1, 2, 2, 2, 2, 2).mean((2, 4))
        return then(self.broken({"maps": maps, "layers": (maps, coarse)}[name]))


@pytest.fixture
def scenes():
    """Squares of three brightnesses; a diary of the splits; masks that may be changed."""
    tables = {}
    for seed, (split, n) in enumerate({"train": 40, "val": 36, "test": 48}.items()):
        rng = np.random.default_rng(seed)
        mask = rng.integers(3, size=(n, 4, 4)).repeat(2, 1).repeat(2, 2).astype(np.int32)
        image = mask / 2 + rng.normal(0, 0.25, mask.shape)
        tables[split] = {"image": image[..., None].astype(np.float32), "mask": mask}

    def give(split):
        give.asked.append(split)
        return tables[split]

    give.asked, give.tables = [], tables
    return give


def test_the_eval_learns_from_train_and_judges_val_and_never_asks_for_test(scenes):
    found = segmentation(scenes, steps=60, lr=(0.1,))(Blurred(), False)
    assert set(scenes.asked) == {"train", "val"}
    assert 0.6 < found["miou"] < found["pixel_accuracy"] < 1


def test_the_rate_is_chosen_on_val_then_fitted_again_and_judged_on_test(scenes):
    grid, features = (1e-5, 0.1), Blurred()
    each = scenes.tables.items()
    maps = {k: features.of({"image": x["image"]}, "maps", lambda x: x) for k, x in each}
    masks = {k: x["mask"] for k, x in scenes.tables.items()}

    def judged(fit, split, lr):
        h, y = (np.concatenate([x[k] for k in fit]) for x in (maps, masks))
        said = segment(fit_segmenter(h, y, lr=lr, steps=60), maps[split], (8, 8))
        return mean_iou(confusion_matrix(said, masks[split], 3))

    slow, fast = (judged(["train"], "val", lr) for lr in grid)
    assert slow < fast
    evaluate = segmentation(scenes, steps=60, lr=grid)
    assert evaluate(features, False)["miou"] == fast
    assert evaluate(features, True)["miou"] == judged(["train", "val"], "test", 0.1)


def test_all_layers_together_keep_the_finest_places(scenes):
    one, every = (
        segmentation(scenes, name, "fcn", steps=30, lr=(0.03,))(Blurred(), False)
        for name in ("maps", "layers")
    )
    assert set(every) == {"miou/fcn", "pixel_accuracy/fcn"}
    assert every["miou/fcn"] > one["miou/fcn"] - 0.05


def test_hypercolumns_keep_the_finest_layer_and_grow_the_others_like_scipy():
    from scipy.ndimage import zoom

    rng = np.random.default_rng(5)
    fine, coarse = rng.random((2, 6, 6, 3)), rng.random((2, 3, 3, 2))
    ours = np.asarray(jax.jit(hypercolumns)((fine, coarse)))
    np.testing.assert_allclose(ours[..., :3], fine, rtol=1e-6)
    theirs = zoom(coarse, (1, 2, 2, 1), order=1, grid_mode=True, mode="nearest")
    np.testing.assert_allclose(ours[..., 3:], theirs, atol=1e-6)
    with pytest.raises(ValueError, match=r"every layer needs maps .* got \[\[2, 5\]\]"):
        hypercolumns((np.ones((2, 5)),))


def test_masks_that_mean_nothing_are_learnt_at_chance(scenes):
    rng = np.random.default_rng(9)
    for table in scenes.tables.values():
        table["mask"] = rng.permutation(table["mask"].ravel()).reshape(-1, 8, 8)
    found = segmentation(scenes, steps=60, lr=(0.1,))(Blurred(), True)
    assert found["pixel_accuracy"] < 1 / 3 + 3 * np.sqrt(2 / 9 / (48 * 16))


def test_channels_may_have_any_scale(scenes):
    plain, large = Blurred(), Blurred()
    large.broken = lambda maps: 1000 * maps
    evaluate = segmentation(scenes, steps=60, lr=(0.1,))
    assert evaluate(large, False) == pytest.approx(evaluate(plain, False), abs=1e-2)


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (lambda x: x.mean((1, 2)), r"needs maps .* got \[\[40, 2\]\]"),
        (lambda x: x[:-1], r"one a mask, got \[39, 4, 4, 2\]"),
        (lambda x: x * np.nan, "must be finite"),
    ],
)
def test_maps_that_are_none_are_refused(scenes, broken, message):
    features = Blurred()
    features.broken = broken
    with pytest.raises(ValueError, match=message):
        segmentation(scenes, steps=1)(features, False)


def test_scenes_without_masks_or_with_ignored_ones_are_refused(scenes):
    evaluate = segmentation(scenes, steps=1)
    scenes.tables["train"]["mask"][:] = 255
    with pytest.raises(ValueError, match=r"255 only where a pixel is ignored, got \[255\]"):
        evaluate(Blurred(), False)
    del scenes.tables["train"]["mask"]
    with pytest.raises(ValueError, match="train scenes need 'image' and 'mask'"):
        evaluate(Blurred(), False)


@pytest.mark.parametrize(
    "change", [{"head": "deep"}, {"steps": 0}, {"lr": ()}, {"lr": (0.0,)}]
)
def test_settings_without_a_meaning_are_refused(scenes, change):
    with pytest.raises(ValueError, match='head is "linear" or "fcn"'):
        segmentation(scenes, **change)


def test_protocols_tell_settings_apart(scenes):
    changes = [{}, {"head": "fcn"}, {"steps": 9}, {"lr": [1.0]}, {"seed": 1}, {"task": "x"}]
    changes += [{"name": "layers"}]
    assert len({segmentation(scenes, **x).protocol for x in changes}) == len(changes)
