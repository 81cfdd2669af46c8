"""SimCLR v2: SimCLR with a deeper head, whose first layer is kept when labels come.

Chen, Kornblith, Swersky, Norouzi and Hinton, "Big Self-Supervised Models are Strong
Semi-Supervised Learners", NeurIPS 2020. https://arxiv.org/abs/2006.10029

    L = mean_i -log exp(s(z_i, z_j) / tau)
                    / (sum_{k != i} exp(s(z_i, z_k) / tau) + sum_m exp(s(z_i, u_m) / tau))

over all 2n views z, j the other view of i's image, s the cosine, u a queue of what a
slow average of the network said of earlier images. This is the first stage of three:
fine-tune from the head's first layer on few labels (`supervised`), then distil on all
images (`distil`).
"""

from typing import Any, NamedTuple

import jax
import optax

from jssl.learner import Learner, minimize
from jssl.losses.contrastive import nt_xent
from jssl.method import Augment, Method, Prepare, field, first_row, fold, view
from jssl.methods.contrastive.simclr import simclr
from jssl.nets import Net
from jssl.ops.ema import ema
from jssl.ops.memory import Queue, queue_init, queue_push
from jssl.ops.vectors import unit


class Memory(NamedTuple):
    """The slow network, with statistics of its own, and what it said last."""

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
    queue: int = 0,
    momentum: float = 0.999,
    prepare: Prepare = field("image"),
    chunk: int | None = None,
) -> Method[State]:
    """SimCLR, with more negatives from a memory if there is a queue.

    Args:
      net: images -> {"h": [n, d], "z": [n, k]}; `trunk` gives {"h", "head1"}, head1 what
        the first of the head's three layers says.
      tx: moves all weights. The paper uses LARS with batches of 4,096.
      augment: draws two views of each image, [n, 2, ...], normalised as `prepare` does.
      temperature: tau.
      queue: projections remembered, those of each image's second view; 0: no memory,
        which is SimCLR. The paper: 65,536. A queue that is not much smaller than the
        data holds an image's own views among its negatives.
      momentum: of the slow network.
      prepare: what the network sees of an image outside training.
      chunk: candidates a block: see `nt_xent`.
    """
    plain = simclr(net, tx, augment, temperature=temperature, prepare=prepare, chunk=chunk)

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
        # Statistics are shared, as in SimCLR.
        out, stats = net.apply(params, stats, fold(views), train=True)
        z = out["z"].reshape(-1, 2, out["z"].shape[-1])
        value = nt_xent(
            z[:, 0], z[:, 1], temperature, chunk=chunk, negatives=remembered.keys
        )
        return value, (stats, {"loss": value, "z_std": unit(z[:, 0]).std(0).mean()})

    def step(key, state, batch):
        if not queue:
            online, metrics = plain.step(key, state.online, batch)
            return State(online, ()), metrics
        views = augment(key, batch)
        params, stats, remembered = state.memory
        # Keys are negatives only: their common statistics betray no partner.
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
