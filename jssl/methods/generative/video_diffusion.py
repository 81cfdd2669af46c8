"""Diffusion of videos by a transformer of spacetime patches; images are one-frame videos.

Brooks et al., "Video generation models as world simulators", OpenAI 2024, a report without
an architecture; Peebles and Xie, "Scalable Diffusion Models with Transformers", ICCV 2023,
https://arxiv.org/abs/2212.09748, for the network, `jssl.models.dit`.

    x_t = sqrt(alpha bar_t) x_0 + sqrt(1 - alpha bar_t) epsilon,    t uniform in 1 ... T
    L = mean over frames of |target - net(x_t, t, c)|^2,    target v, epsilon or x_0

The mean is over the frames that there are: videos of a batch may have different lengths,
and the rest of a shorter one is nothing to the network, the loss and the samples. In some
rows the first frame is given without noise, and not in the loss; samples may then continue
an image. Noise is independent from frame to frame. Conditions, guidance and samplers are
those of `ddpm`.

h is the mean token in the middle of the network, given x_t without its noise at a small t.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from jssl.learner import Learner, fresh, minimize, noise_keys
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
    diffusion_target,
    guided,
    reverse_diffusion,
)
from jssl.pictures import Grid

RANGE = field("video", lambda x: 2 * x - 1)


def video_diffusion(
    net: Net,
    tx: optax.GradientTransformation,
    levels: Schedule,
    *,
    target: Target = "v",
    steps: int = 0,
    eta: float = 0.0,
    variance: Variance = "small",
    clip: bool = True,
    condition: Prepare | None = None,
    none: Any = None,
    drop: float = 0.1,
    guidance: float = 1.0,
    first: float = 0.0,
    continued: bool = False,
    probe: float = 0.05,
    augment: Augment | None = None,
    prepare: Prepare = RANGE,
    show: Callable = lambda x: (x + 1) / 2,
    made: str = "video",
) -> Method[Learner]:
    """Diffusion model of videos. Samples are made with averaged weights, if there are any.

    A batch may have "length" int [n], the number of frames of each row. `generate` makes a
    video for each row, of its length and condition, black after its end, and, with
    `continued`, beginning with the first frame of the row.

    Args:
      net: x_t [n, t, h, w, c], i = t - 1 [n], c or None, frames that there are [n, t] and
        frames that are given [n, t] -> {"output": like x_t, "h": [n, d]}.
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
      guidance: s, strength of the condition in samples, as in `ddpm`.
      first: fraction of the training rows, of two frames or more, whose first frame is
        given.
      continued: samples begin with the first frame of their row.
      probe: position of the level of h in the schedule, 0 to 1.
      augment: (key, batch) -> x_0 in training; None: `prepare`.
      prepare: batch -> x_0, videos in [-1, 1].
      show: x_0 -> the field `made`, the inverse of `prepare`; with `clip`, within [0, 1].
      made: name of the generated field.
    """
    indices, count = ddim_indices(levels, steps), len(levels.beta)
    if not all(0 <= x <= 1 for x in (probe, drop, first)):
        raise ValueError(
            f"video_diffusion: probe, drop and first must be 0 to 1, got {probe}, {drop} "
            f"and {first}"
        )
    if continued and not first:
        raise ValueError(
            "video_diffusion: samples continue a frame if training has some that do: give "
            "first more than 0"
        )

    def existing(batch, x):
        """The frames that there are, [n, t]."""
        frames = jnp.arange(x.shape[1])
        if "length" not in batch:
            return jnp.broadcast_to(frames >= 0, x.shape[:2])
        return frames < batch["length"][:, None]

    def known(batch):
        return None if condition is None else condition(batch)

    def without(c):
        return None if c is None else jnp.broadcast_to(jnp.asarray(none, c.dtype), c.shape)

    def init(key, batch):
        row = first_row(dict(batch))
        x = prepare(row)
        there = existing(row, x)
        inputs = x, jnp.zeros(1, jnp.int32), known(row), there, jnp.zeros_like(there)
        return fresh(tx, *net.init(key, *inputs))

    def loss(params, stats, x0, i, epsilon, c, there, given, keys):
        xt = jnp.where(_each(given), x0, diffuse(levels, x0, i, epsilon))
        out, stats = net.apply(params, stats, xt, i, c, there, given, train=True, keys=keys)
        wanted = diffusion_target(levels, x0, i, epsilon, target)
        errors = jnp.square(out["output"] - wanted).mean((2, 3, 4))  # [n, t]
        weight = (there & ~given).astype(errors.dtype)
        value = (weight * errors).sum() / jnp.maximum(weight.sum(), 1)
        return value, (stats, {"loss": value})

    def step(key, state, batch):
        look, at, noise, forget, keep = jax.random.split(key, 5)
        x0 = prepare(batch) if augment is None else augment(look, batch)
        n, frames = x0.shape[:2]
        there, c = existing(batch, x0), known(batch)
        i = jax.random.randint(at, (n,), 0, count)
        if c is not None:
            dropped = jax.random.bernoulli(forget, drop, (n,))
            c = jnp.where(dropped.reshape((-1,) + (1,) * (c.ndim - 1)), without(c), c)
        begun = jax.random.bernoulli(keep, first, (n,)) & (there.sum(1) > 1)
        given = begun[:, None] & (jnp.arange(frames) == 0)
        epsilon = jax.random.normal(noise, x0.shape, x0.dtype)
        keys = noise_keys(key)
        return minimize(tx, loss, state, x0, i, epsilon, c, there, given, keys)

    def estimator(state, x, c, there, given):
        """(x_t, i) -> estimates of x_0 and epsilon, guided, of videos that begin as x."""

        def applied(xt, i, c, *frames):
            return net.apply(state.weights, state.stats, xt, i, c, *frames)[0]["output"]

        def estimate(xt, i):
            xt = jnp.where(_each(given), x, xt)
            if c is None or guidance == 1:
                output = applied(xt, i, c, there, given)
            else:
                both = jax.tree.map(
                    lambda a, b: jnp.concatenate([a, b]),
                    (xt, i, without(c), there, given),
                    (xt, i, c, there, given),
                )
                apart, told = jnp.split(applied(*both), 2)
                output = guided(apart, told, guidance)
            return diffusion_estimates(levels, xt, i, output, target, clip)

        return estimate

    def begins(there):
        return there & (jnp.arange(there.shape[1]) == 0) & continued

    def generate(key, state, batch):
        begin, rest = jax.random.split(key)
        x = prepare(batch)
        there = existing(batch, x)
        given = begins(there)
        estimate = estimator(state, x, known(batch), there, given)
        xt = jax.random.normal(begin, x.shape, x.dtype)
        found = reverse_diffusion(
            rest, levels, estimate, xt, indices, eta=eta, variance=variance
        )
        found = show(jnp.where(_each(given), x, found))
        found = jnp.clip(found, 0, 1) if clip else found
        return {made: jnp.where(_each(there), found, 0).reshape(batch[made].shape)}

    def embed(state, batch):
        x = prepare(batch)
        there = existing(batch, x)
        i = jnp.full(len(x), round(probe * (count - 1)), jnp.int32)
        xt = at_step(levels.signal, i, x) * x
        inputs = xt, i, without(known(batch)), there, jnp.zeros_like(there)
        out, _ = net.apply(state.weights, state.stats, *inputs)
        return {k: x for k, x in out.items() if k != "output"}

    def render(key, state, batch, collect):
        x = prepare(batch)[:4]
        if x.shape[-1] not in (1, 3):
            return {}
        rows = jax.tree.map(lambda leaf: leaf[:4], dict(batch))
        there = existing(rows, x)
        estimate = estimator(state, x, known(rows), there, begins(there))
        i = jnp.full(len(x), count // 2, jnp.int32)
        xt = diffuse(levels, x, i, jax.random.normal(key, x.shape, x.dtype))
        seen = jnp.stack([x, xt, estimate(xt, i)[0]], 1)  # [n, 3, t, h, w, c]
        seen = jnp.where(_each(there)[:, None], show(seen), 0)
        heads = tuple(f"frame {i + 1}" for i in range(x.shape[1]))
        images = jnp.clip(seen, 0, 1).reshape(-1, *x.shape[1:])
        return {"video, x_t and x0 at t = T/2": Grid(images, heads)}

    return Method(init, step, embed, render=render, generate=generate)


def _each(frames):
    """A mask of frames [n, t], with axes that broadcast against [n, t, h, w, c]."""
    return frames[:, :, None, None, None]
