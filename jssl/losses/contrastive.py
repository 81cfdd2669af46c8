r"""Contrastive losses: identify each sample's partner among all candidates.

The InfoNCE family: the cross entropy of classifying the partner among N candidates by
cosine similarity,

.. math:: -\log \frac{\exp(s(a_i, b_i) / \tau)}{\sum_j \exp(s(a_i, b_j) / \tau)}

van den Oord, Li and Vinyals 2018, https://arxiv.org/abs/1807.03748. Its members differ
in the candidates of the denominator.

With `axis_name`, under `pmap` or `shard_map`, the candidates are those of all devices
and the value is that of one device with all rows. `chunk` splits the candidates so that
memory grows with the batch, not with its square: see `jssl.ops.chunked`.
"""

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int, ScalarLike

from jssl.ops.chunked import row_logsumexp
from jssl.ops.explicit import compares_rows
from jssl.ops.gather import gather, global_rows, pmean
from jssl.ops.precision import widen
from jssl.ops.shapes import expect
from jssl.ops.vectors import dots, logsumexp, unit


@compares_rows
def info_nce(
    queries: Float[Array, "n d"],
    keys: Float[Array, "n d"],
    negatives: Float[Array, "k d"] | Float[Array, "n k d"] | None = None,
    temperature: ScalarLike = 0.07,
    axis_name: str | None = None,
    chunk: int | None = None,
) -> Float[Array, ""]:
    r"""InfoNCE: cross entropy of classifying key i as the match of query i.

    .. math:: -\log \frac{\exp(s(q_i, k_i) / \tau)}
                         {\exp(s(q_i, k_i) / \tau) + \sum_j \exp(s(q_i, k^-_j) / \tau)}

    averaged over queries, where s is the cosine. Without `negatives` the other keys are
    the negatives. If given (a queue, or k rows for each query), they are the only ones,
    as in MoCo: keys of other queries do not count. The logarithm of the number of
    candidates minus the loss is a lower bound of the mutual information. The loss of a
    single query is 0.

    No gradient is stopped: pass `lax.stop_gradient(keys)` where keys come from a target
    network. Shared `negatives` must be the same on every device of `axis_name`.

    van den Oord, Li and Vinyals 2018, https://arxiv.org/abs/1807.03748;
    He et al. 2020, MoCo, eq. 1, https://arxiv.org/abs/1911.05722.

    Raises:
      ValueError: when shapes differ, or chunk is given with negatives of each query.

    >>> z = jnp.eye(3)
    >>> print(f"{info_nce(z, z, temperature=1.0):.4f}")    # log(1 + 2/e)
    0.5514
    >>> print(f"{info_nce(z, z, -z[:1], temperature=1.0):.4f}")   # -1, 0, 0 against 1
    0.2512
    """
    expect("info_nce", queries=(queries, "n d"), keys=(keys, "n d"))
    queries, keys = map(unit, widen(queries, keys))
    scaled = queries / temperature
    positive = (scaled * keys).sum(-1)  # [n]
    if negatives is None:
        total = row_logsumexp(scaled, gather(keys, axis_name), chunk=chunk)
    else:
        total = jnp.logaddexp(positive, _against(scaled, negatives, chunk))
    return pmean((total - positive).mean(), axis_name)


@compares_rows
def nt_xent(
    a: Float[Array, "n d"],
    b: Float[Array, "n d"],
    temperature: ScalarLike = 0.1,
    axis_name: str | None = None,
    chunk: int | None = None,
    negatives: Float[Array, "k d"] | None = None,
) -> Float[Array, ""]:
    r"""SimCLR's normalized, temperature-scaled cross entropy between two views.

    Row i of `a` is classified as the match of row i of `b` among the other 2n - 1 rows,
    and vice versa:

    .. math:: -\log \frac{\exp(s(z_i, z_j) / \tau)}
                         {\sum_{k \neq i} \exp(s(z_i, z_k) / \tau)}

    averaged over all 2n rows (SimCLR's code sums over the two views: twice this value).
    `negatives`, SimCLRv2's memory, are further candidates for every row, the same on
    all devices.

    Chen et al. 2020, eq. 1, https://arxiv.org/abs/2002.05709; SimCLRv2: Chen et al.
    2020, https://arxiv.org/abs/2006.10029.

    Raises:
      ValueError: when shapes differ.

    >>> z = jnp.eye(3)
    >>> print(f"{nt_xent(z, z, temperature=1.0):.4f}")    # log(1 + 4/e)
    0.9048
    """
    expect("nt_xent", a=(a, "n d"), b=(b, "n d"), negatives=(negatives, "k d"))
    z, everyone, own, positive = _both_views(a, b, temperature, axis_name)
    if negatives is not None:
        memory = unit(negatives.astype(z.dtype))
        everyone = jnp.concatenate([everyone, memory])
    total = row_logsumexp(z, everyone, own[:, None], chunk)
    return pmean(total.mean() - positive.mean(), axis_name)


@compares_rows
def dcl(
    a: Float[Array, "n d"],
    b: Float[Array, "n d"],
    temperature: ScalarLike = 0.1,
    axis_name: str | None = None,
    chunk: int | None = None,
) -> Float[Array, ""]:
    r"""Decoupled contrastive learning: NT-Xent without the positive in the denominator.

    .. math:: -s(z_i, z_j) / \tau + \log \sum_{k \neq i, j} \exp(s(z_i, z_k) / \tau)

    averaged over all 2n rows. It may be negative. With n = 1 there are no negatives and
    only the first term remains.

    Yeh et al. 2022, eq. 6. https://arxiv.org/abs/2110.06848

    Raises:
      ValueError: when shapes differ.

    >>> z = jnp.eye(3)
    >>> print(f"{dcl(z, z, temperature=1.0):.4f}")    # -1 + log 4
    0.3863
    """
    expect("dcl", a=(a, "n d"), b=(b, "n d"))
    z, everyone, own, positive = _both_views(a, b, temperature, axis_name)
    apart = _repulsion(z, everyone, jnp.stack([own, own ^ 1], 1), chunk)
    return pmean(apart.mean() - positive.mean(), axis_name)


@compares_rows
def dclw(
    a: Float[Array, "n d"],
    b: Float[Array, "n d"],
    temperature: ScalarLike = 0.1,
    sigma: ScalarLike = 0.5,
    axis_name: str | None = None,
    chunk: int | None = None,
) -> Float[Array, ""]:
    r"""DCL with lower weights for positive pairs that are already similar.

    .. math:: -w_i \, s(z_i, z_j) / \tau + \log \sum_{k \neq i, j}
              \exp(s(z_i, z_k) / \tau), \qquad
              w_i = 2 - n \, \mathrm{softmax}_i(s(a_i, b_i) / \sigma)

    The weights have mean 1 and carry no gradient.

    Yeh et al. 2022, eq. 7. https://arxiv.org/abs/2110.06848

    Raises:
      ValueError: when shapes differ.

    >>> z = jnp.eye(3)
    >>> print(f"{dclw(z, z, temperature=1.0):.4f}")    # all weights 1: -1 + log 4
    0.3863
    """
    expect("dclw", a=(a, "n d"), b=(b, "n d"))
    z, everyone, own, positive = _both_views(a, b, temperature, axis_name)
    apart = _repulsion(z, everyone, jnp.stack([own, own ^ 1], 1), chunk)
    agreement = lax.stop_gradient(positive * temperature) / sigma
    share = jnp.exp(agreement - logsumexp(agreement, axis_name=axis_name))
    weight = 2 - len(everyone) // 2 * share
    return pmean(apart.mean() - (weight * positive).mean(), axis_name)


@compares_rows
def supervised_contrastive(
    z: Float[Array, "n d"],
    labels: Int[Array, " n"],
    temperature: ScalarLike = 0.1,
    axis_name: str | None = None,
) -> Float[Array, ""]:
    r"""Supervised contrastive loss: all samples with the same label are positives.

    .. math:: -\frac{1}{|P(i)|} \sum_{p \in P(i)} \log
              \frac{\exp(s(z_i, z_p) / \tau)}{\sum_{k \neq i} \exp(s(z_i, z_k) / \tau)}

    averaged over all rows, where P(i) are the other rows with the label of row i; the
    loss of a row without any is 0. Concatenate two views to one `z` of 2n rows. If every
    sample has its own label, it is NT-Xent.

    Khosla et al. 2020, eq. 2, https://arxiv.org/abs/2004.11362

    Raises:
      ValueError: when shapes differ or labels are not integers.

    >>> z = jnp.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    >>> loss = supervised_contrastive(z, jnp.array([5, 5, 7]), temperature=1.0)
    >>> print(f"{loss:.4f}")    # 2/3 log(1 + 1/e)
    0.2088
    """
    expect("supervised_contrastive", z=(z, "n d"), labels=(labels, "n", "int"))
    (z,) = map(unit, widen(z))
    everyone, own = gather(z, axis_name), global_rows(len(z), axis_name)
    alike = labels[:, None] == gather(labels, axis_name)[None]  # [n, N]
    alike = (alike & (own[:, None] != jnp.arange(len(everyone))[None])).astype(z.dtype)
    partners = alike.sum(-1)
    scaled = z / temperature
    # The mean of inner products is the inner product with the mean: no [n, N, d].
    positive = (scaled * dots(alike, everyone.T)).sum(-1) / jnp.maximum(partners, 1)
    total = row_logsumexp(scaled, everyone, own[:, None])
    # `positive` is 0 without partners, but nan where a row is.
    nats = jnp.where(partners > 0, total - positive, positive)
    return pmean(nats.mean(), axis_name)


@compares_rows
def graph_contrastive(
    a: Float[Array, "n d"],
    b: Float[Array, "n d"],
    temperature: ScalarLike = 0.2,
    axis_name: str | None = None,
    chunk: int | None = None,
) -> Float[Array, ""]:
    r"""GraphCL's loss: negatives are the second views of the other graphs.

    .. math:: -s(a_i, b_i) / \tau + \log \sum_{j \neq i} \exp(s(a_i, b_j) / \tau)

    The denominator excludes the positive, so the loss may be negative; with n = 1 only
    the first term remains. Not symmetric in a and b. (`nt_xent` is the other form in
    use.)

    You et al. 2020, eq. 3. https://arxiv.org/abs/2010.13902

    Raises:
      ValueError: when shapes differ.

    >>> z = jnp.eye(3)
    >>> print(f"{graph_contrastive(z, z, temperature=1.0):.4f}")    # -1 + log 2
    -0.3069
    """
    expect("graph_contrastive", a=(a, "n d"), b=(b, "n d"))
    a, b = map(unit, widen(a, b))
    scaled, own = a / temperature, global_rows(len(a), axis_name)
    apart = _repulsion(scaled, gather(b, axis_name), own[:, None], chunk)
    return pmean(apart.mean() - (scaled * b).sum(-1).mean(), axis_name)


def _both_views(a, b, temperature, axis_name):
    """Anchors over temperature, candidates, each anchor's own row, and the positives.

    Rows are ordered a0 b0 a1 b1 ..., so that a sharded batch needs no resharding; the
    partner of row i is row i ^ 1.
    """
    a, b = map(unit, widen(a, b))
    z = jnp.stack([a, b], 1).reshape(-1, a.shape[1])  # [2n, d]
    positive = (a / temperature * b).sum(-1)  # [n], the same both ways
    own = global_rows(len(z), axis_name)
    return z / temperature, gather(z, axis_name), own, positive


def _repulsion(anchors, candidates, exclude, chunk):
    """The log-sum-exp over candidates not excluded; 0 where there are none."""
    if exclude.shape[1] == len(candidates):
        return jnp.zeros_like(anchors[:, 0])
    return row_logsumexp(anchors, candidates, exclude, chunk)


def _against(scaled, negatives, chunk):
    """The log-sum-exp of each query's logits over negatives, shared or its own."""
    shared = jnp.ndim(negatives) == 2
    shape = "k d" if shared else "n k d"
    expect("info_nce", queries=(scaled, "n d"), negatives=(negatives, shape))
    negatives = unit(negatives.astype(scaled.dtype))
    if shared:
        return row_logsumexp(scaled, negatives, chunk=chunk)
    if chunk is not None:
        raise ValueError(
            "info_nce: chunk needs negatives shared by all queries, float[k, d]; got "
            f"negatives of each query, {list(negatives.shape)}"
        )
    logits = jnp.einsum("nd,nkd->nk", scaled, negatives, precision="highest")
    return jax.nn.logsumexp(logits, -1)
