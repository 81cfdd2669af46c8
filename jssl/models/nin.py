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


INIT = nn.initializers.variance_scaling(2.0, "fan_out", "normal")


def convolutions(x, train, side, widths, prefix=""):
    """A block: a convolution of size `side`, then 1 x 1, each with batch norm and ReLU.

    It must be called in a module, whose layers are then `prefix` conv0, norm0, conv1, ...
    """
    for j, width in enumerate(widths):
        size = (side, side) if j == 0 else (1, 1)
        name = f"{prefix}conv{j}"
        x = nn.Conv(width, size, use_bias=False, kernel_init=INIT, name=name)(x)
        x = nn.relu(BatchNorm(name=f"{prefix}norm{j}")(x, train))
    return x


class NIN(nn.Module):
    """Network in network: images [n, h, w, c] -> {"logits": [n, classes], "h": [n, d]}.

    Attributes:
      classes: outputs of the linear layer on the pooled last block.
      blocks: as `BLOCKS`; max-pooling after the first, average pooling after the second.
      feature: index of the block, from 1, whose global average is h. RotNet transfers
        best from the second of four.
      maps: return only that block's maps, after its pooling, which is the input of
        `NINClassifier`: [n, 8, 8, 192] for images of 32 pixels. Later blocks are left out.

    Raises:
      ValueError: if there is no such block.
    """

    classes: int
    blocks: tuple = BLOCKS
    feature: int = 2
    maps: bool = False

    @nn.compact
    def __call__(self, images, train=False):
        if not 1 <= self.feature <= len(self.blocks):
            raise ValueError(
                f"NIN: feature must be one of its {len(self.blocks)} blocks, from 1, "
                f"got {self.feature}"
            )
        x, means = images, []
        for i, (side, widths) in enumerate(self.blocks):
            x = convolutions(x, train, side, widths, f"block{i}")
            tap(self, "layers", x)
            means.append(x.mean((1, 2)))
            if i < 2:
                pool = nn.max_pool if i == 0 else nn.avg_pool
                x = pool(x, (3, 3), (2, 2), padding=((1, 1), (1, 1)))
            if self.maps and i + 1 == self.feature:
                return x
        logits = nn.Dense(self.classes, name="head")(means[-1])
        return {"logits": logits, "h": means[self.feature - 1]}

    def filters(self, train=False):
        """The first layer's kernels, [width, side, side, c]."""
        kernel = self.variables["params"]["block0conv0"]["kernel"]
        return kernel.transpose(3, 0, 1, 2)


class NINClassifier(nn.Module):
    """RotNet's convolutional classifier: maps [n, h, w, c] -> {"logits", "h": [n, d]}.

    One more block on frozen maps of a `NIN`, global average pooling, and a linear layer:
    "NIN_ConvBlock3" of `architectures/NonLinearClassifier.py` in
    https://github.com/gidariss/FeatureLearningRotNet, trained on CIFAR-10 for 100 epochs.
    On maps of 192 channels it has 408,586 weights with ten classes.

    Attributes:
      classes: number of classes.
      side: kernel size of the first convolution.
      widths: channels of the convolutions; those after the first are 1 x 1.
    """

    classes: int
    side: int = 3
    widths: tuple[int, ...] = (192, 192, 192)

    @nn.compact
    def __call__(self, maps, train=False):
        h = convolutions(maps, train, self.side, self.widths).mean((1, 2))
        return {"logits": nn.Dense(self.classes, kernel_init=INIT, name="head")(h), "h": h}
