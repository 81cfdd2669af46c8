"""Video diffusion: its loss over frames, and samples of lengths, words and first frames."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from toys import images, jitted

from jssl.learner import ema_weights
from jssl.methods.generative.ddpm import ddpm
from jssl.methods.generative.video_diffusion import video_diffusion
from jssl.models.dit import VideoTransformer
from jssl.nets import Net
from jssl.ops.diffusion import cosine_schedule, diffuse

headline = "loss"
KEY = jax.random.key(0)


def clips():
    """Videos [8, 3, 8, 8, 1]: the pictures, which move to the right."""
    return jnp.stack([jnp.roll(images(), t, 2) for t in range(3)], 1)


def tiny(tx):
    net = VideoTransformer(
        16, 2, 2, (2, 4, 4), words=4, attention="factorized", continues=True
    )
    method = video_diffusion(
        jitted(net),
        tx or optax.chain(optax.adam(2e-2), ema_weights(0.5)),
        cosine_schedule(20),
        steps=3,
        condition=lambda batch: batch["label"],
        none=3,
        guidance=2.0,
        first=0.5,
    )
    index = jnp.arange(8)
    length = 1 + index % 3
    batch = {"video": clips(), "label": index % 3, "length": length, "index": index}
    return method, batch


def network(apply, params=()) -> Net:
    """A network without statistics, of one function (params, x, i, c, there, given)."""

    def applied(params, stats, *inputs, train=False, keys={}):
        x = inputs[0]
        out = {"output": apply(params, *inputs), "h": x.reshape(len(x), -1)}
        return out, stats

    return Net(lambda key, *inputs: (params, ()), applied)


def plain(net, levels=cosine_schedule(50), tx=None, **options):
    """A method on videos as they are."""
    options = dict(clip=False) | options
    same = lambda batch: batch["video"]
    tx = tx or optax.sgd(0.0)
    return video_diffusion(net, tx, levels, prepare=same, show=lambda x: x, **options)


def clip_rows(x, **more):
    return {"video": jnp.asarray(x, jnp.float32), "index": jnp.arange(len(x))} | more


def stepped(method, batch):
    state = method.init(KEY, batch)
    return jax.jit(method.step)(jax.random.key(1), state, batch)


def test_a_zero_output_costs_the_mean_square_of_the_target():
    """1 for epsilon, E x0^2 for x0, and for v a mean of both by alpha bar."""
    levels, batch = cosine_schedule(50), clip_rows(jnp.full((4000, 2, 2, 2, 1), 3.0))
    ab = np.mean(levels.alpha_bar)
    wanted = {"epsilon": 1.0, "x0": 9.0, "v": ab + 9 * (1 - ab)}
    nothing = network(lambda params, x, *_: 0 * x)
    for target, value in wanted.items():
        _, metrics = stepped(plain(nothing, target=target), batch)
        np.testing.assert_allclose(metrics["loss"], value, rtol=0.05)


def test_the_loss_is_over_the_frames_that_there_are_and_are_not_given():
    """A network whose error is the number of the frame, from 1."""
    squares = network(
        lambda params, x, i, c, there, given: (
            0 * x + jnp.sqrt(jnp.arange(1.0, 4.0))[:, None, None, None]
        )
    )
    x, lengths = jnp.zeros((3, 3, 2, 2, 1)), np.array([1, 2, 3])
    batch = clip_rows(x, length=jnp.asarray(lengths))
    _, metrics = stepped(plain(squares, target="x0"), batch)
    np.testing.assert_allclose(metrics["loss"], (1 + 1 + 2 + 1 + 2 + 3) / 6, rtol=1e-6)
    _, metrics = stepped(plain(squares, target="x0", first=1.0), batch)
    np.testing.assert_allclose(metrics["loss"], (1 + 2 + 2 + 3) / 4, rtol=1e-6)


def test_given_frames_are_without_noise_and_said_to_be_given():
    told = network(
        lambda params, x, i, c, there, given: (
            jnp.where(given[:, :, None, None, None] == (x == 5), 0.0, 1.0) + 0 * x
        )
    )
    batch = clip_rows(jnp.full((64, 3, 2, 2, 1), 5.0))
    method = plain(told, target="x0", first=0.5)
    _, metrics = stepped(method, batch)
    np.testing.assert_allclose(metrics["loss"], 25, rtol=1e-6)  # (0 - 5)^2 everywhere


def test_a_video_of_one_frame_costs_what_an_image_costs_ddpm():
    """The same network, noise and levels."""
    scale = jnp.array(0.3)
    video = network(lambda w, x, *_: w * x, scale)
    image = Net(
        lambda key, *inputs: (scale, ()),
        lambda w, s, x, i, train=False, keys={}: ({"output": w * x, "h": x}, s),
    )
    levels, x = cosine_schedule(30), images()
    prepare = lambda batch: batch["image"]
    one = ddpm(image, optax.sgd(0.1), levels, target="v", gray_levels=None, prepare=prepare)
    batch = {"image": x, "index": jnp.arange(8)}
    other = video_diffusion(
        video,
        optax.sgd(0.1),
        levels,
        prepare=lambda batch: batch["image"][:, None],
        made="image",
    )
    xt = diffuse(levels, x, jnp.full(8, 4), jnp.ones_like(x))
    np.testing.assert_array_equal(video.apply(scale, (), xt)[0]["output"], scale * xt)
    # Their keys are split into four and into five parts: compare means over many steps.
    losses = []
    for m in (one, other):
        start = m.init(KEY, batch)
        each = jax.vmap(lambda key, m=m, start=start: m.step(key, start, batch)[1]["loss"])
        losses.append(jax.jit(each)(KEYS).mean())
    np.testing.assert_allclose(*losses, rtol=0.05)
    made = jax.jit(other.generate)(KEY, other.init(KEY, batch), batch)["image"]
    assert made.shape == x.shape


KEYS = jax.random.split(jax.random.key(2), 200)


def of_gaussian(levels, mean, x, i):
    """The best estimate of epsilon for data N(mean, 1)."""
    each = lambda a: a[i][:, None, None, None, None]
    return each(levels.noise) * (x - each(levels.signal) * mean)


def test_samples_have_their_length_begin_as_their_row_and_follow_their_words():
    """Three Gaussians, of two words and of none."""
    levels, means = cosine_schedule(40), jnp.array([4.0, -4.0, 0.0])
    best = network(
        lambda params, x, i, c, there, given: of_gaussian(
            levels, means[c][:, None, None, None, None], x, i
        )
    )
    x = 10 + jnp.zeros((6, 3, 2, 2, 1))
    batch = clip_rows(x, label=jnp.arange(6) % 2, length=jnp.array([1, 2, 3, 3, 2, 3]))

    def made(**options):
        method = plain(
            best,
            levels,
            target="epsilon",
            condition=lambda batch: batch["label"],
            none=2,
            first=0.5,
            eta=1.0,
            **options,
        )
        state = method.init(KEY, batch)
        return np.asarray(jax.jit(method.generate)(KEY, state, batch)["video"])

    alone = made()
    there = np.arange(3) < np.asarray(batch["length"])[:, None]
    np.testing.assert_array_equal(alone[~there], 0)
    wanted = np.where(np.arange(6) % 2, -4, 4)[:, None] * there
    np.testing.assert_allclose(alone.mean((2, 3, 4)), wanted, atol=3)
    begun = made(continued=True)
    np.testing.assert_array_equal(begun[:, 0], 10)
    np.testing.assert_allclose(begun[:, 1:], alone[:, 1:], atol=1e-5)
    stronger = made(guidance=2.0)
    np.testing.assert_allclose(stronger.mean((2, 3, 4)), 2 * wanted, atol=3)


def test_samples_that_continue_are_made_from_the_clean_first_frame():
    """A network that copies the first frame that it is given."""
    copy = network(
        lambda params, x, i, c, there, given: (
            jnp.where(given[:, :1, None, None, None], x[:, :1], 0) + 0 * x
        )
    )
    batch = clip_rows(jax.random.normal(KEY, (4, 3, 2, 2, 1)))
    method = plain(copy, target="x0", first=1.0, continued=True)
    made = method.generate(KEY, method.init(KEY, batch), batch)["video"]
    wanted = jnp.broadcast_to(batch["video"][:, :1], made.shape)
    np.testing.assert_allclose(made, wanted, rtol=1e-5)


def test_frames_after_the_end_and_words_do_not_influence_h():
    method, batch = tiny(optax.sgd(0.1))
    state = jax.jit(method.init)(KEY, batch)
    step = jax.jit(method.step)
    state = step(KEY, state, batch)[0]
    after = jnp.arange(3) >= batch["length"][:, None]
    video = jnp.where(after[:, :, None, None, None], 0.9, batch["video"])
    embed = jax.jit(lambda batch: method.embed(state, batch)["h"])
    words = (batch["label"] + 1) % 3
    other = embed(batch | {"video": video, "label": words})
    np.testing.assert_array_equal(embed(batch), other)
    moved = [step(KEY, state, b)[0] for b in (batch, batch | {"video": video})]
    jax.tree.map(np.testing.assert_array_equal, *(x.params for x in moved))


def test_mistakes_are_refused():
    net = network(lambda params, x, *_: x)
    for options, told in (
        (dict(first=2.0), "must be 0 to 1, got 0.05, 0.1 and 2.0"),
        (dict(continued=True), "give first more than 0"),
        (dict(steps=51), "0 .all. to 50, got 51"),
    ):
        with pytest.raises(ValueError, match=told):
            plain(net, **options)
