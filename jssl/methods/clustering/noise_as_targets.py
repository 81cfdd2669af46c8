"""Noise As Targets: regression on random points of the sphere, one assigned to each image.

Bojanowski and Joulin, "Unsupervised Learning by Predicting Noise", ICML 2017.
https://arxiv.org/abs/1704.05310

    min_f min_P sum_i |z_i - c_P(i)|^2 = 2 n - 2 sum_i z_i c_P(i),    z_i = unit(f(x_i)),

with n fixed unit vectors c and P a permutation: since every target is used once, the
embeddings cannot collapse. In each step the targets of a batch are reassigned among its
images at minimal loss, by the Hungarian algorithm, and then descended on: similar images
come to have near targets, although the targets are noise.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jssl.learner import Learner, fresh, minimize, noise_keys
from jssl.losses.clustering import nat
from jssl.method import Augment, Method, Prepare, field, first_row
from jssl.nets import Net
from jssl.ops.assignment import nat_reassign, nat_targets
from jssl.ops.vectors import cosine, dots
from jssl.pictures import Grid, in_range, thumbnails


class State(NamedTuple):
    learner: Learner
    targets: jax.Array  # [size, d], unit vectors, which are never changed
    labels: jax.Array  # [size], the number of the target of each sample: a permutation
    count: jax.Array  # steps taken


def noise_as_targets(
    net: Net,
    tx: optax.GradientTransformation,
    augment: Augment | None = None,
    *,
    size: int,
    epoch: int = 1,
    period: int = 1,
    prepare: Prepare = field("image"),
) -> Method[State]:
    """Regression on noise, with an assignment of targets that is learned too.

    The loss is a sum over the batch, as in the released code: its learning rate belongs to
    a size of the batch.

    Args:
      net: x -> {"h": [n, k], "z": [n, d]}. z is normalized here.
      tx: optimizer of all weights. The paper: SGD without momentum.
      augment: (key, batch) -> one view of each row, normalized as `prepare` does; None:
        `prepare`.
      size: samples of the training split, which "index" numbers.
      epoch: steps of an epoch.
      period: targets are reassigned in all steps of every so many epochs, beginning with
        the first: 3 in the released code; 0: never.
      prepare: batch -> x, the network's input outside training; edges in the paper.
    """
    if size < 1 or epoch < 1 or period < 0:
        raise ValueError(
            f"noise_as_targets: size and epoch must be at least 1 and period at least 0 "
            f"(0: never reassign), got {size}, {epoch} and {period}"
        )
    look = augment or (lambda key, batch: prepare(batch))

    def init(key, batch):
        net_key, targets_key = jax.random.split(key)
        x = first_row(prepare(batch))
        learner = fresh(tx, *net.init(net_key, x))
        z = jax.eval_shape(net.apply, learner.params, learner.stats, x)[0]["z"]
        targets, labels = nat_targets(targets_key, size, z.shape[1])
        return State(learner, targets, labels, jnp.zeros((), jnp.int32))

    def assigned(z, targets, labels, count):
        """The labels of a batch, reassigned if it is the epoch for it."""
        reassign = lambda z: nat_reassign(z, targets, labels)
        if period < 2:
            return reassign(z) if period else labels
        due = count // epoch % period == 0
        return jax.lax.cond(due, reassign, lambda z: labels, jax.lax.stop_gradient(z))

    def loss(params, stats, x, targets, labels, count, keys):
        out, stats = net.apply(params, stats, x, train=True, keys=keys)
        z, after = out["z"], assigned(out["z"], targets, labels, count)
        value, near = nat(z, targets[after]), cosine(z, targets[after]).mean()
        moved = (after != labels).mean()
        return value, (
            stats,
            {"loss": value, "cosine": near, "reassigned": moved, "labels": after},
        )

    def step(key, state, batch):
        learner, targets, labels, count = state
        index, x = batch["index"], look(key, batch)
        given = x, targets, labels[index], count, noise_keys(key)
        learner, metrics = minimize(tx, loss, learner, *given)
        labels = labels.at[index].set(metrics.pop("labels"))
        return State(learner, targets, labels, count + 1), metrics

    def embed(state, batch):
        learner = state.learner
        return net.apply(learner.weights, learner.stats, prepare(batch))[0]

    def small(batch):
        return thumbnails(prepare(batch))

    def render(key, state, batch, collect):
        images = jax.eval_shape(prepare, batch)
        if len(getattr(images, "shape", ())) != 4:
            return {}
        own = state.targets[state.labels]  # of each sample
        asked = jax.random.permutation(key, size)[:8]
        near = np.asarray(jax.lax.top_k(dots(own[asked], own), min(8, size))[1])
        heads = ("image", *(f"nearest {i}" for i in range(1, near.shape[1])))
        shown = in_range(np.asarray(collect(small))[near])
        return {"images with the nearest targets": Grid(shown, heads)}

    return Method(init, step, embed, render=render)
