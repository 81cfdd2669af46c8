r"""Few-shot evaluation: prototype episodes, and linear probes on k labels per class.

J. Snell, K. Swersky, R. Zemel, "Prototypical Networks for Few-shot Learning", NeurIPS
2017 (https://arxiv.org/abs/1703.05175). An episode draws N classes and K rows of each,
whose mean is the class's prototype; query rows are assigned to the nearest prototype:

.. math:: \hat y = \arg\min_c \lVert h - \mu_c \rVert^2
    = \arg\max_c 2 \mu_c \cdot h - \lVert \mu_c \rVert^2, \qquad
    \mu_c = \frac{1}{K} \sum_{i \in S_c} h_i.

The metric is the mean accuracy of E episodes, with a 95 % confidence interval of
+- 1.96 s / sqrt(E), where s is their standard deviation (divisor E - 1).
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int, Integer

from jssl.evals.linear import (
    TOY_GRID,
    LogReg,
    logreg_fit,
    logreg_path,
    logreg_predict_proba,
)
from jssl.evals.protocol import Eval, Features, Labeled, labeled, of_settings
from jssl.evals.retrieval import unit_rows
from jssl.ops.shapes import expect


def episode(
    rng: np.random.Generator,
    y: Integer[np.ndarray, " n"],
    n_way: int,
    k_shot: int,
    n_query: int,
) -> tuple[
    Int[np.ndarray, "n_way k_shot"],
    Int[np.ndarray, "n_way n_query"],
    Int[np.ndarray, " n_way"],
]:
    """Draws an episode: support and query rows of randomly drawn classes.

    Returns:
      support, query: indices of distinct rows, row c of each of class classes[c];
      classes: n_way distinct labels.

    Raises:
      ValueError: a number is below 1, y has fewer than n_way classes, or a class has
        fewer than k_shot + n_query rows.

    Reference: Snell et al., NeurIPS 2017, section 2.

    >>> rng, y = np.random.default_rng(0), np.array([7, 7, 7, 9, 9, 9])
    >>> support, query, classes = episode(rng, y, 2, 1, 2)
    >>> sorted(classes.tolist()), sorted([*support.flat, *query.flat]) == [0, 1, 2, 3, 4, 5]
    ([7, 9], True)
    """
    if min(n_way, k_shot, n_query) < 1:
        raise ValueError(
            "episode: n_way, k_shot and n_query must be at least 1, got "
            f"{n_way}, {k_shot} and {n_query}"
        )
    return _draw(rng, _rows_of(y, k_shot + n_query), n_way, k_shot, n_query)


def prototype_predict(
    support: Float[np.ndarray, "c k d"], query: Float[np.ndarray, "m d"]
) -> Int[np.ndarray, " m"]:
    """Class of each query, 0 ... c - 1: that of the nearest mean support row.

    argmin_c |h - mu_c|^2; ties go to the first.

    Raises:
      ValueError: inconsistent shapes or dtypes, or empty support.

    Reference: Snell et al., NeurIPS 2017, equation 2.

    >>> support = np.array([[[0.0], [2.0]], [[5.0], [7.0]]])  # means 1 and 6
    >>> print(prototype_predict(support, np.array([[3.0], [4.0]])))
    [0 1]
    """
    from scipy.spatial.distance import cdist

    sizes = expect("prototype_predict", support=(support, "c k d"), query=(query, "m d"))
    if min(sizes["c"], sizes["k"]) < 1:
        raise ValueError(f"prototype_predict: support is empty: {list(support.shape)}")
    # cdist is exact for equal rows, unlike matrix products: ties go to the first.
    return cdist(query, support.mean(axis=1), "sqeuclidean").argmin(axis=1)


@of_settings("few_shot()(Arrays(test=(x, y)), True)")
def few_shot(
    n_way: int = 5,
    k_shot: int = 5,
    n_query: int = 15,
    episodes: int = 600,
    seed: int = 0,
) -> Eval:
    """Mean accuracy in [0, 1] of prototypes of features scaled to length 1.

    Episodes are drawn from the judged split only; nothing is fitted on other splits. They
    depend only on its labels and the seed, so they are the same for every method.
    "few_shot/ci95" is the half-width of the 95 % interval over draws of episodes; it does
    not include the sampling of the split.

    Args:
      n_way: classes of an episode.
      k_shot: labeled rows per class.
      n_query: judged rows per class.
      episodes: number of episodes.
      seed: of the episodes.

    Raises:
      ValueError: a number is below 1, or episodes below 2; while running, too few
        classes or rows, see `episode`.
    """
    numbers = (n_way, k_shot, n_query, episodes - 1)
    if min(numbers) < 1:
        raise ValueError(
            "few_shot needs n_way, k_shot and n_query of at least 1 and 2 episodes, got "
            f"{n_way}, {k_shot}, {n_query} and {episodes}"
        )

    def run(features: Features, final: bool) -> dict:
        h, y = labeled(features, "test" if final else "val")
        h, rows = unit_rows(h), _rows_of(y, k_shot + n_query)
        rng, truth = np.random.default_rng(seed), np.repeat(np.arange(n_way), n_query)
        right = np.empty(episodes)
        for i in range(episodes):
            support, query, _ = _draw(rng, rows, n_way, k_shot, n_query)
            right[i] = np.mean(prototype_predict(h[support], h[query.ravel()]) == truth)
        half = 1.96 * right.std(ddof=1) / np.sqrt(episodes)
        return {"few_shot": float(right.mean()), "few_shot/ci95": float(half)}

    return Eval(
        f"few-shot: {n_way}-way {k_shot}-shot, {n_query} queries a class, {episodes} "
        f"episodes of the judged split, nearest mean on the unit sphere, seed={seed}",
        run,
    )


def few_labels(
    rng: np.random.Generator, y: Integer[np.ndarray, " n"], per_class: int
) -> Int[np.ndarray, " m"]:
    """Draws `per_class` rows of each class in y.

    For generators in the same state the subsets are nested: 1 per class within 10.

    Raises:
      ValueError: per_class is below 1, or a class has fewer rows.

    >>> y = np.array([0, 1, 1, 0, 2])
    >>> y[few_labels(np.random.default_rng(0), y, 1)].tolist()
    [0, 1, 2]
    """
    if per_class < 1:
        raise ValueError(f"few_labels: per_class must be at least 1, got {per_class}")
    rows = _rows_of(y, per_class)
    return np.concatenate([rng.permutation(r)[:per_class] for r in rows.values()])


@of_settings("few_label_accuracy(train_x, train_y, test_x, test_y)")
def few_labels_probe(
    per_class: Sequence[int] = (1, 10), draws: int = 5, seed: int = 0
) -> Eval:
    """Accuracy of exact logistic regression on k labels of each class of train.

    The mean over `draws` draws of labels, since the choice of a few labels has a large
    effect. The draws depend only on the labels of train and the seed, so they are the same
    for every method. One penalty of `TOY_GRID` is used for all draws of one k: that of
    highest mean accuracy on val (ties go to the largest), which is also the value reported
    during training, slightly optimistic. At the end the same fits are evaluated on test,
    because refitting on train + val would use more labels. All labels of val are used to
    select the penalty: count them as labels.

    A fit that did not converge adds a metric, e.g. "linear@1/converged": 0.0.

    Args:
      per_class: values of k.
      draws: of labels, for each k.
      seed: of the draws.

    Raises:
      ValueError: per_class is empty, or a number is below 1; while running, a class of
        train has too few rows.
    """
    per_class = tuple(sorted(set(per_class)))
    if not per_class or min(*per_class, draws) < 1:
        raise ValueError(
            f"few_labels_probe needs per_class and draws of at least 1, got {per_class} "
            f"and {draws}"
        )

    def run(features: Features, final: bool) -> dict:
        train, val = labeled(features, "train"), labeled(features, "val")
        judged = labeled(features, "test") if final else val
        metrics = {}
        for k in per_class:
            parts = [_part(train, k, seed, draw) for draw in range(draws)]
            tables = [logreg_path(*part, *val)[1] for part in parts]
            mean = {l2: np.mean([table[l2] for table in tables]) for l2 in tables[0]}
            l2 = max(mean, key=lambda l2: (mean[l2], l2))
            fits = [_fit(*part, l2) for part in parts]
            right = [_accuracy(model, *judged) for model in fits]
            metrics[f"linear@{k}"] = float(np.mean(right))
            if not all(model.info.converged for model in fits):
                metrics[f"linear@{k}/converged"] = 0.0
        return metrics

    listed, grid = ", ".join(map(str, per_class)), ", ".join(f"{x:g}" for x in TOY_GRID)
    return Eval(
        f"few labels: logistic regression, exact, on {listed} labels a class of train, "
        f"standardised on them, mean of {draws} draws, seed={seed}, l2 of each k chosen "
        f"on all of val from {grid}",
        run,
    )


def _rows_of(y, wanted: int) -> dict[int, np.ndarray]:
    """Row indices of each class; ValueError if a class has fewer than `wanted`."""
    rows = {int(c): np.flatnonzero(y == c) for c in np.unique(y)}
    for c, found in rows.items():
        if len(found) < wanted:
            raise ValueError(
                f"wanted {wanted} labeled rows of every class, got {len(found)} of class "
                f"{c}: choose a smaller number"
            )
    return rows


def _draw(rng, rows: dict[int, np.ndarray], n_way: int, k_shot: int, n_query: int):
    if len(rows) < n_way:
        raise ValueError(f"wanted {n_way} classes, got {len(rows)}: choose a smaller n_way")
    classes = rng.permutation(np.array(list(rows)))[:n_way]
    taken = np.stack([rng.permutation(rows[c])[: k_shot + n_query] for c in classes])
    return taken[:, :k_shot], taken[:, k_shot:], classes


def _part(train, per_class: int, seed: int, draw: int) -> Labeled:
    """Rows of train and their labels for one draw, nested in k."""
    h, y = train
    rows = few_labels(np.random.default_rng([seed, draw]), y, per_class)
    return h[rows], y[rows]


def _fit(h, y, l2: float) -> LogReg:
    return logreg_fit(h, y, classes=int(y.max()) + 1, l2=l2)


def _accuracy(model: LogReg, h, y) -> float:
    return float(np.mean(logreg_predict_proba(model, h).argmax(axis=1) == y))
