"""Heads of text tasks: the output they read, and the places of their results."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toys import jitted

from jssl.models.text_tasks import SpanFinder, Tagged, TextClassifier, TextTagger
from jssl.models.transformer import Transformer
from jssl.ops.crf import Chain, viterbi
from jssl.ops.framing import framed

PAD, CLS, SEP, EOS, V = 0, 2, 3, 6, 20
ROWS = jnp.array([[9, 8, EOS, PAD, PAD, PAD], [9, SEP, 8, 7, 11, EOS]])
BERT = Transformer(V, 7, 16, 1, 2, kinds=2)
GPT = Transformer(V, 7, 16, 1, 2, causal=True, pre_norm=True, pad=None)


def texts(rows=ROWS):
    return framed(rows, begin=CLS, end=SEP, sep=SEP, eos=EOS)


@cache
def made(module, tagged=False):
    """The net, random weights, and its outputs."""
    net = jitted(module)
    x = Tagged(texts(), ROWS > SEP) if tagged else texts()
    params, _ = net.init(jax.random.key(0), x)
    params = jax.tree.map(
        lambda w: w + 0.3 * jax.random.normal(jax.random.key(w.size), w.shape), params
    )
    return net, params, net.apply(params, {}, x)[0]


@pytest.mark.parametrize("encoder", [BERT, GPT], ids=["bert", "gpt"])
@pytest.mark.parametrize("pool", ["first", "last", "mean"])
def test_a_text_is_classified_by_an_output_of_its_own(encoder, pool):
    _, params, out = made(TextClassifier(encoder, 3, pool))
    x = encoder.apply({"params": params["encoder"]}, texts().ids, texts().segments)
    rows = {"first": (x[0, 0], x[1, 0]), "last": (x[0, 3], x[1, 6]),
            "mean": (x[0, :4].mean(0), x[1].mean(0))}[pool]  # fmt: skip
    np.testing.assert_allclose(out["h"], rows, rtol=1e-4, atol=1e-5)
    own = params["head"]["out"]
    np.testing.assert_allclose(
        out["logits"], np.stack(rows) @ own["kernel"] + own["bias"], rtol=1e-3, atol=1e-4
    )


def test_another_pooling_is_refused():
    with pytest.raises(
        ValueError, match="pool must be one of first, last, mean, got 'max'"
    ):
        TextClassifier(BERT, 3, "max").init(jax.random.key(0), texts())


@pytest.mark.parametrize("crf", [False, True])
def test_tags_are_those_of_the_tokens_of_the_row(crf):
    net, params, out = made(TextTagger(BERT, 3, crf), tagged=True)
    x = BERT.apply({"params": params["encoder"]}, texts().ids, texts().segments)[:, 1:]
    own = params["head"]["out"]
    scores = x @ own["kernel"] + own["bias"]
    np.testing.assert_allclose(out["logits"], scores, rtol=1e-4, atol=1e-5)
    if crf:
        chain = Chain(params["first"], params["steps"], params["last"])
        np.testing.assert_array_equal(out["tags"], viterbi(scores, chain, ROWS > SEP))
        trained, _ = net.apply(params, {}, Tagged(texts(), ROWS > SEP), train=True)
        np.testing.assert_array_equal(trained["chain"].steps, params["steps"])
    else:
        best = np.where(ROWS > SEP, scores.argmax(-1), -1)
        np.testing.assert_array_equal(out["tags"], best)


def test_spans_are_within_the_second_text():
    _, params, out = made(SpanFinder(BERT))
    best = np.asarray(out["logits"])
    (first, last), (begin, end) = np.asarray(out["span"])
    assert 0 <= first <= last <= 1  # a single text of two tokens
    assert 2 <= begin <= end <= 4
    every = [(best[1, i, 0] + best[1, j, 1], i, j) for i in (2, 3, 4) for j in range(i, 5)]
    assert (begin, end) == max(every)[1:]
