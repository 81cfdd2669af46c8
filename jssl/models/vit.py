"""Vision transformers (ViT) and the masked autoencoder.

Dosovitskiy et al. 2021, https://arxiv.org/abs/2010.11929; He et al. 2022,
https://arxiv.org/abs/2111.06377. Pre-norm blocks, exact GELU, LayerNorm with eps 1e-6,
fixed sine-cosine positions, Xavier-uniform matrices, tokens initialized from N(0, 0.02).
Query, key and value are three separate products (the gradient of a joint one needs a
copy), initialized within the bounds of the joint [d, 3d] matrix of MAE's code.
`moco_v3` builds the variant of MoCo v3.
"""

import math
import re
from functools import cache, partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jssl.models.intermediates import tap, tapped
from jssl.ops.masking import restore_tokens, take_tokens
from jssl.ops.patches import patchify
from jssl.ops.positions import resize_positions, sincos_2d

XAVIER = nn.initializers.xavier_uniform()
XAVIER_OF_THREE = nn.initializers.variance_scaling(0.5, "fan_avg", "uniform")
TOKEN = nn.initializers.normal(0.02)

SIZES = {  # width, depth, heads
    "Ti": (192, 12, 3),
    "S": (384, 12, 6),
    "B": (768, 12, 12),
    "L": (1024, 24, 16),
    "XL": (1152, 28, 16),  # of DiT
    "H": (1280, 32, 16),
}


def sizes(variant: str) -> dict[str, int]:
    """Width, depth, heads and patch size of a variant such as "B/16".

    Raises:
      ValueError: for an unknown variant.

    >>> sizes("B/16")
    {'width': 768, 'depth': 12, 'heads': 12, 'patch': 16}

    Other sizes are written WIDTHxDEPTHxHEADS.

    >>> sizes("384x6x4/8")
    {'width': 384, 'depth': 6, 'heads': 4, 'patch': 8}
    """
    name, _, patch = variant.partition("/")
    own = re.fullmatch(r"(\d+)x(\d+)x(\d+)", name)
    if not (own or name in SIZES) or not patch.isdigit():
        known = ", ".join(SIZES)
        raise ValueError(
            f"no ViT is called {variant!r}: write SIZE/PATCH, SIZE one of {known} or "
            f"WIDTHxDEPTHxHEADS"
        )
    numbers = map(int, own.groups()) if own else SIZES[name]
    return dict(zip(("width", "depth", "heads"), numbers, strict=True)) | {
        "patch": int(patch)
    }


def moco_v3(variant: str, **more: Any) -> "Encoder":
    """The ViT of MoCo v3 of a variant such as "S/16", with 12 heads in size S.

    It differs from MAE's in the initialization: query, key and value are Xavier-uniform
    as three [d, d] matrices, and the class token is N(0, 1e-6). The paper uses the class
    token's output (`Pooled` with "cls") and does not train the patch projection.

    Chen, Xie and He 2021, https://arxiv.org/abs/2104.02057, and `vits.py` of
    https://github.com/facebookresearch/moco-v3

    Args:
      variant: as in `sizes`.
      more: further attributes of `Encoder`.

    Raises:
      ValueError: for an unknown variant.

    >>> moco_v3("S/16").heads, moco_v3("B/16").heads
    (12, 12)
    """
    found: dict[str, Any] = {**sizes(variant)}
    if variant.startswith("S/"):
        found["heads"] = 12
    return Encoder(**found, joint_qkv_init=False, token_std=1e-6, **more)


def norm(dtype, name=None, eps=1e-6):
    return nn.LayerNorm(epsilon=eps, dtype=dtype, name=name)


class DropPath(nn.Module):
    """Stochastic depth: drops a sample's residual branch with probability `rate`.

    Huang et al. 2016, https://arxiv.org/abs/1603.09382
    """

    rate: float

    @nn.compact
    def __call__(self, x, train=False):
        if not train or self.rate == 0:
            return x
        kept = 1 - self.rate
        drawn = jax.random.bernoulli(self.make_rng("drop_path"), kept, (len(x), 1, 1))
        return jnp.where(drawn, x / kept, 0)


class Attention(nn.Module):
    """Multi-head softmax self-attention: [n, l, d] -> [n, l, d].

    Tokens in groups, [n, g, l, d], attend within their group. With a mask of bools that
    broadcasts to [n, heads, queries, keys], or [n g, ...], queries attend where it is True.

    Attributes:
      heads: number of heads.
      dtype: dtype of the computation.
      joint_qkv_init: initialize query, key and value within the bounds of a joint [d, 3d]
        matrix, sqrt(6 / 4d), else within those of [d, d] matrices, sqrt(6 / 2d).
    """

    heads: int
    dtype: Any = None
    joint_qkv_init: bool = True

    @nn.compact
    def __call__(self, x, mask=None):
        shape, (length, width) = x.shape, x.shape[-2:]
        x = x.reshape(-1, length, width)
        init = XAVIER_OF_THREE if self.joint_qkv_init else XAVIER
        split = (len(x), length, self.heads, width // self.heads)
        q, k, v = (
            nn.Dense(width, kernel_init=init, dtype=self.dtype, name=name)(x).reshape(split)
            for name in ("query", "key", "value")
        )
        # The softmax of `dot_product_attention` is in float32 for all dtypes.
        double = q.dtype == jnp.float64
        if double or tapped(self, "attention"):
            logits = jnp.einsum("nqhd,nkhd->nhqk", q, k) / math.sqrt(q.shape[-1])
            logits = logits if mask is None else jnp.where(mask, logits, -jnp.inf)
            weights = jax.nn.softmax(logits)
            tap(self, "attention", weights.reshape(shape[0], -1, length, length))
        if double:
            out = jnp.einsum("nhqk,nkhd->nqhd", weights, v)
        else:
            out = jax.nn.dot_product_attention(q, k, v, mask=mask)
        out = out.reshape(shape)
        return nn.Dense(width, kernel_init=XAVIER, dtype=self.dtype, name="out")(out)


class Block(nn.Module):
    """A pre-norm transformer block: x + attention(norm(x)), then x + mlp(norm(x)).

    The mask is that of `Attention`.
    """

    heads: int
    drop_path: float = 0.0
    dtype: Any = None
    ratio: int = 4
    eps: float = 1e-6
    joint_qkv_init: bool = True

    @nn.compact
    def __call__(self, x, train=False, mask=None):
        dense = dict(kernel_init=XAVIER, dtype=self.dtype)
        drop = DropPath(self.drop_path)
        y = Attention(self.heads, self.dtype, self.joint_qkv_init, name="attention")(
            norm(self.dtype, "norm1", self.eps)(x), mask
        )
        x = x + drop(y, train)
        y = nn.Dense(self.ratio * x.shape[-1], **dense, name="fc1")(
            norm(self.dtype, "norm2", self.eps)(x)
        )
        y = nn.Dense(x.shape[-1], **dense, name="fc2")(nn.gelu(y, approximate=False))
        return x + drop(y, train)


def blocks(depth, heads, dtype, drop_path=0.0, remat=False, name="block", **more):
    """A stack of blocks whose drop-path rate grows linearly with depth."""
    kind = nn.remat(Block, static_argnums=(2,)) if remat else Block
    return [
        kind(heads, drop_path * i / max(depth - 1, 1), dtype, name=f"{name}{i}", **more)
        for i in range(depth)
    ]


def run(stack, x, train, mask=None):
    for block in stack:
        x = block(x, train, mask)
    return x


def as_fixed(key, shape, grid):
    """Initialization of positions [1, 1 + l, d] by the fixed ones of a grid."""
    return jnp.zeros(shape).at[0, 1:].set(sincos_2d(shape[-1], *grid))


class Encoder(nn.Module):
    """A ViT without a head: images [n, h, w, c] -> class and patch tokens [n, 1 + l, d].

    With `keep` [n, k], only those patches are encoded: the cost falls with k.

    Attributes:
      width, depth, heads, patch: as in `sizes`.
      drop_path: rate of stochastic depth of the last block; it grows linearly from 0.
      final_norm: whether the tokens are normalized.
      remat: recompute the activations of each block in the backward pass, to save memory.
      dtype: dtype of the computation.
      eps: epsilon of the norms.
      grid: rows and columns of patches for learned positions of patches and class token;
        None: fixed sine-cosine positions, of any grid.
      sincos_init: learned positions begin as the fixed ones, as in MAE's fine-tuning, else
        N(0, 0.02).
      interpolate: images of another grid have resized learned positions, as the small crops
        of DINO; else they are refused.
      joint_qkv_init: see `Attention`.
      token_std: standard deviation of the class token's initialization.
      class_token: whether there is a class token; else the mean of the patch tokens has its
        place in the output.
      residual_dtype: dtype of the sums of the residual branches and of the final norm;
        None: `dtype`. With float32, rounding errors of the branches in bfloat16 do not
        accumulate, as under torch's autocast.

    Raises:
      ValueError: if the heads do not divide the width, if `sincos_init` has no grid, or if
        the image does not fit the grid of learned positions.
    """

    width: int
    depth: int
    heads: int
    patch: int
    drop_path: float = 0.0
    final_norm: bool = True
    remat: bool = False
    dtype: Any = None
    eps: float = 1e-6
    grid: tuple[int, int] | None = None
    sincos_init: bool = False
    interpolate: bool = False
    joint_qkv_init: bool = True
    token_std: float = 0.02
    class_token: bool = True
    residual_dtype: Any = None

    def setup(self):
        if self.width % self.heads:
            raise ValueError(f"{self.heads} heads do not divide a width of {self.width}")
        if self.sincos_init and not self.grid:
            raise ValueError(
                "sincos_init needs learned positions: give grid=(rows, columns)"
            )
        self.embedding = nn.Dense(self.width, kernel_init=XAVIER, dtype=self.dtype)
        token = nn.initializers.normal(self.token_std)
        place = (1, 1, self.width)
        self.cls = self.param("cls", token, place) if self.class_token else jnp.zeros(place)
        if self.grid:
            places = (1, 1 + math.prod(self.grid), self.width)
            init = partial(as_fixed, grid=self.grid) if self.sincos_init else TOKEN
            self.positions = self.param("positions", init, places)
        self.blocks = blocks(
            self.depth,
            self.heads,
            self.dtype,
            self.drop_path,
            self.remat,
            eps=self.eps,
            joint_qkv_init=self.joint_qkv_init,
        )
        if self.final_norm:
            self.norm = norm(self.residual_dtype or self.dtype, eps=self.eps)

    def __call__(self, images, keep=None, train=False, mask=None, token=None):
        x = self.embedded(images, keep, mask, token)
        for block in self.blocks:
            x = block(x, train)
            if keep is None:
                grid = *self.cut(images), self.width
                tap(self, "layers", x[:, int(self.class_token) :].reshape(len(x), *grid))
        return self.finished(x)

    def finished(self, x):
        """The output for that of a block: normalized, the class token or a mean first."""
        x = self.norm(x) if self.final_norm else x
        return x if self.class_token else jnp.concatenate([x.mean(1, keepdims=True), x], 1)

    def embedded(self, images, keep=None, mask=None, token=None):
        """The input of the blocks, [n, 1 + l, d] or, with `keep`, [n, 1 + k, d].

        With `mask`, [n, l], the embeddings of masked patches are replaced by `token`, [d],
        before positions are added.
        """
        patches = self.patches(images)
        cls, positions = self.located(self.cut(images), patches.dtype)
        if keep is not None:
            patches = take_tokens(patches, keep)
            positions = jnp.take(positions[0], keep, axis=0)
        x = self.widened(self.embedding(patches))
        if mask is not None:
            x = jnp.where(mask[..., None], token.astype(x.dtype), x)
        x = x + positions.astype(x.dtype)
        if not self.class_token:
            return x
        cls = jnp.broadcast_to(cls.astype(x.dtype), (len(x), 1, self.width))
        return jnp.concatenate([cls, x], axis=1)

    def last_blocks(self, images, count):
        """The normalized tokens [n, 1 + l, d] after each of the last `count` blocks."""
        x, found = self.embedded(images), []
        for block in self.blocks:
            x = block(x, False)
            found.append(x)
        return [self.finished(x) for x in found[-count:]]

    def widened(self, x):
        """x in the dtype of the residual sums."""
        return x if self.residual_dtype is None else x.astype(self.residual_dtype)

    def located(self, grid, dtype):
        """The class token with its position [1, 1, d], and patch positions [1, l, d]."""
        if self.grid is None:  # the class token's is zero
            return self.cls, jnp.asarray(self.fixed(self.width, grid), dtype)[None]
        positions = self.positions
        if self.interpolate:
            positions = resize_positions(positions, grid, self.grid)
        elif tuple(self.grid) != grid:
            text = "{}x{} patches have learned positions, the image has {}x{}: resize one"
            raise ValueError(text.format(*self.grid, *grid))
        return self.cls + positions[:, :1], positions[:, 1:]

    def patches(self, images):
        """The input of the patch projection, [n, l, k]."""
        return patchify(images, self.patch)

    def cut(self, images):
        """Rows and columns of patches of images [n, h, w, c]."""
        return tuple(size // self.patch for size in images.shape[1:3])

    def fixed(self, width, grid):
        """Fixed positions of a grid of patches, [l, width]."""
        return sincos_2d(width, *grid)

    def filters(self):
        """The kernels of the patch projection, [d, p, p, c]."""
        kernel = self.embedding.variables["params"]["kernel"]
        return kernel.T.reshape(self.width, self.patch, self.patch, -1)


def cells(x, grid, side=3):
    """Adaptive average pooling of patch tokens [n, l, d] to side x side cells.

    Of e rows (or columns), cell i covers floor(i e / side) to ceil((i + 1) e / side). The
    cell means are concatenated: [n, side * side * d].

    Args:
      x: tokens, row by row.
      grid: rows and columns of the patches, l together.
      side: cells along either axis.

    Raises:
      ValueError: if there are fewer than side rows or columns.
    """
    if min(grid) < side:
        raise ValueError(
            f"grid pooling needs at least {side} x {side} patches, got "
            f"{grid[0]} x {grid[1]}: use smaller patches, or another pooling"
        )
    n, _, width = x.shape
    down, across = (_shares(side, length) for length in grid)
    x = x.reshape(n, *grid, width)
    return jnp.einsum("ai,bj,nijd->nabd", down, across, x).reshape(n, -1)


@cache
def _shares(side, length):
    share = np.zeros((side, length), np.float32)
    for i in range(side):
        share[i, i * length // side : -(-(i + 1) * length // side)] = 1
    return share / share.sum(1, keepdims=True)


POOLS = {
    "mean": lambda x, grid: x[:, 1:].mean(1),
    "cls": lambda x, grid: x[:, 0],
    "mean_max": lambda x, grid: jnp.concatenate([x[:, 1:].mean(1), x[:, 1:].max(1)], 1),
    "grid": lambda x, grid: cells(x[:, 1:], grid),
    "flat": lambda x, grid: x[:, 1:].reshape(len(x), -1),
}


def pooled(tokens, pool, grid):
    """Pools class and patch tokens [n, 1 + l, d] to one representation [n, ...].

    Args:
      tokens: the class token, and the patches row by row.
      pool: one of `POOLS`.
      grid: rows and columns of the patches.

    Raises:
      ValueError: if there is no such pooling, or the grid is too small for it.
    """
    if pool not in POOLS:
        raise ValueError(f"no pooling is called {pool!r}: there are {', '.join(POOLS)}")
    h = POOLS[pool](tokens, grid)
    return h.astype(jnp.promote_types(tokens.dtype, jnp.float32))


class Pooled(nn.Module):
    """A ViT with pooling: images -> h [n, ...], the h of `Classifier`."""

    encoder: Encoder
    pool: str = "cls"

    @nn.compact
    def __call__(self, images, train=False):
        tokens = self.encoder(images, train=train)
        h = pooled(tokens, self.pool, self.encoder.cut(images))
        return h if self.encoder.final_norm else norm(None, "norm", self.encoder.eps)(h)

    def filters(self, train=False):
        return self.encoder.filters()


class LastBlocks(nn.Module):
    """Class tokens of the last blocks, concatenated: images -> h [n, blocks * d].

    The features of DINO's linear evaluation: of four blocks with ViT-S; of one, and the
    mean of its patch tokens, with ViT-B.

    Attributes:
      encoder: with a final norm, which is applied after each of the blocks.
      blocks: number of the last blocks.
      mean: whether the mean of the last patch tokens is added.
    """

    encoder: Encoder
    blocks: int = 4
    mean: bool = False

    def __call__(self, images, train=False):
        found = self.encoder.last_blocks(images, self.blocks)
        parts = [x[:, 0] for x in found]
        if self.mean:
            parts.append(found[-1][:, 1:].mean(1))
        h = jnp.concatenate(parts, axis=1)
        return h.astype(jnp.promote_types(h.dtype, jnp.float32))


class MaskedAutoencoder(nn.Module):
    """MAE's network: an encoder of the visible patches and a light decoder of all patches.

    (images, keep, restore) -> predicted patches [n, l, p * p * c].
    """

    encoder: Encoder
    width: int = 512  # of the decoder
    depth: int = 8
    heads: int = 16
    pool: str = "cls"

    @nn.compact
    def __call__(self, images, keep, restore, train=False):
        _, h, w, c = images.shape
        patch, dtype = self.encoder.patch, self.encoder.dtype
        dense = dict(kernel_init=XAVIER, dtype=dtype)
        x = nn.Dense(self.width, **dense, name="bridge")(self.encoder(images, keep, train))
        x = self.encoder.widened(x)
        mask_token = self.param("mask_token", TOKEN, (1, 1, self.width))
        patches = restore_tokens(x[:, 1:], mask_token, restore)
        positions = sincos_2d(self.width, h // patch, w // patch)
        patches = patches + jnp.asarray(positions, x.dtype)
        x = jnp.concatenate([x[:, :1], patches], axis=1)
        x = run(blocks(self.depth, self.heads, dtype, name="decoder"), x, train)
        x = nn.Dense(patch * patch * c, **dense, name="pixels")(norm(dtype, "norm")(x))
        return x[:, 1:].astype(jnp.promote_types(x.dtype, jnp.float32))

    def encode(self, images, train=False):
        """Embeds unmasked images: {"h": pooled, "tokens": [n, l, d]}."""
        tokens = self.encoder(images, train=train)
        h = pooled(tokens, self.pool, self.encoder.cut(images))
        return {"h": h, "tokens": tokens[:, 1:]}

    def filters(self, train=False):
        return self.encoder.filters()


class Classifier(nn.Module):
    """A ViT with a linear head: images -> {"logits": [n, classes], "h", "tokens"}.

    For mean pooling before the norm, as in MAE's fine-tuning, build the encoder with
    final_norm=False.
    """

    encoder: Encoder
    classes: int
    pool: str = "mean"
    head_std: float = 2e-5

    @nn.compact
    def __call__(self, images, train=False):
        tokens = self.encoder(images, train=train)
        h = pooled(tokens, self.pool, self.encoder.cut(images))
        if not self.encoder.final_norm:
            h = norm(None, "norm")(h)
        init = nn.initializers.truncated_normal(self.head_std)
        logits = nn.Dense(self.classes, kernel_init=init, name="head")(h)
        return {"logits": logits, "h": h, "tokens": tokens[:, 1:]}

    def filters(self, train=False):
        return self.encoder.filters()
