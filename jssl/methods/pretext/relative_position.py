"""Context prediction: classification of the position of a patch relative to another.

Doersch, Gupta and Efros, "Unsupervised Visual Representation Learning by Context
Prediction", ICCV 2015. https://arxiv.org/abs/1505.05192

    L = mean over images and pairs of neighboring patches (a, b) of -log p(y | a, b),

with y the one of eight positions around a at which b was cut out:

    0 1 2
    3 a 4
    5 6 7
"""

import jax
import jax.numpy as jnp
import optax

from jssl.learner import Learner, fresh, minimize, noise_keys
from jssl.method import Augment, Method, Prepare, field, first_row
from jssl.methods.pretext.jigsaw import laid_out
from jssl.nets import Net
from jssl.ops import patch_pairs
from jssl.ops.patch_pairs import PAIRS, POSITIONS, WEIGHTS, nine_patches, standardize
from jssl.ops.puzzles import lay_out
from jssl.pictures import Grid, in_range

CENTER = 4  # of the nine patches
AROUND = [i for i, first in enumerate(PAIRS[:, 0]) if first == CENTER]  # by position


def relative_position(
    net: Net,
    tx: optax.GradientTransformation,
    patch: int,
    augment: Augment | None = None,
    *,
    gap: int,
    jitter: int,
    chroma: str = "drop",
    pixelate: float = 0.0,
    rms: float = 1.0,
    prepare: Prepare = field("image"),
) -> Method[Learner]:
    """Classification of relative positions of patches.

    All 40 ordered pairs of neighbors in a grid of 3 x 3 patches are classified; the eight
    positions have equal weight, so that chance is log 8.

    Args:
      net: patches [n, 9, patch, patch, c] -> {"logits": [n, 40, 8] of the pairs
        `jssl.ops.patch_pairs.PAIRS`, "h": [n, d]}. It should encode each patch separately
        before it combines two.
      tx: optimizer of all weights. The paper: SGD.
      patch: side of a patch in pixels. 96 in the paper.
      augment: (key, batch) -> one view of each row, in [0, 1], from which patches are cut;
        None: `prepare`.
      gap: pixels between patches, so that edges do not continue. 48 in the paper.
      jitter: largest shift of each patch in pixels, so that lines do not either. 7 in the
        paper.
      chroma: remedy against chromatic aberration, by which color betrays the place in the
        image: "drop" (in training, one random channel of each patch is kept), "project"
        (colors lose their green-magenta component) or "none".
      pixelate: fraction of the patches that are reduced to a random resolution and
        enlarged again. A third in the paper.
      rms: root mean square of a patch given to `net`, whose channels have mean 0. 50 in the
        released code.
      prepare: batch -> x, the images from which patches are cut outside training.
    """
    if chroma not in ("drop", "project", "none"):
        raise ValueError(
            f"relative_position: chroma must be 'drop', 'project' or 'none', got {chroma!r}"
        )
    look, net = augment or (lambda key, batch: prepare(batch)), laid_out(net)

    def normal(patches):
        if chroma == "project":
            patches = patch_pairs.project_colors(patches)
        return standardize(patches, rms)

    def remedied(key, images):
        place, resolution, color = jax.random.split(key, 3)
        patches = nine_patches(images, patch, gap, place, jitter)
        if pixelate:
            patches = patch_pairs.pixelate(resolution, patches, pixelate)
        if chroma == "drop":
            patches = patch_pairs.drop_colors(color, patches)
        return normal(patches)

    def regular(batch):
        return normal(nine_patches(prepare(batch), patch, gap))

    def init(key, batch):
        return fresh(tx, *net.init(key, first_row(regular(batch))))

    def loss(params, stats, patches, keys):
        out, stats = net.apply(params, stats, patches, train=True, keys=keys)
        logits, y = out["logits"], jnp.broadcast_to(POSITIONS, out["logits"].shape[:2])
        errors = optax.softmax_cross_entropy_with_integer_labels(logits, y)
        value = (errors * WEIGHTS).sum(-1).mean()
        right = ((logits.argmax(-1) == y) * WEIGHTS).sum(-1).mean()
        return value, (stats, {"loss": value, "position_accuracy": right})

    def step(key, state, batch):
        view, cut = jax.random.split(key)
        patches = remedied(cut, look(view, batch))
        return minimize(tx, loss, state, patches, noise_keys(key))

    def embed(state, batch):
        return net.apply(state.weights, state.stats, regular(batch))[0]

    def render(key, state, batch, collect):
        images = prepare(batch)[:8]
        rows, shown = jnp.arange(len(images)), nine_patches(images, patch, gap)
        y = jax.random.permutation(key, 8)[: len(images)]
        logits = net.apply(state.weights, state.stats, normal(shown))[0]["logits"]
        guessed = logits[rows, jnp.asarray(AROUND)[y]].argmax(-1)
        second = shown[rows, _place(y)]
        empty = jnp.full_like(shown, 0.5).at[:, CENTER].set(shown[:, CENTER])
        moments = [empty.at[rows, _place(k)].set(second) for k in (guessed, y)]
        given = remedied(key, images)
        moments = [in_range(tiles) for tiles in (*moments, shown, given)]
        moments = [lay_out(tiles, border=0.5) for tiles in moments]
        headings = ("predicted", "true", "all patches", "input in training")
        return {"position of a neighbor": Grid(jnp.stack(moments, 1), headings)}

    return Method(init, step, embed, render=render)


def _place(y):
    """Number in the grid of the neighbor of the central patch at position y."""
    return y + (y >= CENTER)
