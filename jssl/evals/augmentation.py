"""Generated rows as training data: the gain of classifiers, and the law of the rows.

    gain(m) = accuracy(N real rows and m N others) - accuracy(N real rows)

on the same rows and from the same seed. Luo and Lu, EMBC 2018; Luo, Zhu, Wan and Lu, J.
Neural Engineering 2020, https://arxiv.org/abs/2006.05331
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from threadpoolctl import threadpool_limits

from jssl.evals.generation import fid, mmd_rbf
from jssl.evals.linear import logreg_fit, logreg_predict_proba, rows_to_fit
from jssl.evals.linear import path as fitted_path
from jssl.evals.picture import pca
from jssl.evals.protocol import Eval, Features, Labeled
from jssl.evals.statistics import t_interval
from jssl.evals.svm import C_GRID, SQUARED_HINGE, svm_fit
from jssl.ops.augmentation import (
    augment_dataset,
    augment_full,
    augment_partial,
    select_by_confidence,
    select_by_critic,
    select_by_knn,
)
from jssl.pictures import Grid, Lines, Picture, Scatter, text_table

MULTIPLES = (0, 0.5, 1, 2, 3, 5, 7, 10)
Predict = Callable[[np.ndarray], np.ndarray]  # rows [n, d] -> classes [n]
Fit = Callable[[np.ndarray, np.ndarray], Predict]  # (rows, labels) -> a classifier
Distort = Callable[[jax.Array, np.ndarray], Any]  # (key, rows) -> rows of the same classes


def augmentation_gain(
    field: str = "image",
    *,
    multiples: Sequence[float | int] = MULTIPLES,
    classifiers: Sequence[str] = ("linear", "rbf", "mlp"),
    distort: Mapping[str, Distort] = {},
    oracle: Callable[[jax.Array, np.ndarray], np.ndarray] | None = None,
    accept: str = "confidence",
    groups: str = "",
    seed: int = 0,
) -> Eval:
    """Gain of classifiers by rows appended to the training split, over their number m N.

    "duplicate" appends copies of the rows, each of `distort` changed copies, "full" rows
    that the method generates, "partial" those of them that `accept` accepts, "oracle" rows
    of the true law. Rows for a smaller m are the first of those for a larger one.
    "gain/c/s" is that of classifier c and strategy s on the judged split, at the m that is
    the best on val, 0 included; "accuracy/c" is without appended rows. Pictures show all m
    on the judged split. With `groups`, "gain/c/s/low" and "/high" are the limits of the
    95 % interval of the mean gain over its groups of rows, such as people.

    Args:
      field: column of the rows, and of the method's samples.
      multiples: m.
      classifiers: "linear", an L2-SVM whose cost is chosen on val without appended rows;
        "rbf", an SVM; "mlp", a residual network.
      distort: by name, such as noise.
      oracle: (key, labels) -> rows of the true law.
      accept: "confidence" of a logistic regression of real rows, 0.9; "critic", above the
        lower quarter of the scores (output "score") of val; or "knn", near a real row.
      groups: column of the group of a row; empty: none.
      seed: of all draws.

    Raises:
      ValueError: an unknown classifier or rule, or multiples that do not begin with 0.
    """
    for name in classifiers:
        if name not in CLASSIFIERS:
            raise ValueError(
                f"augmentation_gain: classifiers are {', '.join(CLASSIFIERS)}, got {name!r}"
            )
    if accept not in RULES:
        raise ValueError(
            f"augmentation_gain: accept must be {' or '.join(RULES)}, got {accept!r}"
        )
    if not multiples or multiples[0] != 0 or sorted(multiples) != list(multiples):
        raise ValueError(
            f"augmentation_gain: multiples must ascend from 0, got {list(multiples)}"
        )

    def run(features: Features, final: bool) -> dict:
        judged = "test" if final else "val"
        x, y = _rows(features, "train", field)
        val, judge = (_rows(features, split, field) for split in ("val", judged))
        draw = _drawer(features, field, y)
        rule = RULES[accept](features, field, (x, y), val)
        keys = iter(jax.random.split(jax.random.key(seed), 3 + len(distort) + 1))
        most, rate = max(multiples), 1.0
        sets = {"duplicate": augment_dataset(next(keys), x, y, lambda key, x: x, most)}
        for name, change in distort.items():
            sets[name] = augment_dataset(next(keys), x, y, change, most)
        sets["full"] = augment_full(next(keys), draw, x, y, most)
        more, kinds, rate = augment_partial(next(keys), draw, rule, x, y, most)
        sets["partial"] = more, kinds
        if oracle:
            sets["oracle"] = augment_full(next(keys), oracle, x, y, most)
        counts = [len(y) + round(m * len(y)) for m in multiples]
        whose = features.rows(judged)[groups] if groups else None
        found: dict[str, Any] = {"acceptance": rate}
        for name in classifiers:
            fit = CLASSIFIERS[name]((_flat(x), y), (_flat(val[0]), val[1]), seed)
            table = _table(fit, sets, counts, val, judge)
            found |= _gains(name, table, counts, multiples, whose)
        return found

    words = ", ".join(f"{m:g}" for m in multiples)
    return Eval(
        f"gain by appended {field}, classifiers fitted on train, m of {words} chosen on "
        f"val, accept={accept}, seed={seed}"
        + (f", intervals over {groups}" if groups else ""),
        run,
        (),
    )


def _rows(features, split, field):
    return np.asarray(features.rows(split)[field]), np.asarray(features.labels(split))


def _flat(x):
    return np.asarray(x, np.float32).reshape(len(x), -1)


def _drawer(features, field, y):
    """(key, labels) -> generated rows, asked for by fields of train rows of the class."""
    table, first = features.rows("train"), np.full(int(y.max()) + 1, -1)
    classes, at = np.unique(y, return_index=True)
    first[classes] = at
    if len(classes) < len(first):
        raise ValueError("augmentation_gain: train has no row of some class")

    def draw(key, labels):
        asked = {name: np.asarray(column)[first[labels]] for name, column in table.items()}
        generated = features.generated_of(asked, key)
        if field not in generated:
            raise ValueError(f"augmentation_gain: the method must generate {field!r}")
        return np.asarray(generated[field])

    return draw


def _by_confidence(features, field, train, val):
    x, y = train
    model = logreg_fit(_flat(x), y, classes=int(y.max()) + 1, l2=1e-3, tol=1e-4)
    return lambda x, y: select_by_confidence(logreg_predict_proba(model, _flat(x)), y)


def _by_critic(features, field, train, val):
    table = features.rows("train")
    if "score" not in features.names:
        raise ValueError("augmentation_gain: accept=critic needs a method with a critic")

    def score(x, y):
        rows = np.arange(len(y)) % len(train[1])
        others = {name: np.asarray(column)[rows] for name, column in table.items()}
        return np.asarray(features.of(others | {field: x, "label": y}, "score"))

    real = score(*val)
    return lambda x, y: select_by_critic(score(x, y), y, real, val[1])


def _by_knn(features, field, train, val):
    return lambda x, y: select_by_knn(x, y, *train)


RULES = {"confidence": _by_confidence, "critic": _by_critic, "knn": _by_knn}
"""(features, field, train, val) -> (rows, labels) -> accepted [n]."""


def _linear(train: Labeled, val: Labeled, seed: int) -> Fit:
    """An L2-SVM. The penalty of the mean loss is that of the best C on val."""
    classes, n = int(train[1].max()) + 1, len(train[1])
    grid = [1 / (c * n) for c in C_GRID]
    data = rows_to_fit(*train, classes, min(grid), "augmentation_gain", False)
    l2 = fitted_path(data, classes, grid, val, SQUARED_HINGE)[0].info.l2

    def fit(x, y):
        model = svm_fit(x, y, classes=classes, c=1 / (l2 * len(y)), tol=1e-4)
        return lambda x: logreg_predict_proba(model, x).argmax(1)

    return fit


def _rbf(train: Labeled, val: Labeled, seed: int) -> Fit:
    """An SVM with a Gaussian kernel of the width of scikit-learn's default for train."""
    from sklearn.svm import SVC

    width = 1 / (train[0].shape[1] * train[0].var())

    def fit(x, y):
        with threadpool_limits(1):
            return SVC(C=len(train[1]) / len(y), gamma=width).fit(x, y).predict

    return fit


def _mlp(
    train: Labeled,
    val: Labeled,
    seed: int,
    *,
    width: int = 64,
    blocks: int = 2,
    steps: int = 400,
    batch: int = 64,
) -> Fit:
    """A residual network, trained by Adam for the same number of steps on all sets."""
    d, classes = train[0].shape[1], int(train[1].max()) + 1
    rng = np.random.default_rng(seed)
    he = lambda m, n: np.float32(rng.normal(size=(m, n)) * np.sqrt(2 / m))
    first = {
        "first": he(d, width),
        "blocks": np.stack([he(width, width) for _ in range(blocks)]),
        "last": np.zeros((width, classes), np.float32),
    }

    def fit(x, y):
        rows = np.random.default_rng(seed).integers(len(y), size=(steps, batch))
        weights = _descend(first, jnp.asarray(x[rows]), jnp.asarray(y[rows]))
        return lambda x: np.asarray(_logits(weights, jnp.asarray(x))).argmax(1)

    return fit


@jax.jit
def _logits(weights, x):
    h = x @ weights["first"]
    for block in weights["blocks"]:
        h = h + jax.nn.relu(h) @ block
    return jax.nn.relu(h) @ weights["last"]


@jax.jit
def _descend(weights, xs, ys):
    tx = optax.adam(optax.cosine_decay_schedule(2e-3, len(xs)))

    def loss(weights, x, y):
        each = optax.softmax_cross_entropy_with_integer_labels(_logits(weights, x), y)
        return each.mean()

    def step(state, now):
        weights, opt = state
        updates, opt = tx.update(jax.grad(loss)(weights, *now), opt, weights)
        return (optax.apply_updates(weights, updates), opt), None

    return jax.lax.scan(step, (weights, tx.init(weights)), (xs, ys))[0][0]


CLASSIFIERS = {"linear": _linear, "rbf": _rbf, "mlp": _mlp}
"""(train, val, seed) -> a function that fits a classifier to rows and labels."""


def _table(fit, sets, counts, val, judge):
    """{strategy: [(right on val, right on judged), ...]}, bool rows, for each m."""
    rows = [(_flat(x), y) for x, y in (val, judge)]

    def right(x, y):
        predict = fit(_flat(x), y)
        return [predict(z) == truth for z, truth in rows]

    first = right(*(a[: counts[0]] for a in next(iter(sets.values()))))
    return {
        name: [first] + [right(x[:count], y[:count]) for count in counts[1:]]
        for name, (x, y) in sets.items()
    }


def _gains(name, table, counts, multiples, whose):
    """Metrics and pictures of a classifier."""
    found: dict[str, Any] = {}
    curves, cells = {}, []
    for strategy, each in table.items():
        on_val, on_judge = (np.array([r[i].mean() for r in each]) for i in (0, 1))
        curves[strategy] = 100 * (on_judge - on_judge[0])
        at = int(on_val.argmax())
        found[f"gain/{name}/{strategy}"] = float(on_judge[at] - on_judge[0])
        cells.append([strategy, *(f"{g:+.2f}" for g in curves[strategy])])
        if whose is not None:
            difference = each[at][1].astype(float) - each[0][1]
            apart = [difference[whose == one].mean() for one in np.unique(whose)]
            interval = t_interval(apart)
            found[f"gain/{name}/{strategy}/low"] = interval.low
            found[f"gain/{name}/{strategy}/high"] = interval.high
    found[f"accuracy/{name}"] = float(on_judge[0])
    title = f"gain in points over {100 * on_judge[0]:.1f} %, N={counts[0]}"
    heads = ("appended, N", *(f"{m:g}" for m in multiples))
    xs = np.array(multiples, float)
    return found | {
        f"gain of {name}": Lines(
            curves, f"{name}: {title}", "appended rows / N", marker=".", xs=xs
        ),
        f"gains of {name}": f"{name}: {title}\n\n{text_table(cells, heads)}",
    }


def generated_classes(
    field: str = "image",
    *,
    maps: Callable[[np.ndarray], np.ndarray] | None = None,
    columns: tuple[str, ...] = (),
    limit: int = 300,
    seed: int = 0,
) -> Eval:
    """Law of generated rows of each class beside that of the real rows of the judged split.

    "class_means" is the correlation of the means of the classes over all columns; "mmd" and
    "fid" are means over classes, of at most `limit` rows each for MMD; "class_agreement" is
    the share of generated rows that a logistic regression of the training rows assigns to
    their class, "class_agreement/real" that of the real rows. There is a scatter plot of
    real and generated rows by the principal components of train, and, with `maps`, a
    picture of the means of each class.

    Args:
      field: column of the rows, and of the method's samples.
      maps: means [k, ...] -> images [k, columns, h, w], such as maps of the head.
      columns: their headings.
      limit: largest number of rows of a class.
      seed: of the rows that are chosen.
    """

    def run(features: Features, final: bool) -> dict:
        judged = "test" if final else "val"
        train, (x, y) = (_rows(features, s, field) for s in ("train", judged))
        seen = [k for k in range(int(train[1].max()) + 1) if (y == k).sum() > 1]
        generated = features.generated(judged)
        if field not in generated:
            raise ValueError(f"generated_classes: the method must generate {field!r}")
        made = np.asarray(generated[field])
        real_means, made_means = (
            np.stack([a[y == k].mean(0) for k in seen]) for a in (x, made)
        )
        rng = np.random.default_rng(seed)
        apart = []
        for k in seen:
            rows = np.flatnonzero(y == k)
            few = rng.permutation(rows)[:limit]
            real, fake = _flat(x), _flat(made)
            apart.append((mmd_rbf(real[few], fake[few]), fid(real[rows], fake[rows])))
        classes = int(train[1].max()) + 1
        model = logreg_fit(_flat(train[0]), train[1], classes=classes, l2=1e-3, tol=1e-4)
        right = lambda x: float(
            (logreg_predict_proba(model, _flat(x)).argmax(1) == y).mean()
        )
        mmds, fids = np.array(apart).T
        found: dict[str, float | Picture] = {
            "class_means": float(np.corrcoef(real_means.ravel(), made_means.ravel())[0, 1]),
            "mmd": float(mmds.mean()),
            "fid": float(fids.mean()),
            "class_agreement": right(made),
            "class_agreement/real": right(x),
        }
        found["real and generated"] = _scatter(
            _flat(train[0]), _flat(x), _flat(made), y, rng
        )
        if maps is not None:
            found["class means"] = _maps(maps, real_means, made_means, columns)
        return found

    return Eval(
        f"generated {field} beside the rows of the judged split: means of classes, MMD of "
        f"{limit} rows, FID, and agreement by logistic regression; seed={seed}",
        run,
        (),
    )


def _scatter(train, real, made, y, rng):
    fitted, classes = pca(train, 2), int(y.max()) + 1
    few = rng.permutation(len(y))[:300]
    rows = np.concatenate([real[few], made[few]])
    labels = np.concatenate([y[few], classes + y[few]])
    xy = ((rows - fitted.mean) @ fitted.components.T).astype(np.float32)
    names = [f"{of} {k}" for of in ("real", "generated") for k in range(classes)]
    return Scatter(xy, labels, "principal components of the training rows", names)


def _maps(maps, real, made, columns):
    """Real and generated means in turn, in the range of the real ones of each column."""
    pairs = np.stack([maps(real), maps(made)], 1)  # [k, 2, columns, h, w]
    kept = pairs[:, :1]
    low = np.nanmin(kept, axis=(0, 1, 3, 4), keepdims=True)
    high = np.nanmax(kept, axis=(0, 1, 3, 4), keepdims=True)
    scaled = np.nan_to_num((pairs - low) / np.maximum(high - low, 1e-12), nan=1.0)
    return Grid(scaled.clip(0, 1).reshape(-1, *scaled.shape[2:])[..., None], columns)
