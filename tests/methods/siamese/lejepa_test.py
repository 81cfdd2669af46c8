"""LeJEPA: its loss in loops, its gradient, which also moves the target, and collapse."""

from functools import cache

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from toys import images, jitted, two_views

from jssl.methods.siamese.lejepa import lejepa
from jssl.models.convnet import ConvNet
from jssl.models.heads import MLP, Siamese

headline = "loss"
KEY = jax.random.key(1)
LAM, SLICES = 0.3, 4


def network():
    return jitted(Siamese(ConvNet((8,)), MLP((8, 4))))


def groups(key, batch):
    """Two views of 8 pixels, and three of 4."""
    large, small = jax.random.split(key)
    x = batch["image"]
    few = two_views(small, x[:, ::2, ::2])
    return two_views(large, x), jnp.concatenate([few, few[:, :1] + 0.1], 1)


def method(tx, lam=LAM):
    return lejepa(network(), tx, groups, lam=lam, slices=SLICES)


def tiny(tx):
    return method(tx or optax.adam(1e-2)), {"image": images()}


def projections(params, stats):
    """z of all views [5, n, k], with batch statistics by size, and the statistics then."""
    apply, h = network().apply, []
    for views in groups(jax.random.split(KEY)[0], {"image": images()}):
        rows = views.reshape(-1, *views.shape[2:])
        out, stats = apply(params, stats, rows, train=True, method="encode")
        h.append(out["h"].reshape(8, -1, 8))
    h = jnp.concatenate(h, 1).reshape(-1, 8)
    out, stats = apply(params, stats, h, train=True, method="head")
    return out["z"].reshape(8, 5, 4).swapaxes(0, 1), stats


def directions():
    u = jax.random.normal(jax.random.split(KEY)[1], (SLICES, 4))
    return u / jnp.linalg.norm(u, axis=1, keepdims=True)


@cache
def stepped(lam):
    """The states around a step, and its metrics."""
    made, batch = method(optax.sgd(1.0), lam), {"image": images()}
    before = jax.jit(made.init)(jax.random.key(0), batch)
    return before, *jax.jit(made.step)(KEY, before, batch)


def test_the_loss_is_the_loop_over_all_views_and_directions():
    before, after, metrics = stepped(LAM)
    z, stats = projections(before.params, before.stats)
    z, u = np.asarray(z, np.float64), np.asarray(directions(), np.float64)
    prediction, statistic = 0.0, 0.0
    t = np.linspace(-5, 5, 17)
    window = np.exp(-(t**2) / 2)
    for v in range(5):  # the large views are compared with their mean, too
        for i in range(8):
            prediction += ((z[v, i] - (z[0, i] + z[1, i]) / 2) ** 2).mean() / 40
        for direction in u:
            found = [np.exp(1j * f * (z[v] @ direction)).mean() for f in t]
            error = np.abs(np.array(found) - window) ** 2 * window
            statistic += 8 * np.trapezoid(error, t) / 5 / SLICES
    wanted = {
        "prediction": prediction,
        "sigreg": statistic,
        "loss": (1 - LAM) * prediction + LAM * statistic,
        "z_spread": z[0].std(0).mean(),
    }
    assert metrics.keys() == {*wanted, "grad_norm"}
    for name, value in wanted.items():
        np.testing.assert_allclose(metrics[name], value, rtol=1e-4, err_msg=name)
    chex.assert_trees_all_close(after.stats, stats, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("lam", [0.0, LAM])
def test_the_gradient_flows_through_all_views_and_their_target(lam):
    before, after, _ = stepped(lam)
    t = jnp.linspace(-5, 5, 17)

    @jax.jit
    @jax.grad
    def slope(params):
        z, _ = projections(params, before.stats)
        distances = jnp.square(z - (z[0] + z[1])[None] / 2).mean()
        waves = jnp.exp(1j * (z @ directions().T)[..., None] * t).mean(1)
        error = waves - jnp.exp(-(t**2) / 2)
        weight = jnp.exp(-(t**2) / 2)
        error = (error.real**2 + error.imag**2) * weight
        return (1 - lam) * distances + lam * 8 * jnp.trapezoid(error, t).mean()

    moved = jax.tree.map(jnp.subtract, before.params, after.params)
    chex.assert_trees_all_close(moved, slope(before.params), rtol=2e-3, atol=1e-5)


def test_other_keys_have_other_directions():
    before, _, metrics = stepped(LAM)
    views = groups(KEY, {"image": images()})
    still = lejepa(network(), optax.sgd(0.0), lambda *_: views, lam=LAM, slices=SLICES)
    step = jax.jit(still.step)
    one, two = (step(jax.random.key(i), before, {"image": images()})[1] for i in (0, 1))
    np.testing.assert_allclose(one["prediction"], two["prediction"], rtol=1e-5)
    assert abs(one["sigreg"] - two["sigreg"]) > 1e-3


def test_accumulated_gradients_are_refused():
    made, batch = tiny(optax.MultiSteps(optax.sgd(1.0), 2))
    with pytest.raises(ValueError, match="lejepa: the loss compares the samples"):
        jax.eval_shape(made.init, KEY, batch)


def noisy(key, batch):
    label_key, key = jax.random.split(key)
    centers = 2 * jax.random.normal(jax.random.key(9), (5, 8))
    x = centers[jax.random.randint(label_key, (64,), 0, 5)]
    return (x[:, None] + jax.random.normal(key, (64, 3, 8)),)


@jax.jit
def learnt(lam):
    """Metrics of the last of 300 steps on three views of five Gaussian clusters."""
    net = jitted(Siamese(MLP((32, 16)), MLP((16, 4))))
    made = lejepa(net, optax.adam(1e-2), noisy, lam=lam, slices=16)
    batch = {"image": jnp.zeros((64, 8))}
    state = made.init(jax.random.key(0), batch)
    keys = jax.random.split(jax.random.key(0), 300)
    _, metrics = jax.lax.scan(lambda s, k: made.step(k, s, batch), state, keys)
    return jax.tree.map(lambda x: x[-10:].mean(), metrics)


def test_without_sigreg_all_samples_have_one_embedding():
    healthy, collapsed = learnt(0.05), learnt(0.0)
    assert healthy["z_spread"] > 0.6
    assert collapsed["z_spread"] < 0.05
