r"""Cross-modal losses: image and caption, or video clip and narration.

CLIP classifies the caption of each image and the image of each caption; SigLIP
classifies every pair on its own as matching or not; MIL-NCE matches a clip to a bag of
narrations of which some may be right. Cross and Learn compares appearance and motion.

With `axis_name`, under `pmap` or `shard_map`, the batch is that of all devices.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, ScalarLike

from jssl.ops.chunked import row_logsumexp
from jssl.ops.explicit import compares_rows
from jssl.ops.gather import gather, global_rows, pmean
from jssl.ops.precision import widen
from jssl.ops.shapes import expect
from jssl.ops.vectors import dots, unit


@compares_rows
def clip(
    images: Float[Array, "n d"],
    texts: Float[Array, "n d"],
    logit_scale: ScalarLike,
    axis_name: str | None = None,
    chunk: int | None = None,
) -> Float[Array, ""]:
    r"""CLIP: cross entropy of the matching text of each image, and vice versa.

    .. math:: -\frac{1}{2n} \sum_i \log \mathrm{softmax}_j(\ell_{ij})_i
              + \log \mathrm{softmax}_j(\ell_{ji})_i,
              \qquad \ell_{ij} = \text{scale} \cdot s(x_i, y_j)

    `logit_scale` multiplies the cosine: it is 1 / temperature, not a logarithm. Learn
    its logarithm, initialized to log(1 / 0.07) and clipped at log 100. `chunk` splits the
    candidates on either side: see `jssl.ops.chunked`.

    Radford et al. 2021, figure 3. https://arxiv.org/abs/2103.00020

    Raises:
      ValueError: when shapes differ.

    >>> z = jnp.eye(2)
    >>> print(f"{clip(z, z, logit_scale=1.0):.4f}")    # log(1 + 1/e)
    0.3133
    """
    expect("clip", images=(images, "n d"), texts=(texts, "n d"))
    images, texts = map(unit, widen(images, texts))
    scale = jnp.asarray(logit_scale).astype(images.dtype)
    positive = (scale * images * texts).sum(-1)
    by_image = row_logsumexp(scale * images, gather(texts, axis_name), chunk=chunk)
    by_text = row_logsumexp(scale * texts, gather(images, axis_name), chunk=chunk)
    return pmean(((by_image + by_text) / 2 - positive).mean(), axis_name)


@compares_rows
def siglip(
    images: Float[Array, "n d"],
    texts: Float[Array, "n d"],
    logit_scale: ScalarLike,
    bias: ScalarLike,
    axis_name: str | None = None,
) -> Float[Array, ""]:
    r"""SigLIP: binary cross entropy of each image-text pair, matching or not.

    .. math:: \frac{1}{n} \sum_{ij} \log(1 + e^{-y_{ij} \ell_{ij}}), \qquad
              \ell_{ij} = \text{scale} \cdot s(x_i, y_j) + \text{bias},
              \quad y_{ij} = \pm 1

    Summed over pairs, divided by n. `logit_scale` is a factor, not a logarithm. The
    paper initializes scale to 10 and bias to -10, because most pairs do not match.

    Zhai et al. 2023, eq. 1. https://arxiv.org/abs/2303.15343

    Raises:
      ValueError: when shapes differ.

    >>> z = jnp.eye(2)
    >>> loss = siglip(z, z, logit_scale=10.0, bias=-10.0)
    >>> print(f"{loss:.4f}")    # log 2 where they match, else log(1 + e^-10)
    0.6932
    """
    expect("siglip", images=(images, "n d"), texts=(texts, "n d"))
    images, texts = map(unit, widen(images, texts))
    scale, bias = (jnp.asarray(x).astype(images.dtype) for x in (logit_scale, bias))
    logits = dots(scale * images, gather(texts, axis_name)) + bias  # [n, N]
    match = global_rows(len(images), axis_name)[:, None] == _columns(logits)
    nats = jax.nn.softplus(jnp.where(match, -logits, logits))
    return pmean(nats.sum(-1).mean(), axis_name)


@compares_rows
def mil_nce(
    videos: Float[Array, "n d"],
    captions: Float[Array, "n p d"],
    paper: bool = True,
    axis_name: str | None = None,
) -> Float[Array, ""]:
    r"""MIL-NCE: InfoNCE with a bag of p candidate captions per video as positives.

    .. math:: -\frac{1}{n} \sum_i \log \frac{\sum_p e^{x_i \cdot y_{ip}}}
              {\sum_p e^{x_i \cdot y_{ip}} + \sum_{j \neq i, p} e^{x_i \cdot y_{jp}}
               + \sum_{j \neq i, p} e^{x_j \cdot y_{ip}}}

    The captions of a video are the p nearest in time. Similarities are plain inner
    products, without a temperature. `paper=False` counts the positives twice in the
    denominator, as the released code does. With n = 1 it is 0 (log 2 as released).

    Miech et al. 2020, eq. 1. https://arxiv.org/abs/1912.06430

    Raises:
      ValueError: when shapes differ.

    >>> print(f"{mil_nce(jnp.zeros((2, 4)), jnp.zeros((2, 5, 4))):.4f}")    # log 3
    1.0986
    """
    expect("mil_nce", videos=(videos, "n d"), captions=(captions, "n p d"))
    videos, captions = widen(videos, captions)
    everywhere = gather(captions, axis_name)  # [N, p, d]
    everyone = gather(videos, axis_name)  # [N, d]
    mine = jnp.einsum("id,jpd->ijp", videos, everywhere, precision="highest")
    theirs = jnp.einsum("jd,ipd->ijp", everyone, captions, precision="highest")
    match = global_rows(len(videos), axis_name)[:, None] == _columns(mine)
    match = jnp.broadcast_to(match[..., None], mine.shape)
    positive = jax.nn.logsumexp(mine, (1, 2), where=match)
    theirs = jnp.where(match & paper, -jnp.inf, theirs)
    total = jax.nn.logsumexp(jnp.concatenate([mine, theirs], -1), (1, 2))
    return pmean((total - positive).mean(), axis_name)


@compares_rows
def cross_and_learn(
    rgb: Float[Array, "n d"],
    flow: Float[Array, "n d"],
    weight: float | int = 0.5,
    axis_name: str | None = None,
) -> Float[Array, ""]:
    r"""Cross and Learn: modalities of a clip agree, other clips differ in either modality.

    .. math:: \frac{1}{n (n - 1)} \sum_{i \ne j} (1 - w) \big(s(a_i, a_j) + s(b_i, b_j)\big)
              - w \big(s(a_i, b_i) + s(a_j, b_j)\big)

    with the cosine s, over all pairs of clips. For w = 1/2 it lies in [-2, 2]: -1 where
    modalities agree and clips are orthogonal, 0 where all are equal. A clip alone has its
    agreement only.

    Sayed, Brattoli and Ommer 2018, section 3.2. https://arxiv.org/abs/1811.03879

    Args:
      rgb: a, embeddings of appearance.
      flow: b, embeddings of motion.
      weight: w, of the agreement.
      axis_name: devices whose clips are compared, too.

    Raises:
      ValueError: when shapes differ or w is not in [0, 1].

    >>> z = jnp.eye(2)
    >>> print(f"{cross_and_learn(z, z):.4f}")
    -1.0000
    """
    expect("cross_and_learn", rgb=(rgb, "n d"), flow=(flow, "n d"))
    if not 0 <= weight <= 1:
        raise ValueError(f"cross_and_learn: weight must be in [0, 1], got {weight}")
    a, b = map(unit, widen(rgb, flow))
    count = len(gather(a, axis_name))

    def others(z):
        """The mean cosine with the other clips, [n]."""
        total = (z * gather(z, axis_name).sum(0)).sum(-1)
        return (total - (z * z).sum(-1)) / max(count - 1, 1)

    agreement = (a * b).sum(-1)
    each = (1 - weight) * (others(a) + others(b)) - 2 * weight * agreement
    return pmean(each.mean(), axis_name)


def _columns(logits):
    return jnp.arange(logits.shape[1])[None]
