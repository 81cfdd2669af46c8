"""Evaluation of features that are given as arrays.

    accuracy = knn_accuracy(train_x, train_y, test_x, test_y)
    print(accuracy, accuracy.protocol)

The functions are the evals of this package on two arrays a split. Any other eval takes
`Arrays`: `few_shot()(Arrays(test=(x, y)), True)`.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Integer

from jssl.evals.clustering import clustering
from jssl.evals.doctor import Verdict, diagnose, examine
from jssl.evals.few_shot import few_labels_probe
from jssl.evals.knn import knn
from jssl.evals.linear import TOY_GRID, linear_probe
from jssl.evals.protocol import Features
from jssl.evals.regression import GRID, regression
from jssl.evals.retrieval import retrieval
from jssl.evals.svm import C_GRID, svm

Rows = Any  # float [n, d], or (float [n, d], int [n] or float [n, k])
HELD = 5  # every fifth row of each class is held out as val


class Arrays(Features):
    """Features from arrays: any eval that reads h alone accepts them.

        knn()(Arrays(train=(x, y), test=(x2, y2)), True)

    Without `val`, every fifth row of each class of `train` is held out as val, to select
    penalties; the last fits are on train and val together, as always.

    Args:
      train, val, test: (x, y) with features [n, d] and class numbers [n], or numbers [n, k]
        of a regression; or x alone.

    Raises:
      ValueError: no split, or arrays of other shapes.

    >>> x, y = np.eye(4), np.array([0, 0, 1, 1])
    >>> knn(k=1)(Arrays(train=(x, y), test=(x, y)), True)
    {'knn': 1.0}
    """

    names: Sequence[str] = ("h",)

    def __init__(self, *, train: Rows = None, val: Rows = None, test: Rows = None):
        given = {"train": train, "val": val, "test": test}
        self.splits = {k: _checked(k, v) for k, v in given.items() if v is not None}
        if not self.splits:
            raise ValueError("Arrays needs train=(x, y), test=(x, y), or both")
        if "train" in self.splits and "val" not in self.splits:
            x, y = self.splits["train"]
            held = _held(y, len(x))
            self.splits["val"] = x[held], None if y is None else y[held]
            self.splits["train"] = x[~held], None if y is None else y[~held]

    def __call__(
        self,
        split: str,
        name: str = "h",
        reduce: Callable = lambda x: x,
        rows: int | None = None,
    ) -> Any:
        """The features [n, d] of a split."""
        if name != "h":
            raise ValueError(f"arrays have the output 'h' alone, no {name!r}")
        return reduce(self._of(split)[0][:rows])

    def labels(self, split: str) -> np.ndarray:
        """Class numbers [n] of a split."""
        return self.targets(split)

    def targets(self, split: str, name: str = "label") -> np.ndarray:
        """The targets of a split."""
        y = self._of(split)[1]
        if y is None:
            raise ValueError(f"the {split} split has no labels: give {split}=(x, y)")
        return y

    def rows(self, split: str, rows: int | None = None) -> Mapping[str, Any]:
        """The features and targets of a split, by name."""
        x, y = self._of(split)
        return {"h": x[:rows]} | ({} if y is None else {"label": y[:rows]})

    def of(self, rows: Mapping[str, Any], name: str = "h", *args, **kwargs) -> Any:
        raise ValueError("arrays have no network to embed other rows")

    def network(self, name: str = "h") -> Any:
        raise ValueError("arrays have no network to fine-tune")

    def generated(self, split: str, rows: int | None = None) -> Mapping[str, Any]:
        """No samples."""
        return {}

    def generated_of(self, rows: Mapping[str, Any], key: Any) -> Mapping[str, Any]:
        """Raises ValueError: there is no method."""
        raise ValueError("arrays have no method that generates")

    def _of(self, split):
        if split not in self.splits:
            given = ", ".join(self.splits)
            raise ValueError(f"the {split} split is missing: this eval needs it ({given})")
        return self.splits[split]


class Score(float):
    """A number with its protocol, the full name of how it was measured."""

    protocol: str

    def __new__(cls, value: float, protocol: str):
        made = super().__new__(cls, value)
        made.protocol = protocol
        return made


class Scores(dict):
    """Numbers by name, with their protocol."""

    def __init__(self, numbers: Mapping[str, float], protocol: str):
        super().__init__(numbers)
        self.protocol = protocol


Train = Float[np.ndarray, "n d"]
Classes = Integer[np.ndarray, " n"]
Judged = Float[np.ndarray, "m d"]
Truth = Integer[np.ndarray, " m"]


def knn_accuracy(
    train_x: Train,
    train_y: Classes,
    test_x: Judged,
    test_y: Truth,
    *,
    k: int = 20,
    temperature: float = 0.07,
) -> Score:
    """Accuracy in [0, 1] of weighted k-nearest neighbors by cosine; see `knn`.

    Raises:
      ValueError: inconsistent shapes, features that are not finite, negative labels.

    >>> x, y = np.eye(4), np.array([0, 0, 1, 1])
    >>> found = knn_accuracy(x, y, x, y, k=1)
    >>> print(found, found.protocol)
    1.0 weighted kNN: k=1, cosine, temperature=0.07
    """
    features = Arrays(**_whole(train_x, train_y), test=(test_x, test_y))
    return _score(knn(k, temperature), features)


def linear_accuracy(
    train_x: Train,
    train_y: Classes,
    test_x: Judged,
    test_y: Truth,
    *,
    val: tuple[Any, Any] | None = None,
    l2_grid: Sequence[float] = TOY_GRID,
) -> Score:
    """Accuracy in [0, 1] of exact logistic regression; see `linear_probe`.

    Args:
      train_x, train_y: rows to fit.
      test_x, test_y: rows to judge.
      val: (x, y) to select the penalty; None: a fifth of train, which is fitted again with
        the others at the end.
      l2_grid: penalties to select from.

    Raises:
      ValueError: inconsistent shapes, features that are not finite, negative labels, or too
        few rows to hold some out.

    >>> rng, y = np.random.default_rng(0), np.arange(40) % 2
    >>> x = rng.normal(size=(40, 3)) + 3 * y[:, None]
    >>> print(linear_accuracy(x[:20], y[:20], x[20:], y[20:]))
    1.0
    """
    features = Arrays(train=(train_x, train_y), val=val, test=(test_x, test_y))
    return _score(linear_probe(l2_grid), features)


def svm_accuracy(
    train_x: Train,
    train_y: Classes,
    test_x: Judged,
    test_y: Truth,
    *,
    val: tuple[Any, Any] | None = None,
    c_grid: Sequence[float] = C_GRID,
) -> Score:
    """Accuracy in [0, 1] of a linear L2-SVM; see `svm`.

    Args and errors are those of `linear_accuracy`, with the costs `c_grid` to select from.

    >>> rng, y = np.random.default_rng(0), np.arange(40) % 2
    >>> x = rng.normal(size=(40, 3)) + 3 * y[:, None]
    >>> print(svm_accuracy(x[:20], y[:20], x[20:], y[20:], c_grid=(1.0,)))
    1.0
    """
    features = Arrays(train=(train_x, train_y), val=val, test=(test_x, test_y))
    return _score(svm(c_grid), features)


def few_label_accuracy(
    train_x: Train,
    train_y: Classes,
    test_x: Judged,
    test_y: Truth,
    *,
    val: tuple[Any, Any] | None = None,
    per_class: Sequence[int] = (1, 10),
    draws: int = 5,
    seed: int = 0,
) -> Scores:
    """Accuracies in [0, 1] with few labels of each class; see `few_labels_probe`.

    Returns:
      {"linear@1": ..., "linear@10": ...}.

    Raises:
      ValueError: as `linear_accuracy`, or a class with fewer rows than `per_class`.

    >>> rng, y = np.random.default_rng(0), np.arange(40) % 2
    >>> x = rng.normal(size=(40, 3)) + 9 * y[:, None]
    >>> few_label_accuracy(x[:20], y[:20], x[20:], y[20:], per_class=(2,))
    {'linear@2': 1.0}
    """
    features = Arrays(train=(train_x, train_y), val=val, test=(test_x, test_y))
    return _scores(few_labels_probe(per_class, draws, seed), features)


def regression_score(
    train_x: Train,
    train_y: Float[np.ndarray, "n *k"],
    test_x: Judged,
    test_y: Float[np.ndarray, "m *k"],
    *,
    val: tuple[Any, Any] | None = None,
    l2_grid: Sequence[float] = GRID,
) -> Score:
    """R^2 of a ridge regression of numbers on features; see `regression`.

    Raises:
      ValueError: inconsistent shapes, or numbers that are not finite.

    >>> x = np.random.default_rng(0).normal(size=(40, 2))
    >>> print(f"{regression_score(x[:20], x[:20, 0], x[20:], x[20:, 0]):.2f}")
    1.00
    """
    features = Arrays(train=(train_x, train_y), val=val, test=(test_x, test_y))
    return _score(regression("label", l2_grid=l2_grid), features)


def retrieval_scores(
    gallery_x: Train,
    gallery_y: Classes,
    query_x: Judged,
    query_y: Truth,
    *,
    ks: Sequence[int] = (1, 5, 10),
) -> Scores:
    """Recall at each k and mAP of queries against a gallery; see `retrieval`.

    Returns:
      {"recall@1": ..., "map": ...}, in [0, 1].

    Raises:
      ValueError: inconsistent shapes, a k above the rows of the gallery, or no query with a
        row of its class there.

    >>> x, y = np.eye(4), np.array([0, 0, 1, 1])
    >>> retrieval_scores(x, y, x, y, ks=(1,))["recall@1"]
    1.0
    """
    features = Arrays(**_whole(gallery_x, gallery_y), test=(query_x, query_y))
    return _scores(retrieval(ks), features)


def clustering_scores(
    x: Train, y: Classes, *, restarts: int = 20, over: int = 1, seed: int = 0
) -> Scores:
    """NMI, ARI, Hungarian accuracy and purity of k-means on the rows themselves.

    The `clustering` eval fits the clusters on other rows than those it judges.

    Returns:
      {"nmi": ..., "ari": ..., "hungarian": ..., "purity": ...}, at most 1.

    Raises:
      ValueError: inconsistent shapes, or fewer rows than clusters.

    >>> x = np.repeat(np.eye(2), 3, axis=0)
    >>> clustering_scores(x, np.array([0, 0, 0, 1, 1, 1]))["purity"]
    1.0
    """
    features = Arrays(**_whole(x, y), test=(x, y))
    found = _scores(clustering(restarts, over, seed), features)
    return Scores(found, f"{found.protocol}, fitted on the judged rows")


def diagnose_features(x: Train, name: str = "h") -> Verdict:
    """The doctor's verdict on one array of features: complete or dimensional collapse.

    Args:
      x: embeddings of two rows or more; as many as there are columns, if possible.
      name: "h" for representations, "z" for projections, of which more is expected.

    Raises:
      ValueError: another name, or not finite rows [n, d].

    >>> diagnose_features(np.ones((50, 8)) + 1e-6 * np.eye(50, 8)).kind
    'complete collapse'
    """
    if name not in ("h", "z"):
        raise ValueError(f'diagnose_features: name must be "h" or "z", got {name!r}')
    features = Arrays(test=x)
    numbers = examine(features, "test", rows=len(x))
    renamed = {k.replace("h/", f"{name}/", 1): value for k, value in numbers.items()}
    return diagnose([(10**6, renamed)])._replace(since=0)


def _whole(x, y) -> dict[str, Rows]:
    """Rows as train and val for an eval that selects nothing: it joins them, in order."""
    x, y = np.asarray(x), np.asarray(y)
    return {"train": (x[:-1], y[:-1]), "val": (x[-1:], y[-1:])}


def _score(judge, features) -> Score:
    return Score(next(iter(judge(features, True).values())), judge.protocol)


def _scores(judge, features) -> Scores:
    return Scores(judge(features, True), judge.protocol)


def _held(y, n):
    """Bool [n]: every fifth row of each class."""
    held = np.zeros(n, bool)
    classes = y if y is not None and y.dtype.kind in "iu" and y.ndim == 1 else np.zeros(n)
    for c in np.unique(classes):
        held[np.flatnonzero(classes == c)[HELD - 1 :: HELD]] = True
    if not held.any() and n > 1:
        held[-1] = True
    return held


def _checked(split, rows):
    pair = isinstance(rows, tuple)
    if pair and len(rows) != 2:
        raise ValueError(f"Arrays: {split} must be (x, y), got {len(rows)} arrays")
    x, y = rows if pair else (rows, None)
    x, y = np.asarray(x), None if y is None else np.asarray(y)
    if x.ndim != 2 or not len(x) or x.dtype.kind not in "fiub":
        raise ValueError(
            f"Arrays: features of {split} must be numbers [n, d], got "
            f"{x.dtype}{list(x.shape)}"
        )
    x = x if x.dtype.kind == "f" else x.astype(np.float32)
    if not np.isfinite(x).all():
        raise ValueError(f"Arrays: features of {split} have NaN or infinite values")
    if y is not None and (y.ndim not in (1, 2) or len(y) != len(x)):
        raise ValueError(
            f"Arrays: targets of {split} must be [n] or [n, k] for {len(x)} rows, got "
            f"{y.dtype}{list(y.shape)}"
        )
    return x, y
