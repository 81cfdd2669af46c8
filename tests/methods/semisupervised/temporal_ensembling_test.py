"""Temporal ensembling: its loss, and its store against the paper's two tables.

The store itself is tested in tests/ops/memory_test.py.
"""

from functools import cache, partial
from pathlib import Path

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.special
from toys import few_labels, jitted, noisy

from jssl import config, sharding
from jssl.data import dataset
from jssl.learner import descend, ema_weights, fresh
from jssl.methods.semisupervised.temporal_ensembling import temporal_ensembling
from jssl.models.convnet import ConvNet
from jssl.models.heads import Classifier

headline = "loss"
KEY = jax.random.key(3)
TX = optax.chain(optax.sgd(0.3), ema_weights(0.5))
noisier = partial(noisy, deviation=0.2)


def network():
    return jitted(Classifier(ConvNet((8,)), 3))


def tiny(tx):
    how = dict(size=8, weight=1.0, ramp=10)
    return temporal_ensembling(network(), tx or optax.sgd(0.1), noisy, **how), few_labels()


def rows(batch):
    return batch["unlabeled"]


@cache
def compiled(divisor="batch"):
    """The method with ten samples, its compiled step, and a first state."""
    how = dict(size=10, weight=20.0, ramp=4, divisor=divisor)
    m = temporal_ensembling(network(), TX, noisier, **how)
    return m, jax.jit(m.step), jax.jit(m.init)(jax.random.key(9), few_labels())


def trained(learner, images):
    out, stats = network().apply(learner.params, learner.stats, images, train=True)
    return out["logits"], stats


def seen(key, batch):
    images = [batch[part]["image"] for part in ("labeled", "unlabeled")]
    return noisier(key, jnp.concatenate(images))


def numbered(*index):
    """The toy batch, with the unlabeled rows that many samples of the data."""
    batch, index = few_labels(), jnp.array(index)
    image = batch["unlabeled"]["image"][index % 8]
    return batch | {"unlabeled": {"image": image, "index": index}}


@pytest.mark.parametrize("divisor", ["batch", "labeled"])
def test_the_weights_descend_the_papers_loss_with_the_targets_held_fixed(divisor):
    """Rows 0 to 3 have a target after the first step; 4 rows of the second have none."""
    _, step, state = compiled(divisor)
    keys = jax.random.split(KEY)
    first, second = numbered(0, 1, 2, 3), numbered(2, 3, 0, 1, 6, 7, 8, 9)
    past, _ = trained(state.learner, seen(keys[0], first))
    target = jax.nn.softmax(past[8:])[jnp.array([2, 3, 0, 1])]
    state, metrics = step(keys[0], state, first)
    assert metrics["unlabeled"] == metrics["with_target"] == 0  # nothing to agree with
    after, metrics = step(keys[1], state, second)
    learner, x = state.learner, seen(keys[1], second)
    w, labels = 20 * np.exp(-5 * (1 - 1 / 4) ** 2), np.arange(8) % 3

    @jax.jit
    @partial(jax.value_and_grad, has_aux=True)
    def paper(params):
        logits, stats = trained(learner._replace(params=params), x)
        known = -jax.nn.log_softmax(logits)[jnp.arange(8), labels].sum() / 8
        agreed = jnp.sum((jax.nn.softmax(logits)[8:12] - target) ** 2) / (8 * 3)
        return known + w * agreed, (known, agreed, stats)

    (value, (known, agreed, stats)), grads = paper(learner.params)
    names = ("loss", "labeled", "unlabeled", "weight", "with_target")
    found = [float(metrics[name]) for name in names]
    np.testing.assert_allclose(found, [value, known, agreed, w, 0.5], rtol=1e-4)
    wanted = descend(optax.sgd(0.3), fresh(optax.sgd(0.3), learner.params), grads).params
    chex.assert_trees_all_close(after.learner.params, wanted, rtol=1e-4, atol=1e-6)
    chex.assert_trees_all_close(after.learner.stats, stats, rtol=1e-4, atol=1e-6)


def test_the_labeled_term_is_divided_by_the_unlabeled_or_the_labeled_rows():
    batch, found = numbered(0, 1, 2, 3), []
    for divisor in ("batch", "labeled"):
        _, step, state = compiled(divisor)
        found.append(step(KEY, state, batch)[1]["labeled"])
    np.testing.assert_allclose(found[0] / found[1], 8 / 4, rtol=1e-6)


def test_over_shuffled_epochs_the_store_is_the_papers_two_tables():
    """Training on a source of ten rows in batches of four: two rows are left out."""
    _, step, state = compiled()
    table = {"image": np.zeros((10, 1, 1, 1), np.uint8)}
    source = dataset("toy", {"train": table}, batch=4, seed=2)
    per_epoch, decay = source.steps(1), 0.6
    average, times = np.zeros((10, 3)), np.zeros(10)
    for s, read in zip(range(4 * per_epoch), source.indices(), strict=False):
        if s % per_epoch == 0:
            new = np.zeros((10, 3))
            whole = np.where(times > 0, 1 - decay**times, 1)[:, None]
            targets, visited = average / whole, []
        key, index = jax.random.fold_in(KEY, s), np.asarray(read["index"])
        batch = numbered(*index)
        logits, _ = trained(state.learner, seen(key, batch))
        z = scipy.special.softmax(np.asarray(logits[8:], np.float64), axis=1)
        state, metrics = step(key, state, batch)
        agreed = (np.square(z - targets[index]).mean(1) * (times[index] > 0)).mean()
        np.testing.assert_allclose(metrics["unlabeled"], agreed, rtol=1e-3, atol=1e-9)
        new[index], visited = z, [*visited, *index]
        if (s + 1) % per_epoch == 0:  # the end of an epoch
            assert len(set(visited)) == len(visited) == 8
            average[visited] = decay * average[visited] + (1 - decay) * new[visited]
            times[visited] += 1
            np.testing.assert_allclose(state.ensemble.sums, average, rtol=1e-3, atol=1e-6)
            np.testing.assert_array_equal(state.ensemble.counts, times)
    assert len(set(times)) > 1


def test_the_weight_counts_updates_and_the_store_every_batch():
    tx = optax.MultiSteps(optax.sgd(0.1), 2)
    m = temporal_ensembling(network(), tx, noisier, size=8, weight=8.0, ramp=2)
    state, step = jax.jit(m.init)(KEY, few_labels()), jax.jit(m.step)
    weights = []
    for _ in range(4):
        state, metrics = step(KEY, state, few_labels())
        weights.append(float(metrics["weight"]))
    wanted = 8 * np.exp(-5 * (1 - np.array([0, 0, 1, 1]) / 2) ** 2)
    np.testing.assert_allclose(weights, wanted, rtol=1e-5)
    np.testing.assert_array_equal(state.ensemble.counts, 4)


def test_the_average_of_the_weights_is_what_is_judged():
    m, step, state = compiled()
    learner = step(KEY, state, numbered(0, 1, 2, 3))[0].learner
    images = few_labels()["unlabeled"]["image"]
    out = jax.jit(m.embed)(state._replace(learner=learner), {"image": images})
    wanted, _ = network().apply(learner.ema, learner.stats, images)
    np.testing.assert_allclose(out["logits"], wanted["logits"], rtol=1e-5, atol=1e-6)


def test_the_store_is_sharded_by_rows_over_the_data_axis():
    path = Path(__file__).parents[3] / "experiments" / "temporal_ensembling.py"
    [stage] = config.load(f"{path}:laptop,tiny=True").stages()
    m, batch = tiny(None)
    state = jax.eval_shape(m.init, KEY, batch)
    placed = sharding.infer(state, sharding.make_mesh(), stage.rules)
    rows = jax.sharding.PartitionSpec(("data",))
    assert [x.spec for x in placed.ensemble] == [rows, rows]
    whole = jax.sharding.PartitionSpec()
    assert all(x.spec == whole for x in jax.tree.leaves((placed.learner, placed.count)))


def test_wrong_arguments_are_refused_in_one_line():
    make = partial(temporal_ensembling, network(), optax.sgd(0.1), noisy)
    with pytest.raises(ValueError, match="got 0 and 0.6"):
        make(size=0)
    with pytest.raises(ValueError, match="got 8 and 1.0"):
        make(size=8, decay=1.0)
    with pytest.raises(ValueError, match="divisor must be batch or labeled, got 'rows'"):
        make(size=8, divisor="rows")
