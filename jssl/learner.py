"""Weights, and the two verbs that move them."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jssl.ops.gather import pmean


class Learner(NamedTuple):
    """One player: weights with all that follows them.

    Attributes:
      params: what the optimiser moves.
      stats: what the forward pass moves (batch-norm averages), or nothing.
      opt: the optimiser's state, the running average of the weights included where
        the chain ends in `ema_weights`.
    """

    params: Any
    stats: Any
    opt: optax.OptState

    @property
    def ema(self) -> Any | None:
        """The running average of the weights, or None if the chain keeps none."""
        found = optax.tree.get(self.opt, "EmaState")
        return None if found is None else found.average

    @property
    def weights(self) -> Any:
        """What `embed` should use: the running average where it exists."""
        average = self.ema
        return self.params if average is None else average


def fresh(tx: optax.GradientTransformation, params: Any, stats: Any = ()) -> Learner:
    """A learner that has taken no step."""
    return Learner(params, stats, tx.init(params))


def descend(tx: optax.GradientTransformation, learner: Learner, grads: Any) -> Learner:
    """One step of `tx` along gradients, however they were come by."""
    updates, opt = tx.update(grads, learner.opt, learner.params)
    return learner._replace(params=optax.apply_updates(learner.params, updates), opt=opt)


def minimize(
    tx: optax.GradientTransformation,
    loss: Callable,
    learner: Learner,
    *args,
    axis_name: str | None = None,
) -> tuple[Learner, Any]:
    """One step of `tx` down loss(params, stats, *args) -> (value, (stats, metrics)).

    Under `pmap`, and under `shard_map` without varying-axes checks, name the axis: the
    devices' gradients are then averaged. Under `jit` there is nothing to average.
    """
    grad = jax.grad(loss, has_aux=True)
    grads, (stats, metrics) = grad(learner.params, learner.stats, *args)
    return descend(tx, learner._replace(stats=stats), pmean(grads, axis_name)), metrics


class EmaState(NamedTuple):
    """What `ema_weights` remembers."""

    average: Any


def ema_weights(decay: float) -> optax.GradientTransformationExtraArgs:
    """Keeps a running average of the weights, as the last link of an optax chain.

    average <- decay * average + (1 - decay) * weights, after each update, begun at the
    first weights. It sees real updates only, so `optax.MultiSteps` around the chain does
    not dilute it. (`optax.ema` averages updates, which is something else.)
    Polyak and Juditsky 1992, https://doi.org/10.1137/0330046

    >>> tx = optax.chain(optax.sgd(1.0), ema_weights(0.5))
    >>> learner = descend(tx, fresh(tx, jnp.array(0.0)), jnp.array(-2.0))
    >>> float(learner.params), float(learner.ema)    # 0.5 * 0 + 0.5 * 2
    (2.0, 1.0)
    """
    if not 0 <= decay <= 1:
        raise ValueError(f"ema_weights wants a decay between 0 and 1, got {decay}")

    def init(params):
        return EmaState(jax.tree.map(jnp.copy, params))

    def update(updates, state, params=None, **_):
        if params is None:
            raise ValueError("ema_weights needs the weights: tx.update(grads, opt, params)")
        after = optax.apply_updates(params, updates)
        return updates, EmaState(
            jax.tree.map(lambda a, w: decay * a + (1 - decay) * w, state.average, after)
        )

    return optax.GradientTransformationExtraArgs(init, update)


def without_predictor(learner: Learner) -> tuple[Any, Any]:
    """(params, stats) less those of the predictor, of which a target has no copy."""

    def rest(tree):
        return {name: part for name, part in tree.items() if name != "predictor"}

    return rest(learner.params), {k: rest(tree) for k, tree in learner.stats.items()}


def graft(learner: Learner, **sources: Any) -> Learner:
    """Weights of earlier stages, put in the place of fresh ones.

    `graft(learner, encoder=pretrained)` replaces `params["encoder"]` by the same subtree
    of `pretrained` (a Learner; its running average where it has one), and the statistics
    of that name likewise. Weights that the old network has and the new one lacks are left
    behind; a running average kept by the new chain starts from the grafted weights.

    Raises:
      ValueError: when the new network has a weight that the old one lacks, or of another
        shape, with its path.
    """
    params = dict(learner.params)
    stats = {kind: dict(tree) for kind, tree in dict(learner.stats or {}).items()}
    for name, source in sources.items():
        if name not in params or name not in source.weights:
            raise ValueError(f"graft: both networks must have a part named {name!r}")
        params[name] = _transplant(params[name], source.weights[name], name)
        for kind, tree in stats.items():
            if name in tree:
                tree[name] = _transplant(tree[name], source.stats[kind][name], name)
    opt = learner.opt
    if learner.ema is not None:
        opt = optax.tree.set(opt, EmaState=EmaState(params))
    return Learner(params, stats if stats else learner.stats, opt)


def _transplant(new, old, where):
    if isinstance(new, dict):
        missing = set(new) - set(old) if isinstance(old, dict) else set(new)
        if missing:
            raise ValueError(f"graft: the old network has no {where}/{min(missing)}")
        return {k: _transplant(new[k], old[k], f"{where}/{k}") for k in new}
    if jnp.shape(new) != jnp.shape(old):
        raise ValueError(
            f"graft: {where} has shape {jnp.shape(new)}, the old one {jnp.shape(old)}"
        )
    return old
