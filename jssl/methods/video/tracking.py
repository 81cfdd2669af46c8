"""Tracking as supervision: patches of one track are nearer to each other than to others.

Wang and Gupta, "Unsupervised Learning of Visual Representations using Videos", ICCV 2015.
https://arxiv.org/abs/1505.00687

    L = mean over tracks and patches x' of others of max(0, D(x1, x2) - D(x1, x') + M),

with D one minus the cosine, x1 the patch that moves most in a frame and x2 the patch that
it has become some frames later: an object seen twice.
"""

import jax
import jax.numpy as jnp
import optax

from jssl.learner import Learner, fresh, minimize, noise_keys
from jssl.losses.motion import triplet_ranking
from jssl.method import Augment, Method, Prepare, field, first_row, fold
from jssl.nets import Net
from jssl.ops.tracking import mine_tracks
from jssl.ops.vectors import unit
from jssl.pictures import Grid, in_range


def tracking(
    net: Net,
    tx: optax.GradientTransformation,
    augment: Augment | None = None,
    *,
    prepare: Prepare = field("video"),
    steps: int = 8,
    side: int = 16,
    radius: int = 3,
    margin: float = 0.5,
    negatives: int = 4,
    hard: float = 0.5,
) -> Method[Learner]:
    """Ranking of tracked patches.

    Args:
      net: patches [n, side, side, c] -> {"h": [n, d], "z": [n, k]}.
      tx: optimizer of all weights. The paper: SGD, momentum 0.9.
      augment: (key, batch) -> one view of each clip; None: `prepare`.
      prepare: batch -> clips [n, t, h, w, c] in [0, 1]. `embed` has the h of the patch that
        moves most in the first frame.
      steps, side, radius: see `mine_tracks`. 30 frames and 227 pixels in the paper.
      margin, negatives, hard: see `triplet_ranking`; the paper's margin is 0.5. It has
        random negatives only, at first.
    """
    look = augment or (lambda key, batch: prepare(batch))
    mine = dict(steps=steps, side=side, radius=radius)

    def init(key, batch):
        patches, _ = mine_tracks(None, first_row(prepare(batch)), **mine)
        return fresh(tx, *net.init(key, patches[:, 0]))

    def loss(params, stats, key, patches, keys):
        out, stats = net.apply(params, stats, fold(patches), train=True, keys=keys)
        z = out["z"].reshape(len(patches), 2, -1)
        value = triplet_ranking(key, z, margin, negatives, hard)
        one, two = unit(z[:, 0]), unit(z[:, 1])
        found = (one @ two.T).argmax(1) == jnp.arange(len(z))
        return value, (stats, {"loss": value, "track_accuracy": found.mean()})

    def step(key, state, batch):
        view, start, choice = jax.random.split(key, 3)
        patches, found = mine_tracks(start, look(view, batch), **mine)
        state, metrics = minimize(tx, loss, state, choice, patches, noise_keys(key))
        return state, metrics | {"likeness": found["likeness"].mean()}

    def embed(state, batch):
        patches = first_patches(prepare(batch), side)
        return net.apply(state.weights, state.stats, patches)[0]

    def render(key, state, batch, collect):
        patches, _ = mine_tracks(None, prepare(batch)[:8], **mine)
        title = "first and last patch of a track"
        return {title: Grid(in_range(patches), ("first", "last"))}

    return Method(init, step, embed, render=render)


def first_patches(clips, side):
    """The patch of each clip's first frame that moves most, [n, side, side, c]."""
    return mine_tracks(None, clips[:, :2], steps=1, side=side, radius=0)[0][:, 0]
