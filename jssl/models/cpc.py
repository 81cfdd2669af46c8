"""Networks of contrastive predictive coding on images: patch encoder, context, predictor.

van den Oord, Li and Vinyals 2018, https://arxiv.org/abs/1807.03748; the context network is
that of the pseudo-code of version 2, Henaff et al. 2020, https://arxiv.org/abs/1905.09272.
No layer lets patches exchange information before the context: there is no batch norm.
"""

from functools import partial
from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from jssl.models.intermediates import tap
from jssl.ops.convolution import convolve
from jssl.ops.grids import facing

NORMS = ("none", "layer")


class PatchEncoder(nn.Module):
    """3 x 3 convolutions with ReLU, then global average pooling: [m, p, p, c] -> [m, d].

    Attributes:
      widths: channels of each layer.
      strides: stride of each layer; 2 everywhere if empty.
      norm: "none", or "layer": layer norm over positions and channels of each patch.
    """

    widths: tuple[int, ...] = (16, 32, 64)
    strides: tuple[int, ...] = ()
    norm: str = "none"

    @nn.compact
    def __call__(self, patches, train=False):
        x = patches
        strides = self.strides or (2,) * len(self.widths)
        for i, (width, stride) in enumerate(zip(self.widths, strides, strict=True)):
            init = nn.initializers.he_normal()
            x = nn.Conv(width, (3, 3), stride, kernel_init=init, name=f"conv{i}")(x)
            x = nn.relu(normed(self.norm, f"norm{i}")(x))
            tap(self, "layers", x)
        return x.mean((1, 2))

    def filters(self):
        """The first layer's kernels, [width, 3, 3, c]."""
        return self.variables["params"]["conv0"]["kernel"].transpose(3, 0, 1, 2)


class PreactivationResNet(nn.Module):
    """Stages of a ResNet v2 without batch norm: patches [m, p, p, c] -> [m, d].

    He et al. 2016, https://arxiv.org/abs/1603.05027. With the defaults the first three
    stages of ResNet-101, of which the third has 1,024 channels: version 1 of CPC. Version 2
    has blocks (3, 4, 46), inner widths (64, 128, 512) and outer (256, 512, 4096), called
    ResNet-161. The last convolution of each block starts at 0.

    Attributes:
      blocks: blocks of each stage.
      inner: channels of the 3 x 3 convolutions of each stage.
      outer: channels of the output of each stage.
      norm: "none" or "layer", over positions and channels of each patch.
      dtype: dtype of the computation.
    """

    blocks: tuple[int, ...] = (3, 4, 23)
    inner: tuple[int, ...] = (64, 128, 256)
    outer: tuple[int, ...] = (256, 512, 1024)
    norm: str = "none"
    dtype: Any = None

    @nn.compact
    def __call__(self, patches, train=False):
        init = nn.initializers.variance_scaling(2.0, "fan_out", "normal")
        conv = partial(
            nn.Conv, kernel_init=init, conv_general_dilated=convolve, dtype=self.dtype
        )
        active = lambda x, name: nn.relu(normed(self.norm, name, self.dtype)(x))

        def block(x, inner, outer, stride, name):
            y = active(x, f"{name}_norm0")
            short = x
            if x.shape[-1] != outer or stride != 1:
                short = conv(outer, (1, 1), stride, name=f"{name}_shortcut")(y)
            y = conv(inner, (1, 1), name=f"{name}_conv0")(y)
            y = active(y, f"{name}_norm1")
            y = conv(inner, (3, 3), stride, padding=1, name=f"{name}_conv1")(y)
            y = active(y, f"{name}_norm2")
            zero = nn.initializers.zeros
            return short + conv(outer, (1, 1), kernel_init=zero, name=f"{name}_conv2")(y)

        first = self.inner[0]
        x = conv(first, (7, 7), 2, padding=3, name="conv")(patches)
        x = nn.max_pool(x, (3, 3), (2, 2), padding=((1, 1), (1, 1)))
        stages = zip(self.blocks, self.inner, self.outer, strict=True)
        for stage, (count, inner, outer) in enumerate(stages):
            for i in range(count):
                stride = 2 if stage and i == 0 else 1
                x = block(x, inner, outer, stride, f"stage{stage}_{i}")
            tap(self, "layers", x)
        x = active(x, "norm").mean((1, 2))
        return x.astype(jnp.promote_types(x.dtype, jnp.float32))

    def filters(self):
        """The kernels of the stem, [width, 7, 7, c]."""
        return self.variables["params"]["conv"]["kernel"].transpose(3, 0, 1, 2)


def normed(norm, name, dtype=None):
    """The norm of this name: x [m, h, w, c] -> x.

    Raises:
      ValueError: for another norm than none and layer.
    """
    if norm not in NORMS:
        raise ValueError(f"norm must be one of {', '.join(NORMS)}, got {norm!r}")
    if norm == "none":
        return lambda x: x
    return nn.LayerNorm(reduction_axes=(1, 2, 3), dtype=dtype, name=name)


class RowContext(nn.Module):
    """Context of rows above: residual blocks of masked convolutions, [n, r, k, d] -> same.

    Each block sees its whole row and the row above, so that the output at row i depends on
    rows up to i.

    Attributes:
      blocks: number of residual blocks, i.e. of rows above that are seen.
      width: channels within a block.
    """

    blocks: int = 5
    width: int = 256

    @nn.compact
    def __call__(self, z):
        x, d = z, z.shape[-1]
        for i in range(self.blocks):
            conv = lambda width, size, name, i=i, **how: nn.Conv(
                width, size, name=f"block{i}_{name}", **how
            )
            y = nn.relu(conv(self.width, (1, 1), "narrow")(x))
            y = conv(self.width, (1, 3), "row")(y)
            above = ((1, 0), (0, 0))  # a row of zeros on top, none below
            y = nn.relu(conv(self.width, (2, 1), "above", padding=above)(y))
            x = x + conv(d, (1, 1), "wide")(y)
        return nn.relu(x)


class Predictive(nn.Module):
    """Contrastive predictive coding on a grid of patches [n, r, k, p, p, c].

    Returns a dictionary:

        h         [n, d], the mean of the patches' latents
        z         [n, r, k, e], the latents that are predicted
        contexts  {direction: [n, r, k, d]}, rows along the direction (`facing`)
        weights   {direction: [steps, e, d]}, a prediction for each number of rows ahead

    Attributes:
      encoder: encoder of a patch, [m, p, p, c] -> [m, d].
      steps: number of predictions.
      directions: of the predictions, among `jssl.ops.grids.DIRECTIONS`; each has its own
        context network and weights.
      target: e, the width of a linear map of the latents that is predicted in place of
        them, as in version 2; 0: the latents themselves.
      blocks, width: of `RowContext`.
    """

    encoder: nn.Module
    steps: int
    directions: tuple[str, ...] = ("down",)
    target: int = 0
    blocks: int = 5
    width: int = 256

    @nn.compact
    def __call__(self, patches, train=False):
        n, r, k = patches.shape[:3]
        alone = self.encoder(patches.reshape(-1, *patches.shape[3:]), train=train)
        latents = alone.reshape(n, r, k, -1)
        z = nn.Dense(self.target, name="target")(latents) if self.target else latents
        init = nn.initializers.lecun_normal(in_axis=-1, out_axis=-2, batch_axis=0)
        shape = (self.steps, z.shape[-1], latents.shape[-1])
        contexts, weights = {}, {}
        for way in self.directions:
            context = RowContext(self.blocks, self.width, name=f"context_{way}")
            contexts[way] = context(facing(latents, way))
            weights[way] = self.param(f"predict_{way}", init, shape)
        h = latents.mean((1, 2))
        return {"h": h, "z": z, "contexts": contexts, "weights": weights}

    def filters(self, train=False):
        return self.encoder.filters()


class PatchMean(nn.Module):
    """The mean of the encodings of patches, [n, r, k, p, p, c] -> [n, d].

    Attributes:
      encoder: encoder of a patch, [m, p, p, c] -> [m, d].
    """

    encoder: nn.Module

    @nn.compact
    def __call__(self, patches, train=False):
        alone = self.encoder(patches.reshape(-1, *patches.shape[3:]), train=train)
        return alone.reshape(len(patches), -1, alone.shape[-1]).mean(1)

    def filters(self):
        return self.encoder.filters()
