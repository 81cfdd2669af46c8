"""Linear evaluation: a classifier trained on a frozen encoder, with augmented images.

The published protocol of self-supervised learning. The encoder is in evaluation mode, so
that its batch statistics stay those of pre-training; gradients reach the head alone. Zhang
et al. 2016, https://arxiv.org/abs/1603.08511; the recipes differ from paper to paper, and
are those of the experiments. `jssl.evals.linear_probe` solves the same problem exactly,
without augmentation.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jssl.learner import Learner, fresh, minimize, noise_keys, transplant
from jssl.method import Augment, Method, Prepare, field, first_row
from jssl.methods.transfer.distil import Frozen, frozen
from jssl.methods.transfer.supervised import cross_entropy
from jssl.nets import Net


class State(NamedTuple):
    """A frozen network, which is never updated, and the trained head."""

    net: Frozen
    head: Learner


def linear(
    net: Net,
    head: Net,
    tx: optax.GradientTransformation,
    classes: int,
    augment: Augment | None = None,
    *,
    prepare: Prepare = field("image"),
    target: Prepare = field("label"),
    error: Callable = cross_entropy,
    output: str = "h",
) -> Method[State]:
    """A linear classifier, or another head, on the features of a frozen network.

    `after` starts the stage from a pre-trained one. h of `embed` is the frozen features,
    averaged over places if they are maps or tokens: [n, d].

    Args:
      net: x -> {output: features [n, ...], ...}, the pre-trained network.
      head: features -> {"logits": [n, classes]}.
      tx: optimizer of the head.
      classes: number of classes.
      augment: (key, batch) -> one view of each row, [n, ...], normalized as `prepare` does;
        None: `prepare`.
      prepare: batch -> x, the network's input outside training.
      target: batch -> class numbers int [n].
      error: (out, y) -> (loss, metrics), with y [n, classes] of 0 and 1.
      output: name of the features; empty: the network has no other output.
    """

    look = augment or (lambda key, batch: prepare(batch))

    def features(weights, x):
        found, _ = net.apply(weights.params, weights.stats, x)
        return found[output] if output else found

    def init(key, batch):
        net_key, head_key = jax.random.split(key)
        x = first_row(prepare(batch))
        weights = Frozen(*net.init(net_key, x))
        return State(weights, fresh(tx, *head.init(head_key, features(weights, x))))

    def loss(params, stats, h, y, keys):
        out, stats = head.apply(params, stats, h, train=True, keys=keys)
        value, metrics = error(out, y)
        return value, (stats, metrics)

    def step(key, state, batch):
        h = features(state.net, look(key, batch))
        y = jax.nn.one_hot(target(batch), classes, dtype=jnp.float32)
        learner, metrics = minimize(tx, loss, state.head, h, y, noise_keys(key))
        return state._replace(head=learner), metrics

    def embed(state, batch):
        h = features(state.net, prepare(batch))
        out, _ = head.apply(state.head.weights, state.head.stats, h)
        return out | {"h": h.mean(range(1, h.ndim - 1))}

    return Method(init, step, embed)


def after(stage: str, learner: Callable[[Any], Learner] = lambda state: state) -> Callable:
    """A `start` from the network of an earlier stage, with its averaged weights.

    Args:
      stage: name of the earlier stage.
      learner: state of that stage -> the Learner of the network.
    """

    def start(state, done):
        pairs = zip(state.net, frozen(learner(done[stage])), strict=True)
        return state._replace(net=Frozen(*(transplant(x, y, stage) for x, y in pairs)))

    return start
