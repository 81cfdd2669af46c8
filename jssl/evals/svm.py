"""Linear L2-SVM on frozen features, solved exactly: one-vs-rest squared hinge loss.

The judge of DCGAN's features: A. Radford, L. Metz, S. Chintala, ICLR 2016, section 5.1
(https://arxiv.org/abs/1511.06434), whose released code fits scikit-learn's LinearSVC.
For each class k, with y_ik = 1 in rows of that class and -1 in the others, it minimizes

    J(w_k, b_k) = (|w_k|^2 + b_k^2) / 2 + C sum_i max(0, 1 - y_ik (w_k' x_i + b_k))^2;

a row's class is that of the largest w_k' x + b_k. The solver is that of `jssl.evals.linear`
for J / (C n), which is a mean with the penalty l2 = 1 / (C n). Features are as they are by
default: C then depends on their scale.

Beside the features, a fit of n rows of d features takes about 8 n d + 8 d^2 bytes, and
for n < d, d > 128 about 24 n^2. DCGAN's 28,672 features of the 50,000 images of CIFAR-10
so take 18 GB, and 12 GB themselves, and a fit takes some 10^14 operations.
"""

from collections.abc import Sequence
from functools import partial

import numpy as np
from jaxtyping import Float, Integer

from jssl.evals.linear import (
    LogReg,
    Loss,
    accuracy_of,
    fit,
    path,
    rows_to_fit,
    spelled,
)
from jssl.evals.protocol import (
    Eval,
    Features,
    joined,
    labeled,
    metric,
    of_settings,
    of_which,
)

C_GRID = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)
"""Costs to select from: the decades of the released code, 1e-4 ... 1e-2, and around them,
for features of fewer rows or columns."""


def _squared_hinge(f, label):
    """Sum over classes of max(0, 1 - y f)^2."""
    rows = np.arange(len(label))
    own = f[label, rows]
    f += 1.0
    f[label, rows] = 1.0 - own
    np.maximum(f, 0.0, out=f)
    value = np.square(f).sum()
    f *= 2.0
    f[label, rows] *= -1.0
    return value, f


SQUARED_HINGE = Loss(_squared_hinge, flat=lambda classes: 0.5, bias=1.0)


def svm_fit(
    h: Float[np.ndarray, "n d"],
    y: Integer[np.ndarray, " n"],
    *,
    classes: int,
    c: float,
    tol: float = 1e-6,
    max_iter: int = 1000,
    standardize: bool = False,
) -> LogReg:
    """Minimizes J of all classes, to a gradient of J / (C n) below `tol` in every entry.

    Args:
      h, y: features and class numbers.
      classes: number of classes.
      c: cost C of the errors.
      tol: largest entry of the gradient at the end.
      max_iter: largest number of iterations.
      standardize: divide centered features by their standard deviation over these rows.

    Returns:
      The classifier; `info.l2` is 1 / (C n), and `info.objective` the sum of J / (C n).

    Raises:
      ValueError: inconsistent shapes or dtypes, a label outside 0 ... classes - 1, or a
        cost that is not positive.

    >>> h, y = np.array([[-1.0], [1.0]]), np.array([0, 1])
    >>> # b = 0 and w = (-v, v) with v = 2 C 2 (1 - v): at C = 1/4 it is 1/2
    >>> svm_fit(h, y, classes=2, c=0.25).weights.round(4)
    array([[-0.5,  0.5]])
    """
    l2 = _penalty(c, len(h), "svm_fit")
    data = rows_to_fit(h, y, classes, l2, "svm_fit", standardize)
    return fit(data, classes, l2, None, tol, max_iter, SQUARED_HINGE)


@of_settings("svm_accuracy(train_x, train_y, test_x, test_y)")
def svm(
    c_grid: Sequence[float] = C_GRID,
    *,
    standardize: bool = False,
    name: str = "h",
    target: str = "label",
) -> Eval:
    """Accuracy in [0, 1] of a linear L2-SVM on the frozen features.

    C is selected on val, the smaller one of equals; at the end the SVM is fitted again with
    it on train + val and evaluated on test. The accuracy on val reported during training is
    the best of the grid, hence slightly optimistic. A fit that did not converge adds
    "svm/converged": 0.0.

    Args:
      c_grid: costs to select from.
      standardize: divide centered features by their standard deviation.
      name: output of the method; of tokens [n, l, d], every token with a tag is a row.
      target: column of class numbers [n], or of tags [n, l].

    Raises:
      ValueError: no costs, or one that is not positive.
    """
    grid = tuple(sorted(float(x) for x in c_grid))
    if not grid:
        raise ValueError("svm: c_grid is empty: give costs, such as (1e-3, 1e-2)")
    _penalty(grid[0], 1, "svm")

    def run(features: Features, final: bool) -> dict:
        see = partial(labeled, features, name=name, target=target)
        train, val = see("train"), see("val")
        n, classes = len(train[1]), int(train[1].max()) + 1
        l2_grid = [1 / (c * n) for c in grid]
        data = rows_to_fit(*train, classes, l2_grid[-1], "svm", standardize)
        model, _ = path(data, classes, l2_grid, val, SQUARED_HINGE)
        judge = val
        if final:
            both, judge = joined(train, val), see("test")
            c, classes = 1 / (model.info.l2 * n), int(both[1].max()) + 1
            model = svm_fit(*both, classes=classes, c=c, standardize=standardize)
        found = metric("svm", target)
        metrics = {found: accuracy_of(model, *judge)}
        if not model.info.converged:
            metrics[f"{found}/converged"] = 0.0
        return metrics

    scaled = "standardised" if standardize else "raw"
    return Eval(
        f"linear L2-SVM on {scaled} features: one-vs-rest squared hinge, exact (gradient < "
        f"1e-6 in float64), C chosen on val from {spelled(grid)}" + of_which(name, target),
        run,
        (name,),
    )


def _penalty(c, n, caller):
    """The penalty 1 / (C n) of the mean loss."""
    if not c > 0:
        raise ValueError(f"{caller}: the cost C must be positive, got {c}")
    return 1 / (c * n)
