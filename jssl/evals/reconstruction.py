"""Reconstruction error, compared with PCA of the same code size.

Principal components are the linear code with the least squared error (Pearson 1901;
Baldi and Hornik, "Neural networks and principal component analysis", Neural Networks 2,
1989, https://doi.org/10.1016/0893-6080(89)90014-2), so a nonlinear autoencoder should be
below

    1/n sum_i |x_i - mean - (x_i - mean) C' C|^2,    C of as many rows as h has columns.
"""

import numpy as np

from jssl.evals.picture import pca
from jssl.evals.protocol import Eval, Features


def reconstruction(name: str = "reconstruction") -> Eval:
    """Squared error per sample, summed over its entries, of the method and of PCA.

    The method's `embed` returns "input" and its reconstruction `name`, both [N, v]. PCA is
    fitted on the rows for fitting, with as many components as h has columns, at most the
    rank.

    Args:
      name: output of the method with the reconstructions.

    Raises:
      ValueError: an output is missing, of another shape or not finite.
    """

    def run(features: Features, final: bool) -> dict:
        fit = _rows(features, "train", "input")
        if final:
            fit = np.concatenate([fit, _rows(features, "val", "input")])
        split = "test" if final else "val"
        x, seen = _rows(features, split, "input"), _rows(features, split, name)
        if x.shape != seen.shape:
            raise ValueError(
                f"reconstruction: 'input' and {name!r} must have one shape, got "
                f"{list(x.shape)} and {list(seen.shape)}: flatten both"
            )
        width = _rows(features, split, "h").shape[1]
        fitted = pca(fit, min(width, len(fit) - 1, fit.shape[1]))
        scores = (x - fitted.mean) @ fitted.components.T
        linear = fitted.mean + scores @ fitted.components
        return {"sse_per_image": _error(x, seen), "pca_sse_per_image": _error(x, linear)}

    return Eval(f"squared error of {name}, beside PCA of h's width", run)


def _rows(features, split, name):
    try:
        found = features(split, name)
    except KeyError as error:
        raise ValueError(f"the {split} split has no {name!r}: {error}") from error
    if found is None or len(found) == 0:
        raise ValueError(f"the {split} split is missing or empty: this eval needs it")
    found = np.asarray(found)
    if found.ndim != 2 or not np.isfinite(found).all():
        raise ValueError(
            f"{name!r} of the {split} split must be finite rows [N, v], got "
            f"{list(found.shape)}"
        )
    return found


def _error(x, seen):
    gap = x.astype(np.float64) - seen
    return float(np.square(gap).sum(axis=1).mean())
