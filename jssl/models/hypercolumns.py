"""A fully convolutional VGG, and predictions from its hypercolumns."""

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from jssl.models.intermediates import tap
from jssl.models.norm import BatchNorm
from jssl.models.vgg import STAGES
from jssl.ops.hypercolumns import hypercolumn


class ConvolutionalVGG(nn.Module):
    """VGG-16 whose dense layers are convolutions: images [n, h, w, c] -> h [n, d].

    h is the mean of the last maps. Every layer has batch norm, without scale and offset, in
    place of a bias; `train/train_vgg16.prototxt` of
    https://github.com/gustavla/autocolorize. The "layers" are the maps of all convolutions.

    Attributes:
      stages: channels of the 3 x 3 convolutions; 2 x 2 max-pooling follows each stage.
      hidden: channels of fc6 and fc7.
      kernel: side of fc6's kernel; fc7 has 1 x 1.
      dropout: rate after fc6 and fc7, drawn from the stream "dropout" in training.
      maps: return the image and the maps of all layers, instead of h.
      dtype: dtype of the computation.

    Raises:
      ValueError: for images that are too small for a pooling after each stage.
    """

    stages: Sequence[Sequence[int]] = STAGES
    hidden: Sequence[int] = (4096, 4096)
    kernel: int = 7
    dropout: float = 0.5
    maps: bool = False
    dtype: Any = None

    @nn.compact
    def __call__(self, images, train=False):
        h, w = images.shape[1:3]
        least = 2 ** len(self.stages)
        if min(h, w) < least:
            raise ValueError(
                f"ConvolutionalVGG: images must have {least} x {least} pixels or more, got "
                f"{h} x {w}"
            )

        def layer(x, width, side, name):
            x = nn.Conv(
                width,
                (side, side),
                use_bias=False,
                kernel_init=nn.initializers.he_normal(),
                dtype=self.dtype,
                name=name,
            )(x)
            return nn.relu(
                BatchNorm(scale=False, bias=False, name=f"{name}_norm")(x, train)
            )

        x, found, count = images, [images], 0
        for widths in self.stages:
            for width in widths:
                x = layer(x, width, 3, f"conv{count}")
                tap(self, "layers", x)
                found.append(x)
                count += 1
            x = nn.max_pool(x, (2, 2), (2, 2))
        for i, width in enumerate(self.hidden):
            x = layer(x, width, 1 if i else self.kernel, f"fc{6 + i}")
            tap(self, "layers", x)
            x = nn.Dropout(self.dropout, deterministic=not train)(x)
            found.append(x)
        if self.maps:
            return found
        return x.astype(jnp.promote_types(x.dtype, jnp.float32)).mean((1, 2))

    def filters(self):
        """The first layer's kernels, [width, 3, 3, c]."""
        return self.variables["params"]["conv0"]["kernel"].transpose(3, 0, 1, 2)


class Hypercolumns(nn.Module):
    """Histograms of hue and chroma at places of an image, from its hypercolumns.

    Gray images [n, h, w, 1] and places [n, p, 2] (rows, columns) -> {"hue", "chroma":
    scores [n, p, bins], "h": [n, d]}; h is the mean of the encoder's last maps.

    Attributes:
      encoder: images -> maps of all layers, those of the image's resolution first.
      bins: of the histograms.
      width: units of the hidden layer on hypercolumns.
      dropout: rate after it, drawn from the stream "dropout" in training.
      std: of its initial weights; 0: that of LeCun's initialization.
    """

    encoder: nn.Module
    bins: int = 32
    width: int = 1024
    dropout: float = 0.5
    std: float = 0.0

    @nn.compact
    def __call__(self, images, places, train=False):
        maps = self.encoder(images, train=train)
        init = nn.initializers.normal(self.std) if self.std else None
        first = nn.Dense(
            self.width, kernel_init=init or nn.initializers.lecun_normal(), name="hidden"
        )
        x = nn.relu(first(hypercolumn(maps, places)))
        x = nn.Dropout(self.dropout, deterministic=not train)(x)
        last = maps[-1].astype(jnp.promote_types(maps[-1].dtype, jnp.float32))
        return {
            "hue": nn.Dense(self.bins, name="hue")(x),
            "chroma": nn.Dense(self.bins, name="chroma")(x),
            "h": last.mean((1, 2)),
        }

    def filters(self, train=False):
        return self.encoder.filters()
