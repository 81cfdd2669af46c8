r"""Losses with targets from clustering or assignment of the features.

DeepCluster clusters the features and classifies samples by cluster; Noise As Targets
assigns each sample a different fixed random point of the sphere and regresses on it.
Both would collapse if the targets followed the features: they are computed by
`jssl.ops.kmeans` and `jssl.ops.assignment`, and held fixed here.

Caron et al. 2018, "Deep Clustering for Unsupervised Learning of Visual Features",
https://arxiv.org/abs/1807.05520; Bojanowski and Joulin 2017, "Unsupervised Learning by
Predicting Noise", https://arxiv.org/abs/1704.05310
"""

import jax.numpy as jnp
import optax
from jax import lax
from jaxtyping import Array, Float, Int

from jssl.ops.gather import psum
from jssl.ops.precision import widen
from jssl.ops.shapes import expect
from jssl.ops.vectors import unit


def deepcluster(
    logits: Float[Array, "n k"], assignments: Int[Array, " n"]
) -> Float[Array, ""]:
    r"""Cross entropy with each sample's cluster assignment as its label.

    .. math:: -\frac{1}{n} \sum_i \log \mathrm{softmax}(s_i)_{c_i}

    Draw the samples so that all clusters are equally likely; otherwise the largest
    dominates. The loss is about log k for a newly initialized head.

    Caron et al. 2018, eq. 1. https://arxiv.org/abs/1807.05520

    Raises:
      ValueError: when the logits are not float[n, k] or the assignments not int[n].

    >>> print(f"{deepcluster(jnp.zeros((2, 8)), jnp.array([0, 5])):.4f}")    # log 8
    2.0794
    """
    expect("deepcluster", logits=(logits, "n k"), assignments=(assignments, "n", "int"))
    (logits,) = widen(logits)
    return optax.softmax_cross_entropy_with_integer_labels(logits, assignments).mean()


def nat(
    z: Float[Array, "n d"],
    targets: Float[Array, "n d"],
    axis_name: str | None = None,
) -> Float[Array, ""]:
    r"""Squared distance of unit-norm features to their target points on the sphere.

    .. math:: \sum_i \lVert z_i - c_i \rVert^2 = 2 n - 2 \sum_i z_i \cdot c_i

    A sum, as in the authors' code, over all devices of `axis_name`. Row i of `targets`
    is the unit vector that `nat_reassign` assigned to sample i, and gets no gradient. A
    feature of norm 0 counts as 0 and gets none either.

    Bojanowski and Joulin 2017, eq. 2. https://arxiv.org/abs/1704.05310

    Raises:
      ValueError: when the two are not float[n, d] of the same shape.

    >>> z, targets = jnp.array([[2.0, 0.0], [0.0, 3.0]]), jnp.array([[1.0, 0.0]] * 2)
    >>> print(nat(z, targets))    # 0 + 2
    2.0
    """
    expect("nat", z=(z, "n d"), targets=(targets, "n d"))
    z, targets = widen(z, lax.stop_gradient(targets))
    return psum(jnp.square(unit(z) - targets).sum(), axis_name)
