"""Probes of every layer."""

import jax.numpy as jnp
import numpy as np
import pytest

from jssl.evals import Features
from jssl.evals.layers import layer_probes, pool_to_budget
from jssl.evals.linear import linear_probe


def maps(seed, n=40, side=5, c=3):
    values = np.random.default_rng(seed).normal(size=(n, side, side, c))
    return jnp.asarray(values, jnp.float32)


def test_one_cell_is_the_mean_over_all_places():
    x = maps(0)
    np.testing.assert_allclose(pool_to_budget(x, 3), x.mean((1, 2)), rtol=1e-5, atol=1e-6)


def test_cells_are_those_of_adaptive_pooling():
    x = maps(1)
    found = np.asarray(pool_to_budget(x, 2 * 2 * 3)).reshape(40, 2, 2, 3)
    expected = x[:, :3, 2:].mean((1, 2))
    np.testing.assert_allclose(found[:, 0, 1], expected, rtol=1e-5, atol=1e-6)


def test_a_budget_is_kept_and_small_maps_stay_as_they_are():
    assert pool_to_budget(maps(2), 50).shape == (40, 48)
    np.testing.assert_allclose(pool_to_budget(maps(2), 10_000), maps(2).reshape(40, -1))


class Layers(Features):
    """Two layers, of which the second knows the class."""

    def __init__(self):
        rng = np.random.default_rng(0)
        self.y = {s: rng.integers(2, size=40) for s in ("train", "val", "test")}

    def labels(self, split):
        return self.y[split]

    def __call__(self, split, name="h", then=None):
        seed = ("train", "val", "test").index(split)
        known = maps(seed + 9) * 0.1 + self.y[split][:, None, None, None]
        return then((maps(seed), known))


def test_each_layer_has_an_exact_probe_of_its_own():
    features = Layers()
    found = layer_probes(budget=3)(features, final=True)
    assert list(found) == ["layer 1", "layer 2"]
    assert found["layer 2"] == 1
    assert found["layer 1"] < 0.8

    class Second(Layers):
        def __call__(self, split, name="h"):
            return np.asarray(super().__call__(split, then=lambda x: x[1]).mean((1, 2)))

    expected = linear_probe()(Second(), final=True)["linear"]
    assert found["layer 2"] == pytest.approx(expected)
