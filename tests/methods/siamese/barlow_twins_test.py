"""Barlow Twins: its loss in loops, its gradient, its statistics, and redundancy."""

from functools import cache

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import Mesh
from toys import images, jitted, two_views

from jssl import sharding
from jssl.methods.siamese.barlow_twins import barlow_twins
from jssl.models.convnet import ConvNet
from jssl.models.heads import MLP, Siamese

headline = "loss"
KEY = jax.random.key(1)


def network():
    return jitted(Siamese(ConvNet((8, 16)), MLP((16, 8), last_bias=False)))


def tiny(tx):
    return barlow_twins(network(), tx or optax.adam(3e-3), two_views), {"image": images()}


def loops(a, b, lam):
    """The loss, the mean of the diagonal, and the RMS off it."""
    (n, d), total, own, other = a.shape, 0.0, [], []
    for i in range(d):
        for j in range(d):
            x, y = a[:, i] - a[:, i].mean(), b[:, j] - b[:, j].mean()
            deviations = np.sqrt((x @ x / n + 1e-5) * (y @ y / n + 1e-5))
            c = x @ y / n / deviations
            (own if i == j else other).append(c)
            total += (1 - c) ** 2 if i == j else lam * c**2
    return total, np.mean(own), np.sqrt(np.mean(np.square(other)))


@cache
def stepped():
    """A method, a first state, the state after a step and its metrics."""
    batch = {"image": images()}
    method = barlow_twins(network(), optax.sgd(1.0), two_views, lam=0.3, scale=0.1)
    state = jax.jit(method.init)(jax.random.key(0), batch)
    return method, state, *jax.jit(method.step)(KEY, state, batch)


def projections(params, stats):
    """z of either view in training, one after the other, and the statistics then."""
    views, found = two_views(KEY, images()), []
    for i in (0, 1):
        out, stats = network().apply(params, stats, views[:, i], train=True)
        found.append(out["z"])
    return found, stats


@pytest.mark.parametrize("devices", [1, 8])
def test_the_loss_is_the_papers_loop_over_the_batch_of_all_devices(devices):
    method, state, *_ = stepped()
    z, _ = projections(state.params, state.stats)
    loss, own, rest = loops(*(np.asarray(x, np.float64) for x in z), 0.3)
    mesh = Mesh(np.array(jax.devices()[:devices]), ("data",))
    # On eight devices a row each: of its own, none has any variance.
    batch = jax.device_put({"image": images()}, sharding.rows(mesh, 0))
    _, metrics = jax.jit(method.step)(KEY, state, batch)
    wanted = {"loss": 0.1 * loss, "invariance": own, "redundancy": rest}
    assert metrics.keys() == {*wanted, "grad_norm"}
    for name, value in wanted.items():
        np.testing.assert_allclose(metrics[name], value, rtol=1e-4, err_msg=name)


def test_both_views_get_the_gradient_of_numpys_correlations_and_move_the_statistics():
    _, before, after, _ = stepped()

    @jax.grad
    def slope(params):
        (a, b), _ = projections(params, before.stats)
        c, d = jnp.corrcoef(a.T, b.T), a.shape[1]
        c = c[:d, d:]
        own = jnp.diag(c)
        rest = (c**2).sum() - (own**2).sum()
        return 0.1 * (((1 - own) ** 2).sum() + 0.3 * rest)

    moved = jax.tree.map(jnp.subtract, before.params, after.params)
    chex.assert_trees_all_close(moved, slope(before.params), rtol=2e-3, atol=2e-4)
    _, stats = projections(before.params, before.stats)
    chex.assert_trees_all_close(after.stats, stats, rtol=1e-4, atol=1e-6)


def test_accumulated_gradients_are_refused():
    tx = optax.MultiSteps(optax.sgd(1.0), 2)
    method, batch = tiny(tx)
    with pytest.raises(ValueError, match="barlow_twins: the loss compares the samples"):
        jax.eval_shape(method.init, KEY, batch)


def clusters(key, n=128):
    """Eight-dimensional Gaussian clusters."""
    label_key, key = jax.random.split(key)
    centers = 2 * jax.random.normal(jax.random.key(9), (5, 8))
    label = jax.random.randint(label_key, (n,), 0, 5)
    return centers[label] + 0.3 * jax.random.normal(key, (n, 8))


def noisy(key, batch):
    x = batch["image"]
    return x[:, None] + jax.random.normal(key, (len(x), 2, 8))


@jax.jit
def learnt(lam):
    """Metrics of the last of 200 steps of noisy views, and z [n, 16] of other samples."""
    net = Siamese(MLP((32, 16), last_norm="affine"), MLP((16, 16), last_bias=False))
    method = barlow_twins(jitted(net), optax.adam(1e-2), noisy, lam=lam)

    def step(state, key):
        return method.step(key, state, {"image": clusters(key)})

    key, other = jax.random.key(0), jax.random.key(1)
    state = method.init(key, {"image": clusters(key)})
    state, metrics = jax.lax.scan(step, state, jax.random.split(key, 200))
    z = method.embed(state, {"image": clusters(other)})["z"]
    return jax.tree.map(lambda x: x[-1], metrics), z


def directions(z):
    """Effective rank of a correlation matrix, by the entropy of its eigenvalues."""
    share = np.linalg.eigvalsh(np.corrcoef(z.T)).clip(1e-12)
    share /= share.sum()
    return np.exp(-(share * np.log(share)).sum())


def test_without_the_second_term_features_repeat_each_other():
    (metrics, z), (without, repeated) = learnt(0.05), learnt(0.0)
    assert directions(np.asarray(z)) > 3
    assert directions(np.asarray(repeated)) < 2.5
    assert without["redundancy"] > 2 * metrics["redundancy"]
    assert without["invariance"] > 0.8
