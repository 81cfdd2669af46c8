"""Targets for unlabeled samples, derived from a network's own predictions.

Predictions are sharpened (MixMatch), converted to labels where they are confident
(pseudo-labels, FixMatch), or aligned with the expected class frequencies (ReMixMatch).
"""

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int, ScalarLike

from jssl.ops.precision import widen
from jssl.ops.shapes import expect


def sharpen(p: Float[Array, "*n c"], temperature: ScalarLike) -> Float[Array, "*n c"]:
    r"""Sharpen probabilities p (not logits): lower entropy for T < 1.

    .. math:: p_c^{1/T} \Big/ \sum_j p_j^{1/T}

    T = 1 leaves p unchanged, T -> 0 gives a one-hot vector, T -> infinity the uniform
    distribution. A row of zeros becomes uniform. Gradients flow.

    Berthelot et al. 2019, "MixMatch", eq. 7. https://arxiv.org/abs/1905.02249

    Raises:
      ValueError: when p is not a floating array of one axis or more.

    >>> p = sharpen(jnp.array([0.6, 0.4]), 0.5)    # 0.36 : 0.16
    >>> print(f"{p[0]:.4f} {p[1]:.4f}")
    0.6923 0.3077
    """
    expect("sharpen", p=(p, "... c"))
    (p,) = widen(p)
    none = p <= 0
    # Not -inf for 0: a row of zeros would be nan.
    return jax.nn.softmax(
        jnp.where(none, -1e30, jnp.log(jnp.where(none, 1, p)) / temperature)
    )


def pseudo_labels(
    p: Float[Array, "n c"], threshold: ScalarLike | Float[Array, " n"]
) -> tuple[Int[Array, " n"], Float[Array, " n"]]:
    """Most probable class of each row, and a mask: 1 where its p is at least `threshold`.

    The threshold is one number, or one per sample (FlexMatch, FreeMatch: that of the
    predicted class). The mask is nan where p is. No gradient flows back.

    Lee 2013, "Pseudo-Label: The Simple and Efficient Semi-Supervised Learning Method
    for Deep Neural Networks", ICML workshop.

    Raises:
      ValueError: when p is not float[n, c], or the threshold no scalar and not [n].

    >>> labels, mask = pseudo_labels(jnp.array([[0.1, 0.9], [0.6, 0.4]]), 0.8)
    >>> labels.tolist(), mask.tolist()
    ([1, 0], [1.0, 0.0])
    """
    shape = "n" if jnp.ndim(threshold) else ""
    expect("pseudo_labels", p=(p, "n c"), threshold=(threshold, shape, "any"))
    (p,) = widen(lax.stop_gradient(p))
    top = p.max(-1)
    sure = (top >= jnp.asarray(threshold, p.dtype)).astype(p.dtype)
    return p.argmax(-1).astype(jnp.int32), jnp.where(jnp.isnan(top), top, sure)


def guess_labels(
    p: Float[Array, "n k c"], temperature: ScalarLike = 0.5
) -> Float[Array, "n c"]:
    r"""Sharpened mean of the predictions for k views of each sample.

    .. math:: q_i = \mathrm{sharpen}\Big(\frac{1}{k} \sum_j p_{ij},\ T\Big)

    One guess serves all k views. No gradient flows back.

    Berthelot et al. 2019, "MixMatch", section 3.2. https://arxiv.org/abs/1905.02249

    Raises:
      ValueError: when p is not float[n, k, c].

    >>> q = guess_labels(jnp.array([[[0.7, 0.3], [0.5, 0.5]]]), temperature=0.5)
    >>> print(f"{q[0, 0]:.4f} {q[0, 1]:.4f}")    # mean (0.6, 0.4), so 0.36 : 0.16
    0.6923 0.3077
    """
    expect("guess_labels", p=(p, "n k c"))
    (p,) = widen(lax.stop_gradient(p))
    return sharpen(p.mean(1), temperature)


def distribution_alignment(
    p: Float[Array, "n c"],
    p_model: Float[Array, " c"],
    p_target: Float[Array, " c"],
    epsilon: float = 1e-6,
) -> Float[Array, "n c"]:
    r"""Distribution alignment: rescale predictions to the expected class frequencies.

    .. math:: \mathrm{normalise}\Big(p \cdot
              \frac{p_{target} + \epsilon}{p_{model} + \epsilon}\Big)

    p_model is a running mean of predictions, p_target the class frequencies. If both are
    equal, p is unchanged. Gradients flow.

    Berthelot et al. 2020, "ReMixMatch", section 3.1. https://arxiv.org/abs/1911.09785

    Raises:
      ValueError: when p is not float[n, c], or the others not float[c].

    >>> p, uniform = jnp.array([[0.5, 0.5]]), jnp.array([0.5, 0.5])
    >>> p = distribution_alignment(p, jnp.array([0.8, 0.2]), uniform)
    >>> print(f"{p[0, 0]:.4f} {p[0, 1]:.4f}")    # 1/0.8 : 1/0.2 is 1 : 4
    0.2000 0.8000
    """
    expect(
        "distribution_alignment",
        p=(p, "n c"),
        p_model=(p_model, "c"),
        p_target=(p_target, "c"),
    )
    p, p_model, p_target = widen(p, p_model, p_target)
    p = p * ((p_target + epsilon) / (p_model + epsilon))[None]
    total = p.sum(-1, keepdims=True)
    return p / jnp.where(total > 0, total, 1)
