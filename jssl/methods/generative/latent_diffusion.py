r"""Latent diffusion: a diffusion model of the codes of an autoencoder, told a text.

Rombach et al., "High-Resolution Image Synthesis with Latent Diffusion Models", CVPR 2022.
https://arxiv.org/abs/2112.10752

    stage 1    |x - Dec(z)| + 1e-6 KL(q(z|x) || N(0, I)),    q(z|x) = N(mu(x), sigma(x)^2)
    scale      k = 1 / std(z), of all training images, measured when stage 2 begins
    stage 2    E |epsilon - net((k z)_t, t, text)|^2,    z ~ q(z|x), stage 1 is frozen
    samples    Dec(x_0 / k),    x_0 by the samplers of `ddpm`

Stage 1 is `vae` with the likelihood "laplace" and beta = 1e-6. Stage 2 is `ddpm` on the
field "latent", which this module adds to the batches. Samples of a text have
classifier-free guidance; those from an image begin with its code, partly diffused (Meng et
al. 2022, https://arxiv.org/abs/2108.01073).

h is the mean of the code, flattened.

Departures: the paper's first stage also has a perceptual and an adversarial term; k is the
paper's rule, of all training images, there of the first batch.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jssl.learner import Learner
from jssl.method import Method, Prepare, field, first_row
from jssl.nets import Net
from jssl.ops.densities import reparameterise
from jssl.pictures import Grid


class State(NamedTuple):
    coder: Learner  # frozen weights of the first stage
    scale: jax.Array  # k
    prior: Any  # state of the diffusion model


def latent_diffusion(
    coder: Net,
    prior: Method,
    grid: Sequence[int],
    *,
    prepare: Prepare = field("image"),
    made: str = "image",
) -> Method[State]:
    """A generative model of codes, with the frozen autoencoder that made them.

    `refresh` measures the scale, which is 1 before; the stage needs it once, at its start.
    `generate` takes the conditions of `prior`, and "like", images in the form of the field
    `made`, with "strength": 0 returns their reconstruction, 1 hardly depends on them.

    Args:
      coder: two functions, "encode", x -> (mean, log_variance), both [n, d], and "decode",
        z [n, d] -> x; its weights come from an earlier stage (`coded_by`).
      prior: method of the field "latent" [n, *grid], which it also generates.
      grid: shape of a code, of d numbers.
      prepare: batch -> x in [0, 1].
      made: name of the generated field.
    """

    def run(state, method, *inputs):
        return coder.apply(state.coder.params, state.coder.stats, *inputs, method=method)[0]

    def latents(state, z):
        return state.scale * z.reshape(len(z), *grid)

    def decoded(state, latent):
        z = latent.reshape(len(latent), -1) / state.scale
        return jnp.clip(run(state, "decode", z), 0, 1)

    def lifted(state, batch):
        """The batch with the means of the codes, of "like" too."""
        found = {"latent": latents(state, run(state, "encode", prepare(batch))[0])}
        if "like" in batch:
            x = prepare(dict(batch) | {made: batch["like"]})
            found["like"] = latents(state, run(state, "encode", x)[0])
        return dict(batch) | found

    def init(key, batch):
        one, two = jax.random.split(key)
        first = Learner(*coder.init(one, first_row(prepare(batch))), ())
        state = State(first, jnp.ones(()), ())
        return state._replace(prior=prior.init(two, lifted(state, batch)))

    def step(key, state, batch):
        draw, rest = jax.random.split(key)
        z = reparameterise(draw, *run(state, "encode", prepare(batch)))
        batch = dict(batch) | {"latent": latents(state, z)}
        after, metrics = prior.step(rest, state.prior, batch)
        return state._replace(prior=after), metrics

    def moments(state, batch):
        mean, log_variance = run(state, "encode", prepare(batch))
        square = jnp.square(mean) + jnp.exp(log_variance)  # expected, of a draw
        return {"mean": mean.mean(1), "square": square.mean(1)}

    def refresh(key, state, collect):
        found = collect(moments, state)
        mean, square = (found[name].mean() for name in ("mean", "square"))
        deviation = (square - mean**2) ** 0.5
        return state._replace(scale=jnp.asarray(1 / deviation, jnp.float32)), None

    def embed(state, batch):
        x = prepare(batch)
        mean, _ = run(state, "encode", x)
        seen = run(state, "decode", mean)
        inner = prior.embed(state.prior, dict(batch) | {"latent": latents(state, mean)})
        return {
            "h": mean,
            "h/prior": inner["h"],
            "input": x.reshape(len(x), -1),
            "reconstruction": seen.reshape(len(x), -1),
        }

    def generate(key, state, batch):
        latent = prior.generate(key, state.prior, lifted(state, batch))["latent"]
        return {made: decoded(state, latent)}

    def render(key, state, batch, collect):
        x, strengths = prepare(batch)[:8], (0.0, 0.25, 0.5, 0.75, 1.0)
        if x.ndim != 4 or x.shape[-1] not in (1, 3):
            return {}
        rows = {name: a[:8].repeat(len(strengths), 0) for name, a in batch.items()}
        rows |= {"like": rows[made], "strength": jnp.tile(jnp.array(strengths), len(x))}
        varied = jax.jit(generate)(key, state, rows)[made]
        varied = varied.reshape(len(x), len(strengths), *x.shape[1:])
        columns = "input", *(f"strength {s}" for s in strengths)
        return {"image to image": Grid(jnp.concatenate([x[:, None], varied], 1), columns)}

    return Method(init, step, embed, refresh, render, generate)


def coded_by(stage: str) -> Callable[[State, Mapping[str, Any]], State]:
    """The `start` of a stage, from the autoencoder of an earlier stage, a `vae`."""

    def start(state, done):
        first = done[stage].learner
        return state._replace(coder=Learner(first.weights, first.stats, ()))

    return start
