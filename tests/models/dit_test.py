"""DiT of videos: diffusers' with the same weights, and the identities of its parts."""

from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jssl.models.dit import Block, VideoTransformer
from jssl.models.vit import Attention
from jssl.nets import linen

FOUND = np.load(Path(__file__).parents[1] / "golden" / "dit.npz")
EMBEDDER = "transformer_blocks.0.norm1.emb"
PLACES = {
    "embedding": "pos_embed.proj",
    "time0": f"{EMBEDDER}.timestep_embedder.linear_1",
    "time1": f"{EMBEDDER}.timestep_embedder.linear_2",
    "words": f"{EMBEDDER}.class_embedder.embedding_table",
    "last": "proj_out_1",
    "output": "proj_out_2",
}
PARTS = {
    "modulation": "norm1.linear",
    "query": "attn1.to_q",
    "key": "attn1.to_k",
    "value": "attn1.to_v",
    "out": "attn1.to_out.0",
    "fc1": "ff.net.0.proj",
    "fc2": "ff.net.2",
}


def theirs(path, shape):
    """The weight of diffusers at a path of ours, in our layout."""
    at, *inner, leaf = path
    name = PLACES.get(at) or f"transformer_blocks.{at[5:]}.{PARTS[inner[-1]]}"
    weight = FOUND[f"dit/{name}.{'bias' if leaf == 'bias' else 'weight'}"]
    weight = weight.astype(np.float32)
    if at == "embedding" and leaf == "kernel":
        weight = weight.transpose(2, 3, 1, 0)  # rows, columns, channels
    elif at == "time0" and leaf == "kernel":
        # Its cosines come first, and its frequencies are those of our order "sin".
        weight = np.roll(weight.T, 128, axis=0)
    elif leaf == "kernel":
        weight = weight.T
    return jnp.asarray(weight.reshape(shape))


def known():
    """The network and the weights of dit.npz."""
    net = VideoTransformer(
        32, 2, 4, patch=(1, 2, 2), words=11, time=0, order="sin", attention="full"
    )
    x = jnp.asarray(FOUND["x"])[:, None]
    inputs = x, jnp.asarray(FOUND["t"]), jnp.asarray(FOUND["y"])
    shapes = jax.eval_shape(net.init, jax.random.key(0), *inputs)["params"]
    params = jax.tree.map_with_path(
        lambda path, leaf: theirs([k.key for k in path], leaf.shape), shapes
    )
    return net, {"params": params}, inputs


def test_of_one_frame_the_output_is_that_of_diffusers():
    net, params, inputs = known()
    output = jax.jit(net.apply)(params, *inputs)["output"][:, 0]
    wanted = FOUND["output"]
    np.testing.assert_allclose(output, wanted, atol=2e-5 * np.abs(wanted).max())


def drawn(net, *inputs, seed=0, scale=0.1):
    """Random weights without zeros, for networks that begin as nothing."""
    params = jax.eval_shape(net.init, jax.random.key(0), *inputs)
    draw = np.random.default_rng(seed).normal
    return jax.tree.map(lambda x: jnp.asarray(scale * draw(size=x.shape), x.dtype), params)


def videos(n=2, t=4, seed=0):
    x = jax.random.normal(jax.random.key(seed), (n, t, 4, 4, 1))
    return x, jnp.arange(n) + 3


def small(attention="full", patch=(1, 2, 2), **more):
    return VideoTransformer(16, 2, 2, patch, attention=attention, **more)


def test_at_first_blocks_are_the_identity_and_the_output_is_zero():
    u = jax.random.normal(jax.random.key(0), (2, 8, 16))
    c = jax.random.normal(jax.random.key(1), (2, 16))
    there = jnp.ones((2, 2), bool)
    for kind in ("full", "spatial", "temporal"):
        block = Block(2, kind)
        params = jax.jit(block.init)(jax.random.key(2), u, c, there)
        after = jax.jit(block.apply)(params, u, c, there)
        np.testing.assert_array_equal(after, u)
    net, inputs = small(), videos()
    params = jax.jit(net.init)(jax.random.key(0), *inputs)
    output = jax.jit(net.apply)(params, *inputs)["output"]
    np.testing.assert_array_equal(output, 0)


def test_without_attention_across_frames_a_video_is_so_many_images():
    """Of equal time positions: spatial attention, and one frame after the other."""
    net = small("spatial", time=0)
    x, i = videos()
    params = drawn(net, x, i)
    apply = jax.jit(net.apply)
    whole = apply(params, x, i)["output"]
    for t in range(4):
        alone = apply(params, x[:, t : t + 1], i)["output"]
        np.testing.assert_allclose(whole[:, t : t + 1], alone, atol=1e-5)
    full = jax.jit(small("full", time=0).apply)(params, x, i)["output"]
    assert np.abs(full - whole).max() > 1e-3


@pytest.mark.parametrize("attention", ["full", "spatial", "factorized"])
def test_attention_maps_have_a_row_a_video(attention):
    net = linen(small(attention))
    x, i = videos()
    params, stats = net.init(jax.random.key(0), x, i)
    for weights in net.apply(params, stats, x, i)[0]["attention"]:
        assert len(weights) == len(x)
        np.testing.assert_allclose(weights.sum(-1), 1, atol=1e-5)


@pytest.mark.parametrize(("kind", "linked"), [
    ("spatial", lambda t, s: np.kron(np.eye(t), np.ones((s, s)))),
    ("temporal", lambda t, s: np.kron(np.ones((t, t)), np.eye(s))),
])  # fmt: skip
def test_attention_within_groups_is_full_attention_with_a_mask_of_blocks(kind, linked):
    t, s, d = 3, 4, 8
    u = jax.random.normal(jax.random.key(0), (2, t * s, d))
    c, there = jax.random.normal(jax.random.key(1), (2, d)), jnp.ones((2, t), bool)
    block = Block(2, kind)
    params = drawn(block, u, c, there)
    found = jax.jit(block.apply)(params, u, c, there)
    own = params["params"]
    knobs = jax.nn.silu(c) @ own["modulation"]["kernel"] + own["modulation"]["bias"]
    s1, k1, g1, s2, k2, g2 = jnp.split(knobs, 6, -1)
    normed = lambda x: (
        (x - x.mean(-1, keepdims=True)) / jnp.sqrt(x.var(-1, keepdims=True) + 1e-6)
    )
    seen = normed(u) * (1 + k1[:, None]) + s1[:, None]
    mask = jnp.asarray(linked(t, s), bool)
    attended = Attention(2).apply({"params": own["attention"]}, seen, mask)
    u = u + g1[:, None] * attended
    x = normed(u) * (1 + k2[:, None]) + s2[:, None]
    x = jax.nn.gelu(x @ own["fc1"]["kernel"] + own["fc1"]["bias"], approximate=True)
    wanted = u + g2[:, None] * (x @ own["fc2"]["kernel"] + own["fc2"]["bias"])
    np.testing.assert_allclose(found, wanted, atol=2e-5)


@pytest.mark.parametrize(
    ("attention", "patch"),
    [("full", (2, 2, 2)), ("factorized", (1, 2, 2)), ("factorized", (2, 2, 2))],
)
def test_frames_that_do_not_exist_influence_nothing(attention, patch):
    net = small(attention, patch)
    x, i = videos(t=5)
    there = jnp.arange(5) < jnp.array([3, 5])[:, None]
    params = drawn(net, x, i, None, there)
    apply = jax.jit(partial(net.apply, params))
    one = apply(x, i, None, there)
    other = apply(x.at[0, 3:].set(7.0), i, None, there)
    np.testing.assert_array_equal(one["output"], other["output"])
    np.testing.assert_array_equal(one["h"], other["h"])
    np.testing.assert_array_equal(one["output"][0, 3:], 0)
    short = apply(x[:1, :3], i[:1])
    np.testing.assert_allclose(one["output"][:1, :3], short["output"], atol=2e-5)
    np.testing.assert_allclose(one["h"][:1], short["h"], rtol=1e-4, atol=2e-5)
    changed = apply(x.at[0, 2].add(1.0), i, None, there)
    assert np.all(changed["h"][0] != one["h"][0])


def test_without_positions_tokens_may_be_permuted():
    """Frames that change places, with time positions of no width."""
    net = small(time=0)
    x, i = videos()
    params = drawn(net, x, i)
    order = jnp.array([2, 0, 3, 1])
    for time, same in ((0, True), (4, False)):
        apply = jax.jit(small(time=time).apply)
        found = apply(params, x[:, order], i)["output"]
        wanted = apply(params, x, i)["output"][:, order]
        assert (np.abs(found - wanted).max() < 1e-5) == same


def test_words_are_added_and_given_frames_are_marked():
    net = small(words=5, continues=True)
    x, i = videos()
    words = jnp.array([[1, 3], [2, 2]])
    given = jnp.zeros((2, 4), bool)
    params = drawn(net, x, i, words, None, given)
    apply = jax.jit(partial(net.apply, params, x, i))
    one = apply(words, None, given)["output"]
    np.testing.assert_allclose(apply(words[:, ::-1], None, given)["output"], one, atol=1e-5)
    assert np.abs(apply(words + 1, None, given)["output"] - one).max() > 1e-3
    marked = apply(words, None, given.at[0, 0].set(True))["output"]
    assert np.abs(marked - one)[0].max() > 1e-3
    np.testing.assert_allclose(marked[1], one[1], atol=1e-5)
    np.testing.assert_allclose(apply(words)["output"], one, atol=1e-5)


def test_mistakes_are_refused():
    x, i = videos()
    with pytest.raises(ValueError, match="full, factorized, spatial, got 'causal'"):
        small("causal").init(jax.random.key(0), x, i)
    with pytest.raises(ValueError, match="patches of 1x3x3 .* do not divide .* 4x4x4"):
        small(patch=(1, 3, 3)).init(jax.random.key(0), x, i)
