"""A fully connected denoiser of rows for diffusion models."""

import flax.linen as nn
import jax.numpy as jnp

from jssl.ops.diffusion import timestep_embedding

ZERO = nn.initializers.zeros


class Denoiser(nn.Module):
    """x_t [n, k], step [n][, class [n]] -> {"output": like x_t, "h": [n, width]}.

    Residual blocks of two dense layers with swish, to which the embeddings of step and
    class are added within; h is the output of the middle block. The last layer begins at
    zero.

    Attributes:
      width: units of the hidden layers.
      depth: number of blocks.
      classes: number of classes; class number `classes` is for none. 0: no classes.
    """

    width: int = 256
    depth: int = 3
    classes: int = 0

    @nn.compact
    def __call__(self, xt, i, *y, train=False):
        time = timestep_embedding(i, 64)
        if self.classes:
            time = time + nn.Embed(self.classes + 1, 64, name="classes")(y[0])
        time = nn.swish(nn.Dense(self.width, name="time")(time))
        x = nn.Dense(self.width, name="first")(xt)
        for block in range(self.depth):
            inner = nn.Dense(self.width, name=f"block{block}_0")(nn.swish(x))
            inner = inner + nn.Dense(self.width, name=f"block{block}_time")(time)
            x = x + nn.Dense(self.width, name=f"block{block}_1")(nn.swish(inner))
            if block == self.depth // 2:
                h = x
        output = nn.Dense(xt.shape[-1], kernel_init=ZERO, name="last")(nn.swish(x))
        return {"output": output, "h": h.astype(jnp.float32)}
