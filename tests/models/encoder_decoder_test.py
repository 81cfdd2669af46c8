"""BART and PEGASUS: outputs, losses and greedy texts of transformers; causality; cache."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict, unflatten_dict
from toys import jitted

from jssl.learner import Learner
from jssl.losses.sequence import token_cross_entropy
from jssl.methods.language.gpt import continued
from jssl.models.encoder_decoder import BART, PEGASUS, encoder_decoder
from jssl.weights.names import imported
from jssl.weights.transformers import dropped, place

KEY = jax.random.key(0)
GOLDEN = dict(np.load(Path(__file__).parents[1] / "golden" / "encoder_decoder.npz"))
START = {"bart": 2, "pegasus": 0}  # the token before a text
END = {"bart": 2, "pegasus": 1}
PAD = {"bart": 1, "pegasus": 0}


def network(kind, **more):
    how = BART if kind == "bart" else PEGASUS
    how = how | dict(pad=PAD[kind], decoder_depth=3) | more
    return encoder_decoder(37, 16, 12, 2, 3, **how)


def params_of(kind):
    begin = f"{kind}/"
    held = {k.removeprefix(begin): x for k, x in GOLDEN.items() if k.startswith(begin)}
    text = jnp.ones((1, 2), int)
    shapes = jax.eval_shape(network(kind).init, KEY, text, text)
    shapes = {k: x.shape for k, x in flatten_dict(dict(shapes)).items()}
    return unflatten_dict(imported(shapes, place(kind), held, dropped(kind)))["params"]


def texts(kind):
    """A text to read, one to write, and the latter shifted by one."""
    source, target = (jnp.asarray(GOLDEN[f"{kind}-in/{x}"]) for x in ("source", "target"))
    first = jnp.full_like(target[:, :1], START[kind])
    return source, target, jnp.concatenate([first, target[:, :-1]], 1)


@pytest.mark.parametrize("kind", ["bart", "pegasus"])
def test_outputs_scores_and_loss_are_those_of_transformers(kind):
    source, target, inputs = texts(kind)
    out, _ = jitted(network(kind)).apply(params_of(kind), {}, source, inputs)
    read, written = source != PAD[kind], np.asarray(target != PAD[kind])
    for name, golden, there in (
        ("tokens", "encoder", np.asarray(read)),
        ("written", "decoder", written),
        ("logits", "logits", written),
    ):
        wanted = GOLDEN[f"{kind}-out/{golden}"]
        np.testing.assert_allclose(out[name][there], wanted[there], atol=1e-4)
    loss = token_cross_entropy(out["logits"], target, jnp.asarray(written))
    np.testing.assert_allclose(loss, GOLDEN[f"{kind}-out/loss"], atol=1e-4)
    mean = (out["tokens"] * read[..., None]).sum(1) / read.sum(1, keepdims=True)
    np.testing.assert_allclose(out["h"], mean, atol=1e-5)


@pytest.mark.parametrize("kind", ["bart", "pegasus"])
def test_greedy_texts_are_those_of_transformers_with_and_without_a_cache(kind):
    source, target, inputs = texts(kind)
    learner, net = Learner(params_of(kind), {}, ()), jitted(network(kind))
    wanted = GOLDEN[f"{kind}-out/written"]
    over = np.cumsum(wanted[:, 1:] == END[kind], 1) > 0  # behind the end is padding
    over = np.pad(over, ((0, 0), (2, 0)))[:, :-1]
    new = wanted.shape[1] - 1
    for cached in (True, False):
        found = continued(
            net, learner, KEY, inputs[:, :1], new, 0.0, cached=cached, given=(source,)
        )
        found = np.where(over, PAD[kind], found)
        np.testing.assert_array_equal(found, wanted)
    drawn = [
        continued(net, learner, KEY, inputs[:, :2], 6, 0.7, 5, cached=x, given=(source,))
        for x in (True, False)
    ]
    np.testing.assert_array_equal(*drawn)


@pytest.mark.parametrize("kind", ["bart", "pegasus"])
def test_a_decoder_sees_the_past_and_no_padding_of_the_source(kind):
    source, _, inputs = texts(kind)
    net, params = jitted(network(kind)), params_of(kind)
    out, _ = net.apply(params, {}, source, inputs)
    other, _ = net.apply(params, {}, source, inputs.at[:, 4].set(9))
    np.testing.assert_array_equal(out["logits"][:, :4], other["logits"][:, :4])
    assert not np.allclose(out["logits"][:, 4], other["logits"][:, 4])
    cut, _ = net.apply(params, {}, source[1:2, :7], inputs[1:2])  # its own length
    np.testing.assert_allclose(cut["logits"], out["logits"][1:2], atol=1e-5)
    np.testing.assert_allclose(cut["h"], out["h"][1:2], atol=1e-5)
    changed, _ = net.apply(params, {}, source.at[:, 2].set(9), inputs)
    assert not np.allclose(changed["logits"], out["logits"])


@pytest.mark.parametrize("remat", [False, True])
def test_dropout_and_rematerialization_change_training_alone(remat):
    source, _, inputs = texts("bart")
    plain, other = (
        jitted(network("bart", **x)) for x in ({}, dict(dropout=0.5, remat=remat))
    )
    params = params_of("bart")
    keys = [{"dropout": key} for key in jax.random.split(KEY)]
    one, two = (
        other.apply(params, {}, source, inputs, train=True, keys=k)[0]["logits"]
        for k in keys
    )
    assert not np.allclose(one, two)
    outs = [x.apply(params, {}, source, inputs)[0]["logits"] for x in (plain, other)]
    np.testing.assert_allclose(*outs, atol=1e-5)


def test_the_embeddings_are_one_array():
    text = jnp.ones((1, 2), int)
    params = network("bart").init(KEY, text, text)["params"]
    assert "words" in params["encoder"] and "words" not in params["decoder"]
