"""Contrastive predictive coding: prediction of the rows of patches below from those above.

v1: van den Oord, Li and Vinyals, "Representation Learning with Contrastive Predictive
Coding", 2018, https://arxiv.org/abs/1807.03748
v2, in four directions, with layer norm, larger patches and their augmentation: Henaff et
al., "Data-Efficient Image Recognition with Contrastive Predictive Coding", ICML 2020,
https://arxiv.org/abs/1905.09272

    L = mean_{i, j, k} -log exp(z_{i+k, j} W_k c_{i, j}) / sum_{z'} exp(z' W_k c_{i, j})

with z_{i, j} the latent of the patch in row i and column j, c_{i, j} a context of rows up
to i, and z' the latents of all patches of all images of the batch. Rows closer than k are
not predicted, since their patches share pixels.
"""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import optax

from jssl.learner import Learner, fresh, minimize, noise_keys, whole_batches
from jssl.losses.predictive import cpc_per_step
from jssl.method import Augment, Method, Prepare, field, first_row
from jssl.nets import Net
from jssl.ops.grids import facing, patch_grid
from jssl.pictures import Grid, in_range

SHOWN = 4  # candidates in the picture


def on_grid(net: Net, patch: int, stride: int) -> Net:
    """A network of grids of patches [n, r, k, p, p, c] as one of images [n, h, w, c].

    Its "layers" are maps [n, r, k, d] of the grid: the mean over each patch.
    """
    cut = partial(patch_grid, patch=patch, stride=stride)

    def apply(params, stats, images, **how):
        grid = cut(images)
        out, stats = net.apply(params, stats, grid, **how)
        if isinstance(out, dict) and "layers" in out:
            means = [x.mean((1, 2)).reshape(*grid.shape[:3], -1) for x in out["layers"]]
            out = out | {"layers": tuple(means)}
        return out, stats

    return Net(lambda key, images: net.init(key, cut(images)), apply)


def columns(grid: jax.Array) -> jax.Array:
    """Columns of a grid as sequences of rows, [n, r, k, d] -> [n k, r, d]."""
    return grid.swapaxes(1, 2).reshape(-1, grid.shape[1], grid.shape[3])


def cpc_image(
    net: Net,
    tx: optax.GradientTransformation,
    *,
    patch: int,
    stride: int,
    first: int,
    scale: float = 1.0,
    groups: int = 1,
    augment: Augment | None = None,
    distort: Callable[[jax.Array, jax.Array], jax.Array] | None = None,
    prepare: Prepare = field("image"),
) -> Method[Learner]:
    """Prediction of the latents of patches in later rows among those of the batch.

    Args:
      net: patches [n, r, k, p, p, c] -> {"h": [n, d], "z": [n, r, k, e], "contexts":
        {direction: [n, r, k, d]}, "weights": {direction: [steps, e, d]}}, as
        `jssl.models.cpc.Predictive`. Without batch norm, by which patches would exchange
        information.
      tx: optimizer of all weights. The paper: Adam.
      patch: side of the patches, in pixels.
      stride: distance of the patches, in pixels.
      first: k of the first prediction, in rows; patches so far apart must not overlap.
      scale: factor of the predictions; 0.1 in v2.
      groups: parts of the batch that are compared within themselves, the paper's devices.
      augment: (key, batch) -> one view of each row, normalized as `prepare` does; None:
        `prepare`.
      distort: (key, patches [m, p, p, c]) -> patches, each changed by itself, in training.
      prepare: batch -> x, the images outside training.
    """
    least = -(-patch // stride)
    if first < least:
        raise ValueError(
            f"cpc_image: patches of {patch} pixels, {stride} apart, overlap {first} rows "
            f"ahead: give first={least} or more"
        )
    look = augment or (lambda key, batch: prepare(batch))
    of_images = on_grid(net, patch, stride)

    def init(key, batch):
        learner = fresh(tx, *of_images.init(key, first_row(prepare(batch))))
        return whole_batches("cpc_image", learner)

    def nats(out, way):
        """The loss of each number of rows ahead, in one direction, [steps]."""
        z, contexts = columns(facing(out["z"], way)), columns(out["contexts"][way])
        weights, rows = scale * out["weights"][way], z.shape[1]
        if (last := first + len(weights) - 1) >= rows:
            raise ValueError(
                f"cpc_image: a grid of {rows} rows has none {last} rows ahead: give fewer "
                f"steps, or smaller patches"
            )
        parts = [x.reshape(groups, -1, *x.shape[1:]) for x in (z, contexts)]

        def each(z, contexts):
            return cpc_per_step(z, contexts, weights, "all", first)

        return jax.vmap(each)(*parts).mean(0)

    def loss(params, stats, patches, keys):
        out, stats = net.apply(params, stats, patches, train=True, keys=keys)
        each = jnp.stack([nats(out, way) for way in out["contexts"]]).mean(0)
        value = each.mean()
        ahead = {f"loss/k{first + i}": x for i, x in enumerate(each)}
        return value, (stats, {"loss": value, **ahead})

    def step(key, state, batch):
        view, change = jax.random.split(key)
        grid = patch_grid(look(view, batch), patch, stride)
        if len(grid) % groups:
            raise ValueError(
                f"cpc_image: a batch of {len(grid)} does not divide into {groups} groups: "
                f"choose a divisor of the batch"
            )
        if distort:
            changed = distort(change, grid.reshape(-1, *grid.shape[3:]))
            grid = changed.reshape(grid.shape)
        return minimize(tx, loss, state, grid, noise_keys(key))

    def embed(state, batch):
        out, _ = of_images.apply(state.weights, state.stats, prepare(batch))
        means = [x.mean((1, 2)) for x in out["contexts"].values()]
        kept = {name: out[name] for name in ("h", "layers") if name in out}
        return kept | {"context": jnp.concatenate(means, -1)}

    def render(key, state, batch, collect):
        images = prepare(batch)[:8]
        patches = patch_grid(images, patch, stride)
        out, _ = net.apply(state.weights, state.stats, patches)
        way, weights = next(iter(out["weights"].items()))
        patches, z, context = facing(patches, way), facing(out["z"], way), out["contexts"]
        row, column = (z.shape[1] - 1 - first) // 2, z.shape[2] // 2
        guess = context[way][:, row, column] @ weights[0].T
        best = jnp.argsort(-guess @ z.reshape(-1, z.shape[-1]).T, axis=1)[:, :SHOWN]
        found = patches.reshape(-1, *patches.shape[3:])[best]
        tiles = jnp.concatenate([patches[:, row + first, column][:, None], found], 1)
        known = seen(in_range(images), way, row * stride + patch)[:, None]
        cells = jnp.concatenate([known, framed(in_range(tiles), images.shape[1:3])], 1)
        ranks = (f"guess {i + 1}" for i in range(best.shape[1]))
        return {f"patches {first} rows ahead": Grid(cells, ("seen", "true", *ranks))}

    return Method(init, step, embed, render=render)


def seen(images: jax.Array, direction: str, pixels: int) -> jax.Array:
    """Images [n, h, w, c] with the first `pixels` along a direction, and gray beyond."""
    h, w = images.shape[1:3]
    y, x = jnp.arange(h)[:, None], jnp.arange(w)[None]
    at = {"down": y, "up": h - 1 - y, "right": x, "left": w - 1 - x}[direction]
    return jnp.where((at < pixels)[..., None], images, 0.5)


def framed(patches: jax.Array, size: tuple[int, int]) -> jax.Array:
    """Patches [n, m, p, p, c] enlarged by a whole factor, in gray frames of a size."""
    side = patches.shape[2]
    large = patches.repeat(min(size) // side, 2).repeat(min(size) // side, 3)
    spare = [extent - large.shape[2] for extent in size]
    frame = [(x // 2, x - x // 2) for x in spare]
    return jnp.pad(large, [(0, 0), (0, 0), *frame, (0, 0)], constant_values=0.5)
