"""S4L: both terms of its loss, on all rows and all rotations, and what moves by them."""

from functools import cache, partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.special
from toys import few_labels, jitted, noisy

from jssl.learner import descend
from jssl.methods.semisupervised.s4l import s4l
from jssl.models.convnet import ConvNet
from jssl.models.heads import TurnClassifier

headline = "loss"
KEY = jax.random.key(3)


def network():
    return jitted(TurnClassifier(ConvNet((8,)), 3))


def tiny(tx):
    return s4l(network(), tx or optax.adam(3e-3), noisy), few_labels()


def rows(batch):
    return batch["unlabeled"]


@cache
def start():
    return jax.jit(tiny(optax.sgd(0.3))[0].init)(jax.random.key(9), few_labels())


@cache
def moved(turned, weight=0.7):
    m = s4l(network(), optax.sgd(0.3), noisy, weight=weight, turned=turned)
    return jax.jit(m.step)(KEY, start(), few_labels())


@cache
def turned_by_numpy():
    """Views [16 * 4, 8, 8, 1], the rotations of a row adjacent, and their numbers."""
    batch = few_labels()
    images = jnp.concatenate([batch["labeled"]["image"], batch["unlabeled"]["image"]])
    views = np.asarray(noisy(KEY, images))
    turned = [np.rot90(x, k) for x in views for k in range(4)]
    return jnp.asarray(np.stack(turned)), np.tile(np.arange(4), 16)


@pytest.mark.parametrize("turned", [True, False])
def test_the_loss_is_that_of_loops_over_rows_and_rotations(turned):
    x, turns = turned_by_numpy()
    out, stats = network().apply(start().params, start().stats, x, train=True)
    logits, pretext = (
        scipy.special.log_softmax(np.asarray(out[name], np.float64), 1)
        for name in ("logits", "turns")
    )
    labels = np.arange(8) % 3
    kept = range(4) if turned else [0]
    known = np.mean([-logits[4 * i + r, labels[i]] for i in range(8) for r in kept])
    rotation = np.mean([-pretext[j, turns[j]] for j in range(64)])
    after, metrics = moved(turned)
    found = [metrics[name] for name in ("loss", "labeled", "rotation")]
    np.testing.assert_allclose(found, [known + 0.7 * rotation, known, rotation], rtol=1e-5)
    right = np.mean(pretext.argmax(1) == turns)
    upright = np.mean(logits[:32:4].argmax(1) == labels)
    found = [metrics[name] for name in ("accuracy", "rotation_accuracy")]
    np.testing.assert_allclose(found, [upright, right], rtol=1e-6)
    chex.assert_trees_all_close(after.stats, stats, rtol=1e-4, atol=1e-6)  # of one pass


def test_the_weights_descend_both_terms():
    x, turns = turned_by_numpy()

    @jax.jit
    @jax.grad
    def paper(params):
        out, _ = network().apply(params, start().stats, x, train=True)
        one = jax.nn.log_softmax(out["logits"])[:32]
        two = jax.nn.log_softmax(out["turns"])
        y = jnp.repeat(jnp.arange(8) % 3, 4)
        known = -one[jnp.arange(32), y].mean()
        return known - 0.7 * two[jnp.arange(64), turns].mean()

    wanted = descend(optax.sgd(0.3), start(), paper(start().params)).params
    chex.assert_trees_all_close(moved(True)[0].params, wanted, rtol=1e-4, atol=1e-6)


def test_without_weight_the_head_of_rotations_stays():
    after, _ = moved(False, 0.0)
    chex.assert_trees_all_equal(after.params["turns"], start().params["turns"])
    assert np.any(after.params["head"]["kernel"] != start().params["head"]["kernel"])


def test_guessing_costs_log_four():
    zero = jax.tree.map(jnp.zeros_like, start().params["turns"])
    state = start()._replace(params=dict(start().params, turns=zero))
    m = s4l(network(), optax.sgd(0.3), noisy, weight=0.7)
    _, metrics = jax.jit(m.step)(KEY, state, few_labels())
    np.testing.assert_allclose(metrics["rotation"], np.log(4), rtol=1e-6)


def test_labels_of_unlabeled_rows_are_not_read():
    batch = few_labels()
    known = dict(batch["unlabeled"], label=jnp.arange(8) % 3)
    step = jax.jit(partial(s4l(network(), optax.sgd(0.3), noisy).step, KEY, start()))
    chex.assert_trees_all_equal(step(batch), step(batch | {"unlabeled": known}))
