r"""DDPM: denoising diffusion, with the samplers of DDIM and classifier-free guidance.

Ho, Jain and Abbeel, "Denoising Diffusion Probabilistic Models", NeurIPS 2020.
https://arxiv.org/abs/2006.11239

    x_t = sqrt(alpha bar_t) x_0 + sqrt(1 - alpha bar_t) epsilon,    t uniform in 1 ... T
    L = E |epsilon - net(x_t, t)|^2,    or of x_0 or v in place of epsilon

Samples begin with noise, and each step goes from t to s < t (Song, Meng and Ermon 2021,
https://arxiv.org/abs/2010.02502): with all steps and eta = 1 it is the ancestral sampler,
with eta = 0 it is deterministic. A network with a condition c is trained without it in a
fraction of the rows, and samples with net(x, none) + s (net(x, c) - net(x, none)) (Ho and
Salimans 2022, https://arxiv.org/abs/2207.12598).

h is the middle of the network, given x_t without its noise at a small t (Xiang et al.
2023, https://arxiv.org/abs/2303.09769).
"""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from jssl.learner import Learner, fresh, minimize, noise_keys
from jssl.losses.diffusion import simple_diffusion, variational_diffusion
from jssl.method import Augment, Method, Prepare, field, first_row
from jssl.nets import Net
from jssl.ops.diffusion import (
    Schedule,
    Target,
    Variance,
    at_step,
    ddim_indices,
    diffuse,
    diffusion_estimates,
    guided,
    partly_diffuse,
    reverse_diffusion,
)
from jssl.pictures import Grid

RANGE = field("image", lambda x: 2 * x - 1)


def ddpm(
    net: Net,
    tx: optax.GradientTransformation,
    levels: Schedule,
    *,
    target: Target = "epsilon",
    steps: int = 0,
    eta: float = 1.0,
    variance: Variance = "small",
    clip: bool = True,
    condition: Prepare | None = None,
    none: Any = None,
    drop: float = 0.1,
    guidance: float = 1.0,
    probe: float = 0.05,
    gray_levels: int | None = 256,
    augment: Augment | None = None,
    prepare: Prepare = RANGE,
    show: Callable = lambda x: (x + 1) / 2,
    made: str = "image",
) -> Method[Learner]:
    """Denoising diffusion model. Samples are made with averaged weights, if there are any.

    `generate` has a row for each of the batch, of the shape of `prepare`, and draws

    - of the row's condition, if the model has one;
    - from the row's "like", in the form of the field `made`, noised by its "strength" in
      [0, 1], if the batch has these two: 0 returns it, 1 hardly depends on it.

    Args:
      net: x_t, i = t - 1 [n][, c] -> {"output": like x_t, "h": [n, d]}.
      tx: its optimizer; samples need the running average of `jssl.learner.ema_weights`.
      levels: the noise levels.
      target: of the network: "epsilon", "x0" or "v".
      steps: of a sample, spread over the levels; 0: all.
      eta: 1 for ancestral samples, 0 for deterministic ones of their first noise.
      variance: of the noise that samples are given: "small" (posterior) or "large" (beta).
      clip: estimates of x_0 within samples to [-1, 1]; for pixels, not for codes.
      condition: batch -> c, rows first; None: the model has none.
      none: the c of a row without condition, broadcast to a row of c.
      drop: probability of `none` in training.
      guidance: s, strength of the condition in samples; 0: none.
      probe: position of the level of h in the schedule, 0 to 1.
      gray_levels: number of values of a pixel, for "bits": estimate of the bound on
        -log2 p(x_0), per number; None omits it.
      augment: (key, batch) -> x_0 in training; None: `prepare`.
      prepare: batch -> x_0, pixels in [-1, 1].
      show: x_0 -> the field `made`, the inverse of `prepare`; with `clip`, within [0, 1].
      made: name of the generated field.
    """
    indices, count = ddim_indices(levels, steps), len(levels.beta)
    if not (0 <= probe <= 1 and 0 <= drop <= 1):
        raise ValueError(f"ddpm: probe and drop must be 0 to 1, got {probe} and {drop}")

    def conditions(batch):
        return () if condition is None else (condition(batch),)

    def without(c):
        return jnp.broadcast_to(jnp.asarray(none, c.dtype), c.shape)

    def init(key, batch):
        x = first_row(prepare(batch))
        return fresh(
            tx, *net.init(key, x, jnp.zeros(1, jnp.int32), *conditions(first_row(batch)))
        )

    def loss(params, stats, x0, i, epsilon, given, keys):
        xt = diffuse(levels, x0, i, epsilon)
        out, stats = net.apply(params, stats, xt, i, *given, train=True, keys=keys)
        value = simple_diffusion(levels, out["output"], x0, i, epsilon, target)
        metrics = {"loss": value}
        if gray_levels:
            how = target, variance, gray_levels
            nats = variational_diffusion(levels, out["output"], x0, i, epsilon, *how)
            metrics["bits"] = nats / (math.log(2) * x0[0].size)
        return value, (stats, metrics)

    def step(key, state, batch):
        look, at, noise, forget = jax.random.split(key, 4)
        x0 = prepare(batch) if augment is None else augment(look, batch)
        i = jax.random.randint(at, (len(x0),), 0, count)
        given = conditions(batch)
        if given:
            dropped = jax.random.bernoulli(forget, drop, (len(x0),))
            given = jax.tree.map(
                lambda c: jnp.where(_rows(dropped, c), without(c), c), given
            )
        epsilon = jax.random.normal(noise, x0.shape, x0.dtype)
        return minimize(tx, loss, state, x0, i, epsilon, given, noise_keys(key))

    def estimator(state, given):
        """(x_t, i) -> estimates of x_0 and epsilon, guided."""

        def applied(x, i, given):
            return net.apply(state.weights, state.stats, x, i, *given)[0]["output"]

        def estimate(xt, i):
            if not given or guidance == 1:
                output = applied(xt, i, given)
            else:
                both = jax.tree.map(lambda c: jnp.concatenate([without(c), c]), given)
                twice = jnp.concatenate([xt, xt]), jnp.concatenate([i, i])
                apart, told = jnp.split(applied(*twice, both), 2)
                output = guided(apart, told, guidance)
            return diffusion_estimates(levels, xt, i, output, target, clip)

        return estimate

    def generate(key, state, batch):
        begin, rest = jax.random.split(key)
        x, left = prepare(batch), None
        epsilon = xt = jax.random.normal(begin, x.shape, x.dtype)
        if "like" in batch:
            x = prepare(dict(batch) | {made: batch["like"]})
            xt, left = partly_diffuse(levels, x, indices, batch["strength"], epsilon)
        x = reverse_diffusion(
            rest,
            levels,
            estimator(state, conditions(batch)),
            xt,
            indices,
            eta=eta,
            variance=variance,
            count=left,
        )
        return {made: jnp.clip(show(x), 0, 1) if clip else show(x)}

    def embed(state, batch):
        x = prepare(batch)
        i = jnp.full(len(x), round(probe * (count - 1)), jnp.int32)
        given = jax.tree.map(without, conditions(batch))
        xt = at_step(levels.signal, i, x) * x
        out, _ = net.apply(state.weights, state.stats, xt, i, *given)
        return {k: x for k, x in out.items() if k != "output"}

    def render(key, state, batch, collect):
        x = prepare(batch)[:8]
        if x.ndim != 4 or x.shape[-1] not in (1, 3):
            return {}
        marks = {"T/4": count // 4, "T/2": count // 2, "3T/4": 3 * count // 4}
        thrice = lambda tree: jax.tree.map(lambda a: jnp.repeat(a[:8], 3, axis=0), tree)
        clean, epsilon = thrice((x, jax.random.normal(key, x.shape, x.dtype)))
        i = jnp.tile(jnp.array([*marks.values()], jnp.int32), len(x))
        xt = diffuse(levels, clean, i, epsilon)
        found, _ = estimator(state, thrice(conditions(batch)))(xt, i)
        pairs = jnp.stack([xt, found], 1).reshape(len(x), 6, *x.shape[1:])
        cells = jnp.concatenate([x[:, None], pairs], 1)
        heads = ("x0", *(f"{name} {t}" for t in marks for name in ("t =", "x0 at")))
        return {"denoising": Grid(jnp.clip(show(cells), 0, 1), heads)}

    return Method(init, step, embed, render=render, generate=generate)


def _rows(mask, like):
    """A mask [n], with axes that broadcast against rows of another array."""
    return mask.reshape((-1,) + (1,) * (like.ndim - 1))
