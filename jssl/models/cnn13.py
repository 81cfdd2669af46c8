"""The 13-layer convolutional network of semi-supervised learning, for 32-pixel images.

"ConvLarge" of Miyato et al. 2018, https://arxiv.org/abs/1704.03976, table 7, as in their
code (`cnn.py` of https://github.com/takerum/vat_tf); also the network of Laine and Aila
2017, https://arxiv.org/abs/1610.02242, and of Mean Teacher, which have weight
normalization and mean-only batch norm in place of batch norm.
"""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from jssl.models.intermediates import tap
from jssl.models.norm import BatchNorm

LAYERS = (  # kernel size and width of each convolution; a pool follows the 3rd and the 6th
    *[(3, 128)] * 3,
    *[(3, 256)] * 3,
    *[(3, 512), (1, 256), (1, 128)],
)


class CNN13(nn.Module):
    """CNN-13 without a classifier: images [n, h, w, c] -> [n, 128], globally averaged.

    Convolutions with batch norm and leaky ReLU; 2 x 2 max-pooling and dropout after the
    third and the sixth; the seventh is not padded: maps of 32-pixel images have sides 32,
    16 and 6. With a linear layer of ten classes it has 3,121,802 weights. VAT's `top_bn` is
    `Classifier(CNN13(), classes, logits_norm=BatchNorm(momentum=0.99, eps=1e-6))`.

    Attributes:
      dropout: dropout rate, drawn from the stream "dropout" in training.
      slope: slope of the leaky ReLU for negative values.
      layers: kernel size and width of each convolution, as `LAYERS`.
      momentum, eps, groups: of the batch norm.
      dtype: dtype of the computation.

    Raises:
      ValueError: for images of less than 9 pixels a side.
    """

    dropout: float = 0.5
    slope: float = 0.1
    layers: tuple[tuple[int, int], ...] = LAYERS
    momentum: float = 0.99
    eps: float = 1e-6
    groups: int = 1
    dtype: Any = None

    @nn.compact
    def __call__(self, images, train=False):
        if min(images.shape[1:3]) < 9:
            h, w = images.shape[1:3]
            raise ValueError(f"CNN13: images must have 9 x 9 pixels or more, got {h} x {w}")
        x = images
        for i, (side, width) in enumerate(self.layers):
            x = nn.Conv(
                width,
                (side, side),
                padding="VALID" if i == 6 else "SAME",
                use_bias=False,
                kernel_init=nn.initializers.he_normal(),
                dtype=self.dtype,
                name=f"conv{i}",
            )(x)
            norm = BatchNorm(
                self.groups, momentum=self.momentum, eps=self.eps, name=f"norm{i}"
            )
            x = nn.leaky_relu(norm(x, train), self.slope)
            tap(self, "layers", x)
            if i in (2, 5):
                x = nn.max_pool(x, (2, 2), (2, 2), "SAME")
                x = nn.Dropout(self.dropout, deterministic=not train)(x)
        x = x.mean((1, 2))
        return x.astype(jnp.promote_types(x.dtype, jnp.float32))

    @property
    def features(self) -> int:
        """The number of features."""
        return self.layers[-1][1]

    def filters(self):
        """The first layer's kernels, [width, side, side, c]."""
        return self.variables["params"]["conv0"]["kernel"].transpose(3, 0, 1, 2)
