"""Networks that predict depth, normals and contours, and a judge of the domain of maps."""

from collections.abc import Sequence

import flax.linen as nn

from jssl.models.colorization import Cells

TASKS = {"depth": 1, "normal": 3, "edge": 1}


class Given(nn.Module):
    """Maps as they are, for a head that otherwise has an encoder of its own."""

    def __call__(self, maps, train=False):
        return maps


class SceneLabels(nn.Module):
    """One encoder with a decoder for each task.

    Images [n, h, w, c] -> {"depth": [n, g, g, 1], "normal": [n, g, g, 3], "edge": logits
    [n, g, g, 1], "maps": [n, h', w', d], of the encoder, "h": [n, d], their mean}. The
    method `encode` has "maps" and "h" of images, `decode` the other outputs, from maps.

    Attributes:
      encoder: images -> maps.
      widths: channels of the layers of each decoder, each of which doubles the maps.
    """

    encoder: nn.Module
    widths: Sequence[int] = (32,)

    def setup(self):
        for name, outputs in TASKS.items():
            setattr(self, name, Cells(Given(), outputs, self.widths))

    def __call__(self, images, train=False):
        found = self.encode(images, train=train)
        return self.decode(found["maps"], train=train) | found

    def encode(self, images, train=False):
        maps = self.encoder(images, train=train)
        return {"maps": maps, "h": maps.mean((1, 2))}

    def decode(self, maps, train=False):
        return {name: getattr(self, name)(maps, train)["cells"] for name in TASKS}

    def filters(self, train=False):
        return self.encoder.filters()


class DomainJudge(nn.Module):
    """A logit for every patch of maps: [n, h, w, d] -> {"logits": [n, h, w]}.

    A 1 x 1 and a 3 x 3 convolution with LeakyReLU of slope 0.2, then a 1 x 1 convolution.

    Attributes:
      widths: channels of the two hidden layers.
    """

    widths: tuple[int, int] = (64, 64)

    @nn.compact
    def __call__(self, maps, train=False):
        x = maps
        for i, (width, side) in enumerate(zip(self.widths, (1, 3), strict=True)):
            x = nn.leaky_relu(nn.Conv(width, (side, side), name=f"conv{i}")(x), 0.2)
        return {"logits": nn.Conv(1, (1, 1), name="head")(x)[..., 0]}
