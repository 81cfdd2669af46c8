"""Denoising autoencoder: reconstruction of the input from a corrupted copy.

Restoring an entry requires a model of its dependence on the others.

Vincent, Larochelle, Bengio and Manzagol, "Extracting and Composing Robust Features with
Denoising Autoencoders", ICML 2008, https://doi.org/10.1145/1390156.1390294; with emphasis:
Vincent et al., JMLR 11, 2010, https://www.jmlr.org/papers/v11/vincent10a.html

    L = mean over samples of alpha sum_{j in J} l(x_j, x^_j) + beta sum_{j not in J} ...,

with x^ the reconstruction of x~, which is x with the entries J corrupted, and l the squared
error or the cross entropy.
"""

from collections.abc import Callable

import jax.numpy as jnp
import optax

from jssl.learner import Learner, fresh, minimize, noise_keys
from jssl.losses.reconstruction import emphasized_cross_entropy, emphasized_squared_error
from jssl.method import Method, Prepare, field, first_row
from jssl.methods.generative.autoencoder import readout
from jssl.nets import Net
from jssl.pictures import Grid


def denoising(
    net: Net,
    tx: optax.GradientTransformation,
    corrupt: Callable,
    *,
    alpha: float = 1.0,
    beta: float = 1.0,
    error: str = "squared",
    output: str = "sigmoid",
    prepare: Prepare = field("image"),
) -> Method[Learner]:
    """Denoising of corrupted inputs; embeds clean inputs.

    Args:
      net: x -> {"h": [n, m], "logits": shaped as x}.
      tx: optimizer of all weights.
      corrupt: (key, x) -> (x~, J), with J 1 on corrupted entries: a function of
        `jssl.ops.corruption` with its settings bound, drawn in every step.
      alpha: weight of corrupted entries.
      beta: weight of other entries; 0 is the paper's full emphasis.
      error: "squared" or, for x in [0, 1], "cross_entropy".
      output: function from logits to a reconstruction, "sigmoid" or "linear".
      prepare: batch -> x, which is corrupted, reconstructed and embedded.
    """

    restored = readout(error, output)

    def init(key, batch):
        return fresh(tx, *net.init(key, first_row(prepare(batch))))

    def loss(params, stats, x, corrupted, selected, keys):
        out, stats = net.apply(params, stats, corrupted, train=True, keys=keys)
        reconstruction = restored(out["logits"])
        if error == "squared":
            value = emphasized_squared_error(reconstruction, x, selected, alpha, beta)
        else:
            value = emphasized_cross_entropy(out["logits"], x, selected, alpha, beta)
        left = jnp.square(reconstruction - x).mean()
        done = jnp.square(corrupted - x).mean()
        gain = 10 * jnp.log10(jnp.maximum(done, 1e-12) / jnp.maximum(left, 1e-12))
        return value, (stats, {"loss": value, "mse": left, "psnr_gain": gain})

    def step(key, state, batch):
        x = prepare(batch)
        return minimize(tx, loss, state, x, *corrupt(key, x), noise_keys(key))

    def embed(state, batch):
        x = prepare(batch)
        out, _ = net.apply(state.weights, state.stats, x)
        rows = {"input": x, "reconstruction": restored(out["logits"])}
        return {"h": out["h"]} | {k: x.reshape(len(x), -1) for k, x in rows.items()}

    def render(key, state, batch, collect):
        x = prepare(batch)[:8]
        if x.ndim != 4:
            return {}
        corrupted, _ = corrupt(key, x)
        out, _ = net.apply(state.weights, state.stats, corrupted)
        columns = jnp.stack([x, corrupted, restored(out["logits"])], 1)
        headings = ("clean", "corrupted", "restored")
        return {"denoising": Grid(jnp.clip(columns, 0, 1), headings)}

    return Method(init, step, embed, render=render)
