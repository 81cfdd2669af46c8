r"""Contrastive predictive coding on text: prediction of the sentences to come.

van den Oord, Li and Vinyals, "Representation Learning with Contrastive Predictive Coding",
2018, section 3.3. https://arxiv.org/abs/1807.03748

    L = mean_{t, k} -log exp(z_{t+k} W_k c_t) / sum_{z'} exp(z' W_k c_t)

with z_t the latent of sentence t, c_t the state of a recurrent network after it, and z' the
latents of the sentences at the same place in all texts of the batch.
"""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
import optax

from jssl.learner import Learner, fresh, minimize, noise_keys, whole_batches
from jssl.losses.predictive import cpc_per_step
from jssl.method import Method, Prepare, first_row
from jssl.nets import Net

SHOWN = 4  # texts in the picture, and candidates of each


def cpc_text(
    net: Net,
    tx: optax.GradientTransformation,
    *,
    prepare: Prepare,
    negatives: str = "batch",
    first: int = 1,
    words: Callable[[Any], str] | None = None,
) -> Method[Learner]:
    """Prediction of the latents of later sentences among those of other texts.

    Args:
      net: sentences int [n, s, l] -> {"h": [n, d], "z": [n, s, d], "contexts": [n, s, c],
        "weights": [steps, d, c], "mask": [n, s]}, as `jssl.models.cpc_text`.
      tx: optimizer of all weights. The paper: Adam.
      prepare: batch -> the first sentences of each text, int [n, s, l]; those without
        tokens, at the end, are neither predicted nor candidates.
      negatives: the candidates: "batch", "sequence" (other sentences of the text) or "all",
        as in `jssl.losses.predictive.cpc_per_step`.
      first: sentences that the nearest prediction is ahead; the others follow.
      words: token numbers -> a text, for the picture.
    """

    def init(key, batch):
        learner = fresh(tx, *net.init(key, first_row(prepare(batch))))
        return whole_batches("cpc_text", learner)

    def loss(params, stats, sentences, keys):
        out, stats = net.apply(params, stats, sentences, train=True, keys=keys)
        z, contexts, weights = out["z"], out["contexts"], out["weights"]
        each = cpc_per_step(z, contexts, weights, negatives, first, mask=out["mask"])
        value = each.mean()
        ahead = {f"loss/k{first + i}": x for i, x in enumerate(each)}
        return value, (stats, {"loss": value, **ahead})

    def step(key, state, batch):
        return minimize(tx, loss, state, prepare(batch), noise_keys(key))

    def embed(state, batch):
        out, _ = net.apply(state.weights, state.stats, prepare(batch))
        last = jnp.maximum(out["mask"].sum(1).astype(int) - 1, 0)
        context = jnp.take_along_axis(out["contexts"], last[:, None, None], 1)[:, 0]
        return {"h": out["h"], "context": context}

    def render(key, state, batch, collect):
        if words is None:
            return {}
        sentences = prepare(batch)
        out, _ = net.apply(state.weights, state.stats, sentences)
        count = np.asarray(out["mask"].sum(1)).astype(int)
        there = np.flatnonzero(count > first)  # rows with a sentence to predict
        if not len(there):
            return {}
        at = count[there].min() - 1 - first
        sentences, contexts, z = sentences[there], out["contexts"][there], out["z"][there]
        scores = contexts[:SHOWN, at] @ out["weights"][0].T @ z[:, at + first].T
        lines = []
        for i, row in enumerate(np.asarray(scores)):
            rank = int((row > row[i]).sum()) + 1
            known = " ".join(words(x) for x in sentences[i, : at + 1])
            lines += [known, f"    true, rank {rank}: {words(sentences[i, at + first])}"]
            best = np.argsort(-row)[:SHOWN]
            lines += [f"    {words(sentences[j, at + first])} ({row[j]:.1f})" for j in best]
        return {"sentences ahead": "\n".join(lines) + "\n"}

    return Method(init, step, embed, render=render)
