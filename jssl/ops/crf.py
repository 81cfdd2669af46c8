r"""Linear-chain conditional random fields: the likelihood of tags, and the best tags.

Lafferty, McCallum and Pereira, "Conditional Random Fields", ICML 2001; as the last layer of
a tagger: Lample et al. 2016, https://arxiv.org/abs/1603.01360, section 2.2.

    s(y) = a[y_1] + sum_t x[t, y_t] + sum_{t > 1} T[y_{t-1}, y_t] + b[y_l],
    log p(y) = s(y) - log sum_y' exp s(y')

Tokens without a tag (continuations of words, special tokens, padding) are no members of the
chain.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from jssl.ops.shapes import expect


class Chain(NamedTuple):
    """Scores of a chain of tags that do not depend on the input.

    Attributes:
      first: a, of the first tag.
      steps: T, of a tag (row) and the next one (column).
      last: b, of the last tag.
    """

    first: Float[Array, " k"]
    steps: Float[Array, "k k"]
    last: Float[Array, " k"]


def crf_log_likelihood(
    scores: Float[Array, "n l k"], chain: Chain, tags: Int[Array, "n l"]
) -> Float[Array, " n"]:
    """log p of tags, of which negative ones are no members of the chain; 0 of none.

    Raises:
      ValueError: when shapes or dtypes differ from the annotated ones.

    >>> chain = Chain(jnp.zeros(2), jnp.zeros((2, 2)), jnp.zeros(2))
    >>> x, tags = jnp.zeros((1, 3, 2)), jnp.array([[0, -1, 1]])
    >>> print(f"{jnp.exp(crf_log_likelihood(x, chain, tags))[0]:.2f}")  # of four
    0.25
    """
    known = tags >= 0
    return crf_score(scores, chain, tags) - crf_log_partition(scores, chain, known)


def crf_score(
    scores: Float[Array, "n l k"], chain: Chain, tags: Int[Array, "n l"]
) -> Float[Array, " n"]:
    """s of tags, of which negative ones are no members of the chain.

    Raises:
      ValueError: when shapes or dtypes differ from the annotated ones.
    """
    _expect("crf_score", scores, chain, tags=(tags, "n l", "int"))
    before, total = jnp.full(len(tags), -1), jnp.zeros(len(tags), scores.dtype)

    def move(carry, item):
        before, total = carry
        x, tag = item
        known, safe = tag >= 0, jnp.maximum(tag, 0)
        own = jnp.take_along_axis(x, safe[:, None], 1)[:, 0]
        came = jnp.where(before < 0, chain.first[safe], chain.steps[before, safe])
        total = total + jnp.where(known, own + came, 0)
        return (jnp.where(known, tag, before), total), None

    (end, total), _ = jax.lax.scan(move, (before, total), _in_time(scores, tags))
    return total + jnp.where(end < 0, 0, chain.last[end])


def crf_log_partition(
    scores: Float[Array, "n l k"], chain: Chain, known: Bool[Array, "n l"]
) -> Float[Array, " n"]:
    """log sum of exp s over all tags of the known tokens, by the forward algorithm.

    Raises:
      ValueError: when shapes or dtypes differ from the annotated ones.
    """
    _expect("crf_log_partition", scores, chain, known=(known, "n l", "bool"))

    def move(carry, item):
        alpha, begun = carry
        x, there = item
        came = jax.nn.logsumexp(alpha[:, :, None] + chain.steps, 1)
        new = x + jnp.where(begun[:, None], came, chain.first)
        return (jnp.where(there[:, None], new, alpha), begun | there), None

    start = jnp.zeros_like(scores[:, 0]), jnp.zeros(len(scores), bool)
    (alpha, begun), _ = jax.lax.scan(move, start, _in_time(scores, known))
    return jnp.where(begun, jax.nn.logsumexp(alpha + chain.last, 1), 0)


def viterbi(
    scores: Float[Array, "n l k"], chain: Chain, known: Bool[Array, "n l"]
) -> Int[Array, "n l"]:
    """Tags of largest s of the known tokens, and -1 of others.

    Raises:
      ValueError: when shapes or dtypes differ from the annotated ones.

    >>> chain = Chain(jnp.zeros(2), jnp.array([[0.0, -9.0], [0.0, 0.0]]), jnp.zeros(2))
    >>> x = jnp.array([[[1.0, 0.0], [0.0, 2.0]]])  # 0, then 1, which may not follow
    >>> viterbi(x, chain, jnp.ones((1, 2), bool)).tolist()
    [[1, 1]]
    """
    _expect("viterbi", scores, chain, known=(known, "n l", "bool"))
    n, _, k = scores.shape
    stay = jnp.broadcast_to(jnp.arange(k), (n, k))

    def forward(carry, item):
        best, begun = carry
        x, there = item
        ways = best[:, :, None] + chain.steps  # [n, from, to]
        new = x + jnp.where(begun[:, None], ways.max(1), chain.first)
        came = jnp.where((there & begun)[:, None], ways.argmax(1), stay)
        return (jnp.where(there[:, None], new, best), begun | there), came

    start = jnp.zeros_like(scores[:, 0]), jnp.zeros(n, bool)
    (best, _), came = jax.lax.scan(forward, start, _in_time(scores, known))

    def backward(tag, came):
        return jnp.take_along_axis(came, tag[:, None], 1)[:, 0], tag

    end = (best + chain.last).argmax(1)
    _, tags = jax.lax.scan(backward, end, came, reverse=True)
    return jnp.where(known, tags.T, -1)


def _expect(name, scores, chain, **more):
    first, steps, last = chain
    arrays = dict(scores=(scores, "n l k"), first=(first, "k"), last=(last, "k"))
    expect(name, **arrays, steps=(steps, "k k"), **more)


def _in_time(*arrays):
    return tuple(jnp.swapaxes(x, 0, 1) for x in arrays)
