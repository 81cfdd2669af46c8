"""DeepCluster: what a round does, piece by piece."""

from functools import cache, partial
from pathlib import Path

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy import ndimage
from toys import images, jitted, noisy

from jssl import config
from jssl.learner import ema_weights
from jssl.methods.clustering.deepcluster import deepcluster
from jssl.models.convnet import ConvNet
from jssl.models.heads import Classifier
from jssl.ops.edges import sobel
from jssl.ops.order import balanced_order

headline = "loss"
SIZE, CLUSTERS = 8, 3


def tiny(tx):
    net = jitted(Classifier(ConvNet((8, 16)), CLUSTERS))
    tx = tx or optax.adam(3e-3)
    how = dict(size=SIZE, clusters=CLUSTERS, components=4, augment=noisy)
    method = deepcluster(net, tx, **how)
    return method, {"image": images(), "index": jnp.arange(8, dtype=jnp.int32)}


@cache
def refreshed():
    """A method, its state after two steps, and after a round's beginning."""
    method, batch = tiny(optax.sgd(0.1, momentum=0.9))
    state, step = jax.jit(method.init)(jax.random.key(0), batch), jax.jit(method.step)
    for i in range(2):
        state, _ = step(jax.random.key(i), state, batch)
    collect = lambda fn, *args, split="train": np.asarray(jax.jit(fn)(*args, batch))
    return method, state, *method.refresh(jax.random.key(3), state, collect)


def test_a_round_gives_every_sample_a_cluster_and_every_cluster_a_sample():
    *_, after, order = refreshed()
    assert after.clusters.shape == (SIZE,)
    assert set(np.asarray(after.clusters).tolist()) == set(range(CLUSTERS))
    assert len(order) == SIZE


def test_a_round_begins_with_a_new_head_that_remembers_nothing():
    _, before, after, _ = refreshed()
    kernel = np.asarray(after.learner.params["head"]["kernel"])
    assert 0.002 < kernel.std() < 0.05
    assert not np.any(after.learner.params["head"]["bias"])
    trace = optax.tree.get(after.learner.opt, "trace")
    old = optax.tree.get(before.learner.opt, "trace")
    assert not any(np.any(x) for x in jax.tree.leaves(trace["head"]))
    np.testing.assert_array_equal(
        trace["encoder"]["conv0"]["kernel"], old["encoder"]["conv0"]["kernel"]
    )
    assert np.any(old["encoder"]["conv0"]["kernel"])
    np.testing.assert_array_equal(
        before.learner.params["encoder"]["conv0"]["kernel"],
        after.learner.params["encoder"]["conv0"]["kernel"],
    )


def test_a_new_head_restarts_in_any_chain_of_optimizers():
    """Of a partition, and of averaged weights: momentum 0, average the new head."""
    parts = {"head": optax.sgd(0.1, momentum=0.5), "rest": optax.sgd(0.1, momentum=0.9)}
    label = lambda params: {k: "head" if k == "head" else "rest" for k in params}
    tx = optax.chain(optax.partition(parts, label), ema_weights(0.5))
    method, batch = tiny(tx)
    state = jax.jit(method.init)(jax.random.key(0), batch)
    for i in range(2):
        state, _ = jax.jit(method.step)(jax.random.key(i), state, batch)
    collect = lambda fn, *args, split="train": np.asarray(jax.jit(fn)(*args, batch))
    after, _ = method.refresh(jax.random.key(3), state, collect)
    before, after = state.learner, after.learner
    new = after.params["head"]
    chex.assert_trees_all_equal(after.ema, before.ema | {"head": new})
    assert (np.asarray(before.params["head"]["kernel"]) != new["kernel"]).any()
    traces = [optax.tree.get_all_with_path(x.opt, "trace") for x in (before, after)]
    assert len(traces[0]) == 2
    for (_, old), (_, kept) in zip(*traces, strict=True):
        if isinstance(old["head"], optax.MaskedNode):
            chex.assert_trees_all_equal(old["encoder"], kept["encoder"])
        else:
            assert all(np.any(x) for x in jax.tree.leaves(old["head"]))
            assert not any(np.any(x) for x in jax.tree.leaves(kept["head"]))


def test_the_heads_sgd_has_no_momentum_if_asked_for_as_in_the_released_code():
    """optimizer_tl of facebookresearch/deepcluster; all other weights have 0.9."""
    path = Path(__file__).parents[3] / "experiments" / "deepcluster.py"
    [stage] = config.load(f"{path}:laptop,tiny=True,head_momentum=0.0").stages()
    shapes = jax.eval_shape(stage.data.decode, stage.data.shapes())
    batch = {k: jnp.ones(x.shape, x.dtype) for k, x in shapes.items()}
    state = jax.jit(stage.method.init)(jax.random.key(0), batch)
    traces = optax.tree.get_all_with_path(state.learner.opt, "trace")
    assert [sorted(trace) for _, trace in traces if "encoder" in trace]
    for _, trace in traces:
        assert isinstance(trace["head"], optax.MaskedNode)
        assert jax.tree.leaves(trace["encoder"])


def test_a_step_takes_its_targets_by_index():
    method, _, after, _ = refreshed()
    rows = jnp.array([5, 2], jnp.int32)
    batch = {"image": images()[rows], "index": rows}
    _, metrics = jax.jit(method.step)(jax.random.key(0), after, batch)
    net = jitted(Classifier(ConvNet((8, 16)), CLUSTERS))
    seen, learner = noisy(jax.random.key(0), batch["image"]), after.learner
    out, _ = jax.jit(partial(net.apply, train=True))(learner.params, learner.stats, seen)
    wanted = optax.softmax_cross_entropy_with_integer_labels(
        out["logits"], after.clusters[rows]
    )
    np.testing.assert_allclose(metrics["loss"], wanted.mean(), rtol=1e-5)


@pytest.mark.parametrize("sizes", [(50, 30, 20), (97, 2, 1), (40, 60)])
def test_the_order_takes_as_many_of_each_cluster(sizes):
    clusters = np.repeat(np.arange(len(sizes)), sizes)
    order = balanced_order(jax.random.key(0), clusters)
    counts = np.bincount(clusters[order])
    assert len(order) == 100
    assert counts.max() - counts.min() <= 1
    for c, size in enumerate(sizes):  # repeats only where there are not enough
        picked = order[clusters[order] == c]
        assert len(set(picked)) == min(size, len(picked))


def test_sobel_is_scipys():
    x = np.random.default_rng(0).random((2, 6, 7, 3))
    ours = np.asarray(sobel(jnp.asarray(x, jnp.float32)))
    for i in range(2):
        gray = x[i].mean(-1)
        for channel, axis in ((0, 1), (1, 0)):
            theirs = ndimage.sobel(gray, axis, mode="nearest")
            np.testing.assert_allclose(ours[i, ..., channel], theirs, atol=1e-5)
    assert not np.any(sobel(jnp.ones((1, 4, 4, 1))))
