"""Weights with their optimizer state, and the two functions that update them."""

import os.path
from collections.abc import Callable, Collection
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jssl.ops.gather import pmean

GRAD_NORM = "grad_norm"


class Learner(NamedTuple):
    """The weights of one network with their statistics and optimizer state.

    Attributes:
      params: trained by the optimizer.
      stats: updated by the forward pass (batch-norm averages); may be empty.
      opt: optimizer state; includes the running average of the weights if the chain
        ends in `ema_weights`.
    """

    params: Any
    stats: Any
    opt: optax.OptState

    @property
    def ema(self) -> Any | None:
        """The running average of the weights (the first, if several), or None."""
        nodes = jax.tree.leaves(self.opt, is_leaf=_is_average)
        return next((x.average for x in nodes if _is_average(x)), None)

    @property
    def weights(self) -> Any:
        """Weights for evaluation: the running average if there is one, else `params`."""
        average = self.ema
        return self.params if average is None else average


def fresh(tx: optax.GradientTransformation, params: Any, stats: Any = ()) -> Learner:
    """A learner before its first step."""
    return Learner(params, stats, tx.init(params))


def descend(tx: optax.GradientTransformation, learner: Learner, grads: Any) -> Learner:
    """Applies one optimizer step to gradients from any source.

    They may come from autodiff or from an estimator such as contrastive divergence.
    """
    updates, opt = tx.update(grads, learner.opt, learner.params)
    return learner._replace(params=optax.apply_updates(learner.params, updates), opt=opt)


def minimize(
    tx: optax.GradientTransformation,
    loss: Callable,
    learner: Learner,
    *args,
    axis_name: str | None = None,
    prefix: str = "",
) -> tuple[Learner, dict[str, Any]]:
    """Takes one gradient step on loss(params, stats, *args) -> (value, (stats, metrics)).

    The metrics returned are those of the loss and "grad_norm", the Euclidean norm of the
    gradients before any clipping, under a prefix for methods with several losses.

    Under `pmap`, and under `shard_map` without varying-axes checks, pass the axis name:
    gradients are then averaged over devices. `jit` needs no axis name.
    """
    grad = jax.grad(loss, has_aux=True)
    grads, (stats, metrics) = grad(learner.params, learner.stats, *args)
    grads = pmean(grads, axis_name)
    norm = {prefix + GRAD_NORM: optax.tree.norm(grads)}
    return descend(tx, learner._replace(stats=stats), grads), metrics | norm


def noise_keys(key: jax.Array) -> dict[str, jax.Array]:
    """Keys of the noise within a network, for `Net.apply`: "dropout" and "drop_path".

    They are independent of the keys that splits of `key` give, so that a method can draw
    views from `key` itself. Networks without noise ignore them.

    >>> sorted(noise_keys(jax.random.key(0)))
    ['drop_path', 'dropout']
    """
    streams = enumerate(("dropout", "drop_path"), start=2**30)
    return {name: jax.random.fold_in(key, i) for i, name in streams}


def on_update(before: Learner, after: Learner, moved: Any, still: Any) -> Any:
    """State that follows the weights: `moved` if the optimizer updated them, else `still`.

    An optimizer in `optax.MultiSteps` averages the gradients of several steps into one
    update: targets, schedules and counts wait for it. With any other, `moved`.

    >>> tx = optax.MultiSteps(optax.sgd(1.0), 2)
    >>> learner, count = fresh(tx, jnp.array(0.0)), 0
    >>> for _ in range(4):
    ...     before, learner = learner, descend(tx, learner, jnp.array(1.0))
    ...     count = on_update(before, learner, count + 1, count)
    >>> int(count), float(learner.params)
    (2, -2.0)
    """
    steps = [_accumulated(learner.opt) for learner in (before, after)]
    if not steps[1]:
        return moved
    updated = steps[1][0].gradient_step != steps[0][0].gradient_step
    return jax.tree.map(lambda m, s: jnp.where(updated, m, s), moved, still)


def whole_batches(method: str, learner: Learner) -> Learner:
    """The learner of a method whose loss compares the samples of a batch.

    Raises:
      ValueError: the optimizer accumulates gradients, which are then those of comparisons
        within each part of a batch, and not of the whole.
    """
    if _accumulated(learner.opt):
        raise ValueError(
            f"{method}: the loss compares the samples of a batch, so gradients of parts of "
            "it do not add up to its own: use no optax.MultiSteps, but a smaller batch or "
            "more devices"
        )
    return learner


def rates(state: Any) -> dict[str, jax.Array]:
    """Learning rates of the last update, of all optimizers that keep them in their state.

    These are made by `optax.inject_hyperparams`, as are those of `jssl.optim`. A single one
    is "learning_rate"; several are told apart by the parts of their paths in the state that
    differ, as in "learning_rate/generator".

    >>> tx = optax.inject_hyperparams(optax.sgd)(lambda step: 0.5 - 0.25 * step)
    >>> learner = descend(tx, fresh(tx, jnp.array(0.0)), jnp.array(1.0))
    >>> {name: float(rate) for name, rate in rates(learner).items()}
    {'learning_rate': 0.5}
    """
    name, keeps = "learning_rate", lambda node: hasattr(node, "hyperparams")
    nodes = jax.tree_util.tree_leaves_with_path(state, is_leaf=keeps)
    found = [(path, x) for path, x in nodes if keeps(x) and name in x.hyperparams]
    paths = [
        [jax.tree_util.keystr((key,), simple=True) for key in path] for path, _ in found
    ]
    first = len(os.path.commonprefix(paths))
    last = len(os.path.commonprefix([path[first:][::-1] for path in paths]))
    own = ["/".join([name, *path[first : len(path) - last]]) for path in paths]
    return {at: x.hyperparams[name] for at, (_, x) in zip(own, found, strict=True)}


def _accumulated(opt):
    """The states of all `optax.MultiSteps` in an optimizer state."""
    is_one = lambda node: isinstance(node, optax.MultiStepsState)
    return [node for node in jax.tree.leaves(opt, is_leaf=is_one) if is_one(node)]


class AveragedWeights(NamedTuple):
    """State of `ema_weights`."""

    average: Any


def _is_average(node):
    return isinstance(node, AveragedWeights)


def ema_weights(decay: float) -> optax.GradientTransformationExtraArgs:
    """Maintains a running average of the weights; the last transformation of a chain.

    average <- decay * average + (1 - decay) * weights after each update, starting from
    the initial weights. `optax.MultiSteps` around the chain calls it once per real
    update. (`optax.ema`, by contrast, averages updates; `jssl.ops.ema.ema` is one step of
    an average kept outside the optimizer, such as a target network.)
    Polyak and Juditsky 1992, https://doi.org/10.1137/0330046

    >>> tx = optax.chain(optax.sgd(1.0), ema_weights(0.5))
    >>> learner = descend(tx, fresh(tx, jnp.array(0.0)), jnp.array(-2.0))
    >>> float(learner.params), float(learner.ema)    # 0.5 * 0 + 0.5 * 2
    (2.0, 1.0)
    """
    if not 0 <= decay <= 1:
        raise ValueError(f"ema_weights needs a decay between 0 and 1, got {decay}")

    def init(params):
        return AveragedWeights(jax.tree.map(jnp.copy, params))

    def update(updates, state, params=None, **_):
        if params is None:
            raise ValueError("ema_weights needs the weights: tx.update(grads, opt, params)")
        after = optax.apply_updates(params, updates)
        return updates, AveragedWeights(
            jax.tree.map(lambda a, w: decay * a + (1 - decay) * w, state.average, after)
        )

    return optax.GradientTransformationExtraArgs(init, update)


def without_predictor(learner: Learner) -> tuple[Any, Any]:
    """(params, stats) without the predictor's, which a target network does not have."""

    def rest(tree):
        return {name: part for name, part in tree.items() if name != "predictor"}

    return rest(learner.params), {k: rest(tree) for k, tree in learner.stats.items()}


def graft(learner: Learner, *, new: Collection[str] = (), **sources: Any) -> Learner:
    """Replaces parts of a new network by pretrained weights.

    `graft(learner, encoder=pretrained)` replaces `params["encoder"]` by the same subtree
    of `pretrained` (a Learner; its running average if it has one), and the statistics of
    that name likewise. Pretrained weights without a counterpart are dropped. If the new
    chain keeps a running average, it restarts from the grafted weights.

    Args:
      learner: the new network.
      new: names of weights that keep their initialization where the pretrained network has
        none, such as "positions".
      sources: the pretrained network of each part.

    Raises:
      ValueError: if another weight of the new network is missing in the pretrained one,
        or has another shape there; the message gives its path.
    """
    params = dict(learner.params)
    stats = {kind: dict(tree) for kind, tree in dict(learner.stats or {}).items()}
    for name, source in sources.items():
        if name not in params or name not in source.weights:
            raise ValueError(f"graft: both networks must have a part named {name!r}")
        params[name] = transplant(params[name], source.weights[name], name, new)
        for kind, tree in stats.items():
            if name in tree:
                old = source.stats[kind][name]
                tree[name] = transplant(tree[name], old, name, new)
    opt = learner.opt
    if learner.ema is not None:
        restart = lambda node: AveragedWeights(params) if _is_average(node) else node
        opt = jax.tree.map(restart, opt, is_leaf=_is_average)
    return Learner(params, stats if stats else learner.stats, opt)


def transplant(own: Any, old: Any, where: str, new: Collection[str] = ()) -> Any:
    """Replaces the leaves of a nest of dictionaries by those of another, which has more.

    Raises:
      ValueError: a leaf is missing in `old`, unless its name is in `new`, or has another
        shape; `where` begins its path.
    """
    if isinstance(own, dict):
        absent = set(own) - set(old) if isinstance(old, dict) else set(own)
        if missing := absent - set(new):
            raise ValueError(f"graft: the pretrained network has no {where}/{min(missing)}")
        each = {k: f"{where}/{k}" for k in own if k not in absent}
        return own | {k: transplant(own[k], old[k], at, new) for k, at in each.items()}
    if jnp.shape(own) != jnp.shape(old):
        raise ValueError(
            f"graft: {where} has shape {jnp.shape(own)}, pretrained {jnp.shape(old)}"
        )
    return old
