"""PEGASUS: the loss of the gap sentences, what is read and written, pictures."""

import math
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from toys import jitted

from jssl.losses.sequence import token_cross_entropy
from jssl.method import field
from jssl.methods.language.pegasus import gap_generation, pegasus
from jssl.models.encoder_decoder import PEGASUS, encoder_decoder
from jssl.ops.gap_sentences import gap_sentences, select_gap_sentences

headline = "loss"
KEY = jax.random.key(0)
V, L, T = 30, 12, 6
PAD, MASK, EOS = 0, 4, 6


def network(**more):
    return encoder_decoder(V, L + 1, 16, 2, 2, **(PEGASUS | more))


def texts(n=8):
    """Rows that count upwards in steps of their own, from 7 on, with padding behind."""
    row, place = np.arange(n)[:, None], np.arange(L)
    tokens = 7 + (row * 5 + (1 + row % 3) * place) % (V - 7)
    return jnp.asarray(np.where(place < L - row % 3, tokens, 0))


def batch(n=8):
    """Texts in three sentences, of four words and less."""
    return {"tokens": texts(n), "sentence": jnp.tile(jnp.arange(L) // 4, (n, 1))}


def gaps(**more):
    how = dict(mask=MASK, strategy="random") | more
    return gap_generation(field("tokens"), field("sentence"), **how)


def made(tx=None, net=None, own=None, **more):
    how = dict(prepare=field("tokens"), gaps=own or gaps(), length=T, eos=EOS)
    how |= dict(made="tokens") | more
    return pegasus(net or jitted(network()), tx or optax.adam(1e-2), **how)


def spoken(tokens):
    return " ".join(str(int(x)) for x in tokens)


def tiny(tx):
    return made(tx, jitted(network(dropout=0.1)), text=spoken), batch()


@cache
def state():
    return jax.jit(made().init)(KEY, batch())


def test_the_loss_is_that_of_the_gap_sentences_given_the_rest():
    own, seen = gaps(), []

    def watched(keys, rows):
        seen.append(own(keys, rows))
        return seen[-1]

    _, metrics = made(own=watched).step(KEY, state(), batch())
    (drawn,) = seen
    total = count = hits = 0.0
    for row, wanted in zip(*map(np.asarray, drawn), strict=True):
        source = [*row[row > 0].tolist(), EOS]
        target = [*wanted[wanted > 0].tolist(), EOS]
        inputs = [PAD, *target[:-1]]
        assert source.count(MASK) == 1
        out = jitted(network()).apply(
            state().params, {}, *(jnp.array([x]) for x in (source, inputs))
        )[0]
        logits = out["logits"]
        total += len(target) * token_cross_entropy(logits, jnp.array([target]))
        hits += (logits[0].argmax(-1) == jnp.array(target)).sum()
        count += len(target)
    np.testing.assert_allclose(metrics["loss"], total / count, rtol=1e-5)
    np.testing.assert_allclose(metrics["accuracy"], hits / count, rtol=1e-5)


def test_targets_longer_than_what_is_written_are_cut_before_their_end():
    whole = made(length=T).embed(state(), batch())
    short = made(length=3).embed(state(), batch())
    np.testing.assert_array_equal(short["target"], whole["target"][:, :3])
    assert (whole["counted"].sum(1) <= T).all()
    assert (short["counted"].sum(1) == 3).all()


@pytest.mark.parametrize("strategy", ["principal-ind", "principal-seq", "random", "lead"])
def test_gaps_are_those_of_each_row_alone(strategy):
    keys = jax.random.split(KEY, 8)
    how = dict(strategy=strategy, ratio=0.7, unique=True, noise=0.2, keep=0.3)
    source, target = jax.jit(gaps(**how))(keys, batch())
    for i, key in enumerate(keys):
        _, one, two = jax.random.split(key, 3)
        ids, sentence = texts()[i], batch()["sentence"][i]
        n = (ids != PAD).sum()
        more = {k: x for k, x in how.items() if k != "keep"}
        chosen = select_gap_sentences(one, ids, n, sentence, **more)
        assert chosen.sum() == 2
        wanted = gap_sentences(two, ids, n, sentence, chosen, MASK, keep=0.3)
        np.testing.assert_array_equal(source[i], wanted[0])
        np.testing.assert_array_equal(target[i], wanted[1])


def test_a_ratio_is_drawn_between_its_ends():
    rows = {"tokens": jnp.tile(jnp.arange(7, 27), (400, 1))}
    rows["sentence"] = rows["tokens"]  # sentences of one word
    source, _ = gaps(ratio=0.45, least=0.15)(jax.random.split(KEY, 400), rows)
    counts = np.asarray((source == MASK).sum(1))
    assert counts.min() == 3 and counts.max() == 8  # 15 to 45 % of 20
    np.testing.assert_allclose(counts.mean(), 5.5, atol=4 * np.sqrt(35 / 12 / 400))


def test_the_representation_is_the_mean_of_the_encoder_and_of_no_padding():
    out = made().embed(state(), batch(3))
    assert out["tokens"].shape == (3, L, 16)
    row = jnp.array([[*texts(3)[2, : L - 2].tolist(), EOS]])
    alone, _ = jitted(network()).apply(state().params, {}, row, method="encode")
    np.testing.assert_allclose(out["h"][2], alone["h"][0], atol=1e-5)
    nats = made().embed(state(), batch(3))["nats"]
    turned = jax.tree.map(lambda x: x[::-1], batch(3))
    np.testing.assert_allclose(made().embed(state(), turned)["nats"], nats[::-1], atol=1e-5)


def test_a_trained_network_writes_the_gap_sentences():
    method = made(optax.adam(1e-2), own=gaps(strategy="lead"))
    first = method.step(KEY, state(), batch())[1]["loss"]
    # Scores are products of N(0, 1 / d) embeddings and outputs of length sqrt(d): N(0, 1).
    assert abs(first - (math.log(V) + 0.5)) < 0.2 * math.log(V)
    learner, step = method.init(KEY, batch()), jax.jit(method.step)
    for i in range(150):
        learner, metrics = step(jax.random.fold_in(KEY, i), learner, batch())
    assert metrics["loss"] < 0.1
    found = method.generate(KEY, learner, batch())["tokens"]
    assert found.shape == (8, T)
    np.testing.assert_array_equal(found[:, :4], texts()[:, :4])
    assert not found[:, 4:].any()
    rest = jnp.concatenate([jnp.full((8, 1), MASK), texts()[:, 4:10]], 1)
    prompted = method.generate(KEY, learner, batch() | {"prompt": rest})["tokens"]
    np.testing.assert_array_equal(prompted[2], found[2])  # which has ten words


def test_pictures_show_what_is_read_written_and_wanted():
    (picture,) = made(text=spoken).render(KEY, state(), batch(), None).values()
    cells = picture.strip().split("\n\n")
    assert len(cells) == 4
    targets = np.asarray(made().embed(state(), batch())["target"])
    for cell, row in zip(cells, targets, strict=False):
        source, found, wanted = cell.split("\n")
        assert f" {MASK} " in f" {source} "
        assert found.startswith("-> ")
        assert wanted.strip() == spoken(row)
