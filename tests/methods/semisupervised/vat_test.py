"""VAT: its loss, which pass moves the statistics, and what dropout does.

The perturbation itself is tested in tests/losses/vat_test.py.
"""

from functools import cache

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import scipy.special
import scipy.stats
from toys import few_labels, jitted, noisy

from jssl.learner import descend, ema_weights, fresh
from jssl.losses.vat import vat_perturbation
from jssl.methods.semisupervised.vat import vat
from jssl.models.convnet import ConvNet
from jssl.models.heads import Classifier

headline = "loss"
KEY = jax.random.key(3)


def network():
    return jitted(Classifier(ConvNet((8,)), 3))


def tiny(tx):
    return vat(network(), tx or optax.sgd(0.1), noisy, epsilon=0.5), few_labels()


def rows(batch):
    return batch["unlabeled"]


@cache
def made():
    """VAT with entropy, and its compiled step."""
    tx = optax.chain(optax.sgd(0.1), ema_weights(0.5))
    m = vat(network(), tx, noisy, epsilon=0.5, weight=3.0, entropy_weight=0.7)
    return m, jax.jit(m.step)


@cache
def stepped():
    """The states before and after a step, and its metrics."""
    m, step = made()
    before = jax.jit(m.init)(jax.random.key(0), few_labels())
    return before, *step(KEY, before, few_labels())


def views():
    """What a step with KEY sees, and the key of its first direction."""
    look, direction, *_ = jax.random.split(KEY, 4)
    batch = few_labels()
    images = [batch[part]["image"] for part in ("labeled", "unlabeled")]
    return noisy(look, jnp.concatenate(images)), direction


def applied(learner, images, train=True):
    return network().apply(learner.params, learner.stats, images, train=train)


def probabilities(learner, images):
    return scipy.special.softmax(
        np.asarray(applied(learner, images)[0]["logits"], np.float64), axis=1
    )


@jax.jit
def worst_step(before):
    x, direction = views()

    def predict(x):
        return applied(before, x)[0]["logits"]

    return x, vat_perturbation(direction, predict, x, 0.5)


def test_the_loss_is_the_papers():
    before, _, metrics = stepped()
    x, r = worst_step(before)
    clean, moved = probabilities(before, x), probabilities(before, x + r)
    labels = np.arange(8) % 3
    known = -np.log(probabilities(before, x[:8])[np.arange(8), labels]).mean()
    change = scipy.stats.entropy(clean, moved, axis=1).mean()  # KL, over all sixteen
    unsure = scipy.stats.entropy(clean[8:], axis=1).mean()
    np.testing.assert_allclose(metrics["labeled"], known, rtol=1e-5)
    np.testing.assert_allclose(metrics["unlabeled"], change, rtol=1e-3)
    np.testing.assert_allclose(metrics["entropy"], unsure, rtol=1e-5)
    np.testing.assert_allclose(
        metrics["loss"], known + 3 * change + 0.7 * unsure, rtol=1e-4
    )


def test_the_weights_descend_with_the_step_and_the_clean_prediction_held_fixed():
    before, after, _ = stepped()
    x, r = worst_step(before)
    clean = jnp.asarray(probabilities(before, x), jnp.float32)

    @jax.jit
    @jax.grad
    def paper(params):
        def log_p(x):
            out, _ = network().apply(params, before.stats, x, train=True)
            return jax.nn.log_softmax(out["logits"])

        known = -log_p(x[:8])[jnp.arange(8), jnp.arange(8) % 3].mean()
        change = (clean * (jnp.log(clean) - log_p(x + r))).sum(1).mean()
        unsure = -(jnp.exp(log_p(x)) * log_p(x))[8:].sum(1).mean()
        return known + 3 * change + 0.7 * unsure

    wanted = descend(
        optax.sgd(0.1), fresh(optax.sgd(0.1), before.params), paper(before.params)
    )
    chex.assert_trees_all_close(after.params, wanted.params, rtol=1e-4, atol=1e-5)


def test_the_released_codes_divergence_is_of_the_unlabeled_batch_alone():
    """ul_x of vat_tf: its own batch statistics, for the entropy too."""
    how = dict(epsilon=0.5, weight=3.0, entropy_weight=0.7, everywhere=False)
    m = vat(network(), optax.sgd(0.1), noisy, **how)
    before = jax.jit(m.init)(jax.random.key(0), few_labels())
    _, metrics = jax.jit(m.step)(KEY, before, few_labels())
    x, direction = views()
    u = x[8:]
    r = jax.jit(
        lambda u: vat_perturbation(
            direction, lambda x: applied(before, x)[0]["logits"], u, 0.5
        )
    )(u)
    clean, moved = probabilities(before, u), probabilities(before, u + r)
    change = scipy.stats.entropy(clean, moved, axis=1).mean()
    np.testing.assert_allclose(metrics["unlabeled"], change, rtol=1e-3)
    unsure = scipy.stats.entropy(clean, axis=1).mean()
    np.testing.assert_allclose(metrics["entropy"], unsure, rtol=1e-5)
    everywhere = stepped()[2]
    assert abs(everywhere["unlabeled"] - change) > 1e-2 * change


def test_entropy_is_left_out_unless_it_is_given_a_weight():
    m, batch = tiny(None)
    state = jax.eval_shape(m.init, KEY, batch)
    _, metrics = jax.eval_shape(m.step, KEY, state, batch)
    assert metrics.keys() == {"loss", "labeled", "unlabeled", "accuracy", "grad_norm"}


def test_the_running_statistics_are_those_of_the_labeled_pass_alone():
    before, after, _ = stepped()
    x, _ = views()
    _, stats = applied(before, x[:8])
    chex.assert_trees_all_close(after.stats, stats, rtol=1e-5, atol=1e-7)


def test_unlabeled_images_move_the_weights_and_not_the_statistics():
    before, one, _ = stepped()
    batch = few_labels()
    other = batch | {"unlabeled": {"image": 1 - batch["unlabeled"]["image"]}}
    two, _ = made()[1](KEY, before, other)
    chex.assert_trees_all_equal(one.stats, two.stats)
    kernels = [learner.params["head"]["kernel"] for learner in (one, two)]
    assert np.abs(kernels[0] - kernels[1]).max() > 1e-5


class Dropped(nn.Module):
    """A linear classifier of what dropout leaves."""

    @nn.compact
    def __call__(self, images, train=False):
        h = images.reshape(len(images), -1)
        x = nn.Dropout(0.5, deterministic=not train)(h)
        return {"logits": nn.Dense(3, name="head")(x), "h": h}


def test_clean_and_moved_passes_drop_the_same_units():
    m = vat(jitted(Dropped()), optax.sgd(0.1), noisy, epsilon=0.0)
    state = jax.jit(m.init)(jax.random.key(0), few_labels())
    _, metrics = jax.jit(m.step)(KEY, state, few_labels())
    assert metrics["unlabeled"] == 0  # no step, so no change, if all else is the same


def test_the_average_of_the_weights_is_what_is_judged():
    _, after, _ = stepped()
    m, batch = tiny(None)
    out = jax.jit(m.embed)(after, rows(batch))
    wanted, _ = applied(after._replace(params=after.ema), rows(batch)["image"], train=False)
    np.testing.assert_allclose(out["logits"], wanted["logits"], rtol=1e-6, atol=1e-6)
    own, _ = applied(after, rows(batch)["image"], train=False)
    assert not np.allclose(out["logits"], own["logits"], atol=1e-4)


def test_the_picture_shows_a_step_of_length_epsilon():
    m, batch = tiny(None)
    images = 0.5 + 0 * rows(batch)["image"]  # far from 0 and 1, where pixels are clipped

    def draw(state):
        drawn = m.render(KEY, state, {"image": images}, None)
        return drawn["adversarial perturbation"].images

    drawn = draw(stepped()[1])
    length = np.sqrt(np.square(drawn[:, 2] - drawn[:, 0]).sum((1, 2, 3)))
    np.testing.assert_allclose(length, 0.5, rtol=1e-5)
