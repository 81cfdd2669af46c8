"""Networks of papers, and networks made of others."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import optax

from jssl import evals, optim
from jssl.config import Count
from jssl.data import Source
from jssl.method import fold
from jssl.models.resnet import ResNet
from jssl.nets import Net
from jssl.papers.images import Published


@dataclass(frozen=True, kw_only=True)
class Large:
    """A residual network.

    Attributes:
      depth: Depth of the ResNet: 6, 10, 18, 34, 50, 101 or 152.
      width: Channels of the ResNet's first blocks.
    """

    depth: Count = 50
    width: Count = 64

    def encoder(self, images: Published, **more: Any) -> ResNet:
        """Images [n, h, w, c] -> [n, d], computed in `images.dtype`."""
        return ResNet(self.depth, width=self.width, dtype=images.dtype or None, **more)


def scaled_adamw(
    source: Source,
    lr: float,
    warmup: float,
    epochs: float,
    decayed: Callable,
    *,
    b2: float = 0.999,
    layers: optax.GradientTransformation | None = None,
    end: float = 0.0,
    accumulate: int = 1,
) -> optax.GradientTransformation:
    """AdamW of masked autoencoders: a linear warm-up, then a cosine; weights decay by 0.05.

    Args:
      source: of the training, whose batch has 1 / `accumulate` of the rows of an update.
      lr: peak learning rate of updates of 256 rows; scales with the rows of an update.
      warmup: epochs of the warm-up.
      epochs: of the training.
      decayed: a mask of the weights that decay, as `optim.matrices`.
      b2: decay of the second moment.
      layers: factors of the learning rate by layer, as `optim.scale_by_layer`.
      end: learning rate after the last step.
      accumulate: steps whose gradients are averaged into one update.
    """
    steps = max(source.steps(epochs) // accumulate, 1)
    rate = optim.warmup_cosine(
        lr * source.batch * accumulate / 256,
        source.steps(warmup) // accumulate,
        steps,
        end,
    )
    tx = optax.chain(
        optax.scale_by_adam(b2=b2),
        optax.add_decayed_weights(0.05, decayed),
        layers or optax.identity(),
        optim.scale_by_rate(rate),
    )
    return optax.MultiSteps(tx, accumulate) if accumulate > 1 else tx


def of_layer(net: Net, layer: int, pooled: Callable | None = None) -> Net:
    """A network whose "h" is one of the "layers", pooled over a grid of cells.

    The features of linear classifiers on convolutions (Zhang et al. 2016,
    https://arxiv.org/abs/1603.08511). Outside training only.

    Args:
      net: images -> {"layers": maps [n, h, w, c], ...}.
      layer: number of the layer, from 1.
      pooled: maps -> features [n, ...]; None: means over the finest grid with at most 9,600
        numbers, e.g. 5 x 5 x 384, as [n, d].
    """
    pooled = pooled or partial(evals.pool_to_budget, budget=9600)

    def apply(*inputs, **how):
        out, stats = net.apply(*inputs, **how)
        layers = out["layers"]
        if not 1 <= layer <= len(layers):
            raise ValueError(f"layer must be 1 to {len(layers)}, got {layer}")
        return {"h": pooled(layers[layer - 1])}, stats

    return net._replace(apply=apply)


def over_time(net: Net, length: int = 0) -> Net:
    """A network of videos [n, t, ...] whose outputs are means over their parts.

    Args:
      net: of frames [m, h, w, c], or of clips of `length` frames, of which several make a
        video.
      length: frames of a part; 0: single frames.
    """

    def parts(videos):
        return videos.reshape(-1, length, *videos.shape[2:]) if length else fold(videos)

    def apply(params, stats, videos, **how):
        if how.get("method"):
            return net.apply(params, stats, videos, **how)
        out, stats = net.apply(params, stats, parts(videos), **how)
        mean = lambda x: x.reshape(len(videos), -1, *x.shape[1:]).mean(1)
        return {name: mean(out[name]) for name in ("logits", "h")}, stats

    return Net(lambda key, videos: net.init(key, parts(videos)), apply)


def behind(fixed: Callable, net: Net) -> Net:
    """A network whose input is a fixed function of the images: lightness, edges."""

    def apply(params, stats, images, **how):
        inputs = images if how.get("method") else fixed(images)
        return net.apply(params, stats, inputs, **how)

    return Net(lambda key, images: net.init(key, fixed(images)), apply)
