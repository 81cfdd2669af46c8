"""Super-resolution: reductions, errors in NumPy, and bicubic interpolation as the start."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from PIL import Image
from toys import images, jitted

from jssl.methods.pretext.super_resolution import peak_ratio, super_resolution
from jssl.models.convnet import ConvNet
from jssl.models.srgan import Enlarger
from jssl.nets import Net
from jssl.ops.maps import box_shrink, random_shrink

headline = "loss"

KEY = jax.random.key(0)
NET = jitted(Enlarger(ConvNet((8, 16), (1, 2), maps=True), 2, (8, 8)))
BATCH = {"image": images(), "index": jnp.arange(8)}


def mirrored(key, batch):
    x = batch["image"]
    return jnp.where(jax.random.bernoulli(key, 0.5, (len(x), 1, 1, 1)), x[:, :, ::-1], x)


def tiny(tx):
    adam = optax.adam(5e-3)
    return super_resolution(NET, tx or adam, factor=2, augment=mirrored), BATCH


@cache
def begun():
    method, batch = tiny(None)
    return method, batch, jax.jit(method.init)(KEY, batch)


def reduced(x, kind=Image.Resampling.BICUBIC):
    """By Pillow, [n, h, w]."""
    small = [
        np.asarray(Image.fromarray(a).resize((a.shape[1] // 2, a.shape[0] // 2), kind))
        for a in np.asarray(x[..., 0], np.float32)
    ]
    return np.clip(small, 0, 1).astype(np.float64)


def shifted(bias):
    """A network of one weight: the nearest pixel, in [-1, 1], and the weight added."""

    def apply(params, stats, x, train=False, keys={}):
        output = 2 * x.repeat(2, 1).repeat(2, 2) - 1 + params
        return {"output": output, "h": x.reshape(len(x), -1)}, stats

    return Net(lambda key, x: (jnp.asarray(bias), ()), apply)


def stepped(**knobs):
    method = super_resolution(shifted(0.1), optax.sgd(1.0), factor=2, **knobs)
    return jax.jit(method.step)(KEY, method.init(KEY, BATCH), BATCH)


@pytest.mark.parametrize("error", ["squared", "absolute"])
def test_the_loss_and_its_slope_are_those_of_numpy(error):
    state, metrics = stepped(error=error)
    small, x = reduced(images()), np.asarray(images()[..., 0], np.float64)
    gaps = []
    for i in range(8):
        for y in range(8):
            for z in range(8):
                gaps.append(2 * small[i, y // 2, z // 2] - 1 + 0.1 - (2 * x[i, y, z] - 1))
    gaps = np.array(gaps)
    square = np.mean(gaps**2)
    squared = error == "squared"
    wanted = square if squared else np.abs(gaps).mean()
    slope = np.mean(2 * gaps if squared else np.sign(gaps))
    np.testing.assert_allclose(metrics["loss"], wanted, rtol=1e-5)
    np.testing.assert_allclose(metrics["psnr"], 10 * np.log10(4 / square), rtol=1e-5)
    np.testing.assert_allclose(state.params, 0.1 - slope, rtol=1e-4, atol=1e-6)


def test_training_has_its_own_reduction_and_what_follows_the_bicubic_one():
    box = lambda key, x, factor: box_shrink(x, factor)
    _, metrics = stepped(shrink=box)
    small, x = reduced(images(), Image.Resampling.BOX), np.asarray(images()[..., 0])
    gap = 2 * small.repeat(2, 1).repeat(2, 2) - 2 * x + 0.1
    np.testing.assert_allclose(metrics["loss"], np.square(gap).mean(), rtol=1e-5)
    method = super_resolution(shifted(0.1), optax.sgd(1.0), factor=2, shrink=box)
    h = method.embed(method.init(KEY, BATCH), BATCH)["h"]
    np.testing.assert_allclose(h, reduced(images()).reshape(8, -1), atol=1e-6)


def test_random_reductions_are_drawn_anew_in_every_step():
    method = super_resolution(shifted(0.1), optax.sgd(0.0), factor=2, shrink=random_shrink)
    state, step = method.init(KEY, BATCH), jax.jit(method.step)
    losses = {float(step(jax.random.key(i), state, BATCH)[1]["loss"]) for i in range(5)}
    assert len(losses) == 5


def test_an_untrained_network_is_bicubic_interpolation_to_the_decibel():
    method, batch, state = begun()
    out = jax.jit(method.embed)(state, batch)
    np.testing.assert_allclose(out["reconstruction"], out["bicubic"], atol=1e-6)
    plain = super_resolution(NET, optax.sgd(0.0), factor=2)
    _, metrics = jax.jit(plain.step)(KEY, plain.init(KEY, batch), batch)
    error = np.square(np.asarray(out["bicubic"], np.float64) - images()).mean()
    np.testing.assert_allclose(metrics["psnr"], -10 * np.log10(error), rtol=1e-5)


def test_the_ratio_of_a_constant_shift_is_minus_twenty_logarithms_of_it():
    for shift in (0.5, 0.1, 0.01):
        ratio = peak_ratio(jnp.square(jnp.float32(2 * shift)))
        np.testing.assert_allclose(ratio, -20 * np.log10(shift), rtol=1e-5)


def test_it_learns_to_enlarge_beyond_bicubic_interpolation():
    method, batch = tiny(optax.adam(1e-2))
    state, step = jax.jit(method.init)(KEY, batch), jax.jit(method.step)
    for i in range(150):
        state, _ = step(jax.random.key(i), state, batch)
    out = jax.jit(method.embed)(state, batch)
    error = lambda name: np.square(out[name] - out["input"]).mean()
    assert error("reconstruction") < 0.7 * error("bicubic")


def test_another_error_or_factor_is_refused():
    with pytest.raises(ValueError, match="error must be squared or absolute, got 'cubed'"):
        super_resolution(NET, optax.sgd(0.1), error="cubed")
    method = super_resolution(NET, optax.sgd(0.1), factor=4)
    with pytest.raises(ValueError, match=r"\(2, 2, 1\) to \(8, 8, 1\), it makes \(4, 4, 1"):
        method.init(KEY, BATCH)
