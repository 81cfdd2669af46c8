r"""Split-brain autoencoder: two networks that predict each other's part of the channels.

Zhang, Isola and Efros, "Split-Brain Autoencoders: Unsupervised Learning by Cross-Channel
Prediction", CVPR 2017. https://arxiv.org/abs/1611.09842

    X = (X1, X2),    L = L1(F1(X1), X2) + L2(F2(X2), X1),    h = (h1(X1), h2(X2))

The parts are lightness and color (L and ab), or color and depth; the losses are cross
entropies of quantized channels, or errors of regression. The networks share nothing, and
together their features see all of the data, none of which was reconstructed from itself.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float

from jssl.learner import Learner, fresh, minimize, noise_keys
from jssl.losses.reconstruction import rebalanced_cross_entropy
from jssl.method import Augment, Method, Prepare, field, first_row
from jssl.nets import Net
from jssl.ops.cells import first_pixels
from jssl.ops.lab import annealed_mean, encode_ab, lab_to_rgb, rgb_to_lab
from jssl.pictures import Grid

AB = 110.0  # scale of a and b
LEVELS = 100  # of lightness, of width 1
Parts = tuple[jax.Array, jax.Array]


class Prediction(NamedTuple):
    """The prediction of one part of the channels for each cell.

    Attributes:
      outputs: numbers of a prediction.
      loss: (predictions [n, h', w', outputs], the true part of each cell [n, h', w', c]) ->
        scalar.
      decode: predictions -> the part [n, h', w', c].
    """

    outputs: int
    loss: Callable[[jax.Array, jax.Array], jax.Array]
    decode: Callable[[jax.Array], jax.Array]


class Halves(NamedTuple):
    """Two parts of the channels, and how each is predicted from the other.

    Attributes:
      names: of the parts.
      second: prediction of the second part, by the first network.
      first: prediction of the first part, by the second network.
      join: both parts, in full resolution -> images [n, h, w, c] in [0, 1]. Zeros stand for
        an unknown part.
    """

    names: tuple[str, str]
    second: Prediction
    first: Prediction
    join: Callable[[jax.Array, jax.Array], jax.Array]


def split_lab(images: Float[Array, "n h w 3"]) -> Parts:
    """RGB images in [0, 1] -> L less 50 and divided by 100; a and b divided by 110."""
    lab = rgb_to_lab(images)
    return (lab[..., :1] - 50) / 100, lab[..., 1:] / AB


def split_depth(batch: Any, far: float = 255.0) -> Parts:
    """A batch with "image" in [0, 1] and "depth" from 0 to `far` -> both, about 0."""
    return batch["image"] - 0.5, jnp.float32(batch["depth"])[..., None] / far - 0.5


def regression(channels: int, error: Callable[[Any], Any] = jnp.square) -> Prediction:
    """Prediction of the values of a part; the loss is the mean error over all of them."""

    def loss(found, true):
        return error(found - true).mean()

    return Prediction(channels, loss, lambda found: found)


def color_classes(bins: Float[np.ndarray, "q 2"], neighbors: int = 5) -> Prediction:
    """Prediction of ab as one of the bins, by the cross entropy of its soft code."""

    def loss(scores, ab):
        target = encode_ab(AB * ab, bins, neighbors)
        return rebalanced_cross_entropy(scores, target, jnp.ones(len(bins), scores.dtype))

    return Prediction(len(bins), loss, lambda scores: annealed_mean(scores, bins) / AB)


def lightness_classes() -> Prediction:
    """Prediction of lightness as one of 100 levels of width 1, by cross entropy."""
    centers = (jnp.arange(LEVELS) + 0.5 - 50) / LEVELS

    def loss(scores, light):
        level = jnp.floor(LEVELS * light[..., 0] + 50).astype(jnp.int32)
        level = jnp.clip(level, 0, LEVELS - 1)
        return optax.softmax_cross_entropy_with_integer_labels(scores, level).mean()

    def decode(scores):
        return (jax.nn.softmax(scores) * centers).sum(-1, keepdims=True)

    return Prediction(LEVELS, loss, decode)


def lab_halves(bins: Float[np.ndarray, "q 2"] | None, neighbors: int = 5) -> Halves:
    """Lightness and color; classification, or regression without bins."""

    def join(light, ab):
        return lab_to_rgb(jnp.concatenate([100 * light + 50, AB * ab], -1))

    if bins is None:
        return Halves(("lightness", "color"), regression(2), regression(1), join)
    classes = color_classes(np.asarray(bins), neighbors), lightness_classes()
    return Halves(("lightness", "color"), *classes, join)


def depth_halves() -> Halves:
    """Color and depth; regression by absolute errors of depth and squared ones of color."""

    def join(rgb, depth):
        pair = jnp.concatenate([rgb, jnp.repeat(depth, 3, -1)], 2)
        return jnp.clip(pair + 0.5, 0, 1)

    return Halves(("color", "depth"), regression(1, jnp.abs), regression(3), join)


def joined(net: Net) -> Net:
    """A network of two halves, of whose "layers" those of equal number are concatenated."""

    def apply(*inputs, **how):
        out, stats = net.apply(*inputs, **how)
        if isinstance(out, dict) and "layers" in out:
            half = len(out["layers"]) // 2
            pairs = zip(out["layers"][:half], out["layers"][half:], strict=True)
            out = out | {"layers": tuple(jnp.concatenate(pair, -1) for pair in pairs)}
        return out, stats

    return net._replace(apply=apply)


def split_brain(
    net: Net,
    tx: optax.GradientTransformation,
    halves: Halves,
    augment: Augment | None = None,
    *,
    prepare: Prepare = field("image", split_lab),
) -> Method[Learner]:
    """Prediction of each part of the channels from the other.

    Args:
      net: (x1, x2) -> {"second": predictions of x2 from x1 [n, h', w', outputs], "first":
        those of x1 from x2, "h/first": [n, d1], "h/second": [n, d2]}, by two networks that
        share nothing; see `jssl.models.colorization.SplitBrain`.
      tx: optimizer of all weights.
      halves: see `lab_halves`, `depth_halves`.
      augment: (key, batch) -> the parts of one view of each row; None: `prepare`.
      prepare: batch -> the parts (x1, x2), [n, h, w, c] each.
    """
    look, net = augment or (lambda key, batch: prepare(batch)), joined(net)

    def init(key, batch):
        return fresh(tx, *net.init(key, first_row(prepare(batch))))

    def loss(params, stats, parts, keys):
        out, stats = net.apply(params, stats, parts, train=True, keys=keys)
        found, metrics = [], {}
        for true, name in zip(parts, ("first", "second"), strict=True):
            cells = first_pixels(true, out[name].shape)
            found += [getattr(halves, name).loss(out[name], cells)]
            metrics[f"{name}/loss"] = found[-1]
        return sum(found), (stats, metrics | {"loss": sum(found)})

    def step(key, state, batch):
        return minimize(tx, loss, state, look(key, batch), noise_keys(key))

    def predict(state, parts):
        return dict(net.apply(state.weights, state.stats, parts)[0])

    def embed(state, batch):
        out = predict(state, prepare(batch))
        del out["first"], out["second"]
        return out | {"h": jnp.concatenate([out["h/first"], out["h/second"]], -1)}

    def render(key, state, batch, collect):
        one, two = (part[:8] for part in prepare(batch))
        out = predict(state, (one, two))
        first = jax.image.resize(halves.first.decode(out["first"]), one.shape, "linear")
        second = jax.image.resize(halves.second.decode(out["second"]), two.shape, "linear")
        pairs = [(one, 0 * two), (one, second), (0 * one, two), (first, two), (one, two)]
        a, b = halves.names
        headings = (a, f"{b} predicted", b, f"{a} predicted", "original")
        seen = jnp.stack([halves.join(*pair) for pair in pairs], 1)
        return {"each part from the other": Grid(seen, headings)}

    return Method(init, step, embed, render=render)
