import importlib

import jax
import numpy as np
import pytest

from jssl.evals.linear import logreg_fit
from jssl.evals.sgd_probe import (
    RECIPES,
    Probe,
    Recipe,
    linear_probe_sgd,
    probe_accuracy,
    probe_logits,
    sgd_probe,
)

module = importlib.import_module("jssl.evals.sgd_probe")
pytestmark = pytest.mark.slow

KEY = jax.random.key(0)
SMALL = RECIPES["small"]


def _objective(probe, h, y, l2=0.0):
    """J by a loop over rows."""
    loss = 0.0
    for logits, label in zip(probe_logits(probe, h), y, strict=True):
        loss += np.log(np.exp(logits - logits.max()).sum()) + logits.max() - logits[label]
    return loss / len(y) + l2 / 2 * np.square(probe.weights.astype(np.float64)).sum()


def _share(recipe, epoch):
    """The rate of an epoch of one step, as a share of the highest."""
    if recipe.milestones:
        return 0.1 ** sum(epoch >= m for m in recipe.milestones)
    if epoch < recipe.warmup:
        return epoch / recipe.warmup
    done = (epoch - recipe.warmup) / (recipe.epochs - recipe.warmup)
    return (1 + np.cos(np.pi * done)) / 2


def _by_hand(recipe, w, x, y):
    """All epochs, of one step of all rows each, by formulas: weights and bias."""
    lr = recipe.lr * len(x) / 256 if recipe.per_256 else recipe.lr
    theta = [w.astype(np.float64), np.zeros(3)]
    velocity, square = [0.0, 0.0], [0.0, 0.0]
    for t in range(recipe.epochs):
        logits = x @ theta[0] + theta[1]
        p = np.exp(logits - logits.max(axis=1, keepdims=True))
        slope = (p / p.sum(axis=1, keepdims=True) - np.eye(3)[y]) / len(y)
        grads = [x.T @ slope + recipe.weight_decay * theta[0], slope.sum(axis=0)]
        rate = lr * _share(recipe, t)
        for i, g in enumerate(grads):
            if recipe.optimizer == "adam":
                velocity[i] = 0.9 * velocity[i] + 0.1 * g
                square[i] = 0.999 * square[i] + 0.001 * g**2
                mean = velocity[i] / (1 - 0.9 ** (t + 1))
                root = np.sqrt(square[i] / (1 - 0.999 ** (t + 1)))
                theta[i] = theta[i] - rate * mean / (root + 1e-8)
                continue
            if recipe.optimizer == "lars" and i == 0:
                g = g * 0.001 * np.linalg.norm(theta[0]) / np.linalg.norm(g)
            velocity[i] = 0.9 * velocity[i] + g
            ahead = recipe.optimizer == "nesterov"
            theta[i] = theta[i] - rate * (g + 0.9 * velocity[i] if ahead else velocity[i])
    return theta


@pytest.fixture
def rows(clouds):
    h, y = clouds(spread=2.0)
    return h["train"], y["train"]


@pytest.mark.parametrize("name", [*RECIPES, "adam"])
def test_a_recipe_takes_the_steps_of_its_formulas(name, rows):
    h, y = rows
    recipe = RECIPES.get(name, SMALL._replace(optimizer="adam", weight_decay=0.01))
    # At a rate of 30 rounding grows from step to step; at 0.1 LARS hardly moves.
    recipe = recipe._replace(lr={"moco": 0.3, "mae": 5.0}.get(name, recipe.lr))
    x = h.astype(np.float64)
    if recipe.normalize != "no":
        eps = 1e-6 if recipe.normalize == "batch" else 0
        x = (x - x.mean(axis=0)) / np.sqrt(x.var(axis=0) + eps)
    settings = {"classes": 3, "recipe": recipe}
    probe = linear_probe_sgd(KEY, h, y, **settings)
    settings["recipe"] = recipe._replace(lr=0.0)  # the first weights stay
    first = linear_probe_sgd(KEY, h, y, **settings).weights
    weights, bias = _by_hand(recipe, first, x, y)
    np.testing.assert_allclose(probe.weights, weights, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(probe.bias, bias, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(
        probe_logits(probe, h), x @ weights + bias, rtol=1e-3, atol=1e-4
    )
    assert probe.losses.shape == (recipe.epochs,)
    assert np.abs(weights - first).max() > 1e-3


def test_the_table_has_the_published_recipes():
    lr = {"moco": 30, "simclr": 1.6, "swav": 0.3, "dino": 0.004, "mae": 6.4}
    for name, rate in lr.items():
        recipe = RECIPES[name]
        scale = recipe.batch / 256 if recipe.per_256 else 1
        assert recipe.lr * scale == pytest.approx(rate)
        assert recipe.grid == ()
    batches = {name: RECIPES[name].batch for name in lr}
    assert batches == {"moco": 256, "simclr": 4096, "swav": 256, "dino": 1024, "mae": 16384}
    assert [RECIPES[name].epochs for name in lr] == [100, 90, 100, 100, 90]
    assert [RECIPES[name].weight_decay for name in lr] == [0, 0, 1e-6, 0, 0]
    assert RECIPES["moco"].milestones == (60, 80)


def test_with_weight_decay_it_comes_to_the_exact_optimum(rows):
    h, y = rows
    l2 = 0.03
    recipe = SMALL._replace(lr=0.3, batch=16, epochs=300, weight_decay=l2)
    probe = linear_probe_sgd(KEY, h, y, classes=3, recipe=recipe)
    best = logreg_fit(h, y, classes=3, l2=l2).info.objective
    gap = _objective(probe, h, y, l2) - best
    assert -1e-6 < gap < 1e-3
    at_zero = Probe(0 * probe.weights, 0 * probe.bias, *probe[2:])
    assert _objective(at_zero, h, y) - best > 0.1  # there was a way to go


@pytest.mark.parametrize("normalize", ["standardise", "batch"])
def test_features_larger_than_the_device_has_room_for_give_the_same_layer(
    normalize, rows, monkeypatch
):
    h, y = rows
    recipe = SMALL._replace(lr=0.3, batch=16, epochs=3, normalize=normalize)
    probe = linear_probe_sgd(KEY, h, y, classes=3, recipe=recipe)
    sizes, train = [], module._train

    def seen(state, x, *args, **how):
        sizes.append(x.size)
        return train(state, x, *args, **how)

    monkeypatch.setattr(module, "_train", seen)
    monkeypatch.setattr(module, "ON_DEVICE", 50 * h.shape[1])
    parts = linear_probe_sgd(KEY, h, y, classes=3, recipe=recipe)
    assert len(sizes) > 2 and max(sizes) == 48 * h.shape[1]
    jax.tree.map(np.testing.assert_array_equal, parts, probe)


def test_the_losses_are_those_of_the_epochs(rows):
    h, y = rows
    recipe = SMALL._replace(lr=0.3, epochs=20)
    losses = linear_probe_sgd(KEY, h, y, classes=3, recipe=recipe).losses
    # One step an epoch: the first loss is that of weights of zero.
    np.testing.assert_allclose(losses[0], np.log(3), rtol=1e-6)
    assert losses[-1] < losses[0] - 0.1


def test_features_are_left_as_they_were(rows):
    h, y = rows
    before = h.copy()
    h.flags.writeable = y.flags.writeable = False
    linear_probe_sgd(KEY, h, y, classes=3, recipe=SMALL._replace(epochs=20))
    np.testing.assert_array_equal(h, before)


def test_one_key_gives_one_probe(rows):
    h, y = rows
    recipe = Recipe(0.1, batch=16, epochs=300, std=0.0)
    one, same, other = (
        linear_probe_sgd(jax.random.key(seed), h, y, classes=3, recipe=recipe).weights
        for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(one, same)
    assert np.abs(one - other).max() > 1e-3


def test_top_k_accuracy_is_scikit_learns():
    from sklearn.metrics import top_k_accuracy_score

    rng = np.random.default_rng(1)
    weights, h = rng.normal(size=(4, 6)), rng.normal(size=(80, 4))
    y = rng.integers(6, size=80)
    probe = Probe(weights, rng.normal(size=6), np.ones(4), np.full(4, 2.0), np.zeros(1))
    logits = (h - 1) / 2 @ weights + probe.bias
    for k, right in probe_accuracy(probe, h, y, (1, 3, 5)).items():
        assert right == top_k_accuracy_score(y, logits, k=k, labels=np.arange(6))


def test_equal_logits_go_to_the_first_class():
    probe = Probe(np.zeros((2, 3)), np.zeros(3), np.zeros(2), np.ones(2), np.zeros(1))
    found = probe_accuracy(probe, np.ones((4, 2)), np.array([0, 1, 1, 2]), (1, 2))
    assert found == {1: 0.25, 2: 0.75}


@pytest.mark.parametrize("final", [False, True])
def test_the_eval_takes_the_best_rate_on_val_then_trains_on_both(final, splits):
    features = splits(spread=2.0)
    recipe = SMALL._replace(epochs=20, grid=(1e-4, 0.3))
    found = sgd_probe(recipe, seed=3)(features, final)
    h, y = features.arrays, features.truth
    key, fits = jax.random.key(3), {}
    for lr in recipe.grid:
        rated = recipe._replace(lr=lr)
        fits[lr] = linear_probe_sgd(key, h["train"], y["train"], classes=3, recipe=rated)
    table = {lr: probe_accuracy(fit, h["val"], y["val"])[1] for lr, fit in fits.items()}
    assert table[0.3] != table[1e-4]
    lr = max(table, key=table.get)
    right = table[lr]
    if final:
        both = [np.concatenate([x["train"], x["val"]]) for x in (h, y)]
        rated = recipe._replace(lr=lr)
        probe = linear_probe_sgd(key, *both, classes=3, recipe=rated)
        right = probe_accuracy(probe, h["test"], y["test"])[1]
    assert found == {"linear_sgd": right}
    assert features.asked.count("test") == final
    assert not final or features.asked[-1] == "test"


def test_rows_of_test_change_no_fit(splits):
    recipe = SMALL._replace(epochs=20, grid=(1e-4, 0.3))
    features = splits()
    first = sgd_probe(recipe)(features, True)
    features.truth["test"] = (features.truth["test"] + 1) % 3
    shifted = sgd_probe(recipe)(features, True)
    features.truth["test"] = (features.truth["test"] + 1) % 3
    # The same predictions are judged: their three accuracies are a partition.
    third = sgd_probe(recipe)(features, True)
    assert sum(m["linear_sgd"] for m in (first, shifted, third)) == pytest.approx(1)


@pytest.mark.parametrize("recipe", [SMALL._replace(epochs=20), RECIPES["mae"]])
@pytest.mark.parametrize("value", [0.0, 0.3])
def test_collapsed_features_leave_the_majority(recipe, value, splits):
    features = splits()
    for h in features.arrays.values():
        h[:] = value
    largest = np.bincount(features.truth["train"]).argmax()
    found = sgd_probe(recipe)(features, False)
    assert found == {"linear_sgd": np.mean(features.truth["val"] == largest)}


def test_protocols_tell_settings_apart():
    every = [sgd_probe(name) for name in RECIPES]
    every += [sgd_probe(seed=1), sgd_probe(SMALL._replace(batch=16))]
    assert len({evaluate.protocol for evaluate in every}) == len(RECIPES) + 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"optimizer": "sdg"}, "optimizer is in sgd, nesterov, lars, adam, got 'sdg'"),
        ({"normalize": "layer"}, "normalize is in no,"),
        ({"lr": np.nan}, "finite and 0 or more"),
        ({"weight_decay": -1.0}, "finite and 0 or more"),
        ({"batch": 0}, "batch of 1 or more"),
        ({"warmup": 100}, "more epochs than warm-up"),
    ],
)
def test_recipes_without_a_meaning_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        sgd_probe(SMALL._replace(**change))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"y": np.zeros(7, np.int32)}, r"y must be int\[n=90\]"),
        ({"classes": 2}, r"labels 0 \.\.\. 1, got labels 0 \.\.\. 2"),
        ({"h": np.zeros((0, 6)), "y": np.zeros(0, int)}, "got no rows"),
        ({"recipe": Recipe(1e38, epochs=20)}, "not finite after training at 1e"),
    ],
)
def test_what_does_not_fit_is_refused(change, message, rows, unhooked):
    good = {"h": rows[0], "y": rows[1], "classes": 3, "recipe": SMALL}
    with pytest.raises(ValueError, match=message):
        linear_probe_sgd(KEY, **{**good, **change})


def test_unknown_names_and_too_large_k_are_refused():
    with pytest.raises(ValueError, match="'byol' is none of small, moco"):
        sgd_probe("byol")
    probe = Probe(np.zeros((2, 3)), np.zeros(3), np.zeros(2), np.ones(2), np.zeros(1))
    with pytest.raises(ValueError, match=r"k must be 1 \.\.\. 3"):
        probe_accuracy(probe, np.ones((1, 2)), np.array([0]), (1, 5))
