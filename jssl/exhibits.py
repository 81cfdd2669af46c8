"""Pictures of what a representation sees: the same ones for every method that has them."""

import jax
import numpy as np

from jssl.evals import gallery
from jssl.evals.retrieval import retrieve
from jssl.method import Grid

UNITS, QUERIES, SHOWN = 8, 8, 8


def exhibits(features, split: str = "test") -> dict[str, Grid]:
    """By name; a method without maps or attention has no pictures of them.

    nearest neighbours: a query of the split, and the others whose h is nearest.
    strongest images: for the units of the last maps that vary most, a row each.
    layers: an image and the energy of each layer's maps, sum_c |x_c|^2.
    attention: an image, what the class token looks at by head in the last block, and
      rolled out over all blocks.
    """
    images = features.images(split)
    if images.ndim != 4 or images.shape[-1] not in (1, 3):
        return {}
    found = {"nearest neighbours": neighbors(images, features(split))}
    if "maps" in features.names:
        maps = np.asarray(features(split, "maps"))
        found["strongest images"] = strongest(images, maps)
        shown = images[:QUERIES]
        found["layers"] = energies(shown, features.of(shown, "layers"))
    if "attention" in features.names:
        shown = images[:QUERIES]
        found["attention"] = attention(shown, features.of(shown, "attention"))
    return found


def neighbors(images, h):
    index, _ = retrieve(h[:QUERIES], h, SHOWN + 1)
    others = [[j for j in row if j != i][:SHOWN] for i, row in enumerate(index)]
    rows = np.column_stack([np.arange(len(others)), others])
    heads = ("query", *(f"nearest {i + 1}" for i in range(SHOWN)))
    return Grid(gallery.nearest_neighbor_panel(images, rows), heads)


def strongest(images, maps):
    units = np.argsort(-maps.mean((1, 2)).std(0), kind="stable")[:UNITS]
    rows = [gallery.top_activating(maps, images, int(u), SHOWN).images for u in units]
    return Grid(np.stack(rows))


def energies(images, layers):
    size = images.shape[1:3]
    seen = [gallery.activation_attention(np.asarray(x), size) for x in layers]
    heads = ("image", *(f"layer {i + 1}" for i in range(len(seen))))
    return Grid(_beside(images, seen), heads)


def attention(images, blocks):
    blocks = [np.asarray(x) for x in blocks]
    edge = round((blocks[-1].shape[-1] - 1) ** 0.5)
    heads = gallery.cls_attention(blocks[-1], (edge, edge))
    rolled = gallery.attention_rollout(blocks)[:, 0, 1:].reshape(-1, edge, edge)
    maps = [*heads.transpose(1, 0, 2, 3), rolled]
    size = images.shape[1:3]
    seen = [_stretched(_sized(x, size)) for x in maps]
    names = ("image", *(f"head {i + 1}" for i in range(heads.shape[1])), "rolled out")
    return Grid(_beside(images, seen), names)


def _sized(maps, size):
    return np.asarray(jax.image.resize(maps, (len(maps), *size), "nearest"))


def _stretched(maps):
    low, high = maps.min((1, 2), keepdims=True), maps.max((1, 2), keepdims=True)
    return (maps - low) / np.maximum(high - low, 1e-12)


def _beside(images, maps):
    """[n, 1 + maps, h, w, c]: grey maps with as many channels as the images."""
    channels = images.shape[-1]
    gray = [np.repeat(x[..., None], channels, -1) for x in maps]
    return np.stack([images, *gray], 1)
