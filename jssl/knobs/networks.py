"""Knobs of small networks and their optimizers."""

from dataclasses import dataclass
from typing import Any

import optax

from jssl import optim
from jssl.config import Count, Counts, Positive
from jssl.models import vit
from jssl.models.convnet import ConvNet


@dataclass(frozen=True, kw_only=True)
class Small:
    """A small convolutional network for images of 28 or 32 pixels, trained by AdamW.

    Attributes:
      lr: Peak learning rate: linear warm-up over the first 5 % of the steps, then cosine
        decay to 0.
      widths: Channels of each layer of the encoder.
      strides: Stride of each layer of the encoder; 2 everywhere if empty.
    """

    lr: Positive = 2e-3
    widths: Counts = (32, 64, 128)
    strides: tuple = ()

    def encoder(self, **more: Any) -> ConvNet:
        """Images [n, h, w, c] -> [n, widths[-1]].

        Raises:
          ValueError: strides that are not one positive number for each width.
        """
        whole = all(isinstance(x, int) and x > 0 for x in self.strides)
        if self.strides and not (whole and len(self.strides) == len(self.widths)):
            raise ValueError(
                f"strides must be one positive number for each of the {len(self.widths)} "
                f"widths, or empty, got {self.strides}"
            )
        return ConvNet(self.widths, self.strides, **more)

    def adamw(self, steps: int) -> optax.GradientTransformation:
        """AdamW for a training of `steps` steps."""
        return optim.adamw(self.lr, steps)


@dataclass(frozen=True, kw_only=True)
class SmallTransformer:
    """A small vision transformer.

    Attributes:
      lr: Peak learning rate: linear warm-up over the first 5 % of the steps, then cosine
        decay to 0.
      patch: Side of a patch in pixels; must divide the image's (digits: 2).
      width: Width of the encoder.
      depth: Number of blocks of the encoder.
      heads: Attention heads of the encoder; must divide its width.
    """

    lr: Positive = 1e-3
    patch: Count = 4
    width: Count = 64
    depth: Count = 3
    heads: Count = 4

    def encoder(self, **more: Any) -> vit.Encoder:
        """Images [n, h, w, c] -> tokens [n, 1 + l, width]."""
        return vit.Encoder(self.width, self.depth, self.heads, self.patch, **more)

    def adamw(self, steps: int, **more: Any) -> optax.GradientTransformation:
        """AdamW for a training of `steps` steps; weights decay by 0.05."""
        return optim.adamw(self.lr, steps, decay=0.05, **more)
