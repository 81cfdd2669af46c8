"""StackGAN's networks: two generators of a text, and discriminators of images with texts.

Zhang et al. 2017, section 3 and appendix, https://arxiv.org/abs/1612.03242, with the widths
of their released code; there the last map before a residual block of a discriminator has no
activation, and the first batch norm of a generator is of units, not of channels. A text is
a vector t [n, e]. A generator is given a sample of the text's Gaussian (conditioning
augmentation),

    c = mu(t) + sigma(t) eps,    eps ~ N(0, I)

    pixels     maps of stage 1          of stage 2: from the image, then upwards
    64, 256    1024, 512, 256, 128      128, 256, 512; 256, 128, 64, 32
    14, 28     64, 32                   16, 32; 32, 16
"""

import math
from collections.abc import Sequence
from functools import partial

import flax.linen as nn
import jax.numpy as jnp

from jssl.models.dcgan import NORMAL, Norm
from jssl.models.intermediates import tap


def _conv(width, kernel, name, stride=1, bias=False):
    """A convolution that keeps the size of maps, or divides it by the stride."""
    pad = "SAME" if stride == 1 else (kernel - 1) // 2
    size = (kernel, kernel)
    return nn.Conv(
        width, size, (stride, stride), pad, use_bias=bias, kernel_init=NORMAL, name=name
    )


def _dense(width, name, bias=True):
    return nn.Dense(width, bias, kernel_init=NORMAL, name=name)


_leaky = partial(nn.leaky_relu, negative_slope=0.2)


class Residual(nn.Module):
    """relu(x + f(x)) with batch norm after each convolution of f; the map keeps its shape.

    Attributes:
      inner: channels of a bottleneck, of a 1 x 1 convolution and two 3 x 3 ones; 0: two
        3 x 3 convolutions without one.
      activation: of the hidden layers and of the sum.
    """

    inner: int = 0
    activation: str = "relu"

    @nn.compact
    def __call__(self, x, train=False):
        width, act = x.shape[-1], _leaky if self.activation == "leaky" else nn.relu
        widths = (self.inner, self.inner, width) if self.inner else (width, width)
        kernels = (1, 3, 3) if self.inner else (3, 3)
        y = x
        for i, (w, k) in enumerate(zip(widths, kernels, strict=True)):
            y = Norm(name=f"norm{i}")(_conv(w, k, f"conv{i}")(y), train)
            y = act(y) if i < len(widths) - 1 else y
        return act(x + y)


class Augmentation(nn.Module):
    """Conditioning augmentation: t [n, e], eps [n, d] -> c, mu, log sigma, each [n, d]."""

    @nn.compact
    def __call__(self, text, eps):
        width = eps.shape[-1]
        both = _leaky(_dense(2 * width, "text")(text))
        mean, log_sigma = jnp.split(both, 2, -1)
        return mean + jnp.exp(log_sigma) * eps, mean, log_sigma


def _upwards(x, widths, shape, train, residual=0):
    """3 x 3 convolutions, of maps doubled until they have the image's side, and tanh."""
    for i, width in enumerate((*widths, shape[-1])):
        if x.shape[1] < shape[0]:
            x = x.repeat(2, 1).repeat(2, 2)
        x = _conv(width, 3, f"up{i}", bias=i == len(widths))(x)
        if i < len(widths):
            x = Norm(name=f"up_norm{i}")(x, train)
            x = _residual_or_relu(x, i < residual, f"up_residual{i}", train)
    if x.shape[1:] != tuple(shape):
        raise ValueError(
            f"stackgan: these widths give images of {x.shape[1:]}, not of {tuple(shape)}: "
            f"choose others"
        )
    return jnp.tanh(x)


def _residual_or_relu(x, residual, name, train):
    return Residual(x.shape[-1] // 4, name=name)(x, train) if residual else nn.relu(x)


class FirstGenerator(nn.Module):
    """Stage 1: z [n, d], text, eps -> {"image" in [-1, 1], "mean", "log_sigma"}.

    Attributes:
      shape: of an image, square.
      widths: channels of the maps, smallest map first; each has twice the side of the one
        before.
      residual: number of first maps that are followed by a residual block.
      double_last: whether the image has twice the side of the last map.

    Raises:
      ValueError: the side of the image is no such multiple.
    """

    shape: Sequence[int]
    widths: Sequence[int] = (1024, 512, 256, 128)
    residual: int = 2
    double_last: bool = True

    @nn.compact
    def __call__(self, z, text, eps, train=False):
        times = 2 ** (len(self.widths) - 1 + self.double_last)
        if self.shape[0] % times:
            raise ValueError(
                f"stackgan: {len(self.widths)} widths need images whose side is a multiple "
                f"of {times} in stage 1, got {self.shape[0]}: choose other widths"
            )
        c, mean, log_sigma = Augmentation(name="augmentation")(text, eps)
        first = self.shape[0] // times, self.shape[1] // times, self.widths[0]
        x = _dense(math.prod(first), "dense", False)(jnp.concatenate([z, c], -1))
        x = Norm(name="norm")(x.reshape(-1, *first), train)
        x = _residual_or_relu(x, self.residual > 0, "residual", train)
        image = _upwards(x, self.widths[1:], self.shape, train, self.residual - 1)
        return {"image": image, "mean": mean, "log_sigma": log_sigma}


class SecondGenerator(nn.Module):
    """Stage 2: an image of stage 1, text, eps -> {"image", "mean", "log_sigma"}.

    The image is encoded, joined with the text at every place, and decoded to a larger one.

    Attributes:
      shape: of an image, square.
      encoder: channels of the maps of the image; each but the first has half the side.
      widths: channels of the maps on the way up.
      residual: number of residual blocks between.

    Raises:
      ValueError: the widths do not lead to the shape.
    """

    shape: Sequence[int]
    encoder: Sequence[int] = (128, 256, 512)
    widths: Sequence[int] = (256, 128, 64, 32)
    residual: int = 4

    @nn.compact
    def __call__(self, image, text, eps, train=False):
        c, mean, log_sigma = Augmentation(name="augmentation")(text, eps)
        x = nn.relu(_conv(self.encoder[0], 3, "down0", bias=True)(image))
        for i, width in enumerate(self.encoder[1:], 1):
            x = nn.relu(Norm(name=f"norm{i}")(_conv(width, 4, f"down{i}", 2)(x), train))
        x = _conv(self.encoder[-1], 3, "joint")(_everywhere(x, c))
        x = nn.relu(Norm(name="joint_norm")(x, train))
        for i in range(self.residual):
            x = Residual(name=f"residual{i}")(x, train)
        image = _upwards(x, self.widths, self.shape, train)
        return {"image": image, "mean": mean, "log_sigma": log_sigma}


class PairDiscriminator(nn.Module):
    """Images and texts -> {"logits": [n], "h": [n, d]}; h does not depend on the text.

    h is the last map of the image, flattened. It is joined with the text, compressed to
    `code` numbers, at every place.

    Attributes:
      widths: channels of the maps, each of half the side of the one before.
      code: units of the text.
      reduce: channels of further 1 x 1 convolutions.
      residual: whether a residual block follows.
    """

    widths: Sequence[int] = (64, 128, 256, 512)
    code: int = 128
    reduce: Sequence[int] = ()
    residual: bool = True

    @nn.compact
    def __call__(self, x, text, train=False):
        for i, width in enumerate(self.widths):
            x = _conv(width, 4, f"conv{i}", 2, bias=i == 0)(x)
            x = _leaky(Norm(name=f"norm{i}")(x, train) if i else x)
            tap(self, "layers", x)
        for i, width in enumerate(self.reduce):
            x = Norm(name=f"reduce_norm{i}")(_conv(width, 1, f"reduce{i}")(x), train)
            x = _leaky(x)
        if self.residual:
            x = Residual(x.shape[-1] // 4, "leaky", name="residual")(x, train)
            tap(self, "layers", x)
        joint = _everywhere(x, _leaky(_dense(self.code, "text")(text)))
        joint = Norm(name="joint_norm")(_conv(x.shape[-1], 1, "joint")(joint), train)
        logits = _dense(1, "head")(_leaky(joint).reshape(len(x), -1))[:, 0]
        return {"logits": logits, "h": x.reshape(len(x), -1)}


def _everywhere(x, c):
    """Maps [n, h, w, k] with the vector [n, d] of their row as further channels."""
    maps = jnp.broadcast_to(c[:, None, None], (*x.shape[:3], c.shape[-1]))
    return jnp.concatenate([x, maps], -1)
