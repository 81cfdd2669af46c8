r"""DeepMoji: prediction of the emojis that a text had.

Felbo, Mislove, Sogaard, Rahwan and Lehmann, "Using millions of emoji occurrences to learn
any-domain representations for detecting sentiment, emotion and sarcasm", EMNLP 2017.
https://arxiv.org/abs/1708.00524

    L = -mean log p(emoji | text without its emojis)

A text with several emojis is one row for each. Every emoji is equally frequent in training:
texts of rare ones are repeated.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
import optax

from jssl.learner import Learner, fresh, minimize, noise_keys
from jssl.method import Method, Prepare, first_row
from jssl.nets import Net
from jssl.ops.order import balanced_order
from jssl.pictures import text_table

SHOWN = 8  # texts in the picture


def deepmoji(
    net: Net,
    tx: optax.GradientTransformation,
    *,
    prepare: Prepare,
    emoji: Prepare,
    balanced: bool = True,
    names: Sequence[str] = (),
    words: Callable[[Any], str] | None = None,
    pad: int = 0,
) -> Method[Learner]:
    """Classification of texts by emojis that were taken from them.

    Args:
      net: tokens int [n, l] -> {"logits": [n, emojis], "h": [n, d]}, and outside training
        "attention", with one [n, l]; `heads.Classifier` of a `recurrent.AttentiveLSTM`.
      tx: optimizer of all weights. The paper: Adam.
      prepare: batch -> tokens int [n, l], without emojis.
      emoji: batch -> numbers of the emojis, int [n].
      balanced: draw every emoji equally often; the stage refreshes the order of the rows
        each epoch.
      names: of the emojis, for the picture.
      words: token numbers -> a text, for the picture.
      pad: padding.
    """

    def init(key, batch):
        return fresh(tx, *net.init(key, first_row(prepare(batch))))

    def loss(params, stats, tokens, y, keys):
        out, stats = net.apply(params, stats, tokens, train=True, keys=keys)
        logits = out["logits"]
        nats = optax.softmax_cross_entropy_with_integer_labels(logits, y)
        metrics = {"loss": nats.mean(), "accuracy": (logits.argmax(-1) == y).mean()}
        return metrics["loss"], (stats, metrics)

    def step(key, state, batch):
        tokens, y = prepare(batch), emoji(batch)
        return minimize(tx, loss, state, tokens, y, noise_keys(key))

    def embed(state, batch):
        out, _ = net.apply(state.weights, state.stats, prepare(batch))
        return {"h": out["h"], "emojis": out["logits"]}

    def refresh(key, state, collect):
        if not balanced:
            return state, None
        return state, balanced_order(key, np.asarray(collect(emoji)))

    def render(key, state, batch, collect):
        if words is None:
            return {}
        tokens, y = prepare(batch)[:SHOWN], emoji(batch)[:SHOWN]
        out, _ = net.apply(state.weights, state.stats, tokens)
        chances = jax.nn.softmax(out["logits"])
        found = jax.device_get((tokens, y, chances, *out["attention"]))
        cells = []
        for text, true, p, weights in zip(*found, strict=True):
            best = np.argsort(-p)[:3]
            most = np.argsort(-np.where(text == pad, -1, weights))[:3]
            cells.append(
                [
                    names[true],
                    " ".join(f"{names[i]} {p[i]:.2f}" for i in best),
                    ", ".join(words(text[[i]]) for i in most if text[i] != pad),
                    words(text),
                ]
            )
        columns = ("true", "predicted", "attended", "text")
        return {"emojis": text_table(cells, columns) + "\n"}

    return Method(init, step, embed, refresh, render)
