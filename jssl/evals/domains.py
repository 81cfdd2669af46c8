"""Difference of two domains in a representation: accuracy of a classifier of the domain.

Ben-David, Blitzer, Crammer and Pereira, "Analysis of Representations for Domain
Adaptation", NIPS 2006: the proxy A-distance is 4 times the accuracy minus 2.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from jssl.evals.linear import logreg_path, logreg_predict_proba
from jssl.evals.protocol import Eval, Features, of_which

ROWS = 1000  # of a domain


def domain_accuracy(
    other: Callable[[str], Mapping[str, Any]], *, name: str = "h", seed: int = 0
) -> Eval:
    """Accuracy of a linear classifier of the domain on frozen representations.

    Logistic regression on equally many rows of both domains, at most 1,000 of train; the
    penalty is selected on val. 0.5 is chance: no linear function tells the domains apart.
    The reported number is that of val during training, and of test at the end.

    Args:
      other: split -> decoded rows of the other domain, with the columns of the method.
      name: output of the method, [n, d].
      seed: of the choice of rows.

    Raises:
      ValueError: a representation that is not finite rows [n, d].
    """

    def both(features, split):
        parts = features(split, name), features.of(other(split), name)
        parts = [np.asarray(x, np.float64) for x in parts]
        if any(x.ndim != 2 or not np.isfinite(x).all() for x in parts):
            raise ValueError(
                f"domain_accuracy: {name!r} of {split} must be finite rows [n, d] of both "
                f"domains, got {' and '.join(str(list(x.shape)) for x in parts)}"
            )
        count = min(ROWS, *map(len, parts))
        rng = np.random.default_rng(seed)
        x = [part[rng.permutation(len(part))[:count]] for part in parts]
        return np.concatenate(x), np.repeat([0, 1], count)

    def run(features: Features, final: bool) -> dict:
        val = both(features, "val")
        model, scores = logreg_path(*both(features, "train"), *val)
        if not final:
            return {"domain_accuracy": max(scores.values())}
        x, domain = both(features, "test")
        right = logreg_predict_proba(model, x).argmax(1) == domain
        return {"domain_accuracy": float(right.mean())}

    how = f"logistic regression of the domain, at most {ROWS} rows each, penalty by val"
    return Eval(how + of_which(name, "label"), run, (name,))
