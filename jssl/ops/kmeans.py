r"""k-means clustering, by Lloyd's algorithm.

.. math:: \min_{\mu, c} \sum_i \lVert x_i - \mu_{c_i} \rVert^2

Lloyd's iteration alternates the two minimizations, neither of which can raise the sum.
An empty cluster is reassigned half the samples of another, as in Caron et al. 2018,
"Deep Clustering for Unsupervised Learning of Visual Features", section 3.3.
https://arxiv.org/abs/1807.05520
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from jssl.ops.explicit import compares_rows
from jssl.ops.precision import widen
from jssl.ops.shapes import expect
from jssl.ops.vectors import dots

UNROLLED = 256  # clusters up to which `_argmin_by_rows` compiles quickly


class Clusters(NamedTuple):
    """A partition of n samples into k nonempty clusters.

    Attributes:
      centroids: [k, d].
      assignments: [n] each sample's cluster.
      inertia: [t] the sum of squared distances to the centroids, after each iteration.
    """

    centroids: Float[Array, "k d"]
    assignments: Int[Array, " n"]
    inertia: Float[Array, " t"]


@compares_rows(like="x")
def kmeans(
    key: jax.Array,
    x: Float[Array, "n d"],
    k: int,
    iterations: int = 20,
    init: str | Float[Array, "k d"] = "random",
    chunk: int | None = None,
) -> Clusters:
    """Lloyd's algorithm for a fixed number of iterations, in float32 at least.

    Args:
      key: PRNG key for the initial centroids and the splits into empty clusters.
      x: samples.
      k: number of clusters, at most n.
      iterations: number of iterations; 20 in DeepCluster.
      init: "random", k different samples (DeepCluster); "++", k-means++ (Arthur and
        Vassilvitskii 2007); or an array of initial centroids.
      chunk: number of samples per block of distances, which bounds the memory to
        [chunk, k] instead of [n, k].

    Raises:
      ValueError: when k is not in 1 ... n, the init unknown, or a shape wrong.

    >>> x = jnp.array([[0.0], [2.0], [10.0], [12.0]])
    >>> clusters = kmeans(jax.random.key(0), x, 2, init=jnp.array([[0.0], [10.0]]))
    >>> clusters.centroids.ravel().tolist(), clusters.assignments.tolist()
    ([1.0, 11.0], [0, 0, 1, 1])
    >>> print(clusters.inertia[-1])    # four times 1^2
    4.0
    """
    n = expect("kmeans", x=(x, "n d"))["n"]
    if not 1 <= k <= n:
        raise ValueError(f"kmeans: k must be in 1 ... n={n}, got {k}")
    (x,) = widen(x)
    # Distances are more precise near the origin.
    middle = x.mean(0, keepdims=True)
    keys = jax.random.split(key, iterations + 2)
    first = _first_centroids(keys[0], x, k, init)
    x = x - middle

    def settle(key, centroids):
        assignments = nearest_centroid(x, centroids, chunk)
        return split_into_empty(key, x, centroids, assignments)

    def lloyd(state, key):
        centroids, assignments = settle(key, _means(x, state[1], k))
        inertia = jnp.square(x - centroids[assignments]).sum()
        return (centroids, assignments), inertia

    state = settle(keys[1], first - middle)
    (centroids, assignments), inertia = lax.scan(lloyd, state, keys[2:])
    return Clusters(centroids + middle, assignments, inertia)


@compares_rows(like="x")
def nearest_centroid(
    x: Float[Array, "n d"], centroids: Float[Array, "k d"], chunk: int | None = None
) -> Int[Array, " n"]:
    """Index of the centroid nearest to each sample; the first in case of ties.

    Raises:
      ValueError: when a shape is wrong.

    >>> centroids = jnp.array([[0.0], [10.0]])
    >>> nearest_centroid(jnp.array([[1.0], [7.0]]), centroids).tolist()
    [0, 1]
    """
    expect("nearest_centroid", x=(x, "n d"), centroids=(centroids, "k d"))
    x, centroids = widen(x, centroids)
    half = jnp.square(centroids).sum(-1) / 2  # [k]

    def nearest(rows):
        scores = half[:, None] - dots(centroids, rows)  # [k, n]
        if len(scores) > UNROLLED:
            return _argmin(scores)
        return lax.platform_dependent(scores, cpu=_argmin_by_rows, default=_argmin)

    if chunk is None or chunk >= len(x):
        return nearest(x)
    return lax.map(lambda row: nearest(row[None])[0], x, batch_size=chunk)


def _argmin(scores):
    return jnp.argmin(scores, axis=0).astype(jnp.int32)


def _argmin_by_rows(scores):
    """Argmin by comparisons of rows, which XLA vectorizes on CPU, unlike argmin."""
    least, index = scores[0], jnp.zeros(scores.shape[1], jnp.int32)
    for j, row in enumerate(scores[1:], 1):
        less = row < least
        least, index = jnp.where(less, row, least), jnp.where(less, j, index)
    return index


@compares_rows(like="assignments")
def split_into_empty(
    key: jax.Array,
    x: Float[Array, "n d"],
    centroids: Float[Array, "k d"],
    assignments: Int[Array, " n"],
) -> tuple[Float[Array, "k d"], Int[Array, " n"]]:
    """Reassign half the samples of a random cluster to every empty cluster.

    A random plane through the cluster's mean divides its samples, and both centroids
    become the means of their parts: the paper's perturbed copy of a centroid, one
    iteration later. Identical samples are split alternately. Other clusters are unchanged.

    Raises:
      ValueError: when there are more clusters than samples, or a shape is wrong.

    >>> x, centroids = jnp.array([[0.0], [4.0]]), jnp.array([[2.0], [9.0]])
    >>> key, lonely = jax.random.key(0), jnp.array([0, 0])
    >>> centroids, assignments = split_into_empty(key, x, centroids, lonely)
    >>> sorted(centroids.ravel().tolist()), sorted(assignments.tolist())
    ([0.0, 4.0], [0, 1])
    """
    sizes = expect(
        "split_into_empty",
        x=(x, "n d"),
        centroids=(centroids, "k d"),
        assignments=(assignments, "n", "int"),
    )
    n, k = sizes["n"], sizes["k"]
    if k > n:
        raise ValueError(f"split_into_empty: {n} samples cannot fill {k} clusters")
    x, centroids = widen(x, centroids)

    def split(state):
        key, centroids, assignments, counts = state
        key, donor_key, plane_key = jax.random.split(key, 3)
        empty = jnp.argmin(counts)
        donor = jax.random.categorical(donor_key, jnp.where(counts > 1, 0.0, -jnp.inf))
        members = assignments == donor
        leave = _halve(plane_key, x, members)
        stay = members & ~leave
        centroids = centroids.at[empty].set(_mean(x, leave))
        centroids = centroids.at[donor].set(_mean(x, stay))
        assignments = jnp.where(leave, empty, assignments).astype(jnp.int32)
        counts = counts.at[empty].set(leave.sum()).at[donor].set(stay.sum())
        return key, centroids, assignments, counts

    counts = jnp.bincount(assignments, length=k)
    state = (key, centroids, assignments.astype(jnp.int32), counts)
    state = lax.while_loop(lambda state: (state[3] == 0).any(), split, state)
    return state[1], state[2]


def _halve(key, x, members):
    """Mask of the members beyond a random plane through their mean: some, never all."""
    plane = jax.random.normal(key, x.shape[1:], x.dtype)
    beyond = members & ((x - _mean(x, members)[None]) @ plane > 0)
    divided = beyond.any() & (members & ~beyond).any()
    return jnp.where(divided, beyond, members & (jnp.cumsum(members) % 2 == 0))


def _mean(x, members):
    return jnp.where(members[:, None], x, 0).sum(0) / members.sum().astype(x.dtype)


def _means(x, assignments, k):
    counts = jnp.bincount(assignments, length=k)[:, None]
    return jax.ops.segment_sum(x, assignments, k) / counts.astype(x.dtype)


def _first_centroids(key, x, k, init):
    if isinstance(init, str):
        draws = {"random": _random_samples, "++": _spread_samples}
        if init not in draws:
            raise ValueError(
                f"kmeans: init must be one of {', '.join(draws)} or an array, got {init!r}"
            )
        return draws[init](key, x, k)
    expect("kmeans", x=(x, "n d"), init=(init, f"{k} d"))
    return init.astype(x.dtype)


def _random_samples(key, x, k):
    return x[jax.random.choice(key, len(x), (k,), replace=False)]


def _spread_samples(key, x, k):
    """k-means++: probabilities proportional to squared distances to the nearest drawn."""

    def add(i, state):
        centroids, distances = state
        row = x[jax.random.categorical(jax.random.fold_in(key, i), jnp.log(distances))]
        centroids = centroids.at[i].set(row)
        return centroids, jnp.minimum(distances, jnp.square(x - row[None]).sum(1))

    row = x[jax.random.randint(jax.random.fold_in(key, 0), (), 0, len(x))]
    distances = jnp.square(x - row[None]).sum(1)
    centroids = jnp.broadcast_to(row, (k, len(row)))
    return lax.fori_loop(1, k, add, (centroids, distances))[0]
