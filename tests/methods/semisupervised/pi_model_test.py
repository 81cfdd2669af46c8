"""Pi-model: its loss and gradient, its two passes, and the ramp of its weight."""

from functools import cache, partial

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.special
from toys import few_labels, jitted, two_views

from jssl.learner import descend, ema_weights, fresh
from jssl.methods.semisupervised.pi_model import pi_model
from jssl.models.convnet import ConvNet
from jssl.models.heads import Classifier

headline = "loss"
KEY = jax.random.key(3)
noisier = partial(two_views, deviation=0.2)


def network():
    return jitted(Classifier(ConvNet((8,)), 3))


def tiny(tx):
    tx = tx or optax.sgd(0.1)
    return pi_model(network(), tx, two_views, weight=1.0, ramp=10), few_labels()


def rows(batch):
    return batch["unlabeled"]


@cache
def compiled(**how):
    """The Pi-model, its compiled step, and a state in the middle of the ramp."""
    tx = optax.chain(optax.sgd(0.3), ema_weights(0.5))
    m = pi_model(network(), tx, noisier, weight=20.0, ramp=4, **how)
    state = jax.jit(m.init)(jax.random.key(9), few_labels())
    return m, jax.jit(m.step), state._replace(count=jnp.int32(3))


def looks():
    """Both views that a step with KEY has of all rows."""
    batch = few_labels()
    images = jnp.concatenate([batch[part]["image"] for part in ("labeled", "unlabeled")])
    both = noisier(jax.random.split(KEY, 3)[0], images)
    return both[:, 0], both[:, 1]


def trained(params, stats, images):
    return network().apply(params, stats, images, train=True)


@pytest.mark.parametrize("divisor", ["batch", "labeled"])
def test_the_loss_is_the_papers_sum_over_rows_and_classes(divisor):
    """The released code divides both terms by the whole batch, of 16 rows."""
    _, step, state = compiled(divisor=divisor)
    learner, labels = state.learner, np.arange(8) % 3
    z, other = (
        scipy.special.softmax(np.asarray(out["logits"], np.float64), axis=1)
        for out, _ in (trained(learner.params, learner.stats, x) for x in looks())
    )
    known = -sum(np.log(z[i, y]) for i, y in enumerate(labels))
    known /= {"batch": 16, "labeled": 8}[divisor]
    agreed = sum((z[i, c] - other[i, c]) ** 2 for i in range(16) for c in range(3))
    w = 20 * np.exp(-5 * (1 - 3 / 4) ** 2)
    _, metrics = step(KEY, state, few_labels())
    found = [float(metrics[name]) for name in ("labeled", "unlabeled", "weight", "loss")]
    wanted = [known, agreed / 48, w, known + w * agreed / 48]
    np.testing.assert_allclose(found, wanted, rtol=1e-4)
    assert metrics["unlabeled"] > 1e-4


@pytest.mark.parametrize("symmetric", [True, False])
def test_the_gradient_flows_through_both_passes_or_the_first_alone(symmetric):
    _, step, state = compiled(symmetric=symmetric)
    learner, (x, other) = state.learner, looks()
    w = 20 * np.exp(-5 * (1 - 3 / 4) ** 2)

    @jax.jit
    @jax.grad
    def paper(params):
        held = params if symmetric else learner.params
        p, q = (
            jax.nn.softmax(trained(weights, learner.stats, x)[0]["logits"])
            for weights, x in ((params, x), (held, other))
        )
        known = -jnp.log(p[jnp.arange(8), jnp.arange(8) % 3]).sum() / 16
        return known + w * jnp.sum((p - q) ** 2) / 48

    after, _ = step(KEY, state, few_labels())
    wanted = descend(
        optax.sgd(0.3), fresh(optax.sgd(0.3), learner.params), paper(learner.params)
    )
    chex.assert_trees_all_close(after.learner.params, wanted.params, rtol=1e-4, atol=1e-6)


def test_the_running_statistics_are_those_of_the_first_pass_alone():
    _, step, state = compiled()
    after, _ = step(KEY, state, few_labels())
    _, stats = trained(state.learner.params, state.learner.stats, looks()[0])
    chex.assert_trees_all_close(after.learner.stats, stats, rtol=1e-4, atol=1e-6)


class Dropped(nn.Module):
    """A linear classifier of what dropout leaves."""

    rate: float

    @nn.compact
    def __call__(self, images, train=False):
        h = images.reshape(len(images), -1)
        x = nn.Dropout(self.rate, deterministic=not train)(h)
        return {"logits": nn.Dense(3, name="head")(x), "h": h}


def same(key, batch):
    return jnp.stack([batch["image"]] * 2, 1)


@pytest.mark.parametrize("rate", [0.5, 0.0])
def test_of_equal_views_dropout_alone_makes_the_passes_differ(rate):
    m = pi_model(jitted(Dropped(rate)), optax.sgd(0.1), same, weight=20.0, ramp=0)
    state = jax.jit(m.init)(KEY, few_labels())
    after, metrics = jax.jit(m.step)(KEY, state, few_labels())
    assert (metrics["unlabeled"] > 1e-3) == (rate > 0)
    if rate:
        return
    kernel, x = state.learner.params["head"]["kernel"], few_labels()["labeled"]["image"]
    p = jax.nn.softmax(x.reshape(8, -1) @ kernel)
    slope = x.reshape(8, -1).T @ (p - jnp.eye(3)[jnp.arange(8) % 3]) / 16
    found = after.learner.params["head"]["kernel"]
    np.testing.assert_allclose(found, kernel - 0.1 * slope, rtol=1e-4, atol=1e-6)


def test_the_weight_waits_an_epoch_and_rises_with_updates_of_the_weights():
    net, tx = jitted(Dropped(0.0)), optax.MultiSteps(optax.sgd(0.1), 2)
    m = pi_model(net, tx, same, weight=8.0, ramp=4, wait=1)
    state, step, seen = jax.jit(m.init)(KEY, few_labels()), jax.jit(m.step), []
    for _ in range(12):
        state, metrics = step(KEY, state, few_labels())
        seen.append(float(metrics["weight"]))
    wanted = [0.0, *(8 * np.exp(-5 * (1 - t / 4) ** 2) for t in (1, 2, 3, 4)), 8.0]
    np.testing.assert_allclose(seen, np.repeat(wanted, 2), rtol=1e-5)


def test_the_average_of_the_weights_is_what_is_judged():
    m, step, state = compiled()
    learner = step(KEY, state, few_labels())[0].learner
    images = few_labels()["unlabeled"]["image"]
    out = jax.jit(m.embed)(state._replace(learner=learner), {"image": images})
    wanted, _ = network().apply(learner.ema, learner.stats, images)
    np.testing.assert_allclose(out["logits"], wanted["logits"], rtol=1e-5, atol=1e-6)


def test_an_unknown_divisor_is_refused():
    with pytest.raises(ValueError, match="divisor must be batch or labeled, got 'rows'"):
        pi_model(network(), optax.sgd(0.1), two_views, divisor="rows")
