"""The context-free network for jigsaw puzzles: a shared encoder for tiles, then a head."""

import flax.linen as nn


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
