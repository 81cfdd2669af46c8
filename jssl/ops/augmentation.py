"""Generated rows as training data: full use, and partial use of accepted rows.

    full:     the data, and m N generated rows
    partial:  the same of accepted rows only, from at most `cap` m N proposals

Classes are equally frequent among the added rows, unless `cap` ends the proposals before.
m = 0 returns the data.

Luo and Lu, "EEG Data Augmentation for Emotion Recognition Using a Conditional Wasserstein
GAN", EMBC 2018; Luo, Zhu, Wan and Lu, "Data Augmentation for Enhancing EEG-based Emotion
Recognition with Deep Generative Models", J. Neural Engineering 2020,
https://arxiv.org/abs/2006.05331. The latter only says that rows of high quality are
selected: the three rules here are our own.
"""

from collections.abc import Callable

import jax
import numpy as np
from jaxtyping import Bool, Float, Integer, PRNGKeyArray, Shaped

Rows = Float[np.ndarray, "n *d"]
Labels = Integer[np.ndarray, " n"]
More = Float[np.ndarray, "m *d"]
MoreLabels = Integer[np.ndarray, " m"]
Draw = Callable[[PRNGKeyArray, np.ndarray], np.ndarray]  # (key, y [n]) -> x [n, ...]
Accept = Callable[[np.ndarray, np.ndarray], np.ndarray]  # (x, y) -> bool [n]


def balanced_labels(n: int, classes: int) -> Integer[np.ndarray, " n"]:
    """Labels of n rows, all classes in turn.

    >>> balanced_labels(5, 2).tolist()
    [0, 1, 0, 1, 0]
    """
    return np.arange(n, dtype=np.int32) % classes


def augment_dataset(
    key: PRNGKeyArray,
    x: Rows,
    y: Labels,
    distort: Callable[[PRNGKeyArray, np.ndarray], np.ndarray],
    multiple: float | int,
) -> tuple[More, MoreLabels]:
    """Appends distorted copies of rows, each copy of the data in a random order.

    Args:
      key: of the distortions and the orders.
      x, y: N rows and their labels.
      distort: (key, rows) -> rows of the same labels.
      multiple: m; round(m N) rows are appended.

    >>> x, y = np.array([[1.0], [2.0]]), np.array([0, 1])
    >>> more = augment_dataset(jax.random.key(0), x, y, lambda key, x: -x, 1.5)
    >>> more[0].ravel().tolist()[:2], sorted(more[0].ravel().tolist()[2:4]), len(more[1])
    ([1.0, 2.0], [-2.0, -1.0], 5)
    """
    choose, key = jax.random.split(key)
    count = _appended(x, multiple)
    keys = (jax.random.fold_in(choose, i) for i in range(count // len(x) + 1))
    orders = [np.asarray(jax.random.permutation(key, len(x))) for key in keys]
    rows = np.concatenate(orders)[:count]
    parts = np.split(rows, np.arange(len(x), count, len(x))) if count else []
    made = [
        np.asarray(distort(jax.random.fold_in(key, i), x[part]), x.dtype)
        for i, part in enumerate(parts)
    ]
    return np.concatenate([x, *made]), np.concatenate([y, y[rows]])


def augment_full(
    key: PRNGKeyArray, draw: Draw, x: Rows, y: Labels, multiple: float | int
) -> tuple[More, MoreLabels]:
    """Appends all of m N generated rows, classes in turn.

    Args:
      key: of the generated rows.
      draw: (key, labels) -> generated rows of these labels.
      x, y: N rows, and their labels 0 ... K - 1.
      multiple: m.

    >>> x, y = np.array([[1.0], [2.0]]), np.array([0, 1])
    >>> more = augment_full(jax.random.key(0), lambda key, y: 10.0 * y[:, None], x, y, 1)
    >>> more[0].ravel().tolist(), more[1].tolist()
    ([1.0, 2.0, 0.0, 10.0], [0, 1, 0, 1])
    """
    labels = balanced_labels(_appended(x, multiple), int(y.max()) + 1)
    if not len(labels):
        return x, y
    made = np.asarray(draw(key, labels), x.dtype)
    return np.concatenate([x, made]), np.concatenate([y, labels.astype(y.dtype)])


def augment_partial(
    key: PRNGKeyArray,
    draw: Draw,
    accept: Accept,
    x: Rows,
    y: Labels,
    multiple: float | int,
    cap: int = 20,
) -> tuple[More, MoreLabels, float]:
    """Appends accepted generated rows until there are m N, classes equally frequent.

    Each round proposes m N rows, classes in turn. A class is full with its share of m N.

    Args:
      key: of the generated rows.
      draw: (key, labels) -> generated rows of these labels.
      accept: (rows, labels) -> bool [n].
      x, y: N rows, and their labels 0 ... K - 1.
      multiple: m.
      cap: number of rounds, after which fewer rows than m N are appended.

    Returns:
      Rows, labels, and the fraction of proposals that were accepted; 1 without any.

    >>> x, y = np.array([[1.0], [2.0]]), np.array([0, 1])
    >>> draw = lambda key, y: np.asarray(jax.random.normal(key, (len(y), 1)))
    >>> positive = lambda x, y: x[:, 0] > 0
    >>> more = augment_partial(jax.random.key(0), draw, positive, x, y, 3)
    >>> len(more[0]), bool((more[0] > 0).all()), 0.2 < more[2] < 0.8
    (8, True, True)
    """
    wanted = balanced_labels(_appended(x, multiple), int(y.max()) + 1)
    shares = np.bincount(wanted, minlength=int(y.max()) + 1)
    kept: list[list[np.ndarray]] = [[] for _ in shares]
    proposed = accepted = 0
    for i in range(cap):
        if all(len(rows) >= share for rows, share in zip(kept, shares, strict=True)):
            break
        made = np.asarray(draw(jax.random.fold_in(key, i), wanted), x.dtype)
        good = np.asarray(accept(made, wanted), bool)
        proposed, accepted = proposed + len(made), accepted + int(good.sum())
        for k, rows in enumerate(kept):
            rows += list(made[good & (wanted == k)])
    rounds = range(max(shares, default=0))  # classes in turn, as far as there are rows
    order = [
        (k, i) for i in rounds for k in range(len(kept)) if i < len(kept[k][: shares[k]])
    ]
    rate = accepted / proposed if proposed else 1.0
    if not order:
        return x, y, rate
    rows = np.stack([kept[k][i] for k, i in order])
    labels = np.array([k for k, _ in order], y.dtype)
    return np.concatenate([x, rows]), np.concatenate([y, labels]), rate


def select_by_confidence(
    probabilities: Float[np.ndarray, "n k"], y: Labels, tau: float | int = 0.9
) -> Bool[np.ndarray, " n"]:
    """Accepts rows whose class has at least the probability tau.

    The classifier of the probabilities is to be trained on real rows only.

    >>> p = np.array([[0.95, 0.05], [0.2, 0.8]])
    >>> select_by_confidence(p, np.array([0, 1])).tolist()
    [True, False]
    """
    return probabilities[np.arange(len(y)), y] >= tau


def select_by_critic(
    scores: Float[np.ndarray, " n"],
    y: Labels,
    real_scores: Float[np.ndarray, " m"],
    real_y: Integer[np.ndarray, " m"],
    quantile: float | int = 0.25,
) -> Bool[np.ndarray, " n"]:
    """Accepts rows with a critic's score s(x|y) above a quantile of real rows of the class.

    Args:
      scores, y: of the generated rows.
      real_scores, real_y: of real rows that the critic was not trained on.
      quantile: 0 accepts rows above the lowest real one.

    >>> real = np.array([1.0, 2.0, 3.0]), np.zeros(3, int)
    >>> select_by_critic(np.array([1.2, 1.7]), np.zeros(2, int), *real).tolist()
    [False, True]
    """
    classes = np.unique(real_y)
    limits = np.full(int(max(y.max(initial=0), real_y.max())) + 1, np.inf)
    limits[classes] = [np.quantile(real_scores[real_y == k], quantile) for k in classes]
    return scores > limits[y]


def select_by_knn(
    x: Shaped[np.ndarray, "n *d"],
    y: Labels,
    real_x: Shaped[np.ndarray, "m *d"],
    real_y: Integer[np.ndarray, " m"],
    k: int = 5,
) -> Bool[np.ndarray, " n"]:
    """Accepts rows within the k-nearest-neighbor ball of a real row of their class.

    The radius of a real row is the distance to its k-th nearest other row of the class, as
    in improved precision (Kynkaanniemi et al. 2019, https://arxiv.org/abs/1904.06991).

    >>> real = np.array([[0.0], [1.0], [5.0]]), np.zeros(3, int)
    >>> select_by_knn(np.array([[0.5], [8.0]]), np.zeros(2, int), *real, k=1).tolist()
    [True, True]
    >>> select_by_knn(np.array([[2.5]]), np.zeros(1, int), real[0][:2], real[1][:2], k=1)
    array([False])
    """
    from scipy.spatial.distance import cdist

    found = np.zeros(len(y), bool)
    x, real_x = x.reshape(len(x), -1), real_x.reshape(len(real_x), -1)
    for label in np.unique(y):
        mine, real = y == label, real_x[real_y == label]
        if len(real) <= k:
            continue
        reach = np.sort(cdist(real, real), axis=1)[:, k]
        found[mine] = (cdist(x[mine], real) <= reach).any(axis=1)
    return found


def _appended(x, multiple):
    """round(m N).

    Raises:
      ValueError: m is negative.
    """
    if multiple < 0:
        raise ValueError(f"the multiple of appended rows must be 0 or more, got {multiple}")
    return round(multiple * len(x))
