"""Networks of jigsaw puzzles: a shared encoder for tiles, then heads."""

import math
from collections.abc import Sequence

import flax.linen as nn
import jax.numpy as jnp

from jssl.models.dcgan import Doubled, Norm


class ContextFree(nn.Module):
    """Context-free network: tiles [n, k, t, t, c] -> {"logits": [n, count], "h": [n, k w]}.

    A shared encoder embeds each tile independently of the others; h concatenates the
    embeddings in the order of the tiles, and the head classifies the permutation.

    Noroozi and Favaro 2016, https://arxiv.org/abs/1603.09246

    Attributes:
      encoder: encoder of a tile, [m, t, t, c] -> [m, d].
      count: number of permutations.
      width: w, the size of the embedding of a tile.
      hidden: units of the layer between h and the logits.
    """

    encoder: nn.Module
    count: int
    width: int = 32
    hidden: int = 128

    @nn.compact
    def __call__(self, tiles, train=False):
        n, k = tiles.shape[:2]
        alone = self.encoder(tiles.reshape(n * k, *tiles.shape[2:]), train=train)
        h = nn.relu(nn.Dense(self.width, name="tile")(alone)).reshape(n, -1)
        x = nn.relu(nn.Dense(self.hidden, name="hidden")(h))
        return {"logits": nn.Dense(self.count, name="head")(x), "h": h}

    def filters(self, train=False):
        return self.encoder.filters()


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
