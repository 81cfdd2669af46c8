"""Pseudo-labels: the loss and its gradient, Lee's schedule, and entropy minimization."""

from functools import cache, partial

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.special
from toys import few_labels, jitted, noisy

from jssl.learner import descend, ema_weights, fresh
from jssl.methods.semisupervised.pseudo_label import pseudo_label
from jssl.models.convnet import ConvNet
from jssl.models.heads import Classifier

headline = "loss"
discrete = True
KEY = jax.random.key(3)
noisier = partial(noisy, deviation=0.2)


def network():
    return jitted(Classifier(ConvNet((8,)), 3))


def tiny(tx):
    how = dict(weight=1.0, threshold=0.36, ramp=10)
    return pseudo_label(network(), tx or optax.sgd(0.1), noisy, **how), few_labels()


def rows(batch):
    return batch["unlabeled"]


@cache
def compiled():
    """Pseudo-labels and entropy, the compiled step, and a state halfway up the ramp."""
    tx = optax.chain(optax.sgd(0.3), ema_weights(0.5))
    how = dict(weight=3.0, threshold=0.38, start=4, ramp=2, entropy_weight=0.5)
    m = pseudo_label(network(), tx, noisier, **how)
    state = jax.jit(m.init)(jax.random.key(0), few_labels())
    return m, jax.jit(m.step), state._replace(count=jnp.int32(5))


def looks():
    """Views in a step with KEY, of labeled and of unlabeled rows."""
    batch = few_labels()
    images = [batch[part]["image"] for part in ("labeled", "unlabeled")]
    return jnp.split(noisier(jax.random.split(KEY, 3)[0], jnp.concatenate(images)), 2)


def trained(params, stats, images):
    return network().apply(params, stats, images, train=True)


def predictions(learner):
    return [
        scipy.special.softmax(
            np.asarray(trained(learner.params, learner.stats, x)[0]["logits"], float),
            axis=1,
        )
        for x in looks()
    ]


def test_the_loss_is_the_mean_over_all_unlabeled_rows_confident_or_not():
    _, step, state = compiled()
    p, q = predictions(state.learner)
    known = -np.mean([np.log(p[i, i % 3]) for i in range(8)])
    sure = [max(row) for row in q if max(row) >= 0.38]
    assert 0 < len(sure) < 8
    guessed = -sum(np.log(sure)) / 8
    unsure = -(q * np.log(q)).sum(1).mean()
    _, metrics = step(KEY, state, few_labels())
    names = ("labeled", "unlabeled", "entropy", "weight", "confident", "loss")
    value = known + 0.5 * (3 * guessed + 0.5 * unsure)
    wanted = [known, guessed, unsure, 1.5, len(sure) / 8, value]
    np.testing.assert_allclose([float(metrics[x]) for x in names], wanted, rtol=1e-4)


def test_the_gradient_is_that_of_labels_fed_as_constants():
    _, step, state = compiled()
    learner, (x, u) = state.learner, looks()
    _, q = predictions(learner)
    guess, sure = jnp.asarray(q.argmax(1)), jnp.asarray(q.max(1) >= 0.38, jnp.float32)

    @jax.jit
    @jax.grad
    def paper(params):
        log_p, log_q = (
            jax.nn.log_softmax(trained(params, learner.stats, seen)[0]["logits"])
            for seen in (x, u)
        )
        known = -log_p[jnp.arange(8), jnp.arange(8) % 3].mean()
        guessed = -(sure * log_q[jnp.arange(8), guess]).mean()
        unsure = -(jnp.exp(log_q) * log_q).sum(1).mean()
        return known + 0.5 * (3 * guessed + 0.5 * unsure)

    after, _ = step(KEY, state, few_labels())
    plain = optax.sgd(0.3)
    wanted = descend(plain, fresh(plain, learner.params), paper(learner.params)).params
    chex.assert_trees_all_close(after.learner.params, wanted, rtol=1e-4, atol=1e-6)


def test_the_running_statistics_are_those_of_the_labeled_pass_alone():
    _, step, state = compiled()
    after, _ = step(KEY, state, few_labels())
    _, stats = trained(state.learner.params, state.learner.stats, looks()[0])
    chex.assert_trees_all_close(after.learner.stats, stats, rtol=1e-5, atol=1e-7)


class Linear(nn.Module):
    """A linear classifier of pixels, whose first predictions are uniform."""

    @nn.compact
    def __call__(self, images, train=False):
        h = images.reshape(len(images), -1)
        start = nn.initializers.zeros
        return {"logits": nn.Dense(3, kernel_init=start, name="head")(h), "h": h}


def linear(tx, **how):
    m = pseudo_label(jitted(Linear()), tx, noisy, **how)
    return jax.jit(m.init)(KEY, few_labels()), jax.jit(m.step)


def test_the_weight_has_lees_schedule_in_updates_of_the_weights():
    """alpha of epochs 99, 100, 350, 600 is 0, 0, 1.5, 3."""
    how = dict(weight=3.0, threshold=0.0, start=100, ramp=500)
    state, step = linear(optax.MultiSteps(optax.sgd(0.1), 2), **how)
    seen = []
    for t in (99, 100, 350, 600, 700):
        _, metrics = step(KEY, state._replace(count=jnp.int32(t)), few_labels())
        seen.append(float(metrics["weight"]))
    np.testing.assert_allclose(seen, [0, 0, 1.5, 3, 3], rtol=1e-6)
    once, _ = step(KEY, state, few_labels())
    twice, _ = step(KEY, once, few_labels())
    assert (once.count, twice.count) == (0, 1)


def test_without_confident_rows_the_step_is_supervised():
    state, step = linear(optax.sgd(0.1), weight=3.0, threshold=1.0, ramp=0)
    other, same = linear(optax.sgd(0.1), weight=0.0, ramp=0)
    after, metrics = step(KEY, state, few_labels())
    assert metrics["unlabeled"] == metrics["confident"] == 0
    wanted, _ = same(KEY, other, few_labels())
    chex.assert_trees_all_close(after.learner.params, wanted.learner.params, rtol=1e-6)


def test_the_average_of_the_weights_is_what_is_judged():
    m, step, state = compiled()
    learner = step(KEY, state, few_labels())[0].learner
    images = few_labels()["unlabeled"]["image"]
    out = jax.jit(m.embed)(state._replace(learner=learner), {"image": images})
    wanted, _ = network().apply(learner.ema, learner.stats, images)
    np.testing.assert_allclose(out["logits"], wanted["logits"], rtol=1e-5, atol=1e-6)


def test_a_threshold_that_is_no_probability_is_refused():
    with pytest.raises(ValueError, match="threshold must be from 0 to 1, got 95"):
        pseudo_label(network(), optax.sgd(0.1), noisy, threshold=95)
