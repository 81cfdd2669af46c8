"""Ridge regression of numbers, such as poses or depths, on frozen representations.

    min_W |Y - X W|^2 + l2 |W|^2,    X standardized, Y centered

A. E. Hoerl, R. W. Kennard, "Ridge Regression", Technometrics 12, 1970,
https://doi.org/10.1080/00401706.1970.10488634
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from jssl.evals.protocol import Eval, Features, Labeled, joined, of_settings

GRID = (0.1, 1.0, 10.0, 100.0, 1000.0)


class Ridge(NamedTuple):
    """A fitted ridge regression: (x - mean) / std @ weights + bias."""

    mean: np.ndarray  # [d]
    std: np.ndarray  # [d]
    weights: np.ndarray  # [d, k]
    bias: np.ndarray  # [k]

    def __call__(self, x: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n k"]:
        return (x - self.mean) / self.std @ self.weights + self.bias


def ridge_fit(x: Float[np.ndarray, "n d"], y: Float[np.ndarray, "n k"], l2: float) -> Ridge:
    """Fits a ridge regression exactly, in float64, by the smaller of two systems.

    >>> x = np.array([[-1.0], [1.0]])
    >>> found = ridge_fit(x, 3 * x, l2=2.0)  # 2 * 3 / (2 + 2)
    >>> print(found.weights, found(np.array([[1.0]])))
    [[1.5]] [[1.5]]
    """
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    mean, std = x.mean(0), x.std(0)
    std = np.where(std <= 1e-7 * np.abs(mean), 1.0, std)
    x, bias = (x - mean) / std, y.mean(0)
    n, d = x.shape
    if d <= n:
        weights = np.linalg.solve(x.T @ x + l2 * np.eye(d), x.T @ (y - bias))
    else:
        weights = x.T @ np.linalg.solve(x @ x.T + l2 * np.eye(n), y - bias)
    return Ridge(mean, std, weights, bias)


@of_settings("regression_score(train_x, train_y, test_x, test_y)")
def regression(
    target: str, *, name: str = "h", l2_grid: Sequence[float] = GRID, metric: str = ""
) -> Eval:
    """R^2 of a ridge regression of a column of numbers, averaged over its axes.

    The penalty is selected on val; at the end the regression is refitted on train + val and
    evaluated on test. 0 is the mean of the judged rows, 1 is perfect; an axis that is
    constant among them counts 1 if it is predicted exactly, else 0.

    Args:
      target: column of numbers [n] or [n, k].
      name: output of the method, [n, d].
      l2_grid: penalties to select from.
      metric: name of the number; empty: "r2/target".

    Raises:
      ValueError: rows of the output and of the target are inconsistent or not finite.
    """
    grid, metric = tuple(map(float, l2_grid)), metric or f"r2/{target}"

    def see(features, split) -> Labeled:
        x = np.asarray(features(split, name), np.float64)
        y = np.asarray(features.targets(split, target), np.float64)
        y = y.reshape(len(y), -1)
        finite = np.isfinite(x).all() and np.isfinite(y).all()
        if x.ndim != 2 or len(x) != len(y) or not len(x) or not finite:
            raise ValueError(
                f"regression: {name!r} of {split} must be rows [n, d] and {target!r} "
                f"[n, k], all finite, got {list(x.shape)} and {list(y.shape)}"
                + ("" if finite else " with NaN or infinite values")
            )
        return x, y

    def run(features: Features, final: bool) -> dict:
        train, val = see(features, "train"), see(features, "val")
        scores = {l2: _r2(ridge_fit(*train, l2), *val) for l2 in grid}
        l2 = max(scores, key=scores.__getitem__)
        if not final:
            return {metric: scores[l2]}
        both = joined(train, val)
        return {metric: _r2(ridge_fit(*both, l2), *see(features, "test"))}

    words = ", ".join(f"{l2:g}" for l2 in grid)
    how = f"R^2 of ridge regression of {target} on {name}, l2 chosen on val of {words}"
    return Eval(how, run, (name,))


def _r2(model, x, y):
    error = np.square(model(x) - y).sum(0)
    total = np.square(y - y.mean(0)).sum(0)
    varied = total > 0
    explained = 1 - error / np.where(varied, total, 1.0)
    return float(np.mean(np.where(varied, explained, error == 0)))
