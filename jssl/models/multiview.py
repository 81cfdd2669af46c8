"""One encoder, and one head, for each view of a scene."""

import flax.linen as nn
import jax.numpy as jnp


class PerView(nn.Module):
    """An encoder and a head for each view, without common weights.

    Views, a tuple of arrays [n, ...], -> a dictionary:

        h       [n, d], the concatenation of the encoders' outputs
        parts   a tuple of the encoders' outputs, [n, d_i]
        z       a tuple of the heads' outputs, [n, k]

    Tian, Krishnan and Isola, ECCV 2020, https://arxiv.org/abs/1906.05849

    Attributes:
      encoders: encoder of each view, [n, ...] -> [n, d_i].
      heads: head of each view, [n, d_i] -> [n, k].
    """

    encoders: tuple[nn.Module, ...]
    heads: tuple[nn.Module, ...]

    @nn.compact
    def __call__(self, views, train=False):
        parts = each("encoder", self.encoders, views, train)
        z = each("head", self.heads, parts, train)
        return {"h": jnp.concatenate(parts, -1), "parts": parts, "z": z}


class Concatenated(nn.Module):
    """The encoders of all views, concatenated: a tuple of arrays -> [n, sum of d_i].

    Attributes:
      encoders: encoder of each view, [n, ...] -> [n, d_i].
    """

    encoders: tuple[nn.Module, ...]

    @nn.compact
    def __call__(self, views, train=False):
        return jnp.concatenate(each("encoder", self.encoders, views, train), -1)


def each(name, modules, inputs, train):
    """The outputs of a module for each input, as a tuple.

    Modules are copied, so that one that is given twice has weights of its own each time.
    """
    own = [module.copy(name=f"{name}{i}") for i, module in enumerate(modules)]
    return tuple(module(x, train=train) for module, x in zip(own, inputs, strict=True))
