"""Stratified, reproducible splits into train, val and test.

Each class is shuffled separately; row number r of the n_c rows of class c has the position
(r + 1/2) / n_c, and all rows are sorted by position. Every prefix of this order is
stratified by class, so splits are consecutive ranges.

The shuffles use raw bits of a bit generator, which are stable across versions of NumPy
(NEP 19), unlike `Generator.permutation`.
"""

import hashlib
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Int, Integer

_FIXED = {
    "digits": {"train": 1_077, "val": 360, "test": 360},
    "mnist": {"train": 3_500, "val": 500, "test": 1_000},
    "fashion_mnist": {"train": 55_000, "val": 5_000},
}
_PINNED = {
    "digits": "926adfcf26f64489",
    "mnist": "b76e06a76733ed05",
    "fashion_mnist": "f02ecb8288c787f5",
}


def shuffled(n: int, seed: int) -> Int[np.ndarray, " n"]:
    """A permutation of n rows, the same under every version of NumPy.

    >>> shuffled(5, seed=0).tolist()
    [3, 2, 1, 0, 4]
    """
    return np.argsort(np.random.PCG64(seed).random_raw(n), kind="stable")


def ranks(labels: Integer[np.ndarray, " n"], seed: int) -> Int[np.ndarray, " n"]:
    """Rank of each row among the shuffled rows of its class, from 0.

    >>> ranks(np.array([7, 7, 7, 9]), seed=0).tolist()    # three sevens, one nine
    [2, 1, 0, 0]
    """
    order = shuffled(len(labels), seed)
    rank = np.empty(len(labels), int)
    for label in np.unique(labels):
        mine = order[labels[order] == label]
        rank[mine] = np.arange(len(mine))
    return rank


def stratified(labels: Integer[np.ndarray, " n"], seed: int) -> Int[np.ndarray, " n"]:
    """A permutation with every prefix stratified by class, up to one row.

    >>> labels = np.array([0] * 6 + [1] * 3)
    >>> labels[stratified(labels, seed=0)].tolist()    # two to one in every three
    [0, 1, 0, 0, 1, 0, 0, 1, 0]
    """
    _, inverse, counts = np.unique(labels, return_inverse=True, return_counts=True)
    stands = (ranks(labels, seed) + 0.5) / counts[inverse]
    order = shuffled(len(labels), seed)
    return order[np.argsort(stands[order], kind="stable")]  # ties stay shuffled


def cut(
    rows: Int[np.ndarray, " n"], sizes: Mapping[str, int]
) -> dict[str, Int[np.ndarray, " _"]]:
    """Cuts rows into consecutive parts of the given sizes, by name.

    >>> {name: x.tolist() for name, x in cut(np.arange(5), dict(a=3, b=2)).items()}
    {'a': [0, 1, 2], 'b': [3, 4]}
    """
    ends = np.cumsum(list(sizes.values()))
    if ends[-1] != len(rows):
        raise ValueError(f"cut: {dict(sizes)} does not add up to {len(rows)} rows")
    return dict(zip(sizes, np.split(rows, ends[:-1]), strict=True))


def tenths(
    n: int,
    labels: Integer[np.ndarray, " n"] | None,
    *parts: str,
    seed: int = 0,
    most: int | None = None,
) -> dict[str, Int[np.ndarray, " _"]]:
    """A tenth of n rows for each of `parts`, the rest for "train"; stratified by labels.

    `most` is the largest number of rows of a part.

    >>> {name: len(x) for name, x in tenths(25, None, "val", "test").items()}
    {'train': 21, 'val': 2, 'test': 2}
    """
    if n <= len(parts):
        raise ValueError(f"{n} rows are too few for train, {', '.join(parts)}")
    order = shuffled(n, seed) if labels is None else stratified(labels, seed)
    tenth = max(1, min(n // 10, n if most is None else most))
    sizes = {"train": n - len(parts) * tenth} | dict.fromkeys(parts, tenth)
    return cut(order, sizes)


def completed(
    sizes: Mapping[str, int],
    labeled: Mapping[str, bool],
    labels: Integer[np.ndarray, " n"] | None,
    hold_out: bool = True,
) -> tuple[dict[str, tuple[str, np.ndarray | None]], dict[str, np.ndarray], list[str]]:
    """The splits train, val and test of data that lack some of them.

    If train has labels, a val or test without labels is set aside as "val_unlabeled" or
    "test_unlabeled". Without a test, val is judged in its place, as ImageNet's published
    validation set is, and a tenth of train, at most 10,000 rows, becomes val; so do BYOL's
    authors. Without either, a tenth of train each becomes val and test.

    Args:
      sizes: number of rows of each split that there is.
      labeled: for each, True if it has labels.
      labels: of train, to stratify; None: rows are drawn without regard to labels.
      hold_out: False leaves a val that is cut from train in train too, after the other
        rows: all published images are trained on, and val is the same, for choosing only.

    Returns:
      For each split, the split that its rows are taken from, and the rows (None: all); the
      places in train of rows that are in another split too, by that split; and a line for
      each departure.

    >>> sizes = {"train": 20, "val": 5}
    >>> parts, _, told = completed(sizes, dict.fromkeys(sizes, True), None)
    >>> {name: (whole, None if x is None else len(x)) for name, (whole, x) in parts.items()}
    {'train': ('train', 18), 'val': ('train', 2), 'test': ('val', None)}
    >>> told
    ['no test split: val is judged as test, and 2 images of train are val']
    """
    parts: dict[str, tuple[str, np.ndarray | None]] = {x: (x, None) for x in sizes}
    includes: dict[str, np.ndarray] = {}
    told = []
    for part in ("val", "test"):
        if part in parts and labeled["train"] and not labeled[part]:
            parts[f"{part}_unlabeled"] = parts.pop(part)
            told.append(f"{part} has no labels, and is set aside as {part}_unlabeled")
    most, judged = None, "test" not in parts and "val" in parts
    if judged:
        parts["test"], most = parts.pop("val"), 10_000
    missing = [part for part in ("val", "test") if part not in parts]
    if missing:
        cuts = tenths(sizes["train"], labels, *missing, most=most)
        if "val" in cuts and not hold_out:
            cuts, includes = trained_on_val(cuts)
        parts |= {part: ("train", rows) for part, rows in cuts.items()}
        if judged:
            told.append(
                f"no test split: val is judged as test, and {len(cuts['val']):,} images "
                f"of train are val"
            )
        elif told:
            told.append(f"a tenth of train each is {' and '.join(missing)}")
        if includes:
            told.append("val is part of train: its numbers are of images trained on")
    order = ("train", "val", "test", *parts)
    return {part: parts[part] for part in order if part in parts}, includes, told


def trained_on_val(
    parts: Mapping[str, Int[np.ndarray, " _"]],
) -> tuple[dict[str, Int[np.ndarray, " _"]], dict[str, Int[np.ndarray, " _"]]]:
    """The parts with the rows of val at the end of train too, and their places in train.

    >>> parts = {"train": np.array([3, 1]), "val": np.array([0]), "test": np.array([2])}
    >>> found, includes = trained_on_val(parts)
    >>> {name: x.tolist() for name, x in (found | {"places": includes["val"]}).items()}
    {'train': [3, 1, 0], 'val': [0], 'test': [2], 'places': [2]}
    """
    train = np.concatenate([parts["train"], parts["val"]])
    return {**parts, "train": train}, {"val": np.arange(len(parts["train"]), len(train))}


def counted_words(sizes: Mapping[str, int], includes: Mapping[str, Any] = {}) -> str:
    """Numbers of rows by split, for a summary.

    >>> counted_words({"train": 5_000, "val": 500}, includes={"val": ...})
    '5,000 train, 500 val (trained on)'
    """
    return ", ".join(f"{n:,} {part}{trained(part, includes)}" for part, n in sizes.items())


def skipped_words(names: Sequence[str], count: int = 0, most: int = 5) -> str:
    """The images that could not be read, for a report; empty if there are none.

    Args:
      names: of the images, or of the first of them.
      count: of the images; 0: as many as names.
      most: number of names that are listed.

    >>> skipped_words(["a.png", "b.png"], most=1)
    'passed over: 2 images that cannot be read: a.png and 1 more'
    """
    count = count or len(names)
    if not count:
        return ""
    shown = names[:most]
    more = f" and {count - len(shown):,} more" if count > len(shown) else ""
    noun = "image" if count == 1 else "images"
    return f"passed over: {count:,} {noun} that cannot be read: {', '.join(shown)}{more}"


def trained(part: str, includes: Collection[str]) -> str:
    """A suffix for a split that training included, else "".

    >>> trained("val", ("val",)), trained("test", ("val",))
    (' (trained on)', '')
    """
    return " (trained on)" if part in includes else ""


def rare(
    labels: Mapping[str, Integer[np.ndarray, " _"]], names: Sequence[str]
) -> list[str]:
    """A line for each of val and test that lacks classes of train.

    >>> rare({"train": np.array([0, 1, 1]), "val": np.array([1])}, ("cat", "dog"))
    ['1 of 2 classes has no image in val: cat (1 in train)']
    """
    told = []
    for part in ("val", "test"):
        if not {"train", part} <= set(labels):
            continue
        count = 1 + max(int(labels[x].max(initial=-1)) for x in ("train", part))
        there = np.bincount(labels["train"], minlength=count)
        here = np.bincount(labels[part], minlength=count)
        lost = np.flatnonzero((there > 0) & (here == 0))
        if len(lost):
            each = [
                f"{names[i] if i < len(names) else i} ({there[i]:,} in train)"
                for i in lost[:10]
            ]
            more = f" and {len(lost) - 10} more" if len(lost) > 10 else ""
            verb = "has" if len(lost) == 1 else "have"
            told.append(
                f"{len(lost)} of {(there > 0).sum()} classes {verb} no image in {part}: "
                f"{', '.join(each)}{more}"
            )
    return told


def fixed(
    name: str, labels: Integer[np.ndarray, " n"], hold_out: bool = True
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """The fixed split of an embedded data set, checked by hash.

    Returns:
      The rows of each split, and the places in train of rows of val: none if val is held
      out.

    Raises:
      ValueError: the hash differs, because the labels are those of another release.
    """
    parts = cut(stratified(labels, seed=0), _FIXED[name])
    came = fingerprint(*parts.values())
    if came != _PINNED[name]:
        raise ValueError(
            f"the labels of {name} are not those of its fixed split: the rows hash to "
            f"{came}, not {_PINNED[name]}"
        )
    return (parts, {}) if hold_out else trained_on_val(parts)


def fingerprint(*parts: np.ndarray | str) -> str:
    """The first 16 hexadecimal digits of the SHA-256 of arrays and strings.

    >>> fingerprint("mnist", np.arange(3)) == fingerprint("mnist", np.arange(4))
    False
    """
    sha = hashlib.sha256()
    for part in parts:
        if isinstance(part, np.ndarray):
            sha.update(f"{part.dtype.str}{part.shape}".encode())
            sha.update(np.ascontiguousarray(part).data)
        else:
            sha.update(f"{part}\n".encode())
    return sha.hexdigest()[:16]
