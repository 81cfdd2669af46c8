"""SimCLR: the loss of its two views, computed from its own network's outputs."""

from functools import cache

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
from toys import images, jitted, two_views

from jssl.methods.contrastive.simclr import simclr
from jssl.models.convnet import ConvNet
from jssl.models.heads import MLP, Siamese

headline = "loss"


def network():
    return jitted(Siamese(ConvNet((8, 16)), MLP((16, 8))))


def tiny(tx):
    method = simclr(network(), tx or optax.adam(3e-3), two_views, temperature=0.5)
    return method, {"image": images()}


@cache
def stepped():
    """The states around a step that moves no weight, its views, and its metrics."""
    method, batch = tiny(optax.sgd(0.0))
    before = jax.jit(method.init)(jax.random.key(0), batch)
    after, metrics = jax.jit(method.step)(jax.random.key(1), before, batch)
    views = two_views(jax.random.key(1), batch["image"]).reshape(16, 8, 8, 1)
    return before, after, views, metrics


def test_the_loss_is_that_of_the_papers_double_loop():
    state, _, views, metrics = stepped()
    out, _ = network().apply(state.params, state.stats, views, train=True)
    z = np.asarray(out["z"], np.float64)
    z /= np.linalg.norm(z, axis=1, keepdims=True)
    total = 0.0
    for i in range(16):
        others = [k for k in range(16) if k != i]
        partner = i + 1 if i % 2 == 0 else i - 1  # views of an image stand together
        scores = np.exp(z[others] @ z[i] / 0.5)
        total -= np.log(np.exp(z[partner] @ z[i] / 0.5) / scores.sum())
    np.testing.assert_allclose(metrics["loss"], total / 16, rtol=1e-5)


def test_both_views_move_the_same_statistics_once():
    state, after, views, _ = stepped()
    _, stats = network().apply(state.params, state.stats, views, train=True)
    norms = after.stats["batch_stats"]["encoder"], stats["batch_stats"]["encoder"]
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4), *norms)


def test_at_scale_two_the_weights_descend_the_sum_of_both_views_means():
    """objective.py of google-research/simclr: loss_a + loss_b; the metric stays L."""
    batch = {"image": images()}
    how = dict(temperature=0.5, scale=2.0)
    method = simclr(network(), optax.sgd(0.1), two_views, **how)
    before = jax.jit(method.init)(jax.random.key(0), batch)
    after, metrics = jax.jit(method.step)(jax.random.key(1), before, batch)
    views = two_views(jax.random.key(1), batch["image"]).reshape(16, 8, 8, 1)

    @jax.jit
    @jax.value_and_grad
    def official(params):
        out, _ = network().apply(params, before.stats, views, train=True)
        z = out["z"] / jnp.linalg.norm(out["z"], axis=1, keepdims=True)
        one, two = z[::2], z[1::2]
        itself, labels = 1e9 * jnp.eye(8), jnp.arange(8)

        def half(a, b):
            logits = jnp.concatenate([a @ b.T / 0.5, a @ a.T / 0.5 - itself], 1)
            return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

        return half(one, two) + half(two, one)

    value, grads = official(before.params)
    np.testing.assert_allclose(metrics["loss"], value / 2, rtol=1e-5)
    wanted = jax.tree.map(lambda w, g: w - 0.1 * g, before.params, grads)
    chex.assert_trees_all_close(after.params, wanted, rtol=1e-4, atol=1e-6)
