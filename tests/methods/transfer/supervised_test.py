import jax
import jax.numpy as jnp
import numpy as np
import optax
from toys import jitted

from jssl import nets
from jssl.methods.transfer.supervised import supervised
from jssl.models import vit

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
