"""Diffusion transformers of spacetime patches (DiT).

Peebles and Xie, "Scalable Diffusion Models with Transformers", ICCV 2023,
https://arxiv.org/abs/2212.09748, with the layers and the initialization of their released
code, for videos: patches of several frames, rows and columns are tokens, as in Brooks et
al., "Video generation models as world simulators", OpenAI 2024, who publish no
architecture. Attention is over all tokens, or in turn over the places of a frame and over
the frames of a place (Arnab et al., ViViT, ICCV 2021, https://arxiv.org/abs/2103.15691; Ma
et al., Latte, 2024, https://arxiv.org/abs/2401.03048).

The condition c modulates each block, which is the identity at first (adaLN-Zero):

    s1, k1, g1, s2, k2, g2 = Linear(silu(c)),    zero at first
    u <- u + g1 attention(norm(u) (1 + k1) + s1)
    u <- u + g2 mlp(norm(u) (1 + k2) + s2)
"""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from jssl.models.intermediates import tap
from jssl.models.vit import XAVIER, Attention
from jssl.ops.diffusion import timestep_embedding
from jssl.ops.patches import patchify_video, unpatchify_video
from jssl.ops.positions import sincos_3d

ZERO, SMALL = nn.initializers.zeros, nn.initializers.normal(0.02)
KINDS = {  # attention of the even and of the odd blocks
    "full": ("full", "full"),
    "factorized": ("spatial", "temporal"),
    "spatial": ("spatial", "spatial"),
}


def modulated(x, shift, scale, dtype=None):
    """norm(x) (1 + scale) + shift, with a norm without weights: [n, l, d] by [n, d]."""
    norm = nn.LayerNorm(epsilon=1e-6, use_bias=False, use_scale=False, dtype=dtype)
    return norm(x) * (1 + scale[:, None]) + shift[:, None]


class Block(nn.Module):
    """Transformer block modulated by a condition: [n, l, d], [n, d] -> [n, l, d].

    Attributes:
      heads: number of heads.
      kind: attention: "full", "spatial" within frames, "temporal" within places.
      ratio: units of the hidden layer of the MLP, in units of d.
      dtype: dtype of the computation.
    """

    heads: int
    kind: str = "full"
    ratio: int = 4
    dtype: Any = None

    @nn.compact
    def __call__(self, u, c, there):
        """`there` bool [n, t]: frames of tokens that others may attend to."""
        n, length, width = u.shape
        frames = there.shape[1]
        places = length // frames
        knobs = nn.Dense(6 * width, kernel_init=ZERO, dtype=self.dtype, name="modulation")
        s1, k1, g1, s2, k2, g2 = jnp.split(knobs(nn.silu(c)), 6, -1)
        attend = Attention(self.heads, self.dtype, name="attention")
        y = modulated(u, s1, k1, self.dtype)
        if self.kind == "full":
            y = attend(y, there.repeat(places, 1)[:, None, None])
        elif self.kind == "spatial":
            y = attend(y.reshape(n, frames, places, width)).reshape(u.shape)
        else:
            y = y.reshape(n, frames, places, width).swapaxes(1, 2)
            keys = there.repeat(places, 0)[:, None, None]
            y = attend(y, keys).swapaxes(1, 2).reshape(u.shape)
        u = u + g1[:, None] * y
        dense = dict(kernel_init=XAVIER, dtype=self.dtype)
        y = nn.Dense(self.ratio * width, **dense, name="fc1")(
            modulated(u, s2, k2, self.dtype)
        )
        y = nn.Dense(width, **dense, name="fc2")(nn.gelu(y, approximate=True))
        return u + g2[:, None] * y


class VideoTransformer(nn.Module):
    """DiT: x_t [n, t, h, w, c] and step [n], and what is known, -> {"output", "h"}.

    The output is like x_t, and zero at first; h [n, d] is the mean token of the block in
    the middle. An image is a video of one frame. Inputs after the step may be None:

    - words of the condition, int [n] or [n, k], whose embeddings are added to that of the
      step;
    - frames that there are, bool [n, t]: the others are taken as black, nothing depends on
      them, and their output is zero;
    - frames that are given without noise, bool [n, t]; with `continues` only.

    Attributes:
      width, depth, heads: of the transformer.
      patch: frames, rows and columns of a patch. Frames that are missing to a multiple are
        added, and do not exist for attention.
      words: number of words of a condition, with that of none; 0: no condition.
      attention: "full", "factorized" (even blocks within frames, odd ones across them), or
        "spatial", by which frames are independent.
      time: numbers of a position that encode the frame, even; None: about a third. 0: none,
        as in DiT.
      continues: True has a learned mark, zero at first, for frames that are given.
      order: of the embedding of steps, as in `timestep_embedding`.
      remat: recompute the activations of each block in the backward pass.
      dtype: dtype of the computation.

    Raises:
      ValueError: an unknown attention; sides that are no multiples of the patch.
    """

    width: int = 1152
    depth: int = 28
    heads: int = 16
    patch: tuple[int, int, int] = (1, 2, 2)
    words: int = 0
    attention: str = "full"
    time: int | None = None
    continues: bool = False
    order: str = "cos"
    remat: bool = False
    dtype: Any = None

    @nn.compact
    def __call__(self, x, i, words=None, there=None, given=None, train=False):
        if self.attention not in KINDS:
            raise ValueError(
                f"attention must be {', '.join(KINDS)}, got {self.attention!r}"
            )
        n, t, h, w, channels = x.shape
        pt, ph, pw = self.patch
        there = jnp.ones((n, t), bool) if there is None else there
        x = jnp.where(there[:, :, None, None, None], x, 0)
        more = ((0, 0), (0, -t % pt))
        x, kept = jnp.pad(x, (*more, (0, 0), (0, 0), (0, 0))), jnp.pad(there, more)
        size = x.shape[1], h, w
        grid = size[0] // pt, h // ph, w // pw
        exist = kept.reshape(n, grid[0], pt).any(-1)  # [n, frames of tokens]
        places = grid[1] * grid[2]

        dense = dict(kernel_init=XAVIER, dtype=self.dtype)
        u = nn.Dense(self.width, **dense, name="embedding")(patchify_video(x, self.patch))
        time = self.width // 12 * 4 if self.time is None else self.time
        u = u + jnp.asarray(sincos_3d(self.width, *grid, time), u.dtype)
        if self.continues:
            given = jnp.zeros((n, t), bool) if given is None else given
            marks = jnp.pad(given, more).reshape(n, grid[0], pt).astype(u.dtype)
            mark = nn.Dense(self.width, use_bias=False, kernel_init=ZERO, name="given")
            u = u + mark(marks).repeat(places, 1)

        c = self.condition(i, words)
        kind = nn.remat(Block) if self.remat else Block
        for b in range(self.depth):
            how = KINDS[self.attention][b % 2]
            u = kind(self.heads, how, dtype=self.dtype, name=f"block{b}")(u, c, exist)
            tap(self, "layers", u.reshape(n, *grid, self.width))
            if b == self.depth // 2:
                weight = exist.repeat(places, 1).astype(jnp.float32)[..., None]
                middle = (weight * u).sum(1) / weight.sum(1)

        last = nn.Dense(2 * self.width, kernel_init=ZERO, dtype=self.dtype, name="last")
        shift, scale = jnp.split(last(nn.silu(c)), 2, -1)
        u = modulated(u, shift, scale, self.dtype)
        u = nn.Dense(pt * ph * pw * channels, kernel_init=ZERO, name="output")(u)
        output = unpatchify_video(u, self.patch, size)[:, :t]
        return {"output": jnp.where(there[:, :, None, None, None], output, 0), "h": middle}

    def condition(self, i, words):
        """c [n, d]: the embedded step, and the sum of the embedded words."""
        dense = dict(kernel_init=SMALL, dtype=self.dtype)
        c = nn.Dense(self.width, **dense, name="time0")(
            timestep_embedding(i, 256, self.order)
        )
        c = nn.Dense(self.width, **dense, name="time1")(nn.silu(c))
        if self.words:
            each = nn.Embed(self.words, self.width, embedding_init=SMALL, name="words")(
                words
            )
            c = c + (each if words.ndim == 1 else each.sum(1))
        return c
