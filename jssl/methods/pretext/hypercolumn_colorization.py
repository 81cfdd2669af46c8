r"""Colorization with hypercolumns: histograms of hue and chroma at sampled pixels.

Larsson, Maire and Shakhnarovich, "Learning Representations for Automatic Colorization",
ECCV 2016, https://arxiv.org/abs/1603.06668; "Colorization as a Proxy Task for Visual
Understanding", CVPR 2017, https://arxiv.org/abs/1703.04044

    L = mean over pixels of KL(y_c || f_c(u)) + lambda c KL(y_h || f_h(u)),

with u the hypercolumn of a pixel: the values there of the maps of all layers; y_c and y_h
histograms of chroma and hue around it, and c its chroma: the hue of gray is undefined. The
few sampled pixels of each image suffice for all maps to be trained.
"""

import jax
import jax.numpy as jnp
import optax
from jax.scipy.special import xlogy
from jaxtyping import Array, Float

from jssl.learner import Learner, fresh, minimize, noise_keys
from jssl.method import Augment, Method, Prepare, field, first_row
from jssl.nets import Net
from jssl.ops.divergences import soft_cross_entropy
from jssl.ops.hsv import hue_and_chroma, with_hue_and_chroma
from jssl.ops.hypercolumns import circular_mean, histogram_median, window_histograms
from jssl.pictures import Grid

MEAN = 0.4488  # of gray pixels, in the released code
CERTAIN = 0.96  # length of the mean hue below which chroma fades: 0.03 x 32 bins
FINEST = 64  # rows and columns of predictions for a picture


def gray(images: Float[Array, "n h w 3"]) -> Float[Array, "n h w 1"]:
    """Means of the channels of RGB images in [0, 1], less 0.4488: a network's input."""
    return images.mean(-1, keepdims=True) - MEAN


def excess(scores: Float[Array, "*n k"], target: Float[Array, "*n k"]) -> jax.Array:
    """KL(target || softmax(scores)) in nats; the cross entropy for one-hot targets."""
    return soft_cross_entropy(scores, target) + xlogy(target, target).sum(-1)


def grid(h: int, w: int) -> tuple[jax.Array, tuple[int, int]]:
    """Places [p, 2] at the centers of equal cells, at most 64 along the longer side."""
    every = -(-max(h, w) // FINEST)
    rows, columns = (jnp.arange(0, side, every) + (every - 1) / 2 for side in (h, w))
    places = jnp.stack(jnp.meshgrid(rows, columns, indexing="ij"), -1)
    return places.reshape(-1, 2), (len(rows), len(columns))


def decoded(gray_: jax.Array, hue: jax.Array, chroma: jax.Array, fade: bool = True):
    """RGB images [n, h, w, 3] of means [n, h, w] and of histograms [n, h', w', bins].

    The chroma is the median, and the hue the circular mean; where that is uncertain, the
    chroma is reduced.
    """
    size = gray_.shape
    hue, chroma = (
        jax.image.resize(x, (*size, x.shape[-1]), "linear") for x in (hue, chroma)
    )
    angle, length = circular_mean(hue)
    certain = jnp.minimum(length / CERTAIN, 1) if fade else 1
    return with_hue_and_chroma(gray_, angle, certain * histogram_median(chroma))


def hypercolumn_colorization(
    net: Net,
    tx: optax.GradientTransformation,
    bins: int = 32,
    augment: Augment | None = None,
    *,
    places: int = 128,
    window: int = 7,
    edge: int = 0,
    hue_weight: float = 5.0,
    prepare: Prepare = field("image"),
) -> Method[Learner]:
    """Prediction of histograms of hue and chroma from hypercolumns.

    Args:
      net: (`gray` images [n, h, w, 1], places [n, p, 2]) -> {"hue", "chroma": scores [n, p,
        bins], "h": [n, d]}; see `jssl.models.hypercolumns.Hypercolumns`.
      tx: optimizer of all weights. The paper: SGD, momentum 0.9.
      bins: of the histograms.
      augment: (key, batch) -> one RGB view of each row, in [0, 1]; None: `prepare`.
      places: pixels of each image that are sampled in a step.
      window: side in pixels of the squares of the histograms.
      edge: pixels at the border of the images that are not sampled.
      hue_weight: lambda.
      prepare: batch -> RGB images in [0, 1] outside training.
    """
    look = augment or (lambda key, batch: prepare(batch))

    def init(key, batch):
        x = gray(first_row(prepare(batch)))
        return fresh(tx, *net.init(key, x, jnp.zeros((1, 1, 2), jnp.int32)))

    def drawn(key, images):
        n, h, w, _ = images.shape
        if 2 * edge >= min(h, w):
            raise ValueError(
                "hypercolumn_colorization: edge must be under half of the images' sides, "
                f"got {edge} for {h} x {w}"
            )
        most = jnp.array([h, w]) - edge
        return jax.random.randint(key, (n, places, 2), edge, most)  # rows and columns

    def loss(params, stats, images, at, keys):
        out, stats = net.apply(params, stats, gray(images), at, train=True, keys=keys)
        hue, chroma = hue_and_chroma(images)
        row = jnp.arange(len(at))[:, None]
        own = chroma[row, at[..., 0], at[..., 1]]  # [n, p]
        wanted = window_histograms(chroma, at, bins, window)
        of_chroma = excess(out["chroma"], wanted).mean()
        of_hue = (own * excess(out["hue"], window_histograms(hue, at, bins, window))).mean()
        value = of_chroma + hue_weight * of_hue
        near = jnp.abs(out["chroma"].argmax(-1) - wanted.argmax(-1)) <= 1
        return value, (
            stats,
            {
                "loss": value,
                "chroma/loss": of_chroma,
                "hue/loss": of_hue,
                "chroma_accuracy": near.mean(),
            },
        )

    def step(key, state, batch):
        view, place = jax.random.split(key)
        images = look(view, batch)
        at = drawn(place, images)
        return minimize(tx, loss, state, images, at, noise_keys(key))

    def predict(state, images):
        """Outputs, with histograms of hue and chroma [n, h', w', bins]."""
        n, h, w, _ = images.shape
        at, cells = grid(h, w)
        at = jnp.broadcast_to(at, (n, *at.shape))
        out = dict(net.apply(state.weights, state.stats, gray(images), at)[0])
        scores = (out.pop(name) for name in ("hue", "chroma"))
        hue, chroma = (jax.nn.softmax(x).reshape(n, *cells, bins) for x in scores)
        return out, hue, chroma

    def embed(state, batch):
        images = prepare(batch)
        out, hue, chroma = predict(state, images)
        seen = decoded(images.mean(-1), hue, chroma)
        return out | {"input": images, "reconstruction": seen}

    def render(key, state, batch, collect):
        images = prepare(batch)[:8]
        _, hue, chroma = predict(state, images)
        dark = images.mean(-1)
        moments = {
            "gray": jnp.repeat(dark[..., None], 3, -1),
            "colors": decoded(dark, hue, chroma, fade=False),
            "faded where unsure": decoded(dark, hue, chroma),
            "original": images,
        }
        seen = jnp.stack([*moments.values()], 1)
        return {"colors by hue and chroma": Grid(seen, tuple(moments))}

    return Method(init, step, embed, render=render)
