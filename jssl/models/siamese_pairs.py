"""Networks of pairs of frames: a shared encoder, and layers on both of its maps."""

from collections.abc import Sequence

import flax.linen as nn

from jssl.models.norm import BatchNorm


class SiamesePairs(nn.Module):
    """Pairs [n, 2, h, w, c] -> {"logits", "joint", "h", "both"}, by late fusion.

    A shared encoder (BCNN) has the maps of either frame; a top network (TCNN) of strided
    convolutions and a dense layer on the concatenated maps has "joint" [n, hidden], and a
    linear layer on it the logits of each component, a tuple of [n, classes[k]]. "both"
    [n, 2, d] are the maps' means over places, and "h" [n, d] the mean of these two. The
    method `encode`, images [n, h, w, c] -> [n, d], has the means for single images.

    Agrawal, Carreira and Malik 2015, https://arxiv.org/abs/1505.01596

    Attributes:
      encoder: images -> maps [n, h', w', d].
      classes: number of classes of each component; none: no logits.
      top: channels of the convolutions, 3 x 3 with stride 2.
      hidden: units of the dense layer.
    """

    encoder: nn.Module
    classes: Sequence[int] = ()
    top: Sequence[int] = (64, 64)
    hidden: int = 128

    @nn.compact
    def __call__(self, pairs, train=False):
        n = len(pairs)
        maps = self.encoder(pairs.reshape(2 * n, *pairs.shape[2:]), train=train)
        both = maps.mean((1, 2)).reshape(n, 2, -1)
        _, h, w, d = maps.shape
        x = maps.reshape(n, 2, h, w, d).transpose(0, 2, 3, 1, 4).reshape(n, h, w, 2 * d)
        for i, width in enumerate(self.top):
            x = nn.Conv(width, (3, 3), (2, 2), use_bias=False, name=f"top{i}")(x)
            x = nn.relu(BatchNorm(name=f"top{i}_norm")(x, train))
        x = nn.Dense(self.hidden, use_bias=False, name="joint")(x.reshape(n, -1))
        joint = nn.relu(BatchNorm(name="joint_norm")(x, train))
        logits = [nn.Dense(k, name=f"head{i}")(joint) for i, k in enumerate(self.classes)]
        return {"logits": tuple(logits), "joint": joint, "h": both.mean(1), "both": both}

    def encode(self, images, train=False):
        return self.encoder(images, train=train).mean((1, 2))

    def filters(self, train=False):
        return self.encoder.filters()


class PairsAndPoses(nn.Module):
    """(pairs [n, 2, h, w, c], motion [n, k]) -> embeddings of both modalities.

    "z/pair" and "z/pose" [n, width], and the outputs of `pairs`.

    Attributes:
      pairs: a `SiamesePairs`.
      width: of the embeddings.
      hidden: units of the hidden layer of the motion's network.
    """

    pairs: SiamesePairs
    width: int = 32
    hidden: int = 64

    @nn.compact
    def __call__(self, pairs, motion, train=False):
        out = self.pairs(pairs, train=train)
        x = nn.relu(nn.Dense(self.hidden, name="pose0")(motion))
        pose = nn.Dense(self.width, name="pose1")(x)
        return out | {
            "z/pair": nn.Dense(self.width, name="project")(out["joint"]),
            "z/pose": pose,
        }

    def encode(self, images, train=False):
        return self.pairs.encode(images, train=train)

    def filters(self, train=False):
        return self.pairs.filters()


class PairClassifier(nn.Module):
    """Pairs [n, 2, h, w, c] -> {"logits": [n, classes], "h": [n, hidden]}.

    A linear classifier on the joint features of a `SiamesePairs`.

    Attributes:
      pairs: a `SiamesePairs`.
      classes: number of classes.
    """

    pairs: SiamesePairs
    classes: int

    @nn.compact
    def __call__(self, pairs, train=False):
        h = self.pairs(pairs, train=train)["joint"]
        return {"logits": nn.Dense(self.classes, name="head")(h), "h": h}

    def filters(self, train=False):
        return self.pairs.filters()
