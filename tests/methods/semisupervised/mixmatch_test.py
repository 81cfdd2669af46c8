"""MixMatch: its loss, what a guess is made of, and which pass moves the statistics.

The mixing itself is tested in tests/ops/mixing_test.py.
"""

from functools import cache, partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.special
from toys import few_labels, jitted, noisy

from jssl.learner import descend, ema_weights
from jssl.methods.semisupervised.mixmatch import mixmatch
from jssl.models.convnet import ConvNet
from jssl.models.heads import Classifier
from jssl.ops.mixing import mixmatch_batch

headline = "loss"
KEY = jax.random.key(3)
TX = optax.chain(optax.sgd(0.1), ema_weights(0.5))
noisier = partial(noisy, deviation=0.2)


def network():
    return jitted(Classifier(ConvNet((8,)), 3))


def tiny(tx):
    how = dict(weight=1.0, ramp=10, alpha=0.1)
    method = mixmatch(network(), tx or optax.sgd(0.1), noisy, **how)
    return method, few_labels()


def rows(batch):
    return batch["unlabeled"]


@cache
def compiled(alpha):
    """MixMatch with three views, its step, and a state in the middle of the ramp."""
    m = mixmatch(network(), TX, noisier, weight=30.0, ramp=4, k=3, alpha=alpha)
    state = jax.jit(m.init)(jax.random.key(0), few_labels())
    return m, jax.jit(m.step), state._replace(count=jnp.int32(1))


def trained(params, stats, images):
    """The network in training: what it says, and its statistics."""
    return network().apply(params, stats, images, train=True)


def views(batch):
    """What a step with KEY sees of labelled and unlabelled images, [8, ...], [24, ...]."""
    images = np.concatenate(
        [batch["labeled"]["image"], np.repeat(batch["unlabeled"]["image"], 3, axis=0)]
    )
    x = noisier(jax.random.split(KEY, 4)[0], images)
    return x[:8], x[8:]


def guesses(learner, u):
    """By the paper's eqs. 6 and 7, in numpy."""
    logits = np.asarray(trained(learner.params, learner.stats, u)[0]["logits"], np.float64)
    mean = scipy.special.softmax(logits, axis=1).reshape(8, 3, 3).mean(1)
    return mean**2 / (mean**2).sum(1, keepdims=True)  # T = 1/2


def test_without_mixing_both_terms_are_those_of_numpy():
    _, step, state = compiled(0.0)
    x, u = views(few_labels())
    q = np.repeat(guesses(state.learner, u), 3, axis=0)
    out, _ = trained(state.learner.params, state.learner.stats, jnp.concatenate([x, u]))
    p = scipy.special.softmax(np.asarray(out["logits"], np.float64), axis=1)
    known = -np.log(p[:8][np.arange(8), np.arange(8) % 3]).mean()
    unknown = ((q - p[8:]) ** 2).mean()
    _, metrics = step(KEY, state, few_labels())
    np.testing.assert_allclose(metrics["labeled"], known, rtol=1e-5)
    np.testing.assert_allclose(metrics["unlabeled"], unknown, rtol=1e-4)
    np.testing.assert_allclose(metrics["weight"], 30 / 4)
    np.testing.assert_allclose(metrics["loss"], known + 30 / 4 * unknown, rtol=1e-4)
    np.testing.assert_allclose(metrics["certainty"], q.max(1).mean(), rtol=1e-5)


def test_the_weights_descend_with_the_guesses_held_fixed():
    _, step, state = compiled(0.75)
    learner, batch = state.learner, few_labels()
    x, u = views(batch)
    q = jnp.asarray(guesses(learner, u), jnp.float32)
    p = jnp.eye(3)[batch["labeled"]["label"]]
    mix = jax.random.split(KEY, 4)[1]
    u = u.reshape(8, 3, *u.shape[1:])
    (x, p), (u, q) = jax.jit(mixmatch_batch)(mix, x, p, u, q, 0.75)

    @jax.jit
    @jax.grad
    def paper(params):
        out, _ = network().apply(params, learner.stats, jnp.concatenate([x, u]), train=True)
        log_p = jax.nn.log_softmax(out["logits"])
        known = -(p * log_p[:8]).sum(1).mean()
        return known + 30 / 4 * jnp.sum((q - jnp.exp(log_p[8:])) ** 2) / (24 * 3)

    after, _ = step(KEY, state, batch)
    wanted = descend(TX, learner, paper(learner.params)).params
    chex.assert_trees_all_close(after.learner.params, wanted, rtol=1e-4, atol=1e-6)
    _, stats = trained(learner.params, learner.stats, jnp.concatenate([x, u]))
    chex.assert_trees_all_close(after.learner.stats, stats, rtol=1e-4, atol=1e-6)


def test_no_label_leaks_into_a_guess():
    _, step, state = compiled(0.0)
    batch = few_labels()
    same = batch["labeled"] | {"label": jnp.full(8, 2)}
    one, two = (step(KEY, state, b)[1] for b in (batch, batch | {"labeled": same}))
    assert one["unlabeled"] == two["unlabeled"]
    assert one["certainty"] == two["certainty"]
    assert abs(one["labeled"] - two["labeled"]) > 1e-3


def test_an_image_seen_once_and_left_alone_agrees_with_its_guess():
    batch = few_labels()
    batch["labeled"]["image"] = batch["unlabeled"]["image"]  # equal batch statistics
    how = dict(weight=30.0, ramp=0, k=1, temperature=1.0, alpha=0.0)
    m = mixmatch(network(), TX, lambda key, batch: batch["image"], **how)
    state = jax.jit(m.init)(jax.random.key(0), batch)
    _, metrics = jax.jit(m.step)(KEY, state, batch)
    np.testing.assert_allclose(metrics["unlabeled"], 0, atol=1e-12)
    np.testing.assert_allclose(metrics["loss"], metrics["labeled"], rtol=1e-6)


def test_guesses_by_averaged_weights_are_those_of_the_average():
    how = dict(weight=30.0, ramp=4, k=3, alpha=0.0, averaged=True)
    m = mixmatch(network(), TX, noisier, **how)
    _, step, state = compiled(0.0)
    learner = step(KEY, state, few_labels())[0].learner  # its average lags behind
    average = learner._replace(params=learner.ema)
    q = guesses(average, views(few_labels())[1])
    _, metrics = jax.jit(m.step)(KEY, state._replace(learner=learner), few_labels())
    np.testing.assert_allclose(metrics["certainty"], q.max(1).mean(), rtol=1e-4)
    own = guesses(learner, views(few_labels())[1]).max(1).mean()
    assert abs(metrics["certainty"] - own) > 1e-4


def test_a_guess_is_certain_of_something_and_its_error_bounded():
    _, step, state = compiled(0.75)
    for i in range(5):
        state, metrics = step(jax.random.key(i), state, few_labels())
        assert 1 / 3 <= metrics["certainty"] <= 1
        assert 0 < metrics["unlabeled"] <= 2 / 3  # 2 / C


def test_the_average_of_the_weights_is_what_is_judged():
    m, step, state = compiled(0.75)
    learner = step(KEY, state, few_labels())[0].learner
    images = few_labels()["unlabeled"]["image"]
    out = jax.jit(m.embed)(state._replace(learner=learner), {"image": images})
    wanted, _ = network().apply(learner.ema, learner.stats, images)
    np.testing.assert_allclose(out["logits"], wanted["logits"], rtol=1e-5, atol=1e-6)
    own, _ = network().apply(learner.params, learner.stats, images)
    assert not np.allclose(out["logits"], own["logits"], atol=1e-4)


def official_interleave(xy):
    """libml/layers.py of google-research/mixmatch, in numpy."""
    n, m = len(xy[0]), len(xy)
    sizes = [n // m] * m
    for x in range(n - sum(sizes)):
        sizes[-x - 1] += 1
    cuts = np.cumsum([0, *sizes])
    parts = [[v[cuts[p] : cuts[p + 1]] for p in range(m)] for v in map(np.asarray, xy)]
    for i in range(1, m):
        parts[0][i], parts[i][i] = parts[i][i], parts[0][i]
    return [np.concatenate(v) for v in parts]


def test_interleaved_batches_have_the_statistics_of_the_released_code():
    """A pass for each view, then k + 1 of mixed rows, the first of which counts."""
    how = dict(weight=30.0, ramp=4, k=3, alpha=0.0, interleaved=True)
    m = mixmatch(network(), TX, noisier, **how)
    batch = few_labels()
    state = jax.jit(m.init)(jax.random.key(0), batch)._replace(count=jnp.int32(1))
    params, stats = state.learner.params, state.learner.stats
    x, u = map(np.asarray, views(batch))
    each = [u[i::3] for i in range(3)]
    softmax = lambda out: scipy.special.softmax(np.asarray(out["logits"], float), axis=1)
    mean = np.mean([softmax(trained(params, stats, v)[0]) for v in each], axis=0)
    q = mean**2 / (mean**2).sum(1, keepdims=True)
    outs = [trained(params, stats, v) for v in official_interleave([x, *each])]
    p, *others = official_interleave([softmax(out) for out, _ in outs])
    known = -np.log(p[np.arange(8), np.arange(8) % 3]).mean()
    unknown = np.mean([(q - other) ** 2 for other in others])
    after, metrics = jax.jit(m.step)(KEY, state, batch)
    np.testing.assert_allclose(metrics["labeled"], known, rtol=1e-5)
    np.testing.assert_allclose(metrics["unlabeled"], unknown, rtol=1e-4)
    chex.assert_trees_all_close(after.learner.stats, outs[0][1], rtol=1e-4, atol=1e-6)
    together = mixmatch(network(), TX, noisier, **(how | dict(interleaved=False)))
    _, other = jax.jit(together.step)(KEY, state, batch)
    assert abs(other["labeled"] - known) > 1e-3 * known


def test_interleaved_batches_of_unequal_size_are_refused():
    m = mixmatch(network(), TX, noisier, interleaved=True)
    batch = few_labels()
    batch["labeled"] = jax.tree.map(lambda x: x[:4], batch["labeled"])
    with pytest.raises(ValueError, match="as many labeled as unlabeled rows, got 4 and 8"):
        m.init(KEY, batch)
