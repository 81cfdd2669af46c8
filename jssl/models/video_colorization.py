"""Features of the places of clips, for pointers from frame to frame."""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from jssl.models.norm import BatchNorm


class ClipMaps(nn.Module):
    """An encoder of single frames, and convolutions over frames and places.

    (clips [n, t, y, x, c]) -> {"maps": [n, t, y', x', width], "h": [n, d]}; h is the mean
    of the encoder's maps. With a depth, the place of each column and row, in [-1, 1], is
    appended to the encoder's maps, as in Vondrick et al. 2018, section 3.3.

    Attributes:
      encoder: images -> maps [m, y', x', d].
      width: channels of the maps.
      depth: number of 3 x 3 x 3 convolutions, with batch norm and ReLU; without any, frames
        are independent.
      hidden: their channels.
      dtype: dtype of the computation.
    """

    encoder: nn.Module
    width: int = 64
    depth: int = 0
    hidden: int = 256
    dtype: Any = None

    @nn.compact
    def __call__(self, clips, train=False):
        n, t = clips.shape[:2]
        maps = self.encoder(clips.reshape(n * t, *clips.shape[2:]), train=train)
        x = maps.reshape(n, t, *maps.shape[1:])
        h = x.mean((1, 2, 3)).astype(jnp.promote_types(x.dtype, jnp.float32))
        if self.depth:
            sides = (jnp.linspace(-1, 1, side, dtype=x.dtype) for side in x.shape[2:4])
            places = jnp.stack(jnp.meshgrid(*sides, indexing="ij"), -1)
            x = jnp.concatenate([x, jnp.broadcast_to(places, (*x.shape[:-1], 2))], -1)
        for i in range(self.depth):
            conv = nn.Conv(
                self.hidden, (3, 3, 3), use_bias=False, dtype=self.dtype, name=f"conv{i}"
            )
            x = nn.relu(BatchNorm(name=f"norm{i}")(conv(x), train))
        x = nn.Dense(self.width, dtype=self.dtype, name="head")(x)
        return {"maps": x.astype(jnp.promote_types(x.dtype, jnp.float32)), "h": h}

    def filters(self):
        """The first layer's kernels, [width, k, k, c]."""
        return self.encoder.filters()
