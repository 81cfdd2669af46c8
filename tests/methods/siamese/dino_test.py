"""DINO: loss and gradient against loops, center and teacher in closed form, its head."""

from functools import cache

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy.special import erf
from toys import images, jitted, noisy, two_views

from jssl import optim
from jssl.losses import distillation
from jssl.method import fold
from jssl.methods.siamese.dino import Teacher, dino, taught, warm_up
from jssl.models import vit
from jssl.models.convnet import ConvNet
from jssl.models.dino import Distilled, Head

headline = "loss"
KEY = jax.random.key(1)


def network(**more):
    encoder = vit.Encoder(8, 1, 2, 2, grid=(4, 4), interpolate=True, **more)
    return jitted(Distilled(encoder, Head(6, (8, 4))))


def crops(key, batch):
    """Two views of 8 pixels, and two of 4."""
    small = noisy(key, jnp.stack([batch["image"][:, :4, :4], batch["image"][:, 4:, 4:]], 1))
    return two_views(key, batch), small


def method(tx, augment=crops, net=None, **more):
    rising = warm_up(0.04, 0.05, 2, per_epoch=1)
    settings = dict(steps=100, momentum=0.9, teacher_temperature=rising) | more
    return dino(net or network(), tx, augment, **settings)


def tiny(tx):
    """Without sharpening, so that the loss falls at once: to uniform probabilities."""
    return method(tx or optax.adam(3e-3), teacher_temperature=0.5), {"image": images()}


@cache
def trained(steps=2, **more):
    """The states from the first on, and the metrics of the steps."""
    made = method(optax.chain(optax.trace(0.0), optax.scale(-0.01)), **more)
    step, batch = jax.jit(made.step), {"image": images()}
    states, seen = [jax.jit(made.init)(jax.random.key(0), batch)], []
    for _ in range(steps):
        state, metrics = step(KEY, states[-1], batch)
        states.append(state)
        seen.append(metrics)
    return states, seen


def logits(params, group, net=None):
    """[v][n, k]: one view at a time."""
    net = net or network()
    return [net.apply(params, {}, group[:, i])[0]["prototypes"] for i in range(2)]


def views():
    return crops(jax.random.split(KEY)[0], {"image": images()})


def naive(params, teacher, center, tau_s=0.1, tau_t=0.04):
    """The mean over images and pairs of different views, a pair after the other."""
    large, small = views()
    student = logits(params, large) + logits(params, small)
    total, pairs = 0.0, 0
    for i, t in enumerate(logits(teacher, large)):
        p = jax.nn.softmax((t - center) / tau_t)
        for v, s in enumerate(student):
            if v != i:
                total -= (p * jax.nn.log_softmax(s / tau_s)).sum(-1).mean()
                pairs += 1
    assert pairs == 6
    return total / pairs


def test_loss_and_gradient_are_those_of_all_pairs_of_different_views():
    """In the second step, with the center of the first step and the second temperature."""
    (_, before, after), (_, metrics) = trained()
    args = before.teacher.params, before.center, 0.1, 0.05
    value, slope = jax.jit(jax.value_and_grad(naive))(before.student.params, *args)
    np.testing.assert_allclose(metrics["loss"], value, rtol=1e-5)
    found = after.student.opt[0].trace
    chex.assert_trees_all_close(found, slope, rtol=1e-3, atol=1e-5)
    assert np.abs(before.center).max() > 1e-3
    assert np.abs(after.center - before.center).max() > 1e-3
    np.testing.assert_allclose(
        metrics["teacher_entropy"] + metrics["kl"], metrics["loss"], rtol=1e-6
    )


def test_the_center_is_an_average_of_the_teachers_raw_logits_of_large_views():
    states, _ = trained()
    means = [
        np.mean(logits(state.teacher.params, views()[0]), axis=(0, 1))
        for state in states[:2]
    ]
    wanted = 0.9 * 0.1 * means[0] + 0.1 * means[1]
    np.testing.assert_allclose(states[2].center, wanted, rtol=1e-4, atol=1e-7)
    np.testing.assert_array_equal(trained(centering=False)[0][2].center, 0)


def test_the_teacher_is_the_average_of_the_student_after_its_update():
    (_, before, after), _ = trained()
    m = 1 - 0.1 * (1 + np.cos(np.pi * 1 / 100)) / 2
    wanted = jax.tree.map(
        lambda t, s: m * t + (1 - m) * s, before.teacher.params, after.student.params
    )
    chex.assert_trees_all_close(after.teacher.params, wanted, rtol=1e-5, atol=1e-7)
    assert int(after.count) == 2


def test_h_is_the_teachers_class_token():
    (_, _, state), _ = trained()
    batch = {"image": images()}
    out = method(optax.sgd(1.0)).embed(state, batch)
    tokens = network().apply(*state.teacher, images(), method=None)[0]
    np.testing.assert_array_equal(out["h"], tokens["h"])
    assert out["h"].shape == (8, 8) and out["prototypes"].shape == (8, 6)
    assert out["attention"][0].shape == (8, 2, 17, 17)


def test_paths_are_dropped_in_the_student_only():
    net = jitted(Distilled(vit.Encoder(8, 2, 2, 4, drop_path=0.9), Head(6, (8, 4))))
    params, _ = net.init(KEY, images())
    whole = two_views(KEY, images())
    out, _ = taught(net, Teacher(params, {}), whole)  # and needs no key
    wanted, _ = net.apply(params, {}, fold(whole))
    np.testing.assert_array_equal(out["prototypes"], wanted["prototypes"])
    with pytest.raises(ValueError, match="draws noise without a key"):
        net.apply(params, {}, fold(whole), train=True)


def test_batch_norm_of_the_teacher_sees_its_own_views():
    net = jitted(Distilled(ConvNet((4,)), Head(6, (8, 4))))
    made = method(optax.sgd(0.1), lambda key, x: (two_views(key, x),), net)
    batch = {"image": images()}
    before = jax.jit(made.init)(jax.random.key(0), batch)
    after, _ = jax.jit(made.step)(KEY, before, batch)
    large = two_views(jax.random.split(KEY)[0], batch).reshape(16, 8, 8, 1)
    _, wanted = net.apply(*before.teacher, large, train=True)
    chex.assert_trees_all_close(after.teacher.stats, wanted, rtol=1e-4, atol=1e-6)
    pictures = made.render(KEY, before, batch, None)
    assert pictures == {}


def test_the_temperature_rises_by_epochs_to_the_last():
    schedule = warm_up(0.04, 0.07, 30, per_epoch=10)
    wanted = np.concatenate([np.linspace(0.04, 0.07, 30), np.full(5, 0.07)]).repeat(10)
    found = [schedule(count) for count in range(350)]
    np.testing.assert_allclose(found, wanted, rtol=1e-5)


def test_the_head_is_dense_layers_a_unit_vector_and_unit_prototypes():
    rng = np.random.default_rng(0)
    x, head = rng.normal(size=(5, 7)), Head(6, (8, 8, 4), unit_prototypes=False)
    params = head.init(KEY, x)["params"]
    params = jax.tree.map(lambda p: jnp.asarray(rng.normal(size=p.shape), p.dtype), params)
    p = jax.tree.map(np.float64, params)
    y = x
    for i in range(3):
        y = y * (1 + erf(y / np.sqrt(2))) / 2 if i else y
        y = y @ p[f"dense{i}"]["kernel"] + p[f"dense{i}"]["bias"]
    z = y / np.linalg.norm(y, axis=1, keepdims=True)
    cosines = z @ (p["last"] / np.linalg.norm(p["last"], axis=0))
    out = head.apply({"params": params}, x)
    np.testing.assert_allclose(out["z"], z, rtol=1e-4, atol=1e-6)
    wanted = cosines * p["last_length"]
    np.testing.assert_allclose(out["prototypes"], wanted, rtol=1e-4, atol=1e-5)
    del params["last_length"]
    fixed = head.clone(unit_prototypes=True)
    out = fixed.apply({"params": params}, x)["prototypes"]
    np.testing.assert_allclose(out, cosines, rtol=1e-4, atol=1e-5)
    longer = params | {"last": 3 * params["last"]}
    np.testing.assert_allclose(fixed.apply({"params": longer}, x)["prototypes"], out, 1e-4)


def test_the_last_layer_is_fixed_at_first_whatever_the_decay():
    """And then starts as by a new AdamW, at the rate and decay of that step."""
    rate, decay = lambda i: 0.01 * (i + 1), optim.cosine(0.04, 0.4, 10)
    tx = optim.distillation_adamw(rate, decay, freeze=2, clip=1.0)
    params = {"encoder": jnp.ones((2, 2)), "head": {"last": jnp.ones((2, 3))}}
    grads = jax.tree.map(lambda x: jnp.arange(1.0, x.size + 1).reshape(x.shape), params)
    state, first = tx.init(params), params
    for i in range(3):
        updates, state = tx.update(grads, state, params)
        before, params = params, optax.apply_updates(params, updates)
        if i < 2:
            np.testing.assert_array_equal(params["head"]["last"], first["head"]["last"])
            assert np.all(params["encoder"] != before["encoder"])
    g = grads["head"]["last"] / jnp.linalg.norm(grads["head"]["last"])  # clipped to 1
    wanted = -rate(2) * (np.sign(g) + decay(2) * 1.0)
    np.testing.assert_allclose(updates["head"]["last"], wanted, rtol=1e-4)
    with pytest.raises(ValueError, match="held: no weight matches 'none'"):
        optim.held(optax.identity(), "none", 1).init(params)


def test_pictures_are_lit_where_the_class_token_looks():
    (_, state, _), _ = trained()
    [grid] = method(optax.sgd(1.0)).render(KEY, state, {"image": images()}, None).values()
    assert grid.images.shape == (8, 3, 8, 8, 1)
    assert grid.columns == ("input", "head 1", "head 2")
    out = network().apply(*state.teacher, images())[0]["attention"][-1]
    seen = np.asarray(out)[0, 1, 0, 1:].reshape(4, 4) / np.max(out[0, 1, 0, 1:])
    low, high = images().min(), images().max()
    pixels = (np.asarray(images())[0, ..., 0] - low) / (high - low)
    for y, x in np.ndindex(8, 8):
        wanted = (0.2 + 0.6 * pixels[y, x]) * seen[y // 2, x // 2]
        np.testing.assert_allclose(grid.images[0, 2, y, x, 0], wanted, rtol=1e-4, atol=1e-6)


def test_centering_alone_is_uniform_and_sharpening_alone_certain():
    """The catalogue's pair: the entropy of a teacher whose logits are all alike."""
    alike = jnp.broadcast_to(jnp.array([0.9, 0.1, -0.3]), (4, 2, 3))
    center = jnp.zeros(3)
    for _ in range(80):
        center = distillation.update_center(center, alike)
    losses = [
        float(distillation.dino(alike, alike, c, tau, tau))
        for c, tau in ((center, 0.1), (jnp.zeros(3), 0.01))
    ]
    np.testing.assert_allclose(losses[1], 0, atol=1e-6)
    centered = jax.nn.softmax((alike[0, 0] - center) / 0.1)
    np.testing.assert_allclose(centered, 1 / 3, rtol=1e-2)
