"""Wide residual networks of pre-activation blocks, for images of 32 pixels.

Zagoruyko and Komodakis, "Wide Residual Networks", BMVC 2016,
https://arxiv.org/abs/1605.07146; in the form of Oliver et al. 2018,
https://arxiv.org/abs/1804.09170, as in MixMatch's code (`libml/models.py` of
https://github.com/google-research/mixmatch): leaky ReLU, biases in the convolutions, and
only the first block's shortcut begins after its norm.
"""

from functools import partial
from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from jssl.models.intermediates import tap
from jssl.models.norm import BatchNorm


class WideResNet(nn.Module):
    """A wide ResNet without a classifier: images [n, h, w, c] -> [n, 64 widen].

    WRN-28-2 has 1,469,642 weights with a linear layer of ten classes. Its three stages
    have 16, 32 and 64 times `widen` channels and end at h, h/2 and h/4.

    Attributes:
      depth: number of layers, 6 k + 4 for k blocks in each stage.
      widen: factor of the widths.
      slope: slope of the leaky ReLU for negative values.
      momentum, eps, groups: of the batch norm.
      dtype: dtype of the computation.

    Raises:
      ValueError: if the depth is not 6 k + 4.
    """

    depth: int = 28
    widen: int = 2
    slope: float = 0.1
    momentum: float = 0.999
    eps: float = 1e-3
    groups: int = 1
    dtype: Any = None

    @nn.compact
    def __call__(self, images, train=False):
        count, rest = divmod(self.depth - 4, 6)
        if rest or count < 1:
            raise ValueError(f"WideResNet: depth must be 10, 16, 22 ..., got {self.depth}")
        init = nn.initializers.variance_scaling(2.0, "fan_out", "normal")
        conv = partial(nn.Conv, kernel_init=init, dtype=self.dtype)
        norm = partial(BatchNorm, self.groups, momentum=self.momentum, eps=self.eps)

        def active(x, name):
            return nn.leaky_relu(norm(name=name)(x, train), self.slope)

        def block(x, width, stride, first, name):
            y = active(x, f"{name}_norm0")
            x = y if first else x
            y = conv(width, (3, 3), (stride, stride), name=f"{name}_conv0")(y)
            y = conv(width, (3, 3), name=f"{name}_conv1")(active(y, f"{name}_norm1"))
            if x.shape[-1] != width:
                x = conv(width, (1, 1), (stride, stride), name=f"{name}_shortcut")(x)
            return x + y

        x = conv(16, (3, 3), name="conv")(images)
        for stage in range(3):
            for i in range(count):
                stride = 2 if stage and i == 0 else 1
                width = 16 * self.widen * 2**stage
                x = block(x, width, stride, stage == i == 0, f"stage{stage}_{i}")
            tap(self, "layers", x)
        x = active(x, "norm").mean((1, 2))
        return x.astype(jnp.promote_types(x.dtype, jnp.float32))

    @property
    def features(self) -> int:
        """The number of features."""
        return 64 * self.widen

    def filters(self):
        """The first layer's kernels, [16, 3, 3, c]."""
        return self.variables["params"]["conv"]["kernel"].transpose(3, 0, 1, 2)
