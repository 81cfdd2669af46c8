"""VICReg: its loss in loops, its statistics on many devices, and both collapses."""

from functools import cache

import jax
import numpy as np
import optax
import pytest
from jax.sharding import Mesh
from toys import images, jitted, two_views

from jssl import sharding
from jssl.methods.siamese.vicreg import covariances, vicreg
from jssl.models.convnet import ConvNet
from jssl.models.heads import MLP, Siamese

headline = "loss"
WEIGHTS = {"invariance": 3.0, "variance": 5.0, "covariance": 7.0}


def network():
    return jitted(Siamese(ConvNet((8, 16)), MLP((16, 8), last_bias=False)))


def tiny(tx):
    return vicreg(network(), tx or optax.adam(3e-3), two_views), {"image": images()}


def loops(a, b):
    """The paper's three terms, the variance halved."""
    n, d = a.shape
    terms = {"invariance": ((a - b) ** 2).sum() / (n * d), "variance": 0, "covariance": 0}
    for z in (a, b):
        z = z - z.mean(0)
        for i in range(d):
            deviation = np.sqrt(sum(z[k, i] ** 2 for k in range(n)) / (n - 1) + 1e-4)
            terms["variance"] += max(0, 1 - deviation) / d / 2
            for j in range(d):
                covariance = sum(z[k, i] * z[k, j] for k in range(n)) / (n - 1)
                terms["covariance"] += (i != j) * covariance**2 / d
    return terms


@cache
def told():
    """A first state, the step on it, and the metrics wanted of that."""
    batch = {"image": images()}
    method = vicreg(network(), optax.sgd(0.0), two_views, **WEIGHTS)
    state = jax.jit(method.init)(jax.random.key(0), batch)
    views = two_views(jax.random.key(1), batch["image"])
    outs = [
        network().apply(state.params, state.stats, views[:, i], train=True)[0]
        for i in (0, 1)
    ]
    terms = loops(*(np.asarray(out["z"], np.float64) for out in outs))
    loss = sum(WEIGHTS[name] * term for name, term in terms.items())
    return method, state, batch, terms | {"loss": loss}


@pytest.mark.parametrize("devices", [1, 8])
def test_the_terms_are_the_papers_loops_over_the_batch_of_all_devices(devices):
    method, state, batch, wanted = told()
    assert all(term > 0.01 for term in wanted.values())
    mesh = Mesh(np.array(jax.devices()[:devices]), ("data",))
    # On eight devices a row each: of its own, none has any variance.
    batch = jax.device_put(batch, sharding.rows(mesh, 0))
    _, metrics = jax.jit(method.step)(jax.random.key(1), state, batch)
    assert metrics.keys() == {*wanted, "grad_norm"}
    for name, value in wanted.items():
        np.testing.assert_allclose(metrics[name], value, rtol=1e-4, err_msg=name)


def test_an_image_is_told_by_the_whole_output_and_out_of_training():
    method, state, batch, _ = told()
    out = jax.jit(method.embed)(state, batch)
    wanted, _ = network().apply(state.params, state.stats, batch["image"])
    assert out["h"].shape == (8, 16)
    np.testing.assert_allclose(out["z"], wanted["z"], rtol=1e-4, atol=1e-6)


def test_the_picture_of_covariances_is_numpys():
    z = np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32)
    shown = covariances(z, shown=3).images[0, 0, :, :, 0]
    np.testing.assert_allclose(shown, np.abs(np.cov(z[:, :3].T)).clip(0, 1), rtol=1e-5)


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
def learnt(invariance, variance, covariance):
    """z [n, 16] of other samples after 200 steps of noisy views."""
    # No norm on z: one would keep its deviation up by itself.
    net = Siamese(MLP((32, 16), last_norm="affine"), MLP((16, 16), last_bias=False))
    tx = optax.sgd(0.02, momentum=0.9)
    weights = dict(invariance=invariance, variance=variance, covariance=covariance)
    method = vicreg(jitted(net), tx, noisy, **weights)

    def step(state, key):
        return method.step(key, state, {"image": clusters(key)})

    key, other = jax.random.key(0), jax.random.key(1)
    state = method.init(key, {"image": clusters(key)})
    state, _ = jax.lax.scan(step, state, jax.random.split(key, 200))
    return method.embed(state, {"image": clusters(other)})["z"]


def directions(z):
    """How many a covariance has, by the entropy of its eigenvalues."""
    share = np.linalg.eigvalsh(np.cov(z.T)).clip(1e-12)
    share /= share.sum()
    return np.exp(-(share * np.log(share)).sum())


def test_the_variance_alone_keeps_it_from_one_point_and_the_covariance_from_one_line():
    arms = (25.0, 25.0, 1.0), (25.0, 0.0, 1.0), (25.0, 25.0, 0.0)
    healthy, point, line = (np.asarray(learnt(*arm)) for arm in arms)
    assert healthy.std(0).mean() > 0.8
    assert point.std(0).mean() < 0.05
    assert directions(healthy) > 3  # the means of five clusters span four
    assert line.std(0).mean() > 0.8
    assert directions(line) < 1.5
