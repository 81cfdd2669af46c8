"""Weighted k-nearest-neighbor classification of frozen features.

Z. Wu, Y. Xiong, S. Yu, D. Lin, "Unsupervised Feature Learning via Non-Parametric
Instance Discrimination", CVPR 2018 (https://arxiv.org/abs/1805.01978). With features on
the unit sphere and s_i = h . h_i, the k most similar training samples vote,

    score(c) = sum_{i in N_k, y_i = c} exp(s_i / tau).

The paper has k = 200 and tau = 0.07. With few samples per class so many neighbors limit
the accuracy, and k = 20 was best for most runs of DINO (https://arxiv.org/abs/2104.14294):
it is the default here.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int, Integer

from jssl.evals.protocol import (
    ON_DEVICE,
    Eval,
    Features,
    Labeled,
    fit_and_judge,
    metric,
    of_settings,
    of_which,
)
from jssl.ops.shapes import expect

GROUP = 32  # similarities per group of the two-level top-k
ROWS = 2**17  # most training rows on the device at a time


def knn_predict(
    train: Float[Array | np.ndarray, "n d"],
    labels: Integer[Array | np.ndarray, " n"],
    queries: Float[Array | np.ndarray, "m d"],
    *,
    k: int = 20,
    temperature: float | Float[Array, ""] = 0.07,
    classes: int,
    chunk: int = 1024,
    block: int | None = None,
) -> tuple[Int[Array, " m"], Float[Array, "m c"]]:
    """Predicts the class of each query by a weighted vote of its k nearest training rows.

    The scores of a query are normalized to class probabilities, which changes no prediction
    and avoids underflow at any temperature.

    Training rows in numpy arrays stay on the host: the device has one block of them at a
    time, with its neighbors the best of the blocks before. Besides the queries, that is
    about 3 GiB by default (the block, its unit rows, padded, and a chunk of cosines),
    whatever n.

    Args:
      train: features of the training rows; rows of zeros, as rows with all entries
        below 1e-19, have a cosine of 0 with every query.
      labels: 0 ... classes - 1; labels out of range do not vote.
      queries: features to classify.
      k: number of neighbors, at most n are used; ties go to the earlier row.
      temperature: 1-NN in the limit 0, unweighted majority in the limit infinity.
      classes: number of classes.
      chunk: queries compared at a time; memory is chunk * block.
      block: most training rows on the device; None: 131,072, or fewer of more than 2,048
        features, so that they are 1 GiB at most.

    Returns:
      Predicted classes (ties go to the lower class) and scores. A query that is not finite
      has class -1 and scores NaN, as have all queries if a training row is not finite.

    Raises:
      ValueError: inconsistent shapes or dtypes; k, classes, chunk or block is below 1.

    Reference: Wu et al., CVPR 2018, section 3.4.

    >>> bank = jnp.array([[0.9, 0.19**0.5], [0.8, 0.6], [0.7, 0.51**0.5]])
    >>> labels, query = jnp.array([0, 1, 1]), jnp.array([[1.0, 0.0]])
    >>> found, scores = knn_predict(bank, labels, query, classes=2)
    >>> # Cosines .9, .8, .7: 1 / (1 + exp(-.1 / .07) + exp(-.2 / .07)) = .771.
    >>> print(found, *(f"{share:.3f}" for share in scores[0]))
    [0] 0.771 0.229
    """
    sizes = expect(
        "knn_predict",
        train=(train, "n d"),
        labels=(labels, "n", "int"),
        queries=(queries, "m d"),
    )
    n, m, d = sizes["n"], sizes["m"], sizes["d"]
    if block is None:
        block = max(1, min(ROWS, ON_DEVICE // max(d, 1)))
    if min(k, classes, chunk, block, n, m) < 1:
        raise ValueError(
            "knn_predict: k, classes, chunk, block and the rows of train and queries must "
            f"be at least 1, got {k}, {classes}, {chunk}, {block}, {n}, {m}"
        )
    queries, chunk = jnp.asarray(queries), min(chunk, m)
    best, finite = None, jnp.isfinite(queries).all(axis=1)
    size = -(-n // -(-n // block))  # blocks of equal size
    for begin in range(0, n, size):
        rows = train[begin : begin + size]
        best, whole = _nearest(rows, begin, queries, best, k=k, chunk=chunk)
        # The next block would be on the device beside this one.
        finite = jax.block_until_ready(finite & whole)
    scores = _votes(best, jnp.asarray(labels), temperature, classes=classes, chunk=chunk)
    found = jnp.where(finite, jnp.argmax(scores, axis=1), -1)
    return found, jnp.where(finite[:, None], scores, jnp.nan)


@partial(jax.jit, static_argnames=("k", "chunk"))
def _nearest(rows, begin, queries, best, *, k, chunk):
    """The k most similar of a block of rows, numbered from `begin`, and of the `best`.

    Returns:
      Their cosines and their numbers, [m, k], in order; and if all rows are finite.
    """
    n = len(rows)
    bank = jnp.pad(_unit(rows), ((0, -n % GROUP), (0, 0)))

    def nearest(part):
        queries, best = part
        # TPUs and recent GPUs would round the factors, which changes neighbors.
        cosine = jnp.matmul(_unit(queries), bank.T, precision=lax.Precision.HIGHEST)
        found, index = _top_k(cosine, min(k, n), n)
        index += begin
        if best is not None:  # of equals the first, hence of the earlier block
            found, index = (
                jnp.concatenate(x, axis=1) for x in zip(best, (found, index), strict=True)
            )
            found, place = lax.top_k(found, min(k, found.shape[1]))
            index = jnp.take_along_axis(index, place, axis=1)
        return found, index

    return _by_chunks(nearest, (queries, best), chunk), jnp.isfinite(rows).all()


@partial(jax.jit, static_argnames=("classes", "chunk"))
def _votes(best, labels, temperature, *, classes, chunk):
    """Scores [m, classes] of neighbors."""

    def vote(best):
        nearest, index = best
        weight = jax.nn.softmax(nearest / temperature)
        hit = labels[index][:, :, None] == jnp.arange(classes)
        return jnp.sum(weight[:, :, None] * hit, axis=1)  # [chunk, classes]

    return _by_chunks(vote, best, chunk)


def _by_chunks(function, x, chunk):
    """`function` of trees of rows, `chunk` rows at a time."""
    m = len(jax.tree.leaves(x)[0])
    padded = jax.tree.map(lambda a: jnp.pad(a, ((0, -m % chunk), (0, 0))), x)
    parts = jax.tree.map(lambda a: a.reshape(-1, chunk, a.shape[1]), padded)
    found = lax.map(function, parts)
    return jax.tree.map(lambda a: a.reshape(-1, a.shape[2])[:m], found)


@of_settings("knn_accuracy(train_x, train_y, test_x, test_y)")
def knn(
    k: int = 20, temperature: float = 0.07, *, name: str = "h", target: str = "label"
) -> Eval:
    """Accuracy in [0, 1] of weighted kNN; selects no hyperparameter on val.

    Args:
      k: number of neighbors.
      temperature: of the votes.
      name: output of the method.
      target: column of class numbers.

    Raises:
      ValueError: k below 1, or a temperature that is not positive.
    """
    if k < 1 or not temperature > 0:
        raise ValueError(f"knn needs k >= 1, temperature > 0, got {k}, {temperature}")

    def run(features: Features, final: bool) -> dict:
        bank, judge = fit_and_judge(features, final, name, target)
        score = knn_accuracy(bank, judge, k=k, temperature=temperature)
        return {metric("knn", target): score}

    how = f"weighted kNN: k={k}, cosine, temperature={temperature:g}"
    return Eval(how + of_which(name, target), run, (name,), online=True)


def knn_if_labeled(source: Any) -> dict[str, Eval]:
    """{"knn": knn()} for a source with classes, {} for one without."""
    return {"knn": knn()} if source.classes else {}


def knn_accuracy(
    bank: Labeled, judge: Labeled, *, k: int = 20, temperature: float = 0.07
) -> float:
    """kNN accuracy on the rows of `judge`, with neighbors among the rows of `bank`."""
    (h, y), (queries, truth) = bank, judge
    classes = int(y.max()) + 1
    found, _ = knn_predict(h, y, queries, k=k, temperature=temperature, classes=classes)
    return float(np.mean(np.asarray(found) == truth))


def _top_k(x, k, n):
    """A faster `lax.top_k` of the first n columns.

    The k groups with the largest maxima contain the k largest numbers. Groups keep their
    order, so ties go to the earlier column.
    """
    m, count = len(x), x.shape[1] // GROUP
    if count <= k:
        return lax.top_k(x[:, :n], k)
    best = x.reshape(m, count, GROUP).max(2)[:, :-1]  # the last may hold padding
    groups = jnp.sort(lax.top_k(best, k)[1])
    groups = jnp.pad(groups, ((0, 0), (0, 1)), constant_values=count - 1)
    index = (GROUP * groups[:, :, None] + jnp.arange(GROUP)).reshape(m, -1)
    found = jnp.where(index < n, jnp.take_along_axis(x, index, axis=1), -jnp.inf)
    largest, place = lax.top_k(found, k)
    return largest, jnp.take_along_axis(index, place, axis=1)


def _unit(x):
    """Rows scaled to length 1; 0 where all entries are below 1e-19."""
    top = jnp.abs(x).max(-1, keepdims=True, initial=0)
    # Squares of such numbers overflow, or lose digits.
    x = jnp.where(top > 2.0**60, x * 2.0**-80, jnp.where(top < 2.0**-40, x * 2.0**64, x))
    long = top >= 1e-19
    norm = jnp.linalg.norm(jnp.where(long, x, 1), axis=-1, keepdims=True)
    return jnp.where(long, x / norm, 0)
