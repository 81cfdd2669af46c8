"""The context-free network: each tile of a puzzle seen alone, then all together."""

import flax.linen as nn


class ContextFree(nn.Module):
    """Tiles [n, k, t, t, c] -> {"logits": [n, count], "h": [n, k * width]}.

    One encoder, the same for all, describes each tile without its neighbours; the
    descriptions, in the order of the tiles, are h, on which the answer stands.

    Noroozi and Favaro 2016, https://arxiv.org/abs/1603.09246

    Attributes:
      encoder: of a tile, [m, t, t, c] -> [m, d].
      count: of the answers.
      width: of a tile's description.
      hidden: units between h and the answer.
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
