"""SwAV: prediction of the cluster of one view of an image from another view.

Caron, Misra, Mairal, Goyal, Bojanowski and Joulin, "Unsupervised Learning of Visual
Features by Contrasting Cluster Assignments", NeurIPS 2020. https://arxiv.org/abs/2006.09882

    L = mean_{i, v != i} H(q_i, softmax(s_v / tau)),    q_i = Sinkhorn(s_i / epsilon),
    s_v = z_v C^T,

with C the prototypes and z_v the projections of view v, all of length 1; i runs over the
large views and v over all, small crops included. Sinkhorn's codes q have no gradient and
use all prototypes equally within the batch, without which all images have the same code.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jssl.learner import Learner, fresh, minimize, whole_batches
from jssl.losses.distillation import swav as swapped_prediction
from jssl.method import Augment, Method, Prepare, field, first_row
from jssl.nets import Net, by_size
from jssl.ops.memory import Queue, queue_init, queue_push
from jssl.ops.sinkhorn import sinkhorn
from jssl.ops.vectors import dots, unit
from jssl.pictures import Grid, in_range, thumbnails


class State(NamedTuple):
    learner: Learner
    queue: Queue | tuple  # rows [crops k] of earlier projections of the large views
    count: jax.Array  # steps taken


def swav(
    net: Net,
    tx: optax.GradientTransformation,
    augment: Augment,
    *,
    crops: int = 2,
    temperature: float = 0.1,
    epsilon: float = 0.05,
    iterations: int = 3,
    queue: int = 0,
    queue_from: int = 0,
    prepare: Prepare = field("image"),
) -> Method[State]:
    """Swapped prediction of balanced cluster assignments.

    Args:
      net: x -> {"h": [n, d], "z": [n, k], "prototypes": [n, count]}, with z of length 1 and
        a linear layer without bias named "prototypes"; its method `encode` ends at h and
        `assign` begins there.
      tx: optimizer of all weights. The paper uses LARS, and leaves the prototypes as they
        are in the first 313 steps, one epoch (`jssl.optim.held`).
      augment: (key, batch) -> groups of views of one size, ([n, 2, ...], [n, 6, ...]),
        normalized as `prepare` does.
      crops: number of large views, which come first: only these have codes.
      temperature: tau.
      epsilon: of Sinkhorn's iterations; smaller values give sharper codes.
      iterations: of Sinkhorn; 0: plain softmax, which leads to collapse.
      queue: earlier projections that are assigned together with those of a batch smaller
        than the number of prototypes; 0: none. They serve only the codes.
      queue_from: step from which the queue is used, and not before it is full.
      prepare: batch -> x, the network's input outside training (normalization, a crop).
    """

    def init(key, batch):
        net_key, queue_key = jax.random.split(key)
        x = first_row(prepare(batch))
        learner = whole_batches("swav", fresh(tx, *net.init(net_key, x)))
        out = jax.eval_shape(lambda: net.apply(learner.params, learner.stats, x)[0])
        width = crops * out["z"].shape[1]
        rows = queue_init(queue_key, queue, width) if queue else ()
        return State(learner, rows, jnp.zeros((), jnp.int32))

    def codes(scores, earlier):
        """Codes [n, crops, count] of rows and earlier ones [q, crops, count] together."""
        both = jnp.concatenate([earlier, scores[:, :crops]])
        deal = [sinkhorn(both[:, i], epsilon, iterations) for i in range(crops)]
        return jnp.stack(deal, 1)[-len(scores) :]

    def loss(params, stats, groups, rows, active):
        out, stats = by_size(net, params, stats, groups, "assign")
        scores = out["prototypes"]
        fixed, own = jax.lax.stop_gradient((scores, out["z"][:, :crops]))
        q = codes(fixed, fixed[:0, :crops])
        if queue:
            columns = jax.lax.stop_gradient(prototypes(params))
            earlier = dots(rows.keys.reshape(-1, own.shape[2]), columns)
            earlier = earlier.reshape(queue, crops, -1)
            q = jnp.where(active, codes(fixed, earlier), q)
        value = swapped_prediction(scores, q, temperature=temperature)
        p = jax.nn.softmax(fixed / temperature).mean((0, 1))
        used = jnp.exp(jax.scipy.special.entr(p).sum())  # of `count`; 1: collapse
        return value, (stats, {"loss": value, "prototypes_used": used, "z": own})

    def step(key, state, batch):
        groups = augment(key, batch)
        n = len(groups[0])
        active = state.count >= max(queue_from, -(-queue // n))
        before = normalized(state.learner)
        learner, metrics = minimize(tx, loss, before, groups, state.queue, active)
        own = metrics.pop("z").reshape(n, -1)
        rows = queue_push(state.queue, own) if queue else ()
        return State(learner, rows, state.count + 1), metrics

    def embed(state, batch):
        learner = state.learner
        params = with_unit_prototypes(learner.weights)
        return net.apply(params, learner.stats, prepare(batch))[0]

    def reduced(batch):
        """Inputs reduced so that a whole split fits in memory."""
        return thumbnails(prepare(batch))

    def best(state, batch):
        scores = embed(state, batch)["prototypes"]
        return scores.argmax(1), scores.max(1)

    def render(key, state, batch, collect):
        images = jax.eval_shape(prepare, batch)
        if not isinstance(images, jax.ShapeDtypeStruct) or len(images.shape) != 4:
            return {}
        images = collect(reduced)
        found, score = (np.asarray(x) for x in collect(best, state))
        known = np.unique(found)
        shown = known[np.linspace(0, len(known) - 1, min(8, len(known))).astype(int)]
        order = np.argsort(-score)
        rows = [np.resize(order[found[order] == k][:8], 8) for k in shown]
        title = "nearest images, a row a prototype"
        return {title: Grid(in_range(images[np.stack(rows)]))}

    return Method(init, step, embed, render=render)


def prototypes(params) -> jax.Array:
    """Prototypes as rows [count, k]."""
    return params["prototypes"]["kernel"].T


def with_unit_prototypes(params):
    """Weights with prototypes of length 1."""
    kernel = unit(prototypes(params)).T
    return dict(params) | {"prototypes": dict(params["prototypes"]) | {"kernel": kernel}}


def normalized(learner: Learner) -> Learner:
    """A learner with prototypes of length 1, outside the gradient, before each step."""
    return learner._replace(params=with_unit_prototypes(learner.params))
