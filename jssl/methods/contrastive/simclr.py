"""SimCLR: contrastive learning of two views of each image against the rest of the batch.

Chen, Kornblith, Norouzi and Hinton, "A Simple Framework for Contrastive Learning of
Visual Representations", ICML 2020. https://arxiv.org/abs/2002.05709

    L = mean_i -log exp(s(z_i, z_j) / tau) / sum_{k != i} exp(s(z_i, z_k) / tau)

over all 2n views z, with j the other view of i's image and s the cosine similarity. The
released code minimizes the sum of the means over first and second views, 2 L: `scale`.
"""

import jax
import optax

from jssl.learner import Learner, fresh, minimize, whole_batches
from jssl.losses.contrastive import nt_xent
from jssl.method import Augment, Method, Prepare, field, first_row, fold
from jssl.nets import Net
from jssl.ops.vectors import unit
from jssl.pictures import Grid, in_range


def simclr(
    net: Net,
    tx: optax.GradientTransformation,
    augment: Augment,
    *,
    temperature: float = 0.1,
    scale: float = 1.0,
    prepare: Prepare = field("image"),
    chunk: int | None = None,
) -> Method[Learner]:
    """Contrastive learning with the NT-Xent loss.

    Args:
      net: x -> {"h": [n, d], "z": [n, k]}.
      tx: optimizer of all weights. The paper uses LARS with batches of 4,096.
      augment: (key, batch) -> two views of each row, [n, 2, ...], normalized as `prepare`
        does.
      temperature: tau.
      scale: factor of the gradient; the metric "loss" is L. 2 in the released code, which
        matters under weight decay and for what LARS does not scale: biases and norms.
      prepare: batch -> x, the network's input outside training (normalization, a crop).
      chunk: candidates per block, for batches whose similarities exceed memory; see
        `nt_xent`.
    """

    def init(key, batch):
        learner = fresh(tx, *net.init(key, first_row(prepare(batch))))
        return whole_batches("simclr", learner)

    def loss(params, stats, views):
        # Both views in one batch, with common batch statistics, as in the released code.
        out, stats = net.apply(params, stats, fold(views), train=True)
        z = out["z"].reshape(-1, 2, out["z"].shape[-1])
        value = nt_xent(z[:, 0], z[:, 1], temperature, chunk=chunk)
        metrics = {"loss": value, "z_std": unit(z[:, 0]).std(0).mean()}
        return scaled(value, scale), (stats, metrics)

    def step(key, state, batch):
        return minimize(tx, loss, state, augment(key, batch))

    def embed(state, batch):
        return net.apply(state.weights, state.stats, prepare(batch))[0]

    def render(key, state, batch, collect):
        views = augment(key, batch)
        if not isinstance(views, jax.Array) or views.ndim != 5:
            return {}
        return {"views": Grid(in_range(views[:8]), ("view 1", "view 2"))}

    return Method(init, step, embed, render=render)


def scaled(value: jax.Array, scale: float) -> jax.Array:
    """The minimized multiple of a loss; the loss itself for a scale of 1."""
    return value if scale == 1 else scale * value
