"""Context encoder: what it sees, what it is measured by, and the two players' updates."""

from functools import cache
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from toys import images, jitted, noisy

from jssl import config
from jssl.methods.pretext.context_encoder import context_encoder
from jssl.models.alexnet import AlexNet
from jssl.models.context_encoder import ChannelWise, ContextEncoder, Strided
from jssl.models.convnet import ConvNet
from jssl.models.dcgan import Discriminator
from jssl.nets import Net, linen
from jssl.ops.holes import central_hole, central_window, random_blocks

headline = "hole_error"

KEY = jax.random.key(0)
PAINTER = jitted(ContextEncoder(ConvNet((4, 8), maps=True), (4, 4, 1), (4,)))
JUDGE = jitted(Discriminator((4,), 4))
BATCH = {"image": images()}


def central(key, n):
    return jnp.broadcast_to(central_hole(8, 8), (n, 8, 8))


def tiny(tx):
    method = context_encoder(
        PAINTER,
        tx or optax.adam(1e-2),
        central,
        window=central_window(8, 8),
        adversarial=0.1,
        judge=JUDGE,
        judge_tx=tx or optax.adam(1e-3),
        augment=noisy,
        show=lambda x: (x + 1) / 2,
    )
    return method, BATCH


def painter(params, apply):
    """A network of one function (params, x) -> output, whose h is x."""

    def applied(params, stats, x, train=False, keys={}):
        return {"output": apply(params, x), "h": x.reshape(len(x), -1)}, stats

    return Net(lambda key, x: (jnp.asarray(params, jnp.float32), ()), applied)


def judge(weight):
    """s(x) = weight times the sum of x."""

    def applied(params, stats, x, train=False, keys={}):
        return {"logits": params * x.sum((1, 2, 3))}, stats

    return Net(lambda key, x: (jnp.asarray(weight), ()), applied)


def whole(x):
    """A network that makes a picture of its own, whatever it sees."""
    return painter(x, lambda p, seen: jnp.broadcast_to(p, seen.shape))


def blocks(key, n):
    return random_blocks(key, n, 8, 8)


def stepped(method, batch=BATCH, state=None, key=KEY):
    state = method.init(KEY, batch) if state is None else state
    return jax.jit(method.step)(key, state, batch)


@cache
def begun():
    method, batch = tiny(None)
    return method, batch, jax.jit(method.init)(KEY, batch)


def hidden_by(mask):
    """The mask of the step with KEY."""
    return np.asarray(mask(jax.random.split(KEY, 4)[1], 8))


def test_the_error_is_the_mean_over_hidden_pixels():
    """A loop over images and pixels; only hidden ones move the picture."""
    picture = np.random.default_rng(0).uniform(-1, 1, (8, 8, 1))
    method = context_encoder(whole(picture), optax.sgd(1.0), blocks)
    state, metrics = stepped(method)
    x, hidden = np.asarray(images(), np.float64), hidden_by(blocks)
    total, slope = 0.0, np.zeros((8, 8, 1))
    for i in range(8):
        for y in range(8):
            for z in range(8):
                if hidden[i, y, z]:
                    gap = picture[y, z, 0] - x[i, y, z, 0]
                    total += gap**2
                    slope[y, z] += 2 * gap
    count = hidden.sum()
    np.testing.assert_allclose(metrics["loss"], total / count, rtol=1e-5)
    np.testing.assert_allclose(metrics["hole_error"], total / count, rtol=1e-5)
    after = state.painter.params
    np.testing.assert_allclose(after, picture - slope / count, rtol=1e-5, atol=1e-6)
    never = ~hidden.any(0)
    assert never.any()
    np.testing.assert_array_equal(after[never], np.float32(picture)[never])


def test_a_perfect_prediction_costs_nothing():
    batch = {"image": jnp.broadcast_to(images()[2], (8, 8, 8, 1))}
    method = context_encoder(whole(images()[2]), optax.sgd(1.0), blocks, visible=3.0)
    _, metrics = stepped(method, batch)
    assert metrics["loss"] == 0 and metrics["grad_norm"] == 0


def test_a_visible_border_counts_ten_times_and_the_mean_is_over_the_window():
    """MSECriterion over the window, whose gradient the released code weights."""
    overlap = lambda key, n: jnp.broadcast_to(central_hole(8, 8, 1), (n, 8, 8))
    picture = np.full((4, 4, 1), 0.3)
    net = painter(picture, lambda p, x: jnp.broadcast_to(p, (len(x), 4, 4, 1)))
    window = central_window(8, 8)
    method = context_encoder(net, optax.sgd(1.0), overlap, window=window, visible=10.0)
    state, metrics = stepped(method)
    weight = np.full((4, 4, 1), 10.0)
    weight[1:3, 1:3] = 1
    gap = 0.3 - np.asarray(images(), np.float64)[:, 2:6, 2:6]
    np.testing.assert_allclose(metrics["loss"], (weight * gap**2).mean(), rtol=1e-5)
    hole = np.square(gap[:, 1:3, 1:3]).mean()
    np.testing.assert_allclose(metrics["hole_error"], hole, rtol=1e-5)
    slope = 2 * (weight * gap).mean(0) / 16
    np.testing.assert_allclose(state.painter.params, picture - slope, rtol=1e-5)


def test_the_network_never_sees_what_is_hidden():
    method, batch, state = begun()
    outputs = jax.jit(method.embed)
    before = outputs(state, batch)
    inside = images().at[:, 2:6, 2:6].set(0.7)
    after = outputs(state, {"image": inside})
    np.testing.assert_array_equal(before["reconstruction"], after["reconstruction"])
    assert (before["unfilled"] == 0.5).all() and (after["unfilled"] == 0.5).all()
    assert np.abs(before["h"] - after["h"]).max() > 1e-3  # h is of whole images
    outside = images().at[:, 0].set(0.7)
    other = outputs(state, {"image": outside})["reconstruction"]
    assert np.abs(before["reconstruction"] - other).max() > 1e-4


def test_h_is_the_encoders_of_the_whole_image():
    method, batch, state = begun()
    h = jax.jit(method.embed)(state, batch)["h"]
    learner = state.painter
    wanted, _ = PAINTER.apply(learner.params, learner.stats, images())
    np.testing.assert_allclose(h, wanted["h"], rtol=1e-5, atol=1e-6)


def test_both_players_go_down_their_losses_the_discriminator_first():
    """Losses and slopes in NumPy, of F = b everywhere and s(x) = w sum of x."""
    a, b, w = 0.2, 0.4, 0.3
    net = painter(b, lambda b, x: b + 0 * x[:, 2:6, 2:6])
    method = context_encoder(
        net,
        optax.sgd(1.0),
        central,
        window=central_window(8, 8),
        adversarial=a,
        judge=judge(w),
        judge_tx=optax.sgd(0.01),
    )
    state, metrics = stepped(method)
    x = np.asarray(images(), np.float64)[:, 2:6, 2:6, 0]
    sigmoid = lambda s: 1 / (1 + np.exp(-s))
    real, fake = x.sum((1, 2)), 16 * b
    value = np.log1p(np.exp(-w * real)).mean() + np.log1p(np.exp(w * fake))
    np.testing.assert_allclose(metrics["disc/loss"], value, rtol=1e-5)
    slope = (-sigmoid(-w * real) * real).mean() + sigmoid(w * fake) * fake
    moved = w - 0.01 * slope
    np.testing.assert_allclose(state.judge.params, moved, rtol=1e-5)
    error = np.square(b - x).mean()
    fooled = np.log1p(np.exp(-moved * fake))
    np.testing.assert_allclose(metrics["adversarial"], fooled, rtol=1e-5)
    np.testing.assert_allclose(metrics["hole_error"], error, rtol=1e-5)
    np.testing.assert_allclose(metrics["loss"], (1 - a) * error + a * fooled, rtol=1e-5)
    slope = (1 - a) * 2 * (b - x).mean() - a * sigmoid(-moved * fake) * moved * 16
    np.testing.assert_allclose(state.painter.params, b - slope, rtol=1e-5)


def test_a_discriminator_that_cannot_tell_pays_twice_the_logarithm_of_two():
    method, batch, state = begun()
    zero = jax.tree.map(jnp.zeros_like, state.judge.params)
    state = state._replace(judge=state.judge._replace(params=zero))
    _, metrics = stepped(method, batch, state)
    np.testing.assert_allclose(metrics["disc/loss"], 2 * np.log(2), rtol=1e-6)


def test_without_the_adversarial_term_there_is_no_discriminator():
    method = context_encoder(PAINTER, optax.sgd(0.1), central, window=central_window(8, 8))
    state, metrics = stepped(method)
    assert state.judge == ()
    assert set(metrics) == {"loss", "hole_error", "grad_norm"}


def test_the_picture_shows_hole_filling_and_original():
    method = context_encoder(whole(jnp.full((8, 8, 1), 0.9)), optax.sgd(1.0), blocks)
    state = method.init(KEY, BATCH)
    [grid] = method.render(jax.random.key(4), state, BATCH, None).values()
    hidden = np.asarray(blocks(jax.random.key(4), 8))[..., None]
    hole, filled, original = np.moveaxis(np.asarray(grid.images), 1, 0)
    np.testing.assert_array_equal(original, images())
    np.testing.assert_array_equal(hole, np.where(hidden, 0, original))
    np.testing.assert_array_equal(filled, np.where(hidden, np.float32(0.9), original))


def test_channel_wise_layers_mix_places_and_not_channels():
    layer = linen(ChannelWise())
    x = jax.random.normal(KEY, (2, 3, 2, 4))
    params, stats = layer.init(KEY, x)
    of = lambda x: layer.apply(params, stats, x)[0]
    kernel, wanted = np.asarray(params["kernel"]), np.zeros((2, 3, 2, 4))
    for c in range(4):
        for q in range(6):
            for p in range(6):
                seen = np.asarray(x)[:, p // 2, p % 2, c]
                wanted[:, q // 2, q % 2, c] += kernel[p, q, c] * seen
    np.testing.assert_allclose(of(x), wanted, rtol=1e-4, atol=1e-5)
    slopes = np.asarray(jax.jacobian(of)(x[:1]))[0, ..., 0, :, :, :]  # [3, 2, 4] twice
    across = np.abs(slopes).sum((0, 1, 3, 4))
    np.testing.assert_array_equal(across > 0, np.eye(4, dtype=bool))
    assert (slopes[:, :, range(4), :, :, range(4)] != 0).all()


def count(module, shape):
    net, x = linen(module), jnp.zeros((1, *shape))
    params, stats = jax.eval_shape(net.init, KEY, x)
    return params, jax.eval_shape(net.apply, params, stats, x)[0]


def size(tree):
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


def test_the_papers_network_has_36_by_36_weights_for_each_of_256_maps():
    encoder = AlexNet(4, 0, hidden=(), split=2, maps=True)
    module = ContextEncoder(encoder, (227, 227, 3), (128, 64, 64, 32))
    params, out = count(module, (227, 227, 3))
    assert size(params["channel_wise"]) == 331_776  # 84,934,656 if fully connected
    assert out["output"].shape == (1, 227, 227, 3) and out["h"].shape == (1, 256)
    assert sum(name.startswith("up") for name in params) + 1 == 5  # up-convolutions


def test_the_released_network_has_its_layers():
    encoder = Strided(maps=True)
    module = ContextEncoder(encoder, (64, 64, 3), (256, 128, 64, 64), 4000)
    params, out = count(module, (128, 128, 3))
    assert out["output"].shape == (1, 64, 64, 3) and out["h"].shape == (1, 4000)
    down = [3, 64, 64, 128, 256, 512]
    convs = sum(16 * a * b for a, b in zip(down, down[1:], strict=False))
    assert size(params["encoder"]) == convs + 2 * sum(down[2:])
    up = [512, 256, 128, 64, 3]
    convs = sum(16 * a * b for a, b in zip(up, up[1:], strict=False))
    norms = 2 * (4000 + sum(up[:-1]))
    wide = 2 * 16 * 512 * 4000
    assert size(params) - size(params["encoder"]) == convs + norms + wide


def test_the_released_training_has_its_length_and_rates():
    path = Path(__file__).parents[3] / "experiments" / "context_encoder.py"
    [stage] = config.load(f"{path}:inpainting,source=blank:imagenet2012").stages()
    assert stage.steps == 500 * (100_000 // 64)
    first = config.load(f"{path}:paper,source=blank:imagenet2012").stages()[0]
    assert abs(first.steps / 1e5 - 1) < 0.01


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        (dict(adversarial=1.0), r"must be in \[0, 1\), got 1.0"),
        (dict(adversarial=0.1), r"needs a discriminator \(judge\)"),
    ],
)
def test_an_adversarial_term_needs_a_weight_and_a_discriminator(knobs, message):
    with pytest.raises(ValueError, match=message):
        context_encoder(PAINTER, optax.sgd(0.1), central, **knobs)


def test_a_network_of_another_size_is_refused():
    method = context_encoder(PAINTER, optax.sgd(0.1), central)
    with pytest.raises(ValueError, match=r"must make \(8, 8, 1\).* makes \(4, 4, 1\)"):
        method.init(KEY, BATCH)
    small = ContextEncoder(ConvNet((4, 8), maps=True), (8, 8, 1), ())
    with pytest.raises(ValueError, match="maps of 2 x 2 need 1 hidden layers"):
        small.init(KEY, images())
