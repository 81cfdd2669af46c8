"""DeepMoji: its LSTMs are those of a loop, its attention that by hand, its thaw in turn."""

import math
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from toys import jitted

from jssl import optim
from jssl.method import field
from jssl.methods.language.deepmoji import deepmoji
from jssl.models.heads import Classifier
from jssl.models.recurrent import AttentiveLSTM, BiLSTM, attention

headline = "loss"
KEY = jax.random.key(0)
V, L, CLASSES = 20, 8, 3


def network(dropout=0.1):
    return jitted(Classifier(AttentiveLSTM(V, 6, 4, 0, dropout), CLASSES))


def batch(n=8):
    """Rows that count upwards in steps of their own, with padding behind; their emojis."""
    row, place = np.arange(n)[:, None], np.arange(L)
    tokens = 7 + (row * 5 + (1 + row % 3) * place) % (V - 7)
    tokens = np.where(place < L - row % 4, tokens, 0)
    return {"tokens": jnp.asarray(tokens), "emoji": jnp.asarray(row[:, 0] % CLASSES)}


def made(tx=None, **more):
    how = dict(prepare=field("tokens"), emoji=field("emoji"), names="xyz")
    return deepmoji(network(), tx or optax.adam(1e-2), **(how | more))


def spoken(tokens):
    return " ".join(map(str, tokens))


def tiny(tx):
    return made(tx, words=spoken), batch()


@cache
def state():
    return jax.jit(made().init)(KEY, batch())


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def lstm(weights, x):
    """The states h_1 ... h_l of an LSTM of one sequence [l, d], by its equations."""
    w = jax.tree.map(lambda x: np.asarray(x, np.float64), weights)
    h = c = np.zeros(len(w["hi"]["bias"]))
    states = []
    for x_t in np.asarray(x, np.float64):
        gates = {
            gate: x_t @ w[f"i{gate}"]["kernel"]
            + h @ w[f"h{gate}"]["kernel"]
            + w[f"h{gate}"]["bias"]
            for gate in "ifgo"
        }
        c = sigmoid(gates["f"]) * c + sigmoid(gates["i"]) * np.tanh(gates["g"])
        h = sigmoid(gates["o"]) * np.tanh(c)
        states.append(h)
    return np.array(states)


def both_ways(weights, x):
    """The states of both directions, [l, 2 d]."""
    back = lstm(weights["backward"], x[::-1])[::-1]
    return np.concatenate([lstm(weights["forward"], x), back], 1)


def shaken(params):
    """Weights with biases that are not 0."""
    noise = lambda x: 0.3 * jax.random.normal(jax.random.key(x.size), x.shape)
    return jax.tree.map(lambda x: x + noise(x), params)


def test_both_directions_are_the_equations_of_an_lstm_whatever_is_behind_the_text():
    module = BiLSTM(5)
    x = jax.random.normal(KEY, (3, 7, 4))
    sizes = jnp.array([7, 4, 1])
    params = shaken(module.init(jax.random.key(1), x, sizes)["params"])
    out = module.apply({"params": params}, x, sizes)
    other = module.apply({"params": params}, x.at[1, 4:].set(9.0), sizes)
    for i, size in enumerate(sizes):
        wanted = both_ways(params, x[i, :size])
        np.testing.assert_allclose(out[i, :size], wanted, atol=1e-6)
    np.testing.assert_array_equal(out[1, :4], other[1, :4])


def test_the_representation_is_the_attended_mean_of_all_layers_by_hand():
    params = shaken(state().params["encoder"])
    module = AttentiveLSTM(V, 6, 4)
    tokens = batch()["tokens"]
    h, seen = module.apply({"params": params}, tokens, mutable=["attention"])
    (weights,) = seen["attention"]["tap"]
    for row, size in enumerate(np.asarray((tokens != 0).sum(1))):
        e = np.tanh(np.asarray(params["embedding"]["embedding"])[tokens[row, :size]])
        a = both_ways(params["lstm0"], e)
        b = both_ways(params["lstm1"], a)
        x = np.concatenate([b, a, e], 1)
        scores = x @ np.asarray(params["attention"]["kernel"])[:, 0]
        wanted = np.exp(scores) / np.exp(scores).sum()
        np.testing.assert_allclose(weights[row, :size], wanted, atol=1e-6)
        np.testing.assert_array_equal(weights[row, size:], 0)
        np.testing.assert_allclose(h[row], wanted @ x, atol=1e-5)


def test_attention_is_a_distribution_over_the_tokens_even_with_extreme_scores():
    scores = jnp.array([[1e4, -1e4, 3.0, 7.0], [-1e30, -1e30, 0.0, 0.0]])
    there = jnp.array([[1, 1, 1, 0], [1, 1, 0, 0]], bool)
    weights = attention(scores, there)
    np.testing.assert_allclose(weights, [[1, 0, 0, 0], [0.5, 0.5, 0, 0]], atol=1e-6)


def test_a_text_without_tokens_is_a_finite_row():
    params, tokens = state().params["encoder"], jnp.zeros((2, L), int)
    h = AttentiveLSTM(V, 6, 4).apply({"params": params}, tokens)
    assert (h == 0).all()
    slope = jax.grad(lambda p: AttentiveLSTM(V, 6, 4).apply({"params": p}, tokens).sum())(
        params
    )
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(slope))


def test_the_features_of_the_paper_have_2304_numbers():
    module = AttentiveLSTM(50_000)
    tokens = jax.ShapeDtypeStruct((1, 30), jnp.int32)
    out, _ = jax.eval_shape(lambda x: module.init_with_output(KEY, x), tokens)
    assert out.shape == (1, 2304)


def test_the_loss_is_the_cross_entropy_of_the_emojis():
    method = deepmoji(
        network(0.0), optax.sgd(0.0), prepare=field("tokens"), emoji=field("emoji")
    )
    _, metrics = method.step(KEY, state(), batch())
    logits = np.asarray(method.embed(state(), batch())["emojis"], np.float64)
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    y = batch()["emoji"]
    wanted = -np.log(p[np.arange(8), y]).mean()
    np.testing.assert_allclose(metrics["loss"], wanted, rtol=1e-5)
    assert metrics["accuracy"] == (logits.argmax(1) == y).mean()
    assert abs(wanted - math.log(CLASSES)) < 0.5


def test_every_emoji_is_equally_frequent_in_an_epoch():
    y = np.array([0] * 90 + [1] * 8 + [2] * 2)
    collect = lambda fn, *args: np.asarray(fn({"emoji": y}))
    same, order = made().refresh(KEY, state(), collect)
    assert same is state()
    assert sorted(np.bincount(y[order])) == [33, 33, 34]
    assert made(balanced=False).refresh(KEY, state(), collect) == (state(), None)


def test_the_picture_has_the_true_emoji_and_the_words_of_most_weight():
    method = made(words=spoken)
    (picture,) = method.render(KEY, state(), batch(), None).values()
    head, *rows = picture.rstrip("\n").split("\n")
    assert head.split() == ["true", "predicted", "attended", "text"] and len(rows) == 8
    assert [row.split()[0] for row in rows] == ["xyz"[i] for i in batch()["emoji"]]
    out, _ = network().apply(state().params, {}, batch()["tokens"])
    best = out["attention"][0][3].argmax()
    assert f"  {batch()['tokens'][3, best]}, " in rows[3]


LAYERS = ("^head", "embedding", "lstm0", "lstm1", "attention")


def test_chain_thaw_moves_one_layer_after_another_and_then_all():
    """With Adam, whose moments begin with each layer."""
    params = state().params
    tx = optim.chain_thaw(optax.adam(0.01), LAYERS, 2)
    grads = jax.tree.map(jnp.ones_like, params)
    opt = tx.init(params)
    parts = lambda tree: {
        "^head": tree["head"],
        **{name: tree["encoder"][name] for name in LAYERS[1:]},
    }
    for i in range(12):
        moves, opt = jax.jit(tx.update)(grads, opt, params)
        for name, tree in parts(moves).items():
            moved = i // 2 >= 5 or LAYERS[i // 2] == name
            for leaf in jax.tree.leaves(tree):
                np.testing.assert_allclose(leaf, -0.01 if moved else 0.0, rtol=1e-4)


def test_a_layer_that_is_not_there_is_refused():
    with pytest.raises(ValueError, match="chain_thaw: no weight matches 'lstm7'"):
        optim.chain_thaw(optax.sgd(0.1), ["lstm7"], 2).init(state().params)
