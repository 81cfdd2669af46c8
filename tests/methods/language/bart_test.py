"""BART: the loss of the whole text, corrupted inputs, reconstructions, pictures."""

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
from jssl.methods.language.bart import bart, corruption
from jssl.models.encoder_decoder import BART, encoder_decoder

headline = "loss"
KEY = jax.random.key(0)
V, L = 30, 12
PAD, MASK, BOS, EOS = 0, 4, 5, 6


def network(**more):
    return encoder_decoder(V, L + 2, 16, 2, 2, **(BART | more))


def texts(n=8):
    """Rows that count upwards in steps of their own, from 7 on, with padding behind."""
    row, place = np.arange(n)[:, None], np.arange(L)
    tokens = 7 + (row * 5 + (1 + row % 3) * place) % (V - 7)
    return jnp.asarray(np.where(place < L - row % 3, tokens, 0))


def batch(n=8):
    """Texts in sentences of four words."""
    return {"tokens": texts(n), "sentence": jnp.tile(jnp.arange(L) // 4, (n, 1))}


def noise(**more):
    how = dict(mask=MASK, permute=0.0, infill=0.0) | more
    return corruption(field("tokens"), field("sentence"), **how)


def made(tx=None, net=None, corrupt=None, **more):
    how = dict(prepare=field("tokens"), bos=BOS, eos=EOS, made="tokens")
    how["corrupt"] = corrupt or noise(permute=1.0, infill=0.3)
    return bart(net or jitted(network()), tx or optax.adam(1e-2), **(how | more))


def spoken(tokens):
    return " ".join(str(int(x)) for x in tokens)


def tiny(tx):
    return made(tx, jitted(network(dropout=0.1)), text=spoken), batch()


@cache
def state():
    return jax.jit(made().init)(KEY, batch())


def test_the_first_loss_is_that_of_chance():
    _, metrics = made().step(KEY, state(), batch())
    assert abs(metrics["loss"] - math.log(V)) < 0.05 * math.log(V)


def test_the_loss_is_that_of_the_whole_text_given_its_corruption():
    corrupt = noise(masked=0.5)
    seen = []

    def watched(keys, rows):
        seen.append(corrupt(keys, rows))
        return seen[-1]

    _, metrics = made(corrupt=watched).step(KEY, state(), batch())
    (spoiled,) = seen
    total = count = hits = 0.0
    for row, wanted in zip(np.asarray(spoiled), np.asarray(texts()), strict=True):
        source = [BOS, *row[row > 0].tolist(), EOS]
        target = [BOS, *wanted[wanted > 0].tolist(), EOS]
        inputs = [EOS, *target[:-1]]
        out = jitted(network()).apply(
            state().params, {}, *(jnp.array([x]) for x in (source, inputs))
        )[0]
        logits = out["logits"]
        total += len(target) * token_cross_entropy(logits, jnp.array([target]))
        hits += (logits[0].argmax(-1) == jnp.array(target)).sum()
        count += len(target)
    np.testing.assert_allclose(metrics["loss"], total / count, rtol=1e-5)
    np.testing.assert_allclose(metrics["accuracy"], hits / count, rtol=1e-5)


def test_rows_have_noise_of_their_own_and_evaluations_that_of_the_text():
    corrupt = noise(masked=0.5)
    same = {"tokens": jnp.tile(texts()[:1], (8, 1)), "sentence": batch()["sentence"]}
    rows = np.asarray(corrupt(jax.random.split(KEY, 8), same))
    assert len({row.tobytes() for row in rows}) > 4
    own = made(corrupt=corrupt).embed(state(), batch())["nats"]
    order = jnp.array([3, 1, 0, 2, 4, 5, 6, 7])
    turned = jax.tree.map(lambda x: x[order], batch())
    nats = made(corrupt=corrupt).embed(state(), turned)["nats"]
    np.testing.assert_allclose(nats, own[order], atol=1e-5)


@pytest.mark.parametrize(
    "how",
    [
        dict(permute=1.0),
        dict(rotate=1.0),
        dict(infill=0.3),
        dict(deleted=0.25),
        dict(masked=0.25),
    ],
)
def test_a_corruption_keeps_what_its_definition_keeps(how):
    (kind,) = how
    rows = np.asarray(jax.jit(noise(**how))(jax.random.split(KEY, 8), batch()))
    assert (rows != np.asarray(texts())).any()
    for row, whole in zip(rows, np.asarray(texts()), strict=True):
        row, whole = row[row > 0], whole[whole > 0]
        kept = row[row != MASK]
        gone = (
            math.ceil(how.get(kind) * len(whole))
            if kind not in ("permute", "rotate")
            else 0
        )
        if kind in ("permute", "rotate"):
            assert sorted(row) == sorted(whole)
        else:
            assert len(kept) == len(whole) - gone
            at = [whole.tolist().index(x) for x in kept]
            assert at == sorted(at)
        masks = (row == MASK).sum()
        if kind == "masked":
            assert masks == gone
        if kind == "deleted":
            assert masks == 0
        if kind == "infill":
            assert masks >= 1


def test_corruptions_are_put_together_in_the_order_of_the_paper():
    """Permuted, then infilled: a mask stands for tokens of the permuted text."""
    keys = jax.random.split(KEY, 8)
    permuted = np.asarray(noise(permute=1.0)(keys, batch()))
    both = np.asarray(noise(permute=1.0, infill=0.3)(keys, batch()))
    for row, order in zip(both, permuted, strict=True):
        kept = [x for x in row.tolist() if x not in (PAD, MASK)]
        at = [order.tolist().index(x) for x in kept]
        assert at == sorted(at)


def test_the_representation_is_the_mean_of_the_encoder_and_the_state_at_the_end():
    method = made()
    out = method.embed(state(), batch(3))
    assert out["tokens"].shape == (3, L, 16)
    row = [BOS, *texts(3)[2, : L - 2].tolist(), EOS]
    net = jitted(network())
    source, inputs = jnp.array([row]), jnp.array([[EOS, *row[:-1]]])
    alone, _ = net.apply(state().params, {}, source, inputs)
    np.testing.assert_allclose(out["h"][2], alone["h"][0], atol=1e-5)
    np.testing.assert_allclose(out["h/decoder"][2], alone["written"][0, -1], atol=1e-5)
    np.testing.assert_array_equal(out["target"], texts(3))
    assert out["counted"].sum(1).tolist() == [L + 1, L, L - 1]  # without the beginning


def test_a_trained_network_restores_texts():
    method = made(optax.adam(1e-2), corrupt=noise(masked=0.25))
    learner, step = method.init(KEY, batch()), jax.jit(method.step)
    for i in range(150):
        learner, metrics = step(jax.random.fold_in(KEY, i), learner, batch())
    assert metrics["loss"] < 0.1
    found = method.generate(KEY, learner, batch())["tokens"]
    assert (found == texts()).mean() > 0.9
    given = batch() | {"prompt": texts().at[:, 1].set(MASK)[:, : L - 2]}
    prompted = method.generate(KEY, learner, given)["tokens"]
    assert prompted.shape == (8, L)
    assert (prompted[2] == texts()[2]).all()  # ten tokens, of which one is masked


def test_pictures_show_what_is_read_written_and_wanted():
    (picture,) = made(text=spoken).render(KEY, state(), batch(), None).values()
    cells = picture.strip().split("\n\n")
    assert len(cells) == 4
    for cell, row in zip(cells, texts(), strict=False):
        source, found, wanted = cell.split("\n")
        assert source.startswith(f"{BOS} ") and f" {MASK} " in f" {source} "
        assert found.startswith("-> ")
        assert wanted.strip() == spoken(row)
