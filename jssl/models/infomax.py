"""Deep InfoMax: an encoder with a local feature map, and the networks of its scores.

Hjelm et al., "Learning Deep Representations by Mutual Information Estimation and
Maximization", ICLR 2019, https://arxiv.org/abs/1808.06670; the layers are those of
https://github.com/rdevon/DIM.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from jssl.models.intermediates import tap
from jssl.models.norm import BatchNorm


class Convolutions(nn.Module):
    """Convolutions 4 x 4 of stride 2, with batch norm and ReLU: maps -> maps.

    Attributes:
      widths: channels of the convolutions.
      tapped: whether their maps are "layers" of the network.
    """

    widths: tuple[int, ...]
    tapped: bool = True

    @nn.compact
    def __call__(self, x, train=False):
        for i, width in enumerate(self.widths):
            x = nn.Conv(
                width,
                (4, 4),
                (2, 2),
                padding=1,
                use_bias=False,
                kernel_init=nn.initializers.he_normal(),
                name=f"conv{i}",
            )(x)
            x = nn.relu(BatchNorm(name=f"norm{i}")(x, train))
            if self.tapped:
                tap(self, "layers", x)
        return x


class Upper(nn.Module):
    """Convolutions and a dense layer, with batch norm and ReLU: maps -> [n, hidden]."""

    widths: tuple[int, ...]
    hidden: int
    tapped: bool = True

    @nn.compact
    def __call__(self, maps, train=False):
        x = Convolutions(self.widths, self.tapped, name="convolutions")(maps, train)
        x = x.reshape(len(x), -1)
        x = nn.Dense(self.hidden, use_bias=False, name="dense")(x)
        return nn.relu(BatchNorm(name="norm")(x, train))


class InfoMaxEncoder(nn.Module):
    """The encoder before its code: images [n, h, w, c] -> h [n, hidden].

    Attributes:
      widths: channels of the convolutions; three for 32 pixels.
      hidden: units of the dense layer.
      local: number of convolutions before the local map, whose places are compared.
    """

    widths: tuple[int, ...] = (64, 128, 256)
    hidden: int = 1024
    local: int = 2

    def setup(self):
        if not 1 <= self.local <= len(self.widths):
            raise ValueError(
                f"InfoMaxEncoder: local must be 1 to {len(self.widths)}, the number of "
                f"convolutions, got {self.local}"
            )
        self.lower = Convolutions(self.widths[: self.local])
        self.upper = Upper(self.widths[self.local :], self.hidden)

    def __call__(self, images, train=False):
        return self.both(images, train)[1]

    def both(self, images, train=False):
        """The local map [n, h', w', c'] and h [n, hidden]."""
        maps = self.lower(images, train)
        return maps, self.upper(maps, train)


class InfoMax(nn.Module):
    """An encoder, its code z, and what the scores are inner products of.

    Images -> {"h": [n, hidden], "z": [n, width], "local": [n, m, units], "local_code":
    [n, units], "global": [n, units], "global_code": [n, units]}, of the m places of the
    local map, row by row. The score of a place and a code is local . local_code; that of a
    whole map and a code, global . global_code.

    Attributes:
      encoder: images -> h.
      width: numbers of the code.
      units: numbers of the inner products.
    """

    encoder: InfoMaxEncoder
    width: int = 64
    units: int = 2048

    @nn.compact
    def __call__(self, images, train=False):
        maps, h = self.encoder.both(images, train)
        z = nn.Dense(self.width, name="code")(h)
        places = maps.reshape(len(maps), -1, maps.shape[-1])
        widths = self.encoder.widths[self.encoder.local :]
        whole = Upper(widths, self.encoder.hidden, False, name="whole")(maps, train)
        return {
            "h": h,
            "z": z,
            "local": Score(self.units, name="local")(places, train),
            "local_code": Score(self.units, name="local_code")(z, train),
            "global": nn.Dense(self.units, name="global")(whole),
            "global_code": nn.Dense(self.units, name="global_code")(z),
        }


class Score(nn.Module):
    """A residual block on the last axis, and layer norm: [..., d] -> [..., units].

    If units >= d, the shortcut is initialized to nearly the identity.
    """

    units: int

    @nn.compact
    def __call__(self, x, train=False):
        y = nn.Dense(self.units, use_bias=False, name="dense0")(x)
        y = nn.relu(BatchNorm(name="norm")(y, train))
        y = nn.Dense(self.units, name="dense1")(y)
        wide = self.units >= x.shape[-1]
        start = nearly_identity if wide else nn.linear.default_kernel_init
        kept = nn.Dense(self.units, use_bias=False, kernel_init=start, name="shortcut")(x)
        return nn.LayerNorm(epsilon=1e-5, name="layer_norm")(y + kept)


def nearly_identity(key, shape, dtype=jnp.float32):
    """An initial kernel: 1 on the diagonal, else uniform in [-0.01, 0.01].

    >>> kernel = nearly_identity(jax.random.key(0), (2, 3))
    >>> kernel.round(1).tolist() == [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]
    True
    """
    noise = jax.random.uniform(key, shape, dtype, -0.01, 0.01)
    return jnp.where(jnp.eye(shape[0], shape[1], dtype=bool), 1, noise)
