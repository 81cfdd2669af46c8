"""Distillation: its loss by hand, who moves and who does not, and its two ends."""

from functools import cache

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from toys import images, jitted, noisy

from jssl import nets
from jssl.learner import ema_weights, fresh
from jssl.methods.transfer.distil import Frozen, distil, frozen
from jssl.methods.transfer.supervised import supervised
from jssl.models.convnet import ConvNet
from jssl.models.heads import Classifier

headline = "divergence"
LABELS = jnp.arange(8, dtype=jnp.int32) % 3


def tiny(tx):
    student = jitted(Classifier(ConvNet((8, 16)), 3))
    teacher = jitted(Classifier(ConvNet((8,)), 3))
    method = distil(
        student, teacher, tx or optax.adam(5e-3), temperature=0.3, alpha=0.8, augment=noisy
    )
    labeled = {"image": images()[::-1], "label": LABELS}
    return method, {"labeled": labeled, "unlabeled": {"image": images()}}


def rows(batch):
    return batch["unlabeled"]


def linear_net(width=3):
    """Logits that are the pixels times the weights."""

    def init(key, images):
        return {"w": jax.random.normal(key, (images[0].size, width), images.dtype)}, ()

    def apply(params, stats, images, train=False, keys={}, capture=(), method=None):
        flat = images.reshape(len(images), -1)
        return {"logits": flat @ params["w"], "h": flat}, stats

    return nets.Net(init, apply)


def softmax(x):
    e = np.exp(x - x.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


@pytest.mark.parametrize("temperature", [1.0, 0.5, 3.0])
def test_the_loss_is_the_cross_entropy_of_both_softened_predictions(temperature, x64):
    x = np.random.default_rng(0).uniform(size=(5, 2, 2, 1))
    method = distil(linear_net(), linear_net(), optax.sgd(1.0), temperature=temperature)
    batch = {"image": jnp.asarray(x)}
    state = method.init(jax.random.key(0), batch)
    after, metrics = method.step(jax.random.key(1), state, batch)
    flat = x.reshape(5, 4)
    p_s = softmax(flat @ np.asarray(state.student.params["w"]) / temperature)
    p_t = softmax(flat @ np.asarray(state.teacher.params["w"]) / temperature)
    loss = -(p_t * np.log(p_s)).sum(1).mean()
    np.testing.assert_allclose(metrics["loss"], loss, rtol=1e-10)
    kl = (p_t * np.log(p_t / p_s)).sum(1).mean()
    np.testing.assert_allclose(metrics["divergence"], kl, rtol=1e-8)
    agree = (p_s.argmax(1) == p_t.argmax(1)).mean()
    np.testing.assert_allclose(metrics["agreement"], agree)
    by_logits = (p_s - p_t) / temperature / 5  # the mean of five rows
    moved = state.student.params["w"] - after.student.params["w"]
    np.testing.assert_allclose(moved, flat.T @ by_logits, rtol=1e-9, atol=1e-12)


def test_a_student_like_its_teacher_stays_and_its_loss_is_the_entropy(x64):
    x = np.random.default_rng(0).uniform(size=(5, 2, 2, 1))
    method = distil(linear_net(), linear_net(), optax.sgd(1.0), temperature=0.7)
    batch = {"image": jnp.asarray(x)}
    state = method.init(jax.random.key(0), batch)
    state = state._replace(teacher=frozen(state.student))
    after, metrics = method.step(jax.random.key(1), state, batch)
    chex.assert_trees_all_close(after.student.params, state.student.params, atol=1e-12)
    p = softmax(x.reshape(5, 4) @ np.asarray(state.student.params["w"]) / 0.7)
    np.testing.assert_allclose(metrics["loss"], -(p * np.log(p)).sum(1).mean(), rtol=1e-10)
    np.testing.assert_allclose(metrics["divergence"], 0, atol=1e-12)
    assert metrics["agreement"] == 1


def test_hot_students_match_centered_logits(x64):
    """T^2 c KL -> half the squared difference of centred logits, T to infinity."""
    x = np.random.default_rng(0).uniform(size=(5, 2, 2, 1))
    hot = 1e3
    method = distil(linear_net(), linear_net(), optax.sgd(1.0), temperature=hot)
    batch = {"image": jnp.asarray(x)}
    state = method.init(jax.random.key(0), batch)
    _, metrics = method.step(jax.random.key(1), state, batch)
    apart = state.student.params["w"] - state.teacher.params["w"]
    gap = x.reshape(5, 4) @ np.asarray(apart)
    gap -= gap.mean(1, keepdims=True)
    wanted = np.square(gap).sum(1).mean() / 2
    np.testing.assert_allclose(hot**2 * 3 * metrics["divergence"], wanted, rtol=5e-3)


@cache
def moved():
    """The states around a step of the tiny method, by plain descent, and its metrics."""
    method, batch = tiny(optax.sgd(0.5))
    before = jax.jit(method.init)(jax.random.key(0), batch)
    after, metrics = jax.jit(method.step)(jax.random.key(1), before, batch)
    return before, after, metrics


def test_the_teacher_and_its_statistics_never_move():
    before, after, _ = moved()
    chex.assert_trees_all_equal(before.teacher, after.teacher)
    assert any(
        (a != b).any()
        for a, b in zip(*map(jax.tree.leaves, (before.student, after.student)), strict=True)
    )


def test_student_and_teacher_see_the_same_view_the_teacher_out_of_training():
    before, _, metrics = moved()
    student = jitted(Classifier(ConvNet((8, 16)), 3))
    teacher = jitted(Classifier(ConvNet((8,)), 3))
    view, _, other, _ = jax.random.split(jax.random.key(1), 4)
    seen, named = noisy(view, images()), noisy(other, images()[::-1])
    params, stats = before.student.params, before.student.stats
    say = jax.jit(lambda images: student.apply(params, stats, images, train=True)[0])
    told = jax.jit(teacher.apply)(*before.teacher, seen)[0]["logits"]
    p_t = softmax(np.asarray(told, np.float64) / 0.3)
    p_s = softmax(np.asarray(say(seen)["logits"], np.float64) / 0.3)
    p_y = softmax(np.asarray(say(named)["logits"], np.float64))[np.arange(8), LABELS]
    soft, hard = -(p_t * np.log(p_s)).sum(1).mean(), -np.log(p_y).mean()
    np.testing.assert_allclose(metrics["loss"], 0.8 * soft + 0.2 * hard, rtol=1e-5)


def test_without_a_share_the_teacher_is_not_heard_and_it_is_supervised_learning():
    student = jitted(Classifier(ConvNet((8, 16)), 3))
    _, batch = tiny(None)
    deaf = distil(student, linear_net(), optax.sgd(0.5), alpha=0.0)
    plain = supervised(student, optax.sgd(0.5), 3)
    before = jax.jit(deaf.init)(jax.random.key(0), batch)
    after, metrics = jax.jit(deaf.step)(jax.random.key(1), before, batch)
    wanted, plainly = jax.jit(plain.step)(
        jax.random.key(1), before.student, batch["labeled"]
    )
    chex.assert_trees_all_close(after.student, wanted, rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(metrics["loss"], plainly["loss"], rtol=1e-6)
    assert metrics.keys() == {"loss", "accuracy", "grad_norm"}


def test_a_frozen_teacher_is_the_average_where_one_is_kept():
    tx = optax.chain(optax.sgd(1.0), ema_weights(0.5))
    learner = fresh(tx, {"w": jnp.zeros(2)}, {"mean": jnp.ones(2)})
    learner = learner._replace(params={"w": jnp.ones(2)})
    assert frozen(learner) == Frozen(learner.ema, learner.stats)


@pytest.mark.parametrize("wrong", [{"temperature": 0.0}, {"alpha": 1.5}])
def test_shares_and_temperatures_out_of_range_are_refused(wrong):
    with pytest.raises(ValueError, match="temperature must be positive and alpha between"):
        distil(linear_net(), linear_net(), optax.sgd(0.1), **wrong)
