"""Pictures that any method can have, drawn from its features and weights."""

import math
from typing import Any

import jax
import numpy as np

from jssl.evals import gallery
from jssl.evals.retrieval import retrieve
from jssl.learner import Learner
from jssl.pictures import Grid, Picture

UNITS, QUERIES, SHOWN = 8, 8, 7
SEARCHED = 2048  # rows among which neighbors are looked for


def shared(features, split: str = "test") -> dict[str, Picture]:
    """The pictures of every stage, by name; those that do not apply are left out.

    nearest neighbors: a query of the split, and the rows with the nearest h, by field.
    first-layer filters: of a layer that reads images.
    samples: rows that the method generates.
    reconstruction: what the network is given, and its reconstruction.
    """
    found = neighbors(features, split)
    image = features.source.row_shapes().get("image")
    if image is not None and len(image.shape) == 4:
        kernels = first_layer(features.state, image.shape[1:])
        if kernels is not None:
            found["first-layer filters"] = filters(kernels)
    for name, made in features.generated(split, rows=64).items():
        columns = min(8, len(made))
        cells = np.asarray(made)[: len(made) // columns * columns]
        cells = cells.reshape(-1, columns, *made.shape[1:])
        picture = features.source.field_of(name).shown(cells)
        found |= _named("samples", {name: picture})
    found |= reconstructions(features, split)
    return {name: picture for name, picture in found.items() if picture is not None}


def exhibits(features, split: str = "test") -> dict[str, Picture]:
    """`shared`, and pictures of maps and of attention, where the method has them.

    strongest images: for the units of the last maps that vary most, a row each.
    layers: an image and the energy of each layer's maps, sum_c |x_c|^2.
    attention: an image, the attention of the class token by head in the last block, and
      rolled out over all blocks.
    """
    found = shared(features, split)
    image = features.source.row_shapes().get("image")
    if image is None or len(image.shape) != 4 or image.shape[-1] not in (1, 3):
        return found
    if "maps" in features.names:
        maps = np.asarray(features(split, "maps"))
        rows = features.rows(split)
        found["strongest images"] = strongest(rows["image"], maps)
        few = {name: x[:QUERIES] for name, x in rows.items()}
        found["layers"] = energies(few["image"], features.of(few, "layers"))
    if "attention" in features.names:
        few = features.rows(split, QUERIES)
        found["attention"] = attention(few["image"], features.of(few, "attention"))
    return found


def neighbors(features, split: str) -> dict[str, Picture]:
    """A row a query, its nearest rows of the split by cosine of h beside it."""
    h = np.asarray(features(split, rows=SEARCHED))
    if h.ndim != 2 or len(h) < 2 or not np.isfinite(h).all():
        return {}
    shown, queries = min(SHOWN, len(h) - 1), min(QUERIES, len(h))
    index, _ = retrieve(h[:queries], h, shown + 1)
    others = [[j for j in row if j != i][:shown] for i, row in enumerate(index)]
    heads = ("query", *(f"nearest {i + 1}" for i in range(shown)))
    rows = np.column_stack([np.arange(queries), others])
    return _named("nearest neighbors", features.shown(split, rows, heads))


def reconstructions(features, split: str) -> dict[str, Picture]:
    """Inputs of the network beside their reconstructions, where these are images."""
    if not {"input", "reconstruction"} <= set(features.names):
        return {}
    x, seen = (
        np.asarray(features(split, name, rows=QUERIES))
        for name in ("input", "reconstruction")
    )
    image = features.source.row_shapes().get("image")
    if image is None or len(image.shape) != 4 or x[0].size != math.prod(image.shape[1:]):
        return {}
    pair = np.stack([x, seen], 1).reshape(len(x), 2, *image.shape[1:])
    picture = features.source.field_of("image").shown(pair, ("input", "reconstruction"))
    return {"reconstruction": picture}


def first_layer(state: Any, image: tuple[int, ...]) -> Any | None:
    """The first layer's kernels [d, h, w, c] in a state, or None.

    They are the first kernel, of a convolution [h, w, c, d] or of a dense layer of whole
    images or square patches, that fits images of shape `image`; encoders come first.

    Args:
      state: of a method: `Learner`s are read by their running averages, if they have any.
      image: (h, w, c).
    """
    learners = jax.tree.leaves(state, is_leaf=lambda x: isinstance(x, Learner))
    weights = [x.weights if isinstance(x, Learner) else x for x in learners]
    found = jax.tree_util.tree_flatten_with_path(weights)[0]
    leaves = [(jax.tree_util.keystr(path), leaf) for path, leaf in found]
    for path, leaf in sorted(leaves, key=lambda item: "encoder" not in item[0]):
        kernels = _as_images(path, np.shape(leaf), image)
        if kernels:
            return kernels(np.asarray(_whole(leaf), np.float32))
    return None


def _whole(leaf):
    """An array, gathered from all processes where this one holds a part of it."""
    if getattr(leaf, "is_fully_addressable", True):
        return leaf
    from jax.experimental import multihost_utils

    return multihost_utils.process_allgather(leaf, tiled=True)


def _as_images(path, shape, image):
    """kernel -> pictures [d, h, w, c], if a kernel of this shape reads images."""
    h, w, c = image
    if len(shape) == 4 and shape[2] == c and 1 < shape[0] <= h:
        return lambda kernel: kernel.transpose(3, 0, 1, 2)
    if len(shape) != 2:
        return None
    if shape[0] == h * w * c:
        return lambda kernel: kernel.T.reshape(-1, h, w, c)
    side = math.isqrt(shape[0] // c)
    if side > 1 and side * side * c == shape[0] and "embedding" in path:
        return lambda kernel: kernel.T.reshape(-1, side, side, c)
    return None


def filters(kernels: Any, columns: int = 16) -> Grid:
    """Kernels [d, h, w, c], each stretched to [0, 1], in full rows of `columns`.

    Channels that make no color, neither one nor three, stand one after the other.
    """
    if kernels.shape[-1] not in (1, 3):
        kernels = np.moveaxis(kernels, -1, 1).reshape(-1, *kernels.shape[1:3], 1)
    columns = min(columns, len(kernels))
    low = kernels.min((1, 2, 3), keepdims=True)
    high = kernels.max((1, 2, 3), keepdims=True)
    stretched = (kernels - low) / np.maximum(high - low, 1e-12)
    rows = min(len(kernels) // columns, 16)
    return Grid(stretched[: rows * columns].reshape(rows, columns, *kernels.shape[1:]))


def _named(title, by_field):
    """One picture has the title as its name, several have their field behind it."""
    if len(by_field) == 1:
        return {title: next(iter(by_field.values()))}
    return {f"{title}, {name}": picture for name, picture in by_field.items()}


def strongest(images, maps):
    units = np.argsort(-maps.mean((1, 2)).std(0), kind="stable")[:UNITS]
    shown = min(SHOWN + 1, len(images))
    rows = [gallery.top_activating(maps, images, int(u), shown).images for u in units]
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
