"""GPT: causality, transformers' logits, generation with and without a cache."""

import math
from functools import cache
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from toys import jitted

from jssl.learner import Learner
from jssl.method import field
from jssl.methods.language.gpt import continued, gpt
from jssl.models.transformer import GPT, Transformer

headline = "loss"
KEY = jax.random.key(0)
V, L = 20, 8


def network(**more):
    how = dict(causal=True, pre_norm=True, pad=None, activation="gelu_tanh", eps=1e-5)
    return GPT(Transformer(V, L + 1, 16, 2, 2, **(how | more)))


def texts(n=8):
    """Rows that count upwards in steps of their own, from 7 on, with padding behind."""
    row, place = np.arange(n)[:, None], np.arange(L)
    tokens = 7 + (row * 5 + (1 + row % 3) * place) % (V - 7)
    return jnp.asarray(np.where(place < L - row % 3, tokens, 0))


def made(tx=None, net=None, **more):
    how = dict(prepare=field("tokens"), begin=5, prompt=2, new=6, made="tokens")
    return gpt(net or jitted(network()), tx or optax.adam(1e-2), **(how | more))


def spoken(tokens):
    return " ".join(map(str, tokens))


def tiny(tx):
    return made(tx, jitted(network(dropout=0.1)), text=spoken), {"tokens": texts()}


@cache
def state():
    return jax.jit(made().init)(KEY, {"tokens": texts()})


def test_the_loss_of_equal_scores_is_that_of_chance():
    """The embeddings are small, so that all scores are near 0."""
    _, metrics = made().step(KEY, state(), {"tokens": texts()})
    assert abs(metrics["loss"] - math.log(V)) < 0.05 * math.log(V)


def test_a_token_changes_no_output_before_it():
    net, learner = jitted(network()), state()
    tokens = texts()
    for t in (0, 3, L - 1):
        other = tokens.at[:, t].set(6)
        one, two = (net.apply(learner.params, {}, x)[0]["logits"] for x in (tokens, other))
        np.testing.assert_array_equal(one[:, :t], two[:, :t])
        assert not np.allclose(one[:, t], two[:, t])


def test_padding_counts_neither_in_the_loss_nor_in_h():
    method, short = made(), texts(3)
    cut = short[2:3, : L - 2]
    out = method.embed(state(), {"tokens": short})
    alone = method.embed(state(), {"tokens": cut})
    np.testing.assert_allclose(out["nats"][2, : L - 2], alone["nats"][0], rtol=1e-5)
    assert (out["nats"][2, L - 2 :] == 0).all()
    assert out["counted"].sum(1).tolist() == [L, L - 1, L - 2]
    total = out["nats"].sum() / out["counted"].sum()
    _, metrics = method.step(KEY, state(), {"tokens": short})
    np.testing.assert_allclose(metrics["loss"], total, rtol=1e-5)
    rows = out["tokens"][2, : L - 2]
    assert rows.shape == (L - 2, 16)


def chains(random, n=64):
    """Rows in which each token is followed by one of two, with probability 1/4 and 3/4."""
    steps = np.where(random.random((n, L)) < 0.25, 1, 2)
    steps[:, 0] = random.integers(0, V - 7, n)
    return {"tokens": jnp.asarray(7 + np.cumsum(steps, 1) % (V - 7))}


def test_a_markov_chain_is_learnt_to_its_entropy_and_not_below():
    random = np.random.default_rng(0)
    method = made(optax.adam(1e-2))
    learner, step = method.init(KEY, chains(random)), jax.jit(method.step)
    for i in range(150):
        learner, _ = step(jax.random.fold_in(KEY, i), learner, chains(random))
    nats = np.asarray(method.embed(learner, chains(random, 2000))["nats"])
    entropy = -(0.25 * np.log(0.25) + 0.75 * np.log(0.75))
    error = nats[:, 1:].std() / np.sqrt(nats[:, 1:].size)
    assert entropy - 4 * error < nats[:, 1:].mean() < 1.1 * entropy
    assert nats[:, 0].mean() > 0.98 * np.log(V - 7)  # of the first one nothing is known


def test_a_cache_draws_the_same_text():
    net, prefix = jitted(network()), texts()[:, :2]
    sharp = jax.tree.map(lambda x: 8 * x, state().params)
    for temperature, top_k in ((0.0, 0), (1.0, 0), (0.7, 3)):
        drawn = [
            continued(
                net, Learner(sharp, {}, ()), KEY, prefix, 6, temperature, top_k, cached
            )
            for cached in (True, False)
        ]
        np.testing.assert_array_equal(*drawn)
        assert drawn[0].shape == (8, 8)
        np.testing.assert_array_equal(drawn[0][:, :2], prefix)
    one = continued(net, Learner(sharp, {}, ()), KEY, prefix, 1)
    assert one.shape == (8, 3)


def test_a_temperature_of_zero_takes_the_most_probable_token():
    net, prefix = jitted(network()), texts()[:, :3]
    drawn = continued(net, state(), KEY, prefix, 1, 0.0)[:, -1]
    logits = net.apply(state().params, {}, prefix)[0]["logits"][:, -1]
    np.testing.assert_array_equal(drawn, logits.argmax(-1))


def test_a_trained_network_continues_a_text():
    batch = {"tokens": jnp.asarray(7 + (np.arange(8)[:, None] + np.arange(L)) % 13)}
    method = made(optax.adam(1e-2), temperature=0.0)
    learner, step = method.init(KEY, batch), jax.jit(method.step)
    for i in range(200):
        learner, _ = step(jax.random.fold_in(KEY, i), learner, batch)
    samples = method.generate(KEY, learner, batch)["tokens"]
    np.testing.assert_array_equal(samples[:, 0], 5)
    np.testing.assert_array_equal(samples[:, 1:], batch["tokens"])


def test_samples_are_shown_as_text():
    method = made(text=lambda numbers: " ".join(str(int(x)) for x in numbers))
    (picture,) = method.render(KEY, state(), {"tokens": texts()}, None).values()
    assert picture.count(" ... ") == 4
    assert picture.startswith("7 8 ... ")


def test_a_text_longer_than_the_positions_is_refused():
    net = jitted(network())
    with pytest.raises(ValueError, match="10 tokens is too long for the 9 positions"):
        net.apply(state().params, {}, jnp.ones((1, 10), int))


@pytest.mark.parametrize("remat", [False, True])
def test_dropout_and_rematerialization_change_training_alone(remat):
    net = jitted(network(dropout=0.5, remat=remat))
    method = gpt(net, optax.sgd(0.1), prepare=field("tokens"), begin=5)
    _, plain = made().step(KEY, state(), {"tokens": texts()})
    one, two = (
        method.step(key, state()._replace(opt=method.init(KEY, {"tokens": texts()}).opt),
                    {"tokens": texts()})[1]["loss"]
        for key in jax.random.split(KEY)
    )  # fmt: skip
    assert one != two and one != plain["loss"]
    outs = [m.embed(state(), {"tokens": texts()})["h"] for m in (method, made())]
    np.testing.assert_allclose(*outs, rtol=1e-5)


GOLDEN = Path(__file__).parents[2] / "golden" / "language.npz"


@pytest.mark.parametrize("kind", ["gpt2", "openai-gpt"])
def test_scores_and_loss_are_those_of_transformers(kind):
    from jssl.weights.names import imported
    from jssl.weights.transformers import place

    golden = dict(np.load(GOLDEN))
    how = dict(causal=True, pad=None, activation="gelu_tanh", eps=1e-5, first_norm=False)
    module = GPT(Transformer(37, 16, 12, 2, 3, pre_norm=kind == "gpt2", **how), None)
    tokens = jnp.asarray(golden["tokens"])
    weights = {
        k.partition("/")[2]: x for k, x in golden.items() if k.startswith(f"{kind}/")
    }
    from flax.traverse_util import flatten_dict, unflatten_dict

    shapes = jax.eval_shape(module.init, KEY, tokens)
    shapes = {k: x.shape for k, x in flatten_dict(dict(shapes)).items()}
    params = unflatten_dict(imported(shapes, place(kind), weights, ""))
    out = module.apply(params, tokens)
    np.testing.assert_allclose(out["logits"], golden[f"{kind}-out/logits"], atol=1e-4)
    np.testing.assert_allclose(out["tokens"], golden[f"{kind}-out/hidden"], atol=1e-4)
    logits, labels = out["logits"][:, :-1], tokens[:, 1:]
    loss = optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()
    np.testing.assert_allclose(loss, golden[f"{kind}-out/loss"], atol=1e-4)


def test_samples_begin_with_a_given_prefix():
    batch = {"tokens": texts(), "prompt": jnp.tile(jnp.array([9, 8, 7]), (8, 1))}
    made_of = made(new=4).generate(KEY, state(), batch)["tokens"]
    assert made_of.shape == (8, 1 + 3 + 4)
    assert (made_of[:, :4] == jnp.array([5, 9, 8, 7])).all()
