"""Video colorization: pointers by loops, equal features, a perfect tracker, centroids."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from toys import images, jitted

from jssl.methods.video.video_colorization import video_colorization
from jssl.models.convnet import ConvNet
from jssl.models.video_colorization import ClipMaps
from jssl.nets import Net
from jssl.ops.lab import rgb_to_lab

headline = "loss"
discrete = True  # the nearest centroid
KEY = jax.random.key(0)
COLORS = jnp.array([[1.0, 0, 0], [0, 0.6, 0], [0.1, 0.1, 1]])


def clips(frames=5):
    """Videos [8, t, 8, 8, 3]: waves, in one of three colors, that move to the right."""
    phase = jnp.arange(8) % 3
    tint = COLORS[phase][:, None, None]
    wave = images()
    colored = wave * tint + (1 - wave) * 0.3 * COLORS[(phase + 1) % 3][:, None, None]
    return jnp.stack([jnp.roll(colored, t, 2) for t in range(frames)], 1)


def network():
    return jitted(ClipMaps(ConvNet((8, 8), (2, 1), maps=True), 8, depth=1, hidden=8))


def tiny(tx):
    method = video_colorization(
        network(), tx or optax.adam(1e-2), references=2, colors=4, inference=0.5
    )
    return method, {"video": clips()}


def fixed(features):
    """A network with features [n, t, y, x, d] of gray clips, and one weight that scales."""

    def apply(params, stats, x, train=False, keys={}):
        f = params["w"] * features(x)
        return {"maps": f, "h": f.mean((1, 2, 3))}, stats

    return Net(lambda key, x: ({"w": jnp.ones(())}, {}), apply)


def stepped(method, batch):
    state = method.init(KEY, batch)
    return jax.jit(method.step)(jax.random.key(1), state, batch)[1]


def test_the_loss_is_that_of_loops_over_places():
    features = lambda x: x[:, :, ::2, ::2] * jnp.array([3.0, -1.0])
    batch = {"video": clips(3)}
    method = video_colorization(
        fixed(features), optax.sgd(0.0), references=2, colors=3, temperature=0.7
    )
    state = method.init(KEY, batch)
    metrics = stepped(method, batch)
    rgb = np.asarray(batch["video"], np.float64)
    cells = rgb.reshape(8, 3, 4, 2, 4, 2, 3).mean((3, 5))
    lab = np.asarray(rgb_to_lab(jnp.asarray(cells, jnp.float32)))
    gray = (np.asarray(rgb_to_lab(batch["video"]))[..., :1] - 50) / 100
    f = gray[:, :, ::2, ::2] * np.array([3.0, -1.0])
    centroids = np.asarray(state.centroids)
    total, hits, chance = [], [], []
    for i in range(8):
        gaps = lab[i, ..., None, 1:] - centroids
        code = np.square(gaps).sum(-1).argmin(-1).reshape(3, 16)
        ours = f[i].reshape(3, 16, 2)
        for j in range(16):
            weights = np.exp(
                [ours[2, j] @ ours[t, k] / 0.7 for t in (0, 1) for k in range(16)]
            )
            y = np.zeros(3)
            for place, weight in enumerate(weights / weights.sum()):
                y[code[:2].ravel()[place]] += weight
            total.append(-np.log(y[code[2, j]] + 1e-8))
            share = np.mean(code[:2] == code[2, j])
            chance.append(-np.log(share + 1e-8))
            hits.append(y.argmax() == code[2, j])
    np.testing.assert_allclose(metrics["loss"], np.mean(total), rtol=1e-4)
    np.testing.assert_allclose(metrics["accuracy"], np.mean(hits), rtol=1e-6)
    np.testing.assert_allclose(
        metrics["relative_loss"], np.mean(total) / np.mean(chance), rtol=1e-4
    )


def test_equal_features_copy_the_histogram_of_the_references():
    features = lambda x: jnp.ones((*x.shape[:2], 4, 4, 5))
    method = video_colorization(fixed(features), optax.sgd(0.0), references=2, colors=4)
    np.testing.assert_allclose(
        stepped(method, {"video": clips()})["relative_loss"], 1, rtol=1e-5
    )


def test_features_that_identify_places_copy_the_color_of_the_same_place():
    still = jnp.repeat(clips(1), 3, 1)
    names = lambda x: jnp.broadcast_to(
        30 * jnp.eye(16).reshape(4, 4, 16), (*x.shape[:2], 4, 4, 16)
    )
    method = video_colorization(fixed(names), optax.sgd(0.0), references=2, colors=4)
    metrics = stepped(method, {"video": still})
    assert float(metrics["loss"]) < 1e-5
    assert float(metrics["accuracy"]) == 1
    assert float(metrics["moved_accuracy"]) == 0  # nothing has moved


def test_the_features_are_those_of_gray_frames():
    method, batch = tiny(None)
    state = jax.jit(method.init)(KEY, batch)
    gray = jnp.broadcast_to(batch["video"].mean(-1, keepdims=True), batch["video"].shape)
    lab = rgb_to_lab(batch["video"])
    from jssl.ops.lab import lab_to_rgb

    same = lab_to_rgb(lab.at[..., 1:].multiply(0.5))  # of the same lightness
    embed = jax.jit(lambda x: method.embed(state, {"video": x}))
    ours, theirs = embed(batch["video"]), embed(same)
    np.testing.assert_allclose(ours["h"], theirs["h"], atol=1e-4)
    assert not np.allclose(ours["h"], embed(gray)["h"], atol=1e-3)
    assert [x.shape for x in ours["layers"]] == [(8, 5, 4, 4, 8)] * 3


def test_centroids_are_means_of_the_colors_of_all_clips():
    flat = jnp.broadcast_to(COLORS[jnp.arange(8) % 3][:, None, None, None], (8, 3, 8, 8, 3))
    method = video_colorization(network(), optax.sgd(0.0), references=2, colors=3)
    batch = {"video": flat}
    state = jax.jit(method.init)(KEY, batch)
    collect = lambda fn, *args, split="train": np.asarray(jax.jit(fn)(*args, batch))
    state, order = method.refresh(KEY, state, collect)
    assert order is None
    wanted = np.asarray(rgb_to_lab(COLORS))[:, 1:]
    found = np.asarray(state.centroids)
    by_a = lambda x: x[np.argsort(x[:, 0])]
    np.testing.assert_allclose(by_a(found), by_a(wanted), atol=1e-3)


def test_centroids_are_colors_of_the_places_of_the_maps():
    """Stripes as wide as a place: means over wider cells have none of their colors."""
    striped = COLORS[jnp.arange(16) // 2 % 2][None, None, None]
    batch = {"video": jnp.broadcast_to(striped, (8, 3, 16, 16, 3))}
    names = lambda x: jnp.ones((*x.shape[:2], 8, 8, 2))
    method = video_colorization(fixed(names), optax.sgd(0.0), references=2, colors=2)
    collect = lambda fn, *args, split="train": np.asarray(jax.jit(fn)(*args, batch))
    state, _ = method.refresh(KEY, method.init(KEY, batch), collect)
    wanted = np.asarray(rgb_to_lab(COLORS[:2]))[:, 1:]
    by_a = lambda x: x[np.argsort(x[:, 0])]
    np.testing.assert_allclose(by_a(np.asarray(state.centroids)), by_a(wanted), atol=1e-2)


def test_a_perfect_copy_has_the_colors_of_the_target():
    still = jnp.repeat(jnp.repeat(jnp.repeat(clips(1)[:, :, :4, :4], 3, 1), 2, 2), 2, 3)
    names = lambda x: jnp.broadcast_to(
        99 * jnp.eye(16).reshape(4, 4, 16), (*x.shape[:2], 4, 4, 16)
    )
    method = video_colorization(fixed(names), optax.sgd(0.0), references=2, colors=4)
    batch = {"video": still}
    state = method.init(KEY, batch)
    drawn = method.render(KEY, state, batch, None)["copied colors"].images
    lab = lambda x: np.asarray(rgb_to_lab(jnp.asarray(x)))
    copied, target = lab(drawn[:, 2]), lab(drawn[:, 3])
    inner = np.abs(copied - target)[:, 3:5, 3:5].mean()
    gray = np.abs(lab(drawn[:, 1]) - target)[:, 3:5, 3:5].mean()
    assert inner < 0.5 * gray


@pytest.mark.parametrize("options", [dict(references=0), dict(colors=0), dict(inference=0)])
def test_settings_that_are_not_positive_are_refused(options):
    with pytest.raises(ValueError, match="must be positive"):
        video_colorization(network(), optax.sgd(0.1), **options)


def test_clips_that_are_shorter_than_a_window_are_refused():
    method, _ = tiny(None)
    batch = {"video": clips(2)}
    with pytest.raises(ValueError, match="give longer clips"):
        method.step(KEY, method.init(KEY, batch), batch)
