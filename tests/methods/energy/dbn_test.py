"""Deep belief network: what it believes, by enumeration, and what each phase moves."""

import itertools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy.special import expit, logsumexp

from jssl.learner import fresh
from jssl.method import above, field
from jssl.methods.energy.dbn import dbn, machines, wake_sleep
from jssl.methods.energy.rbm import rbm
from jssl.ops.belief import DBN, Layer, bound, down, generate, stacked, up
from jssl.ops.gibbs import RBM, flipped
from jssl.ops.partition import log_likelihood, log_partition

headline = "reconstruction"

# Catalogue, generative A1.1.
W = np.array([[0.5, -0.3, 0.2], [-0.4, 0.1, 0.6], [0.3, 0.7, -0.5], [-0.2, 0.4, 0.1]])
B, A = np.array([0.1, -0.2, 0.3, 0.0]), np.array([0.2, -0.1, 0.05])


def images():
    """Eight of four binary patterns."""
    pattern = np.random.default_rng(0).integers(0, 2, (4, 4, 4, 1))
    return jnp.asarray(np.concatenate([pattern, pattern]), jnp.float32)


def tiny(tx):
    noisy = images() * 0.9 + 0.05 * jnp.arange(8)[:, None, None, None] / 8
    method = dbn((12, 8, 6), tx or optax.sgd(0.3), steps=60, sweeps=(1, 2), scale=1.0)
    return method, {"image": noisy}


phases = jax.jit(wake_sleep, static_argnums=4)


def network(*widths, seed=0):
    """A net whose recognition weights are not its generative ones."""
    random = np.random.default_rng(seed)
    net = stacked(
        [
            RBM(*(jnp.asarray(random.normal(size=s)) for s in ((v, h), (v,), (h,))))
            for v, h in itertools.pairwise(widths)
        ]
    )
    moved = [layer._replace(r=layer.r + 0.5, a=layer.a - 0.3) for layer in net.lower]
    return DBN(tuple(moved), net.top)


def states(units):
    return np.array(list(itertools.product([0.0, 1.0], repeat=units)))


def log_bernoulli(x, logits):
    return (x * np.log(expit(logits)) + (1 - x) * np.log(expit(-logits))).sum(-1)


def enumerated(net, v):
    """log p(v, h) and log q(h | v) for all h = (h_1 ... h_{L-1}): each [states]."""
    net = jax.tree.map(lambda x: np.asarray(x, np.float64), net)
    every = states(len(net.top.b))
    w, b, a = net.top
    weight = every @ b + np.logaddexp(0, every @ w + a).sum(-1)
    p, q = [], []
    for hs in itertools.product(*(states(len(layer.a)) for layer in net.lower)):
        joint = hs[-1] @ b + np.logaddexp(0, hs[-1] @ w + a).sum() - logsumexp(weight)
        named = 0.0
        for layer, low, high in zip(net.lower, (v, *hs), hs, strict=False):
            joint += log_bernoulli(low, layer.b + high @ layer.g.T)
            named += log_bernoulli(high, layer.a + low @ layer.r)
        p.append(joint)
        q.append(named)
    return np.array(p), np.array(q)


def test_a_tied_second_layer_changes_no_probability(x64):
    """W2 = W1^T, b2 = a1, a2 = b1, and the bound is then tight at every draw."""
    machine = RBM(*map(jnp.asarray, (W, B, A)))
    net = stacked([machine, flipped(machine)])
    every = states(4)
    below = np.asarray(log_likelihood(machine, jnp.asarray(every)))
    here = [logsumexp(enumerated(net, v)[0]) for v in every]
    np.testing.assert_allclose(here, below, atol=1e-12)
    log_z = log_partition(net.top)
    np.testing.assert_allclose(log_z, 5.556657447022072, rtol=1e-12)
    draw = jax.jit(bound)(jax.random.key(0), net, jnp.asarray(every), log_z)
    np.testing.assert_allclose(draw, below, atol=1e-12)
    golden = draw[[v.tolist() for v in every].index([1, 0, 1, 1])]
    np.testing.assert_allclose(golden, -2.2614136844, atol=1e-10)


@pytest.mark.parametrize("widths", [(4, 3, 2), (4, 3, 2, 2)])
def test_the_bound_stays_below_the_likelihood_and_is_that_of_enumeration(widths, x64):
    net, v = network(*widths), np.array([1.0, 0.0, 1.0, 1.0])
    joint, named = enumerated(net, v)
    np.testing.assert_allclose(logsumexp(named), 0, atol=1e-12)
    q = np.exp(named)
    exact = (q * (joint - named)).sum()
    assert exact < logsumexp(joint) - 0.01
    draws = 4000
    found = jax.jit(bound, static_argnames="samples")(
        jax.random.key(0), net, jnp.asarray(v[None]), log_partition(net.top), draws
    )
    deviation = np.sqrt((q * (joint - named - exact) ** 2).sum())
    assert abs(float(found[0]) - exact) < 4 * deviation / np.sqrt(draws)


def test_generated_images_have_the_models_mean(x64):
    """Against enumeration of all states; four standard errors."""
    net, every = network(4, 3, 2), states(4)
    p = np.exp([logsumexp(enumerated(net, v)[0]) for v in every])
    np.testing.assert_allclose(p.sum(), 1, atol=1e-12)
    drawn = np.asarray(
        jax.jit(generate, static_argnums=2)(jax.random.key(0), net, 4000, 50)
    )
    assert drawn.shape == (4000, 4)
    assert drawn.min() > 0
    assert drawn.max() < 1
    error = drawn.std(0, ddof=1) / np.sqrt(len(drawn))
    assert np.all(np.abs(drawn.mean(0) - p @ every) < 4 * error)


@pytest.mark.parametrize("mean", [True, False])
def test_wake_moves_what_generates_and_sleep_what_recognizes(mean, x64):
    """The delta rules again, sample by sample and unit by unit."""
    net = network(4, 3, 3, 2)
    v = np.random.default_rng(1).uniform(size=(5, 4))
    grads, awake, asleep = phases(jax.random.key(0), net, jnp.asarray(v), 2, mean)
    np.testing.assert_array_equal(awake[0], v)
    binary = [*awake[1:], *asleep[1:], *([] if mean else [asleep[0]])]
    assert all(np.isin(x, (0, 1)).all() for x in binary)
    if mean:
        first = net.lower[0]
        wanted = expit(np.asarray(first.b) + np.asarray(asleep[1]) @ np.asarray(first.g).T)
        np.testing.assert_allclose(asleep[0], wanted, rtol=1e-12)
    for i, (layer, found) in enumerate(zip(net.lower, grads.lower, strict=True)):
        wanted = jax.tree.map(lambda x: np.zeros(x.shape), layer)
        for n in range(5):
            low, high = np.asarray(awake[i][n]), np.asarray(awake[i + 1][n])
            r = low - expit(np.asarray(layer.b) + np.asarray(layer.g) @ high)
            wanted.g[...] -= np.outer(r, high) / 5
            wanted.b[...] -= r / 5
            low, high = np.asarray(asleep[i][n]), np.asarray(asleep[i + 1][n])
            r = high - expit(np.asarray(layer.a) + low @ np.asarray(layer.r))
            wanted.r[...] -= np.outer(low, r) / 5
            wanted.a[...] -= r / 5
        chex.assert_trees_all_close(found, wanted, rtol=1e-10, atol=1e-12)

    def statistics(x):
        h = expit(np.asarray(net.top.a) + x @ np.asarray(net.top.w))
        return x.T @ h / 5, x.mean(0), h.mean(0)

    seen, dreamt = statistics(np.asarray(awake[-1])), statistics(np.asarray(asleep[-1]))
    for g, s, d in zip(grads.top, seen, dreamt, strict=True):
        np.testing.assert_allclose(g, d - s, atol=1e-12)


def test_images_go_up_by_recognition_and_dreams_come_down_by_generation():
    """Saturated units leave nothing to chance."""
    net = network(4, 3, 2)
    ones, signs = jnp.ones((4, 3)), jnp.array([[1.0], [-1.0], [-1.0], [-1.0]])
    sure = Layer(r=99 * ones, a=jnp.zeros(3), g=99 * signs * ones, b=jnp.zeros(4))
    net = DBN((sure,), net.top._replace(b=jnp.array([-99.0, 99.0, -99.0])))
    _, awake, asleep = phases(jax.random.key(0), net, jnp.ones((2, 4)), 1, True)
    np.testing.assert_array_equal(awake[1], np.ones((2, 3)))
    np.testing.assert_array_equal(asleep[1], [[0, 1, 0]] * 2)
    np.testing.assert_allclose(asleep[0], [[1, 0, 0, 0]] * 2, atol=1e-12)


def test_the_top_machine_has_the_sweeps_of_its_part_of_training():
    """Without a sweep the chain ends where it began, and the top does not move."""
    method = dbn((6, 4), optax.sgd(0.1), steps=4, sweeps=(0, 1))
    batch, step = {"image": images()}, jax.jit(method.step)
    state, moves = jax.jit(method.init)(jax.random.key(0), batch), []
    for i in range(6):
        before = state.learner.params
        state, _ = step(jax.random.key(i), state, batch)
        moves.append(bool(np.any(before.top.w != state.learner.params.top.w)))
        assert np.any(before.lower[0].g != state.learner.params.lower[0].g)
    assert moves == [False, False, True, True, True, True]


def test_a_greedy_layer_moves_nothing_below_and_the_stack_starts_tied():
    lower = rbm(6, optax.sgd(0.1))
    upper = rbm(5, optax.sgd(0.1), prepare=field("below"))
    batch = {"image": images()}
    first = jax.jit(lower.init)(jax.random.key(0), batch)
    first, _ = jax.jit(lower.step)(jax.random.key(1), first, batch)
    second = above(lower, upper)
    before = jax.jit(second.init)(jax.random.key(2), batch)._replace(below=first)
    after, _ = jax.jit(second.step)(jax.random.key(3), before, batch)
    chex.assert_trees_all_equal(after.below, first)
    assert np.any(after.own.learner.params.w != before.own.learner.params.w)
    net = stacked(machines(after))
    (layer,) = net.lower
    for weights in (layer.r, layer.g):
        np.testing.assert_array_equal(weights, first.learner.params.w)
    np.testing.assert_array_equal(layer.a, first.learner.params.a)
    np.testing.assert_array_equal(layer.b, first.learner.params.b)
    chex.assert_trees_all_equal(net.top, after.own.learner.params)


def test_the_way_up_and_back_is_the_mean_field_one(x64):
    net = network(16, 3, 3, 2)
    method = dbn((3, 3, 2), optax.sgd(0.1), steps=1)
    batch = {"image": images().astype(jnp.float64)}
    state = jax.jit(method.init)(jax.random.key(0), batch)
    state = state._replace(learner=fresh(optax.sgd(0.1), net))
    out = jax.jit(method.embed)(state, batch)
    h = x = np.asarray(batch["image"]).reshape(8, 16)
    net = jax.tree.map(np.asarray, net)
    for i, layer in enumerate(net.lower):
        h = expit(layer.a + h @ layer.r)
        np.testing.assert_allclose(out["layers"][i], h, rtol=1e-12)
    h = expit(net.top.a + h @ net.top.w)
    np.testing.assert_allclose(out["h"], h, rtol=1e-12)
    h = expit(net.top.b + h @ net.top.w.T)
    for layer in reversed(net.lower):
        h = expit(layer.b + h @ layer.g.T)
    np.testing.assert_allclose(out["reconstruction"], h, rtol=1e-12)
    np.testing.assert_array_equal(out["input"], x)


def test_the_exact_likelihood_of_the_data_climbs():
    """Of four patterns of sixteen pixels, summed over all states of 16-6-5."""
    method = dbn((6, 5), optax.sgd(0.05), steps=2000, sweeps=(1, 3))
    batch = {"image": images()}
    rows = np.asarray(images()[:4]).reshape(4, 16).astype(np.float64)

    def likelihood(state):
        net = state.learner.params
        return np.mean([logsumexp(enumerated(net, v)[0]) for v in rows])

    state, step = jax.jit(method.init)(jax.random.key(0), batch), jax.jit(method.step)
    before = likelihood(state)
    for i in range(2000):
        state, _ = step(jax.random.key(i), state, batch)
    after = likelihood(state)
    assert before < -10  # sixteen fair coins: -11.09
    assert -np.log(4) - 1e-3 > after > -6  # four patterns: -1.39 at best


def test_stacks_that_do_not_fit_are_refused():
    def machine(v, h):
        return RBM(jnp.zeros((v, h)), jnp.zeros(v), jnp.zeros(h))

    with pytest.raises(ValueError, match="rbms must be at least two, got 1"):
        stacked([machine(4, 3)])
    with pytest.raises(ValueError, match="RBM 0 has 3 hidden units and RBM 1 has 2"):
        stacked([machine(4, 3), machine(2, 2)])
    net = stacked([machine(4, 3), machine(3, 2)])
    assert [h.shape for h in up(net, jnp.ones((2, 4)))] == [(2, 3), (2, 2)]
    assert down(net, jnp.ones((2, 2))).shape == (2, 4)
    with pytest.raises(ValueError, match="n must be positive, got 0"):
        generate(jax.random.key(0), net, 0, 1)
    with pytest.raises(ValueError, match="samples must be positive, got 0"):
        bound(jax.random.key(0), net, jnp.ones((2, 4)), 0.0, 0)
