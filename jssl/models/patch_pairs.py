"""Networks of nine patches: pairs of neighbors with late fusion, and a classifier."""

import flax.linen as nn
import jax.numpy as jnp

from jssl.models.norm import BatchNorm
from jssl.ops.patch_pairs import PAIRS


class PatchPairs(nn.Module):
    """Relative position: patches [n, 9, p, p, c] -> {"logits": [n, 40, 8], "h": [n, d]}.

    A shared encoder and layer describe each patch alone; the descriptions of the two
    patches of each pair of `jssl.ops.patch_pairs.PAIRS` are concatenated and classified
    (late fusion). Batch norm of the dense layers has no scale and offset, by which a layer
    could silence itself. h is the mean description of the nine patches, as in Kolesnikov,
    Zhai and Beyer 2019, https://arxiv.org/abs/1901.09005.

    Doersch et al. 2015, https://arxiv.org/abs/1505.05192: of AlexNet's convolutions,
    `PatchPairs(AlexNet(padding=5, affine=False, hidden=()), 4096, (4096, 4096))`.

    Attributes:
      encoder: encoder of a patch, [m, p, p, c] -> [m, ...], which is flattened: with maps,
        the next layer knows where in the patch a feature is.
      width: d, units of the layer that describes a patch (fc6).
      hidden: units of the layers between a pair and its logits (fc7, fc8); all but the last
        of several have batch norm.
    """

    encoder: nn.Module
    width: int = 64
    hidden: tuple[int, ...] = (64,)

    @nn.compact
    def __call__(self, patches, train=False):
        alone = described(self.encoder, self.width, patches, train)
        x = jnp.concatenate([alone[:, PAIRS[:, 0]], alone[:, PAIRS[:, 1]]], -1)
        for i, width in enumerate(self.hidden):
            x = nn.Dense(width, name=f"fuse{i}")(x)
            if i < max(len(self.hidden) - 1, 1):
                x = BatchNorm(scale=False, bias=False, name=f"fuse{i}_norm")(x, train)
            x = nn.relu(x)
        return {"logits": nn.Dense(8, name="head")(x), "h": alone.mean(1)}

    def filters(self, train=False):
        return self.encoder.filters()


class PatchClassifier(nn.Module):
    """Classes of images: patches [n, 9, p, p, c] -> {"logits": [n, classes], "h": [n, d]}.

    A linear classifier on the h of `PatchPairs`.
    """

    encoder: nn.Module
    classes: int
    width: int = 64

    @nn.compact
    def __call__(self, patches, train=False):
        h = described(self.encoder, self.width, patches, train).mean(1)
        return {"logits": nn.Dense(self.classes, name="head")(h), "h": h}

    def filters(self, train=False):
        return self.encoder.filters()


def described(encoder, width, patches, train):
    """Descriptions of patches [n, k, p, p, c], each by itself, [n, k, width]."""
    n, k = patches.shape[:2]
    x = encoder(patches.reshape(n * k, *patches.shape[2:]), train=train)
    x = nn.Dense(width, name="patch")(x.reshape(n * k, -1))
    x = nn.relu(BatchNorm(scale=False, bias=False, name="patch_norm")(x, train))
    return x.reshape(n, k, width)
