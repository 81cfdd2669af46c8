"""Deep autoencoder: a stack of RBMs, unfolded into an encoder and its mirror, fine-tuned.

Hinton and Salakhutdinov, "Reducing the Dimensionality of Data with Neural Networks",
Science 313, 2006, https://doi.org/10.1126/science.1127647

    u_l = sigmoid(u_{l-1} W_l + a_l),    code c = u_{L-1} W_L + a_L,
    w_{l-1} = sigmoid(w_l W_l^T + b_l),  w_L = c,

W, a and b of the RBMs, each trained on the mean activations of those below (`rbm` and
`above`); the top one has Gaussian hidden units. From then on the decoder's weights are its
own, and back-propagation lowers the cross entropy of each pixel.

Departure: the optimiser is the caller's; the paper has conjugate gradients.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import optax

from jssl.learner import Learner, fresh, minimize
from jssl.losses.reconstruction import bernoulli_cross_entropy
from jssl.method import Augment, Method, Prepare, field, first_row
from jssl.nets import Net
from jssl.ops.gibbs import RBM


def unrolled(rbms: Sequence[RBM]) -> dict:
    """The weights of an autoencoder whose every layer is one of the machines.

    Its parts are "encoder" and "decoder", their layers "dense0", "dense1" ..., as of
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
    """Lowers the cross entropy between images and their reconstructions.

    Args:
      net: images -> {"h": [n, d], "logits": as the images}.
      tx: moves all weights.
      augment: draws the view of each image that the network reconstructs in training.
        None: `prepare` alone.
      prepare: what the network sees of an image outside training, in [0, 1].
    """

    look = augment or (lambda key, batch: prepare(batch))

    def init(key, batch):
        return fresh(tx, *net.init(key, first_row(prepare(batch))))

    def loss(params, stats, images):
        out, stats = net.apply(params, stats, images, train=True)
        value = bernoulli_cross_entropy(out["logits"], images)
        error = jnp.square(jax.nn.sigmoid(out["logits"]) - images)
        sse = error.sum() / len(images)
        metrics = {"loss": value, "sse_per_image": sse, "mse": error.mean()}
        return value, (stats, metrics)

    def step(key, state, batch):
        return minimize(tx, loss, state, look(key, batch))

    def embed(state, batch):
        images = prepare(batch)
        out, _ = net.apply(state.weights, state.stats, images)
        seen = jax.nn.sigmoid(out["logits"])
        rows = {"reconstruction": seen, "input": images}
        return {"h": out["h"]} | {k: x.reshape(len(x), -1) for k, x in rows.items()}

    return Method(init, step, embed)
