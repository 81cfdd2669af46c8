r"""Linear assignment: match rows with columns, one to one, at minimal total cost.

.. math:: \min_{\pi} \sum_i cost_{i, \pi(i)}

Noise As Targets assigns features to random points of the sphere in this way. Because
each point is used once, the features cannot collapse.

Bojanowski and Joulin, "Unsupervised Learning by Predicting Noise", ICML 2017.
https://arxiv.org/abs/1704.05310
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int

from jssl.ops.explicit import compares_rows
from jssl.ops.precision import widen
from jssl.ops.shapes import expect
from jssl.ops.vectors import dots, unit


@compares_rows
def hungarian(cost: Float[Array, "n n"]) -> Int[Array, " n"]:
    """The column assigned to each row in the one-to-one matching of minimal cost.

    Solved by scipy on the host in O(n^3) (Crouse 2016), inside `jit` through a blocking
    callback. No gradient flows back.

    Raises:
      ValueError: when the cost is not float[n, n].

    >>> hungarian(jnp.array([[1.0, 2.0], [1.0, 9.0]])).tolist()    # 2 + 1, not 1 + 9
    [1, 0]
    """
    n = expect("hungarian", cost=(cost, "n n"))["n"]
    (cost,) = widen(lax.stop_gradient(cost))
    columns = jax.ShapeDtypeStruct((n,), jnp.int32)
    return jax.pure_callback(_solve, columns, cost, vmap_method="sequential")


def _solve(cost):
    from scipy.optimize import linear_sum_assignment

    return linear_sum_assignment(np.asarray(cost))[1].astype(np.int32)


def nat_targets(
    key: jax.Array, n: int, d: int
) -> tuple[Float[Array, "n d"], Int[Array, " n"]]:
    """Draw n random points of the unit sphere, and assign one to each of n samples.

    Bojanowski and Joulin 2017, section 3.1. https://arxiv.org/abs/1704.05310

    >>> targets, labels = nat_targets(jax.random.key(0), 4, 3)
    >>> targets.shape, sorted(labels.tolist())
    ((4, 3), [0, 1, 2, 3])
    """
    points_key, labels_key = jax.random.split(key)
    points = unit(jax.random.normal(points_key, (n, d)))
    return points, jax.random.permutation(labels_key, n).astype(jnp.int32)


@compares_rows(like="labels")
def nat_reassign(
    z: Float[Array, "b d"], targets: Float[Array, "n d"], labels: Int[Array, " b"]
) -> Int[Array, " b"]:
    r"""Reassign the targets of a batch among its samples, at minimal total distance.

    .. math:: \max_{\pi} \sum_i z_i \cdot c_{y_{\pi(i)}}

    which for unit vectors minimizes the sum of squared distances. z is normalized here.
    Only the batch's labels are permuted, in O(b^3), so the assignment of all samples
    remains one to one. No gradient flows back.

    Bojanowski and Joulin 2017, section 3.2. https://arxiv.org/abs/1704.05310

    Raises:
      ValueError: when shapes do not fit, or the labels are not integers.

    >>> z, targets = jnp.eye(3)[:2], jnp.eye(3)[::-1]    # e0 is target 2, e1 target 1
    >>> nat_reassign(z, targets, jnp.array([1, 2])).tolist()
    [2, 1]
    """
    expect(
        "nat_reassign",
        z=(z, "b d"),
        targets=(targets, "n d"),
        labels=(labels, "b", "int"),
    )
    z, mine = widen(lax.stop_gradient(z), targets[labels])
    return labels[hungarian(-dots(unit(z), mine))]
