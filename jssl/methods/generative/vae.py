"""Variational autoencoder: a latent variable model and its approximate posterior.

Kingma and Welling, "Auto-Encoding Variational Bayes", ICLR 2014.
https://arxiv.org/abs/1312.6114

    q(z|x) = N(mu(x), diag sigma(x)^2),    z = mu + sigma eps,    eps ~ N(0, I)
    L = -E_q log p(x|z) + beta KL(q(z|x) || N(0, I)),    in nats per sample

With beta = 1, -L is a lower bound on log p(x), the ELBO; other beta are those of the
beta-VAE (Higgins et al., ICLR 2017). beta may rise from 0 (Sonderby et al. 2016,
https://arxiv.org/abs/1602.02282), and a unit with less than `free_bits` nats is not
penalized (Kingma et al. 2016, https://arxiv.org/abs/1606.04934). With a condition y, p and
q are those given y (Sohn, Lee and Yan, NIPS 2015).

Gray values in [0, 1] under "bernoulli" are the probabilities of ones. Both bounds are then
bounds on the mean log likelihood of binary images drawn with these probabilities.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from jssl.learner import Learner, fresh, minimize, noise_keys, on_update
from jssl.losses.variational import negative_elbo, negative_iwae
from jssl.method import Augment, Method, Prepare, field, first_row, identity
from jssl.nets import Net
from jssl.ops.densities import (
    bernoulli_log_density,
    gaussian_divergence,
    gaussian_log_density,
    laplace_log_density,
    reparameterise,
)
from jssl.ops.ramps import linear_rampup
from jssl.pictures import Grid

LIKELIHOODS = ("bernoulli", "gaussian", "laplace")


class State(NamedTuple):
    learner: Learner
    count: jax.Array  # updates, of which the rise of beta depends


def vae(
    net: Net,
    tx: optax.GradientTransformation,
    *,
    likelihood: str = "bernoulli",
    deviation: float = 1.0,
    beta: float = 1.0,
    warmup: int = 0,
    free_bits: float = 0.0,
    draws: int = 64,
    augment: Augment | None = None,
    prepare: Prepare = field("image"),
    condition: Prepare | None = None,
    made: str = "image",
) -> Method[State]:
    """Variational autoencoder. h is the mean of the posterior; samples are means of p(x|z).

    `embed` has both bounds for each row, negative and in nats: "negative_elbo" [n] and, of
    `draws` samples of z, "negative_iwae" [n], which is tighter (Burda et al. 2016,
    https://arxiv.org/abs/1509.00519). A row's noise is a function of its index.

    Args:
      net: two functions, "encode", x -> (mean, log_variance), both [n, d], and "decode", z
        -> x's logits or means, shaped as x; each has y [n, c] as second argument if there
        is a condition.
      tx: optimizer of all weights.
      likelihood: "bernoulli", for x in [0, 1], "gaussian" or "laplace", whose loss is the
        absolute error.
      deviation: of all entries, standard deviation of the Gaussian likelihood, or scale of
        Laplace's.
      beta: weight of the divergence.
      warmup: updates in which beta rises linearly from 0; 0: none.
      free_bits: nats of a unit, on average, below which it is not penalized.
      draws: k, samples of z in the bounds of `embed`.
      augment: (key, batch) -> x of training; None: `prepare`.
      prepare: batch -> x outside training.
      condition: batch -> y [n, c], e.g. one-hot labels; h then depends on y, and is not to
        be evaluated on labels.
      made: name of the generated field.
    """
    if likelihood not in LIKELIHOODS:
        raise ValueError(
            f"vae: likelihood must be {' or '.join(LIKELIHOODS)}, got {likelihood!r}"
        )
    look = augment or (lambda key, batch: prepare(batch))
    given = (lambda batch: (condition(batch),)) if condition else lambda batch: ()
    shown = jax.nn.sigmoid if likelihood == "bernoulli" else identity

    def log_density(x, out):
        x, out = (a.reshape(len(a), -1) for a in (x, out))
        if likelihood == "bernoulli":
            return bernoulli_log_density(x, out)
        scale = jnp.full_like(out, math.log(deviation))
        if likelihood == "laplace":
            return laplace_log_density(x, out, scale)
        return gaussian_log_density(x, out, 2 * scale)

    def init(key, batch):
        x, *y = first_row((prepare(batch), *given(batch)))
        return State(fresh(tx, *net.init(key, x, *y)), jnp.zeros((), jnp.int32))

    def loss(params, stats, x, y, key, weight):
        how = dict(train=True, keys=noise_keys(key))
        (mean, log_variance), stats = net.apply(
            params, stats, x, *y, **how, method="encode"
        )
        z = reparameterise(key, mean, log_variance)
        out, stats = net.apply(params, stats, z, *y, **how, method="decode")
        value, parts = negative_elbo(
            log_density(x, out), mean, log_variance, weight, free_bits
        )
        active = (gaussian_divergence(mean, log_variance).mean(0) > 0.1).mean()
        return value, (stats, {"loss": value, "active": active} | parts)

    def step(key, state, batch):
        before, count = state
        weight = beta * linear_rampup(count, warmup) if warmup else beta
        view, draw = jax.random.split(key)
        learner, metrics = minimize(
            tx, loss, before, look(view, batch), given(batch), draw, weight
        )
        return State(learner, on_update(before, learner, count + 1, count)), metrics

    def run(state, method, *inputs):
        learner = state.learner
        return net.apply(learner.weights, learner.stats, *inputs, method=method)[0]

    def bounds(state, x, y, mean, log_variance, index):
        def sample(i, *q):
            key = jax.random.fold_in(jax.random.key(0), i)
            return reparameterise(key, *(jnp.tile(a, (draws, 1)) for a in q))

        z = jax.vmap(sample)(index, mean, log_variance)  # [n, k, d]
        fit = lambda z: log_density(x, run(state, "decode", z, *y))
        fits = jax.lax.map(fit, z.swapaxes(0, 1)).T  # [n, k]
        q = mean[:, None], log_variance[:, None]
        iwae = jax.vmap(negative_iwae)(fits[..., None], z[:, :, None], *q)
        elbo, _ = jax.vmap(negative_elbo)(fits.mean(1, keepdims=True), *q)
        return {"negative_elbo": elbo, "negative_iwae": iwae}

    def embed(state, batch):
        x, y = prepare(batch), given(batch)
        mean, log_variance = run(state, "encode", x, *y)
        rows = {"input": x, "reconstruction": shown(run(state, "decode", mean, *y))}
        rows = {name: a.reshape(len(a), -1) for name, a in rows.items()}
        nats = bounds(state, x, y, mean, log_variance, batch["index"])
        return {"h": mean} | rows | nats

    def generate(key, state, batch):
        y = given(batch)
        like, _ = run(state, "encode", prepare(batch), *y)
        z = jax.random.normal(key, like.shape, like.dtype)
        return {made: shown(run(state, "decode", z, *y))}

    def render(key, state, batch, collect):
        x, *y = (a[:8] for a in (prepare(batch), *given(batch)))
        if x.ndim != 4:
            return {}
        z, _ = run(state, "encode", x, *y)
        if y:
            name, classes = "conditions", range(y[0].shape[1])
            each = jnp.eye(len(classes))[:, None].repeat(len(z), 1)  # [c, n, c]
            columns = {f"y = {i}": run(state, "decode", z, each[i]) for i in classes}
        else:
            name, after = "interpolation", jnp.roll(z, -1, 0)
            between = {s: z + s / 6 * (after - z) for s in range(7)}
            columns = {f"{s}/6": run(state, "decode", a) for s, a in between.items()}
        images = jnp.stack([x, *map(shown, columns.values())], 1)
        return {name: Grid(jnp.clip(images, 0, 1), ("input", *columns))}

    return Method(init, step, embed, render=render, generate=generate)
