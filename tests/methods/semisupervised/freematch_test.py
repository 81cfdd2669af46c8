"""FreeMatch: the averages, the thresholds made of them, and the loss with its fairness.

The fairness of given logits is tested in tests/losses/consistency_test.py.
"""

from functools import cache

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.special
from toys import few_labels, jitted, strong, weak, weak_and_strong

from jssl.learner import descend
from jssl.methods.semisupervised.freematch import Averages, freematch
from jssl.models.convnet import ConvNet
from jssl.models.heads import Classifier

headline = "loss"
discrete = True
KEY = jax.random.key(3)
TX = optax.sgd(0.1)
LABELS = np.arange(8) % 3


def network():
    return jitted(Classifier(ConvNet((8,)), 3))


def tiny(tx):
    method = freematch(network(), tx or optax.sgd(1.0), weak, strong, momentum=0.9)
    return method, few_labels()


def rows(batch):
    return batch["unlabeled"]


@cache
def stepped(**how):
    """The states before and after the first step, and its metrics."""
    how = dict(weight=2.0, fairness=0.5, momentum=0.6) | how
    m = freematch(network(), TX, weak, strong, **how)
    before = jax.jit(m.init)(jax.random.key(0), few_labels())
    return before, *jax.jit(m.step)(KEY, before, few_labels())


def trained(params, stats):
    x = jnp.concatenate(weak_and_strong(KEY))
    out, stats = network().apply(params, stats, x, train=True)
    return out["logits"], stats


def probabilities(learner):
    """Of labeled, weak and strong views, by numpy."""
    logits, _ = trained(learner.params, learner.stats)
    return np.split(scipy.special.softmax(np.asarray(logits, np.float64), axis=1), 3)


def averaged(q):
    """tau, p and h after one update from 1/3, by loops."""
    p, h = np.full(3, 0.6 / 3), np.full(3, 0.6 / 3)
    tau = 0.6 / 3 + 0.4 * sum(row.max() for row in q) / 8
    for row in q:
        p += 0.4 * row / 8
        h[row.argmax()] += 0.4 / 8
    return tau, p, h


def test_the_averages_begin_evenly_and_follow_the_weak_views():
    before, after, metrics = stepped()
    chex.assert_trees_all_close(before.averages, Averages(1 / 3, *np.full((2, 3), 1 / 3)))
    _, q, _ = probabilities(before.learner)
    chex.assert_trees_all_close(after.averages, Averages(*averaged(q)), rtol=1e-5)
    np.testing.assert_allclose(metrics["threshold"], averaged(q)[0], rtol=1e-5)


def test_thresholds_are_in_proportion_to_the_mean_prediction():
    averages = Averages(jnp.array(0.8), jnp.array([0.5, 0.3, 0.2]), jnp.ones(3))
    np.testing.assert_allclose(averages.thresholds, [0.8, 0.48, 0.32], rtol=1e-6)
    even = averages._replace(p=jnp.full(3, 1 / 3))
    np.testing.assert_allclose(even.thresholds, [0.8] * 3, rtol=1e-6)


def masked(q):
    """Of the averages after the update."""
    tau, p, _ = averaged(q)
    return np.array([row.max() >= tau * p[row.argmax()] / p.max() for row in q])


def test_the_loss_has_the_updated_thresholds_and_the_fairness():
    before, _, metrics = stepped()
    p, q, s = probabilities(before.learner)
    sure = masked(q)
    assert 0 < sure.sum() < 8
    known = -np.log(p[np.arange(8), LABELS]).mean()
    unknown = (sure * -np.log(s[np.arange(8), q.argmax(1)])).sum() / 8
    _, mean, bars = averaged(q)
    counts = np.bincount(s[sure].argmax(1), minlength=3)
    b = np.where(counts > 0, s[sure].sum(0) / np.maximum(counts, 1), 0)
    a, b = mean / bars / (mean / bars).sum(), b / b.sum()
    fair = (a * np.log(b + 1e-12)).sum()
    names = ("labeled", "unlabeled", "fairness", "confident", "loss")
    found = [float(metrics[name]) for name in names]
    wanted = [known, unknown, fair, sure.mean(), known + 2 * unknown + 0.5 * fair]
    np.testing.assert_allclose(found, wanted, rtol=1e-5)


def test_the_weights_descend_with_the_weak_views_and_averages_held_fixed():
    before, after, _ = stepped()
    _, q, s = probabilities(before.learner)
    sure, (_, mean, bars) = masked(q), averaged(q)
    counts = np.bincount(s[sure].argmax(1), minlength=3)
    a = mean / bars / (mean / bars).sum()

    @jax.jit
    @jax.grad
    def paper(params):
        log_p = jax.nn.log_softmax(trained(params, before.learner.stats)[0])
        known = -log_p[:8][jnp.arange(8), LABELS].mean()
        unknown = -(sure * log_p[16:][jnp.arange(8), q.argmax(1)]).mean()
        total = (sure[:, None] * jnp.exp(log_p[16:])).sum(0)
        b = jnp.where(counts > 0, total / np.maximum(counts, 1), 0)
        return known + 2 * unknown + 0.5 * (a * jnp.log(b / b.sum() + 1e-12)).sum()

    wanted = descend(TX, before.learner, paper(before.learner.params)).params
    chex.assert_trees_all_close(after.learner.params, wanted, rtol=1e-4, atol=1e-6)
    _, stats = trained(before.learner.params, before.learner.stats)
    chex.assert_trees_all_close(after.learner.stats, stats, rtol=1e-5, atol=1e-7)


def test_bounds_hold_the_global_threshold():
    """As for SVHN: at first it is far below them."""
    before, after, metrics = stepped(bounds=(0.9, 0.95))
    for state in (before, after):
        np.testing.assert_allclose(state.averages.confidence, 0.9, rtol=1e-6)
    assert metrics["confident"] == metrics["unlabeled"] == metrics["fairness"] == 0
    with pytest.raises(ValueError, match=r"bounds must be a range in \[0, 1\], got"):
        freematch(network(), TX, weak, strong, bounds=(0.9, 0.5))
