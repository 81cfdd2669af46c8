import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from toys import jitted

from jssl import nets
from jssl.methods.transfer.supervised import (
    span_cross_entropy,
    supervised,
    tag_cross_entropy,
    tag_likelihood,
)
from jssl.models import vit
from jssl.ops.crf import Chain

headline = "loss"


def tiny(tx):
    net = jitted(vit.Classifier(vit.Encoder(16, 2, 2, 4, drop_path=0.2), classes=3))
    images = jax.random.uniform(jax.random.key(7), (8, 8, 8, 1))
    return supervised(net, tx or optax.adam(3e-3), 3), {
        "image": images,
        "label": jnp.arange(8, dtype=jnp.int32) % 3,
    }


def linear_net(weights):
    """Logits that are the pixels times fixed weights: enough to check a loss by hand."""

    def init(key, images):
        return {"w": weights}, ()

    def apply(params, stats, images, train=False, keys={}, capture=(), method=None):
        flat = images.reshape(len(images), -1)
        return {"logits": flat @ params["w"], "h": flat}, stats

    return nets.Net(init, apply)


def test_the_loss_is_the_cross_entropy_with_smoothed_labels():
    rng = np.random.default_rng(0)
    w, x = rng.normal(size=(4, 3)), rng.uniform(size=(5, 2, 2, 1))
    y = np.array([0, 2, 1, 1, 0])
    method = supervised(linear_net(jnp.asarray(w)), optax.sgd(0.0), 3, smoothing=0.1)
    batch = {"image": jnp.asarray(x), "label": jnp.asarray(y, jnp.int32)}
    _, metrics = method.step(jax.random.key(0), method.init(None, batch), batch)
    logits = x.reshape(5, 4) @ w
    log_p = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    targets = 0.9 * np.eye(3)[y] + 0.1 / 3
    np.testing.assert_allclose(metrics["loss"], -(targets * log_p).sum(1).mean(), rtol=1e-6)
    np.testing.assert_allclose(metrics["accuracy"], (logits.argmax(1) == y).mean())


def test_mixed_targets_reach_the_loss():
    half = lambda key, images, targets: (images, jnp.full_like(targets, 1 / 3))
    method = supervised(linear_net(jnp.zeros((4, 3))), optax.sgd(0.0), 3, mix=half)
    batch = {"image": jnp.ones((2, 2, 2, 1)), "label": jnp.zeros(2, jnp.int32)}
    _, metrics = method.step(jax.random.key(0), method.init(None, batch), batch)
    np.testing.assert_allclose(metrics["loss"], np.log(3), rtol=1e-6)


def test_the_loss_of_a_span_is_the_mean_of_start_and_end():
    rng = np.random.default_rng(1)
    logits = rng.normal(size=(3, 5, 2))
    y = np.array([[1, 3], [-1, -1], [4, 4]])  # the second row has no answer
    log_p = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    wanted = -np.mean([log_p[i, y[i, k], k] for i in (0, 2) for k in (0, 1)])
    value, metrics = span_cross_entropy({"logits": jnp.asarray(logits)}, jnp.asarray(y))
    np.testing.assert_allclose(value, wanted, rtol=1e-6)
    right = [(logits[i].argmax(0) == y[i]).all() for i in (0, 2)]
    np.testing.assert_allclose(metrics["accuracy"], np.mean(right))
    none, _ = span_cross_entropy({"logits": jnp.asarray(logits)}, jnp.full((3, 2), -1))
    assert none == 0


def test_a_field_without_transitions_is_the_sum_of_single_tags():
    """Its likelihood is then the product over tags, whose mean is the other error's."""
    rng = np.random.default_rng(2)
    out = {"logits": jnp.asarray(rng.normal(size=(2, 4, 3)), jnp.float32)}
    y = jnp.array([[0, -1, 2, 1], [1, 1, -1, -1]])
    chain = Chain(jnp.zeros(3), jnp.zeros((3, 3)), jnp.zeros(3))
    joint, metrics = tag_likelihood(out | {"chain": chain}, y)
    single, others = tag_cross_entropy(out, y)
    assert joint == pytest.approx(float(single) * 5 / 2, rel=1e-5)  # five tags, two rows
    assert metrics["accuracy"] == others["accuracy"]
