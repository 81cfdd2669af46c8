"""Networks of self-distillation: an encoder and DINO's head, for class and patch tokens.

Caron et al. 2021, https://arxiv.org/abs/2104.14294; Zhou et al. 2022,
https://arxiv.org/abs/2111.07832.
"""

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from jssl.models.norm import BatchNorm
from jssl.ops.vectors import unit


class Head(nn.Module):
    """DINO's head: [..., d] -> {"z": unit vectors [..., b], "prototypes": [..., k]}.

    Dense layers with exact GELU between them, then z of length 1 and its products with k
    weight-normalized prototypes, which are in [-1, 1] for prototypes of length 1.

    Attributes:
      prototypes: k.
      widths: of the dense layers, the last is that of z.
      unit_prototypes: prototypes of length 1, else of learned lengths that begin at 1.
      dtype: dtype of the computation, but for the length of z.
      norm: batch norm of the hidden layers, as with ResNets, and weights that begin at
        1 / sqrt(fan in), not 0.02, which is too little for narrow layers.
    """

    prototypes: int = 65536
    widths: Sequence[int] = (2048, 2048, 256)
    unit_prototypes: bool = True
    dtype: Any = None
    norm: bool = False

    @nn.compact
    def __call__(self, x, train=False):
        normal = nn.initializers.normal(0.02)
        initial = nn.initializers.lecun_normal() if self.norm else normal
        for i, width in enumerate(self.widths):
            x = nn.gelu(x, approximate=False) if i else x
            dense = nn.Dense(width, kernel_init=initial, dtype=self.dtype, name=f"dense{i}")
            x = dense(x)
            if self.norm and i + 1 < len(self.widths):
                x = BatchNorm(name=f"norm{i}")(x, train)
        z = unit(x.astype(jnp.promote_types(x.dtype, jnp.float32)))
        # torch's initialization of a dense layer: uniform within 1 / sqrt(fan in)
        uniform = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")
        last = self.param("last", uniform, (z.shape[-1], self.prototypes))
        last = unit(last.T).T
        if not self.unit_prototypes:
            ones = nn.initializers.ones
            last = last * self.param("last_length", ones, (1, self.prototypes))
        of = self.dtype or z.dtype
        logits = jnp.matmul(z.astype(of), last.astype(of), preferred_element_type=z.dtype)
        return {"z": z, "prototypes": logits}


class Distilled(nn.Module):
    """An encoder and a `Head`: images -> {"h": [n, d], "z": [n, b], "prototypes": [n, k]}.

    Attributes:
      encoder: images -> h [n, d]; or tokens [n, 1 + l, d], of which h is the first.
      head: of h.
    """

    encoder: nn.Module
    head: nn.Module

    def __call__(self, images, train=False):
        h = self.encoder(images, train=train)
        return _headed(h[:, 0] if h.ndim == 3 else h, self.head, train)

    def filters(self, train=False):
        return self.encoder.filters()


class MaskedDistilled(nn.Module):
    """iBOT's network: images, mask [n, l] -> as `Distilled`, and "patches" [n, l, k].

    The embeddings of masked patches are replaced by a learned token, which begins at 0.

    Attributes:
      encoder: a `vit.Encoder`.
      head: of the class token.
      patch_head: of the patch tokens; None: `head`.
    """

    encoder: nn.Module
    head: nn.Module
    patch_head: nn.Module | None = None

    @nn.compact
    def __call__(self, images, mask=None, train=False):
        zeros, width = nn.initializers.zeros, self.encoder.width
        token = self.param("mask_token", zeros, (1, 1, width))[0, 0]
        tokens = self.encoder(images, train=train, mask=mask, token=token)
        head = self.patch_head or self.head
        patches = {
            "patches": head(tokens[:, 1:], train)["prototypes"],
            "tokens": tokens[:, 1:],
        }
        return _headed(tokens[:, 0], self.head, train) | patches

    def filters(self, train=False):
        return self.encoder.filters()


def _headed(h, head, train):
    h = h.astype(jnp.promote_types(h.dtype, jnp.float32))
    return {"h": h, **head(h, train)}
