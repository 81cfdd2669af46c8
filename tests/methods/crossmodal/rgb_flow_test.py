"""RGB and flow: the loss of a step, and flips of flow."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from toys import jitted

from jssl import views
from jssl.losses import cross_and_learn
from jssl.methods.crossmodal.rgb_flow import flow_colors, rgb_flow
from jssl.models.convnet import ConvNet
from jssl.models.heads import MLP
from jssl.models.multiview import PerView
from jssl.nets import Net
from jssl.ops.flow import warp

headline = "loss"
KEY = jax.random.key(0)


def clips():
    """Frames [8, 8, 8, 3] of waves that move, and their flows [8, 2, 8, 8, 2]."""
    i = jnp.arange(8.0)
    y, x, n = i[None, :, None], i[None, None], i[:, None, None]
    phase = 0.7 * n * (x - 3) * 0.3 + 0.5 * y
    rgb = 0.5 + 0.5 * jnp.sin(phase[..., None] + jnp.arange(3.0))
    angle = 2 * jnp.pi * n[..., None, None] / 8
    speed = jnp.concatenate([jnp.cos(angle), jnp.sin(angle)], -1)  # [8, 1, 1, 1, 2]
    shape = jnp.sin(x * (1 + n % 3) + y)[:, None, ..., None]
    return rgb, jnp.broadcast_to(speed * shape, (8, 2, 8, 8, 2))


def prepared(batch):
    flow = jnp.moveaxis(batch["flow"], 1, 3)
    return batch["rgb"], flow.reshape(*flow.shape[:3], -1)


def looked(key, batch):
    rgb, flow = prepared(batch)
    return rgb + 0.02 * jax.random.normal(key, rgb.shape, rgb.dtype), flow


def tiny(tx):
    net = jitted(PerView((ConvNet((4, 8)),) * 2, (MLP((8,), last_norm="affine"),) * 2))
    method = rgb_flow(net, tx or optax.adam(5e-3), looked, prepare=prepared)
    rgb, flow = clips()
    return method, {"rgb": rgb, "flow": flow}


def linear(k=16):
    """(rgb, flow) -> products with two matrices: a network with nothing to hide."""

    def init(key, pair):
        sizes = [x[0].size for x in pair]
        keys = jax.random.split(key, 2)
        return [jax.random.normal(a, (d, k)) for a, d in zip(keys, sizes, strict=True)], {}

    def apply(params, stats, pair, train=False, keys={}):
        z = tuple(x.reshape(len(x), -1) @ w for x, w in zip(pair, params, strict=True))
        return {"h": jnp.concatenate(z, -1), "parts": z, "z": z}, stats

    return Net(init, apply)


def loop(a, b, kind, weight, temperature):
    a, b = (np.float64(z) for z in (a, b))
    if kind == "cross":
        a, b = np.maximum(a, 0), np.maximum(b, 0)
    a, b = (z / np.linalg.norm(z, axis=1, keepdims=True) for z in (a, b))
    if kind == "info_nce":
        logits = a @ b.T / temperature
        pick = lambda x: [x[i, i] - np.log(np.exp(x[i]).sum()) for i in range(len(x))]
        return -(np.mean(pick(logits)) + np.mean(pick(logits.T))) / 2
    pairs = [(i, j) for i, j in np.ndindex(len(a), len(a)) if i != j]
    diversity = np.mean([a[i] @ a[j] + b[i] @ b[j] for i, j in pairs])
    agreement = np.mean([a[i] @ b[i] + a[j] @ b[j] for i, j in pairs])
    return (1 - weight) * diversity - weight * agreement


@pytest.mark.parametrize(
    ("kind", "weight"), [("cross", 0.5), ("cross", 0.8), ("info_nce", 0)]
)
def test_the_loss_of_a_step_is_that_of_a_loop_over_pairs(kind, weight):
    rgb, flow = clips()
    batch = {"rgb": rgb, "flow": flow}
    method = rgb_flow(
        linear(),
        optax.sgd(0.1),
        prepare=prepared,
        kind=kind,
        weight=weight,
        temperature=0.3,
    )
    state = method.init(KEY, batch)
    z = linear().apply(state.params, {}, prepared(batch))[0]["z"]
    _, metrics = method.step(KEY, state, batch)
    np.testing.assert_allclose(metrics["loss"], loop(*z, kind, weight, 0.3), rtol=2e-5)
    if kind == "cross":
        z = [np.maximum(x, 0) for x in z]
    own = [np.argmax(row) for row in cosines(*z)]
    np.testing.assert_allclose(metrics["flow_found"], np.mean(own == np.arange(8)))


def cosines(a, b):
    norm = lambda z: z / np.linalg.norm(z, axis=1, keepdims=True)
    return norm(np.asarray(a)) @ norm(np.asarray(b)).T


def test_opposite_points_do_not_minimize_the_diversity():
    """Signed embeddings at two opposite points are as good as those of any mean 0."""
    poles = jnp.repeat(jnp.array([[1.0, -1.0], [-1.0, 1.0]]), 4, 0)
    corners = jnp.tile(jnp.eye(4) - 0.25, (2, 1))  # 4 directions of mean 0
    signed = [float(cross_and_learn(z, z)) for z in (poles, corners)]
    np.testing.assert_allclose(signed, -8 / 7, rtol=1e-6)  # -1 / 7 of either modality
    two, four = (float(cross_and_learn(z, z)) for z in map(jax.nn.relu, (poles, corners)))
    np.testing.assert_allclose((two, four), (3 / 7 - 1, 1 / 7 - 1), rtol=1e-5)


@pytest.mark.parametrize("kind", ["cross", "info_nce"])
def test_embeddings_of_cross_are_rectified(kind):
    rgb, flow = clips()
    batch = {"rgb": rgb, "flow": flow}
    method = rgb_flow(linear(), optax.sgd(0.1), prepare=prepared, kind=kind)
    state = method.init(KEY, batch)
    given = linear().apply(state.params, {}, prepared(batch))[0]["z"]
    out = method.embed(state, batch)
    for z, name in zip(given, ("z", "z/flow"), strict=True):
        assert (z < 0).any()
        wanted = jnp.maximum(z, 0) if kind == "cross" else z
        np.testing.assert_array_equal(out[name], wanted)


def test_h_is_of_the_frame_alone():
    method, batch = tiny(None)
    state = method.init(KEY, batch)
    still = batch | {"flow": jnp.zeros_like(batch["flow"])}
    one, two = method.embed(state, batch), method.embed(state, still)
    np.testing.assert_array_equal(one["h"], two["h"])
    assert not np.allclose(one["h/flow"], two["h/flow"])


def test_the_flow_of_a_mirrored_clip_is_the_flipped_flow():
    """Warped by the flow from the first, the next frame is the first, mirrored or not."""
    rng = np.random.default_rng(0)
    frame = jnp.asarray(rng.uniform(size=(1, 6, 12, 1)), jnp.float32)
    flow = jnp.full((1, 6, 12, 2), jnp.array([2.0, -1.0]))
    later = jnp.roll(frame, (2, -1), (2, 1))  # by 2 to the right, by 1 upward
    inner = np.s_[:, 2:-2, 3:-3]
    np.testing.assert_allclose(warp(later, flow)[inner], frame[inner], atol=1e-6)
    turned = warp(later[:, :, ::-1], views.flow_hflip(flow))
    np.testing.assert_allclose(turned[inner], frame[:, :, ::-1][inner], atol=1e-6)
    wrong = warp(later[:, :, ::-1], flow[:, :, ::-1])
    assert np.abs(wrong[inner] - frame[:, :, ::-1][inner]).max() > 0.1
    back = warp(frame, views.flow_time_flip(flow[:, None])[:, 0])
    np.testing.assert_allclose(back[inner], later[inner], atol=1e-6)


def test_flips_undo_themselves_and_centered_flow_has_no_mean():
    _, flow = clips()
    np.testing.assert_array_equal(views.flow_hflip(views.flow_hflip(flow)), flow)
    np.testing.assert_array_equal(views.flow_time_flip(views.flow_time_flip(flow)), flow)
    shifted = views.centered_flow(flow + jnp.array([3.0, -7.0]))
    np.testing.assert_allclose(shifted, views.centered_flow(flow), atol=1e-5)
    np.testing.assert_allclose(shifted.mean((2, 3)), 0, atol=1e-5)


def test_no_flow_is_gray():
    np.testing.assert_allclose(flow_colors(jnp.zeros((1, 2, 2, 2))), 0.5)


def test_mistakes_are_refused():
    with pytest.raises(ValueError, match="one of cross, info_nce, got 'clip'"):
        rgb_flow(linear(), optax.sgd(0.1), prepare=prepared, kind="clip")
    method, batch = tiny(optax.MultiSteps(optax.sgd(0.1), 2))
    with pytest.raises(ValueError, match="compares the samples"):
        method.init(KEY, batch)
