r"""mixup: convex combinations of samples and of their targets.

.. math:: \tilde x_i = \lambda_i x_i + (1 - \lambda_i) x_{\pi(i)}, \qquad
          \lambda_i \sim \mathrm{Beta}(\alpha, \alpha)

Zhang, Cisse, Dauphin and Lopez-Paz, "mixup: Beyond Empirical Risk Minimization",
ICLR 2018. https://arxiv.org/abs/1710.09412
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, ScalarLike

from jssl.ops.explicit import compares_rows
from jssl.ops.precision import widen
from jssl.ops.shapes import expect

MIXED = ("all", "labeled", "unlabeled", "apart")  # rows that `mixmatch_batch` mixes


@compares_rows(like="x")
def mixup(
    key: jax.Array,
    x: Float[Array, "n *d"],
    y: Float[Array, "n c"],
    alpha: ScalarLike,
    *,
    partner: Int[Array, " n"] | None = None,
    per_sample: bool = True,
    keep_dominant: bool = True,
) -> tuple[Float[Array, "n *d"], Float[Array, "n c"], Float[Array, " n"]]:
    r"""Mix each sample and its target with those of its partner.

    A small alpha gives lambda near 0 and 1; alpha = 0 gives lambda = 1. x keeps its
    dtype; the mixture is computed in float32 at least. Gradients flow.

    Args:
      partner: pi; a random permutation if None.
      per_sample: draw one lambda per sample, as in MixMatch's code; else one per batch.
      keep_dominant: use max(lambda, 1 - lambda), so that row i is closer to sample i
        than to its partner. MixMatch needs it; the mixup paper does not use it.

    Returns:
      The mixed x, the mixed y, and lambda.

    Raises:
      ValueError: when x is not float[n, ...], y float[n, c] or the partner int[n].

    >>> x, y = jnp.array([[0.0], [1.0]]), jnp.eye(2)
    >>> x, y, weight = mixup(jax.random.key(0), x, y, 0.75, partner=jnp.array([1, 0]))
    >>> bool((x[:, 0] == jnp.array([1 - weight[0], weight[1]])).all())
    True
    >>> bool((weight >= 0.5).all())
    True
    """
    n = expect(
        "mixup",
        x=(x, _batch_shape(x)),
        y=(y, "n c"),
        partner=(partner, "n", "int"),
    )["n"]
    partner_key, weight_key = jax.random.split(key)
    if partner is None:
        partner = jax.random.permutation(partner_key, n)
    wide, y = widen(x, y)
    weight = _mixing_weight(weight_key, alpha, n if per_sample else 1, wide.dtype)
    if keep_dominant:
        weight = jnp.maximum(weight, 1 - weight)
    weight = jnp.broadcast_to(weight, (n,))

    def blend(v):
        share = weight.reshape(n, *[1] * (v.ndim - 1))
        return share * v + (1 - share) * v[partner]

    return blend(wide).astype(x.dtype), blend(y), weight


@compares_rows(like="x")
def mixmatch_batch(
    key: jax.Array,
    x: Float[Array, "b *d"],
    p: Float[Array, "b c"],
    u: Float[Array, "n k *d"],
    q: Float[Array, "n c"],
    alpha: ScalarLike = 0.75,
    mixed: str = "all",
) -> tuple[
    tuple[Float[Array, "b *d"], Float[Array, "b c"]],
    tuple[Float[Array, "nk *d"], Float[Array, "nk c"]],
]:
    r"""Mix labeled samples, and k views of unlabeled ones, with a shuffle of all.

    .. math:: \mathcal W = \mathrm{Shuffle}(\hat{\mathcal X} \cup \hat{\mathcal U}),
              \quad \mathcal X'_i = \mathrm{MixUp}(\hat{\mathcal X}_i, \mathcal W_i),
              \quad \mathcal U'_i = \mathrm{MixUp}(\hat{\mathcal U}_i, \mathcal W_{b+i})

    p are the one-hot labels; q the guesses of `guess_labels`, one for all views of a
    sample. Unlabeled rows are returned in order of samples: view j of sample i is row
    i k + j.

    `mixed` other than "all" is an ablation of the paper (table 4): "labeled" or
    "unlabeled" mixes only these rows, with each other, and "apart" both, each kind with
    its own.

    Berthelot et al. 2019, "MixMatch", algorithm 1. https://arxiv.org/abs/1905.02249

    Raises:
      ValueError: when shapes do not fit, or an argument is not floating; an unknown
        value of `mixed`.

    >>> x, u = jnp.zeros((2, 3)), jnp.zeros((4, 2, 3))
    >>> p, q = jnp.eye(5)[:2], jnp.eye(5)[:4]
    >>> (x, p), (u, q) = mixmatch_batch(jax.random.key(0), x, p, u, q)
    >>> x.shape, p.shape, u.shape, q.shape
    ((2, 3), (2, 5), (8, 3), (8, 5))
    """
    tail = _batch_shape(x).split()[1:]
    sizes = expect(
        "mixmatch_batch",
        x=(x, " ".join(["b", *tail])),
        p=(p, "b c"),
        u=(u, " ".join(["n", "k", *tail])),
        q=(q, "n c"),
    )
    if mixed not in MIXED:
        raise ValueError(f"mixmatch_batch: mixed must be one of {MIXED}, got {mixed!r}")
    b, k = sizes["b"], sizes["k"]
    u, q = u.reshape(-1, *x.shape[1:]), jnp.repeat(q, k, axis=0)  # [nk, ...], [nk, c]
    p, q = widen(p, q)
    if mixed == "all":
        both = jnp.concatenate([x, u]), jnp.concatenate([p, q])
        inputs, targets, _ = mixup(key, *both, alpha)
        return (inputs[:b], targets[:b]), (inputs[b:], targets[b:])
    one, two = jax.random.split(key)
    known = mixup(one, x, p, alpha)[:2] if mixed != "unlabeled" else (x, p)
    unknown = mixup(two, u, q, alpha)[:2] if mixed != "labeled" else (u, q)
    return known, unknown


@compares_rows(like="arrays")
def interleave(arrays: list[Array]) -> list[Array]:
    """Interleave m batches of equal size, so that the first has rows of all; an involution.

    Each array is split into m runs of rows, and run i of the first is exchanged with run
    i of array i. If only the first forward pass updates batch statistics, they then cover
    every kind of sample. Apply it to the inputs, then to the logits to undo it.

    Berthelot et al. 2019, the authors' code. https://arxiv.org/abs/1905.02249

    Raises:
      ValueError: when the arrays differ in shape.

    >>> mixed = interleave([jnp.zeros(4, int), jnp.ones(4, int)])
    >>> [x.tolist() for x in mixed]
    [[0, 0, 1, 1], [1, 1, 0, 0]]
    """
    wanted = {
        f"arrays_{i}": (x, _batch_shape(arrays[0]), "any") for i, x in enumerate(arrays)
    }
    n = expect("interleave", **wanted)["n"]
    first, rest = arrays[0], list(arrays[1:])
    for i in range(1, len(arrays)):
        mine = slice(i * n // len(arrays), (i + 1) * n // len(arrays))
        other = rest[i - 1]
        rest[i - 1] = other.at[mine].set(first[mine])
        first = first.at[mine].set(other[mine])
    return [first, *rest]


def _batch_shape(x):
    return " ".join(["n", *(f"d{i}" for i in range(1, jnp.ndim(x)))])


def _mixing_weight(key, alpha, n, dtype):
    """n samples of Beta(alpha, alpha); 1 at alpha = 0, the limit of max(l, 1 - l)."""
    alpha = jnp.asarray(alpha, dtype)
    positive = jnp.where(alpha > 0, alpha, 1)
    drawn = jax.random.beta(key, positive, positive, (n,), dtype)
    return jnp.where(alpha > 0, drawn, 1)
