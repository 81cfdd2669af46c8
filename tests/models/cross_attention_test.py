"""Attention to texts: its identities, and diffusers' U-Net with the same weights."""

from pathlib import Path

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from diffusers_layout import QUERIES, RESIDUAL, UNET, weight

from jssl.models.cross_attention import (
    CrossAttention,
    SpatialTransformer,
    TextEncoder,
    TransformerBlock,
)
from jssl.models.unet import UNet

FOUND = np.load(Path(__file__).parents[1] / "golden" / "latent.npz")
KEY = jax.random.key(0)
SPATIAL = {
    ("norm",): "norm",
    ("into",): "proj_in",
    ("out",): "proj_out",
    **{("block0", f"norm{i}"): f"transformer_blocks.0.norm{i}" for i in (1, 2, 3)},
    **{
        ("block0", ours, part): f"transformer_blocks.0.{theirs}.{name}"
        for ours, theirs in (("attention", "attn1"), ("cross", "attn2"))
        for part, name in QUERIES.items()
    },
    ("block0", "feed", "hidden"): "transformer_blocks.0.ff.net.0.proj",
    ("block0", "feed", "out"): "transformer_blocks.0.ff.net.2",
}


def theirs(path, shape):
    """The weight of diffusers at a path of ours, in our layout."""
    at, *inner, leaf = path
    if inner:
        inner = [SPATIAL[tuple(inner)] if "attention" in at else RESIDUAL[inner[0]]]
    return weight(FOUND, [f"unet/{UNET[at]}", *inner], leaf, shape)


class Given(nn.Module):
    """A text encoder whose texts are encoded already."""

    def __call__(self, condition, train=False):
        return condition


def test_the_network_is_that_of_diffusers_with_the_same_weights():
    how = dict(groups=4, heads=2, text=Given(), eps=1e-5, order="cos")
    net = UNet(4, (1, 3), 1, (1,), **how)
    x, t, *text = (FOUND[f"told/{name}"] for name in ("x", "t", "context", "mask"))
    text = tuple(text)
    shapes = jax.eval_shape(net.init, KEY, x, t, text)["params"]
    params = jax.tree.map_with_path(
        lambda path, leaf: theirs([key.key for key in path], leaf.shape), shapes
    )
    taken = sum(leaf.size for leaf in jax.tree.leaves(params))
    assert taken == sum(FOUND[name].size for name in FOUND if name.startswith("unet/"))
    out = jax.jit(net.apply)({"params": params}, x, t, text)["output"]
    wanted = FOUND["told/y"]
    np.testing.assert_allclose(out, wanted, atol=2e-5 * np.abs(wanted).max())


def test_the_public_models_have_as_many_weights():
    """Of Stable Diffusion 1, by diffusers: 859,520,964."""
    x, text = drawn(1, 64, 64, 4), (drawn(1, 77, 768), jnp.ones((1, 77), bool))
    net = UNet(320, (1, 2, 4, 4), 2, (0, 1, 2), heads=8, text=Given())
    params = jax.eval_shape(net.init, KEY, x, jnp.zeros(1, int), text)["params"]
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == 859_520_964


def drawn(*shape, seed=0):
    return jax.random.normal(jax.random.key(seed), shape)


def moved(variables):
    """Variables without zeros."""
    return jax.tree.map(lambda w: w + 0.1 * drawn(*w.shape, seed=w.size), variables)


def built(net, *inputs):
    return moved(jax.jit(net.init)(KEY, *inputs))


def test_one_token_is_returned_to_every_query():
    net, x, c = CrossAttention(2), drawn(3, 5, 8), drawn(3, 1, 6, seed=1)
    variables = built(net, x, c)
    out = net.apply(variables, x, c)
    layers = variables["params"]
    value = c @ layers["value"]["kernel"]
    wanted = value @ layers["out"]["kernel"] + layers["out"]["bias"]
    wanted = jnp.broadcast_to(wanted, out.shape)
    np.testing.assert_allclose(out, wanted, rtol=1e-5, atol=1e-6)


def test_masked_tokens_are_as_if_removed_and_their_order_does_not_matter():
    net, x, c = CrossAttention(2, 3), drawn(3, 5, 8), drawn(3, 6, 4, seed=1)
    variables = built(net, x, c)
    apply = lambda *inputs: net.apply(variables, x, *inputs)
    mask = jnp.broadcast_to(jnp.array([True, True, True, True, False, False]), (3, 6))
    close = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
    close(apply(c, mask), apply(c[:, :4]))
    close(apply(c[:, ::-1]), apply(c))
    assert np.abs(apply(c) - apply(c[:, :4])).max() > 1e-3


def test_attention_is_that_of_the_formula(x64):
    net, x, c = CrossAttention(2, 3), drawn(1, 4, 8), drawn(1, 5, 6, seed=1)
    variables = built(net, x, c)
    w = {name: np.asarray(layer["kernel"]) for name, layer in variables["params"].items()}
    given = {"query": x, "key": c, "value": c}
    q, k, v = (np.asarray(a[0]) @ w[name] for name, a in given.items())
    heads = []
    for at in (slice(0, 3), slice(3, 6)):
        weight = np.exp(q[:, at] @ k[:, at].T / np.sqrt(3))
        heads.append(weight / weight.sum(1, keepdims=True) @ v[:, at])
    wanted = np.concatenate(heads, 1) @ w["out"] + variables["params"]["out"]["bias"]
    # JAX computes the softmax in float32.
    np.testing.assert_allclose(net.apply(variables, x, c)[0], wanted, rtol=1e-5)


def test_a_spatial_transformer_begins_as_the_identity():
    net, x, c = SpatialTransformer(2, groups=2), drawn(2, 3, 3, 4), drawn(2, 5, 6)
    variables = jax.jit(net.init)(KEY, x, c)
    np.testing.assert_array_equal(net.apply(variables, x, c), x)
    assert np.abs(net.apply(moved(variables), x, c) - x).max() > 1e-3


def test_a_block_without_context_has_no_cross_attention():
    variables = jax.eval_shape(TransformerBlock(2).init, KEY, drawn(2, 3, 4))
    assert set(variables["params"]) == {"norm1", "attention", "norm3", "feed"}


def test_a_text_is_encoded_without_its_padding_and_an_empty_one_as_its_first_token():
    net = TextEncoder(9, 4, depth=2, heads=2)
    tokens = jnp.array([[3, 4, 5], [3, 4, 0], [0, 0, 0]])
    variables = built(net, tokens)
    encode = jax.jit(lambda tokens: net.apply(variables, tokens))
    context, mask = encode(tokens)
    assert mask.tolist() == [[True] * 4, [True] * 3 + [False], [True] + [False] * 3]
    other, _ = jax.jit(lambda t: net.apply(variables, t))(tokens.at[1, 2].set(0))
    np.testing.assert_array_equal(context, other)
    word = encode(jnp.array([[3, 5, 4], [3, 4, 0], [0, 0, 0]]))[0]
    assert np.abs(word[0] - context[0]).max() > 1e-3  # positions are in the encoder
    assert np.isfinite(context).all()


def test_the_gradient_of_words_is_zero_for_empty_texts():
    net = UNet(4, (1,), 1, (), groups=2, text=TextEncoder(9, 4, heads=2), heads=2)
    x, i = drawn(2, 4, 4, 1), jnp.zeros(2, int)
    tokens = jnp.array([[3, 4, 5], [6, 7, 0]])
    params = built(net, x, i, tokens)["params"]

    @jax.jit
    def grads(tokens):
        loss = lambda p: jnp.square(net.apply({"params": p}, x, i, tokens)["output"]).sum()
        return jax.grad(loss)(params)["text"]

    words = grads(tokens)["words"]["embedding"]
    assert np.abs(words[3:8]).max(1).min() > 0 and np.abs(words[8]).max() == 0
    none = grads(0 * tokens)
    np.testing.assert_array_equal(none["words"]["embedding"][1:], 0)
    assert np.abs(none["first"]).max() > 0


def test_heads_that_do_not_divide_the_width_are_refused():
    with pytest.raises(ValueError, match="3 heads do not divide a width of 8"):
        jax.eval_shape(CrossAttention(3).init, KEY, drawn(1, 2, 8), drawn(1, 2, 8))
