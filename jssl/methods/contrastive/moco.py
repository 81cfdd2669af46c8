"""MoCo: contrastive learning with a momentum encoder and a queue of keys.

v1: He, Fan, Wu, Xie and Girshick, "Momentum Contrast for Unsupervised Visual
Representation Learning", CVPR 2020, https://arxiv.org/abs/1911.05722
v2, a deeper head, blur, tau 0.2: Chen, Fan, Girshick and He 2020,
https://arxiv.org/abs/2003.04297
v3, no queue, a predictor, a symmetric loss: Chen, Xie and He, ICCV 2021,
https://arxiv.org/abs/2104.02057

    L = mean_i -log exp(q_i k_i / tau) / (exp(q_i k_i / tau) + sum_j exp(q_i u_j / tau))

with u the queue; in v3 the other keys of the batch. The key encoder is an exponential
moving average of the query encoder and has no gradient.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jssl.learner import Learner, fresh, minimize, whole_batches, without_predictor
from jssl.losses.contrastive import info_nce
from jssl.method import Augment, Method, Prepare, field, first_row, view
from jssl.nets import Net
from jssl.ops.ema import cosine_momentum, ema
from jssl.ops.memory import Queue, queue_init, queue_push
from jssl.ops.vectors import unit


class State(NamedTuple):
    online: Learner
    params: Any  # of the key encoder
    stats: Any  # of the key encoder
    queue: Queue | tuple
    count: jax.Array  # steps taken


def moco(
    net: Net,
    tx: optax.GradientTransformation,
    augment: Augment,
    *,
    steps: int,
    queue: int = 65536,
    temperature: float = 0.07,
    momentum: float = 0.999,
    prepare: Prepare = field("image"),
    chunk: int | None = None,
) -> Method[State]:
    """Contrastive learning with a queue (v1, v2) or, for queue=0, within the batch (v3).

    Args:
      net: x -> {"h": [n, d], "z": [n, k]} and, for v3, "p": [n, k]; its method `project`
        ends at z. With a queue, use grouped batch norm (the paper shuffles over GPUs);
        otherwise batch statistics leak which key matches which query.
      tx: optimizer of the query encoder.
      augment: (key, batch) -> two views of each row, [n, 2, ...], normalized as `prepare`
        does.
      steps: of training, after which the momentum of v3 is 1.
      queue: number of keys.
      temperature: tau: 0.07 in v1, 0.2 in v2 and v3.
      momentum: of the key encoder: constant with a queue, initial value of a cosine in v3.
      prepare: batch -> x, the network's input outside training (normalization, a crop).
      chunk: keys of a batch per block, see `info_nce`.
    """

    def init(key, batch):
        net_key, queue_key = jax.random.split(key)
        online = fresh(tx, *net.init(net_key, first_row(prepare(batch))))
        online = whole_batches("moco", online)
        target = without_predictor(online)
        width = jax.eval_shape(
            lambda: net.apply(online.params, online.stats, first_row(prepare(batch)))[0]
        )["z"].shape[1]
        keys = queue_init(queue_key, queue, width) if queue else ()
        return State(online, *target, keys, jnp.zeros((), jnp.int32))

    def encode(params, stats, images):
        out, stats = net.apply(params, stats, images, train=True, method="project")
        return jax.lax.stop_gradient(unit(out["z"])), stats

    def look_up(params, stats, views, keys, remembered):
        out, stats = net.apply(params, stats, view(views, 0), train=True, method="project")
        value = info_nce(out["z"], keys, remembered.keys, temperature)
        return value, (stats, {"loss": value})

    def queued(key, state, views):
        order = jax.random.permutation(key, len(jax.tree.leaves(views)[0]))
        shuffled, stats = encode(
            state.params, state.stats, jax.tree.map(lambda x: x[order, 1], views)
        )
        keys = shuffled[jnp.argsort(order)]
        online, metrics = minimize(tx, look_up, state.online, views, keys, state.queue)
        return online, stats, queue_push(state.queue, keys), metrics

    def contrast(params, stats, views, keys):
        one, stats = net.apply(params, stats, view(views, 0), train=True)
        two, stats = net.apply(params, stats, view(views, 1), train=True)
        value = sum(
            2 * temperature * info_nce(out["p"], k, None, temperature, chunk=chunk)
            for out, k in ((one, keys[1]), (two, keys[0]))
        )
        return value, (stats, {"loss": value})

    def batched(key, state, views):
        first, stats = encode(state.params, state.stats, view(views, 0))
        second, stats = encode(state.params, stats, view(views, 1))
        online, metrics = minimize(tx, contrast, state.online, views, (first, second))
        return online, stats, (), metrics

    def step(key, state, batch):
        view_key, shuffle_key = jax.random.split(key)
        views = augment(view_key, batch)
        move = queued if queue else batched
        online, stats, keys, metrics = move(shuffle_key, state, views)
        m = momentum if queue else cosine_momentum(state.count, steps, momentum)
        params = ema(state.params, without_predictor(online)[0], m)
        return State(online, params, stats, keys, state.count + 1), metrics

    def embed(state, batch):
        online = state.online
        return net.apply(online.weights, online.stats, prepare(batch))[0]

    return Method(init, step, embed)
