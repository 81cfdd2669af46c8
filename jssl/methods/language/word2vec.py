r"""word2vec: vectors of words that predict the words around them.

Mikolov, Chen, Corrado and Dean, "Efficient Estimation of Word Representations in Vector
Space", 2013, https://arxiv.org/abs/1301.3781; Mikolov, Sutskever, Chen, Corrado and Dean,
"Distributed Representations of Words and Phrases and their Compositionality", NeurIPS 2013,
https://arxiv.org/abs/1310.4546

Skip-gram predicts each word o of the window of a word c from the vector of c, CBOW the word
c from the mean of the vectors of its window. With input vectors v, output vectors u, and k
words drawn from the counts to the power 3/4,

    L = -log s(u_o v_c) - sum_k log s(-u_k v_c)        negative sampling
    L = -sum_j log s((1 - 2 b_j) u_{p_j} v_c)          hierarchical softmax

with b and p the code and the inner nodes of o in a Huffman tree. Every pair descends with
the full rate, as in the released code: the gradient is that of the sum over pairs.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jssl.learner import Learner
from jssl.method import Method, Prepare
from jssl.ops.word2vec import (
    alias,
    compacted,
    draw_words,
    huffman,
    keep_probability,
    nearest_words,
    window_pairs,
)

QUERIES, NEAREST = 12, 6  # words of the picture


class Updates(NamedTuple):
    """The optimizer state of the vectors: number of steps."""

    count: jax.Array


def word2vec(
    counts: np.ndarray,
    width: int,
    rate: optax.Schedule,
    *,
    prepare: Prepare,
    predict: str = "window",
    loss: str = "negative",
    window: int = 5,
    negatives: int = 5,
    shared: int = 0,
    power: float = 0.75,
    sample: float = 1e-3,
    rule: str = "code",
    mean: bool = True,
    rows: int = 8,
    words: Sequence[str] = (),
) -> Method[Learner]:
    """Word vectors by stochastic gradient descent on the rows of two tables.

    A step goes through the batch in parts of `rows` rows, and each part descends from the
    vectors that the one before has left: the released code does so after every word. A part
    touches the vectors of its own words alone, so that a step costs the same for every
    vocabulary. The learning rate per pair is the paper's, and the sum over a part must not
    be too large: parts of many rows need a lower rate.

    Departures from the released code: windows end at the ends of rows; the negatives of a
    word's window are drawn once for all its pairs (Ji et al. 2016), or once for a row; the
    gradient of a mean of vectors is divided among them, which the released CBOW forgets
    (Irsoy et al. 2021, https://arxiv.org/abs/2012.15332).

    Args:
      counts: int [v], of each token of the vocabulary in the training data; words with 0
        (special tokens, padding) are left out of the windows.
      width: of the vectors.
      rate: step number -> learning rate. The paper: 0.025, falling linearly to 0.
      prepare: batch -> tokens int [n, l], windows of a text.
      predict: "window" (skip-gram) or "center" (CBOW).
      loss: "negative" (sampling) or "hierarchical" (softmax).
      window: words on either side at most; the number is drawn from 1 to this.
      negatives: words drawn for each pair.
      shared: words drawn for a whole row, each of which stands for its share of the
        negatives of all pairs; 0: each window has its own `negatives`.
      power: of the counts, in the distribution of negatives.
      sample: threshold of subsampling; 0: none.
      rule: of subsampling, "code" or "paper".
      mean: CBOW's mean of the window, else its sum.
      rows: of the batch, in one part; must divide it.
      words: of the vocabulary, for the picture of nearest words.

    Raises:
      ValueError: an unknown choice, or a batch that does not divide into parts.
    """
    _check("predict", predict, ("window", "center"))
    _check("loss", loss, ("negative", "hierarchical"))
    counts = np.asarray(counts)
    size, center = len(counts), predict == "center"
    keep = keep_probability(counts, sample, rule)
    known = np.flatnonzero(counts)
    noise = alias(np.where(counts > 0, (counts / max(counts.max(), 1)) ** power, 0))
    tree = _tree(counts) if loss == "hierarchical" else []
    drawn = shared or negatives

    def init(key, batch):
        del batch
        vectors = jax.random.uniform(key, (size, width), jnp.float32, -0.5, 0.5) / width
        params = {"inputs": vectors, "outputs": jnp.zeros((size, width), jnp.float32)}
        return Learner(params, {}, Updates(jnp.zeros((), jnp.int32)))

    def part_loss(v, u, x, pairs, noisy):
        """Sum over the pairs of a part, of gathered rows v [n, l, d] and u [n, ..., d]."""
        if center:
            each = pairs / (jnp.maximum(pairs.sum(2, keepdims=True), 1) if mean else 1)
            h, weight = each @ v, (pairs.sum(2) > 0).astype(v.dtype)  # [n, l, d], [n, l]
        else:
            h = v
        if loss == "hierarchical":
            return _along_paths(h, u, x, pairs, tree, center)
        right, wrong = u[:, : x.shape[1]], u[:, x.shape[1] :]
        clash = noisy[:, None] == x[:, :, None] if shared else noisy == x[:, :, None]
        if center:
            near = (h * right).sum(2)  # [n, l]
            value = (weight * jax.nn.softplus(-near)).sum()
            times = weight[:, :, None] * ~clash
        else:
            near = h @ right.swapaxes(1, 2)  # [n, l, l]
            value = (pairs * jax.nn.softplus(-near)).sum()
            # A negative counts for the pairs whose word it is not.
            if shared:
                times = pairs.sum(2, keepdims=True) - pairs @ clash.astype(v.dtype)
            else:
                same = x[:, None, :, None] == noisy[:, :, None]  # [n, l, l, k]
                times = (pairs[..., None] * ~same).sum(2)
        if shared:
            far = h @ wrong.swapaxes(1, 2)  # [n, l, shared]
        else:
            wrong = wrong.reshape(*x.shape, drawn, -1)
            far = (wrong @ h[..., None])[..., 0]  # [n, l, negatives]
        return value + negatives / drawn * (times * jax.nn.softplus(far)).sum()

    def descend(tables, item, lr):
        """One part: gathers its vectors, and moves them along their gradient."""
        x, pairs, noisy = item
        inputs, outputs = tables
        if loss == "hierarchical":
            at = jnp.asarray(tree[1])[x].reshape(len(x), -1)
        else:
            at = jnp.concatenate([x, noisy.reshape(len(x), -1)], 1)
        args = x, pairs.astype(inputs.dtype), noisy
        grad = jax.value_and_grad(part_loss, (0, 1))
        value, (dv, du) = grad(inputs[x], outputs[at], *args)
        inputs = inputs.at[x].add(-(lr * dv).astype(inputs.dtype))
        outputs = outputs.at[at].add(-(lr * du).astype(outputs.dtype))
        return (inputs, outputs), (value, pairs.any(2).sum() if center else pairs.sum())

    def drawn_parts(key, tokens):
        """Kept words, pairs and negatives: [parts, rows, ...]."""
        if len(tokens) % rows:
            raise ValueError(
                f"word2vec: a batch of {len(tokens)} does not divide into parts of {rows} "
                f"rows: choose a divisor of the batch"
            )
        keep_key, reach_key, noise_key = jax.random.split(key, 3)
        fate = jax.random.uniform(keep_key, tokens.shape, jnp.float32)
        x, kept = compacted(tokens, fate < jnp.asarray(keep)[tokens])
        reach = jax.random.randint(reach_key, x.shape, 1, window + 1)
        shape = (len(x), shared) if shared else (*x.shape, negatives)
        noisy = draw_words(noise_key, noise, shape)
        # Every part has rows of every device.
        cut = lambda y: y.reshape(rows, -1, *y.shape[1:]).swapaxes(0, 1)
        return cut(x), cut(reach), cut(kept), cut(noisy)

    def step(key, state, batch):
        lr = rate(state.opt.count)
        x, reach, kept, noisy = drawn_parts(key, prepare(batch))

        def one(tables, item):
            x, reach, kept, noisy = item
            return descend(tables, (x, window_pairs(reach, kept), noisy), lr)

        tables = state.params["inputs"], state.params["outputs"]
        tables, (value, pairs) = jax.lax.scan(one, tables, (x, reach, kept, noisy))
        params = dict(zip(("inputs", "outputs"), tables, strict=True))
        metrics = {
            "loss": value.sum() / jnp.maximum(pairs.sum(), 1),
            "learning_rate": jnp.asarray(lr, jnp.float32),
            "words": kept.sum().astype(jnp.float32),
        }
        return Learner(params, state.stats, Updates(state.opt.count + 1)), metrics

    def embed(state, batch):
        tokens = prepare(batch)
        seen = (jnp.asarray(counts)[tokens] > 0).astype(jnp.float32)
        total = (state.weights["inputs"][tokens] * seen[..., None]).sum(1)
        return {"h": total / jnp.maximum(seen.sum(1, keepdims=True), 1)}

    def render(key, state, batch, collect):
        if not words:
            return {}
        often = known[np.argsort(-counts[known], kind="stable")]
        # Not the most frequent ones, which are near all others.
        asked = often[np.linspace(len(often) // 20, len(often) // 2, QUERIES).astype(int)]
        few = min(NEAREST, len(often) - 1)
        near, _ = nearest_words(state.weights["inputs"], asked, few, often)
        lines = [f"{words[i]}: {', '.join(words[j] for j in row)}" for i, row in
                 zip(asked, np.asarray(near), strict=True)]  # fmt: skip
        return {"nearest words": "\n".join(lines) + "\n"}

    return Method(init, step, embed, render=render)


def _along_paths(h, nodes, x, pairs, tree, center):
    """The hierarchical softmax of a part, with the nodes [n, l b, d] of its words."""
    codes, _, lengths = (jnp.asarray(table)[x] for table in tree)  # [n, l, b], ..., [n, l]
    walked = jnp.arange(codes.shape[2]) < lengths[..., None]
    signs = 2 * codes - 1
    nodes = nodes.reshape(*codes.shape, -1)
    if center:
        turns = signs * (nodes @ h[..., None])[..., 0]
        there = walked & pairs.any(2)[..., None]
        return jnp.where(there, jax.nn.softplus(turns), 0).sum()
    turns = signs[:, None] * jnp.einsum("ntd,nsbd->ntsb", h, nodes)
    nats = jnp.where(walked[:, None], jax.nn.softplus(turns), 0).sum(3)
    return (pairs * nats).sum()


def _tree(counts):
    """The Huffman code of the words that occur, in tables of all words."""
    known, found = np.flatnonzero(counts), []
    for own in huffman(counts[known]):
        whole = np.zeros((len(counts), *own.shape[1:]), np.int32)
        whole[known] = own
        found.append(whole)
    return found


def _check(name: str, value: Any, choices: Sequence[str]) -> None:
    if value not in choices:
        raise ValueError(f"word2vec: {name} must be {' or '.join(choices)}, got {value!r}")
