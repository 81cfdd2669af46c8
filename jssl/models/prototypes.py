"""Networks that assign images to prototypes."""

import flax.linen as nn

from jssl.ops.vectors import unit


class Prototypes(nn.Module):
    """An encoder, a projector and prototypes: images -> {"h", "z", "prototypes"}.

    z [n, k] has length 1. "prototypes" [n, count] are its inner products with the columns
    of the kernel of "prototypes" [k, count], which methods keep at length 1. `encode` ends
    at h, and `assign` begins there: views of different sizes are encoded apart, and
    projected together.

    Attributes:
      encoder: images -> h [n, d].
      projector: h -> [n, k].
      count: number of prototypes.
    """

    encoder: nn.Module
    projector: nn.Module
    count: int

    def setup(self):
        start, exact = nn.initializers.normal(1.0), "highest"
        self.prototypes = nn.Dense(
            self.count, use_bias=False, kernel_init=start, precision=exact
        )

    def __call__(self, images, train=False):
        out = self.encode(images, train)
        return out | self.assign(out["h"], train)

    def encode(self, images, train=False):
        return {"h": self.encoder(images, train=train)}

    def assign(self, h, train=False):
        z = unit(self.projector(h, train=train))
        return {"z": z, "prototypes": self.prototypes(z)}

    def filters(self, train=False):
        return self.encoder.filters()
