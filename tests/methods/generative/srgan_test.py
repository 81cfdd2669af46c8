"""SRGAN: the content, the adversarial term beside it, and the start from the content."""

from functools import cache
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from PIL import Image
from toys import images, jitted

from jssl import config
from jssl.learner import fresh
from jssl.methods.generative.srgan import begun, srgan
from jssl.methods.pretext.super_resolution import super_resolution
from jssl.methods.transfer.distil import Frozen
from jssl.models.srgan import SRCNN, Judge, SRResNet
from jssl.nets import Net

headline = "disc/loss"  # the generator hardly moves, so that the discriminator gains
batch_axis = 1

MAKER = jitted(SRResNet(2, 4, 1, 3))
JUDGE = jitted(Judge((4, 6), 8))
KEY = jax.random.key(0)


def mirrored(key, batch):
    x = batch["image"]
    return jnp.where(jax.random.bernoulli(key, 0.5, (len(x), 1, 1, 1)), x[:, :, ::-1], x)


def tiny(tx):
    txs = tx or optax.sgd(1e-3), tx or optax.sgd(0.1)
    method = srgan(MAKER, JUDGE, *txs, factor=2, augment=mirrored)
    return method, {"image": images()[None], "index": jnp.arange(8)[None]}


def rows(batch):
    return {name: x[0] for name, x in batch.items()}


@cache
def begun_tiny():
    """`tiny`, and its first state."""
    method, batch = tiny(None)
    return method, batch, jax.jit(method.init)(KEY, batch)


def network(params, apply) -> Net:
    """A network without statistics, of one function (params, x) -> out."""

    def applied(params, stats, x, train=False, keys={}):
        return apply(params, x), stats

    return Net(lambda key, x: (jnp.asarray(params), ()), applied)


def twice(x):
    """Nearest neighbors, and their range [-1, 1]."""
    return 2 * x.repeat(2, 1).repeat(2, 2) - 1


def low(x):
    """Reduced images, by Pillow."""
    n, h, w, _ = x.shape
    resized = [
        Image.fromarray(np.asarray(a[..., 0], np.float32)).resize(
            (w // 2, h // 2), Image.Resampling.BICUBIC
        )
        for a in x
    ]
    return np.clip(np.stack(resized), 0, 1)[..., None]


def scaled(bias=0.0, judge=0.3, **more):
    """G(y) = nearest neighbors + bias, s(x) = judge times the sum of x."""
    return srgan(
        network(bias, lambda b, y: {"output": twice(y) + b, "h": y.reshape(len(y), -1)}),
        network(
            judge,
            lambda w, x: {"logits": w * x.sum((1, 2, 3)), "h": x.reshape(len(x), -1)},
        ),
        optax.sgd(1.0),
        optax.sgd(0.01),
        factor=2,
        **more,
    )


def stepped(method, x):
    batch = {"image": jnp.asarray(x)[None], "index": jnp.arange(len(x))[None]}
    state = method.init(KEY, batch)
    return jax.jit(method.step)(KEY, state, batch)


def test_the_generator_goes_down_the_content_and_the_weighted_term():
    """The losses and their slopes by the bias, in NumPy; D moves first."""
    x = np.asarray(images(), np.float64)
    state, metrics = stepped(scaled(bias=0.1, adversarial=0.05), x)
    made = np.asarray(twice(jnp.asarray(low(x))), np.float64) + 0.1
    real, fake = (2 * x - 1).sum((1, 2, 3)), made.sum((1, 2, 3))
    sigmoid = lambda s: 1 / (1 + np.exp(-s))
    loss = np.log1p(np.exp(-0.3 * real)) + np.log1p(np.exp(0.3 * fake))
    np.testing.assert_allclose(metrics["disc/loss"], loss.mean(), rtol=1e-4)
    slope = (-sigmoid(-0.3 * real) * real + sigmoid(0.3 * fake) * fake).mean()
    judge = 0.3 - 0.01 * slope
    moved = state.players.discriminator.params
    np.testing.assert_allclose(moved, judge, rtol=1e-4)
    content = np.square(made - (2 * x - 1)).mean()
    fooled = np.log1p(np.exp(-judge * fake)).mean()
    np.testing.assert_allclose(metrics["gen/content"], content, rtol=1e-4)
    np.testing.assert_allclose(metrics["gen/loss"], content + 0.05 * fooled, rtol=1e-4)
    ratio = 10 * np.log10(4 / content)
    np.testing.assert_allclose(metrics["gen/psnr"], ratio, rtol=1e-4)
    slope = 2 * (made - (2 * x - 1)).mean()
    slope += 0.05 * (-sigmoid(-judge * fake) * judge * x[0].size).mean()
    np.testing.assert_allclose(state.players.generator.params, 0.1 - slope, rtol=1e-3)


def test_without_the_adversarial_term_it_is_super_resolution():
    x = np.asarray(images())
    state, metrics = stepped(scaled(bias=0.1, adversarial=0.0), x)
    net = network(0.1, lambda b, y: {"output": twice(y) + b, "h": y.reshape(len(y), -1)})
    method = super_resolution(net, optax.sgd(1.0), factor=2)
    batch = {"image": jnp.asarray(x), "index": jnp.arange(8)}
    learner, plain = method.step(KEY, method.init(KEY, batch), batch)
    np.testing.assert_allclose(state.players.generator.params, learner.params, rtol=1e-6)
    np.testing.assert_allclose(metrics["gen/loss"], plain["loss"], rtol=1e-6)
    np.testing.assert_allclose(metrics["gen/psnr"], plain["psnr"], rtol=1e-6)


def test_the_content_may_be_that_of_fixed_features():
    """phi(x) = w x of images in [0, 1]: w^2 times their squared error."""
    x = np.asarray(images())
    features = network(3.0, lambda w, x: {"h": w * x})
    method = scaled(bias=0.1, adversarial=0.0, features=features, scale=0.5)
    state, metrics = stepped(method, x)
    made = (np.asarray(twice(jnp.asarray(low(x)))) + 1.1) / 2
    content = 9 * np.square(made - x).mean()
    np.testing.assert_allclose(metrics["gen/content"], content, rtol=1e-4)
    np.testing.assert_allclose(metrics["gen/loss"], 0.5 * content, rtol=1e-4)
    assert state.features.params == 3.0
    content = fresh(optax.identity(), jnp.array(0.7))
    after = begun(state, content, Frozen(jnp.array(5.0), ()))
    assert after.features.params == 5.0 and after.players.generator.params == 0.7


def test_it_starts_from_the_generator_of_the_content():
    method, batch, state = begun_tiny()
    content = super_resolution(MAKER, optax.adam(1e-3), factor=2)
    trained = jax.jit(content.init)(jax.random.key(5), rows(batch))
    start = begun(state, trained)
    assert jax.tree.structure(start) == jax.tree.structure(state)
    one, two = (
        m.embed(s, rows(batch))["reconstruction"]
        for m, s in ((method, start), (content, trained))
    )
    np.testing.assert_array_equal(one, two)
    assert np.any(one != method.embed(state, rows(batch))["reconstruction"])


def test_h_is_of_the_discriminator_and_images_are_in_range():
    method, batch, state = begun_tiny()
    out = jax.jit(method.embed)(state, rows(batch))
    judge = state.players.discriminator
    wanted = JUDGE.apply(judge.params, judge.stats, 2 * images() - 1)[0]["h"]
    np.testing.assert_allclose(out["h"], wanted, rtol=1e-4, atol=1e-5)
    for name in ("input", "reconstruction", "bicubic"):
        assert out[name].shape == (8, 8, 8, 1)
        assert 0 <= out[name].min() and out[name].max() <= 1


def test_samples_are_shown_between_the_small_image_and_the_original():
    method, batch, state = begun_tiny()
    made = jax.jit(method.generate)(KEY, state, rows(batch))
    assert set(made) == {"low", "bicubic", "image", "original"}
    np.testing.assert_array_equal(made["original"], images())
    np.testing.assert_allclose(made["low"][:, ::2, ::2], low(images()), atol=1e-6)
    np.testing.assert_array_equal(made["low"][:, 1::2, 1::2], made["low"][:, ::2, ::2])
    [grid] = method.render(KEY, state, rows(batch), None).values()
    assert grid.columns == ("low", "bicubic", "image", "original")
    assert grid.images.shape == (8, 4, 8, 8, 1)


def test_both_networks_learn_to_enlarge():
    """Waves of 8 pixels from 4: below the error of bicubic interpolation."""
    for net, rate in ((SRResNet(2, 8, 1, 3), 5e-3), (SRCNN(2, (8, 8)), 5e-3)):
        method = super_resolution(jitted(net), optax.adam(rate), factor=2)
        batch = {"image": images(), "index": jnp.arange(8)}
        state = jax.jit(method.init)(KEY, batch)
        step = jax.jit(method.step)
        for _ in range(150):
            state, metrics = step(KEY, state, batch)
        out = method.embed(state, batch)
        plain = np.square(out["bicubic"] - out["input"]).mean()
        error = 10 ** (-metrics["psnr"] / 10)
        assert error < 0.7 * plain


def test_the_papers_trainings_have_the_published_steps():
    path = Path(__file__).parents[3] / "experiments" / "srgan.py"
    stages = config.load(f"{path}:paper,source=blank:imagenet2012").stages()
    steps = {stage.name: stage.steps for stage in stages}
    assert abs(steps["content"] / 1e6 - 1) < 1e-3
    assert abs(steps["adversarial"] / 2e5 - 1) < 1e-3


def test_factors_that_do_not_fit_are_refused():
    batch = {"image": images(), "index": jnp.arange(8)}
    with pytest.raises(ValueError, match="power of 2, got 3"):
        SRResNet(3).init(KEY, images())
    method = super_resolution(MAKER, optax.sgd(0.1), factor=4)
    with pytest.raises(ValueError, match=r"\(2, 2, 1\) to \(8, 8, 1\), it makes \(4, 4, 1"):
        method.init(KEY, batch)
