r"""Siamese losses without negatives: one branch predicts the other's features.

The prediction p regresses on a target z through which no gradient flows:

.. math:: D(p, z) = -\frac{1}{n} \sum_i
          \frac{p_i}{\lVert p_i \rVert} \cdot \frac{z_i}{\lVert z_i \rVert}

Constant features reach the minimum, so collapse does not show in the loss: monitor the
standard deviation of the features. Chen and He 2021, https://arxiv.org/abs/2011.10566.

These are means over samples: under `pmap` and `shard_map`, take the `pmean` of them.
Losses whose number of terms may differ between devices have an `axis_name`.
"""

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, ScalarLike, Shaped

from jssl.losses.contrastive import info_nce
from jssl.ops.explicit import compares_rows
from jssl.ops.gather import psum
from jssl.ops.memory import nearest
from jssl.ops.precision import widen
from jssl.ops.shapes import expect
from jssl.ops.vectors import cosine, layer_norm, unit


def negative_cosine(p: Float[Array, "*n d"], z: Float[Array, "*n d"]) -> Float[Array, ""]:
    r"""SimSiam: minus the cosine of the prediction p and the target z.

    .. math:: D(p, z) = -\mathrm{mean}_i \, s(p_i, z_i)

    SimSiam's loss is the mean of both directions, (D(p1, z2) + D(p2, z1)) / 2. No
    gradient flows through z.

    Chen and He 2021, eq. 1. https://arxiv.org/abs/2011.10566

    Raises:
      ValueError: when shapes differ.

    >>> p, z = jnp.array([[3.0, 4.0]]), jnp.array([[0.0, 2.0]])
    >>> print(f"{negative_cosine(p, z):.1f}")    # -8 / (5 * 2)
    -0.8
    """
    p, z = _alike("negative_cosine", p=p, z=z)
    return -cosine(p, lax.stop_gradient(z)).mean()


def byol_regression(p: Float[Array, "*n d"], z: Float[Array, "*n d"]) -> Float[Array, ""]:
    r"""BYOL: squared distance of the normalized prediction p and target z.

    .. math:: \mathrm{mean}_i \left\lVert \hat p_i - \hat z_i \right\rVert^2
              = 2 + 2 D(p, z)

    BYOL's loss is the sum of both directions, from 0 to 8. No gradient flows through z.

    Grill et al. 2020, eq. 2. https://arxiv.org/abs/2006.07733

    Raises:
      ValueError: when shapes differ.

    >>> p, z = jnp.array([[3.0, 4.0]]), jnp.array([[0.0, 2.0]])
    >>> print(f"{byol_regression(p, z):.1f}")    # 2 - 2 * 0.8
    0.4
    """
    p, z = _alike("byol_regression", p=p, z=z)
    return jnp.square(unit(p) - unit(lax.stop_gradient(z))).sum(-1).mean()


@compares_rows
def nnclr(
    z: Float[Array, "n d"],
    p: Float[Array, "n d"],
    queue: Float[Array, "k d"],
    temperature: ScalarLike = 0.1,
    axis_name: str | None = None,
    chunk: int | None = None,
) -> Float[Array, ""]:
    r"""NNCLR: InfoNCE of predictions with nearest neighbors of the other view.

    .. math:: -\log \frac{\exp(s(\mathrm{nn}_i, p_i) / \tau)}
                         {\sum_k \exp(s(\mathrm{nn}_i, p_k) / \tau)}, \qquad
              \mathrm{nn}_i = \arg\max_{q \in Q} s(q, z_i)

    averaged over samples. No gradient flows through z and the queue Q. The paper's loss
    is the mean of both directions; push the first view's projections to the queue only
    afterwards, or each is its own neighbor. The queue must be the same on all devices.

    Dwibedi et al. 2021, eq. 4. https://arxiv.org/abs/2104.14548

    Raises:
      ValueError: when shapes differ.

    >>> z = jnp.eye(3)
    >>> loss = nnclr(0.5 * z, z, queue=z, temperature=1.0)
    >>> print(f"{loss:.4f}")    # each finds itself: log(1 + 2/e)
    0.5514
    """
    expect("nnclr", z=(z, "n d"), p=(p, "n d"), queue=(queue, "k d"))
    z, p, queue = widen(z, p, queue)
    neighbors, _ = nearest(lax.stop_gradient(queue), lax.stop_gradient(z))
    return info_nce(neighbors, p, None, temperature, axis_name, chunk)


def data2vec_targets(layers: Float[Array, "k n t d"]) -> Float[Array, "n t d"]:
    r"""data2vec's targets: the average of the teacher's top k layers, normalized.

    .. math:: y = \mathrm{LN}\Big( \frac{1}{k} \sum_l \mathrm{LN}(a_l) \Big)

    LN is layer normalization without parameters. The inner one prevents layers with
    large activations from dominating the target. No gradient flows through the targets.

    Baevski et al. 2022, section 3.3. https://arxiv.org/abs/2202.03555

    Raises:
      ValueError: when `layers` is not float[k, n, t, d].

    >>> print(data2vec_targets(jnp.array([1.0, 3.0]).reshape(1, 1, 1, 2)).round(2))
    [[[-1.  1.]]]
    """
    expect("data2vec_targets", layers=(layers, "k n t d"))
    (layers,) = widen(layers)
    return lax.stop_gradient(layer_norm(layer_norm(layers).mean(0)))


def data2vec(
    p: Float[Array, "n t d"],
    targets: Float[Array, "n t d"],
    mask: Shaped[Array, "n t"],
    beta: float | None = 2.0,
    axis_name: str | None = None,
) -> Float[Array, ""]:
    r"""data2vec: smooth L1 distance to the teacher's features at masked tokens.

    .. math:: \frac{1}{\sum m} \sum_{it} m_{it} \frac{1}{\sqrt d} \sum_j
              \ell_\beta(p_{itj} - y_{itj}), \qquad \ell_\beta(x) =
              \begin{cases} x^2 / 2 \beta & |x| < \beta \\
                            |x| - \beta / 2 & \text{else} \end{cases}

    beta is 2 for images, 4 for text, None (x squared) for speech. `mask` is 1 or True
    at masked tokens; with none masked the loss is 0. Targets come from
    `data2vec_targets` and get no gradient. The number of masked tokens may differ
    between devices: with `axis_name` the mean is over all of them.

    Baevski et al. 2022, eq. 2. https://arxiv.org/abs/2202.03555

    Raises:
      ValueError: when shapes differ, or beta is negative.

    >>> p, y = jnp.array([[[4.0, 1.0, 0.0, 0.0]]]), jnp.zeros((1, 1, 4))
    >>> print(data2vec(p, y, jnp.ones((1, 1))))    # (4 - 2/2 + 1/4) / sqrt(4)
    1.625
    """
    expect(
        "data2vec",
        p=(p, "n t d"),
        targets=(targets, "n t d"),
        mask=(mask, "n t", "any"),
    )
    p, targets, mask = widen(p, targets, mask)
    error = _smooth_l1(p - lax.stop_gradient(targets), beta).sum(-1)
    error = error / p.shape[-1] ** 0.5  # [n, t]
    total, count = psum(((error * mask).sum(), mask.sum()), axis_name)
    return total / jnp.where(count > 0, count, 1)


def i_jepa(
    p: Float[Array, "*n d"],
    targets: Float[Array, "*n d"],
    beta: float | None = 1.0,
    mask: Shaped[Array, "..."] | None = None,
) -> Float[Array, ""]:
    r"""I-JEPA: smooth L1 distance to the target encoder's normalized tokens.

    .. math:: \mathrm{mean} \; \ell_\beta(p - \mathrm{LN}(h))

    over all predicted tokens and features, \(\ell_\beta\) as in `data2vec`. `targets`
    is h, the target encoder's tokens at the predicted positions; they are normalized
    here, without parameters, and get no gradient. beta = None is the squared error of the
    paper's text; beta = 1 is the authors' code. With `mask`, which broadcasts to the shape
    of the tokens, the mean is over tokens where it is 1 or True: blocks of several sizes
    are padded to the largest.

    Assran et al. 2023, section 3. https://arxiv.org/abs/2301.08243

    Raises:
      ValueError: when shapes differ, the mask does not broadcast, or beta is negative.

    >>> p, h = jnp.array([[0.0, 0.0]]), jnp.array([[5.0, 7.0]])
    >>> print(f"{i_jepa(p, h):.4f}")    # targets -1 and 1, off by 1 each: 1 - 1/2
    0.5000
    """
    p, targets = _alike("i_jepa", p=p, targets=targets)
    error = _smooth_l1(p - layer_norm(lax.stop_gradient(targets)), beta)
    if mask is None:
        return error.mean()
    axes = zip(mask.shape[::-1], p.shape[-2::-1], strict=False)
    if mask.ndim >= p.ndim or any(size not in (1, whole) for size, whole in axes):
        raise ValueError(
            f"i_jepa: mask must broadcast to the tokens {p.shape[:-1]}, got {mask.shape}"
        )
    mask = jnp.broadcast_to(mask, error.shape[:-1]).astype(error.dtype)
    count = mask.sum()
    return (error.mean(-1) * mask).sum() / jnp.where(count > 0, count, 1)


def _smooth_l1(x, beta):
    if beta is None:
        return jnp.square(x)
    if beta < 0:
        raise ValueError(f"beta must be positive, 0 (absolute) or None, got {beta}")
    size = jnp.abs(x)
    if beta == 0:
        return size
    return jnp.where(size < beta, jnp.square(x) / (2 * beta), size - beta / 2)


def _alike(function, **arrays):
    """Both arrays widened, after a check that they are float[..., d] of one shape."""
    axes = max(map(jnp.ndim, arrays.values()))
    shape = " ".join([*(f"n{i}" for i in range(1, axes)), "d"])
    expect(function, **{name: (x, shape) for name, x in arrays.items()})
    return widen(*arrays.values())
