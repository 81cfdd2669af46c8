r"""Mixup and CutMix: training images mixed from two, with soft labels.

Mixup blends two images, CutMix pastes a box of one into the other. With $\lambda \sim
\mathrm{Beta}(\alpha, \alpha)$ drawn once per batch, and $x'$ another image of the batch,

$$ \tilde x = M x + (1 - M) x', \quad \tilde y = \bar M y + (1 - \bar M) y', $$

where M is $\lambda$ everywhere (mixup), or 0 in a box of area $1 - \lambda$ and 1 around
it (CutMix), and $\bar M$ is its mean.

- mixup: Zhang, Cisse, Dauphin, Lopez-Paz, ICLR 2018, https://arxiv.org/abs/1710.09412
- cutmix: Yun, Han, Oh, Chun, Choe, Yoo, ICCV 2019, https://arxiv.org/abs/1905.04899
"""

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, PRNGKeyArray, Shaped

from jssl.ops.shapes import expect
from jssl.views.batch import Images, float_images

Mixed = tuple[Shaped[Array, "n h w c"], Float[Array, "n k"]]


def mixup(
    key: PRNGKeyArray, images: Images, targets: Shaped[Array, "n k"], alpha: float = 0.8
) -> Mixed:
    """Mixup: blends each image with another, x <- lam x + (1 - lam) x'; targets likewise.

    The other image is taken from the reversed batch, as in timm: a shuffled batch needs
    no permutation.

    Args:
      key: random key of lam, one per batch.
      images: float [n, h, w, c].
      targets: float [n, k], class probabilities such as one-hot labels.
      alpha: parameter of the Beta distribution; 0.8 in MAE's fine-tuning.

    Returns:
      Images and targets, without gradients. Rows of targets still sum to 1.

    Raises:
      ValueError: for arrays of other dtypes or shapes, or alpha <= 0.

    >>> x, y = mixup(jax.random.key(0), jnp.ones((2, 4, 4, 3)), jnp.eye(2))
    >>> x.shape, y.sum(1).tolist()
    ((2, 4, 4, 3), [1.0, 1.0])
    """
    _check("mixup", images, targets, alpha)
    return _blend(images, targets, _mixup_mask(key, images, alpha))


def cutmix(
    key: PRNGKeyArray, images: Images, targets: Shaped[Array, "n k"], alpha: float = 1.0
) -> Mixed:
    """CutMix: pastes a box of another image into each image, at the same position.

    The box has the image's aspect ratio, area 1 - lam and a uniform center, and is clipped
    at the border; lam in the targets is the fraction of the image that remains. Otherwise
    like `mixup`.

    >>> x, y = cutmix(jax.random.key(0), jnp.ones((2, 4, 4, 3)), jnp.eye(2))
    >>> x.shape, y.sum(1).tolist()
    ((2, 4, 4, 3), [1.0, 1.0])
    """
    _check("cutmix", images, targets, alpha)
    return _blend(images, targets, _cutmix_mask(key, images, alpha))


def mixup_or_cutmix(
    key: PRNGKeyArray,
    images: Images,
    targets: Shaped[Array, "n k"],
    mixup_alpha: float = 0.8,
    cutmix_alpha: float = 1.0,
    switch: float = 0.5,
) -> Mixed:
    """CutMix with probability `switch`, else mixup, for the whole batch.

    The defaults are those of MAE's fine-tuning (He et al., CVPR 2022,
    https://arxiv.org/abs/2111.06377). Apply label smoothing, if any, to `targets` first.
    """
    _check("mixup_or_cutmix", images, targets, min(mixup_alpha, cutmix_alpha))
    coin, blend, cut = jax.random.split(key, 3)
    mask = jnp.where(
        jax.random.bernoulli(coin, switch),
        _cutmix_mask(cut, images, cutmix_alpha),
        _mixup_mask(blend, images, mixup_alpha),
    )
    return _blend(images, targets, mask)


def _check(function, images, targets, alpha):
    float_images(function, images)
    if not jnp.issubdtype(targets.dtype, jnp.floating):
        raise ValueError(
            f"{function}: targets must be class probabilities, float [n, k], got "
            f"{targets.dtype}{list(targets.shape)}: use jax.nn.one_hot for labels"
        )
    expect(function, images=(images, "n h w c"), targets=(targets, "n k"))
    if alpha <= 0:
        raise ValueError(f"{function}: alpha must be positive, got {alpha}")


def _mixup_mask(key, images, alpha):
    lam = jax.random.beta(key, alpha, alpha, dtype=jnp.float32)
    return jnp.full(images.shape[1:3], lam)  # [h, w]


def _cutmix_mask(key, images, alpha):
    share, where = jax.random.split(key)
    lam = jax.random.beta(share, alpha, alpha, dtype=jnp.float32)
    outside = []
    for size, u in zip(images.shape[1:3], jax.random.uniform(where, (2,)), strict=True):
        length = jnp.floor(size * jnp.sqrt(1 - lam))
        start = jnp.floor(u * size) - jnp.floor(length / 2)
        pixel = jnp.arange(size)
        outside.append((pixel < start) | (start + length <= pixel))
    rows, columns = outside
    return (rows[:, None] | columns).astype(jnp.float32)  # [h, w]


def _blend(images, targets, mask):
    mixed = []
    for x, keep in ((images, mask[..., None]), (targets, mask.mean())):
        keep = keep.astype(x.dtype)
        mixed.append(lax.stop_gradient(keep * x + (1 - keep) * x[::-1]))
    return tuple(mixed)
