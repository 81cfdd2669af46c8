"""What an eval is, and which rows it may learn from and be judged on."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

Features = Callable[..., np.ndarray]
Labeled = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Eval:
    """A way to judge a representation.

    Attributes:
      protocol: its full name with its settings: printed beside every number, and part
        of the keys under which numbers are cached.
      run: (features, final) -> {metric name: float or picture}.
    """

    protocol: str
    run: Callable[[Features, bool], dict]

    def __call__(self, features: Features, final: bool) -> dict:
        """The metrics on val, or on test when `final`."""
        return self.run(features, final)


def labeled(features: Features, split: str, name: str = "h") -> Labeled:
    """The representation [N, d] of a split and its labels [N].

    Raises:
      ValueError: the split is missing or empty, has no labels or negative ones, or its
        features are not finite rows, one a label.
    """
    try:
        h, y = features(split, name), features.labels(split)
    except KeyError as error:
        raise ValueError(f"the {split} split has no {name!r}: {error}") from error
    if h is None or y is None or len(h) == 0:
        raise ValueError(f"the {split} split is missing or empty: this eval needs it")
    h, y = np.asarray(h), np.asarray(y)
    if h.ndim != 2 or y.shape != h.shape[:1]:
        raise ValueError(
            f"the {split} split must have {name!r} [N, d] and labels [N], got "
            f"{list(h.shape)} and {list(y.shape)}: pool or flatten the features first"
        )
    if y.min() < 0:
        raise ValueError(f"labels of the {split} split must be >= 0, got {y.min()}")
    if not np.isfinite(h).all():
        raise ValueError(f"{name!r} of the {split} split is not finite")
    return h, y


def fit_and_judge(
    features: Features, final: bool, name: str = "h"
) -> tuple[Labeled, Labeled]:
    """What to fit on and what to judge on: (train, val), or (train + val, test)."""
    train, val = labeled(features, "train", name), labeled(features, "val", name)
    if not final:
        return train, val
    return joined(train, val), labeled(features, "test", name)


def joined(a: Labeled, b: Labeled) -> Labeled:
    """The rows of `a`, then those of `b`."""
    return np.concatenate([a[0], b[0]]), np.concatenate([a[1], b[1]])
