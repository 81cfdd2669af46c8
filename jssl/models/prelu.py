"""The parametric ReLU."""

import flax.linen as nn
import jax.numpy as jnp


class PReLU(nn.Module):
    """max(0, x) + a min(0, x), with a learned slope a of each channel, at first 0.25.

    He et al. 2015, https://arxiv.org/abs/1502.01852
    """

    @nn.compact
    def __call__(self, x):
        slope = self.param("slope", nn.initializers.constant(0.25), (x.shape[-1],))
        return jnp.maximum(x, 0) + slope * jnp.minimum(x, 0)
