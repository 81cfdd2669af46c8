"""ReMixMatch: its four terms, what a guess is made of, and which pass moves the statistics.

The mixing itself is tested in tests/ops/mixing_test.py.
"""

from functools import cache

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.special
from toys import few_labels, jitted, strong, weak

from jssl.learner import descend
from jssl.methods.semisupervised.remixmatch import remixmatch
from jssl.models.convnet import ConvNet
from jssl.models.heads import TurnClassifier
from jssl.ops.mixing import interleave, mixmatch_batch

headline = "loss"
KEY = jax.random.key(3)
TX = optax.sgd(0.1)
LABELS = np.arange(8) % 3
DATA = (0.5, 0.3, 0.2)  # frequencies of the classes
HOW = dict(weight=3.0, anchor=0.7, rotation=0.4, ramp=4, k=2, memory=5)


def network():
    return jitted(TurnClassifier(ConvNet((8,)), 3))


def tiny(tx):
    how = dict(weight=0.5, ramp=1, k=1, alpha=0.1, memory=4)
    return remixmatch(network(), tx or optax.sgd(1.0), weak, strong, **how), few_labels()


def rows(batch):
    return batch["unlabeled"]


@cache
def stepped(alpha=0.0, interleaved=False):
    """The states before and after a step in the middle of the ramp, and its metrics."""
    how = HOW | dict(alpha=alpha, frequencies=DATA, interleaved=interleaved)
    m = remixmatch(network(), TX, weak, strong, **how)
    first = jax.jit(m.init)(jax.random.key(0), few_labels())
    np.testing.assert_allclose(first.predicted.keys, np.full((5, 3), 1 / 3), rtol=1e-6)
    keys = first.predicted.keys.at[1].set(jnp.array([0.8, 0.1, 0.1]))
    seen = first.predicted._replace(keys=keys)
    before = first._replace(predicted=seen, count=jnp.int32(1))
    return before, *jax.jit(m.step)(KEY, before, few_labels())


def views():
    """Labeled and unlabeled weak views, and two strong ones of each: [8, 2, ...]."""
    one, two, *_ = jax.random.split(KEY, 5)
    x, u = (few_labels()[name]["image"] for name in ("labeled", "unlabeled"))
    x, u = jnp.split(weak(one, jnp.concatenate([x, u])), 2)
    twice = jnp.repeat(few_labels()["unlabeled"]["image"], 2, axis=0)
    return x, u, strong(two, twice).reshape(8, 2, *twice.shape[1:])


def trained(learner, images):
    return network().apply(learner.params, learner.stats, images, train=True)


def probabilities(learner, images, name="logits"):
    logits = trained(learner, images)[0][name]
    return scipy.special.softmax(np.asarray(logits, np.float64), axis=1)


def guesses(before):
    """Predictions for weak views, and the guesses made of them, in numpy."""
    p = probabilities(before.learner, views()[1])
    model = (4 * np.full(3, 1 / 3) + np.array([0.8, 0.1, 0.1])) / 5
    q = p * (np.array(DATA) + 1e-6) / (model + 1e-6)
    q /= q.sum(1, keepdims=True)
    q = q**2 / (q**2).sum(1, keepdims=True)  # T = 1/2
    return p, q


def turned():
    """The first strong view of each image, turned counterclockwise by i quarters."""
    first = np.asarray(views()[2][:, 0])
    return np.stack([np.rot90(image, i % 4) for i, image in enumerate(first)])


def test_without_mixing_the_four_terms_are_those_of_numpy():
    before, _, metrics = stepped()
    x, u, s = views()
    _, q = guesses(before)
    all_views = jnp.concatenate([u[:, None], s], 1)  # three of each image
    flat = all_views.reshape(-1, *x.shape[1:])
    p = probabilities(before.learner, jnp.concatenate([x, flat]))
    known = -np.log(p[:8][np.arange(8), LABELS]).mean()
    unknown = -(np.repeat(q, 3, axis=0) * np.log(p[8:])).sum(1).mean()
    near = -(q * np.log(probabilities(before.learner, s[:, 0]))).sum(1).mean()
    turns = probabilities(before.learner, turned(), "turns")
    rotated = -np.log(turns[np.arange(8), np.arange(8) % 4]).mean()
    total = known + 1 / 4 * (3 * unknown + 0.7 * near) + 0.4 * rotated
    names = ("labeled", "unlabeled", "anchored", "rotated", "loss", "certainty")
    found = [float(metrics[name]) for name in names]
    wanted = [known, unknown, near, rotated, total, q.max(1).mean()]
    np.testing.assert_allclose(found, wanted, rtol=1e-4)


def test_the_oldest_mean_prediction_is_replaced_by_that_before_alignment():
    before, after, _ = stepped()
    p, _ = guesses(before)
    wanted = np.asarray(before.predicted.keys).copy()
    wanted[0] = p.mean(0)
    np.testing.assert_allclose(after.predicted.keys, wanted, rtol=1e-5)
    assert (after.predicted.pointer, after.count) == (1, 2)


def test_the_weights_descend_with_the_guesses_held_fixed():
    before, after, _ = stepped(0.75)
    learner = before.learner
    x, u, s = views()
    q = jnp.asarray(guesses(before)[1], jnp.float32)
    mix = jax.random.split(KEY, 5)[2]
    all_views = jnp.concatenate([u[:, None], s], 1)
    one_hot = jnp.eye(3)[LABELS]
    mixed = jax.jit(mixmatch_batch)(mix, x, one_hot, all_views, q, 0.75)
    (x, p), (v, mixed_q) = mixed
    first, turns = s[:, 0], jnp.asarray(turned())

    @jax.jit
    @jax.grad
    def paper(params):
        def log_p(images, name="logits"):
            out, _ = network().apply(params, learner.stats, images, train=True)
            return jax.nn.log_softmax(out[name])

        both = log_p(jnp.concatenate([x, v]))
        known = -(p * both[:8]).sum(1).mean()
        unknown = -(mixed_q * both[8:]).sum(1).mean()
        near = -(q * log_p(first)).sum(1).mean()
        rotated = -log_p(turns, "turns")[jnp.arange(8), jnp.arange(8) % 4].mean()
        return known + 1 / 4 * (3 * unknown + 0.7 * near) + 0.4 * rotated

    wanted = descend(TX, learner, paper(learner.params)).params
    chex.assert_trees_all_close(after.learner.params, wanted, rtol=1e-4, atol=1e-6)
    _, stats = trained(learner, jnp.concatenate([x, v]))
    chex.assert_trees_all_close(after.learner.stats, stats, rtol=1e-4, atol=1e-6)


def test_of_interleaved_batches_the_last_moves_the_statistics():
    """The released code: k + 2 passes of mixed rows, and UPDATE_OPS of the last alone."""
    before, after, metrics = stepped(interleaved=True)
    x, u, s = views()
    batches = interleave([x, u, s[:, 0], s[:, 1]])
    _, stats = trained(before.learner, batches[-1])
    chex.assert_trees_all_close(after.learner.stats, stats, rtol=1e-4, atol=1e-6)
    each = [jnp.asarray(probabilities(before.learner, rows)) for rows in batches]
    p, *others = map(np.asarray, interleave(each))
    known = -np.log(p[np.arange(8), LABELS]).mean()
    _, q = guesses(before)
    unknown = np.mean([-(q * np.log(other)).sum(1) for other in others])
    np.testing.assert_allclose(metrics["labeled"], known, rtol=1e-4)
    np.testing.assert_allclose(metrics["unlabeled"], unknown, rtol=1e-4)


def test_even_predictions_and_frequencies_leave_a_guess_as_it_is():
    m, batch = tiny(None)
    state = jax.jit(m.init)(jax.random.key(0), batch)
    _, metrics = jax.jit(m.step)(KEY, state, batch)
    p = probabilities(state.learner, views()[1])
    q = p**2 / (p**2).sum(1, keepdims=True)
    np.testing.assert_allclose(metrics["certainty"], q.max(1).mean(), rtol=1e-5)


def test_interleaved_batches_of_unequal_size_are_refused():
    m = remixmatch(network(), TX, weak, strong, interleaved=True)
    batch = few_labels()
    batch["labeled"] = jax.tree.map(lambda x: x[:4], batch["labeled"])
    with pytest.raises(ValueError, match="as many labeled as unlabeled rows, got 4 and 8"):
        jax.eval_shape(m.init, KEY, batch)
