r"""PEGASUS: generation of the most informative sentences of a text, which are masked in it.

Zhang, Zhao, Saleh and Liu, "PEGASUS: Pre-training with Extracted Gap-sentences for
Abstractive Summarization", ICML 2020. https://arxiv.org/abs/1912.08777

    L = -mean_t log p(g_t | g_1 ... g_{t-1}, text without g)

g are the gap sentences, those with the highest ROUGE-1 F1 against the rest of the text.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from jssl.learner import Learner, fresh, minimize, noise_keys
from jssl.losses.sequence import token_cross_entropy
from jssl.method import Method, Prepare, first_row
from jssl.methods.language.bart import own_keys
from jssl.methods.language.gpt import continued
from jssl.nets import Net
from jssl.ops.gap_sentences import gap_sentences, select_gap_sentences
from jssl.ops.text_ends import enclosed, shift_right, until

SHOWN = 4  # texts in the picture
Gaps = Callable[[jax.Array, Any], tuple[jax.Array, jax.Array]]


def pegasus(
    net: Net,
    tx: optax.GradientTransformation,
    *,
    prepare: Prepare,
    gaps: Gaps,
    length: int,
    eos: int,
    pad: int = 0,
    temperature: float = 0.0,
    top_k: int = 0,
    made: str = "corpus",
    text: Callable[[Any], str] | None = None,
) -> Method[Learner]:
    """Gap-sentence generation.

    Args:
      net: (source int [n, l + 1], inputs [n, t]) -> {"logits": [n, t, v], ...}, with
        `encode`, `begin` and `extend`, as `jssl.models.encoder_decoder.EncoderDecoder`.
      tx: optimizer of all weights.
      prepare: batch -> tokens int [n, l], texts with padding behind.
      gaps: (keys [n], batch) -> texts with masks, and their gap sentences, both int [n, l];
        see `gap_generation`.
      length: largest number t of tokens that are written, with the end; longer targets are
        cut.
      eos, pad: token behind a text, and padding, with which the decoder begins.
      temperature: of the texts that are written; 0 takes the most probable token.
      top_k: tokens that can be drawn; 0: all.
      made: field of the samples: gap sentences, or summaries of a given prompt.
      text: token numbers -> a text, for the picture.
    """

    def ended(tokens):
        return enclosed(tokens, None, eos, pad)

    def drawn(keys, batch):
        """Texts with masks [n, l + 1], and targets [n, t]."""
        source, target = gaps(keys, batch)
        return ended(source), ended(target)[:, :length]

    def evaluated(batch):
        """Gaps of evaluations, whose noise depends on the text alone."""
        return drawn(own_keys(prepare(batch)), batch)

    def init(key, batch):
        whole = ended(first_row(prepare(batch)))
        return fresh(tx, *net.init(key, whole, whole[:, :length]))

    def loss(params, stats, source, target, keys):
        inputs, there = shift_right(target, pad), target != pad
        out, stats = net.apply(params, stats, source, inputs, train=True, keys=keys)
        value = token_cross_entropy(out["logits"], target, there)
        right = (out["logits"].argmax(-1) == target) & there
        return value, (stats, {"loss": value, "accuracy": right.sum() / there.sum()})

    def step(key, state, batch):
        gap_key, drop_key = jax.random.split(key)
        keys = jax.random.split(gap_key, len(prepare(batch)))
        return minimize(tx, loss, state, *drawn(keys, batch), noise_keys(drop_key))

    def embed(state, batch):
        params, stats = state.weights, state.stats
        whole, (source, target) = ended(prepare(batch)), evaluated(batch)
        out, _ = net.apply(params, stats, whole, method="encode")
        guess, _ = net.apply(params, stats, source, shift_right(target, pad))
        nats = optax.softmax_cross_entropy_with_integer_labels(guess["logits"], target)
        there = (target != pad).astype(nats.dtype)
        return out | {
            "tokens": out["tokens"][:, :-1],
            "target": until(target, eos, pad),
            "nats": nats * there,
            "counted": there,
        }

    def written(key, state, source):
        """Texts [n, t], without their ends."""
        begin = jnp.full((len(source), 1), pad, source.dtype)
        found = continued(
            net, state, key, begin, length, temperature, top_k, given=(source,)
        )
        return until(found[:, 1:], eos, pad)

    def generate(key, state, batch):
        given = "prompt" in batch
        source = ended(batch["prompt"]) if given else evaluated(batch)[0]
        return {made: written(key, state, source)}

    def render(key, state, batch, collect):
        if text is None:
            return {}
        source, target = (x[:SHOWN] for x in evaluated(batch))
        rows = source, written(key, state, source), until(target, eos, pad)
        rows = zip(*jax.device_get(rows), strict=True)
        cells = [f"{text(a)}\n-> {text(b)}\n   {text(c)}\n\n" for a, b, c in rows]
        return {"text, gap sentences written and original": "".join(cells)}

    return Method(init, step, embed, render=render, generate=generate)


def gap_generation(
    prepare: Prepare,
    sentences: Prepare,
    *,
    mask: int,
    pad: int = 0,
    ratio: float = 0.3,
    least: float | None = None,
    strategy: str = "principal-ind",
    unique: bool = False,
    noise: float = 0.0,
    keep: float = 0.0,
) -> Gaps:
    """A function (keys [n], batch) -> texts with masks, and gap sentences, int [n, l].

    Args:
      prepare: batch -> tokens int [n, l], texts with padding behind.
      sentences: batch -> numbers of the sentences of the tokens, int [n, l].
      mask, pad: the token in place of a sentence, and padding.
      ratio: fraction of the sentences that are gaps.
      least: if given, the fraction is drawn evenly from `least` to `ratio`.
      strategy, unique, noise: as in `jssl.ops.gap_sentences.select_gap_sentences`.
      keep: probability that a gap sentence remains in the text.
    """

    def one(key, ids, sentence):
        n = (ids != pad).sum()
        ratio_key, select_key, keep_key = jax.random.split(key, 3)
        share = ratio
        if least is not None:
            share = jax.random.uniform(ratio_key, (), minval=least, maxval=ratio)
        chosen = select_gap_sentences(
            select_key,
            ids,
            n,
            sentence,
            ratio=share,
            strategy=strategy,
            unique=unique,
            noise=noise,
        )
        return gap_sentences(
            keep_key, ids, n, sentence, chosen, mask, pad_id=pad, keep=keep
        )

    return lambda keys, batch: jax.vmap(one)(keys, prepare(batch), sentences(batch))
