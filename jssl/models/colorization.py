"""Networks that predict the colors, or other channels, of each cell of an image."""

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jssl.models.dcgan import Doubled
from jssl.models.intermediates import tap
from jssl.models.norm import BatchNorm

KERNELS = (11, 5, 3, 3, 3)
WIDTHS = (96, 256, 384, 384, 256)


class Cells(nn.Module):
    """An encoder of maps with a prediction for each cell.

    Images [n, h, w, c] -> {"cells": float32 [n, h', w', outputs], "h": [n, d]}; h is the
    mean of the encoder's maps.

    Attributes:
      encoder: images -> maps [n, h'', w'', d].
      outputs: numbers of a prediction, e.g. scores of colors.
      widths: channels of the layers after the encoder, each of which doubles the maps by a
        transposed convolution of 4 x 4.
      every: if positive, predictions are interpolated to one for each `every` pixels, a
        fraction of which at the border counts as a whole.
    """

    encoder: nn.Module
    outputs: int
    widths: Sequence[int] = ()
    every: int = 0

    @nn.compact
    def __call__(self, images, train=False):
        x = maps = self.encoder(images, train=train)
        for i, width in enumerate(self.widths):
            x = Doubled(width, 4, name=f"up{i}")(x)
            x = nn.relu(BatchNorm(name=f"up{i}_norm")(x, train))
        x = nn.Conv(self.outputs, (1, 1), name="head")(x)
        x = x.astype(jnp.promote_types(x.dtype, jnp.float32))
        if self.every:
            h, w = (-(-side // self.every) for side in images.shape[1:3])
            x = jax.image.resize(x, (len(x), h, w, self.outputs), "bilinear")
        return {"cells": x, "h": maps.mean((1, 2))}

    def filters(self, train=False):
        return self.encoder.filters()


class SplitBrain(nn.Module):
    """Two networks, each of one part of the channels, that share nothing.

    (x1, x2) -> {"second": predictions from x1, "first": predictions from x2, "h/first":
    [n, d1], features of x1, "h/second": [n, d2]}.

    Attributes:
      one: `Cells` of x1.
      two: `Cells` of x2.
    """

    one: nn.Module
    two: nn.Module

    def __call__(self, parts, train=False):
        one, two = self.one(parts[0], train=train), self.two(parts[1], train=train)
        return {
            "second": one["cells"],
            "first": two["cells"],
            "h/first": one["h"],
            "h/second": two["h"],
        }


class SplitClassifier(nn.Module):
    """A linear classifier on two encoders: (x1, x2) -> {"logits": [n, classes], "h"}.

    Attributes:
      one: encoder of x1.
      two: encoder of x2.
      classes: number of classes.
    """

    one: nn.Module
    two: nn.Module
    classes: int

    @nn.compact
    def __call__(self, parts, train=False):
        h = self.one(parts[0], train=train), self.two(parts[1], train=train)
        h = jnp.concatenate(h, -1)
        return {"logits": nn.Dense(self.classes, name="head")(h), "h": h}


class ConvolutionalAlexNet(nn.Module):
    """AlexNet whose dense layers are convolutions: [n, h, w, c] -> [n, h/16, w/16, d].

    fc6 has a kernel of 6 x 6 with a dilation of 2, and the last pooling no stride;
    `train_alexnet/train_val.prototxt` of https://github.com/richzhang/colorization. Batch
    norm has no scale and offset. The "layers" are the maps of the five convolutions, before
    pooling.

    Attributes:
      stride: of the first convolution, 4 in the original; sides of maps round up.
      widths: channels of the convolutions.
      hidden: channels of fc6 and fc7.
      split: groups of channels in convolutions 2, 4 and 5.
      dtype: dtype of the computation.
    """

    stride: int = 4
    widths: tuple[int, ...] = WIDTHS
    hidden: tuple[int, ...] = (4096, 4096)
    split: int = 2
    dtype: Any = None

    @nn.compact
    def __call__(self, images, train=False):
        def layer(x, width, kernel, name, **how):
            x = nn.Conv(width, (kernel, kernel), dtype=self.dtype, name=name, **how)(x)
            return nn.relu(
                BatchNorm(scale=False, bias=False, name=f"{name}_norm")(x, train)
            )

        x = images
        for i, (kernel, width) in enumerate(zip(KERNELS, self.widths, strict=True)):
            x = layer(
                x,
                width,
                kernel,
                f"conv{i}",
                strides=self.stride if i == 0 else 1,
                padding=kernel // 2,
                feature_group_count=self.split if i in (1, 3, 4) else 1,
            )
            tap(self, "layers", x)
            if i in (0, 1, 4):
                step = 1 if i == 4 else 2
                x = nn.max_pool(x, (3, 3), (step, step), padding=((1, 1), (1, 1)))
        for i, width in enumerate(self.hidden):
            how: dict = {} if i else dict(kernel_dilation=2, padding=5)
            x = layer(x, width, 1 if i else 6, f"fc{6 + i}", **how)
        return x

    def filters(self):
        """The first layer's kernels, [width, 11, 11, c]."""
        return self.variables["params"]["conv0"]["kernel"].transpose(3, 0, 1, 2)
