"""Autoencoder: gradients by hand, principal components, and sparse codes."""

from functools import cache

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from toys import images, jitted, noisy

from jssl import optim
from jssl.exhibits import filters, first_layer
from jssl.methods.generative.autoencoder import autoencoder
from jssl.models.dense import Autoencoder, linear

headline = "loss"
KEY = jax.random.key(0)


def network(units=8, shape=(8, 8, 1), **knobs):
    return jitted(Autoencoder(shape, (units,), **knobs))


def tiny(tx):
    tx = tx or optax.adam(3e-2)
    method = autoencoder(network(), tx, sparsity="kl", momentum=0.9, augment=noisy)
    return method, {"image": images()}


D, M, N = 6, 3, 5


def small(seed=0):
    """Weights and data in float64."""
    random = np.random.default_rng(seed)
    w = dict(
        we=random.normal(size=(D, M)),
        be=random.normal(size=M),
        wd=random.normal(size=(M, D)),
        bd=random.normal(size=D),
    )
    return w, random.uniform(size=(N, D))


def moved(w, x, tied=False, tx=None, steps=1, code=nn.sigmoid, **knobs):
    """State and metrics after steps from weights w."""
    net = network(M, (D,), tied=tied, code=code)
    method = autoencoder(net, tx or optax.sgd(1.0), **knobs)
    params = {"encoder": {"dense0": {"kernel": w["we"], "bias": w["be"]}}}
    if tied:
        params["decoder_bias0"] = w["bd"]
    else:
        params["decoder"] = {"dense0": {"kernel": w["wd"], "bias": w["bd"]}}
    batch = {"image": jnp.asarray(x)}
    state = method.init(KEY, batch)
    params = jax.tree.map(lambda a, b: jnp.asarray(b), state.learner.params, params)
    state = state._replace(learner=state.learner._replace(params=params))
    step = jax.jit(method.step)
    for _ in range(steps):
        state, metrics = step(KEY, state, batch)
    return state, metrics


def sigmoid(s):
    return 1 / (1 + np.exp(-s))


def by_hand(w, x, error="squared", sparsity="", weight=0, rho=0, previous=0, momentum=0.0):
    """Loss and gradients, with no differentiation but on paper."""
    h = sigmoid(x @ w["we"] + w["be"])
    out = sigmoid(h @ w["wd"] + w["bd"])
    if error == "squared":
        loss = ((out - x) ** 2).sum(1).mean()
        delta = 2 / N * (out - x) * out * (1 - out)
    else:
        loss = -(x * np.log(out) + (1 - x) * np.log(1 - out)).sum(1).mean()
        delta = (out - x) / N
    back = delta @ w["wd"].T
    if sparsity == "l1":
        loss += weight * h.sum(1).mean()
        back = back + weight / N
    if sparsity == "kl":
        q = momentum * previous + (1 - momentum) * h.mean(0)
        kl = rho * np.log(rho / q) + (1 - rho) * np.log((1 - rho) / (1 - q))
        loss += weight * kl.sum()
        slope = (1 - rho) / (1 - q) - rho / q
        back = back + weight * (1 - momentum) * slope / N
    hidden = back * h * (1 - h)
    grads = dict(we=x.T @ hidden, be=hidden.sum(0), wd=h.T @ delta, bd=delta.sum(0))
    return loss, grads, h, out


@pytest.mark.parametrize(
    ("error", "sparsity", "momentum"),
    [
        ("squared", "", 0.0),
        ("cross_entropy", "", 0.0),
        ("squared", "l1", 0.0),
        ("squared", "kl", 0.0),
        ("squared", "kl", 0.9),
    ],
)
def test_a_step_goes_down_the_gradient_worked_out_on_paper(x64, error, sparsity, momentum):
    w, x = small()
    knobs = dict(error=error, sparsity=sparsity, weight=0.7, rho=0.2, momentum=momentum)
    state, metrics = moved(w, x, **knobs)
    loss, grads, _, out = by_hand(w, x, previous=np.full(M, 0.2), **knobs)
    np.testing.assert_allclose(metrics["loss"], loss, rtol=1e-6)
    np.testing.assert_allclose(metrics["mse"], ((out - x) ** 2).mean(), rtol=1e-12)
    parts = state.learner.params
    found = dict(
        we=parts["encoder"]["dense0"]["kernel"],
        be=parts["encoder"]["dense0"]["bias"],
        wd=parts["decoder"]["dense0"]["kernel"],
        bd=parts["decoder"]["dense0"]["bias"],
    )
    for name, grad in grads.items():
        np.testing.assert_allclose(found[name], w[name] - grad, rtol=1e-6)


def test_a_tied_matrix_moves_by_the_sum_over_both_its_uses(x64):
    w, x = small(1)
    w["wd"] = w["we"].T
    _, grads, *_ = by_hand(w, x)
    state, _ = moved(w, x, tied=True)
    found = state.learner.params["encoder"]["dense0"]["kernel"]
    wanted = w["we"] - grads["we"] - grads["wd"].T
    np.testing.assert_allclose(found, wanted, rtol=1e-12)


def test_with_all_weights_zero_it_says_a_half_everywhere(x64):
    w, x = small()
    _, metrics = moved({name: np.zeros_like(v) for name, v in w.items()}, x)
    wanted = ((x - 0.5) ** 2).sum(1).mean()
    np.testing.assert_allclose(metrics["loss"], wanted, rtol=1e-12)


def test_a_linear_one_finds_the_principal_subspace():
    """What is left is the sum of the other eigenvalues (Baldi and Hornik 1989)."""
    random = np.random.default_rng(0)
    x = random.normal(size=(60, D)) * np.sqrt([4.0, 2.0, 1.0, 0.3, 0.2, 0.1])
    x = (x - x.mean(0)) @ np.linalg.qr(random.normal(size=(D, D)))[0]
    values, vectors = np.linalg.eigh(x.T @ x / len(x))
    net = network(M, (D,), code=linear, kernel_init=nn.initializers.lecun_normal())
    tx = optax.adam(optax.cosine_decay_schedule(1e-2, 3000))
    method = autoencoder(net, tx, output="linear")
    batch = {"image": jnp.asarray(x, jnp.float32)}

    def one(state, _):
        state, metrics = method.step(KEY, state, batch)
        return state, metrics["loss"]

    state = method.init(KEY, batch)
    state, losses = jax.jit(lambda s: jax.lax.scan(one, s, length=3000))(state)
    np.testing.assert_allclose(losses[-1], values[:-M].sum(), rtol=1e-4)
    rows = np.asarray(state.learner.params["decoder"]["dense0"]["kernel"], np.float64)
    span = np.linalg.qr(rows.T)[0]
    cosines = np.linalg.svd(span.T @ vectors[:, -M:], compute_uv=False)
    assert cosines.min() > 0.9999


def test_a_code_scaled_with_its_rows_reconstructs_alike_and_costs_in_proportion(x64):
    w, x = small(2)
    c = 0.5
    half = w | {"we": c * w["we"], "be": c * w["be"], "wd": w["wd"] / c}
    one, two = (moved(v, x, code=nn.relu, sparsity="l1", weight=0.3)[1] for v in (w, half))
    assert one["l1"] > 0.1
    np.testing.assert_allclose(two["mse"], one["mse"], rtol=1e-12)
    np.testing.assert_allclose(two["l1"], c * one["l1"], rtol=1e-12)


@cache
def sparse(weight, bound):
    """Rectified codes after 400 steps: metrics and the decoder's row lengths."""
    tx = optax.adam(1e-2)
    if bound:
        tx = optax.chain(tx, optim.unit_rows("decoder/dense0/kernel"))
    net = network(12, code=nn.relu)
    method = autoencoder(net, tx, sparsity="l1", weight=weight, output="linear")
    batch = {"image": images()}
    state, step = method.init(KEY, batch), jax.jit(method.step)
    for _ in range(400):
        state, metrics = step(KEY, state, batch)
    rows = np.asarray(state.learner.params["decoder"]["dense0"]["kernel"])
    h = np.asarray(method.embed(state, batch)["h"])
    return jax.device_get(metrics), np.linalg.norm(rows, axis=1), h


def test_rows_of_length_one_leave_the_penalty_something_to_bind():
    metrics, lengths, _ = sparse(0.3, True)
    np.testing.assert_allclose(lengths, 1, rtol=1e-5)
    free, longer, _ = sparse(0.3, False)
    assert longer.max() > 2
    assert free["l1"] < 0.5 * metrics["l1"]


def test_a_heavier_penalty_silences_more_units():
    active = [(sparse(weight, True)[2] > 1e-3).mean() for weight in (0.0, 0.3)]
    assert active[1] < 0.7 * active[0]
    assert sparse(0.3, True)[0]["mse"] < 0.5 * np.var(images(), axis=0).mean()


@pytest.mark.parametrize("momentum", [0.0, 0.8])
def test_units_come_to_be_as_active_as_they_should(momentum):
    weight = 3 / (1 - momentum)  # the gradient sees the batch's part of q alone
    method = autoencoder(
        network(16),
        optax.adam(1e-2),
        sparsity="kl",
        weight=weight,
        rho=0.1,
        momentum=momentum,
    )
    batch = {"image": images()}
    state, step = method.init(KEY, batch), jax.jit(method.step)
    first = method.embed(state, batch)["h"].mean(0)
    for _ in range(500):
        state, metrics = step(KEY, state, batch)
    assert np.abs(first - 0.1).mean() > 0.2
    mean = method.embed(state, batch)["h"].mean(0)
    assert np.abs(mean - 0.1).mean() < 0.02
    np.testing.assert_allclose(metrics["active"], 0.1, atol=0.02)
    assert metrics["mse"] < 0.02


def test_the_running_activity_is_a_geometric_mean_of_the_past(x64):
    w, x = small()
    _, _, h, _ = by_hand(w, x)
    knobs = dict(tx=optax.sgd(0.0), sparsity="kl", momentum=0.9, steps=3)
    state, _ = moved(w, x, **knobs)
    q = np.full(M, 0.05)
    for _ in range(3):
        q = 0.9 * q + 0.1 * h.mean(0)
    np.testing.assert_allclose(state.active, q, rtol=1e-6)


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        (dict(error="absolute"), 'error must be "squared" or "cross_entropy"'),
        (dict(output="tanh"), "got 'squared' and 'tanh'"),
        (dict(error="cross_entropy", output="linear"), 'needs output "sigmoid"'),
        (dict(sparsity="l2"), "sparsity must be"),
    ],
)
def test_unknown_words_are_refused(knobs, message):
    with pytest.raises(ValueError, match=message):
        autoencoder(network(), optax.sgd(0.1), **knobs)


def test_colors_have_filters_in_color():
    method = autoencoder(network(4, (5, 5, 3)), optax.sgd(0.1))
    state = method.init(KEY, {"image": jnp.full((3, 5, 5, 3), 0.5)})
    drawn = filters(first_layer(state, (5, 5, 3))).images
    kernel = np.asarray(state.learner.params["encoder"]["dense0"]["kernel"]).T
    first = kernel[0].reshape(5, 5, 3)
    wanted = (first - first.min()) / np.ptp(first)
    np.testing.assert_allclose(drawn[0, 0], wanted, rtol=1e-5, atol=1e-6)
