"""A small convolutional encoder for images of 28 or 32 pixels, and for clips of them."""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from jssl.models.intermediates import tap
from jssl.models.norm import BatchNorm
from jssl.ops.convolution import convolve_clips


class ConvNet(nn.Module):
    """Strided 3 x 3 convolutions with batch norm and ReLU, then global average pooling.

    Images [n, h, w, c], or clips [n, t, h, w, c], which are convolved by 3 x 3 x 3 with a
    stride in space alone, -> [n, widths[-1]].

    Attributes:
      widths: channels of each layer.
      strides: stride of each layer; 2 everywhere if empty.
      groups: groups of the batch norm.
      maps: return the last feature map [n, h', w', d] or [n, t, h', w', d] without pooling.
    """

    widths: tuple[int, ...] = (32, 64, 128)
    strides: tuple[int, ...] = ()
    groups: int = 1
    maps: bool = False

    @nn.compact
    def __call__(self, images, train=False):
        x, axes = images, images.ndim - 2
        fast: dict[str, Any] = {"conv_general_dilated": convolve_clips} if axes == 3 else {}
        strides = self.strides or (2,) * len(self.widths)
        for i, (width, stride) in enumerate(zip(self.widths, strides, strict=True)):
            x = nn.Conv(
                width,
                (3,) * axes,
                (1,) * (axes - 2) + (stride, stride),
                use_bias=False,
                kernel_init=nn.initializers.he_normal(),
                name=f"conv{i}",
                **fast,
            )(x)
            x = nn.relu(BatchNorm(self.groups, name=f"norm{i}")(x, train))
            tap(self, "layers", x)
        return x if self.maps else x.mean(range(1, x.ndim - 1))

    def filters(self):
        """The first layer's kernels, [width, 3, 3, c] or [width, 3, 3, 3, c]."""
        return jnp.moveaxis(self.variables["params"]["conv0"]["kernel"], -1, 0)
