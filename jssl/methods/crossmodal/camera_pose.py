"""Camera pose as the other modality: the motion of the camera between two frames.

Agrawal, Carreira and Malik, "Learning to See by Moving", ICCV 2015,
https://arxiv.org/abs/1505.01596, classify it: each component of the relative pose is one of
a number of bins,

    L = mean over pairs of the sum over components k of -log p(y_k | x1, x2).

By contrast, the pose is the match of its pair of frames among those of the batch, and vice
versa: InfoNCE between modalities (Radford et al. 2021, https://arxiv.org/abs/2103.00020).
"""

from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
import optax

from jssl.learner import Learner, fresh, minimize, noise_keys
from jssl.losses.crossmodal import clip
from jssl.losses.motion import motion_cross_entropy
from jssl.method import Augment, Method, Prepare, first_row
from jssl.nets import Net
from jssl.ops.poses import bin_pose
from jssl.ops.vectors import unit


def first_two(batch):
    """The first two frames of each clip, [n, 2, h, w, c]."""
    return batch["video"][:, :2]


def camera_pose(
    net: Net,
    tx: optax.GradientTransformation,
    motion: Callable,
    augment: Augment | None = None,
    *,
    edges: np.ndarray | None = None,
    temperature: float = 0.1,
    prepare: Prepare = first_two,
) -> Method[Learner]:
    """Classification of camera motions, or contrast of frames and motions.

    Args:
      net: to classify, pairs [n, 2, h, w, c] -> {"logits": k of [n, b + 1], "h": [n, d],
        "joint": [n, j]}; to contrast, (pairs, motions [n, k]) -> {"z/pair", "z/pose":
        [n, e], "h", "joint"}.
      tx: optimizer of all weights.
      motion: batch -> motions [n, k], from the first frame of a pair to the second.
      augment: (key, batch) -> one view of each pair, without motion of its own; None:
        `prepare`.
      edges: bounds of the bins of each component, sorted, [k, b]; None: contrast.
      temperature: of the contrast.
      prepare: batch -> pairs in [0, 1], the network's input outside training.
    """
    look = augment or (lambda key, batch: prepare(batch))

    def given(batch):
        """Inputs of the network outside training: motions to contrast only."""
        pairs = prepare(batch)
        return (pairs,) if edges is not None else (pairs, motion(batch))

    def init(key, batch):
        return fresh(tx, *net.init(key, *first_row(given(batch))))

    def loss(params, stats, pairs, moved, keys):
        x = (pairs,) if edges is not None else (pairs, moved)
        out, stats = net.apply(params, stats, *x, train=True, keys=keys)
        if edges is None:
            one, two = out["z/pair"], out["z/pose"]
            value = clip(one, two, 1 / temperature)
            found = (unit(one) @ unit(two).T).argmax(1) == jnp.arange(len(one))
        else:
            labels = bin_pose(moved, edges)
            value = motion_cross_entropy(out["logits"], labels)
            found = jnp.stack([x.argmax(-1) for x in out["logits"]], 1) == labels
        return value, (stats, {"loss": value, "pose_accuracy": found.mean()})

    def step(key, state, batch):
        pairs = look(key, batch)
        return minimize(tx, loss, state, pairs, motion(batch), noise_keys(key))

    def embed(state, batch):
        out, _ = net.apply(state.weights, state.stats, *given(batch))
        return {name: out[name] for name in ("h", "joint")}

    return Method(init, step, embed)
