"""Weights told apart by their paths and shapes: masks, and layers of a ViT."""

import re
from collections.abc import Callable

import jax


def matrices(params):
    """Weight-decay mask: True for leaves of two or more axes, no biases and norms."""
    return jax.tree.map(lambda x: x.ndim > 1, params)


def kernels(params):
    """Weight-decay mask: True for leaves named "kernel", no biases, norms and tokens."""
    return jax.tree_util.tree_map_with_path(
        lambda path, _: path[-1].key == "kernel", params
    )


def biases_and_norms(params):
    """Mask: True for biases and norms."""
    return jax.tree.map(lambda x: x.ndim <= 1, params)


def vit_layer(depth: int) -> Callable[[str], int]:
    """Layer index of a ViT's weights by path, for `scale_by_layer`.

    0 for the embedding, i + 1 for block i, depth + 1 for all others.

    >>> [vit_layer(12)(p) for p in ("encoder/cls", "encoder/block0/fc1", "head/bias")]
    [0, 1, 13]
    """

    def layer(path):
        block = re.search(r"encoder/block(\d+)/", path)
        if block:
            return int(block[1]) + 1
        return 0 if re.search("encoder/(embedding|cls|positions)", path) else depth + 1

    return layer


def matching(owner, where, params):
    """A tree of booleans: True for weights whose path matches the regex `where`.

    Raises:
      ValueError: no path matches; the message begins with `owner`.
    """
    found = jax.tree_util.tree_map_with_path(
        lambda path, _: bool(re.search(where, path_of(path))), params
    )
    if not any(jax.tree.leaves(found)):
        paths = [path_of(path) for path, _ in jax.tree_util.tree_leaves_with_path(params)]
        raise ValueError(
            f"{owner}: no weight matches {where!r}; there are {', '.join(paths)}"
        )
    return found


def path_of(path):
    """The path of a leaf, as "decoder/dense0/kernel"."""
    return jax.tree_util.keystr(path, simple=True, separator="/")
