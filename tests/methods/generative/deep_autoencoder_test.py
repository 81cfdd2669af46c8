"""Deep autoencoder: what unfolding makes of the machines, and what tuning makes of that."""

from itertools import accumulate

import jax
import jax.numpy as jnp
import numpy as np
import optax
from scipy.special import expit
from toys import images, jitted, noisy

from jssl.learner import fresh
from jssl.method import above, field
from jssl.methods.energy.dbn import machines
from jssl.methods.energy.rbm import rbm
from jssl.methods.generative.deep_autoencoder import deep_autoencoder, unrolled
from jssl.models.dense import Autoencoder, linear
from jssl.ops.gibbs import RBM

headline = "sse_per_image"


def network(*hidden):
    return jitted(Autoencoder((8, 8, 1), hidden, code=linear))


def tiny(tx):
    method = deep_autoencoder(network(16, 4), tx or optax.sgd(0.02), noisy)
    return method, {"image": images()}


def stack(*widths, seed=0):
    random = np.random.default_rng(seed)
    return [
        RBM(*(jnp.asarray(0.3 * random.normal(size=s)) for s in ((v, h), (v,), (h,))))
        for v, h in zip(widths[:-1], widths[1:], strict=True)
    ]


def begun(rbms, tx):
    """The method, and its state right after unfolding."""
    method = deep_autoencoder(network(*(len(rbm.a) for rbm in rbms)), tx)
    state = jax.jit(method.init)(jax.random.key(0), {"image": images()})
    params = unrolled(rbms)
    shapes = jax.tree.map(lambda x: x.shape, state.params)
    assert jax.tree.map(lambda x: x.shape, params) == shapes
    return method, fresh(tx, params, state.stats)


def test_at_first_it_is_the_mean_field_pass_up_and_down_the_machines(x64):
    rbms = stack(64, 12, 7, 3)
    method, state = begun(rbms, optax.sgd(0.1))
    x = images().astype(jnp.float64)
    out = jax.jit(method.embed)(state, {"image": x})
    u = x = np.asarray(x).reshape(8, 64)
    for w, _, a in rbms[:-1]:
        u = expit(np.asarray(a) + u @ np.asarray(w))
    u = np.asarray(rbms[-1].a) + u @ np.asarray(rbms[-1].w)  # the code is linear
    np.testing.assert_allclose(out["h"], u, rtol=1e-10, atol=1e-12)
    for w, b, _ in reversed(rbms):
        u = expit(np.asarray(b) + u @ np.asarray(w).T)
    np.testing.assert_allclose(out["reconstruction"], u, rtol=1e-10)
    np.testing.assert_array_equal(out["input"], x)


def test_the_decoder_begins_as_the_encoders_transpose_and_goes_its_own_way():
    method, state = begun(stack(64, 12, 3), optax.sgd(0.1))
    after, _ = jax.jit(method.step)(jax.random.key(0), state, {"image": images()})
    for i in (0, 1):
        for learner, same in ((state, True), (after, False)):
            up = learner.params["encoder"][f"dense{i}"]["kernel"]
            down = learner.params["decoder"][f"dense{1 - i}"]["kernel"]
            assert np.array_equal(up, down.T) == same


def test_the_loss_is_the_pixels_cross_entropy_summed(x64):
    method, state = begun(stack(64, 12, 3), optax.sgd(0.1))
    x = images().astype(jnp.float64)
    seen = np.asarray(jax.jit(method.embed)(state, {"image": x})["reconstruction"])
    _, metrics = jax.jit(method.step)(jax.random.key(0), state, {"image": x})
    x = np.asarray(x).reshape(8, 64)
    nats = -(x * np.log(seen) + (1 - x) * np.log(1 - seen))
    np.testing.assert_allclose(metrics["loss"], nats.sum(1).mean(), rtol=1e-10)
    square = (x - seen) ** 2
    np.testing.assert_allclose(metrics["sse_per_image"], square.sum(1).mean(), rtol=1e-10)
    np.testing.assert_allclose(metrics["mse"], square.mean(), rtol=1e-10)


def test_fine_tuning_goes_on_from_the_greedy_stack_and_lowers_its_loss():
    tx, batch = optax.sgd(0.1), {"image": images()}
    upper = dict(prepare=field("below"))
    code = rbm(3, optax.sgd(1e-3), units="gaussian", **upper)
    layers = [rbm(16, tx), rbm(8, tx, **upper), code]
    state = None
    for i, method in enumerate(accumulate(layers, above)):
        before, step = state, jax.jit(method.step)
        state = jax.jit(method.init)(jax.random.key(i), batch)
        state = state if before is None else state._replace(below=before)
        for j in range(50):
            state, _ = step(jax.random.key(j), state, batch)
    rbms = machines(state)
    assert [rbm.w.shape for rbm in rbms] == [(64, 16), (16, 8), (8, 3)]
    method, state = begun(rbms, optax.adam(3e-3))
    step, seen = jax.jit(method.step), []
    for j in range(200):
        state, metrics = step(jax.random.key(j), state, batch)
        seen.append(float(metrics["loss"]))
    spans = np.mean(np.reshape(seen, (5, 40)), axis=1)
    assert np.all(np.diff(spans) < 0)
