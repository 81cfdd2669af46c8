r"""Sparsity penalties: few active units per sample.

.. math:: \frac{1}{n} \sum_{ij} |h_{ij}|
          \qquad \text{or} \qquad \sum_j \mathrm{KL}(\rho \,\|\, q_j)

Olshausen and Field, "Emergence of simple-cell receptive field properties by learning a
sparse code for natural images", Nature 381, 1996. https://doi.org/10.1038/381607a0
Ng, "Sparse autoencoder", CS294A lecture notes, 2011.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, ScalarLike

from jssl.ops.gather import pmean
from jssl.ops.precision import widen
from jssl.ops.shapes import expect


def l1_sparsity(h: Float[Array, "n *d"]) -> Float[Array, ""]:
    r"""L1 penalty: sum of a sample's absolute activations, averaged over samples.

    .. math:: \frac{1}{n} \sum_{ij} |h_{ij}|

    Constrain the norm of the decoder's weights: (c h, W / c) reconstructs as (h, W) does
    at c times the penalty, so an unconstrained decoder drives the penalty to 0.

    Olshausen and Field 1996, Nature 381. https://doi.org/10.1038/381607a0

    Raises:
      ValueError: when `h` is not floating or has no axes.

    >>> print(l1_sparsity(jnp.array([[1.0, -2.0], [0.0, 1.0]])))    # (3 + 1) / 2
    2.0
    """
    expect("l1_sparsity", h=(h, "... m"))
    (h,) = widen(h)
    return jnp.abs(h).sum() / len(h)


def average_activation(
    h: Float[Array, "n m"],
    previous: Float[Array, " m"] | None = None,
    momentum: ScalarLike = 0.9,
    axis_name: str | None = None,
) -> Float[Array, " m"]:
    r"""Average activation of each unit, over the batch or as a running mean.

    .. math:: q \leftarrow \mu q + (1 - \mu) \frac{1}{n} \sum_i h_i

    `previous`, the q of the last step, gets no gradient; with None the result is the
    batch's average.

    >>> average_activation(jnp.array([[0.0, 1.0], [1.0, 1.0]]))
    Array([0.5, 1. ], dtype=float32)
    """
    expect("average_activation", h=(h, "n m"), previous=(previous, "m"))
    (h,) = widen(h)
    batch = pmean(h.mean(0), axis_name)
    if previous is None:
        return batch
    previous = jax.lax.stop_gradient(previous).astype(batch.dtype)
    return momentum * previous + (1 - momentum) * batch


def kl_sparsity(
    h: Float[Array, "n m"],
    rho: float = 0.05,
    previous: Float[Array, " m"] | None = None,
    momentum: ScalarLike = 0.9,
    axis_name: str | None = None,
) -> Float[Array, ""]:
    r"""KL penalty that drives the average activation of each sigmoid unit to rho.

    .. math:: \sum_j \rho \log \frac{\rho}{q_j}
              + (1 - \rho) \log \frac{1 - \rho}{1 - q_j}

    where q is `average_activation(h, previous, momentum, axis_name)`: the batch's own
    average (use 100 samples or more), or a running mean, to be passed to the next step.
    q is clipped to [1e-6, 1 - 1e-6]; activations must lie in (0, 1).

    Lee, Ekanadham and Ng 2008, "Sparse deep belief net model for visual area V2", for
    the target; Ng 2011, "Sparse autoencoder" (CS294A notes), for this form.

    Raises:
      ValueError: when shapes differ, `h` is not floating, or rho is not in (0, 1).

    >>> loss = kl_sparsity(jnp.array([[0.1], [0.3]]), rho=0.05)    # q = 0.2
    >>> print(f"{loss:.6f}")    # 0.05 log(0.05 / 0.2) + 0.95 log(0.95 / 0.8)
    0.093943
    """
    if not 0 < rho < 1:
        raise ValueError(f"kl_sparsity: rho must lie between 0 and 1, got {rho}")
    expect("kl_sparsity", h=(h, "n m"), previous=(previous, "m"))
    q = jnp.clip(average_activation(h, previous, momentum, axis_name), 1e-6, 1 - 1e-6)
    return (rho * jnp.log(rho / q) + (1 - rho) * jnp.log((1 - rho) / (1 - q))).sum()
