"""VGG-16 with batch norm, as in DeepCluster.

Simonyan and Zisserman, "Very Deep Convolutional Networks for Large-Scale Image
Recognition", ICLR 2015, https://arxiv.org/abs/1409.1556; `models/vgg16.py` of
https://github.com/facebookresearch/deepcluster
"""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from jssl.models.intermediates import tap
from jssl.models.norm import BatchNorm

STAGES = ((64,) * 2, (128,) * 2, (256,) * 3, (512,) * 3, (512,) * 3)


class VGG(nn.Module):
    """VGG-16 without a classifier: images [n, h, w, c] -> [n, 4096].

    h is the output of the last dense layer (fc7) before its ReLU, which DeepCluster
    clusters; its classifier is `Classifier(VGG(), k, relu=True)`. The 13 "layers" are the
    maps of the convolutions; 134,268,992 weights for images of 224 pixels. Without dense
    layers, h is the flattened last map, [n, 7 * 7 * 512].

    Attributes:
      stages: channels of the 3 x 3 convolutions; 2 x 2 max-pooling follows each stage.
      hidden: units of the dense layers fc6 and fc7.
      dropout: dropout rate between dense layers, drawn from the stream "dropout" in
        training.
      groups: groups of the batch norm.
      dtype: dtype of the computation.

    Raises:
      ValueError: for images that are too small for a pooling after each stage.
    """

    stages: tuple[tuple[int, ...], ...] = STAGES
    hidden: tuple[int, ...] = (4096, 4096)
    dropout: float = 0.5
    groups: int = 1
    dtype: Any = None

    @nn.compact
    def __call__(self, images, train=False):
        h, w = images.shape[1:3]
        least = 2 ** len(self.stages)
        if min(h, w) < least:
            raise ValueError(
                f"VGG: images must have {least} x {least} pixels or more, got {h} x {w}"
            )
        x, count = images, 0
        for widths in self.stages:
            for width in widths:
                x = nn.Conv(
                    width,
                    (3, 3),
                    padding=1,
                    kernel_init=nn.initializers.variance_scaling(2.0, "fan_out", "normal"),
                    dtype=self.dtype,
                    name=f"conv{count}",
                )(x)
                x = nn.relu(BatchNorm(self.groups, name=f"norm{count}")(x, train))
                tap(self, "layers", x)
                count += 1
            x = nn.max_pool(x, (2, 2), (2, 2))
        x = x.reshape(len(x), -1)
        for i, width in enumerate(self.hidden):
            if i:
                x = nn.Dropout(self.dropout, deterministic=not train)(nn.relu(x))
            init = nn.initializers.normal(0.01)
            x = nn.Dense(width, kernel_init=init, dtype=self.dtype, name=f"fc{6 + i}")(x)
        return x.astype(jnp.promote_types(x.dtype, jnp.float32))

    def filters(self):
        """The first layer's kernels, [width, 3, 3, c]."""
        return self.variables["params"]["conv0"]["kernel"].transpose(3, 0, 1, 2)
