"""Damaged jigsaw puzzles: the order of gray tiles, the missing one, and the colors.

Kim, Cho, Yoo and Kweon, "Learning Image Representations by Completing Damaged Jigsaw
Puzzles", WACV 2018. https://arxiv.org/abs/1802.01880

    L = -log p(y | puzzle) + u |missing - f(puzzle)|^2 + v H(Z, g(puzzle)),

all means: of a puzzle of nine tiles in the order y, of which one is missing and the others
are gray, f predicts the missing one in Lab colors, and g the colors of the others; Z is the
soft code of a and b over bins of the ab plane (Zhang et al. 2016,
https://arxiv.org/abs/1603.08511) and H the cross entropy. Each task hides what helps in
the others. u = v = 0 is a jigsaw puzzle of gray tiles with a hole.

The lightness of each tile is normalized, as in `jigsaw`: the missing tile is predicted
relative to the mean lightness of the visible ones, in units of 50.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int, Integer

from jssl.learner import Learner, fresh, minimize, noise_keys
from jssl.method import Augment, Method, Prepare, field, first_row
from jssl.methods.pretext.jigsaw import laid_out, rows_of_nine
from jssl.nets import Net
from jssl.ops.cells import first_pixels
from jssl.ops.divergences import soft_cross_entropy
from jssl.ops.lab import annealed_mean, colored, encode_ab, lab_to_rgb, rgb_to_lab
from jssl.ops.means import masked_mean
from jssl.ops.puzzles import cut_tiles, lay_out, normalize_tiles, shuffle, unshuffle
from jssl.pictures import Grid

UNIT = 50.0


def gray_tiles(tiles: Float[Array, "n k t t 3"]) -> Float[Array, "n k t t 1"]:
    """The lightness of RGB tiles, normalized tile by tile: the network's input."""
    return normalize_tiles(rgb_to_lab(tiles)[..., :1])


def damaged_jigsaw(
    net: Net,
    tx: optax.GradientTransformation,
    permutations: Integer[np.ndarray | Array, "count 9"],
    tile: int,
    bins: Float[np.ndarray, "q 2"],
    augment: Augment | None = None,
    *,
    inpaint: float = 1.0,
    color: float = 1.0,
    neighbors: int = 5,
    sigma: float = 5.0,
    prepare: Prepare = field("image"),
) -> Method[Learner]:
    """Completion of damaged jigsaw puzzles; h is of whole images in order.

    Args:
      net: gray tiles [n, 9, tile, tile, 1] -> {"logits": [n, count], "missing": [n, tile,
        tile, 3], "cells": scores of colors [n, 9, t', t', q], "h": [n, d]}. The color of a
        cell is that of its first pixel.
      tx: optimizer of all weights.
      permutations: the classes, see `jssl.ops.permutations`.
      tile: side of the tiles, less than a third of the image's.
      bins: colors, see `jssl.ops.lab.ab_bins`.
      augment: (key, batch) -> one RGB view of each row, in [0, 1]; None: `prepare`.
      inpaint: u, weight of the squared error of the missing tile.
      color: v, weight of the cross entropy of the colors of the others.
      neighbors: bins of the soft code of a color.
      sigma: deviation of the Gaussian of soft codes.
      prepare: batch -> RGB images in [0, 1] outside training.
    """
    known, net = rows_of_nine("damaged_jigsaw", permutations), laid_out(net)
    bins = np.asarray(bins, np.float32)
    look = augment or (lambda key, batch: prepare(batch))

    def in_order(batch):
        return gray_tiles(cut_tiles(prepare(batch), tile))

    def init(key, batch):
        return fresh(tx, *net.init(key, first_row(in_order(batch))))

    def loss(params, stats, tiles, y, gone, keys):
        puzzle = without(gray_tiles(tiles), gone)
        out, stats = net.apply(params, stats, puzzle, train=True, keys=keys)
        lab, cells = rgb_to_lab(tiles), out["cells"]
        nats = optax.softmax_cross_entropy_with_integer_labels(out["logits"], y).mean()
        target = (taken(lab, gone) - around(lab, gone)) / UNIT
        error = jnp.square(out["missing"] - target).mean()
        ab = lab[..., 1:].reshape(-1, tile, tile, 2)
        ab = first_pixels(ab, (len(ab), *cells.shape[2:])).reshape(*cells.shape[:-1], 2)
        code = encode_ab(ab, bins, neighbors, sigma)
        colors = soft_cross_entropy(cells, code).mean((2, 3))  # [n, 9]
        colors = masked_mean(colors, visible(gone))
        value = nats + inpaint * error + color * colors
        right = (out["logits"].argmax(-1) == y).mean()
        metrics = {"permutation": nats, "jigsaw_accuracy": right, "color": colors}
        metrics |= {"inpainting": error, "mean_inpainting": jnp.square(target).mean()}
        return value, (stats, metrics | {"loss": value})

    def puzzled(key, tiles):
        """Shuffled tiles, their orders, and the place of the missing tile."""
        draw, take = jax.random.split(key)
        y = jax.random.randint(draw, (len(tiles),), 0, len(known))
        gone = jax.random.randint(take, (len(tiles),), 0, 9)
        return shuffle(tiles, known[y]), y, gone

    def step(key, state, batch):
        view, place, draw = jax.random.split(key, 3)
        tiles, y, gone = puzzled(draw, cut_tiles(look(view, batch), tile, place))
        return minimize(tx, loss, state, tiles, y, gone, noise_keys(key))

    def embed(state, batch):
        out, _ = net.apply(state.weights, state.stats, in_order(batch))
        return {k: x for k, x in out.items() if k not in ("missing", "cells")}

    def render(key, state, batch, collect):
        original = cut_tiles(prepare(batch)[:8], tile)
        tiles, _, gone = puzzled(key, original)
        puzzle = without(gray_tiles(tiles), gone)
        out, _ = net.apply(state.weights, state.stats, puzzle)
        lab = rgb_to_lab(tiles)
        light, cells = (x.reshape(-1, *x.shape[2:]) for x in (lab[..., :1], out["cells"]))
        gray, full = (
            colored(light, ab).reshape(tiles.shape)
            for ab in (0 * cells[..., :2], annealed_mean(cells, bins))
        )
        fill = lab_to_rgb(around(lab, gone) + UNIT * out["missing"])
        here = ~visible(gone)[..., None, None, None]
        full = jnp.where(here, fill[:, None], full)
        solved = unshuffle(full, known[out["logits"].argmax(-1)])
        moments = jnp.where(here, 0.5, gray), solved, original
        moments = [lay_out(tiles, border=0.5) for tiles in moments]
        headings = ("puzzle", "completed", "original")
        return {"puzzles, and as completed": Grid(jnp.stack(moments, 1), headings)}

    return Method(init, step, embed, render=render)


def visible(gone: Int[Array, " n"]) -> Array:
    """False for the missing one of nine tiles, [n, 9].

    >>> visible(jnp.array([2]))[0].tolist()[:4]
    [True, True, False, True]
    """
    return jnp.arange(9) != gone[:, None]


def without(tiles: Float[Array, "n 9 *x"], gone: Int[Array, " n"]) -> Array:
    """Tiles with zeros in place of the missing one."""
    shown = visible(gone).reshape(len(gone), 9, *[1] * (tiles.ndim - 2))
    return jnp.where(shown, tiles, 0)


def taken(tiles: Float[Array, "n 9 *x"], gone: Int[Array, " n"]) -> Array:
    """The missing tile, [n, *x]."""
    return tiles[jnp.arange(len(gone)), gone]


def around(lab: Float[Array, "n 9 t t 3"], gone: Int[Array, " n"]) -> Array:
    """A gray of the mean lightness of the visible tiles, in Lab: [n, 1, 1, 3]."""
    light = without(lab[..., 0], gone).mean((2, 3)).sum(1) / 8
    return light[:, None, None, None] * jnp.array([1.0, 0, 0], lab.dtype)
