"""A small convolutional encoder for images of 28 or 32 pixels."""

import flax.linen as nn

from jssl.models.intermediates import tap
from jssl.models.norm import BatchNorm


class ConvNet(nn.Module):
    """Strided 3 x 3 convolutions with batch norm and ReLU, then global average pooling.

    Images [n, h, w, c] -> [n, widths[-1]].

    Attributes:
      widths: channels of each layer.
      strides: stride of each layer; 2 everywhere if empty.
      groups: groups of the batch norm.
      maps: return the last feature map [n, h', w', d] without pooling.
    """

    widths: tuple[int, ...] = (32, 64, 128)
    strides: tuple[int, ...] = ()
    groups: int = 1
    maps: bool = False

    @nn.compact
    def __call__(self, images, train=False):
        x = images
        strides = self.strides or (2,) * len(self.widths)
        for i, (width, stride) in enumerate(zip(self.widths, strides, strict=True)):
            x = nn.Conv(
                width,
                (3, 3),
                (stride, stride),
                use_bias=False,
                kernel_init=nn.initializers.he_normal(),
                name=f"conv{i}",
            )(x)
            x = nn.relu(BatchNorm(self.groups, name=f"norm{i}")(x, train))
            tap(self, "layers", x)
        return x if self.maps else x.mean((1, 2))

    def filters(self):
        """The first layer's kernels, [width, 3, 3, c]."""
        return self.variables["params"]["conv0"]["kernel"].transpose(3, 0, 1, 2)
