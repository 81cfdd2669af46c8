"""Fine-tuning: what moves, what keeps still, and what is left behind."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jssl.evals import Features, finetune


def state(seed):
    rng = np.random.default_rng(seed)
    return {
        "params": {
            "conv0": jnp.asarray(rng.normal(size=(6, 5)), jnp.float32),
            "conv1": jnp.asarray(rng.normal(size=(5, 4)), jnp.float32),
        },
        "batch_stats": {"norm0": jnp.asarray(rng.normal(size=5), jnp.float32)},
        "count": jnp.array(3),
        "key": jax.random.key(0),
    }


def apply(state, batch):
    images = batch["image"]
    x = images.reshape(len(images), -1) @ state["params"]["conv0"]
    x = jax.nn.relu(x + state["batch_stats"]["norm0"])
    return jnp.tanh(x @ state["params"]["conv1"])


class Network(Features):
    """A network of two layers, and images whose class is a direction."""

    def __init__(self):
        rng = np.random.default_rng(1)
        self.x, self.y, self.asked = {}, {}, []
        for split, n in (("train", 120), ("val", 40), ("test", 60)):
            x = rng.normal(size=(n, 1, 3, 2)).astype(np.float32)
            self.x[split] = x
            self.y[split] = (x[:, 0, 0, 0] > x[:, 0, 1, 1]).astype(int)

    def __call__(self, split, name="h"):
        return np.asarray(apply(state(0), {"image": self.x[split]}))

    def rows(self, split):
        self.asked.append(split)
        return {"image": self.x[split]}

    def labels(self, split):
        return self.y[split]

    def network(self, name):
        return apply, state(0)

    def start(self):
        return state(9)


def fitted(upto=None, frozen=False, steps=5):
    features = Network()
    begun = state(0) if upto is None else finetune.transferred(state(0), state(9), upto)
    groups = finetune._groups(state(0), upto, frozen)
    rows = {"image": features.x["train"]}, features.y["train"]
    after, _ = finetune._fit(apply, begun, groups, *rows, steps, 16, 1e-2, 0)
    return begun, after


def same(a, b):
    return bool((a == b).all())


def test_statistics_counters_and_keys_keep_still():
    begun, after = fitted()
    assert same(begun["batch_stats"]["norm0"], after["batch_stats"]["norm0"])
    assert same(begun["count"], after["count"])
    assert not same(begun["params"]["conv0"], after["params"]["conv0"])


def test_frozen_layers_are_bit_identical_after_training():
    begun, after = fitted(upto=1, frozen=True)
    assert same(begun["params"]["conv0"], after["params"]["conv0"])
    assert not same(begun["params"]["conv1"], after["params"]["conv1"])


def test_no_layer_is_the_fresh_state_and_all_are_the_trained_one():
    trained, fresh = state(0)["params"], state(9)["params"]
    none = finetune.transferred(trained, fresh, 0)
    assert all(map(same, jax.tree.leaves(none), jax.tree.leaves(fresh)))
    every = finetune.transferred(trained, fresh, 2)
    assert all(map(same, jax.tree.leaves(every), jax.tree.leaves(trained)))


def test_taken_layers_learn_ten_times_more_gently():
    begun, after = fitted(upto=1, steps=1)
    moved = lambda name: float(jnp.abs(after["params"][name] - begun["params"][name]).max())
    assert moved("conv1") == pytest.approx(10 * moved("conv0"), rel=1e-2)


def test_it_learns_and_judges_test_only_in_the_end():
    features = Network()
    found = finetune.fine_tune(steps=300, lr=3e-2)(features, final=False)
    assert found["fine_tune"] > 0.75
    assert "test" not in features.asked
    finetune.fine_tune(steps=1)(features, final=True)
    assert features.asked.count("test") == 1


def test_few_labels_are_as_many_of_each_class():
    found = finetune.fine_tune(per_class=5, steps=1)(Network(), final=True)
    assert list(found) == ["fine_tune@5"]
    with pytest.raises(ValueError, match="class"):
        finetune.fine_tune(per_class=500, steps=1)(Network(), final=True)
