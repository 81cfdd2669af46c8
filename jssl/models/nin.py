"""Network in network: convolutions followed by 1 x 1 convolutions, for 32-pixel images.

Lin, Chen and Yan, "Network In Network", ICLR 2014, https://arxiv.org/abs/1312.4400; with
batch norm and four blocks, as in RotNet: Gidaris, Singh and Komodakis, ICLR 2018,
https://arxiv.org/abs/1803.07728
"""

import flax.linen as nn

from jssl.models.intermediates import tap
from jssl.models.norm import BatchNorm

BLOCKS = (  # (kernel size, widths); layers after the first of a block are 1 x 1
    (5, (192, 160, 96)),
    (5, (192, 192, 192)),
    (3, (192, 192, 192)),
    (3, (192, 192, 192)),
)


class NIN(nn.Module):
    """Network in network: images [n, h, w, c] -> {"logits": [n, classes], "h": [n, d]}.

    Attributes:
      classes: outputs of the linear layer on the pooled last block.
      blocks: as `BLOCKS`; max-pooling after the first, average pooling after the second.
      feature: index of the block, from 1, whose global average is h. RotNet transfers
        best from the second of four.
    """

    classes: int
    blocks: tuple = BLOCKS
    feature: int = 2

    @nn.compact
    def __call__(self, images, train=False):
        x, means = images, []
        for i, (side, widths) in enumerate(self.blocks):
            for j, width in enumerate(widths):
                x = nn.Conv(
                    width,
                    (side, side) if j == 0 else (1, 1),
                    use_bias=False,
                    kernel_init=nn.initializers.he_normal(),
                    name=f"block{i}conv{j}",
                )(x)
                x = nn.relu(BatchNorm(name=f"block{i}norm{j}")(x, train))
            tap(self, "layers", x)
            means.append(x.mean((1, 2)))
            if i < 2:
                pool = nn.max_pool if i == 0 else nn.avg_pool
                x = pool(x, (3, 3), (2, 2), padding=((1, 1), (1, 1)))
        logits = nn.Dense(self.classes, name="head")(means[-1])
        return {"logits": logits, "h": means[self.feature - 1]}

    def filters(self, train=False):
        """The first layer's kernels, [width, side, side, c]."""
        kernel = self.variables["params"]["block0conv0"]["kernel"]
        return kernel.transpose(3, 0, 1, 2)
