"""AlexNet with batch norm, as in DeepCluster, RotNet and other pretext tasks.

Krizhevsky, Sutskever and Hinton, "ImageNet Classification with Deep Convolutional Neural
Networks", NeurIPS 2012, with batch norm in place of local response normalization:
`models/alexnet.py` of https://github.com/facebookresearch/deepcluster
"""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from jssl.models.intermediates import tap
from jssl.models.norm import BatchNorm

KERNELS = (11, 5, 3, 3, 3)
WIDTHS = (96, 256, 384, 384, 256)


class AlexNet(nn.Module):
    """AlexNet without a classifier: images [n, h, w, c] -> [n, 4096].

    h is the output of the last dense layer (fc7) before its ReLU, which DeepCluster
    clusters; its classifier is `Classifier(AlexNet(), k, relu=True)`. The five "layers"
    are the maps of the convolutions, with sides 55, 27, 13, 13, 13 for images of 224
    pixels; 58,284,096 weights.

    Without dense layers, h is the flattened last map. The context-free network for jigsaw
    puzzles (Noroozi and Favaro 2016, https://arxiv.org/abs/1603.09246) has this encoder,
    `ContextFree(AlexNet(stride=2, padding=0, hidden=(), split=2), 1000, 512, 4096)`:
    stride 2 in the first convolution, and 4 x 4 x 256 numbers for a tile of 75 pixels.

    Attributes:
      stride, padding: of the first convolution.
      widths: channels of the convolutions.
      hidden: units of the dense layers fc6 and fc7.
      dropout: dropout rate of the input of each dense layer, drawn from the stream
        "dropout" in training.
      hidden_norm: batch norm of the dense layers, in place of their biases, as in RotNet.
      split: groups of channels in convolutions 2, 4 and 5; 2 in the original.
      groups: groups of the batch norm.
      maps: return the last pooled maps [n, h', w', widths[-1]], before dense layers.
      affine: whether the batch norm of convolutions has a learned scale and offset.
      dtype: dtype of the computation.

    Raises:
      ValueError: for images that are too small for three poolings.
    """

    stride: int = 4
    padding: int = 2
    widths: tuple[int, ...] = WIDTHS
    hidden: tuple[int, ...] = (4096, 4096)
    dropout: float = 0.5
    hidden_norm: bool = False
    split: int = 1
    groups: int = 1
    maps: bool = False
    affine: bool = True
    dtype: Any = None

    @nn.compact
    def __call__(self, images, train=False):
        h, w = images.shape[1:3]
        least = 11 - 2 * self.padding + 7 * self.stride
        if min(h, w) < least:
            raise ValueError(
                f"AlexNet: with stride {self.stride}, images must have {least} x {least} "
                f"pixels or more, got {h} x {w}: choose a smaller stride"
            )
        x = images
        for i, (side, width) in enumerate(zip(KERNELS, self.widths, strict=True)):
            x = nn.Conv(
                width,
                (side, side),
                self.stride if i == 0 else 1,
                padding=self.padding if i == 0 else side // 2,
                feature_group_count=self.split if i in (1, 3, 4) else 1,
                kernel_init=nn.initializers.variance_scaling(2.0, "fan_out", "normal"),
                dtype=self.dtype,
                name=f"conv{i}",
            )(x)
            norm = BatchNorm(self.groups, self.affine, self.affine, name=f"norm{i}")
            x = nn.relu(norm(x, train))
            tap(self, "layers", x)
            if i in (0, 1, 4):
                x = pooled(x)
        if self.maps:
            return x.astype(jnp.promote_types(x.dtype, jnp.float32))
        x = x.reshape(len(x), -1)
        for i, width in enumerate(self.hidden):
            x = nn.Dropout(self.dropout, deterministic=not train)(nn.relu(x))
            init = nn.initializers.normal(0.01)
            x = nn.Dense(
                width,
                use_bias=not self.hidden_norm,
                kernel_init=init,
                dtype=self.dtype,
                name=f"fc{6 + i}",
            )(x)
            if self.hidden_norm:
                x = BatchNorm(self.groups, name=f"fc{6 + i}_norm")(x, train)
        return x.astype(jnp.promote_types(x.dtype, jnp.float32))

    def filters(self):
        """The first layer's kernels, [width, 11, 11, c]."""
        return self.variables["params"]["conv0"]["kernel"].transpose(3, 0, 1, 2)


def pooled(x):
    """3 x 3 max-pooling of stride 2, [n, h, w, c] -> [n, h // 2, w // 2, c].

    The last window of an even side overhangs by one, as in Caffe; torch would leave out
    the last row. Sides are odd for images of 224 pixels.
    """
    overhang = [(0, 1 - side % 2) for side in x.shape[1:3]]
    return nn.max_pool(x, (3, 3), (2, 2), padding=overhang)
