"""Weighted k-nearest-neighbor classification of frozen features.

Z. Wu, Y. Xiong, S. Yu, D. Lin, "Unsupervised Feature Learning via Non-Parametric
Instance Discrimination", CVPR 2018 (https://arxiv.org/abs/1805.01978). With features on
the unit sphere and s_i = h . h_i, the k most similar training samples vote,

    score(c) = sum_{i in N_k, y_i = c} exp(s_i / tau).

The paper has k = 200 and tau = 0.07. With few samples per class so many neighbors limit
the accuracy, and k = 20 was best for most runs of DINO (https://arxiv.org/abs/2104.14294):
it is the default here.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int, Integer

from jssl.evals.protocol import (
    Eval,
    Features,
    Labeled,
    fit_and_judge,
    metric,
    of_settings,
    of_which,
)
from jssl.ops.shapes import expect

BLOCK = 32  # similarities per block of the two-level top-k


def knn_predict(
    train: Float[Array | np.ndarray, "n d"],
    labels: Integer[Array | np.ndarray, " n"],
    queries: Float[Array | np.ndarray, "m d"],
    *,
    k: int = 20,
    temperature: float | Float[Array, ""] = 0.07,
    classes: int,
    chunk: int = 1024,
) -> tuple[Int[Array, " m"], Float[Array, "m c"]]:
    """Predicts the class of each query by a weighted vote of its k nearest training rows.

    The scores of a query are normalized to class probabilities, which changes no prediction
    and avoids underflow at any temperature.

    Args:
      train: features of the training rows; rows of zeros, as rows with all entries
        below 1e-19, have a cosine of 0 with every query.
      labels: 0 ... classes - 1; labels out of range do not vote.
      queries: features to classify.
      k: number of neighbors, at most n are used; ties go to the earlier row.
      temperature: 1-NN in the limit 0, unweighted majority in the limit infinity.
      classes: number of classes.
      chunk: queries compared at a time; memory is chunk * n.

    Returns:
      Predicted classes (ties go to the lower class) and scores. A query that is not finite
      has class -1 and scores NaN, as have all queries if a training row is not finite.

    Raises:
      ValueError: inconsistent shapes or dtypes; k, classes or chunk is below 1.

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
    if min(k, classes, chunk, n, m) < 1:
        raise ValueError(
            "knn_predict: k, classes, chunk and the rows of train and queries must be "
            f"at least 1, got {k}, {classes}, {chunk}, {n}, {m}"
        )
    k, chunk = min(k, n), min(chunk, m)
    bank, labels = _unit(jnp.asarray(train)), jnp.asarray(labels)
    bank = jnp.pad(bank, ((0, -n % BLOCK), (0, 0)))

    def vote(rows):  # [chunk, d]
        # TPUs and recent GPUs would round the factors, which changes neighbors.
        cosine = jnp.matmul(_unit(rows), bank.T, precision=lax.Precision.HIGHEST)
        nearest, index = _top_k(cosine, k, n)  # [chunk, k]
        weight = jax.nn.softmax(nearest / temperature)
        hit = labels[index][:, :, None] == jnp.arange(classes)
        return jnp.sum(weight[:, :, None] * hit, axis=1)  # [chunk, classes]

    padded = jnp.pad(jnp.asarray(queries), ((0, -m % chunk), (0, 0)))
    scores = lax.map(vote, padded.reshape(-1, chunk, d)).reshape(-1, classes)[:m]
    finite = jnp.isfinite(queries).all(axis=1) & jnp.isfinite(train).all()
    found = jnp.where(finite, jnp.argmax(scores, axis=1), -1)
    return found, jnp.where(finite[:, None], scores, jnp.nan)


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
    vote = jax.jit(knn_predict, static_argnames=("k", "classes", "chunk"))
    classes = int(y.max()) + 1
    found, _ = vote(h, y, queries, k=k, temperature=temperature, classes=classes)
    return float(np.mean(np.asarray(found) == truth))


def _top_k(x, k, n):
    """A faster `lax.top_k` of the first n columns.

    The k blocks with the largest maxima contain the k largest numbers. Blocks keep their
    order, so ties go to the earlier column.
    """
    m, count = len(x), x.shape[1] // BLOCK
    if count <= k:
        return lax.top_k(x[:, :n], k)
    best = x.reshape(m, count, BLOCK).max(2)[:, :-1]  # the last may hold padding
    blocks = jnp.sort(lax.top_k(best, k)[1])
    blocks = jnp.pad(blocks, ((0, 0), (0, 1)), constant_values=count - 1)
    index = (BLOCK * blocks[:, :, None] + jnp.arange(BLOCK)).reshape(m, -1)
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
