"""SwAV: its loss in loops, its gradient, frozen prototypes, the queue, and collapse."""

from functools import cache, partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from toys import images, jitted, two_views

from jssl import optim
from jssl.methods.clustering.swav import normalized, swav
from jssl.models.convnet import ConvNet
from jssl.models.heads import MLP
from jssl.models.prototypes import Prototypes

headline = "loss"
KEY = jax.random.key(1)
TAU, EPSILON, ITERATIONS = 0.2, 0.1, 3
HOW = dict(temperature=TAU, epsilon=EPSILON, iterations=ITERATIONS)


def network():
    return jitted(Prototypes(ConvNet((8,)), MLP((8, 8)), 6))


def groups(key, batch):
    """Two views of 8 pixels, and three of 4."""
    large, small = jax.random.split(key)
    x = batch["image"]
    few = two_views(small, x[:, ::2, ::2])
    return two_views(large, x), jnp.concatenate([few, few[:, :1] + 0.1], 1)


def tiny(tx):
    return swav(network(), tx or optax.adam(3e-3), groups, **HOW), {"image": images()}


def forward(params, stats):
    """z and scores of all views, by number, and the statistics after them."""
    apply, h = network().apply, []
    for views in groups(KEY, {"image": images()}):
        rows = views.reshape(-1, *views.shape[2:])
        out, stats = apply(params, stats, rows, train=True, method="encode")
        h.append(out["h"].reshape(8, -1, 8))
    h = jnp.concatenate(h, 1)
    out, stats = apply(params, stats, h.reshape(-1, 8), train=True, method="assign")
    z, scores = (out[k].reshape(8, 5, -1).swapaxes(0, 1) for k in ("z", "prototypes"))
    return z, scores, stats


def dealt(scores, iterations=ITERATIONS):
    """The paper's listing: columns of K prototypes to 1 / K, rows to 1 / B."""
    q = np.exp(np.asarray(scores, np.float64) / EPSILON).T
    q /= q.sum()
    k, b = q.shape
    for _ in range(iterations):
        q /= q.sum(1, keepdims=True) * k
        q /= q.sum(0, keepdims=True) * b
    return (q / q.sum(0, keepdims=True)).T


def swapped(scores, codes):
    """The loss, by loops over codes of the large views and all other views."""
    total = 0.0
    for i, q in enumerate(codes):
        for v, s in enumerate(scores):
            if v != i:
                s = np.asarray(s, np.float64) / TAU
                log_p = s - np.log(np.exp(s).sum(1, keepdims=True))
                total -= (q * log_p).sum(1).mean()
    return total / len(codes) / (len(scores) - 1)


@cache
def began():
    """A first state, whose prototypes are not of length 1."""
    method, batch = tiny(optax.sgd(1.0))
    return jax.jit(method.init)(jax.random.key(0), batch)


def test_the_loss_is_the_papers_loop_with_prototypes_of_length_one():
    method, batch = tiny(optax.sgd(1.0))
    after, metrics = jax.jit(method.step)(KEY, began(), batch)
    start = began().learner
    lengths = np.linalg.norm(start.params["prototypes"]["kernel"], axis=0)
    assert abs(lengths - 1).max() > 0.1
    params = dict(start.params)
    params["prototypes"] = {"kernel": start.params["prototypes"]["kernel"] / lengths}
    z, scores, stats = forward(params, start.stats)
    np.testing.assert_allclose(jnp.linalg.norm(z, axis=-1), 1, rtol=1e-5)
    codes = [dealt(s) for s in scores[:2]]
    np.testing.assert_allclose(metrics["loss"], swapped(scores, codes), rtol=1e-5)
    p = np.asarray(jax.nn.softmax(scores / TAU)).mean((0, 1))
    used = np.exp(-(p * np.log(p)).sum())
    np.testing.assert_allclose(metrics["prototypes_used"], used, rtol=1e-5)
    chex.assert_trees_all_close(after.learner.stats, stats, rtol=1e-4, atol=1e-6)

    @jax.grad
    def slope(params):
        _, scores, _ = forward(params, start.stats)
        value = 0.0
        for i, v in [(i, v) for i in (0, 1) for v in range(5) if v != i]:
            log_p = jax.nn.log_softmax(scores[v] / TAU)
            value -= (jnp.float32(codes[i]) * log_p).sum(1).mean() / 8
        return value

    moved = jax.tree.map(jnp.subtract, params, after.learner.params)
    chex.assert_trees_all_close(moved, slope(params), rtol=1e-3, atol=1e-5)
    out = jax.jit(method.embed)(after, batch)
    kernel = after.learner.params["prototypes"]["kernel"]
    wanted = out["z"] @ (kernel / jnp.linalg.norm(kernel, axis=0))
    np.testing.assert_allclose(out["prototypes"], wanted, rtol=1e-4, atol=1e-5)


def test_held_prototypes_have_neither_momentum_nor_decay_and_then_begin_anew():
    """The first step of the prototypes is that of an optimizer that begins with it."""
    late = partial(optim.held, where="prototypes", steps=2)
    decay, rate = optax.add_decayed_weights(0.5), optax.scale(-0.1)
    tx = optax.chain(decay, late(optax.trace(0.9)), rate, late(optax.identity()))
    new = optax.chain(decay, optax.trace(0.9), rate)
    method, other = (swav(network(), x, groups, **HOW) for x in (tx, new))
    batch = {"image": images()}
    state, step = jax.jit(method.init)(jax.random.key(0), batch), jax.jit(method.step)
    start = normalized(state.learner).params["prototypes"]["kernel"]
    for _ in range(2):
        state, _ = step(KEY, state, batch)
        kernel = state.learner.params["prototypes"]["kernel"]
        np.testing.assert_allclose(kernel, start, atol=1e-6)
    learner = state.learner._replace(opt=new.init(state.learner.params))
    wanted, _ = jax.jit(other.step)(KEY, state._replace(learner=learner), batch)
    after, _ = step(KEY, state, batch)
    found, wanted = (x.learner.params["prototypes"]["kernel"] for x in (after, wanted))
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-7)
    assert np.abs(found - start).max() > 1e-3


def test_codes_are_dealt_together_with_a_full_queue_from_its_step_on():
    method = swav(network(), optax.sgd(0.0), groups, queue=12, queue_from=1, **HOW)
    batch = {"image": images()}
    state, step = jax.jit(method.init)(jax.random.key(0), batch), jax.jit(method.step)
    params = normalized(state.learner).params
    kernel = np.asarray(params["prototypes"]["kernel"], np.float64)
    stats = state.learner.stats
    for i in range(3):
        z, scores, stats = forward(params, stats)
        queue = np.asarray(state.queue.keys, np.float64).reshape(12, 2, 8)
        alone = [dealt(s) for s in scores[:2]]
        both = [dealt(np.concatenate([queue[:, j] @ kernel, scores[j]])) for j in (0, 1)]
        # 12 rows are full after two batches of 8, later than `queue_from`.
        wanted = [q[12:] for q in both] if i == 2 else alone
        state, metrics = step(KEY, state, batch)
        np.testing.assert_allclose(metrics["loss"], swapped(scores, wanted), rtol=1e-5)
        own = np.asarray(z[:2]).swapaxes(0, 1).reshape(8, -1)
        places = (8 * i + np.arange(8)) % 12
        np.testing.assert_allclose(state.queue.keys[places], own, atol=1e-5)
    assert abs(swapped(scores, wanted) - swapped(scores, alone)) > 1e-3


def test_accumulated_gradients_are_refused():
    method, batch = tiny(optax.MultiSteps(optax.sgd(1.0), 2))
    with pytest.raises(ValueError, match="swav: the loss compares the samples"):
        jax.eval_shape(method.init, KEY, batch)


def noisy(key, batch):
    label_key, key = jax.random.split(key)
    centers = 2 * jax.random.normal(jax.random.key(9), (5, 8))
    x = centers[jax.random.randint(label_key, (64,), 0, 5)]
    return (x[:, None] + jax.random.normal(key, (64, 2, 8)),)


def learnt(iterations):
    """Metrics of the last of 300 steps on views of five Gaussian clusters."""
    net = jitted(Prototypes(MLP((32, 16)), MLP((16, 8)), 10))
    method = swav(net, optax.adam(1e-2), noisy, iterations=iterations)
    batch = {"image": jnp.zeros((64, 8))}

    def step(state, key):
        return method.step(key, state, batch)

    @jax.jit
    def run(key):
        state = method.init(key, batch)
        _, metrics = jax.lax.scan(step, state, jax.random.split(key, 300))
        return jax.tree.map(lambda x: x[-10:].mean(), metrics)

    return run(jax.random.key(0))


def test_without_sinkhorn_all_samples_have_one_prototype():
    healthy, collapsed = learnt(3), learnt(0)
    assert healthy["prototypes_used"] > 5
    assert healthy["loss"] < np.log(10) - 0.5
    assert collapsed["prototypes_used"] < 3
