"""What stands on an encoder: projectors, predictors, classifiers."""

from collections.abc import Sequence

import flax.linen as nn

from jssl.models.norm import BatchNorm


class MLP(nn.Module):
    """Dense layers with batch norm and ReLU between: [n, d] -> [n, widths[-1]].

    Attributes:
      widths: of each layer; at least one.
      norm: whether batch norm stands between layers.
      last_norm: whether batch norm ends it: "" (none), "plain" (without a learned scale
        and offset), "scale" (with a scale only) or "affine".
      last_bias: whether the last dense layer has a bias; none is needed before a norm.
      groups: of the batch norm.
    """

    widths: Sequence[int]
    norm: bool = True
    last_norm: str = ""
    last_bias: bool = True
    groups: int = 1

    @nn.compact
    def __call__(self, x, train=False):
        *hidden, last = self.widths
        for i, width in enumerate(hidden):
            x = nn.Dense(width, use_bias=not self.norm, name=f"dense{i}")(x)
            if self.norm:
                x = BatchNorm(self.groups, name=f"norm{i}")(x, train)
            x = nn.relu(x)
        bias = self.last_bias and not self.last_norm
        x = nn.Dense(last, use_bias=bias, name=f"dense{len(hidden)}")(x)
        if self.last_norm:
            affine = dict(
                scale=self.last_norm in ("scale", "affine"), bias=self.last_norm == "affine"
            )
            x = BatchNorm(self.groups, **affine, name=f"norm{len(hidden)}")(x, train)
        return x


class Classifier(nn.Module):
    """A linear layer on an encoder: images -> {"logits": [n, classes], "h": [n, d]}."""

    encoder: nn.Module
    classes: int

    @nn.compact
    def __call__(self, images, train=False):
        h = self.encoder(images, train=train)
        return {"logits": nn.Dense(self.classes, name="head")(h), "h": h}

    def filters(self, train=False):
        return self.encoder.filters()


class Siamese(nn.Module):
    """An encoder, a projector and maybe a predictor: images -> {"h", "z"[, "p"]}.

    `project` stops before the predictor: a target network has none.
    """

    encoder: nn.Module
    projector: nn.Module
    predictor: nn.Module | None = None

    def __call__(self, images, train=False):
        out = self.project(images, train)
        if self.predictor is not None:
            out["p"] = self.predictor(out["z"], train=train)
        return out

    def project(self, images, train=False):
        h = self.encoder(images, train=train)
        return {"h": h, "z": self.projector(h, train=train)}

    def filters(self, train=False):
        return self.encoder.filters()
