"""Mean Teacher: its loss, who is moved by it, and how the teacher follows."""

from functools import cache, partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from toys import few_labels, jitted, noisy

from jssl.learner import descend
from jssl.methods.semisupervised.mean_teacher import mean_teacher
from jssl.models.convnet import ConvNet
from jssl.models.heads import Classifier

headline = "loss"
KEYS = [jax.random.key(i) for i in range(4)]
noisier = partial(noisy, deviation=0.2)


def network():
    return jitted(Classifier(ConvNet((8,)), 3))


def tiny(tx):
    method = mean_teacher(network(), tx or optax.sgd(0.1), noisy, weight=1.0, ramp=10)
    return method, few_labels()


def rows(batch):
    return batch["unlabeled"]


@cache
def walked(momentum, consistency, divisor="batch"):
    """The states of four steps, and their metrics."""
    how = dict(weight=20.0, ramp=4, momentum=momentum, consistency=consistency)
    how |= dict(divisor=divisor)
    m = mean_teacher(network(), optax.sgd(0.3), noisier, **how)
    states, step = [jax.jit(m.init)(jax.random.key(9), few_labels())], jax.jit(m.step)
    seen = []
    for key in KEYS:
        state, metrics = step(key, states[-1], few_labels())
        states, seen = [*states, state], [*seen, metrics]
    return states, seen


@jax.jit
def trained(params, stats, images):
    """The network in training: what it says, and its statistics."""
    return network().apply(params, stats, images, train=True)


def looks(key):
    """What student and teacher see in a step with this key."""
    batch = few_labels()
    images = jnp.concatenate([batch[part]["image"] for part in ("labeled", "unlabeled")])
    return [noisier(k, images) for k in jax.random.split(key, 4)[:2]]


@pytest.mark.parametrize(
    ("momentum", "consistency", "divisor"),
    [(0.7, "mse", "batch"), (0.0, "kl", "batch"), (0.7, "mse", "labeled")],
)
def test_the_student_descends_the_papers_loss_with_the_teacher_held_fixed(
    momentum, consistency, divisor
):
    """Of 16 rows 8 are labeled; the released codes divide their sum by 16."""
    states, seen = walked(momentum, consistency, divisor)
    before, after, metrics = states[3], states[4], seen[3]
    ours, theirs = looks(KEYS[3])
    out, _ = trained(*before.teacher, theirs)
    q = jax.nn.softmax(out["logits"])
    w = 20 * np.exp(-5 * (1 - 3 / 4) ** 2)  # the fourth step of a ramp of four

    @jax.jit
    @partial(jax.value_and_grad, has_aux=True)
    def paper(params):
        out, _ = network().apply(params, before.student.stats, ours, train=True)
        p = jax.nn.softmax(out["logits"])
        labels = few_labels()["labeled"]["label"]
        known = -jnp.log(p[jnp.arange(8), labels]).sum()
        known /= {"batch": 16, "labeled": 8}[divisor]
        difference = {
            "mse": jnp.sum((p - q) ** 2) / (16 * 3),
            "kl": jnp.sum(q * jnp.log(q / p)) / 16,
        }[consistency]
        return known + w * difference, (known, difference)

    (value, parts), grads = paper(before.student.params)
    wanted = descend(optax.sgd(0.3), before.student, grads).params
    chex.assert_trees_all_close(after.student.params, wanted, rtol=1e-4, atol=1e-6)
    names = ("loss", "labeled", "unlabeled", "weight")
    found = [float(metrics[name]) for name in names]
    np.testing.assert_allclose(found, [value, *parts, w], rtol=1e-5)
    assert metrics["unlabeled"] > 1e-4


def test_no_gradient_reaches_the_teacher():
    m = mean_teacher(network(), optax.sgd(0.3), noisier, weight=20.0, ramp=0)
    state = walked(0.7, "mse")[0][3]

    @jax.jit
    @jax.value_and_grad
    def loss(teacher):
        held = state.teacher._replace(params=teacher)
        return m.step(KEYS[0], state._replace(teacher=held), few_labels())[1]["loss"]

    value, grads = loss(state.teacher.params)
    assert not any(np.asarray(g).any() for g in jax.tree.leaves(grads))
    other, _ = loss(jax.tree.map(lambda w: 2 * w + 1, state.teacher.params))
    assert abs(value - other) > 1e-3  # though it is taught by them


def test_the_first_teachers_are_plain_means_of_all_students():
    states, _ = walked(0.7, "mse")
    for s in (1, 2):  # 1/2 and 2/3 are below 0.7
        students = [state.student.params for state in states[: s + 1]]
        mean = jax.tree.map(lambda *w: np.mean(w, axis=0), *students)
        chex.assert_trees_all_close(states[s].teacher.params, mean, rtol=1e-5, atol=1e-7)
    slow = jax.tree.map(
        lambda old, new: 0.7 * old + 0.3 * new,
        states[2].teacher.params,
        states[3].student.params,
    )
    chex.assert_trees_all_close(states[3].teacher.params, slow, rtol=1e-5, atol=1e-7)


def test_at_momentum_zero_the_teacher_is_the_student_after_its_step():
    for state in walked(0.0, "kl")[0][1:]:
        chex.assert_trees_all_close(state.teacher.params, state.student.params, rtol=1e-6)


def test_each_has_the_statistics_of_one_pass_of_its_own_view():
    states, _ = walked(0.7, "mse")
    before, after = states[3], states[4]
    ours, theirs = looks(KEYS[3])
    _, stats = trained(before.student.params, before.student.stats, ours)
    chex.assert_trees_all_close(after.student.stats, stats, rtol=1e-4, atol=1e-6)
    _, stats = trained(*before.teacher, theirs)
    chex.assert_trees_all_close(after.teacher.stats, stats, rtol=1e-4, atol=1e-6)


def test_the_teacher_is_what_is_judged_and_the_student_is_there_too():
    m, batch = tiny(None)
    state = walked(0.7, "mse")[0][4]
    apply = jax.jit(network().apply)
    taught, _ = apply(*state.teacher, rows(batch)["image"])
    own, _ = apply(state.student.params, state.student.stats, rows(batch)["image"])
    out = jax.jit(m.embed)(state, rows(batch))
    for name, wanted in (
        ("h", taught["h"]),
        ("logits", taught["logits"]),
        ("student_logits", own["logits"]),
    ):
        np.testing.assert_allclose(out[name], wanted, rtol=1e-5, atol=1e-6)
    assert not np.allclose(out["logits"], out["student_logits"], atol=1e-3)


def test_an_unknown_consistency_is_refused():
    with pytest.raises(ValueError, match="consistency must be mse or kl, got 'l1'"):
        mean_teacher(network(), optax.sgd(0.1), noisy, consistency="l1")


def test_an_unknown_divisor_is_refused():
    with pytest.raises(ValueError, match="divisor must be batch or labeled, got 'rows'"):
        mean_teacher(network(), optax.sgd(0.1), noisy, divisor="rows")


def test_a_rescaled_weight_gives_a_multiple_of_the_same_gradient():
    """n = 16 and m = 8: twice the weight over the labeled rows at half the rate."""
    state, after = (walked(0.7, "mse")[0][i] for i in (3, 4))
    how = dict(weight=40.0, ramp=4, momentum=0.7, divisor="labeled")
    other = mean_teacher(network(), optax.sgd(0.15), noisier, **how)
    same, _ = jax.jit(other.step)(KEYS[3], state, few_labels())
    chex.assert_trees_all_close(
        same.student.params, after.student.params, rtol=1e-4, atol=1e-6
    )
