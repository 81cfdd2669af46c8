"""Batch normalization over the whole batch or over groups of it."""

import flax.linen as nn
import jax.numpy as jnp
from jax import lax


class BatchNorm(nn.Module):
    """Batch normalization of each channel, with an optional learned scale and offset.

    Under `jit`, statistics are those of the global batch on any number of devices. With
    `groups`, the rows are split into that many consecutive groups with separate
    statistics, as if each were on its own device; MoCo's shuffling needs that. In
    evaluation the running mean and (biased) variance are used; training updates them at
    the rate 1 - momentum.

    Ioffe and Szegedy 2015, https://arxiv.org/abs/1502.03167

    Attributes:
      groups: number of groups; must divide the batch size.
      scale: whether there is a learned scale.
      bias: whether there is a learned offset.
    """

    groups: int = 1
    scale: bool = True
    bias: bool = True
    momentum: float = 0.9
    eps: float = 1e-5
    scale_init: nn.initializers.Initializer = nn.initializers.ones

    @nn.compact
    def __call__(self, x, train=False):
        d = x.shape[-1]
        old_mean = self.variable("batch_stats", "mean", jnp.zeros, (d,))
        old_var = self.variable("batch_stats", "var", jnp.ones, (d,))
        dtype = x.dtype
        x = x.astype(jnp.promote_types(dtype, jnp.float32))
        if train:
            groups = x.reshape(self.groups, -1, *x.shape[1:])
            axes = tuple(range(1, groups.ndim - 1))
            mean, var = groups.mean(axes), groups.var(axes)  # [g, d]
            x = normal(groups, mean, var, self.eps).reshape(x.shape)
            if not self.is_initializing():
                for old, new in ((old_mean, mean), (old_var, var)):
                    new = lax.stop_gradient(new.mean(0)).astype(old.value.dtype)
                    old.value = self.momentum * old.value + (1 - self.momentum) * new
        else:
            x = normal(x[None], old_mean.value[None], old_var.value[None], self.eps)[0]
        if self.scale:
            x = x * self.param("scale", self.scale_init, (d,))
        if self.bias:
            x = x + self.param("bias", nn.initializers.zeros, (d,))
        return x.astype(dtype)


def normal(x, mean, var, eps):
    """Normalizes x [g, ..., d] by the mean and variance [g, d] of each group."""
    over = (len(mean), *[1] * (x.ndim - 2), mean.shape[-1])
    return (x - mean.reshape(over)) * lax.rsqrt(var.reshape(over) + eps)
