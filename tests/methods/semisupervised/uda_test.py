"""UDA: its loss, the mask before sharpening, and the annealing by updates.

Loss and schedule by themselves are tested in tests/losses/consistency_test.py and
tests/ops/ramps_test.py.
"""

from functools import cache

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.special
import scipy.stats
from toys import few_labels, jitted, strong, weak, weak_and_strong

from jssl.learner import descend
from jssl.methods.semisupervised.uda import uda
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
    method = uda(network(), tx or optax.sgd(1.0), weak, strong, threshold=0.4)
    return method, few_labels()


def rows(batch):
    return batch["unlabeled"]


@cache
def stepped(threshold, **annealing):
    """The states before and after a step in the middle of training, and its metrics."""
    how = dict(weight=2.0, threshold=threshold, temperature=0.5) | annealing
    m = uda(network(), TX, weak, strong, **how)
    before = jax.jit(m.init)(jax.random.key(0), few_labels())
    before = before._replace(count=jnp.int32(3))
    return before, *jax.jit(m.step)(KEY, before, few_labels())


def trained(params, stats):
    x = jnp.concatenate(weak_and_strong(KEY))
    out, stats = network().apply(params, stats, x, train=True)
    return out["logits"], stats


def probabilities(learner):
    """Of labeled, weak and strong views, by numpy."""
    logits, _ = trained(learner.params, learner.stats)
    return np.split(scipy.special.softmax(np.asarray(logits, np.float64), axis=1), 3)


def confident_half():
    most = np.sort(probabilities(stepped(0.0)[0].learner)[1].max(1))
    return float((most[3] + most[4]) / 2)


def test_the_mask_is_of_the_plain_and_the_target_of_the_sharpened_prediction():
    before, _, metrics = stepped(confident_half())
    p, q, s = probabilities(before.learner)
    sharp = q**2 / (q**2).sum(1, keepdims=True)  # T = 1/2
    sure = q.max(1) >= confident_half()
    assert sure.sum() == 4 < (sharp.max(1) >= confident_half()).sum()
    known = -np.log(p[np.arange(8), LABELS]).mean()
    unknown = (sure * scipy.stats.entropy(sharp, s, axis=1)).sum() / 8
    names = ("labeled", "unlabeled", "confident", "loss")
    found = [float(metrics[name]) for name in names]
    wanted = [known, unknown, 0.5, known + 2 * unknown]
    np.testing.assert_allclose(found, wanted, rtol=1e-5)


def test_the_weights_descend_with_the_targets_held_fixed():
    before, after, _ = stepped(confident_half())
    _, q, _ = probabilities(before.learner)
    sharp = jnp.asarray(q**2 / (q**2).sum(1, keepdims=True), jnp.float32)
    sure = q.max(1) >= confident_half()

    @jax.jit
    @jax.grad
    def paper(params):
        log_p = jax.nn.log_softmax(trained(params, before.learner.stats)[0])
        known = -log_p[:8][jnp.arange(8), LABELS].mean()
        return known - 2 * (sure * (sharp * log_p[16:]).sum(1)).mean()

    wanted = descend(TX, before.learner, paper(before.learner.params)).params
    chex.assert_trees_all_close(after.learner.params, wanted, rtol=1e-4, atol=1e-6)
    _, stats = trained(before.learner.params, before.learner.stats)
    chex.assert_trees_all_close(after.learner.stats, stats, rtol=1e-5, atol=1e-7)


def test_annealing_leaves_out_labeled_images_that_are_known_by_now():
    """Update 3 of 50: eta = 0.06 (1 - 1/3) + 1/3 = 0.3733."""
    before, after, metrics = stepped(2.0, annealing="linear", steps=50)
    p, _, _ = probabilities(before.learner)
    right = p[np.arange(8), LABELS]
    left = right <= 0.06 * 2 / 3 + 1 / 3
    assert 0 < left.sum() < 8
    np.testing.assert_allclose(metrics["annealing"], 0.06 * 2 / 3 + 1 / 3, rtol=1e-6)
    np.testing.assert_allclose(metrics["labeled"], -np.log(right[left]).mean(), rtol=1e-5)
    assert after.count == 4


def test_wrong_annealing_is_refused():
    with pytest.raises(ValueError, match="one of linear, exp, log, got 'cosine'"):
        uda(network(), TX, weak, strong, annealing="cosine", steps=10)
    with pytest.raises(ValueError, match="annealing needs steps of at least 1, got 0"):
        uda(network(), TX, weak, strong, annealing="log")
    split = optax.MultiSteps(TX, 2)
    method = uda(network(), split, weak, strong, annealing="log", steps=10)
    with pytest.raises(ValueError, match="uda: the loss compares .* no optax.MultiSteps"):
        jax.eval_shape(method.init, KEY, few_labels())
