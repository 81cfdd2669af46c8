"""Networks of super-resolution: SRResNet, SRGAN's discriminator, and SRCNN.

All take low-resolution images in [0, 1]; high-resolution ones are in [-1, 1]. Ledig et al.
2017, figure 4, https://arxiv.org/abs/1609.04802; Dong et al. 2014,
https://arxiv.org/abs/1501.00092
"""

import math
from collections.abc import Sequence

import flax.linen as nn

from jssl.models.intermediates import tap
from jssl.models.norm import BatchNorm
from jssl.models.prelu import PReLU
from jssl.ops.maps import bicubic_enlarge, pixel_shuffle

HE = nn.initializers.he_normal()


def conv(width, kernel, name, stride=1, bias=True):
    return nn.Conv(
        width,
        (kernel, kernel),
        (stride, stride),
        use_bias=bias,
        kernel_init=HE,
        name=name,
    )


class SRResNet(nn.Module):
    """A residual network on small maps, then pixel shuffles.

    Images [n, h, w, c] -> {"output": images [n, r h, r w, c], "h": [n, width]}, the mean of
    the last small map. Without an activation of the output.

    Attributes:
      factor: r, a power of 2.
      width: channels of the maps.
      blocks: residual blocks.
      kernel: side of the first and of the last kernels.
      added: add the output to the bicubic interpolation, with which it begins, as in VDSR
        (Kim et al. 2016, https://arxiv.org/abs/1511.04587).

    Raises:
      ValueError: another factor.
    """

    factor: int = 4
    width: int = 64
    blocks: int = 16
    kernel: int = 9
    added: bool = False

    @nn.compact
    def __call__(self, low, train=False):
        doublings = self.factor.bit_length() - 1
        if self.factor != 2**doublings:
            raise ValueError(f"SRResNet: factor must be a power of 2, got {self.factor}")

        def layer(x, name):
            x = conv(self.width, 3, f"{name}_conv", bias=False)(x)
            return BatchNorm(name=f"{name}_norm")(x, train)

        x = first = PReLU(name="prelu")(conv(self.width, self.kernel, "conv")(low))
        for i in range(self.blocks):
            y = PReLU(name=f"block{i}_prelu")(layer(x, f"block{i}_0"))
            x = x + layer(y, f"block{i}_1")
        x = first + layer(x, "after")
        tap(self, "layers", x)
        h = x.mean((1, 2))
        for i in range(doublings):
            x = pixel_shuffle(conv(4 * self.width, 3, f"up{i}")(x), 2)
            x = PReLU(name=f"up{i}_prelu")(x)
        return {"output": _last(x, low, self.factor, self.kernel, self.added), "h": h}


class Enlarger(nn.Module):
    """A strided encoder, then pixel shuffles: SRResNet's with a bottleneck in between.

    Images [n, h, w, c] -> {"output": images [n, r h, r w, c], "h": [n, d]}, the mean of the
    encoder's maps. Each pixel shuffle doubles the maps, until they have the size of the
    output or are larger and are cropped.

    Attributes:
      encoder: images -> maps [n, h', w', d].
      factor: r.
      widths: channels after each pixel shuffle; unused ones are left out.
      added: as in `SRResNet`.

    Raises:
      ValueError: too few widths.
    """

    encoder: nn.Module
    factor: int = 2
    widths: Sequence[int] = (64, 32, 32)
    added: bool = True

    @nn.compact
    def __call__(self, low, train=False):
        x = self.encoder(low, train=train)
        h, (height, width) = x.mean((1, 2)), (self.factor * s for s in low.shape[1:3])
        doublings = math.ceil(math.log2(max(height / x.shape[1], width / x.shape[2])))
        if doublings > len(self.widths):
            raise ValueError(
                f"Enlarger: {doublings} pixel shuffles enlarge maps of {x.shape[1]} x "
                f"{x.shape[2]} to {height} x {width}, got widths {tuple(self.widths)}"
            )
        for i, channels in enumerate(self.widths[:doublings]):
            x = nn.relu(pixel_shuffle(conv(4 * channels, 3, f"up{i}")(x), 2))
        top, left = (x.shape[1] - height) // 2, (x.shape[2] - width) // 2
        x = x[:, top : top + height, left : left + width]
        return {"output": _last(x, low, self.factor, 3, self.added), "h": h}

    def filters(self, train=False):
        return self.encoder.filters()


class Judge(nn.Module):
    """SRGAN's discriminator: images [n, h, w, c] -> {"logits": [n], "h": [n, hidden]}.

    Two 3 x 3 convolutions of each width, the second of stride 2, with batch norm except in
    the first, and LeakyReLU of slope 0.2; then dense layers.

    Attributes:
      widths: channels of the maps.
      hidden: units of the dense layer, which is h.
    """

    widths: Sequence[int] = (64, 128, 256, 512)
    hidden: int = 1024

    @nn.compact
    def __call__(self, x, train=False):
        for i, width in enumerate(self.widths):
            for stride in (1, 2):
                at = f"{i}_{stride}"
                plain = (i, stride) == (0, 1)
                x = conv(width, 3, f"conv{at}", stride, bias=plain)(x)
                if not plain:
                    x = BatchNorm(name=f"norm{at}")(x, train)
                x = nn.leaky_relu(x, 0.2)
            tap(self, "layers", x)
        dense = nn.Dense(self.hidden, kernel_init=HE, name="dense")
        h = nn.leaky_relu(dense(x.reshape(len(x), -1)), 0.2)
        return {"logits": nn.Dense(1, name="head")(h)[:, 0], "h": h}


class SRCNN(nn.Module):
    """Three convolutions on an image that bicubic interpolation has enlarged.

    Images [n, h, w, c] -> {"output": images [n, r h, r w, c], "h": [n, widths[1]]}, the
    mean of the last hidden map.

    Attributes:
      factor: r.
      widths: channels of the two hidden maps.
      kernels: sides of the three kernels.
      added: as in `SRResNet`.
    """

    factor: int = 4
    widths: Sequence[int] = (64, 32)
    kernels: Sequence[int] = (9, 1, 5)
    added: bool = False

    @nn.compact
    def __call__(self, low, train=False):
        first, second, last = self.kernels
        x = 2 * bicubic_enlarge(low, self.factor) - 1
        x = nn.relu(conv(self.widths[0], first, "conv0")(x))
        x = nn.relu(conv(self.widths[1], second, "conv1")(x))
        tap(self, "layers", x)
        output = _last(x, low, self.factor, last, self.added)
        return {"output": output, "h": x.mean((1, 2))}


def _last(x, low, factor, kernel, added):
    """The last convolution, alone or added to the interpolation of the small image."""
    init = nn.initializers.zeros if added else HE
    size = (kernel, kernel)
    output = nn.Conv(low.shape[-1], size, kernel_init=init, name="out")(x)
    return output + 2 * bicubic_enlarge(low, factor) - 1 if added else output
