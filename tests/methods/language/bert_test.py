"""BERT: transformers' scores and loss, the masks, whole words, and pairs of segments."""

import math
from functools import cache
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax.traverse_util import flatten_dict, unflatten_dict
from toys import jitted

from jssl.losses.sequence import masked_lm, next_sentence
from jssl.method import field
from jssl.methods.language.bert import bert
from jssl.models.transformer import BERT, Transformer
from jssl.ops.framing import segments_of
from jssl.ops.sentence_pairs import sentence_pairs
from jssl.weights.names import imported
from jssl.weights.transformers import place

headline = "loss"
KEY = jax.random.key(0)
V, L = 30, 12
PAD, CLS, SEP, MASK, EOS = 0, 2, 3, 4, 6


def network(**more):
    return BERT(Transformer(V, L + 2, 16, 2, 2, kinds=2, pad=PAD, **more))


def texts(n=8):
    """Sentences of four words of one document each, with padding behind."""
    row, place = np.arange(n)[:, None], np.arange(L)
    tokens = 7 + (row * 5 + (1 + row % 3) * place) % (V - 7)
    return jnp.asarray(np.where(place < L - row % 3, tokens, 0))


def pairs(key, batch, **more):
    """Pairs of segments of the rows, each a document of sentences of four words."""
    tokens = batch["tokens"]
    n, length = tokens.shape
    size = jnp.arange(n * length)
    special = dict(cls=CLS, sep=SEP, eos=EOS, pad=PAD)
    return sentence_pairs(
        key,
        tokens.ravel(),
        size // 4,
        size // length,
        jnp.arange(n) * length,
        length + 2,
        **(special | more),
    )


def made(tx=None, **more):
    special = dict(mask=MASK, cls=CLS, sep=SEP, pad=PAD, words=7)
    how = dict(prepare=field("tokens"), vocabulary=V, pairs=pairs) | special
    return bert(jitted(network()), tx or optax.adam(1e-2), **(how | more))


def spoken(tokens):
    return " ".join(map(str, tokens))


def tiny(tx):
    return made(tx, text=spoken), {"tokens": texts()}


@cache
def state():
    return jax.jit(made().init)(KEY, {"tokens": texts()})


def test_the_first_losses_are_those_of_chance():
    _, metrics = made().step(KEY, state(), {"tokens": texts()})
    assert abs(metrics["masked"] - math.log(V)) < 0.05 * math.log(V)
    assert abs(metrics["next"] - math.log(2)) < 0.1
    np.testing.assert_allclose(
        metrics["loss"], metrics["masked"] + metrics["next"], rtol=1e-6
    )
    _, metrics = made(pairs=None).step(KEY, state(), {"tokens": texts()})
    assert "next" not in metrics and metrics["loss"] == metrics["masked"]


def test_what_is_behind_a_text_changes_nothing():
    net, tokens = jitted(network()), texts(3)
    whole = net.apply(state().params, {}, tokens[2:])[0]
    cut = net.apply(state().params, {}, tokens[2:, : L - 2])[0]
    for name in ("h", "pooled", "next"):
        np.testing.assert_allclose(whole[name], cut[name], atol=1e-6)
    np.testing.assert_allclose(whole["tokens"][:, : L - 2], cut["tokens"], atol=1e-6)


def test_scores_of_some_places_are_those_of_all():
    net, tokens = jitted(network()), texts()
    places = jnp.tile(jnp.array([4, 1]), (8, 1))
    some, whole = (net.apply(state().params, {}, tokens, None, x)[0]["logits"] for x in (places, None))  # fmt: skip  # noqa: E501
    np.testing.assert_allclose(some, whole[:, jnp.array([4, 1])], rtol=1e-6)


@pytest.mark.parametrize("whole", [False, True])
def test_a_step_predicts_a_fraction_of_the_words_and_no_special_token(whole, monkeypatch):
    from jssl.methods.language import bert as module

    seen = []
    real = module.mlm_mask
    monkeypatch.setattr(module, "mlm_mask", lambda *a, **k: seen.append((a, real(*a, **k))) or seen[-1][1])  # fmt: skip  # noqa: E501
    continues = np.arange(V) % 2 == 0 if whole else None
    method = made(rate=0.3, continues=continues)
    method.step(KEY, state(), {"tokens": texts()})
    (_, ids, special, *_), found = seen[0]
    assert bool((special == (ids < 7)).all())
    assert not np.asarray(found.weights)[np.asarray(special)].any()
    size = np.asarray((ids != PAD).sum(1))
    counts = np.asarray(found.weights.sum(1))
    if not whole:
        np.testing.assert_array_equal(counts, np.round(0.3 * size))
        return
    chosen = np.asarray(found.weights) > 0
    follows = np.asarray(continues)[np.asarray(ids)] & ~np.asarray(special)
    inside = follows[:, 1:] & ~np.asarray(special)[:, :-1]
    assert (chosen[:, 1:] == chosen[:, :-1])[inside].all()
    assert (counts >= 1).all()


def test_the_whole_loss_is_that_of_both_losses(monkeypatch):
    """Recomputed from the drawn texts and the chosen words."""
    from jssl.methods.language import bert as module

    seen = []
    real = module.mlm_mask
    monkeypatch.setattr(module, "mlm_mask", lambda *a, **k: seen.append(real(*a, **k)) or seen[-1])  # fmt: skip  # noqa: E501
    _, metrics = made().step(KEY, state(), {"tokens": texts()})
    texts_, masked = pairs(jax.random.split(KEY, 3)[0], {"tokens": texts()}), seen[0]
    out, _ = jitted(network()).apply(state().params, {}, masked.ids, texts_.segments, None)
    wanted = masked_lm(out["logits"], masked.labels, masked.weights)
    np.testing.assert_allclose(metrics["masked"], wanted, rtol=1e-5)
    wanted = next_sentence(out["next"], texts_.label)
    np.testing.assert_allclose(metrics["next"], wanted, rtol=1e-5)


def test_a_row_has_cls_and_sep_around_it_and_tokens_in_its_own_places():
    method = made()
    out = method.embed(state(), {"tokens": texts(3)})
    assert out["tokens"].shape == (3, L, 16)
    net = jitted(network())
    row = jnp.array([[CLS, *texts(3)[2, : L - 2].tolist(), SEP, PAD, PAD]])
    alone = net.apply(state().params, {}, row, method="encode")[0]
    np.testing.assert_allclose(out["h"][2], alone["h"][0], atol=1e-6)
    np.testing.assert_allclose(out["tokens"][2], alone["tokens"][0, 1:-1], atol=1e-6)
    assert out["counted"].sum() == 3 * 2  # places 3 and 10 of 14
    assert (out["nats"][out["counted"] == 0] == 0).all()


def test_segments_of_pairs_are_told_by_their_separators():
    pair = jnp.array([[CLS, 9, SEP, 8, 8, SEP, PAD]])
    assert segments_of(pair, SEP, PAD).tolist() == [[0, 0, 0, 1, 1, 1, 0]]


def test_masked_words_are_shown_with_their_predictions():
    method = made(text=lambda numbers: " ".join(str(int(x)) for x in numbers))
    (picture,) = method.render(KEY, state(), {"tokens": texts()}, None).values()
    assert picture.count("->") == 4 * 2  # 15 % of 12 to 14 tokens
    assert picture.startswith(str(CLS))


def test_scores_and_loss_are_those_of_transformers():
    golden = dict(np.load(Path(__file__).parents[2] / "golden" / "language.npz"))
    module = BERT(Transformer(37, 16, 12, 2, 3, kinds=2, pad=0))
    tokens, segments, labels, order = (
        jnp.asarray(golden[f"bert-in/{x}"])
        for x in ("tokens", "segments", "labels", "order")
    )
    weights = {k[5:]: x for k, x in golden.items() if k.startswith("bert/")}
    shapes = jax.eval_shape(module.init, KEY, tokens)
    shapes = {k: x.shape for k, x in flatten_dict(dict(shapes)).items()}
    dropped = r"cls\.predictions\.decoder\..+"
    params = unflatten_dict(imported(shapes, place("bert"), weights, dropped))
    out = module.apply(params, tokens, segments)
    there = np.asarray(tokens) > 0
    for name, wanted in (("logits", "logits"), ("tokens", "hidden")):
        np.testing.assert_allclose(
            out[name][there], golden[f"bert-out/{wanted}"][there], atol=1e-4
        )
    np.testing.assert_allclose(out["next"], golden["bert-out/next"], atol=1e-4)
    loss = masked_lm(out["logits"], jnp.maximum(labels, 0), labels >= 0)
    loss += next_sentence(out["next"], order)
    np.testing.assert_allclose(loss, golden["bert-out/loss"], atol=1e-4)
