"""Networks of conditional GANs: samples and classes in, with the stabilizers of critics.

Classes y [n, K] are weights that add up to 1: one-hot where the class is known. A generator
reads them beside the noise. A discriminator reads them as constant maps beside the image
("concat"; Mirza and Osindero 2014, https://arxiv.org/abs/1411.1784), or in an inner product
("projection"; Miyato and Koyama 2018, https://arxiv.org/abs/1802.05637),

    s(x, y) = psi(h(x)) + <E y, h(x)>,

where h does not depend on y.
"""

import math
from collections.abc import Callable, Sequence

import flax.linen as nn
import jax.numpy as jnp

from jssl.models.intermediates import tap

NORMAL = nn.initializers.normal(0.02)


class Conditioned(nn.Module):
    """A generator of classes: (z [n, d], y [n, K]) -> samples.

    Attributes:
      net: generator of [n, d + K].
    """

    net: nn.Module

    @nn.compact
    def __call__(self, z, y, train=False):
        return self.net(jnp.concatenate([z, y], -1), train=train)


class Conditional(nn.Module):
    """A discriminator of classes: (x, y [n, K]) -> {"logits": [n], "h": [n, d]}.

    Attributes:
      net: discriminator of x, or of x with K more channels: {"logits", "h"}.
      condition: "concat", "projection", or "none", which ignores y.
      turns: whether there is a second head on h, "turns" [n, 4]: logits of the rotations by
        multiples of 90 degrees.
      spectral: whether the kernels are divided by their largest singular values, estimated
        by one power iteration from the vectors in the statistics "spectral", which a pass
        in training replaces (Miyato et al. 2018, https://arxiv.org/abs/1802.05957).

    Raises:
      ValueError: an unknown condition.
    """

    net: nn.Module
    condition: str = "projection"
    turns: bool = False
    spectral: bool = False

    @nn.compact
    def __call__(self, x, y, train=False):
        if self.condition not in ("concat", "projection", "none"):
            raise ValueError(
                f"condition must be concat, projection or none, got {self.condition!r}"
            )

        def layer(module, *inputs, **more):
            if not self.spectral:
                return module(*inputs, **more)
            normed = nn.SpectralNorm(module, collection_name="spectral")
            return normed(*inputs, update_stats=train, **more)

        if self.condition == "concat":
            maps = y.reshape(len(y), *[1] * (x.ndim - 2), -1)
            maps = jnp.broadcast_to(maps, (*x.shape[:-1], y.shape[-1]))
            x = jnp.concatenate([x, maps], -1)
        out = dict(layer(self.net, x, train=train))
        if self.condition == "projection":
            embedded = nn.Dense(
                out["h"].shape[-1], use_bias=False, kernel_init=NORMAL, name="classes"
            )
            out["logits"] += (layer(embedded, y) * out["h"]).sum(-1)
        if self.turns:
            out["turns"] = layer(
                nn.Dense(4, kernel_init=NORMAL, name="turns_head"), out["h"]
            )
        return out


class Strided(nn.Module):
    """A discriminator of images without batch norm: x -> {"logits": [n], "h": [n, d]}.

    Convolutions of stride 2, each followed by LeakyReLU of slope 0.2; h is the last map,
    flattened. Without batch norm, a penalty on the gradient at one sample is that sample's.

    Attributes:
      widths: channels of the feature maps, largest map first.
      kernel: kernel size.
    """

    widths: Sequence[int]
    kernel: int = 4

    @nn.compact
    def __call__(self, x, train=False):
        init = nn.initializers.he_normal()
        for i, width in enumerate(self.widths):
            size, pad = (self.kernel,) * 2, (self.kernel - 1) // 2
            conv = nn.Conv(width, size, (2, 2), pad, kernel_init=init, name=f"conv{i}")
            x = nn.leaky_relu(conv(x), 0.2)
            tap(self, "layers", x)
        h = x.reshape(len(x), -1)
        return {"logits": nn.Dense(1, name="head")(h)[:, 0], "h": h}


class Inverter(nn.Module):
    """An encoder of the noise of a generator's samples: x -> {"h": z [n, latent]}.

    Attributes:
      net: x -> {"h": [n, d]}.
      latent: numbers of z.
    """

    net: nn.Module
    latent: int

    @nn.compact
    def __call__(self, x, train=False):
        h = self.net(x, train=train)["h"]
        return {"h": nn.Dense(self.latent, name="code")(h)}


class JointGenerator(nn.Module):
    """The generator of Mirza and Osindero 2014: (z, y) -> samples [n, *shape] in [0, 1].

    Noise and classes have a dense layer each, then both a common one; ReLU and dropout
    follow every layer but the last.

    Attributes:
      shape: shape of one sample.
      noise, classes, joint: units of the layers.
      dropout: dropout rate.
      kernel_init: initial kernels.
    """

    shape: Sequence[int]
    noise: int = 200
    classes: int = 1000
    joint: int = 1200
    dropout: float = 0.5
    kernel_init: Callable = nn.initializers.he_normal()

    @nn.compact
    def __call__(self, z, y, train=False):
        def dense(x, width, name):
            return nn.Dense(width, kernel_init=self.kernel_init, name=name)(x)

        def hidden(x, width, name):
            x = nn.relu(dense(x, width, name))
            return nn.Dropout(self.dropout, deterministic=not train)(x)

        both = [hidden(z, self.noise, "noise"), hidden(y, self.classes, "classes")]
        joined = hidden(jnp.concatenate(both, -1), self.joint, "joint")
        x = nn.sigmoid(dense(joined, math.prod(self.shape), "out"))
        return x.reshape(-1, *self.shape)


class JointMaxout(nn.Module):
    """The discriminator of Mirza and Osindero 2014: (x, y) -> {"logits": [n], "h": [n, d]}.

    Maxout layers of x and of y, then one of both, which is h; dropout follows each.

    Attributes:
      sample, classes, joint: (units, pieces) of the layers.
      dropout: dropout rate.
      kernel_init: initial kernels.
    """

    sample: Sequence[int] = (240, 5)
    classes: Sequence[int] = (50, 5)
    joint: Sequence[int] = (240, 4)
    dropout: float = 0.5
    kernel_init: Callable = nn.initializers.he_normal()

    @nn.compact
    def __call__(self, x, y, train=False):
        def maxout(x, size, name):
            dense = nn.Dense(math.prod(size), kernel_init=self.kernel_init, name=name)
            return dense(x).reshape(len(x), *size).max(-1)

        def dropped(x):
            return nn.Dropout(self.dropout, deterministic=not train)(x)

        both = (
            maxout(x.reshape(len(x), -1), self.sample, "sample"),
            maxout(y, self.classes, "classes"),
        )
        h = maxout(dropped(jnp.concatenate(both, -1)), self.joint, "joint")
        head = nn.Dense(1, kernel_init=self.kernel_init, name="head")
        return {"logits": head(dropped(h))[:, 0], "h": h}
