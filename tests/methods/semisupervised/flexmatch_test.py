"""FlexMatch: the table, the status and thresholds made of it, and which step uses which."""

from collections import Counter
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
from jssl.methods.semisupervised.flexmatch import (
    NEVER,
    convex,
    flexmatch,
    learning_status,
)
from jssl.models.convnet import ConvNet
from jssl.models.heads import Classifier

headline = "loss"
discrete = True
KEY = jax.random.key(3)
TX = optax.sgd(0.1)
LABELS = np.arange(8) % 3
SIZE = 20
INDEX = np.array([13, 2, 5, 19, 0, 7, 11, 3])  # of the unlabeled pictures
LAST = np.array([0, 0, 0, 0, 0, 1, 1, 1, 2, 2, 2, 2] + [NEVER] * 8)
TAU = 0.39


def network():
    return jitted(Classifier(ConvNet((8,)), 3))


def tiny(tx):
    how = dict(size=8, threshold=0.4)
    return flexmatch(network(), tx or optax.sgd(1.0), weak, strong, **how), few_labels()


def rows(batch):
    return batch["unlabeled"]


def pictures():
    batch = few_labels()
    batch["unlabeled"]["index"] = jnp.asarray(INDEX)
    return batch


@cache
def stepped():
    """The states before and after a step in the middle of training, and its metrics."""
    m = flexmatch(network(), TX, weak, strong, size=SIZE, weight=2.0, threshold=TAU)
    first = jax.jit(m.init)(jax.random.key(0), pictures())
    assert first.last.tolist() == [NEVER] * SIZE
    before = first._replace(last=jnp.asarray(LAST, jnp.int32))
    return before, *jax.jit(m.step)(KEY, before, pictures())


def trained(params, stats):
    x = jnp.concatenate(weak_and_strong(KEY))
    out, stats = network().apply(params, stats, x, train=True)
    return out["logits"], stats


def probabilities(learner):
    """Of labeled, weak and strong views, by numpy."""
    logits, _ = trained(learner.params, learner.stats)
    return np.split(scipy.special.softmax(np.asarray(logits, np.float64), axis=1), 3)


def counted(last, warmup):
    """beta of the authors' code: counts by number, -1 among them in the warm-up."""
    counts = Counter(last.tolist())
    most = max(n for c, n in counts.items() if warmup or c != NEVER)
    return [counts[c] / most for c in range(3)]


def test_status_is_of_the_whole_table_and_counts_the_never_confident_in_the_warm_up():
    status = lambda last, **how: learning_status(jnp.asarray(last), 3, **how).tolist()
    for warmup in (True, False):
        np.testing.assert_allclose(status(LAST, warmup=warmup), counted(LAST, warmup))
    assert status(LAST)[0] == 5 / 8 != status(LAST, warmup=False)[0]
    even = np.arange(SIZE - 2) % 3
    assert status(even) == [1.0, 1.0, 1.0]  # FixMatch's thresholds
    for warmup in (True, False):
        assert status(np.full(SIZE, NEVER), warmup=warmup) == [0.0, 0.0, 0.0]


def test_thresholds_are_the_convex_function_of_status():
    found = 0.95 * convex(jnp.array([0.0, 0.25, 0.5, 0.75, 1.0]))
    wanted = 0.95 * np.array([0.0, 0.142857, 0.333333, 0.6, 1.0])
    np.testing.assert_allclose(found, wanted, rtol=1e-5)


def mask(q):
    """Of the table before the step, by the class that is predicted."""
    beta = np.array(counted(LAST, True))
    return q.max(1) >= (TAU * beta / (2 - beta))[q.argmax(1)]


def test_the_loss_has_the_threshold_of_the_predicted_class_before_the_step():
    before, _, metrics = stepped()
    p, q, s = probabilities(before.learner)
    known = -np.log(p[np.arange(8), LABELS]).mean()
    nats = -np.log(s[np.arange(8), q.argmax(1)])
    unknown = (mask(q) * nats).sum() / 8
    names = ("labeled", "unlabeled", "confident", "loss")
    found = [float(metrics[name]) for name in names]
    wanted = [known, unknown, mask(q).mean(), known + 2 * unknown]
    np.testing.assert_allclose(found, wanted, rtol=1e-5)
    beta = np.array(counted(LAST, True))
    ends = [metrics["least_threshold"], metrics["largest_threshold"]]
    taus = TAU * beta / (2 - beta)
    np.testing.assert_allclose(ends, [taus.min(), taus.max()], rtol=1e-6)


def test_the_table_has_the_class_of_each_row_that_reaches_the_constant_threshold():
    before, after, metrics = stepped()
    _, q, _ = probabilities(before.learner)
    wanted = LAST.copy()
    for i, row in zip(INDEX, q, strict=True):
        if row.max() >= TAU:
            wanted[i] = row.argmax()
    assert 0 < (q.max(1) >= TAU).sum() < mask(q).sum()  # more count than are confident
    np.testing.assert_array_equal(after.last, wanted)
    np.testing.assert_allclose(metrics["ever_confident"], (wanted != NEVER).mean())


def test_the_weights_descend_with_pseudo_labels_and_thresholds_held_fixed():
    before, after, _ = stepped()
    _, q, _ = probabilities(before.learner)

    @jax.jit
    @jax.grad
    def paper(params):
        log_p = jax.nn.log_softmax(trained(params, before.learner.stats)[0])
        known = -log_p[:8][jnp.arange(8), LABELS].mean()
        return known - 2 * (mask(q) * log_p[16:][jnp.arange(8), q.argmax(1)]).mean()

    wanted = descend(TX, before.learner, paper(before.learner.params)).params
    chex.assert_trees_all_close(after.learner.params, wanted, rtol=1e-4, atol=1e-6)


def test_a_table_of_no_samples_is_refused():
    with pytest.raises(ValueError, match="size must be at least 1, got 0"):
        flexmatch(network(), TX, weak, strong, size=0)
