"""Interpolation consistency: its loss at mixtures, and how the teacher follows.

The loss itself is tested in tests/losses/consistency_test.py.
"""

from functools import cache, partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
from toys import few_labels, jitted, noisy

from jssl.learner import descend, fresh
from jssl.methods.semisupervised.interpolation_consistency import interpolation_consistency
from jssl.models.convnet import ConvNet
from jssl.models.heads import Classifier
from jssl.ops.mixing import mixup

headline = "loss"
KEYS = [jax.random.key(i) for i in range(3)]
SGD = optax.sgd(0.3)
noisier = partial(noisy, deviation=0.2)
LABELS = np.arange(8) % 3


def network():
    return jitted(Classifier(ConvNet((8,)), 3))


def tiny(tx):
    how = dict(weight=1.0, ramp=10)
    return interpolation_consistency(
        network(), tx or optax.sgd(0.1), noisy, **how
    ), few_labels()


def rows(batch):
    return batch["unlabeled"]


@cache
def walked(**how):
    """The states of three steps, and their metrics."""
    how = dict(weight=20.0, ramp=4, momentum=0.6) | how
    m = interpolation_consistency(network(), SGD, noisier, **how)
    states, step = [jax.jit(m.init)(jax.random.key(9), few_labels())], jax.jit(m.step)
    seen = []
    for key in KEYS:
        state, metrics = step(key, states[-1], few_labels())
        states, seen = [*states, state], [*seen, metrics]
    return states, seen


@jax.jit
def trained(params, stats, images):
    out, stats = network().apply(params, stats, images, train=True)
    return out["logits"], stats


def mixtures(key, alpha, per_sample):
    """The matrix [8, 8] that mixes eight rows: what becomes of the identity."""
    how = dict(per_sample=per_sample, keep_dominant=False)
    return mixup(key, jnp.zeros((8, 1)), jnp.eye(8), alpha, **how)[1]


def looks(key):
    """Views of student and teacher, of labeled and of unlabeled rows, and the keys."""
    look, mix_x, mix_u, *_ = jax.random.split(key, 6)
    batch = few_labels()
    images = [batch[part]["image"] for part in ("labeled", "unlabeled")]
    return *jnp.split(noisier(look, jnp.concatenate(images)), 2), mix_x, mix_u


def mixed(matrix, x):
    return jnp.tensordot(matrix, x, 1, precision="highest")


def check(labeled_alpha=0.0, mix_logits=False, per_sample=True):
    """The third step is one of descent on the paper's loss, with the teacher held fixed."""
    how = dict(labeled_alpha=labeled_alpha, mix_logits=mix_logits, per_sample=per_sample)
    states, seen = walked(alpha=0.7, **how)
    before, after, metrics = states[2], states[3], seen[2]
    x, u, mix_x, mix_u = looks(KEYS[2])
    taught, _ = trained(*before.teacher, u)
    matrix = mixtures(mix_u, 0.7, per_sample)
    shares = np.sort(np.asarray(matrix).ravel())[::-1][:8]
    assert np.ptp(shares) > 0.05 or not per_sample
    softmax = jax.nn.softmax
    target = (
        softmax(mixed(matrix, taught)) if mix_logits else mixed(matrix, softmax(taught))
    )
    y = jnp.eye(3)[LABELS]
    if labeled_alpha:
        pairs = mixtures(mix_x, labeled_alpha, per_sample)
        x, y = mixed(pairs, x), mixed(pairs, y)
    w = 20 * np.exp(-5 * (1 - 2 / 4) ** 2)

    @jax.jit
    @partial(jax.value_and_grad, has_aux=True)
    def paper(params):
        log_p = jax.nn.log_softmax(trained(params, before.student.stats, x)[0])
        p = softmax(trained(params, before.student.stats, mixed(matrix, u))[0])
        known, agreed = -(y * log_p).sum(1).mean(), jnp.sum((p - target) ** 2) / (8 * 3)
        return known + w * agreed, (known, agreed)

    (value, parts), grads = paper(before.student.params)
    names = ("loss", "labeled", "unlabeled", "weight")
    found = [float(metrics[name]) for name in names]
    np.testing.assert_allclose(found, [value, *parts, w], rtol=1e-4)
    assert metrics["unlabeled"] > 1e-4
    wanted = descend(SGD, fresh(SGD, before.student.params), grads).params
    chex.assert_trees_all_close(after.student.params, wanted, rtol=1e-4, atol=1e-6)
    return before, after, x, u


def test_the_student_descends_the_papers_loss_and_each_has_the_statistics_of_its_pass():
    before, after, x, u = check()
    _, stats = trained(before.student.params, before.student.stats, x)
    chex.assert_trees_all_close(after.student.stats, stats, rtol=1e-4, atol=1e-6)
    _, stats = trained(*before.teacher, u)
    chex.assert_trees_all_close(after.teacher.stats, stats, rtol=1e-4, atol=1e-6)


def test_the_released_code_mixes_logits_and_labeled_rows_with_one_share_a_batch():
    check(labeled_alpha=0.7, mix_logits=True, per_sample=False)


def test_without_mixing_the_teacher_is_a_mean_teacher_of_the_same_views():
    """The first teacher is the student: with equal inputs they agree but for batch norm."""
    states, seen = walked(alpha=0.0)
    np.testing.assert_allclose(seen[0]["unlabeled"], 0, atol=1e-12)
    _, u, *_ = looks(KEYS[1])
    p, _ = trained(states[1].student.params, states[1].student.stats, u)
    q, _ = trained(*states[1].teacher, u)
    difference = np.square(jax.nn.softmax(p) - jax.nn.softmax(q)).mean()
    np.testing.assert_allclose(seen[1]["unlabeled"], difference, rtol=1e-3)


def test_no_gradient_reaches_the_teacher():
    m = interpolation_consistency(network(), SGD, noisier, weight=20.0, ramp=0)
    state = walked(alpha=0.0)[0][2]

    @jax.jit
    @jax.grad
    def slope(teacher):
        held = state.teacher._replace(params=teacher)
        return m.step(KEYS[0], state._replace(teacher=held), few_labels())[1]["loss"]

    slopes = jax.tree.leaves(slope(state.teacher.params))
    assert not any(np.asarray(x).any() for x in slopes)


def test_the_first_teachers_are_plain_means_of_all_students():
    states, _ = walked(alpha=0.0)
    students = [state.student.params for state in states]
    mean = jax.tree.map(lambda *w: np.mean(w, axis=0), *students[:2])
    chex.assert_trees_all_close(states[1].teacher.params, mean, rtol=1e-5, atol=1e-7)
    slow = jax.tree.map(lambda old, new: 0.6 * old + 0.4 * new, mean, students[2])
    chex.assert_trees_all_close(states[2].teacher.params, slow, rtol=1e-5, atol=1e-7)


def test_the_teacher_is_what_is_judged_and_the_student_is_there_too():
    m, batch = tiny(None)
    state = walked(alpha=0.0)[0][3]
    apply = jax.jit(network().apply)
    taught, _ = apply(*state.teacher, rows(batch)["image"])
    own, _ = apply(state.student.params, state.student.stats, rows(batch)["image"])
    out = jax.jit(m.embed)(state, rows(batch))
    for name, wanted in (("logits", taught["logits"]), ("student_logits", own["logits"])):
        np.testing.assert_allclose(out[name], wanted, rtol=1e-5, atol=1e-6)
    assert not np.allclose(out["logits"], out["student_logits"], atol=1e-3)
