"""A new sample is what its nearest neighbours are: weighted kNN, nothing to train.

Z. Wu, Y. Xiong, S. Yu, D. Lin, "Unsupervised Feature Learning via Non-Parametric
Instance Discrimination", CVPR 2018 (https://arxiv.org/abs/1805.01978). With features on
the unit sphere and s_i = h . h_i, the k most similar training samples vote,

    score(c) = sum_{i in N_k, y_i = c} exp(s_i / tau).

The paper has k = 200 and tau = 0.07. With few samples a class so many neighbours cap
the accuracy, and 20 usually served DINO best (https://arxiv.org/abs/2104.14294): k = 20
is the default here.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int, Integer

from jssl.evals.protocol import Eval, Features, Labeled, fit_and_judge, metric, of_which
from jssl.ops.shapes import expect

BLOCK = 32  # similarities whose largest is looked at first


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
    """The class of each query by a vote of its k nearest training rows.

    The scores of a query are divided by their sum, so they are its class probabilities;
    that changes no prediction, and no temperature, however low, underflows.

    Args:
      labels: 0 ... classes - 1; a label outside has no vote.
      k: at most n are used. Equally similar rows: the earlier ones.
      temperature: 0 in the limit is 1-NN, infinity the plain majority of the k.
      chunk: queries compared at a time: the memory is chunk * n.

    Returns:
      Predicted classes (of equal scores the lower one) and scores.

    Raises:
      ValueError: shapes or dtypes do not fit; k, classes or chunk is below 1.

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
        # TPUs and recent GPUs would round the factors, and neighbours with them.
        cosine = jnp.matmul(_unit(rows), bank.T, precision=lax.Precision.HIGHEST)
        nearest, index = _top_k(cosine, k, n)  # [chunk, k]
        weight = jax.nn.softmax(nearest / temperature)
        hit = labels[index][:, :, None] == jnp.arange(classes)
        return jnp.sum(weight[:, :, None] * hit, axis=1)  # [chunk, classes]

    padded = jnp.pad(jnp.asarray(queries), ((0, -m % chunk), (0, 0)))
    scores = lax.map(vote, padded.reshape(-1, chunk, d)).reshape(-1, classes)[:m]
    return jnp.argmax(scores, axis=1), scores


def knn(
    k: int = 20, temperature: float = 0.07, *, name: str = "h", target: str = "label"
) -> Eval:
    """Accuracy in [0, 1] of the weighted kNN vote; there is nothing to choose on val.

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
    return Eval(how + of_which(name, target), run)


def knn_if_labeled(source: Any) -> dict[str, Eval]:
    """{"knn": knn()} for a source with classes, {} for one without."""
    return {"knn": knn()} if source.classes else {}


def knn_accuracy(
    bank: Labeled, judge: Labeled, *, k: int = 20, temperature: float = 0.07
) -> float:
    """The fraction of the rows of `judge` that a vote of those of `bank` gets right."""
    (h, y), (queries, truth) = bank, judge
    vote = jax.jit(knn_predict, static_argnames=("k", "classes", "chunk"))
    classes = int(y.max()) + 1
    found, _ = vote(h, y, queries, k=k, temperature=temperature, classes=classes)
    return float(np.mean(np.asarray(found) == truth))


def _top_k(x, k, n):
    """`lax.top_k` of the first n columns, sooner: the k blocks with the largest maxima
    hold the k largest numbers. Blocks stay in their order: of equals, the earlier."""
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
    norm = jnp.linalg.norm(x, axis=-1, keepdims=True)
    return x / jnp.maximum(norm, jnp.finfo(x.dtype).tiny)
