r"""Counting: an image has as many visual primitives as its four quarters together.

Noroozi, Pirsiavash and Favaro, "Representation Learning by Learning to Count", ICCV 2017.
https://arxiv.org/abs/1708.06734

    L = mean over images x of |phi(D x) - s(x)|^2 + max(0, M - |phi(D y) - s(x)|^2),
    s(x) = phi(T_1 x) + ... + phi(T_4 x),

with counts phi >= 0, D the reduction to half the size, T_j x the quarters of x, which have
that size, and y another image.
"""

import math

import jax
import jax.numpy as jnp
import optax

from jssl.learner import Learner, fresh, minimize, noise_keys
from jssl.losses.metric import counting as counting_loss
from jssl.method import Augment, Method, Prepare, field, first_row, fold
from jssl.nets import Net
from jssl.ops.halving import halve
from jssl.ops.puzzles import cut_tiles
from jssl.pictures import Grid, in_range

UNITS, MOST, LEAST = 6, 5, 3  # units and images in the picture of images by count


def counting(
    net: Net,
    tx: optax.GradientTransformation,
    augment: Augment | None = None,
    *,
    margin: float = 10.0,
    prepare: Prepare = field("image"),
) -> Method[Learner]:
    """Counts that are the same in an image and, summed, in its quarters.

    Args:
      net: x [n, h / 2, h / 2, c] -> {"z": [n, k], "h": [n, d]}; the counts are ReLU(z).
      tx: optimizer of all weights. The paper: SGD, momentum 0.9.
      augment: (key, batch) -> one view of each row, square with an even side, normalized as
        `prepare` does; None: `prepare`. The paper crops, and converts some views to gray
        against chromatic aberration.
      margin: M; 0 omits the second term, and counts become 0.
      prepare: batch -> x, the images outside training, before they are reduced.
    """
    look = augment or (lambda key, batch: prepare(batch))

    def quarters(images):
        _, h, w, _ = images.shape
        if h != w:
            raise ValueError(f"counting: images must be square, got {h} x {w}: set a size")
        return cut_tiles(images, h // 2, grid=2)

    def counted(out):
        return out | {"z": jax.nn.relu(out["z"])}

    def init(key, batch):
        return fresh(tx, *net.init(key, first_row(halve(prepare(batch)))))

    def loss(params, stats, whole, tiles, shift, keys):
        n, inputs = len(whole), jnp.concatenate([whole[:, None], tiles], 1)
        out, stats = net.apply(params, stats, fold(inputs), train=True, keys=keys)
        counts = counted(out)["z"].reshape(n, 5, -1)
        other = counts[(jnp.arange(n) + shift) % n, 0]
        value, terms = counting_loss(counts[:, 0], counts[:, 1:], other, margin)
        total = {"loss": value, "count": counts[:, 0].sum(-1).mean()}
        return value, (stats, total | terms)

    def step(key, state, batch):
        view, reduction, pairing = jax.random.split(key, 3)
        images = look(view, batch)
        shift = jax.random.randint(pairing, (), 1, max(len(images), 2))
        views = halve(images, reduction), quarters(images)
        return minimize(tx, loss, state, *views, shift, noise_keys(key))

    def embed(state, batch):
        return counted(net.apply(state.weights, state.stats, halve(prepare(batch)))[0])

    def render(key, state, batch, collect):
        images = prepare(batch)
        whole, tiles = halve(images), quarters(images)
        inputs = fold(jnp.concatenate([whole[:, None], tiles], 1))
        counts = counted(net.apply(state.weights, state.stats, inputs)[0])["z"]
        counts = counts.reshape(len(images), 5, -1)
        _, units = jax.lax.top_k(counts[:, 0].var(0), min(UNITS, counts.shape[-1]))
        order = jnp.argsort(-counts[:, 0, units], axis=0).T  # [units, n]
        ends = jnp.concatenate([order[:, :MOST], order[:, -LEAST:]], 1)
        ranks = [str(i + 1) for i in range(len(images))]
        ranks = ranks[:MOST] + ranks[-LEAST:]
        charts = [counts[:8, 0], counts[:8, 1:].sum(1), jnp.roll(counts[:, 0], 1, 0)[:8]]
        charts = _charts(jnp.stack(charts, 1), images.shape[1:])
        shown = jnp.concatenate([in_range(images[:8])[:, None], charts], 1)
        headings = ("image", "counts", "sum of quarters", "another image")
        return {
            "images in the order of a count": Grid(in_range(images)[ends], tuple(ranks)),
            "counts": Grid(shown, headings),
        }

    return Method(init, step, embed, render=render)


def _charts(counts, shape):
    """Counts [n, v, k] as images [n, v, h, w, c]: a square of cells, white for the most."""
    n, v, k = counts.shape
    side = math.isqrt(k - 1) + 1
    cells = jnp.pad(counts, ((0, 0), (0, 0), (0, side**2 - k))).reshape(n, v, side, side)
    cells = cells / jnp.maximum(counts.max(), 1e-6)
    chart = jax.image.resize(cells, (n, v, *shape[:2]), "nearest")
    return jnp.broadcast_to(chart[..., None], (n, v, *shape))
