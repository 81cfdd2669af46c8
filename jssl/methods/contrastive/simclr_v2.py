"""SimCLR v2: SimCLR with a deeper head, whose first layer is kept for fine-tuning.

Chen, Kornblith, Swersky, Norouzi and Hinton, "Big Self-Supervised Models are Strong
Semi-Supervised Learners", NeurIPS 2020. https://arxiv.org/abs/2006.10029

    L = mean_i -log exp(s(z_i, z_j) / tau)
                    / (sum_{k != i} exp(s(z_i, z_k) / tau) + sum_m exp(s(z_i, u_m) / tau))

over all 2n views z, with j the other view of i's image, s the cosine similarity, and u a
queue of projections of earlier images by a momentum encoder. This is the first of three
stages: then fine-tune from the head's first layer on few labels (`supervised`), and distill
on all images (`distil`).
"""

from typing import Any, NamedTuple

import jax
import optax

from jssl.learner import Learner, minimize
from jssl.losses.contrastive import nt_xent
from jssl.method import Augment, Method, Prepare, field, first_row, fold, view
from jssl.methods.contrastive.simclr import scaled, simclr
from jssl.nets import Net
from jssl.ops.ema import ema
from jssl.ops.memory import Queue, queue_init, queue_push
from jssl.ops.vectors import unit


class Memory(NamedTuple):
    """The momentum encoder, and a queue of its projections."""

    params: Any
    stats: Any
    queue: Queue


class State(NamedTuple):
    online: Learner
    memory: Memory | tuple  # () without a queue


def simclr_v2(
    net: Net,
    tx: optax.GradientTransformation,
    augment: Augment,
    *,
    temperature: float = 0.1,
    scale: float = 1.0,
    queue: int = 0,
    momentum: float = 0.999,
    prepare: Prepare = field("image"),
    chunk: int | None = None,
) -> Method[State]:
    """SimCLR, optionally with a queue of additional negatives.

    Args:
      net: x -> {"h": [n, d], "z": [n, k]}; its method `trunk` returns {"h", "head1"}, with
        head1 the output of the first of the head's three layers.
      tx: optimizer of all weights. The paper uses LARS with batches of 4,096.
      augment: (key, batch) -> two views of each row, [n, 2, ...], normalized as `prepare`
        does.
      temperature: tau.
      scale: factor of the gradient, 2 in the released code; see `simclr`.
      queue: number of projections in the queue, those of the second views; 0: SimCLR. The
        paper: 65,536. A queue that is not much smaller than the data set contains views of
        the same image as negatives.
      momentum: of the momentum encoder.
      prepare: batch -> x, the network's input outside training (normalization, a crop).
      chunk: candidates per block, see `nt_xent`.
    """
    plain = simclr(
        net,
        tx,
        augment,
        temperature=temperature,
        scale=scale,
        prepare=prepare,
        chunk=chunk,
    )

    def init(key, batch):
        if not queue:
            return State(plain.init(key, batch), ())
        net_key, queue_key = jax.random.split(key)
        online = plain.init(net_key, batch)
        seen = jax.eval_shape(
            lambda: net.apply(online.params, online.stats, first_row(prepare(batch)))[0]
        )
        keys = queue_init(queue_key, queue, seen["z"].shape[1])
        return State(online, Memory(online.params, online.stats, keys))

    def loss(params, stats, views, remembered):
        # Common batch statistics, as in SimCLR.
        out, stats = net.apply(params, stats, fold(views), train=True)
        z = out["z"].reshape(-1, 2, out["z"].shape[-1])
        value = nt_xent(
            z[:, 0], z[:, 1], temperature, chunk=chunk, negatives=remembered.keys
        )
        metrics = {"loss": value, "z_std": unit(z[:, 0]).std(0).mean()}
        return scaled(value, scale), (stats, metrics)

    def step(key, state, batch):
        if not queue:
            online, metrics = plain.step(key, state.online, batch)
            return State(online, ()), metrics
        views = augment(key, batch)
        params, stats, remembered = state.memory
        # Keys are negatives only, so batch statistics leak nothing about positives.
        out, stats = net.apply(params, stats, view(views, 1), train=True)
        online, metrics = minimize(tx, loss, state.online, views, remembered)
        remembered = queue_push(remembered, unit(out["z"]))
        params = ema(params, online.params, momentum)
        return State(online, Memory(params, stats, remembered)), metrics

    def embed(state, batch):
        online, images = state.online, prepare(batch)
        return net.apply(online.weights, online.stats, images, method="trunk")[0]

    def render(key, state, batch, collect):
        return plain.render(key, state.online, batch, collect)

    return Method(init, step, embed, render=render)
