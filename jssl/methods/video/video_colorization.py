r"""Video colorization: the colors of a gray frame, copied from frames before it.

Vondrick, Shrivastava, Fathi, Guadarrama and Murphy, "Tracking Emerges by Colorizing
Videos", ECCV 2018. https://arxiv.org/abs/1806.09594

    A_ji = softmax_i(f_i^T f_j / tau),    y_j = sum_i A_ji c_i,
    L = -mean_j log(y_j[c_j] + 1e-8)

with f features of gray frames, i the places of all reference frames, j those of the target,
and c colors as one-hot codes: the nearest of k centroids of a and b. A color can be copied
only from where the network points to, so that it learns to find the same part of the same
object in other frames: it tracks (`jssl.evals.propagation`).

The centroids are those of k-means of the colors of training clips, at random places of the
maps, as the codes are.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from jssl.learner import Learner, fresh, minimize, noise_keys
from jssl.losses.video import pointer_nll
from jssl.method import Augment, Method, Prepare, field, first_row
from jssl.nets import Net
from jssl.ops.cells import cell_means
from jssl.ops.frames import random_windows
from jssl.ops.kmeans import kmeans
from jssl.ops.lab import colored, lightness, nearest_bin, rgb_to_lab
from jssl.ops.means import masked_mean
from jssl.ops.pointers import pointers
from jssl.pictures import Grid

PLACES = 32  # of each clip, whose colors are collected
SAMPLED = 2**15  # colors that k-means is given, most


class State(NamedTuple):
    learner: Learner
    centroids: jax.Array  # [k, 2] of a and b


def video_colorization(
    net: Net,
    tx: optax.GradientTransformation,
    *,
    references: int = 3,
    colors: int = 16,
    temperature: float = 1.0,
    inference: float = 0.5,
    every: int = 1,
    augment: Augment | None = None,
    prepare: Prepare = field("video"),
) -> Method[State]:
    """Pointers between frames, trained by copying colors.

    The stage needs `refresh_every`, its number of steps: centroids are computed in
    `refresh`. Until then they are hues on a circle.

    Args:
      net: gray clips [n, t, y, x, 1] of `lightness` -> {"maps": f [n, t, y', x', d], "h":
        [n, d']}.
      tx: its optimizer. The paper: Adam.
      references: frames before the target that colors are copied from.
      colors: k, number of centroids.
      temperature: tau in training.
      inference: tau outside training.
      every: distance between the frames of a window.
      augment: (key, batch) -> clips in training, of which windows of references + 1 frames
        are taken; None: `prepare`.
      prepare: batch -> RGB clips [n, t, y, x, 3] in [0, 1], of references + 1 frames or
        more.
    """
    if min(references, every, colors) < 1 or min(temperature, inference) <= 0:
        raise ValueError(
            f"video_colorization: references, every, colors and temperatures must be "
            f"positive, got {references}, {every}, {colors}, {temperature} and {inference}"
        )

    def gray(clips):
        return lightness(clips.reshape(-1, *clips.shape[2:])).reshape(*clips.shape[:-1], 1)

    def init(key, batch):
        learner = fresh(tx, *net.init(key, gray(prepare(first_row(dict(batch))))))
        angle = 2 * jnp.pi * jnp.arange(colors, dtype=jnp.float32) / colors
        return State(learner, 40 * jnp.stack([jnp.cos(angle), jnp.sin(angle)], -1))

    def ab_of(clips, places):
        """Mean colors of the places of each frame, [n, t, y', x', 2]."""
        frames = clips.reshape(-1, *clips.shape[2:])
        ab = rgb_to_lab(cell_means(frames, places))[..., 1:]
        return ab.reshape(*clips.shape[:2], *ab.shape[1:])

    def copied(f, c, tau):
        """Distributions [n, l, k] over colors, from one-hot codes c of all frames."""
        join = lambda x: x[:, :-1].reshape(len(x), -1, x.shape[-1])
        target = f[:, -1].reshape(len(f), -1, f.shape[-1])
        return pointers(target, join(f), tau) @ join(c)

    def loss(params, stats, clips, centroids, keys):
        out, stats = net.apply(params, stats, gray(clips), train=True, keys=keys)
        code = nearest_bin(ab_of(clips, out["maps"].shape[2:4]), centroids)
        c = jax.nn.one_hot(code, colors, dtype=clips.dtype)
        truth, last = (code[:, i].reshape(len(code), -1) for i in (-1, -2))
        y = copied(out["maps"], c, temperature)
        known = c[:, :-1].mean((1, 2, 3))[:, None]  # [n, 1, k], what equal features copy
        value, alike = (
            pointer_nll(x, truth) for x in (y, jnp.broadcast_to(known, y.shape))
        )
        right = (y.argmax(-1) == truth).astype(y.dtype)
        metrics = {
            "loss": value,
            "relative_loss": value / jnp.maximum(alike, 1e-6),
            "accuracy": right.mean(),
            "moved_accuracy": masked_mean(right, (truth != last).astype(y.dtype)),
        }
        return value, (stats, metrics)

    def step(key, state, batch):
        look, draw = jax.random.split(key)
        clips = prepare(batch) if augment is None else augment(look, batch)
        clips = random_windows(draw, clips, references + 1, every)
        keys = noise_keys(key)
        learner, metrics = minimize(tx, loss, state.learner, clips, state.centroids, keys)
        return state._replace(learner=learner), metrics

    def applied(state, clips):
        learner = state.learner
        return dict(net.apply(learner.weights, learner.stats, gray(clips))[0])

    def embed(state, batch):
        out = applied(state, prepare(batch))
        maps = out.pop("maps")
        layers = (x.reshape(*maps.shape[:2], *x.shape[1:]) for x in out.pop("layers", ()))
        return out | {"layers": (*layers, maps)}

    def sampled(state, key, batch):
        """Colors of random places of the maps of all frames, [n, PLACES, 2]."""
        clips = prepare(batch)
        sides = jax.eval_shape(applied, state, clips)["maps"].shape[2:4]
        ab = ab_of(clips, sides).reshape(len(clips), -1, 2)
        at = jax.random.randint(key, (len(ab), PLACES, 1), 0, ab.shape[1])
        return jnp.take_along_axis(ab, at, 1)

    def refresh(key, state, collect):
        draw, begin, places = jax.random.split(key, 3)
        ab = jnp.asarray(collect(sampled, state, places)).reshape(-1, 2)
        some = jax.random.choice(draw, len(ab), (min(SAMPLED, len(ab)),), replace=False)
        found = kmeans(begin, ab[some], colors, init="++")
        return state._replace(centroids=found.centroids.astype(state.centroids.dtype)), None

    def render(key, state, batch, collect):
        clips = prepare(batch)[:8, : references * every + 1 : every]
        maps = applied(state, clips)["maps"]
        ab = ab_of(clips, maps.shape[2:4])
        y = copied(maps, ab, inference).reshape(len(ab), *ab.shape[2:])
        light = rgb_to_lab(clips[:, -1])[..., :1]
        rows = clips[:, -2], colored(light, 0 * y), colored(light, y), clips[:, -1]
        heads = "last reference", "gray target", "copied colors", "target"
        return {"copied colors": Grid(jnp.stack(rows, 1), heads)}

    return Method(init, step, embed, refresh, render)
