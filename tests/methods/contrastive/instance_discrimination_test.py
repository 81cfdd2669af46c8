"""Instance discrimination: its losses in double loops, its bank row by row."""

from functools import cache, partial
from pathlib import Path

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy.special import log_softmax
from toys import images, jitted, noisy

from jssl import config, sharding
from jssl.methods.contrastive.instance_discrimination import instance_discrimination
from jssl.models.convnet import ConvNet
from jssl.models.heads import MLP, Siamese

headline = "loss"
SIZE, TAU = 8, 0.2
KEY = jax.random.key(3)


def network(samples=0):
    weights = MLP((samples,), last_bias=False) if samples else None
    return jitted(Siamese(ConvNet((8, 16)), MLP((6,)), weights))


def tiny(tx, **how):
    how = dict(noise=4, temperature=TAU, augment=noisy) | how
    net = network(SIZE if how.get("parametric") else 0)
    method = instance_discrimination(net, tx or optax.adam(3e-3), size=SIZE, **how)
    return method, {"image": images(), "index": jnp.arange(8, dtype=jnp.int32)}


def batch_of(*index):
    index = jnp.array(index, jnp.int32)
    return {"image": images()[index], "index": index}


@cache
def compiled(rate=0.1, **how):
    """A first state under SGD, and the compiled step."""
    method, batch = tiny(optax.sgd(rate), **how)
    return jax.jit(method.init)(KEY, batch), jax.jit(method.step)


def embedded(state, key, batch):
    """The unit embeddings of a step with this key, of the weights before it, float64."""
    seen = noisy(jax.random.split(key)[0], batch["image"])
    learner = state.learner
    out, _ = network().apply(learner.params, learner.stats, seen, train=True)
    z = np.asarray(out["z"], np.float64)
    return z / np.linalg.norm(z, axis=1, keepdims=True)


def test_the_full_softmax_is_the_papers_double_loop():
    state, step = compiled(noise=0)
    batch = batch_of(6, 1, 3, 4)
    _, metrics = step(KEY, state, batch)
    u, bank = embedded(state, KEY, batch), np.asarray(state.bank, np.float64)
    total = 0.0
    for n, i in enumerate([6, 1, 3, 4]):
        scores = [np.exp(bank[j] @ u[n] / TAU) for j in range(SIZE)]
        total -= np.log(scores[i] / sum(scores))
    np.testing.assert_allclose(metrics["loss"], total / 4, rtol=1e-5)
    _, same = compiled(noise=0, chunk=3)[1](KEY, state, batch)
    np.testing.assert_allclose(same["loss"], metrics["loss"], rtol=1e-6)


def test_the_noise_contrastive_loss_is_the_papers_double_loop_with_the_first_batchs_z():
    state, step = compiled()
    log_z = None
    for i, index in enumerate([[6, 1, 3, 4], [0, 1, 7, 5]]):
        key, batch = jax.random.key(i), batch_of(*index)
        after, metrics = step(key, state, batch)
        u, bank = embedded(state, key, batch), np.asarray(state.bank, np.float64)
        drawn = jax.random.randint(jax.random.split(key)[1], (4, 4), 0, SIZE)
        sampled = np.concatenate([np.array(index)[:, None], drawn], 1)
        scores = np.exp(np.einsum("nd,nmd->nm", u, bank[sampled]) / TAU)
        if log_z is None:
            log_z = np.log(SIZE * scores.mean())
        total = 0.0
        for n in range(4):
            for k in range(5):
                p = scores[n, k] / np.exp(log_z)
                h = p / (p + 4 / SIZE)
                total -= np.log(h if k == 0 else 1 - h)
        np.testing.assert_allclose(metrics["loss"], total / 4, rtol=1e-5)
        np.testing.assert_allclose(after.log_z, log_z, rtol=1e-5)
        state = after


def test_equal_probabilities_give_the_closed_form():
    """log(1 + m) + m log(1 + 1 / m): Z makes P = 1 / N where all rows of the bank agree."""
    state, step = compiled()
    bank = jnp.broadcast_to(state.bank[:1], state.bank.shape)
    _, metrics = step(KEY, state._replace(bank=bank), batch_of(2))
    wanted = np.log(5) + 4 * np.log(5 / 4)
    np.testing.assert_allclose(metrics["loss"], wanted, rtol=1e-5)


def test_the_gradient_with_much_noise_is_that_of_the_full_softmax():
    """Mnih and Teh 2012, section 3.1: in the limit of m, if Z is the sum over all rows."""
    batch = batch_of(2)  # P of its own row is small: the error is of the sampled sum
    state, full = compiled(rate=1.0, noise=0)
    _, much = compiled(rate=1.0, noise=50_000)
    scores = np.asarray(state.bank) @ embedded(state, KEY, batch)[0] / TAU
    log_z = jnp.log(jnp.exp(scores).sum())
    known = state._replace(log_z=log_z, count=state.count + 1)
    moved = []
    for step in (full, much):
        after, _ = step(KEY, known, batch)
        difference = jax.tree.map(jnp.subtract, after.learner.params, known.learner.params)
        moved.append(np.concatenate([np.ravel(x) for x in jax.tree.leaves(difference)]))
    error = np.linalg.norm(moved[1] - moved[0]) / np.linalg.norm(moved[0])
    assert error < 0.02


def test_rows_are_written_by_index_from_the_embeddings_before_the_step():
    state, step = compiled(rate=5.0, momentum=0.3)
    index, batch = [6, 1, 3], batch_of(6, 1, 3)
    after, _ = step(KEY, state, batch)
    old, new = np.asarray(state.bank), np.asarray(after.bank)
    still = [i for i in range(SIZE) if i not in index]
    np.testing.assert_array_equal(new[still], old[still])
    for n, u in enumerate(embedded(state, KEY, batch)):
        wanted = 0.3 * old[index[n]] + 0.7 * u
        wanted = wanted / np.linalg.norm(wanted)
        np.testing.assert_allclose(new[index[n]], wanted, rtol=1e-4, atol=1e-6)
    later = embedded(after, KEY, batch)
    assert np.abs(later - embedded(state, KEY, batch)).max() > 0.01  # a long step
    np.testing.assert_allclose(np.linalg.norm(new, axis=1), 1, rtol=1e-6)


@pytest.mark.parametrize("noise", [0, 4])
def test_the_proximal_term_is_the_squared_distance_from_the_row(noise):
    state, plain = compiled(noise=noise)
    _, held = compiled(noise=noise, proximal=30.0)
    batch = batch_of(6, 1, 3, 4)
    losses = [float(step(KEY, state, batch)[1]["loss"]) for step in (plain, held)]
    apart = embedded(state, KEY, batch) - np.asarray(state.bank)[[6, 1, 3, 4]]
    wanted = 30 * np.square(apart).sum(1).mean()
    np.testing.assert_allclose(losses[1] - losses[0], wanted, rtol=1e-4)


def test_the_parametric_softmax_learns_a_weight_vector_of_each_sample():
    state, step = compiled(parametric=True)
    batch = batch_of(6, 1, 3, 4)
    after, metrics = step(KEY, state, batch)
    seen = noisy(jax.random.split(KEY)[0], batch["image"])
    apply = partial(network(SIZE).apply, state.learner.params, state.learner.stats)
    z = np.asarray(apply(seen, train=True)[0]["z"], np.float64)
    w = np.asarray(state.learner.params["predictor"]["dense0"]["kernel"], np.float64)
    logits = log_softmax(z @ w, axis=1)
    index = np.array([6, 1, 3, 4])
    np.testing.assert_allclose(metrics["loss"], -logits[range(4), index].mean(), rtol=1e-5)
    # The gradient of the weights: softmax minus one-hot, times z.
    slope = z.T @ (np.exp(logits) - np.eye(SIZE)[index]) / 4
    found = np.asarray(after.learner.params["predictor"]["dense0"]["kernel"])
    np.testing.assert_allclose(found, w - 0.1 * slope, rtol=1e-4, atol=1e-6)
    assert state.bank == after.bank == ()


def test_the_parametric_softmax_learns():
    method, batch = tiny(None, parametric=True)
    state, step = jax.jit(method.init)(KEY, batch), jax.jit(method.step)
    seen = []
    for i in range(40):
        state, metrics = step(jax.random.key(i), state, batch)
        seen.append(float(metrics["loss"]))
    assert np.mean(seen[-5:]) < 0.7 * np.mean(seen[:5])
    assert metrics["instance_accuracy"] > 0.7


def test_the_picture_has_the_rows_of_largest_cosine():
    method, batch = tiny(None)
    state = jax.jit(method.init)(KEY, batch)
    collect = lambda fn, split="train": np.asarray(fn(batch))
    [grid] = method.render(KEY, state, batch, collect).values()
    z = np.asarray(method.embed(state, batch)["z"])
    cosines = z / np.linalg.norm(z, axis=1, keepdims=True) @ np.asarray(state.bank).T
    for query, order in enumerate(np.argsort(-cosines, axis=1)):
        wanted = np.asarray(images())[[query, *order[:7]]]
        np.testing.assert_allclose(grid.images[query], wanted, atol=2e-3)


def test_the_bank_is_divided_among_devices_by_rows():
    path = Path(__file__).parents[3] / "experiments" / "instance_discrimination.py"
    [stage] = config.load(f"{path}:laptop,tiny=True").stages()
    state, _ = compiled()
    mesh = sharding.make_mesh()
    placed = sharding.infer(state, mesh, stage.rules)
    assert placed.bank.spec == jax.sharding.PartitionSpec(("data",))
    assert all(x.spec == jax.sharding.PartitionSpec() for x in jax.tree.leaves(placed[0]))


def test_wrong_sizes_are_refused_in_one_line():
    with pytest.raises(ValueError, match="at least 1 and noise at least 0"):
        instance_discrimination(network(), optax.sgd(0.1), size=0)
    method = instance_discrimination(network(5), optax.sgd(0.1), size=SIZE, parametric=True)
    with pytest.raises(ValueError, match=r"of all 8 samples, got \(5,\)"):
        method.init(KEY, batch_of(0))


def test_steps_that_only_write_keep_the_weights():
    state, step = compiled(rate=0.0)
    after, _ = step(KEY, state, batch_of(0, 1))
    chex.assert_trees_all_equal(after.learner.params, state.learner.params)
    assert after.count == 1
