"""Random masking of tokens, and gathering and restoring of the visible ones."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Shaped

from jssl.ops.explicit import compares_rows
from jssl.ops.shapes import expect


class Masking(NamedTuple):
    """A random mask per sample.

    Attributes:
      keep: [n, l_keep] indices of the visible tokens, in shuffled order.
      mask: [n, l] 1 where masked, 0 where visible.
      restore: [n, l] the permutation that undoes the shuffle.
    """

    keep: Int[Array, "n l_keep"]
    mask: Float[Array, "n l"]
    restore: Int[Array, "n l"]

    @property
    def hidden(self) -> Int[Array, "n l_hidden"]:
        """Indices of the masked tokens, in shuffled order."""
        return jnp.argsort(self.restore, axis=1)[:, self.keep.shape[1] :]


def random_masking(key: jax.Array, n: int, length: int, ratio: float) -> Masking:
    """Mask all but int(length * (1 - ratio)) tokens of each of n samples, at random.

    He et al. 2022, section 3. https://arxiv.org/abs/2111.06377

    Raises:
      ValueError: when no token, or every token, would stay visible.

    >>> masking = random_masking(jax.random.key(0), 2, 196, 0.75)
    >>> masking.keep.shape, masking.mask.sum(1).tolist()
    ((2, 49), [147.0, 147.0])
    """
    return masking_by(jax.random.uniform(key, (n, length)), ratio)


def masking_by(noise: Float[Array, "n l"], ratio: float) -> Masking:
    """Keep the int(l * (1 - ratio)) tokens of least noise in each sample.

    Raises:
      ValueError: when no token, or every token, would stay visible.

    >>> masking_by(jnp.array([[0.3, 0.1, 0.2]]), 0.6).keep.tolist()
    [[1]]
    """
    length = expect("masking_by", noise=(noise, "n l"))["l"]
    kept = int(length * (1 - ratio))
    if not 0 < kept < length:
        raise ValueError(
            f"masking {ratio} of {length} tokens leaves {kept} visible; "
            f"at least one must be visible and one masked"
        )
    shuffle = jnp.argsort(noise, axis=1)
    restore = jnp.argsort(shuffle, axis=1)
    return Masking(shuffle[:, :kept], (restore >= kept).astype(jnp.float32), restore)


TUBES = ("tube", "frame", "random")


def video_masking(
    key: jax.Array, n: int, grid: tuple[int, int], ratio: float, way: str = "tube"
) -> Masking:
    """Mask int(ratio * l) of the l cubes of each of t slices of n videos, at random.

    Tokens are in the order of `patchify_video`: slice after slice. Tong et al. 2022,
    section 3.3, https://arxiv.org/abs/2203.12602

    Args:
      key: of the draw.
      n: number of videos.
      grid: t slices of time and l cubes of each.
      ratio: fraction that is masked.
      way: "tube", the same places in all slices; "frame", other places in each slice;
        "random", int(ratio * t * l) of all cubes.

    Raises:
      ValueError: an unknown way; no cube, or every cube, would stay visible.

    >>> masking = video_masking(jax.random.key(0), 2, (8, 196), 0.9)
    >>> masking.keep.shape, masking.mask.reshape(2, 8, 196).sum(2)[0, :2].tolist()
    ((2, 160), [176.0, 176.0])
    """
    slices, length = (1, grid[0] * grid[1]) if way == "random" else grid
    hidden = int(ratio * length)
    if way not in TUBES or not 0 < hidden < length:
        raise ValueError(
            f"video_masking: way must be one of {', '.join(TUBES)}, and at least one of "
            f"{length} cubes masked and one visible, got {way!r} and {hidden} masked"
        )
    noise = jax.random.uniform(key, (n, 1 if way == "tube" else slices, length))
    order = jnp.argsort(noise, axis=2) + length * jnp.arange(slices)[:, None]
    parts = jnp.split(order, [length - hidden], axis=2)
    shuffle = jnp.concatenate([part.reshape(n, -1) for part in parts], axis=1)
    kept, restore = slices * (length - hidden), jnp.argsort(shuffle, axis=1)
    return Masking(shuffle[:, :kept], (restore >= kept).astype(jnp.float32), restore)


def mask_of_counts(
    key: jax.Array, count: Int[Array, " n"], length: int
) -> Bool[Array, "n l"]:
    """Mask `count[i]` tokens of sample i, at random: iBOT's random masking.

    >>> mask_of_counts(jax.random.key(0), jnp.array([0, 2, 3]), 4).sum(1).tolist()
    [0, 2, 3]
    """
    noise = jax.random.uniform(key, (len(count), length))
    return jnp.argsort(jnp.argsort(noise, axis=1), axis=1) < count[:, None]


@compares_rows(like="ids")
def take_tokens(
    tokens: Shaped[Array, "n l d"], ids: Int[Array, "n k"]
) -> Shaped[Array, "n k d"]:
    """Gather the tokens `ids[i]` of sample i.

    >>> take_tokens(jnp.array([[[10], [11], [12]]]), jnp.array([[2, 0]])).tolist()
    [[[12], [10]]]
    """
    expect("take_tokens", tokens=(tokens, "n l d", "any"), ids=(ids, "n k", "int"))
    return jnp.take_along_axis(tokens, ids[..., None], axis=1)


@compares_rows(like="restore")
def restore_tokens(
    visible: Float[Array, "n k d"],
    mask_token: Float[Array, "1 1 d"],
    restore: Int[Array, "n l"],
) -> Float[Array, "n l d"]:
    """Restore visible tokens to their positions, with `mask_token` in all others.

    >>> visible = jnp.array([[[7.0]]])
    >>> restore_tokens(visible, jnp.zeros((1, 1, 1)), jnp.array([[2, 0, 1]])).ravel()
    Array([0., 7., 0.], dtype=float32)
    """
    sizes = expect(
        "restore_tokens",
        visible=(visible, "n k d"),
        mask_token=(mask_token, "1 1 d"),
        restore=(restore, "n l", "int"),
    )
    n, hidden = sizes["n"], sizes["l"] - sizes["k"]
    tokens = jnp.broadcast_to(mask_token.astype(visible.dtype), (n, hidden, sizes["d"]))
    return take_tokens(jnp.concatenate([visible, tokens], axis=1), restore)
