"""CPC on text: its loss is a loop over sentences, its contexts see no later sentence."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from toys import jitted

from jssl.method import field
from jssl.methods.language.cpc_text import cpc_text
from jssl.models.cpc_text import SentenceEncoder, SentenceMean, SentencePredictor

headline = "loss"
KEY = jax.random.key(0)
V, S, L = 20, 4, 5


def network(dropout=0.1, steps=2):
    return jitted(SentencePredictor(SentenceEncoder(V, 6, 8, 3, 0, dropout), 7, steps))


def batch(n=8):
    """Texts of three or four sentences, of two to five words that follow each other."""
    row, place, word = np.ogrid[:n, :S, :L]
    tokens = 7 + (3 * row + 2 * place + word) % (V - 7)
    there = (word < 2 + (row + place) % 4) & (place < S - row % 2)
    return {"sentences": jnp.asarray(np.where(there, tokens, 0))}


def made(tx=None, net=None, **more):
    how = dict(prepare=field("sentences")) | more
    return cpc_text(net or network(), tx or optax.adam(1e-2), **how)


def spoken(tokens):
    return " ".join(str(int(x)) for x in tokens if x)


def tiny(tx):
    return made(tx, words=spoken), batch()


@cache
def state():
    return jax.jit(made().init)(KEY, batch())


def latents():
    out, _ = network().apply(state().params, {}, batch()["sentences"])
    return {name: np.asarray(x, np.float64) for name, x in out.items()}


def test_the_loss_is_a_loop_over_sentences_that_are_there():
    method = made(optax.sgd(0.0), network(0.0))
    _, metrics = method.step(KEY, state(), batch())
    out = latents()
    z, c, w = out["z"], out["contexts"], out["weights"]
    sizes = [4, 3] * 4
    np.testing.assert_array_equal(out["mask"].sum(1), sizes)
    for k in (1, 2):
        found = []
        for i, size in enumerate(sizes):
            for t in range(size - k):
                guess = w[k - 1] @ c[i, t]
                others = [z[j, t + k] @ guess for j in range(8) if t + k < sizes[j]]
                found.append(np.log(np.exp(others).sum()) - z[i, t + k] @ guess)
        np.testing.assert_allclose(metrics[f"loss/k{k}"], np.mean(found), rtol=1e-5)
    both = (metrics["loss/k1"] + metrics["loss/k2"]) / 2
    np.testing.assert_allclose(metrics["loss"], both, rtol=1e-6)


def test_a_sentence_is_encoded_by_its_words_whatever_is_behind_them():
    """Windows of three words, with zeros around the sentence, ReLU and mean by hand."""
    module = SentenceEncoder(V, 6, 8, 3)
    tokens = jnp.array([[7, 9, 8, 0, 0], [12, 0, 0, 0, 0], [0, 0, 0, 0, 0]])
    params = module.init(KEY, tokens)["params"]
    params["conv"]["bias"] += 0.3
    out = module.apply({"params": params}, tokens)
    x = np.asarray(params["embedding"]["embedding"])
    kernel, bias = (np.asarray(params["conv"][name]) for name in ("kernel", "bias"))
    for i, size in enumerate((3, 1)):
        words = np.pad(x[tokens[i, :size]], ((1, 1), (0, 0)))
        maps = [np.einsum("kd,kdc->c", words[t : t + 3], kernel) for t in range(size)]
        wanted = np.maximum(np.array(maps) + bias, 0).mean(0)
        np.testing.assert_allclose(out[i], wanted, atol=1e-6)
    np.testing.assert_array_equal(out[2], 0)
    np.testing.assert_allclose(
        module.apply({"params": params}, tokens[:1, :3]), out[:1], atol=1e-6
    )


def gru(w, x):
    """The states of a GRU on a sequence [s, d], by its equations."""
    w = jax.tree.map(lambda x: np.asarray(x, np.float64), w)
    gate = lambda name, x: x @ w[name]["kernel"] + w[name].get("bias", 0)
    sigmoid = lambda x: 1 / (1 + np.exp(-x))
    h, states = np.zeros(len(w["hn"]["bias"])), []
    for x_t in x:
        r = sigmoid(gate("ir", x_t) + gate("hr", h))
        z = sigmoid(gate("iz", x_t) + gate("hz", h))
        n = np.tanh(gate("in", x_t) + r * gate("hn", h))
        h = (1 - z) * n + z * h
        states.append(h)
    return np.array(states)


def test_contexts_are_the_states_of_a_gru_after_each_sentence():
    out = latents()
    for z, c in zip(out["z"], out["contexts"], strict=True):
        np.testing.assert_allclose(c, gru(state().params["gru"], z), atol=1e-6)


def test_a_context_depends_on_no_later_sentence():
    net, x = network(), batch()["sentences"]
    whole = net.apply(state().params, {}, x)[0]["contexts"]
    for t in range(S - 1):
        other = net.apply(state().params, {}, x.at[:, t + 1 :].set(8))[0]["contexts"]
        np.testing.assert_array_equal(other[:, : t + 1], whole[:, : t + 1])
        assert not np.allclose(other[:, t + 1], whole[:, t + 1])


def test_predictors_of_zero_cost_the_logarithm_of_the_candidates():
    params = state().params | {"predict": 0 * state().params["predict"]}
    whole = batch()["sentences"][::2]  # all four sentences
    for negatives, count in {"batch": 4, "sequence": S, "all": 4 * S}.items():
        method = made(optax.sgd(0.0), negatives=negatives)
        _, metrics = method.step(KEY, state()._replace(params=params), {"sentences": whole})
        np.testing.assert_allclose(metrics["loss"], np.log(count), rtol=1e-6)


def test_h_is_the_mean_of_the_sentences_and_context_the_last_of_a_text():
    out, found = latents(), made().embed(state(), batch())
    for i, size in enumerate([4, 3] * 4):
        np.testing.assert_allclose(found["h"][i], out["z"][i, :size].mean(0), atol=1e-6)
        np.testing.assert_allclose(
            found["context"][i], out["contexts"][i, size - 1], atol=1e-6
        )
    mean = SentenceMean(SentenceEncoder(V, 6, 8, 3))
    params = {"params": {"encoder": state().params["encoder"]}}
    np.testing.assert_allclose(
        mean.apply(params, batch()["sentences"]), found["h"], atol=1e-6
    )


def test_more_predictions_than_sentences_are_refused():
    with pytest.raises(ValueError, match="steps 1 to 4 ahead do not fit 4 times"):
        net = network(steps=4)
        method = made(net=net)
        method.step(KEY, method.init(KEY, batch()), batch())


def test_accumulated_gradients_are_refused():
    with pytest.raises(ValueError, match="the loss compares the samples of a batch"):
        made(optax.MultiSteps(optax.sgd(0.1), 2)).init(KEY, batch())


def test_the_picture_ranks_the_true_sentence_among_those_of_the_batch():
    method = made(words=spoken)
    (picture,) = method.render(KEY, state(), batch(), None).values()
    lines = picture.rstrip("\n").split("\n")
    assert len(lines) == 4 * (2 + 4)
    out = latents()
    at = 1  # the shortest text has three sentences
    for i in range(4):
        scores = out["z"][:, at + 1] @ out["weights"][0] @ out["contexts"][i, at]
        rank = 1 + (scores > scores[i]).sum()
        true = spoken(batch()["sentences"][i, at + 1])
        assert lines[6 * i + 1] == f"    true, rank {rank}: {true}"


def test_the_papers_vectors_have_2400_numbers():
    net = SentencePredictor(SentenceEncoder(20_000))
    x = jax.ShapeDtypeStruct((1, 5, 9), jnp.int32)
    out, _ = jax.eval_shape(lambda x: net.init_with_output(KEY, x), x)
    assert out["h"].shape == (1, 2400) and out["weights"].shape == (3, 2400, 2400)
