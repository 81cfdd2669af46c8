"""Measures of representation collapse, without labels.

Complete collapse: all rows are one point. Dimensional collapse: they vary in a few
directions only. L. Jing, P. Vincent, Y. LeCun, Y. Tian, "Understanding Dimensional Collapse
in Contrastive Self-supervised Learning", ICLR 2022, https://arxiv.org/abs/2110.09348

All are functions of rows z [n, d], in float64; u are the rows of z scaled to length 1.
"""

import numpy as np
from jaxtyping import Float


def feature_std(z: Float[np.ndarray, "n d"]) -> float:
    """Mean over channels of the standard deviation of u.

    0 if all rows have the same direction; 1 / sqrt(d) at most, for rows spread uniformly
    over the sphere. X. Chen, K. He, CVPR 2021, https://arxiv.org/abs/2011.10566, figure 2.

    Raises:
      ValueError: z is not [n, d] with n > 1, or not finite.

    >>> print(feature_std(np.array([[3.0, 0.0], [-2.0, 0.0]])))  # deviations 1 and 0
    0.5
    """
    return float(_unit(_rows("feature_std", z)).std(axis=0).mean())


def resultant(z: Float[np.ndarray, "n d"]) -> float:
    """Mean resultant length |mean of u|: 1 for one direction, ~1 / sqrt(n) if uniform.

    >>> print(resultant(np.array([[3.0, 0.0], [0.0, 2.0]])))  # |(1/2, 1/2)|
    0.7071067811865476
    """
    return float(np.linalg.norm(_unit(_rows("resultant", z)).mean(axis=0)))


def singular_values(
    z: Float[np.ndarray, "n d"], *, center: bool = True
) -> Float[np.ndarray, " k"]:
    """Singular values of z, largest first; z is centered by default.

    k = min(n, d), or min(n - 1, d) if centered: n centered rows have rank n - 1 at most.

    >>> print(singular_values(np.array([[0.0, 1.0, 0.0], [2.0, 1.0, 0.0]])))  # (-1, 0, 0)
    [1.41421356]
    """
    z = _rows("singular_values", z)
    if not center:
        return np.linalg.svd(z, compute_uv=False)
    return np.linalg.svd(z - z.mean(axis=0), compute_uv=False)[: len(z) - 1]


def rankme(z: Float[np.ndarray, "n d"], *, eps: float = 1e-7) -> float:
    """RankMe: exp of the entropy of the normalized singular values of uncentered z.

        p_k = s_k / sum_j s_j + eps,    exp(-sum_k p_k log p_k)

    It ranks runs of one method and one width, with many more rows than channels.
    Q. Garrido et al., ICML 2023, https://arxiv.org/abs/2210.02885

    >>> print(f"{rankme(np.diag([2.0, 1.0])):.4f}")  # exp of the entropy of (2/3, 1/3)
    1.8899
    """
    return _perplexity(singular_values(z, center=False), eps)


def effective_rank(z: Float[np.ndarray, "n d"]) -> float:
    """exp of the entropy of the normalized eigenvalues of the covariance; 0 if constant.

    O. Roy, M. Vetterli, "The effective rank", EUSIPCO 2007.

    >>> z = np.array([[2.0, 0.0], [-2.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
    >>> print(f"{effective_rank(z):.4f}")  # eigenvalues 4 : 1
    1.6494
    """
    values = singular_values(z) ** 2
    # Centered constant rows are rounding errors, which would have a high rank.
    if values.sum() <= len(z) * np.square(1e-6 * np.abs(z).max()):
        return 0.0
    return _perplexity(values, 0.0)


def participation_ratio(z: Float[np.ndarray, "n d"]) -> float:
    """(sum of eigenvalues)^2 / sum of their squares, of the covariance; 0 if constant.

    >>> z = np.array([[2.0, 0.0], [-2.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
    >>> print(f"{participation_ratio(z):.4f}")  # (4 + 1)^2 / (16 + 1)
    1.4706
    """
    values = singular_values(z) ** 2
    return float(values.sum() ** 2 / max((values**2).sum(), np.finfo(float).tiny))


def alignment(
    a: Float[np.ndarray, "n d"], b: Float[np.ndarray, "n d"], *, alpha: float = 2.0
) -> float:
    """Alignment, mean |u_a - u_b|^alpha over pairs: 0 if both views are one point.

    T. Wang, P. Isola, ICML 2020, https://arxiv.org/abs/2005.10242

    Raises:
      ValueError: a and b are not of one shape.

    >>> print(alignment(np.eye(2), -np.eye(2)))  # opposite points are 2 apart
    4.0
    """
    a, b = _rows("alignment", a), _rows("alignment", b)
    if a.shape != b.shape:
        raise ValueError(f"alignment needs pairs, got {list(a.shape)} and {list(b.shape)}")
    gap = np.linalg.norm(_unit(a) - _unit(b), axis=1)
    return float((gap**alpha).mean())


def uniformity(z: Float[np.ndarray, "n d"], *, t: float = 2.0) -> float:
    """Uniformity, log mean exp(-t |u_i - u_j|^2) over pairs: 0 if all are one point.

    T. Wang, P. Isola, ICML 2020, https://arxiv.org/abs/2005.10242

    >>> print(f"{uniformity(np.array([[1.0, 0.0], [-3.0, 0.0]])):.4f}")  # -2 * 2^2
    -8.0000
    """
    u = _unit(_rows("uniformity", z))
    squared = np.maximum(2 - 2 * u @ u.T, 0)[np.triu_indices(len(u), 1)]
    low = squared.min()
    return float(-t * low + np.log(np.exp(-t * (squared - low)).mean()))


def uniformity_sphere(d: int, t: float = 2.0) -> float:
    """`uniformity` of the uniform distribution on the sphere: -2 t + log 0F1(; d/2; t^2).

    >>> print(f"{uniformity_sphere(2):.4f} {uniformity_sphere(128):.4f}")
    -1.5750 -3.9375
    """
    from scipy.special import hyp0f1

    return float(-2 * t + np.log(hyp0f1(d / 2, t * t)))


def usage(logits: Float[np.ndarray, "n k"]) -> tuple[float, float]:
    """Effective numbers of prototypes (or classes): used overall, and per row.

    Returns:
      exp H(mean of p) and exp of the mean of H(p), with p the softmax of each row: (k, 1)
      for balanced, confident assignments; (1, 1) if all rows choose the same prototype;
      (k, k) if all rows are uniform.

    >>> print(usage(np.array([[50.0, 0.0], [0.0, 50.0]])))
    (2.0, 1.0)
    """
    logits = _rows("usage", logits)
    p = np.exp(logits - logits.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    return float(np.exp(_entropy(p.mean(0)))), float(np.exp(_entropy(p).mean()))


def _entropy(p):
    return -(p * np.log(np.where(p > 0, p, 1))).sum(axis=-1)


def _perplexity(values, eps):
    p = values / max(values.sum(), np.finfo(float).tiny) + eps
    return float(np.exp(_entropy(p)))


def _unit(z):
    return z / np.maximum(np.linalg.norm(z, axis=1, keepdims=True), 1e-12)


def _rows(function, z):
    z = np.asarray(z, np.float64)
    if z.ndim != 2 or len(z) < 2 or not np.isfinite(z).all():
        raise ValueError(
            f"{function} needs finite rows [n, d], two or more, got {list(z.shape)}"
        )
    return z
