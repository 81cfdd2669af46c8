"""Egomotion: classification of the motion of the camera between two views.

Agrawal, Carreira and Malik, "Learning to See by Moving", ICCV 2015.
https://arxiv.org/abs/1505.01596

    L = mean over images of CE(y) + CE(x) + CE(rotation),

the classes of a translation by whole pixels and of a rotation, by which an image x2 differs
from x1, both views of one image. The baseline of slow features has no classes,

    L = |f(x1) - f(x2)|^2 + max(0, m - |f(x1) - f(x')|)^2,

with x' another image: Hadsell, Chopra and LeCun, "Dimensionality Reduction by Learning an
Invariant Mapping", CVPR 2006, https://doi.org/10.1109/CVPR.2006.100. Slow features of
videos may have the hinge max(0, m - |f(x1) - f(x')|^2) instead, of the squared distance,
with x' a frame far from x1 in time.
"""

import jax
import jax.numpy as jnp
import optax

from jssl.learner import Learner, fresh, minimize, noise_keys
from jssl.losses.metric import margin as margin_loss
from jssl.losses.motion import motion_cross_entropy
from jssl.method import Augment, Method, Prepare, field, first_row
from jssl.nets import Net
from jssl.ops.affine import affine, motion
from jssl.ops.egomotion import ego_pairs, motion_between
from jssl.pictures import Grid, in_range


def egomotion(
    net: Net,
    tx: optax.GradientTransformation,
    augment: Augment | None = None,
    *,
    prepare: Prepare = field("image"),
    shift: int = 3,
    degrees: float = 30.0,
    bins: int = 20,
    margin: int = 0,
    slow: float = 0.0,
) -> Method[Learner]:
    """Classification of motions in the image plane.

    Args:
      net: pairs [n, 2, h, w, c] -> {"logits": three of [n, classes], for 2 shift + 1, as
        many, and `bins` classes, "both": [n, 2, d]}; its method `encode` has the h of
        images, which `embed` returns.
      tx: optimizer of all weights.
      augment: (key, batch) -> one view of each row, in [0, 1], from which pairs are made;
        None: `prepare`.
      prepare: batch -> x, the images outside training.
      shift, degrees, bins, margin: see `ego_pairs`. The paper: 3 pixels, 30 degrees and 20
        classes on MNIST.
      slow: margin m of the baseline of slow features; 0: classes of motion.
    """
    look = augment or (lambda key, batch: prepare(batch))

    def drawn(key, images):
        return ego_pairs(
            key, images, shift=shift, degrees=degrees, bins=bins, margin=margin
        )

    def init(key, batch):
        pairs, _ = drawn(key, first_row(prepare(batch)))
        return fresh(tx, *net.init(key, pairs))

    def loss(params, stats, pairs, labels, keys):
        out, stats = net.apply(params, stats, pairs, train=True, keys=keys)
        if slow:
            one, two = out["both"][:, 0], out["both"][:, 1]
            ones = jnp.concatenate([one, one])
            twos = jnp.concatenate([two, jnp.roll(two, 1, 0)])
            same = jnp.arange(len(ones)) < len(one)
            value = 2 * margin_loss(ones, twos, same, slow)
            return value, (stats, {"loss": value})
        value = motion_cross_entropy(out["logits"], labels)
        found = jnp.stack([x.argmax(-1) for x in out["logits"]], 1)
        exact, near = found == labels, abs(found - labels) <= 1
        metrics = {
            "loss": value,
            "translation_accuracy": exact[:, :2].mean(),
            "rotation_within_one": near[:, 2].mean(),
        }
        return value, (stats, metrics)

    def step(key, state, batch):
        view, moves = jax.random.split(key)
        pairs, labels = drawn(moves, look(view, batch))
        return minimize(tx, loss, state, pairs, labels, noise_keys(key))

    def embed(state, batch):
        h, _ = net.apply(state.weights, state.stats, prepare(batch), method="encode")
        return {"h": h}

    def render(key, state, batch, collect):
        if slow:
            return {}
        pairs, _ = drawn(key, prepare(batch)[:8])
        out, _ = net.apply(state.weights, state.stats, pairs)
        classes = jnp.stack([x.argmax(-1) for x in out["logits"]], 1)
        found = motion_between(classes, shift, degrees, bins)
        moved = lambda image, x: affine(image, motion(x[2], x[0], x[1]))
        predicted = jax.vmap(moved)(pairs[:, 0], found)
        shown = jnp.stack([pairs[:, 0], pairs[:, 1], predicted], 1)
        headings = ("first", "second", "first, moved as predicted")
        return {"motion between two views": Grid(in_range(shown), headings)}

    return Method(init, step, embed, render=render)
