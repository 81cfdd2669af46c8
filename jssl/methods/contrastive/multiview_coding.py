"""Contrastive multiview coding: views of a scene by different senses are positives.

Tian, Krishnan and Isola, "Contrastive Multiview Coding", ECCV 2020.
https://arxiv.org/abs/1906.05849

    L = sum_{(i, j)} L(V_i, V_j) + L(V_j, V_i)

over the pairs with a core view, (1, j), or over all pairs, the full graph. L(V_i, V_j)
discriminates row k of a memory bank of view j from m others, for the feature of view i of
sample k: by noise-contrastive estimation, or as the softmax of 1 + m classes. Without a
bank it is InfoNCE among the samples of the batch. Every view has its own encoder; the
representation is the concatenation of all.
"""

from collections.abc import Sequence
from itertools import combinations
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from jssl.learner import Learner, fresh, minimize, noise_keys, whole_batches
from jssl.losses.contrastive import info_nce
from jssl.losses.predictive import nce, nce_log_z
from jssl.method import Augment, Method, Prepare, first_row
from jssl.nets import Net
from jssl.ops.memory import bank_init, bank_read, bank_write
from jssl.ops.vectors import dots, unit
from jssl.pictures import Grid, in_range

KINDS = ("nce", "softmax", "batch")
SHOWN = 4  # neighbors in the picture


class State(NamedTuple):
    learner: Learner
    banks: tuple  # of each view, [size, k], of unit length; empty for "batch"
    log_z: jax.Array  # [views, views]: of anchors of view i, candidates of view j
    count: jax.Array  # steps taken


def pairs(views: int, graph: str) -> list[tuple[int, int]]:
    """The pairs of views that are contrasted, by a graph: "core" or "full".

    >>> pairs(3, "core"), pairs(3, "full")
    ([(0, 1), (0, 2)], [(0, 1), (0, 2), (1, 2)])
    """
    if graph not in ("core", "full") or views < 2:
        raise ValueError(
            f"multiview_coding: graph must be core or full, of two views or more, got "
            f"{graph!r} and {views}"
        )
    every = list(combinations(range(views), 2))
    return every if graph == "full" else every[: views - 1]


def with_joint_layers(net: Net, views: int) -> Net:
    """A network whose "layers" are those of all views side by side, [n, h, w, sum of c_i].

    There are none if the encoders' layers differ in number or in size.
    """

    def apply(*inputs, **how):
        out, stats = net.apply(*inputs, **how)
        if isinstance(out, dict) and "layers" in out:
            layers = out.pop("layers")
            levels = [
                layers[i :: len(layers) // views] for i in range(len(layers) // views)
            ]
            alike = all(len({x.shape[:-1] for x in level}) == 1 for level in levels)
            if alike and len(layers) % views == 0:
                out["layers"] = tuple(jnp.concatenate(level, -1) for level in levels)
        return out, stats

    return net._replace(apply=apply)


def multiview_coding(
    net: Net,
    tx: optax.GradientTransformation,
    augment: Augment,
    *,
    views: Sequence[str],
    size: int,
    prepare: Prepare,
    kind: str = "nce",
    negatives: int = 16384,
    graph: str = "core",
    temperature: float = 0.07,
    momentum: float = 0.5,
) -> Method[State]:
    """Contrastive learning between views of the same samples.

    Args:
      net: a tuple of views -> {"h": [n, d], "parts": h of each view, "z": features of each
        view, [n, k]}, as `jssl.models.multiview.PerView`.
      tx: optimizer of all weights. The paper: SGD, momentum 0.9.
      augment: (key, batch) -> a tuple of the views of each row, cropped and mirrored alike.
      views: names of the views, in the order of the tuple; the first is the core view.
      size: samples of the training split, which "index" numbers.
      prepare: batch -> a tuple of the views, outside training.
      kind: "nce" (the paper), "softmax", or "batch", without memory banks.
      negatives: m, rows of a bank for each anchor, drawn uniformly.
      graph: pairs of views that are contrasted: "core" or "full".
      temperature: tau; 0.07 for ImageNet, 0.1 for STL-10.
      momentum: mu, of the rows of the banks.
    """
    net, many = with_joint_layers(net, len(views)), len(views)
    contrasted = [way for i, j in pairs(many, graph) for way in ((i, j), (j, i))]
    if kind not in KINDS:
        raise ValueError(
            f"multiview_coding: kind must be one of {', '.join(KINDS)}, got {kind!r}"
        )

    def init(key, batch):
        net_key, *keys = jax.random.split(key, many + 1)
        x = first_row(prepare(batch))
        learner = fresh(tx, *net.init(net_key, x))
        log_z, count = jnp.zeros((many, many)), jnp.zeros((), jnp.int32)
        if kind == "batch":
            return State(whole_batches("multiview_coding", learner), (), log_z, count)
        z = jax.eval_shape(lambda: net.apply(learner.params, learner.stats, x)[0]["z"])
        width = z[0].shape[-1]
        banks = tuple(bank_init(own, size, width) for own in keys)
        return State(learner, banks, log_z, count)

    def constants(z, rows, log_z, count):
        """log Z of each pair: estimated in the first step, the same ever after."""
        for i, j in contrasted:
            own, others = rows[j]
            found = nce_log_z(z[i], own, others, size, temperature)
            log_z = log_z.at[i, j].set(jnp.where(count == 0, found, log_z[i, j]))
        return log_z

    def contrast(z, i, j, rows, log_z):
        """The loss of anchors of view i among candidates of view j."""
        if kind == "batch":
            return info_nce(z[i], z[j], None, temperature)
        own, others = rows[j]
        if kind == "softmax":
            return info_nce(z[i], own, others, temperature)
        return nce(z[i], own, others, log_z[i, j], size, temperature)

    def loss(params, stats, x, rows, log_z, count, keys):
        out, stats = net.apply(params, stats, x, train=True, keys=keys)
        z = out["z"]
        if kind == "nce":
            log_z = constants(z, rows, log_z, count)
        value = sum(contrast(z, i, j, rows, log_z) for i, j in contrasted)
        match = dots(unit(z[0]), unit(z[1])).argmax(1) == jnp.arange(len(z[0]))
        metrics = {"loss": value, "view_accuracy": match.mean()}
        return value, (stats, metrics | {"kept": (z, log_z)})

    def step(key, state, batch):
        view_key, draw = jax.random.split(key)
        x, index = augment(view_key, batch), batch["index"]
        rows = ()
        if state.banks:
            drawn = jax.random.randint(draw, (len(index), negatives), 0, size)
            rows = tuple((bank_read(b, index), bank_read(b, drawn)) for b in state.banks)
        known = rows, state.log_z, state.count, noise_keys(key)
        learner, metrics = minimize(tx, loss, state.learner, x, *known)
        z, log_z = metrics.pop("kept")
        written = zip(state.banks, z, strict=True) if state.banks else ()
        banks = tuple(bank_write(bank, index, own, momentum) for bank, own in written)
        return State(learner, banks, log_z, state.count + 1), metrics

    def embed(state, batch):
        out, _ = net.apply(state.learner.weights, state.learner.stats, prepare(batch))
        parts = zip(views, out.pop("parts"), strict=True)
        z = jnp.concatenate([unit(x) for x in out.pop("z")], -1)
        return out | {"z": z} | {f"h/{name}": part for name, part in parts}

    def render(key, state, batch, collect):
        x = prepare(batch)
        if not all(part.ndim == 4 and part.shape[-1] <= 3 for part in x[:2]):
            return {}
        out, _ = net.apply(state.learner.weights, state.learner.stats, x)
        cosines = dots(unit(out["z"][0][:8]), unit(out["z"][1]))
        best = jnp.argsort(-cosines, axis=1)[:, :SHOWN]
        one, two = (colored(in_range(part)) for part in x[:2])
        if one.shape != two.shape:
            return {}
        cells = jnp.concatenate([one[:8, None], two[:8, None], two[best]], 1)
        heads = (*views[:2], *(f"nearest {i + 1}" for i in range(best.shape[1])))
        return {f"{views[0]}, and the nearest {views[1]}": Grid(cells, heads)}

    return Method(init, step, embed, render=render)


def colored(images: jax.Array) -> jax.Array:
    """Maps [n, h, w, c] of 1 to 3 channels as colors; two are red and blue."""
    if images.shape[-1] == 2:
        middle = jnp.full_like(images[..., :1], 0.5)
        return jnp.concatenate([images[..., :1], middle, images[..., 1:]], -1)
    return jnp.broadcast_to(images, (*images.shape[:-1], 3))
