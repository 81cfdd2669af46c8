"""NNCLR: contrastive learning with nearest neighbors in place of the other view.

Dwibedi, Aytar, Tompson, Sermanet and Zisserman, "With a Little Help from My Friends:
Nearest-Neighbor Contrastive Learning of Visual Representations", ICCV 2021.
https://arxiv.org/abs/2104.14548

    L = mean_i -log exp(nn(z_i) p'_i / tau) / sum_k exp(nn(z_i) p'_k / tau),
    nn(z) = argmax_{q in Q} q z,

averaged over both directions, with z of one view, p' the prediction from the other, all of
length 1, and Q a queue of the first views of earlier batches. Positives are thus of other
images, and differ more than augmentations do. No gradient flows through z and Q.
"""

from typing import NamedTuple

import jax
import optax

from jssl.learner import Learner, fresh, minimize, whole_batches
from jssl.losses.siamese import nnclr as neighbor_contrast
from jssl.method import Augment, Method, Prepare, field, first_row, view
from jssl.nets import Net
from jssl.ops.memory import Queue, nearest, queue_init, queue_push
from jssl.ops.vectors import cosine, unit


class State(NamedTuple):
    learner: Learner
    queue: Queue  # projections of length 1


def nnclr(
    net: Net,
    tx: optax.GradientTransformation,
    augment: Augment,
    *,
    queue: int = 98304,
    temperature: float = 0.1,
    prepare: Prepare = field("image"),
    chunk: int | None = None,
) -> Method[State]:
    """Predictions against nearest neighbors of the other view's projections.

    Args:
      net: x -> {"h": [n, d], "z": [n, k], "p": [n, k]}.
      tx: optimizer of all weights. The paper uses LARS.
      augment: (key, batch) -> two views of each row, [n, 2, ...], normalized as `prepare`
        does.
      queue: number of projections among which neighbors are searched.
      temperature: tau.
      prepare: batch -> x, the network's input outside training (normalization, a crop).
      chunk: predictions of a batch per block, see `jssl.losses.siamese.nnclr`.
    """

    def init(key, batch):
        net_key, queue_key = jax.random.split(key)
        x = first_row(prepare(batch))
        learner = whole_batches("nnclr", fresh(tx, *net.init(net_key, x)))
        out = jax.eval_shape(lambda: net.apply(learner.params, learner.stats, x)[0])
        return State(learner, queue_init(queue_key, queue, out["z"].shape[1]))

    def loss(params, stats, views, keys):
        # One after the other, with separate batch statistics for each view.
        one, stats = net.apply(params, stats, view(views, 0), train=True)
        two, stats = net.apply(params, stats, view(views, 1), train=True)
        pairs = (one["z"], two["p"]), (two["z"], one["p"])
        ways = [neighbor_contrast(z, p, keys, temperature, chunk=chunk) for z, p in pairs]
        first = jax.lax.stop_gradient(unit(one["z"]))
        friends, _ = nearest(keys, first)
        value, near = sum(ways) / 2, cosine(friends, first).mean()
        return value, (stats, {"loss": value, "neighbor_cosine": near, "z": first})

    def step(key, state, batch):
        views, keys = augment(key, batch), state.queue.keys
        learner, metrics = minimize(tx, loss, state.learner, views, keys)
        # After the search, in which each projection would find itself.
        return State(learner, queue_push(state.queue, metrics.pop("z"))), metrics

    def embed(state, batch):
        learner = state.learner
        return net.apply(learner.weights, learner.stats, prepare(batch))[0]

    return Method(init, step, embed)
