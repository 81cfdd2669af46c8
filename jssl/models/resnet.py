"""Residual networks, with a stem for ImageNet or for small images, and for clips.

He, Zhang, Ren and Sun, "Deep Residual Learning for Image Recognition", CVPR 2016,
https://arxiv.org/abs/1512.03385; the stride of a bottleneck is in its 3 x 3 convolution,
as in all later code. By default the scale of the last norm of each block is initialized to
0 (Goyal et al. 2017, https://arxiv.org/abs/1706.02677), so that each block is the identity
at first. Clips are convolved in time as in space (Hara, Kataoka and Satoh 2017,
https://arxiv.org/abs/1708.07632).
"""

from functools import partial
from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from jssl.models.intermediates import tap
from jssl.models.norm import BatchNorm
from jssl.ops.convolution import convolve

DEPTHS = {
    6: ("basic", (1, 1)),
    10: ("basic", (1, 1, 1, 1)),
    18: ("basic", (2, 2, 2, 2)),
    34: ("basic", (3, 4, 6, 3)),
    50: ("bottleneck", (3, 4, 6, 3)),
    101: ("bottleneck", (3, 4, 23, 3)),
    152: ("bottleneck", (3, 8, 36, 3)),
}
EXPANSION = {"basic": 1, "bottleneck": 4}


class Block(nn.Module):
    """A residual block: two 3 x 3 convolutions, or a 1 x 1, 3 x 3, 1 x 1 bottleneck.

    Maps are [n, h, w, d], or [n, t, h, w, d], which are convolved in time, too.
    """

    kind: str
    width: int
    stride: int = 1
    groups: int = 1
    dtype: Any = None
    zero_last: bool = True

    @nn.compact
    def __call__(self, x, train=False):
        conv = partial(
            nn.Conv,
            conv_general_dilated=convolve,
            use_bias=False,
            kernel_init=nn.initializers.variance_scaling(2.0, "fan_out", "normal"),
            dtype=self.dtype,
        )
        norm = partial(BatchNorm, self.groups)
        axes = x.ndim - 2
        out, stride = self.width * EXPANSION[self.kind], (self.stride,) * axes
        one, three = (1,) * axes, partial(conv, kernel_size=(3,) * axes, padding=1)
        layers = {
            "basic": [(three, self.width, stride), (three, out, one)],
            "bottleneck": [
                (partial(conv, kernel_size=one), self.width, one),
                (three, self.width, stride),
                (partial(conv, kernel_size=one), out, one),
            ],
        }[self.kind]
        y = x
        for i, (layer, width, strides) in enumerate(layers):
            last = i == len(layers) - 1
            y = layer(width, strides=strides, name=f"conv{i}")(y)
            zero = last and self.zero_last
            init = nn.initializers.zeros if zero else nn.initializers.ones
            y = norm(scale_init=init, name=f"norm{i}")(y, train)
            y = y if last else nn.relu(y)
        if x.shape != y.shape:
            x = conv(out, one, stride, name="shortcut")(x)
            x = norm(name="shortcut_norm")(x, train)
        return nn.relu(x + y)


class ResNet(nn.Module):
    """A ResNet without a classifier: images [n, h, w, c] -> [n, d], globally averaged.

    Clips [n, t, h, w, c] have kernels of 3 x 3 x 3, and of 7 x 7 x 7 in the stem, whose
    convolution has no stride in time.

    Attributes:
      depth: 18, 34, 50, 101 or 152; 6 and 10 are for tests.
      stem: "imagenet" (7 x 7 with stride 2, then max-pooling) or "cifar" (3 x 3).
      width: channels of the first stage; 128 and 256 for SimCLR's 2x and 4x.
      groups: groups of the batch norm.
      dtype: dtype of the computation.
      remat: recompute the activations of each block in the backward pass, to save memory.
      zero_last: initialize the scale of each block's last norm to 0; MoCo v1 and v2, with
        torchvision's default, start from 1.
      strides: of the stages; empty: 1 and then 2.
      maps: return the last feature map [n, h', w', d] without pooling.

    Raises:
      ValueError: for another depth or stem.
    """

    depth: int = 50
    stem: str = "imagenet"
    width: int = 64
    groups: int = 1
    dtype: Any = None
    remat: bool = False
    zero_last: bool = True
    strides: tuple[int, ...] = ()
    maps: bool = False

    @nn.compact
    def __call__(self, images, train=False):
        if self.depth not in DEPTHS or self.stem not in ("imagenet", "cifar"):
            raise ValueError(
                f"ResNet: depth must be one of {list(DEPTHS)} and stem imagenet or cifar, "
                f"got {self.depth} and {self.stem!r}"
            )
        kind, counts = DEPTHS[self.depth]
        side, stride = (7, 2) if self.stem == "imagenet" else (3, 1)
        axes = images.ndim - 2
        x = nn.Conv(
            self.width,
            (side,) * axes,
            (1,) * (axes - 2) + (stride, stride),
            padding=side // 2,
            use_bias=False,
            conv_general_dilated=convolve,
            kernel_init=nn.initializers.variance_scaling(2.0, "fan_out", "normal"),
            dtype=self.dtype,
            name="conv",
        )(images)
        x = nn.relu(BatchNorm(self.groups, name="norm")(x, train))
        if self.stem == "imagenet":
            x = nn.max_pool(x, (3,) * axes, (2,) * axes, padding=((1, 1),) * axes)
        tap(self, "layers", x)
        block = nn.remat(Block, static_argnums=(2,)) if self.remat else Block
        strides = self.strides or (1,) + (2,) * (len(counts) - 1)
        for stage, (count, step) in enumerate(zip(counts, strides, strict=True)):
            for i in range(count):
                x = block(
                    kind,
                    self.width * 2**stage,
                    step if i == 0 else 1,
                    self.groups,
                    self.dtype,
                    self.zero_last,
                    name=f"stage{stage}_{i}",
                )(x, train)
            tap(self, "layers", x)
        x = x if self.maps else x.mean(range(1, x.ndim - 1))
        return x.astype(jnp.promote_types(x.dtype, jnp.float32))

    @property
    def features(self) -> int:
        """The number d of features."""
        kind, counts = DEPTHS[self.depth]
        return self.width * 2 ** (len(counts) - 1) * EXPANSION[kind]

    def filters(self):
        """The kernels of the stem, [width, side, side, c], or of clips one axis more."""
        return jnp.moveaxis(self.variables["params"]["conv"]["kernel"], -1, 0)
