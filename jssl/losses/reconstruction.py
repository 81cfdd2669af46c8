r"""Reconstruction losses of autoencoders and masked prediction.

An autoencoder reconstructs its input from a narrow, sparse or noisy code; its loss

.. math:: \frac{1}{n} \sum_i \sum_j \ell(x_{ij}, \hat x_{ij})

sums over the entries of a sample and averages over samples. Masked prediction averages
over the masked entries alone.

Rumelhart, Hinton and Williams, "Learning internal representations by error
propagation", 1986; for the others see each function.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, ScalarLike, Shaped

from jssl.ops.divergences import soft_cross_entropy
from jssl.ops.explicit import compares_rows
from jssl.ops.means import masked_mean
from jssl.ops.precision import widen
from jssl.ops.shapes import expect
from jssl.ops.vectors import cosine


def squared_error(
    pred: Float[Array, "n *d"], target: Float[Array, "n *d"]
) -> Float[Array, ""]:
    r"""Squared error summed over the entries of a sample and averaged over samples.

    .. math:: \frac{1}{n} \sum_i \lVert \hat x_i - x_i \rVert^2

    Raises:
      ValueError: when shapes differ or an argument is not floating.

    >>> print(squared_error(jnp.zeros((1, 2)), jnp.array([[1.0, 2.0]])))  # 1 + 4
    5.0
    """
    shape = _samples(pred)
    expect("squared_error", pred=(pred, shape), target=(target, shape))
    pred, target = widen(pred, target)
    return _per_sample(jnp.square(pred - target)).mean()


def bernoulli_cross_entropy(
    logits: Float[Array, "n *d"], target: Float[Array, "n *d"]
) -> Float[Array, ""]:
    r"""Negative log likelihood of binary samples given logits s, in nats per sample.

    .. math:: \frac{1}{n} \sum_{ij} \log(1 + e^{s_{ij}}) - x_{ij} s_{ij}

    Targets between 0 and 1 count as probabilities; the loss is then a cross entropy
    whose minimum is their entropy, not 0.

    Raises:
      ValueError: when shapes differ or an argument is not floating.

    >>> loss = bernoulli_cross_entropy(jnp.zeros((1, 2)), jnp.array([[1.0, 0.0]]))
    >>> print(f"{loss:.4f}")    # 2 log 2
    1.3863
    """
    shape = _samples(logits)
    expect("bernoulli_cross_entropy", logits=(logits, shape), target=(target, shape))
    logits, target = widen(logits, target)
    return _per_sample(_cross_entropy(logits, target)).mean()


def emphasized_squared_error(
    pred: Float[Array, "n *d"],
    target: Float[Array, "n *d"],
    corrupted: Shaped[Array, "n *d"],
    alpha: ScalarLike = 1.0,
    beta: ScalarLike = 0.5,
) -> Float[Array, ""]:
    r"""Squared error of a denoising autoencoder, with weights for corrupted entries.

    .. math:: \frac{1}{n} \sum_i \Big[ \alpha \sum_{j \in J_i} (\hat x_{ij} - x_{ij})^2
              + \beta \sum_{j \notin J_i} (\hat x_{ij} - x_{ij})^2 \Big]

    `target` is the clean sample. `corrupted`, float or bool, is 1 on J, the entries
    *selected* for corruption, including those that kept their value. alpha = beta = 1 is
    the plain error, beta = 0 full emphasis.

    Vincent et al. 2010, "Stacked Denoising Autoencoders", JMLR 11, section 4.2.
    https://www.jmlr.org/papers/v11/vincent10a.html

    Raises:
      ValueError: when shapes differ or `pred` and `target` are not floating.

    >>> pred, target = jnp.zeros((1, 2)), jnp.array([[1.0, 2.0]])
    >>> print(emphasized_squared_error(pred, target, jnp.array([[1, 0]])))  # 1 + 4 / 2
    3.0
    """
    shape = _samples(pred)
    expect(
        "emphasized_squared_error",
        pred=(pred, shape),
        target=(target, shape),
        corrupted=(corrupted, shape, "any"),
    )
    pred, target, corrupted = widen(pred, target, corrupted)
    error = jnp.square(pred - target)
    return _per_sample(error * _emphasis(corrupted, alpha, beta)).mean()


def emphasized_cross_entropy(
    logits: Float[Array, "n *d"],
    target: Float[Array, "n *d"],
    corrupted: Shaped[Array, "n *d"],
    alpha: ScalarLike = 1.0,
    beta: ScalarLike = 0.5,
) -> Float[Array, ""]:
    r"""Cross entropy of a denoising autoencoder, with weights for corrupted entries.

    As `emphasized_squared_error`, with \(\log(1 + e^s) - x s\) in place of the square.

    Vincent et al. 2010, "Stacked Denoising Autoencoders", JMLR 11, section 4.2.
    https://www.jmlr.org/papers/v11/vincent10a.html

    Raises:
      ValueError: when shapes differ or `logits` and `target` are not floating.

    >>> loss = emphasized_cross_entropy(
    ...     jnp.zeros((1, 2)), jnp.ones((1, 2)), jnp.array([[True, False]])
    ... )
    >>> print(f"{loss:.4f}")    # 1.5 log 2
    1.0397
    """
    shape = _samples(logits)
    expect(
        "emphasized_cross_entropy",
        logits=(logits, shape),
        target=(target, shape),
        corrupted=(corrupted, shape, "any"),
    )
    logits, target, corrupted = widen(logits, target, corrupted)
    error = _cross_entropy(logits, target)
    return _per_sample(error * _emphasis(corrupted, alpha, beta)).mean()


def masked_patch_error(
    pred: Float[Array, "n l k"],
    target: Float[Array, "n l k"],
    mask: Shaped[Array, "n l"],
    axis_name: str | None = None,
) -> Float[Array, ""]:
    r"""Mean squared error of masked patches: MAE's loss.

    The mean over a patch's k values, then over masked patches, those with m = 1:

    .. math:: \frac{\sum_{il} m_{il} \frac{1}{k} \sum_j (\hat x_{ilj} - x_{ilj})^2}
                   {\sum_{il} m_{il}}

    Visible patches get no gradient. The mask is float or bool; with nothing masked the
    loss is 0. The number of masked patches may differ between devices: with `axis_name`
    both sums run over all of them.

    He et al. 2022, "Masked Autoencoders Are Scalable Vision Learners", section 3.
    https://arxiv.org/abs/2111.06377

    Raises:
      ValueError: when shapes differ or `pred` and `target` are not floating.

    >>> pred, target = jnp.zeros((1, 2, 2)), jnp.array([[[1.0, 3.0], [9.0, 9.0]]])
    >>> print(masked_patch_error(pred, target, jnp.array([[1.0, 0.0]])))  # (1 + 9) / 2
    5.0
    """
    expect(
        "masked_patch_error",
        pred=(pred, "n l k"),
        target=(target, "n l k"),
        mask=(mask, "n l", "any"),
    )
    pred, target, mask = widen(pred, target, mask)
    error = jnp.square(pred - target).mean(-1)  # [n, l]
    return masked_mean(error, mask, axis_name)


def scaled_cosine_error(
    pred: Float[Array, "n d"],
    target: Float[Array, "n d"],
    mask: Shaped[Array, " n"] | None = None,
    gamma: float | int = 3.0,
    axis_name: str | None = None,
) -> Float[Array, ""]:
    r"""Scaled cosine error (GraphMAE): (1 - cosine) ** gamma, averaged over masked nodes.

    .. math:: \frac{\sum_i m_i (1 - \cos(x_i, \hat x_i))^\gamma}{\sum_i m_i}

    It lies in [0, 2^gamma]. gamma > 1 down-weights easy nodes. `mask` is 1 (or True) at
    masked nodes; None averages over all. A vector of norm below 1e-12 has cosine 0 with
    any other, and no gradient.

    Hou et al. 2022, "GraphMAE", eq. 2. https://arxiv.org/abs/2205.10803

    Raises:
      ValueError: when shapes differ, an argument is not floating, or gamma < 1.

    >>> pred, target = jnp.array([[3.0, 0.0], [0.0, 1.0]]), jnp.array([[1.0, 0.0]] * 2)
    >>> print(scaled_cosine_error(pred, target))    # cosines 1 and 0: (0 + 1) / 2
    0.5
    """
    expect(
        "scaled_cosine_error",
        pred=(pred, "n d"),
        target=(target, "n d"),
        mask=(mask, "n", "any"),
    )
    if gamma < 1:
        raise ValueError(f"scaled_cosine_error: gamma must be at least 1, got {gamma}")
    mask = jnp.ones(len(pred), bool) if mask is None else mask
    pred, target, mask = widen(pred, target, mask)
    # Rounding may give a cosine over 1, and a negative base has no real power.
    error = jnp.maximum(1 - cosine(pred, target), 0) ** gamma  # [n]
    return masked_mean(error, mask, axis_name)


def rebalancing_weights(
    prior: Float[Array, " q"], mix: float | int = 0.5
) -> Float[Array, " q"]:
    r"""Class weights that emphasize rare colors, for `rebalanced_cross_entropy`.

    .. math:: w_q \propto \Big( (1 - \lambda) p_q + \frac{\lambda}{Q} \Big)^{-1},
              \qquad \sum_q p_q w_q = 1

    `prior` are the frequencies of the Q colors, which sum to 1; mix is lambda, and at 1
    all weights are 1.

    Zhang, Isola and Efros 2016, "Colorful Image Colorization", eq. 4.
    https://arxiv.org/abs/1603.08511

    Raises:
      ValueError: when `prior` is not a float vector, or mix is not in (0, 1].

    >>> rebalancing_weights(jnp.array([0.75, 0.25]))    # 1 / 0.625 : 1 / 0.375 = 3 : 5
    Array([0.85714287, 1.4285715 ], dtype=float32)
    """
    expect("rebalancing_weights", prior=(prior, "q"))
    if not 0 < mix <= 1:
        raise ValueError(f"rebalancing_weights: mix must lie in (0, 1], got {mix}")
    (prior,) = widen(prior)
    weights = 1 / ((1 - mix) * prior + mix / len(prior))
    return weights / (prior * weights).sum()


@compares_rows
def rebalanced_cross_entropy(
    logits: Float[Array, "n h w q"],
    target: Float[Array, "n h w q"],
    weights: Float[Array, " q"],
    colored: Shaped[Array, " n"] | None = None,
) -> Float[Array, ""]:
    r"""Cross entropy of each pixel's color class, with higher weights for rare colors.

    .. math:: -\frac{1}{n h w} \sum_{iyx} g_i \, w_{q^*(iyx)}
              \sum_q Z_{iyxq} \log \mathrm{softmax}(s_{iyx})_q,
              \qquad q^* = \arg\max_q Z_{iyxq}

    Z, the target, is a distribution over the colors nearest to the pixel's. `colored` is
    g: 0 excludes a grayscale image from the sum, but not from n.

    Zhang, Isola and Efros 2016, "Colorful Image Colorization", eq. 2 and 3.
    https://arxiv.org/abs/1603.08511

    Raises:
      ValueError: when shapes differ or an argument is not floating.

    >>> target = jnp.array([1.0, 0.0]).reshape(1, 1, 1, 2)
    >>> loss = rebalanced_cross_entropy(0 * target, target, jnp.array([2.0, 1.0]))
    >>> print(f"{loss:.4f}")    # 2 log 2
    1.3863
    """
    expect(
        "rebalanced_cross_entropy",
        logits=(logits, "n h w q"),
        target=(target, "n h w q"),
        weights=(weights, "q"),
        colored=(colored, "n", "any"),
    )
    gate = jnp.ones(len(logits), bool) if colored is None else colored
    logits, target, weights, gate = widen(logits, target, weights, gate)
    nats = soft_cross_entropy(logits, target)  # [n, h, w]
    return (nats * weights[target.argmax(-1)] * gate[:, None, None]).mean()


def _samples(x):
    """The shape of x for `expect`: one letter per axis, n first."""
    return " ".join(["n", *(f"d{i}" for i in range(1, jnp.ndim(x)))])


def _per_sample(x):
    """The sum over all axes but the first."""
    return x.reshape(len(x), -1).sum(-1)


def _cross_entropy(logits, target):
    return jax.nn.softplus(logits) - target * logits


def _emphasis(corrupted, alpha, beta):
    """alpha on J, beta elsewhere."""
    return alpha * corrupted + beta * (1 - corrupted)
