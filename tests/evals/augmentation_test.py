"""The gain of appended rows, on two clouds whose law is known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jssl.evals import Features, augmentation_gain, generated_classes, mmd_rbf

MEANS = np.zeros((2, 16), np.float32)
MEANS[:, 0] = 0.75, -0.75
SIZES = {"train": 12, "val": 400, "test": 3000}


def true_law(key, y):
    return np.float32(MEANS[y] + np.asarray(jax.random.normal(key, (len(y), 16))))


def wrong_law(key, y):
    return true_law(key, 1 - y)


class Made(Features):
    """Rows of the two clouds, and rows that `law` generates, which score by `law` too."""

    names = ("h", "score")

    def __init__(self, law=true_law):
        self.law, self.asked = law, []
        self.truth = {k: np.arange(n) % 2 for k, n in SIZES.items()}
        keys = dict(zip(SIZES, jax.random.split(jax.random.key(1), 3), strict=True))
        self.table = {k: true_law(keys[k], y) for k, y in self.truth.items()}

    def labels(self, split):
        return self.truth[split]

    def rows(self, split, rows=None):
        y = self.truth[split]
        return {"image": self.table[split], "label": y, "person": np.arange(len(y)) // 40}

    def generated(self, split, rows=None):
        return {"image": self.law(jax.random.key(7), self.truth[split])}

    def generated_of(self, rows, key):
        self.asked.append(rows["label"])
        return {"image": self.law(key, rows["label"])}

    def of(self, rows, name="h"):
        assert name == "score"
        return (rows["image"] * MEANS[rows["label"]]).sum(1)


def gains(features, **settings):
    how = dict(multiples=(0, 1, 10), classifiers=("linear",)) | settings
    return augmentation_gain(**how)(features, True)


def test_copies_gain_nothing_and_rows_of_the_true_law_do():
    found = gains(Made(), oracle=true_law, distort={"none": lambda key, x: x})
    title = found["gain of linear"]
    assert title.xs.tolist() == [0, 1, 10]
    for name in ("duplicate", "none"):
        np.testing.assert_array_equal(title.ys[name], 0)
    for name in ("full", "oracle"):
        assert title.ys[name][0] == 0 and title.ys[name][2] > 1  # point
        assert found[f"gain/linear/{name}"] > 0
    assert 0.5 < found["accuracy/linear"] < 0.8
    assert 0.1 < found["acceptance"] < 1
    assert "oracle" in found["gains of linear"]


def test_rows_of_the_wrong_classes_are_not_used_as_val_says():
    found = gains(Made(wrong_law))
    assert found["gain of linear"].ys["full"][2] < -20
    assert found["gain/linear/full"] == 0  # m = 0 is the best on val


def test_the_critics_rule_and_the_neighbors_reject_rows_of_the_wrong_class():
    for rule in ("critic", "knn", "confidence"):
        right, wrong = (gains(Made(law), accept=rule) for law in (true_law, wrong_law))
        assert wrong["acceptance"] < right["acceptance"] <= 1


def test_generated_rows_are_asked_for_by_class_in_equal_numbers():
    features = Made()
    gains(features)
    for labels in features.asked:
        assert abs(np.bincount(labels, minlength=2) - len(labels) / 2).max() <= 0.5


def test_the_interval_is_over_the_groups():
    found = gains(Made(), groups="person")
    low, high = (found[f"gain/linear/full/{x}"] for x in ("low", "high"))
    assert low < found["gain/linear/full"] < high
    assert found["gain/linear/duplicate/low"] == found["gain/linear/duplicate/high"] == 0


@pytest.mark.parametrize("name", ["rbf", "mlp"])
def test_other_classifiers_gain_by_the_true_law(name):
    found = gains(Made(), classifiers=(name,), multiples=(0, 10))
    assert found[f"accuracy/{name}"] > 0.6
    assert found[f"gain of {name}"].ys["full"][1] > 1
    again = gains(Made(), classifiers=(name,), multiples=(0, 10))
    assert again[f"gain/{name}/full"] == found[f"gain/{name}/full"]


def test_the_law_of_generated_rows_is_judged_class_by_class():
    maps = lambda means: np.repeat(means[:, :2, None, None], 3, 3)
    good, bad = (
        generated_classes(maps=maps, columns=("one", "two"))(Made(law), True)
        for law in (true_law, wrong_law)
    )
    assert good["class_means"] > 0.95 and bad["class_means"] < -0.9
    assert abs(good["mmd"]) < 0.02 < 0.05 < bad["mmd"]
    assert good["fid"] < 0.2 < 1 < bad["fid"]
    assert good["class_agreement"] > 0.55 > 0.45 > bad["class_agreement"]
    assert good["class_agreement/real"] == bad["class_agreement/real"]
    assert good["class means"].images.shape == (4, 2, 1, 3, 1)
    assert len(good["real and generated"].xy) == 600


def test_the_discrepancy_is_the_double_loop():
    rng = np.random.default_rng(0)
    x, y, s = rng.normal(size=(4, 2)), rng.normal(size=(3, 2)), 0.8
    k = lambda a, b: np.exp(-np.square(a - b).sum() / (2 * s**2))
    pairs = lambda a: [
        k(a[i], a[j]) for i in range(len(a)) for j in range(len(a)) if i != j
    ]
    apart = np.mean([k(a, b) for a in x for b in y])
    wanted = np.mean(pairs(x)) + np.mean(pairs(y)) - 2 * apart
    np.testing.assert_allclose(mmd_rbf(x, y, (s,)), wanted, rtol=1e-12)


def test_mistakes_are_refused():
    for settings, told in (
        (dict(classifiers=("forest",)), "linear, rbf, mlp, got 'forest'"),
        (dict(accept="taste"), "confidence or critic or knn, got 'taste'"),
        (dict(multiples=(1, 2)), r"ascend from 0, got \[1, 2\]"),
    ):
        with pytest.raises(ValueError, match=told):
            augmentation_gain(**settings)
    silent = Made(lambda key, y: jnp.zeros(0))
    silent.generated_of = lambda rows, key: {}
    with pytest.raises(ValueError, match="must generate 'image'"):
        gains(silent)
