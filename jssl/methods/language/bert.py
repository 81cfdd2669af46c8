r"""BERT: prediction of masked words from both sides, and of the next sentence.

Devlin, Chang, Lee and Toutanova, "BERT: Pre-training of Deep Bidirectional Transformers for
Language Understanding", NAACL 2019. https://arxiv.org/abs/1810.04805

    L = sum_t m_t (-log p(w_t | masked text)) / sum_t m_t - mean log p(label)

The label is whether segment B is the text after A, or their order (ALBERT: Lan et al. 2020,
https://arxiv.org/abs/1909.11942).
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from jssl.learner import Learner, fresh, minimize, noise_keys
from jssl.losses.sequence import masked_lm, next_sentence
from jssl.method import Method, Prepare, first_row
from jssl.nets import Net
from jssl.ops.framing import segments_of
from jssl.ops.sentence_pairs import Pairs
from jssl.ops.text_ends import enclosed
from jssl.ops.token_masking import mlm_mask

SHOWN = 4  # texts in the picture
PERIOD = 7  # of the masks of evaluations


def bert(
    net: Net,
    tx: optax.GradientTransformation,
    *,
    prepare: Prepare,
    vocabulary: int,
    mask: int,
    cls: int,
    sep: int,
    pad: int = 0,
    pairs: Callable[[jax.Array, Any], Pairs] | None = None,
    rate: float = 0.15,
    predictions: int = 0,
    rule: str = "static",
    continues: Any = None,
    words: int = 0,
    text: Callable[[Any], str] | None = None,
) -> Method[Learner]:
    """Masked language modeling, with pairs of sentences or without.

    Args:
      net: (tokens [n, l], segments [n, l], places [n, k] or None) -> {"logits": [n, k, v],
        "next": [n, 2], "h": [n, d], "tokens": [n, l, d]}, with `encode`, as
        `jssl.models.transformer.BERT`.
      tx: optimizer of all weights.
      prepare: batch -> tokens int [n, l - 2], without [CLS] and [SEP] around them.
      vocabulary: number of tokens.
      mask, cls, sep, pad: special tokens, of which only masks are predicted.
      pairs: (key, batch) -> pairs of segments, as `jssl.ops.sentence_pairs`; None: texts of
        `prepare`, and no loss of the next sentence.
      rate: fraction of the tokens that are predicted.
      predictions: largest number of predicted tokens of a text; 0: that of `rate` and the
        length, rounded up.
      rule: "static" or "dynamic", as in `jssl.ops.token_masking`.
      continues: bool [v], tokens that continue a word, to predict whole words; None: tokens
        are predicted one by one.
      words: first token that is not special; random replacements are any token.
      text: token numbers -> a text, for the picture.
    """
    follows = None if continues is None else jnp.asarray(continues)

    def around(tokens):
        """[CLS] text [SEP], with the padding behind, and its segments."""
        tokens = enclosed(tokens, cls, sep, pad)
        return tokens, segments_of(tokens, sep, pad)

    def special(tokens):
        known = jnp.array([cls, sep, pad, mask])
        return (tokens[..., None] == known).any(-1) | (tokens < words)

    def drawn(key, batch):
        if pairs is None:
            tokens, segments = around(prepare(batch))
            return Pairs(tokens, segments, jnp.zeros(len(tokens), jnp.int32))
        return pairs(key, batch)

    def masked(key, tokens):
        """Masked tokens, and the places [n, k], tokens and weights of the predictions."""
        most = predictions or -int(-rate * tokens.shape[1] // 1)
        most = most if rule == "static" else tokens.shape[1]
        own = None if follows is None else follows[tokens]
        found = mlm_mask(
            key,
            tokens,
            special(tokens),
            vocabulary,
            mask,
            pad_id=pad,
            rate=rate,
            max_predictions=most,
            rule=rule,
            continues=own,
        )
        room = most if own is None else min(2 * most, tokens.shape[1])  # a long word
        weights, places = jax.lax.top_k(found.weights, room)
        labels = jnp.take_along_axis(found.labels, places, 1)
        return found.ids, places, labels, weights

    def init(key, batch):
        tokens, segments = around(first_row(prepare(batch)))
        return fresh(tx, *net.init(key, tokens, segments, None))

    def loss(params, stats, texts, chosen, keys):
        ids, places, labels, weights = chosen
        out, stats = net.apply(
            params, stats, ids, texts.segments, places, train=True, keys=keys
        )
        of_words = masked_lm(out["logits"], labels, weights)
        right = (out["logits"].argmax(-1) == labels) * weights
        metrics = {"masked": of_words}
        metrics["accuracy"] = right.sum() / jnp.maximum(weights.sum(), 1)
        value = of_words
        if pairs is not None:
            of_pairs = next_sentence(out["next"], texts.label)
            hits = out["next"].argmax(-1) == texts.label
            metrics |= {"next": of_pairs, "next/accuracy": hits.mean()}
            value = value + of_pairs
        return value, (stats, {"loss": value} | metrics)

    def step(key, state, batch):
        pair_key, mask_key, drop_key = jax.random.split(key, 3)
        texts = drawn(pair_key, batch)
        chosen = masked(mask_key, texts.ids)
        return minimize(tx, loss, state, texts, chosen, noise_keys(drop_key))

    def embed(state, batch):
        tokens, segments = around(prepare(batch))
        out, _ = net.apply(state.weights, state.stats, tokens, segments, method="encode")
        # Every seventh token is masked, the same in every evaluation.
        chosen = ~special(tokens) & (jnp.arange(tokens.shape[1]) % PERIOD == 3)
        hidden = jnp.where(chosen, mask, tokens)
        guess, _ = net.apply(state.weights, state.stats, hidden, segments, None)
        nats = optax.softmax_cross_entropy_with_integer_labels(guess["logits"], tokens)
        there = chosen.astype(nats.dtype)
        cut = {"tokens": out["tokens"][:, 1:-1], "nats": nats * there, "counted": there}
        return out | cut

    def render(key, state, batch, collect):
        if text is None:
            return {}
        tokens, segments = around(prepare(batch))
        tokens, segments = tokens[:SHOWN], segments[:SHOWN]
        ids, places, labels, weights = masked(key, tokens)
        out, _ = net.apply(state.weights, state.stats, ids, segments, places)
        guess = jax.nn.softmax(out["logits"])
        found = jax.device_get((ids, labels, weights, guess.argmax(-1), guess.max(-1)))
        lines = []
        for row, true, weight, best, sure in zip(*found, strict=True):
            lines.append(text(row))
            lines += [
                f"    {text([a])} -> {text([b])} ({p:.2f})"
                for a, b, p, w in zip(true, best, sure, weight, strict=True)
                if w
            ]
        return {"masked words": "\n".join(lines) + "\n"}

    return Method(init, step, embed, render=render)
