"""FixMatch: its loss, what a pseudo-label is made of, and the one pass of all views.

The loss of given logits is tested in tests/losses/consistency_test.py.
"""

from functools import cache

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import scipy.special
from toys import few_labels, jitted, strong, weak, weak_and_strong

from jssl.learner import descend, ema_weights
from jssl.methods.semisupervised.fixmatch import fixmatch
from jssl.models.convnet import ConvNet
from jssl.models.heads import Classifier

headline = "loss"
discrete = True
KEY = jax.random.key(3)
TX = optax.chain(optax.sgd(0.1), ema_weights(0.5))
LABELS = np.arange(8) % 3


def network():
    return jitted(Classifier(ConvNet((8,)), 3))


def tiny(tx):
    method = fixmatch(network(), tx or optax.sgd(1.0), weak, strong, threshold=0.5)
    return method, few_labels()


def rows(batch):
    return batch["unlabeled"]


@cache
def stepped(threshold, weight=2.0):
    """The method, and the states before and after a step with its metrics."""
    m = fixmatch(network(), TX, weak, strong, weight=weight, threshold=threshold)
    before = jax.jit(m.init)(jax.random.key(0), few_labels())
    return m, before, *jax.jit(m.step)(KEY, before, few_labels())


def trained(params, stats):
    """The network in training on all views at once: its logits, and its statistics."""
    x = jnp.concatenate(weak_and_strong(KEY))
    out, stats = network().apply(params, stats, x, train=True)
    return out["logits"], stats


def probabilities(learner):
    """Of labeled, weak and strong views, by numpy."""
    logits, _ = trained(learner.params, learner.stats)
    return np.split(scipy.special.softmax(np.asarray(logits, np.float64), axis=1), 3)


def confident_half():
    """A threshold that four of the eight weak views reach."""
    most = np.sort(probabilities(stepped(0.0)[1])[1].max(1))
    return float((most[3] + most[4]) / 2)


def test_both_terms_are_those_of_numpy_over_all_unlabeled_images():
    _, before, _, metrics = stepped(confident_half())
    p, q, s = probabilities(before)
    known = -np.log(p[np.arange(8), LABELS]).mean()
    total = 0.0
    for i in range(8):
        if q[i].max() >= confident_half():
            total += -np.log(s[i, q[i].argmax()]) / 8  # all eight, not the four
    names = ("labeled", "unlabeled", "confident", "loss")
    found = [float(metrics[name]) for name in names]
    np.testing.assert_allclose(found, [known, total, 0.5, known + 2 * total], rtol=1e-5)


def test_the_weights_descend_with_the_pseudo_labels_held_fixed():
    _, before, after, _ = stepped(confident_half())
    _, q, _ = probabilities(before)
    classes, sure = q.argmax(1), q.max(1) >= confident_half()

    @jax.jit
    @jax.grad
    def paper(params):
        log_p = jax.nn.log_softmax(trained(params, before.stats)[0])
        known = -log_p[:8][jnp.arange(8), LABELS].mean()
        return known - 2 * (sure * log_p[16:][jnp.arange(8), classes]).mean()

    wanted = descend(TX, before, paper(before.params)).params
    chex.assert_trees_all_close(after.params, wanted, rtol=1e-4, atol=1e-6)


def test_the_statistics_are_of_one_pass_of_labeled_weak_and_strong_views():
    _, before, after, _ = stepped(confident_half())
    _, stats = trained(before.params, before.stats)
    chex.assert_trees_all_close(after.stats, stats, rtol=1e-5, atol=1e-7)


def test_no_pseudo_label_counts_above_a_threshold_of_one():
    _, _, above, metrics = stepped(1.1)
    _, _, without, _ = stepped(0.0, weight=0.0)
    assert metrics["confident"] == metrics["unlabeled"] == 0
    chex.assert_trees_all_close(above.params, without.params, rtol=1e-6, atol=1e-8)


def test_the_average_of_the_weights_is_what_is_judged():
    m, _, after, _ = stepped(confident_half())
    out = jax.jit(m.embed)(after, rows(few_labels()))
    images = few_labels()["unlabeled"]["image"]
    wanted, _ = network().apply(after.ema, after.stats, images)
    np.testing.assert_allclose(out["logits"], wanted["logits"], rtol=1e-5, atol=1e-6)
    own, _ = network().apply(after.params, after.stats, images)
    assert not np.allclose(out["logits"], own["logits"], atol=1e-4)
