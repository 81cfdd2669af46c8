"""Deep autoencoder: a stack of RBMs, unrolled into encoder and decoder, and fine-tuned.

Hinton and Salakhutdinov, "Reducing the Dimensionality of Data with Neural Networks",
Science 313, 2006, https://doi.org/10.1126/science.1127647

    u_l = sigmoid(u_{l-1} W_l + a_l),    code c = u_{L-1} W_L + a_L,
    w_{l-1} = sigmoid(w_l W_l^T + b_l),  w_L = c,

with W, a and b of the RBMs, each trained on the mean activations of those below (`rbm` and
`above`); the top one has Gaussian hidden units. During fine-tuning the decoder's weights
are untied, and backpropagation minimizes the cross entropy of each pixel.

Departure: the optimizer is an argument; the paper uses conjugate gradients.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import optax

from jssl.learner import Learner, fresh, minimize, noise_keys
from jssl.losses.reconstruction import bernoulli_cross_entropy
from jssl.method import Augment, Method, Prepare, field, first_row
from jssl.nets import Net
from jssl.ops.gibbs import RBM


def unrolled(rbms: Sequence[RBM]) -> dict:
    """Weights of an autoencoder from a stack of RBMs, one layer each.

    Its parts are "encoder" and "decoder", their layers "dense0", "dense1" ..., as in
    `models.dense.Autoencoder`.
    """

    def layers(pairs):
        return {
            f"dense{i}": {"kernel": kernel, "bias": bias}
            for i, (kernel, bias) in enumerate(pairs)
        }

    return {
        "encoder": layers((rbm.w, rbm.a) for rbm in rbms),
        "decoder": layers((rbm.w.T, rbm.b) for rbm in reversed(rbms)),
    }


def deep_autoencoder(
    net: Net,
    tx: optax.GradientTransformation,
    augment: Augment | None = None,
    *,
    prepare: Prepare = field("image"),
) -> Method[Learner]:
    """Minimizes the cross entropy between inputs and their reconstructions.

    Args:
      net: x -> {"h": [n, d], "logits": shaped as x}.
      tx: optimizer of all weights.
      augment: (key, batch) -> one view of each row, which is reconstructed; None:
        `prepare`.
      prepare: batch -> x in [0, 1], the network's input outside training.
    """

    look = augment or (lambda key, batch: prepare(batch))

    def init(key, batch):
        return fresh(tx, *net.init(key, first_row(prepare(batch))))

    def loss(params, stats, images, keys):
        out, stats = net.apply(params, stats, images, train=True, keys=keys)
        value = bernoulli_cross_entropy(out["logits"], images)
        error = jnp.square(jax.nn.sigmoid(out["logits"]) - images)
        sse = error.sum() / len(images)
        metrics = {"loss": value, "sse_per_image": sse, "mse": error.mean()}
        return value, (stats, metrics)

    def step(key, state, batch):
        return minimize(tx, loss, state, look(key, batch), noise_keys(key))

    def embed(state, batch):
        images = prepare(batch)
        out, _ = net.apply(state.weights, state.stats, images)
        seen = jax.nn.sigmoid(out["logits"])
        rows = {"reconstruction": seen, "input": images}
        return {"h": out["h"]} | {k: x.reshape(len(x), -1) for k, x in rows.items()}

    return Method(init, step, embed)
