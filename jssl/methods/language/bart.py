r"""BART: reconstruction of a corrupted text by an encoder-decoder transformer.

Lewis, Liu, Goyal, Ghazvininejad, Mohamed, Levy, Stoyanov and Zettlemoyer, "BART: Denoising
Sequence-to-Sequence Pre-training for Natural Language Generation, Translation, and
Comprehension", ACL 2020. https://arxiv.org/abs/1910.13461

    L = -mean_t log p(w_t | w_1 ... w_{t-1}, corrupt(w))

The encoder reads the corrupted text, the decoder writes the whole original.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax

from jssl.learner import Learner, fresh, minimize, noise_keys
from jssl.losses.sequence import token_cross_entropy
from jssl.method import Method, Prepare, first_row
from jssl.methods.language.gpt import continued
from jssl.nets import Net
from jssl.ops.text_ends import enclosed, shift_right, until
from jssl.ops.token_masking import (
    document_rotation,
    sentence_permutation,
    text_infilling,
    token_deletion,
    token_masking,
)

SHOWN = 4  # texts in the picture


def bart(
    net: Net,
    tx: optax.GradientTransformation,
    *,
    prepare: Prepare,
    corrupt: Callable[[jax.Array, Any], jax.Array],
    bos: int,
    eos: int,
    pad: int = 0,
    temperature: float = 0.0,
    top_k: int = 0,
    made: str = "corpus",
    text: Callable[[Any], str] | None = None,
) -> Method[Learner]:
    """Denoising of texts.

    Args:
      net: (source int [n, l + 2], inputs [n, t]) -> {"logits": [n, t, v], "written":
        [n, t, d]}, with `encode`, `begin` and `extend`, as
        `jssl.models.encoder_decoder.EncoderDecoder`.
      tx: optimizer of all weights.
      prepare: batch -> tokens int [n, l], texts with padding behind.
      corrupt: (keys [n], batch) -> tokens int [n, l] of the corrupted texts; see
        `corruption`.
      bos, eos, pad: tokens before and behind a text, and padding. The decoder begins with
        `eos`, as in the authors' code.
      temperature: of the texts that are written; 0 takes the most probable token.
      top_k: tokens that can be drawn; 0: all.
      made: field of the samples: texts written from corrupted ones, or from a given prompt.
      text: token numbers -> a text, for the picture.
    """

    def around(tokens):
        return enclosed(tokens, bos, eos, pad)

    def init(key, batch):
        whole = around(first_row(prepare(batch)))
        return fresh(tx, *net.init(key, whole, shift_right(whole, eos)))

    def loss(params, stats, source, target, keys):
        inputs, there = shift_right(target, eos), target != pad
        out, stats = net.apply(params, stats, source, inputs, train=True, keys=keys)
        value = token_cross_entropy(out["logits"], target, there)
        right = (out["logits"].argmax(-1) == target) & there
        return value, (stats, {"loss": value, "accuracy": right.sum() / there.sum()})

    def step(key, state, batch):
        noise_key, drop_key = jax.random.split(key)
        target = around(prepare(batch))
        source = around(corrupt(jax.random.split(noise_key, len(target)), batch))
        return minimize(tx, loss, state, source, target, noise_keys(drop_key))

    def evaluated(batch):
        """The corrupted texts of evaluations, whose noise depends on the text alone."""
        return around(corrupt(own_keys(prepare(batch)), batch))

    def embed(state, batch):
        tokens = prepare(batch)
        whole = around(tokens)
        params, stats, inputs = state.weights, state.stats, shift_right(whole, eos)
        out, _ = net.apply(params, stats, whole, method="encode")
        # Classification in the paper: the whole text is read by both halves.
        last = (whole != pad).sum(1) - 1
        both, _ = net.apply(params, stats, whole, inputs)
        decoder = both["written"][jnp.arange(len(last)), last]
        guess, _ = net.apply(params, stats, evaluated(batch), inputs)
        nats = optax.softmax_cross_entropy_with_integer_labels(guess["logits"], whole)
        there = (whole != pad).astype(nats.dtype).at[:, 0].set(0)  # all texts have `bos`
        return out | {
            "tokens": out["tokens"][:, 1:-1],
            "h/decoder": decoder,
            "target": tokens,
            "nats": nats * there,
            "counted": there,
        }

    def written(key, state, source, room):
        """Texts [n, room], without their ends."""
        begin = jnp.tile(jnp.array([eos, bos], source.dtype), (len(source), 1))
        found = continued(net, state, key, begin, room, temperature, top_k, given=(source,))
        return until(found[:, 2:], eos, pad)

    def generate(key, state, batch):
        source = around(batch["prompt"]) if "prompt" in batch else evaluated(batch)
        return {made: written(key, state, source, prepare(batch).shape[1])}

    def render(key, state, batch, collect):
        if text is None:
            return {}
        target = prepare(batch)[:SHOWN]
        source = evaluated(batch)[:SHOWN]
        found = written(key, state, source, target.shape[1])
        rows = zip(*jax.device_get((source, found, target)), strict=True)
        cells = [f"{text(a)}\n-> {text(b)}\n   {text(c)}\n\n" for a, b, c in rows]
        return {"corrupted, written and original": "".join(cells)}

    return Method(init, step, embed, render=render, generate=generate)


def corruption(
    prepare: Prepare,
    sentences: Prepare,
    *,
    mask: int,
    pad: int = 0,
    permute: float = 1.0,
    infill: float = 0.3,
    span: float = 3.0,
    masked: float = 0.0,
    deleted: float = 0.0,
    rotate: float = 0.0,
) -> Callable[[jax.Array, Any], jax.Array]:
    """A function (keys [n], batch) -> corrupted texts int [n, l].

    In this order: sentences are permuted, tokens masked and deleted, spans infilled, and
    the text rotated. The defaults are those of BART large.

    Args:
      prepare: batch -> tokens int [n, l], texts with padding behind.
      sentences: batch -> numbers of the sentences of the tokens, int [n, l].
      mask, pad: the mask token, and padding.
      permute: fraction of the sentences that are permuted.
      infill: fraction of the tokens that are replaced, in spans, by one mask each.
      span: mean length of the spans.
      masked: fraction of the tokens that are masked one by one.
      deleted: fraction of the tokens that are deleted.
      rotate: probability that a text is rotated.
    """

    def one(key, ids, sentence):
        keys = jax.random.split(key, 6)
        n = (ids != pad).sum()
        if permute:
            ids = sentence_permutation(keys[0], ids, n, sentence, ratio=permute)
        if masked:
            ids = token_masking(keys[1], ids, n, mask, ratio=masked)
        if deleted:
            ids, n = token_deletion(keys[2], ids, n, pad_id=pad, ratio=deleted)
        if infill:
            ids, n = text_infilling(
                keys[3], ids, n, mask, pad_id=pad, ratio=infill, mean_span=span
            )
        if rotate:
            turned = jax.random.bernoulli(keys[4], rotate)
            ids = jnp.where(turned, document_rotation(keys[5], ids, n), ids)
        return ids

    return lambda keys, batch: jax.vmap(one)(keys, prepare(batch), sentences(batch))


def own_keys(tokens: jax.Array) -> jax.Array:
    """A PRNG key [n] for each text of int [n, l], which depends on its tokens alone."""
    return jax.vmap(partial(jax.random.fold_in, jax.random.key(0)))(tokens.sum(1))
