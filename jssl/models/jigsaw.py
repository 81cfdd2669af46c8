"""Networks of puzzles: a shared encoder for tiles, frames or clips, then heads."""

import math
from collections.abc import Sequence

import flax.linen as nn
import jax.numpy as jnp
import numpy as np

from jssl.models.dcgan import Doubled, Norm
from jssl.models.norm import BatchNorm


class ContextFree(nn.Module):
    """Context-free network: tiles [n, k, ...] -> {"logits": [n, count], "h": [n, k w]}.

    A shared encoder embeds each tile independently of the others; h concatenates the
    embeddings in the order of the tiles, and the head classifies the permutation. Tiles are
    images [t, t, c], or clips, frames ..., as the encoder takes them.

    Noroozi and Favaro 2016, https://arxiv.org/abs/1603.09246

    Attributes:
      encoder: encoder of a tile, [m, t, t, c] -> [m, d], or maps [m, ..., d].
      count: number of permutations.
      width: w, the size of the embedding of a tile, or of each place of its maps; 0: it is
        that of the encoder.
      hidden: units of the layer between h and the logits; 0: there is none.
    """

    encoder: nn.Module
    count: int
    width: int = 32
    hidden: int = 128

    @nn.compact
    def __call__(self, tiles, train=False):
        n, k = tiles.shape[:2]
        alone = self.encoder(tiles.reshape(n * k, *tiles.shape[2:]), train=train)
        if self.width:
            alone = nn.Dense(self.width, name="tile")(alone)
        x = h = nn.relu(alone).reshape(n, -1)
        if self.hidden:
            x = nn.relu(nn.Dense(self.hidden, name="hidden")(x))
        return {"logits": nn.Dense(self.count, name="head")(x), "h": h}

    def alone(self, tiles, train=False):
        """Single tiles [m, ...] -> {"h": the encoder's output, averaged over places}."""
        return alone(self.encoder, tiles, train)

    def filters(self, train=False):
        return self.encoder.filters()


class PairwiseOrder(nn.Module):
    """Order prediction network: frames [n, k, h, w, c] -> {"logits": [n, count]}.

    A shared encoder and layer describe each frame; another layer, shared by all pairs i < j
    of frames, describes each concatenated pair; all of these are classified together.

    Lee et al. 2017, section 3.2, https://arxiv.org/abs/1708.01246. In the paper the
    encoder is AlexNet's convolutions, and width and pair are 1024 and 512.

    Attributes:
      encoder: encoder of a frame, [m, h, w, c] -> [m, ...], which is flattened.
      count: number of orders.
      width: units of the layer of a frame (fc6).
      pair: units of the layer of a pair (fc7).
      norm: batch norm of both layers.
    """

    encoder: nn.Module
    count: int
    width: int = 128
    pair: int = 32
    norm: bool = False

    @nn.compact
    def __call__(self, frames, train=False):
        n, k = frames.shape[:2]
        x = self.encoder(frames.reshape(n * k, *frames.shape[2:]), train=train)

        def layer(x, width, name):
            x = nn.Dense(width, use_bias=not self.norm, name=name)(x)
            x = BatchNorm(name=f"{name}_norm")(x, train) if self.norm else x
            return nn.relu(x)

        x = layer(x.reshape(n * k, -1), self.width, "frame").reshape(n, k, -1)
        i, j = np.triu_indices(k, 1)
        x = layer(jnp.concatenate([x[:, i], x[:, j]], -1), self.pair, "pair")
        return {"logits": nn.Dense(self.count, name="head")(x.reshape(n, -1))}

    def alone(self, frames, train=False):
        """Single frames [m, h, w, c] -> {"h": the encoder's output, averaged}."""
        return alone(self.encoder, frames, train)

    def filters(self, train=False):
        return self.encoder.filters()


def alone(encoder, x, train):
    """{"h": [m, d]}: the output of an encoder, averaged over the places of maps."""
    h = encoder(x, train=train)
    return {"h": h.mean(range(1, h.ndim - 1))}


class DamagedPuzzle(nn.Module):
    """A context-free network with heads for the missing tile and for the colors.

    Gray tiles [n, k, t, t, 1] -> {"logits": [n, count], "missing": the Lab colors of a tile
    [n, t, t, 3], "cells": scores of colors [n, k, t', t', bins], "h": [n, k width]}.

    The permutation and the missing tile are read from the descriptions of all tiles; the
    colors of a tile from its own maps as well.

    Attributes:
      encoder: encoder of a tile, [m, t, t, 1] -> maps [m, t', t', d].
      count: number of permutations.
      bins: number of colors.
      width: size of the description of a tile.
      hidden: units of the layer between h and the logits.
      decoder: channels of the maps of the missing tile, each half as large as the next.
      pool: describe tiles by the means of their maps; else by the maps.
    """

    encoder: nn.Module
    count: int
    bins: int
    width: int = 32
    hidden: int = 128
    decoder: Sequence[int] = (32, 16)
    pool: bool = True

    @nn.compact
    def __call__(self, tiles, train=False):
        n, k, side = tiles.shape[:3]
        maps = self.encoder(tiles.reshape(n * k, *tiles.shape[2:]), train=train)
        alone = maps.mean((1, 2)) if self.pool else maps.reshape(n * k, -1)
        h = nn.relu(nn.Dense(self.width, name="tile")(alone)).reshape(n, -1)
        every = nn.relu(nn.Dense(self.hidden, name="hidden")(h))
        logits = nn.Dense(self.count, name="head")(every)

        first = math.ceil(side / 2 ** len(self.decoder))
        x = nn.Dense(first**2 * self.decoder[0], name="seed")(h)
        x = x.reshape(n, first, first, -1)
        for i, width in enumerate((*self.decoder[1:], 3)):
            x = nn.relu(Norm(name=f"norm{i}")(x, train))
            x = Doubled(width, 4, name=f"up{i}")(x)
        low = (x.shape[1] - side) // 2
        missing = x[:, low : low + side, low : low + side]

        d = maps.shape[-1]
        around = jnp.repeat(nn.Dense(d, name="around")(h), k, axis=0)[:, None, None]
        x = nn.relu(nn.Conv(d, (1, 1), name="inside")(maps) + around)
        cells = nn.Conv(self.bins, (1, 1), name="colors")(x)
        cells = cells.reshape(n, k, *cells.shape[1:])
        return {"logits": logits, "missing": missing, "cells": cells, "h": h}

    def filters(self, train=False):
        return self.encoder.filters()
