"""MAE features for control: a policy is cloned from demonstrations on a frozen encoder.

Xiao, Radosavovic, Darrell and Malik, "Masked Visual Pre-training for Motor Control", 2022,
https://arxiv.org/abs/2203.06173; Radosavovic et al., "Real-World Robot Learning with Masked
Visual Pre-training", CoRL 2022, https://arxiv.org/abs/2210.03109

    L = mean |pi(N(sg(z(o))), s) - a|^2

for pairs of an expert: image o, known state s (of the robot itself) and action a. z is
pre-trained by `jssl.methods.masked.mae` on images without a task, and never updated. N
normalizes the features, in the paper by layer norm; it belongs to the policy. The class
token loses positions less than a mean of patches; the flattened patches keep all.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import optax

from jssl.learner import Learner, fresh, minimize, noise_keys
from jssl.method import Augment, Method, Prepare, field, first_row
from jssl.methods.transfer.distil import Frozen
from jssl.methods.transfer.supervised import mean_squared_error
from jssl.nets import Net


class State(NamedTuple):
    """A frozen encoder, which is never updated, and the trained policy."""

    net: Frozen
    policy: Learner


def robot_mae(
    net: Net,
    policy: Net,
    tx: optax.GradientTransformation,
    augment: Augment | None = None,
    *,
    prepare: Prepare = field("image"),
    known: Prepare | None = None,
    target: Prepare = field("action"),
    error: Callable = mean_squared_error,
) -> Method[State]:
    """Behavior cloning on frozen features.

    `jssl.methods.transfer.linear.after` starts the stage from a pre-trained encoder. h of
    `embed` is the policy's last hidden layer, "prediction" the action.

    Args:
      net: x -> z, features [n, ...]: the encoder.
      policy: (z, s or None) -> {"prediction": actions [n, a], "h": [n, d], ...}.
      tx: optimizer of the policy.
      augment: (key, batch) -> one view of the images, such as a shift, normalized as
        `prepare` does; None: `prepare`.
      prepare: batch -> x, the input of the encoder.
      known: batch -> s [n, k], what a robot knows without seeing; None: nothing.
      target: batch -> the expert's actions.
      error: (out, a) -> (loss, metrics).
    """

    look = augment or (lambda key, batch: prepare(batch))

    def inputs(weights: Frozen, x, batch) -> tuple[Any, Any]:
        z, _ = net.apply(weights.params, weights.stats, x)
        return jax.lax.stop_gradient(z), None if known is None else known(batch)

    def init(key, batch):
        row = first_row(dict(batch))
        net_key, policy_key = jax.random.split(key)
        x = prepare(row)
        weights = Frozen(*net.init(net_key, x))
        return State(weights, fresh(tx, *policy.init(policy_key, *inputs(weights, x, row))))

    def loss(params, stats, z, s, action, keys):
        out, stats = policy.apply(params, stats, z, s, train=True, keys=keys)
        value, metrics = error(out, action)
        return value, (stats, metrics)

    def step(key, state, batch):
        z, s = inputs(state.net, look(key, batch), batch)
        args = z, s, target(batch), noise_keys(key)
        learner, metrics = minimize(tx, loss, state.policy, *args)
        return state._replace(policy=learner), metrics

    def embed(state, batch):
        z, s = inputs(state.net, prepare(batch), batch)
        return policy.apply(state.policy.weights, state.policy.stats, z, s)[0]

    return Method(init, step, embed)
