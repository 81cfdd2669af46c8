"""Policies that were cloned from demonstrations: errors of actions, and rollouts."""

import jax
import jax.numpy as jnp
import numpy as np

from jssl.evals.protocol import Eval, Features
from jssl.ops.point_reach import STEPS, reached, render, reset, step

APART = 2**16  # folded into the key: other states than those of `jssl.data.reaching`


def cloning(target: str = "action", name: str = "prediction") -> Eval:
    """Mean squared error of predicted actions, "clone_mse", on val or test.

    Args:
      target: column of actions, float [n, a].
      name: output of the method of that shape.
    """

    def run(features: Features, final: bool) -> dict:
        split = "test" if final else "val"
        pred, y = np.asarray(features(split, name)), features.targets(split, target)
        if pred.shape != y.shape:
            raise ValueError(
                f"cloning: {name!r} must have the shape of {target!r}, got "
                f"{list(pred.shape)} and {list(y.shape)}"
            )
        return {"clone_mse": float(np.square(pred.astype(np.float64) - y).mean())}

    return Eval(f"mean squared error of {target}", run, (name,))


def reaching(
    episodes: int = 100, name: str = "prediction", size: int = 32, seed: int = 0
) -> Eval:
    """Fraction of successful episodes of `jssl.ops.point_reach`, "success", in [0, 1].

    The method is the policy: its output for image, position and state is the action. First
    states and backgrounds are the same for all methods, others at the end than before, and
    none of them is in the data set `point_reach`.

    Args:
      episodes: number of rollouts.
      name: output of the method, [n, 2].
      size: side of the images in pixels.
      seed: of the rollouts.
    """
    draw = jax.jit(jax.vmap(lambda state, key: render(state, key, size)))
    move = jax.jit(jax.vmap(step))

    def run(features: Features, final: bool) -> dict:
        key = jax.random.fold_in(jax.random.key(2 * seed + final), APART)
        begin, noise = jax.random.split(key)
        states = jax.vmap(reset)(jax.random.split(begin, episodes))
        for key in jax.random.split(noise, STEPS):
            rows = {
                "image": draw(states, jax.random.split(key, episodes)),
                "position": states.position,
                "state": jnp.concatenate([states.position, states.goal], axis=1),
            }
            states = move(states, jnp.asarray(features.of(rows, name)))
        return {"success": float(jax.vmap(reached)(states).mean())}

    return Eval(
        f"success in {episodes} episodes of {STEPS} steps, first states not in the data, "
        f"images of {size} pixels, seed={seed}",
        run,
        (name,),
    )
