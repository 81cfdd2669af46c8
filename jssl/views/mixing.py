r"""Mixup and CutMix: training images mixed from two, with soft labels.

Mixup blends two images, CutMix pastes a box of one into the other. With $\lambda \sim
\mathrm{Beta}(\alpha, \alpha)$ drawn once per group of images, and $x'$ another image of the
group,

$$ \tilde x = M x + (1 - M) x', \quad \tilde y = \bar M y + (1 - \bar M) y', $$

where M is $\lambda$ everywhere (mixup), or 0 in a box of area $1 - \lambda$ and 1 around
it (CutMix), and $\bar M$ is its mean. A group is the whole batch, or, as in released code
that mixes on each GPU, `group` consecutive rows: 32 in MAE's fine-tuning.

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
    key: PRNGKeyArray,
    images: Images,
    targets: Shaped[Array, "n k"],
    alpha: float = 0.8,
    group: int | None = None,
) -> Mixed:
    """Mixup: blends each image with another, x <- lam x + (1 - lam) x'; targets likewise.

    The other image is taken from the reversed group, as in timm: a shuffled batch needs
    no permutation.

    Args:
      key: random key of lam, one per group.
      images: float [n, h, w, c].
      targets: float [n, k], class probabilities such as one-hot labels.
      alpha: parameter of the Beta distribution; 0.8 in MAE's fine-tuning.
      group: rows that share a draw and are mixed with each other; None, or n and more: all.

    Returns:
      Images and targets, without gradients. Rows of targets still sum to 1.

    Raises:
      ValueError: for arrays of other dtypes or shapes, alpha <= 0, or a group that does not
        divide the rows.

    >>> x, y = mixup(jax.random.key(0), jnp.ones((2, 4, 4, 3)), jnp.eye(2))
    >>> x.shape, y.sum(1).tolist()
    ((2, 4, 4, 3), [1.0, 1.0])
    """
    _check("mixup", images, targets, alpha)
    draw = lambda key: _mixup_mask(key, images, alpha)
    return _mix("mixup", key, images, targets, draw, group)


def cutmix(
    key: PRNGKeyArray,
    images: Images,
    targets: Shaped[Array, "n k"],
    alpha: float = 1.0,
    group: int | None = None,
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
    draw = lambda key: _cutmix_mask(key, images, alpha)
    return _mix("cutmix", key, images, targets, draw, group)


def mixup_or_cutmix(
    key: PRNGKeyArray,
    images: Images,
    targets: Shaped[Array, "n k"],
    mixup_alpha: float = 0.8,
    cutmix_alpha: float = 1.0,
    switch: float = 0.5,
    group: int | None = None,
) -> Mixed:
    """CutMix with probability `switch`, else mixup, for each group of rows, as in `mixup`.

    The defaults are those of MAE's fine-tuning (He et al., CVPR 2022,
    https://arxiv.org/abs/2111.06377), whose code has groups of 32, the batch of a GPU.
    Apply label smoothing, if any, to `targets` first.

    >>> images, targets = jnp.ones((4, 4, 4, 3)), jnp.eye(4)
    >>> _, y = mixup_or_cutmix(jax.random.key(0), images, targets, group=2)
    >>> (y > 0).astype(int).tolist()  # rows 0 and 1, rows 2 and 3
    [[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 1], [0, 0, 1, 1]]
    """
    _check("mixup_or_cutmix", images, targets, min(mixup_alpha, cutmix_alpha))

    def draw(key):
        coin, blend, cut = jax.random.split(key, 3)
        return jnp.where(
            jax.random.bernoulli(coin, switch),
            _cutmix_mask(cut, images, cutmix_alpha),
            _mixup_mask(blend, images, mixup_alpha),
        )

    return _mix("mixup_or_cutmix", key, images, targets, draw, group)


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


def _mix(function, key, images, targets, draw, group):
    """Mixes within groups of rows, each with a mask of its own, draw(key) -> [h, w]."""
    n = len(images)
    if group is None or group >= n:
        return _blend(images, targets, draw(key))
    if group < 1 or n % group:
        raise ValueError(
            f"{function}: group must divide the {n} rows of the batch, got {group}"
        )
    split = lambda x: x.reshape(n // group, group, *x.shape[1:])
    keys = jax.random.split(key, n // group)
    mixed = jax.vmap(lambda key, x, y: _blend(x, y, draw(key)))(
        keys, split(images), split(targets)
    )
    return tuple(x.reshape(n, *x.shape[2:]) for x in mixed)


def _blend(images, targets, mask):
    mixed = []
    for x, keep in ((images, mask[..., None]), (targets, mask.mean())):
        keep = keep.astype(x.dtype)
        mixed.append(lax.stop_gradient(keep * x + (1 - keep) * x[::-1]))
    return tuple(mixed)
