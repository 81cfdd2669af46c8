"""Space-time cubic puzzles: classification of the permutation of four pieces of a video.

Kim, Cho and Kweon, "Self-Supervised Video Representation Learning with Space-Time Cubic
Puzzles", AAAI 2019. https://arxiv.org/abs/1811.09795

    L = mean over videos of -log p_m(y | piece_{P_y(1)}, ..., piece_{P_y(4)})

The pieces are those of a grid of 4 x 2 x 2 cells (time, rows, columns): the four quarters
of one interval of time (m = space), or the four intervals of one quarter (m = time), with
equal probability. P_1 ... P_24 are all permutations, and each m has its own classifier.
"""

import jax
import jax.numpy as jnp
import optax

from jssl.learner import Learner, fresh, minimize, noise_keys
from jssl.method import Augment, Method, Prepare, field, first_row
from jssl.nets import Net
from jssl.ops.cubic_puzzles import crop_pieces, four_cells, turn_upside_down
from jssl.ops.frame_order import keep_one_channel
from jssl.ops.means import masked_mean
from jssl.ops.permutations import permutation_set
from jssl.ops.puzzles import lay_out, shuffle, unshuffle
from jssl.pictures import Grid, in_range

ORDERS = 24
LOGITS = 2 * ORDERS + 4
"""Outputs of the network: permutations in space, in time, and turned pieces."""


def cubic_puzzles(
    net: Net,
    tx: optax.GradientTransformation,
    size: tuple[int, int, int],
    augment: Augment | None = None,
    *,
    one_channel: bool = True,
    turn: bool = False,
    prepare: Prepare = field("video"),
) -> Method[Learner]:
    """Classification of permutations of space-time pieces.

    "h" is the encoder's output for the whole video.

    Args:
      net: pieces [n, 4, *size, c] -> {"logits": [n, LOGITS]}, which should encode each
        piece separately before it combines them; its function `alone`, videos
        [n, t, h, w, c] -> {"h": [n, d]}, is the encoder.
      tx: optimizer of all weights. The paper: SGD, momentum 0.9.
      size: frames, rows and columns of a piece, which is cut from its cell at a random
        place. 16 x 80 x 80 of 112 x 112 pixels in the paper.
      augment: (key, batch) -> one view of each video, [n, t, h, w, c]; None: `prepare`.
      one_channel: replace the channels by a random one of them, the same for all pieces of
        a video, against chromatic aberration as a cue.
      turn: rotate each piece by 0 or 180 degrees, and predict by which, as a second task.
      prepare: batch -> x, videos outside training.
    """
    known = jnp.asarray(permutation_set(4, ORDERS))
    look = augment or (lambda key, batch: prepare(batch))

    def cut(key, videos, in_time):
        """Pieces [n, 4, ...] of each video, in order."""
        which, where, channel = jax.random.split(key, 3)
        place = jax.random.randint(which, (len(videos),), 0, 4)
        pieces = crop_pieces(four_cells(videos, in_time, place), size, where)
        return keep_one_channel(channel, pieces, 1) if one_channel else pieces

    def init(key, batch):
        row = first_row(prepare(batch))
        pieces = four_cells(row, jnp.zeros(1, bool), jnp.zeros(1, jnp.int32))
        return fresh(tx, *net.init(key, crop_pieces(pieces, size)))

    def loss(params, stats, pieces, y, in_time, turned, keys):
        out, stats = net.apply(params, stats, pieces, train=True, keys=keys)
        logits, turns = _parts(out["logits"], in_time)
        value = optax.softmax_cross_entropy_with_integer_labels(logits, y).mean()
        right = (logits.argmax(-1) == y).astype(jnp.float32)
        metrics = {
            "order_loss": value,
            "space_accuracy": masked_mean(right, ~in_time),
            "time_accuracy": masked_mean(right, in_time),
        }
        if turn:
            turn_loss = optax.sigmoid_binary_cross_entropy(turns, turned).mean()
            value += turn_loss
            right = ((turns > 0) == turned).mean()
            metrics |= {"turn_loss": turn_loss, "turn_accuracy": right}
        return value, (stats, metrics | {"loss": value})

    def step(key, state, batch):
        view, mode, take, draw, flip = jax.random.split(key, 5)
        videos = look(view, batch)
        n = len(videos)
        in_time = jax.random.bernoulli(mode, 0.5, (n,))
        y = jax.random.randint(draw, (n,), 0, ORDERS)
        pieces = shuffle(cut(take, videos, in_time), known[y])
        turned = jax.random.bernoulli(flip, 0.5, (n, 4)) & turn
        pieces = turn_upside_down(pieces, turned) if turn else pieces
        inputs = pieces, y, in_time, turned
        return minimize(tx, loss, state, *inputs, noise_keys(key))

    def embed(state, batch):
        x = prepare(batch)
        return net.apply(state.weights, state.stats, x, method="alone")[0]

    def render(key, state, batch, collect):
        videos = prepare(batch)[:8]
        if videos.shape[-1] not in (1, 3):
            return {}
        take, draw = jax.random.split(key)
        y = jax.random.randint(draw, (len(videos),), 0, ORDERS)

        def solved(in_time):
            in_time = jnp.full(len(videos), in_time)
            pieces = cut(take, videos, in_time)
            puzzle = shuffle(pieces, known[y])
            out, _ = net.apply(state.weights, state.stats, puzzle)
            guessed = _parts(out["logits"], in_time)[0].argmax(-1)
            moments = puzzle, unshuffle(puzzle, known[guessed]), pieces
            middle = [in_range(x[:, :, size[0] // 2]) for x in moments]
            return Grid(jnp.stack([lay_out(x, border=0.5) for x in middle], 1), heads)

        heads = ("puzzle", "solved", "original")
        return {"puzzles in space": solved(False), "puzzles in time": solved(True)}

    return Method(init, step, embed, render=render)


def _parts(logits, in_time):
    """Logits of the permutations, by the classifier of each row, and of turned pieces."""
    space, time, turns = jnp.split(logits, [ORDERS, 2 * ORDERS], -1)
    return jnp.where(in_time[:, None], time, space), turns
