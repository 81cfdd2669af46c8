"""Jigsaw puzzles: classification of the permutation of nine tiles.

Noroozi and Favaro, "Unsupervised Learning of Visual Representations by Solving Jigsaw
Puzzles", ECCV 2016. https://arxiv.org/abs/1603.09246

    L = mean over images of -log p(y | tile_{P_y(1)}, ..., tile_{P_y(9)}),

with P_1 ... P_N permutations of large Hamming distance, and y drawn in every step.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Int, Integer

from jssl.learner import Learner, fresh, minimize, noise_keys
from jssl.method import Augment, Method, Prepare, field, first_row, identity
from jssl.nets import Net
from jssl.ops.puzzles import cut_tiles, lay_out, normalize_tiles, shuffle, unshuffle
from jssl.pictures import Grid, in_range


def laid_out(net: Net) -> Net:
    """A network of tiles [n, 9, ...] whose "layers" are maps of whole images.

    The maps of the nine tiles, which the encoder processes separately, are placed side by
    side.
    """

    def apply(*inputs, **how):
        out, stats = net.apply(*inputs, **how)
        if isinstance(out, dict) and "layers" in out:
            of_tiles = [x.reshape(-1, 9, *x.shape[1:]) for x in out["layers"]]
            out = out | {"layers": tuple(map(lay_out, of_tiles))}
        return out, stats

    return net._replace(apply=apply)


def rows_of_nine(
    method: str, permutations: Integer[np.ndarray | Array, "count 9"]
) -> Int[Array, "count 9"]:
    """Permutations of nine tiles, after a check.

    Raises:
      ValueError: a row is no permutation of the numbers 0 to 8.
    """
    known = np.asarray(permutations)
    if known.shape[1:] != (9,) or (np.sort(known, axis=1) != np.arange(9)).any():
        raise ValueError(
            f"{method}: permutations must be rows of the numbers 0 to 8, got "
            f"{known.dtype}{list(known.shape)}"
        )
    return jnp.asarray(known, jnp.int32)


def jigsaw(
    net: Net,
    tx: optax.GradientTransformation,
    permutations: Integer[np.ndarray | Array, "count 9"],
    tile: int,
    augment: Augment | None = None,
    *,
    normalize: bool = True,
    prepare: Prepare = field("image"),
) -> Method[Learner]:
    """Classification of tile permutations.

    Args:
      net: tiles [n, 9, tile, tile, c] -> {"logits": [n, count], "h": [n, d]}. It should
        encode each tile separately before combining them.
      tx: optimizer of all weights. The paper: SGD, momentum 0.9.
      permutations: the classes, see `jssl.ops.permutations`. The paper has 1,000, of the
        largest mean distance.
      tile: side of the tiles, less than a third of the image's: the gap prevents matching
        of continued edges. 64 of 75 pixels in the paper.
      augment: (key, batch) -> one view of each row, which is cut into tiles, normalized as
        `prepare` does; None: `prepare`. The paper converts some views to gray and shifts
        color channels.
      normalize: standardize tiles one by one; off, their brightness betrays their places.
      prepare: batch -> x, the images to cut outside training. Tiles are then normalized one
        by one.
    """
    known, net = rows_of_nine("jigsaw", permutations), laid_out(net)
    look = augment or (lambda key, batch: prepare(batch))
    even = normalize_tiles if normalize else identity

    def in_order(batch):
        return even(cut_tiles(prepare(batch), tile))

    def init(key, batch):
        return fresh(tx, *net.init(key, first_row(in_order(batch))))

    def loss(params, stats, tiles, y, keys):
        out, stats = net.apply(params, stats, tiles, train=True, keys=keys)
        logits = out["logits"]
        value = optax.softmax_cross_entropy_with_integer_labels(logits, y).mean()
        right = (logits.argmax(-1) == y).mean()
        return value, (stats, {"loss": value, "jigsaw_accuracy": right})

    def step(key, state, batch):
        view, place, draw = jax.random.split(key, 3)
        images = look(view, batch)
        y = jax.random.randint(draw, (len(images),), 0, len(known))
        tiles = shuffle(even(cut_tiles(images, tile, place)), known[y])
        return minimize(tx, loss, state, tiles, y, noise_keys(key))

    def embed(state, batch):
        return net.apply(state.weights, state.stats, in_order(batch))[0]

    def render(key, state, batch, collect):
        shown = cut_tiles(prepare(batch)[:8], tile)
        y = jax.random.randint(key, (len(shown),), 0, len(known))
        laid = shuffle(even(shown), known[y])
        guessed = net.apply(state.weights, state.stats, laid)[0]["logits"].argmax(-1)
        puzzle = shuffle(shown, known[y])
        moments = [puzzle, unshuffle(puzzle, known[guessed]), shown]
        moments = [lay_out(in_range(tiles), border=0.5) for tiles in moments]
        headings = ("puzzle", "solved", "original")
        return {"puzzles, and as solved": Grid(jnp.stack(moments, 1), headings)}

    return Method(init, step, embed, render=render)
