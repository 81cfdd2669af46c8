"""The interfaces of evals and features, and the split of rows into fitted and judged."""

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ParamSpec, Protocol, TypeVar, runtime_checkable

import numpy as np
from jaxtyping import Array, Float

from jssl.ops.cells import cell_means

P = ParamSpec("P")
T = TypeVar("T")
Labeled = tuple[np.ndarray, np.ndarray]

ON_DEVICE = 2**28  # most numbers of a split's features on the device at a time: 1 GiB


@runtime_checkable
class Features(Protocol):
    """The members of `jssl.features.Features` that evals use.

    Splits are "train", "val" and "test"; rows are in the order of the split.
    """

    names: Sequence[str]

    def __call__(self, split: str, name: str = "h", *args, **kwargs) -> Any:
        """The output `name` of the method for every row."""

    def labels(self, split: str) -> np.ndarray:
        """Class numbers [n]."""

    def targets(self, split: str, name: str = "label") -> np.ndarray:
        """Another column: tags [n, l], poses [n, d] ..."""

    def rows(self, split: str, rows: int | None = None) -> Mapping[str, Any]:
        """The decoded columns."""

    def of(self, rows: Mapping[str, Any], name: str = "h", *args, **kwargs) -> Any:
        """The output `name` for other rows."""

    def generated(self, split: str, rows: int | None = None) -> Mapping[str, Any]:
        """Samples by field; empty if the method generates none."""

    def generated_of(self, rows: Mapping[str, Any], key: Any) -> Mapping[str, Any]:
        """Samples by field, one per given row."""


@dataclass(frozen=True)
class Eval:
    """An evaluation protocol.

    Attributes:
      protocol: full name with all settings: printed beside every number, and part of the
        keys under which numbers are cached.
      run: (features, final) -> {metric name: float or picture}.
      outputs: names in `embed` without which it has no number.
      online: True if it takes seconds for thousands of rows, so that it is also run during
        training.
    """

    protocol: str
    run: Callable[[Features, bool], dict]
    outputs: tuple[str, ...] = ("h",)
    online: bool = False

    def __call__(self, features: Features, final: bool) -> dict:
        """The metrics on val, or on test when `final`."""
        return self.run(features, final)


def suffixed(judge: Eval, name: str) -> Eval:
    """An evaluation whose metrics end in "/name", beside the same one of another output.

    >>> of_h = Eval("", lambda features, final: {"linear": 1.0})
    >>> suffixed(of_h, "z").run(None, True)
    {'linear/z': 1.0}
    """

    def run(features, final):
        return {f"{key}/{name}": x for key, x in judge.run(features, final).items()}

    return replace(judge, run=run)


def of_settings(
    instead: str, does: str = "makes an eval from settings"
) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Refuses arrays as arguments of a function, even if others are missing.

    Args:
      instead: the function of arrays, for the error.
      does: predicate of the refusing function, for the error.
    """

    def declare(function):
        @functools.wraps(function)
        def checked(*args, **kwargs):
            if any(getattr(x, "ndim", 0) for x in (*args, *kwargs.values())):
                raise TypeError(f"{function.__name__} {does}; of arrays use {instead}")
            return function(*args, **kwargs)

        return checked

    return declare


def labeled(
    features: Features, split: str, name: str = "h", target: str = "label"
) -> Labeled:
    """The representation [N, d] of a split and its class numbers [N].

    Representations of tokens [n, l, d] with tags [n, l] become rows: those of all tokens
    whose tag is not negative.

    Raises:
      ValueError: the split is missing or empty, has no labels or negative ones, or its
        features are not finite rows, one a label.
    """
    try:
        h = features(split, name)
        y = features.labels(split) if target == "label" else features.targets(split, target)
    except KeyError as error:
        raise ValueError(f"the {split} split has no {name!r}: {error}") from error
    if h is None or y is None or len(h) == 0:
        raise ValueError(f"the {split} split is missing or empty: this eval needs it")
    h, y = np.asarray(h), np.asarray(y)
    if h.ndim > 2 and y.shape == h.shape[:-1]:
        h, y = h[y >= 0], y[y >= 0]
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
    features: Features, final: bool, name: str = "h", target: str = "label"
) -> tuple[Labeled, Labeled]:
    """The rows to fit on and those to judge on: (train, val), or (train + val, test)."""
    train, val = (labeled(features, split, name, target) for split in ("train", "val"))
    if not final:
        return train, val
    return joined(train, val), labeled(features, "test", name, target)


def metric(name: str, target: str) -> str:
    """The name of a number: "knn", or "knn/tags" where another target than label is judged.

    >>> metric("knn", "label"), metric("knn", "tags")
    ('knn', 'knn/tags')
    """
    return name if target == "label" else f"{name}/{target}"


def of_which(name: str, target: str) -> str:
    """Suffix of a protocol for outputs or targets other than h and label."""
    return "" if (name, target) == ("h", "label") else f"; {name} against {target}"


def rows_of(
    x: Float[Array, "n *places d"], budget: int | None = None
) -> Float[Array, "n k"]:
    """Representations of places as rows: means over a grid of cells.

    [n, d] stays; [n, l, d] (tokens, frames, nodes), [n, h, w, d] and [n, t, h, w, d] are
    averaged over the finest grid with cells * d <= budget (one cell at least). Axes are
    divided alike, as in adaptive average pooling: cell i of k goes from floor(i l / k) to
    ceil((i + 1) l / k).

    Args:
      x: of one row or of several places a row.
      budget: most numbers of a row; None: one cell, the mean.

    >>> import jax.numpy as jnp
    >>> rows_of(jnp.arange(16.0).reshape(1, 4, 4, 1), 4).tolist()  # 2 x 2 cells
    [[2.5, 4.5, 10.5, 12.5]]
    >>> rows_of(jnp.arange(6.0).reshape(1, 6, 1), 3).tolist()  # 3 cells of 2 tokens
    [[0.5, 2.5, 4.5]]
    """
    if x.ndim == 2:
        return x
    places, d = x.shape[1:-1], x.shape[-1]
    cells = 1 if budget is None else max(1, budget // d)
    side = max(1, math.floor(cells ** (1 / len(places)) + 1e-9))
    return cell_means(x, [min(side, n) for n in places]).reshape(len(x), -1)


def joined(a: Labeled, b: Labeled) -> Labeled:
    """The rows of `a`, then those of `b`."""
    return np.concatenate([a[0], b[0]]), np.concatenate([a[1], b[1]])
