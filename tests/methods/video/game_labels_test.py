"""Game labels: losses of maps by loops, and which domain each gradient moves."""

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from toys import images, jitted

from jssl.losses import depth_error, edge_cross_entropy, minimax_discriminator, normal_error
from jssl.methods.video.game_labels import game_labels
from jssl.models.convnet import ConvNet
from jssl.models.scene_labels import DomainJudge, SceneLabels

headline = "loss"
RNG = np.random.default_rng(0)


def batch():
    frames = jnp.repeat(images(), 3, -1)
    edge = (jnp.abs(jnp.diff(frames[..., 0], axis=1, append=0)) > 0.2).astype(jnp.uint8)
    tilt = jnp.stack([frames[..., 0], 0 * frames[..., 0], -jnp.ones((8, 8, 8))], -1)
    normal = tilt / jnp.sqrt(jnp.square(tilt).sum(-1, keepdims=True))
    made = {
        "image": frames,
        "depth": 2 + 4 * frames[..., 0],
        "normal": normal,
        "edge": edge,
    }
    return {"rendered": made, "real": {"image": 1 - frames[:, ::-1]}}


class Plain(nn.Module):
    """An encoder in which images do not meet: it has no batch norm."""

    @nn.compact
    def __call__(self, images, train=False):
        return nn.relu(nn.Conv(16, (3, 3), (2, 2))(images))


NORMED = ConvNet((8, 16), (1, 2), maps=True)


def method_of(tx, encoder=NORMED, decoder=(), **more):
    net = jitted(SceneLabels(encoder, decoder))
    image = lambda rows: rows["image"]
    noisy = lambda key, x: x + 0.01 * jax.random.normal(key, x.shape, x.dtype)
    judge = dict(judge=jitted(DomainJudge((8, 8))), judge_tx=tx or optax.adam(1e-3))
    more = judge | dict(look=noisy) | more
    return game_labels(
        net,
        tx or optax.adam(1e-2),
        rendered=image,
        labels=lambda rows: rows,
        real=image,
        pool=16,
        log_depth=(1.3, 0.4),
        **more,
    )


def tiny(tx):
    return method_of(tx), batch()


def rows(batch):
    return batch["real"]


def maps(*shape):
    return jnp.asarray(RNG.normal(size=(3, 4, 5, *shape)), jnp.float32)


def test_the_losses_of_maps_agree_with_loops_over_pixels():
    pred, true = maps(), maps()
    each = [
        0.5 * (np.mean((p - t) ** 2) + 0.5 * np.mean(p - t) ** 2)
        for p, t in zip(pred, true, strict=True)
    ]
    np.testing.assert_allclose(depth_error(pred, true), np.mean(each), rtol=1e-5)

    pred, true = maps(3), maps(3)
    each = [
        1 - p @ t / np.sqrt((p @ p) * (t @ t))
        for p, t in zip(pred.reshape(-1, 3), true.reshape(-1, 3), strict=True)
    ]
    np.testing.assert_allclose(normal_error(pred, true), np.mean(each), rtol=1e-5)

    logits, edges = maps(), (maps() > 1).astype(jnp.float32)
    total = 0.0
    for s, e in zip(logits, edges, strict=True):
        for at in np.ndindex(4, 5):
            p = 1 / (1 + np.exp(-np.float64(s[at])))
            weight = (20 - e.sum()) / e.sum()
            total -= weight * np.log(p) if e[at] else np.log(1 - p)
    np.testing.assert_allclose(edge_cross_entropy(logits, edges), total / 60, rtol=1e-5)


def test_contours_and_the_rest_weigh_the_same():
    logits, edges = jnp.zeros((1, 4, 4)), jnp.zeros((1, 4, 4)).at[0, 1, 2].set(1)
    slope = jax.grad(edge_cross_entropy)(logits, edges)
    np.testing.assert_allclose(slope[edges == 1].sum(), -slope[edges == 0].sum(), rtol=1e-6)


def test_an_image_without_contours_has_a_finite_loss():
    x = jnp.zeros((1, 4, 4))
    np.testing.assert_allclose(edge_cross_entropy(x, x), np.log(2), rtol=1e-6)


def test_an_undecided_judge_costs_log_two():
    assert minimax_discriminator(jnp.zeros(4), jnp.zeros(4)) / 2 == pytest.approx(np.log(2))
    method, x = tiny(optax.sgd(0.0))
    state = jax.jit(method.init)(jax.random.key(0), x)
    still = jax.tree.map(jnp.zeros_like, state.judge.params)
    state = state._replace(judge=state.judge._replace(params=still))
    _, metrics = jax.jit(method.step)(jax.random.key(0), state, x)
    np.testing.assert_allclose(metrics["disc/loss"], np.log(2), rtol=1e-5)


def change(method, x, y):
    """True if the labeler's weights after a step differ between two batches."""
    state = jax.jit(method.init)(jax.random.key(0), x)
    step = jax.jit(method.step)
    one, two = (step(jax.random.key(1), state, b)[0].labeler.params for b in (x, y))
    same = jax.tree.map(lambda a, b: bool((a == b).all()), one, two)
    return not all(jax.tree.leaves(same))


@pytest.mark.parametrize(("reversal", "moves"), [(False, False), (True, True)])
def test_only_a_reversed_gradient_moves_the_features_of_real_images(reversal, moves):
    """The judge does not learn here, so real images act through the labeler alone."""
    still = dict(judge_tx=optax.sgd(0.0), reversal=reversal)
    method = method_of(optax.sgd(0.1), Plain(), **still)
    x = batch()
    y = x | {"real": {"image": x["real"]["image"] ** 2}}
    assert change(method, x, y) == moves


@pytest.mark.parametrize("more", [{}, dict(reversal=True), dict(judge=None)])
def test_batch_statistics_are_common_to_both_domains(more):
    method = method_of(optax.sgd(0.1), look=lambda key, x: x, **more)
    x = batch()
    state = jax.jit(method.init)(jax.random.key(0), x)
    after = jax.jit(method.step)(jax.random.key(1), state, x)[0].labeler.stats
    both = jnp.concatenate([x["rendered"]["image"], x["real"]["image"]])
    net = jitted(SceneLabels(NORMED, ()))
    _, wanted = net.apply(state.labeler.params, state.labeler.stats, both, train=True)
    chex.assert_trees_all_close(after, wanted, rtol=1e-5, atol=1e-6)


def test_decoders_have_the_batch_statistics_of_rendered_images():
    method = method_of(optax.sgd(0.1), Plain(), (4,), look=lambda key, x: x)
    x = batch()
    state = jax.jit(method.init)(jax.random.key(0), x)
    after = jax.jit(method.step)(jax.random.key(1), state, x)[0].labeler.stats
    net = jitted(SceneLabels(Plain(), (4,)))
    own = state.labeler.params, state.labeler.stats
    _, wanted = net.apply(*own, x["rendered"]["image"], train=True)
    chex.assert_trees_all_close(after, wanted, rtol=1e-5, atol=1e-6)


def test_without_a_judge_real_images_act_through_batch_statistics_only():
    method, x = method_of(optax.sgd(0.1), Plain(), judge=None), batch()
    y = x | {"real": {"image": x["real"]["image"] ** 2}}
    assert not change(method, x, y)


def test_labels_are_learned_in_units_of_depth():
    method, x = tiny(None)
    state, step = jax.jit(method.init)(jax.random.key(0), x), jax.jit(method.step)
    for i in range(150):
        state, _ = step(jax.random.key(i), state, x)
    out = method.embed(state, {"image": x["rendered"]["image"]})
    depth = np.asarray(x["rendered"]["depth"]).reshape(8, 4, 2, 4, 2).mean((2, 4))
    error = np.abs(out["depth"] - depth).mean()
    assert error < 0.5 * np.abs(depth - depth.mean()).mean()
    np.testing.assert_allclose(jnp.square(out["normal"]).sum(-1), 1, rtol=1e-4)


def test_a_judge_without_an_optimizer_is_refused():
    with pytest.raises(ValueError, match="needs its optimizer, judge_tx"):
        method_of(None, judge_tx=None)
