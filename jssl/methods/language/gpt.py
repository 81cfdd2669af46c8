r"""GPT: a causal language model, which predicts each token from those before it.

Radford, Narasimhan, Salimans and Sutskever, "Improving Language Understanding by Generative
Pre-Training", 2018; Radford, Wu, Child, Luan, Amodei and Sutskever, "Language Models are
Unsupervised Multitask Learners", 2019 (GPT-2).

    L = -mean_t log p(w_t | w_1 ... w_{t-1})
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from jssl.learner import Learner, fresh, minimize, noise_keys
from jssl.losses.sequence import token_cross_entropy
from jssl.method import Method, Prepare, first_row
from jssl.nets import Net
from jssl.ops.next_token import next_token

SHOWN = 4  # samples in the picture


def gpt(
    net: Net,
    tx: optax.GradientTransformation,
    *,
    prepare: Prepare,
    begin: int,
    pad: int | None = 0,
    prompt: int = 8,
    new: int = 32,
    temperature: float = 1.0,
    top_k: int = 0,
    made: str = "corpus",
    text: Callable[[Any], str] | None = None,
) -> Method[Learner]:
    """Causal language modeling.

    Args:
      net: tokens int [n, l] -> {"logits": [n, l, v], "h": [n, d], "tokens": [n, l, d]},
        with `encode`, `begin` and `extend` as `jssl.models.transformer.GPT`, for one token
        more than `prepare` gives.
      tx: optimizer of all weights.
      prepare: batch -> tokens int [n, l].
      begin: token before the first one.
      pad: padding, which is not predicted; None: there is none.
      prompt: tokens of a row that a sample continues.
      new: tokens that are drawn for a sample; it has no more than the network's positions.
      temperature: of the samples; 0 takes the most probable token.
      top_k: tokens that can be drawn; 0: all.
      made: field of the samples.
      text: token numbers -> a text, for the picture.
    """

    def after(tokens):
        """The tokens behind the one that begins a text."""
        return jnp.concatenate([jnp.full_like(tokens[:, :1], begin), tokens], 1)

    def counted(tokens):
        return jnp.ones(tokens.shape) if pad is None else (tokens != pad).astype(float)

    def init(key, batch):
        return fresh(tx, *net.init(key, after(first_row(prepare(batch)))))

    def loss(params, stats, tokens, keys):
        inputs = after(tokens)[:, :-1]
        out, stats = net.apply(params, stats, inputs, train=True, keys=keys)
        value = token_cross_entropy(out["logits"], tokens, counted(tokens))
        return value, (stats, {"loss": value})

    def step(key, state, batch):
        return minimize(tx, loss, state, prepare(batch), noise_keys(key))

    def embed(state, batch):
        tokens = prepare(batch)
        out, _ = net.apply(state.weights, state.stats, after(tokens))
        logits = out["logits"][:, :-1]
        nats = optax.softmax_cross_entropy_with_integer_labels(logits, tokens)
        there = counted(tokens)
        found = {k: x for k, x in out.items() if k not in ("logits", "tokens")}
        cut = {"tokens": out["tokens"][:, 1:], "nats": nats * there, "counted": there}
        return found | cut

    def generate(key, state, batch):
        # Of a given prefix, or of the beginning of each row.
        tokens = batch["prompt"] if "prompt" in batch else prepare(batch)[:, :prompt]
        return {made: continued(net, state, key, after(tokens), new, temperature, top_k)}

    def render(key, state, batch, collect):
        if text is None:
            return {}
        whole = prepare(batch)[:SHOWN]
        made = continued(net, state, key, after(whole[:, :prompt]), new, temperature, top_k)
        cells = [
            f"{text(row[:prompt])} ... {text(row[prompt:])}\n\n"
            for row in jax.device_get(made[:, 1:])
        ]
        return {"samples after a prompt": "".join(cells)}

    return Method(init, step, embed, render=render, generate=generate)


def continued(
    net: Net,
    learner: Learner,
    key: jax.Array,
    prefix: jax.Array,
    new: int,
    temperature: float = 1.0,
    top_k: int = 0,
    cached: bool = True,
    given: tuple = (),
) -> jax.Array:
    """Texts int [n, p + new] that begin with a prefix [n, p], drawn token by token.

    Args:
      net: as of `gpt`, or with inputs before the text.
      learner: its weights.
      key: of the draws.
      prefix: at least one token of each text.
      new: number of tokens to draw.
      temperature, top_k: as in `jssl.ops.next_token`.
      cached: keep the keys and values of earlier tokens; else each token takes a pass over
        the whole text, which is the same but slower.
      given: inputs of the network before the text, such as that of an encoder.

    Raises:
      ValueError: a text that is longer than the network's positions.
    """
    params, stats = learner.weights, learner.stats
    n, p = prefix.shape
    keys = jax.random.split(key, new)
    texts = jnp.concatenate([prefix, jnp.zeros((n, new), prefix.dtype)], 1)
    if not cached:

        def whole(texts, item):
            at, key = item
            out, _ = net.apply(params, stats, *given, texts)
            logits = jnp.take(out["logits"], at - 1, axis=1)
            drawn = next_token(key, logits, temperature, top_k)
            return texts.at[:, at].set(drawn.astype(texts.dtype)), None

        return jax.lax.scan(whole, texts, (p + jnp.arange(new), keys))[0]
    first = net.apply(params, stats, *given, prefix, texts, method="begin")[0]

    def one(carry, item):
        logits, cache = carry
        at, key = item
        drawn = next_token(key, logits, temperature, top_k).astype(prefix.dtype)
        carry, _ = net.apply(params, stats, drawn[:, None], cache, at, method="extend")
        return carry, drawn

    # The last token needs no scores after it.
    steps = (p + jnp.arange(new - 1), keys[:-1])
    (logits, _), drawn = jax.lax.scan(one, first, steps)
    last = next_token(keys[-1], logits, temperature, top_k).astype(prefix.dtype)
    return jnp.concatenate([prefix, drawn.T, last[:, None]], 1)
