"""EEG: a toy with a known law, features of one's own recordings, and real trials.

`eeg_toy` and `eeg_features` have rows of differential entropy, [channels, bands] of one
second; seconds of a trial resemble each other, so that splits are of whole trials. `eeg`
has raw trials of one electrode, split by person.
"""

import importlib.metadata
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple
from zipfile import BadZipFile

import numpy as np
from jaxtyping import Float, Integer

from jssl.data.fields import Dataset, Field, Labels
from jssl.data.splits import counted_words, cut, shuffled
from jssl.data.toys import normal_pairs
from jssl.ops.eeg import BANDS, hemisphere

LICENSE = "Brown University: any purpose other than a commercial product"
EMOTIONS = Labels(("negative", "neutral", "positive"))
_STRENGTHS = (0.2, 0.2, 0.3, 0.5, 0.6)  # of the classes in each band: high bands tell most
_BASE = (3.0, 2.5, 2.2, 1.6, 1.2)  # nats, of each band
_MEMORY = 0.9  # from second to second


class Law(NamedTuple):
    """The law of the rows of `eeg_toy`: Gaussian, given the class.

    Attributes:
      means: [classes, channels, bands].
      root: [channels, channels], a root of the covariance of the channels of a band; bands
        are independent.
      scale: [channels, bands], by which the rows are divided.
    """

    means: Float[np.ndarray, "k ch f"]
    root: Float[np.ndarray, "ch ch"]
    scale: Float[np.ndarray, "ch f"]

    def draw(self, seed: int, y: Integer[np.ndarray, " n"]) -> Float[np.ndarray, "n ch f"]:
        """Independent rows of these classes."""
        channels, bands = self.scale.shape
        white = _normals(np.random.PCG64(seed), len(y), channels, bands)
        noise = np.einsum("ij,njf->nif", self.root, white) / self.scale
        return (self.means[y] + noise).astype(np.float32)

    def classify(self, x: Float[np.ndarray, "n ch f"]) -> Integer[np.ndarray, " n"]:
        """The most probable class of each row, at equal frequencies: Bayes' rule."""
        white = [
            np.einsum("ij,njf->nif", np.linalg.inv(self.root), rows * self.scale)
            for rows in (np.asarray(x, np.float64), self.means)
        ]
        rows, means = (a.reshape(len(a), -1) for a in white)
        return (rows @ means.T - np.square(means).sum(1) / 2).argmax(1)


def eeg_toy(*, subject: int = 0) -> Dataset:
    """Seconds of differential entropy at 62 electrodes and five bands, of three classes.

    Two recordings of one subject have 15 trials each, of 40 to 200 seconds, classes in
    turn: the first nine trials are train, the other six val, and the second recording is
    test. Columns: eeg float32 [n, 62, 5], label, and trial int32 [n]. Each number has mean
    0 and variance 1 over train. For the band f and the class c,

        x_f = base_f + subject_f + A_f g_cf + w,   g_cf ~ N(0, K),   subject_f ~ N(0, K / 4)

    with K_ij = exp(-2 |r_i - r_j|^2) for electrodes on a hemisphere, and w an AR(1) process
    of seconds, with the coefficient 0.9 and the law N(0, 0.49 K + 0.04 I). The patterns g
    are the same for all subjects.

    Args:
      subject: number of the subject.
    """
    if subject < 0:
        raise ValueError(f"eeg_toy: subject must be 0 or more, got {subject}")
    splits, _ = _toy(subject)
    sizes = {part: len(table["label"]) for part, table in splits.items()}
    summary = f"a toy of EEG, subject {subject}; {counted_words(sizes)} seconds"
    return Dataset(splits, 3, {"eeg": Field(), "label": EMOTIONS}, summary=summary)


def toy_law(subject: int = 0) -> Law:
    """The law of the rows of `eeg_toy`, in its units.

    >>> law = toy_law()
    >>> y = np.arange(300) % 3
    >>> bool((law.classify(law.draw(0, y)) == y).mean() > 0.9)
    True
    """
    return _toy(subject)[1]


@cache
def _toy(subject):
    """The splits of a subject, and its law."""
    places = hemisphere()
    far = np.square(places[:, None] - places[None]).sum(-1)
    kernel = np.exp(-far / (2 * 0.5**2))
    channels, bands = len(places), len(BANDS)

    def smooth(bits, *rows):
        """Independent draws of N(0, K), [*rows, channels, bands]."""
        root = np.linalg.cholesky(kernel + 1e-9 * np.eye(channels))
        white = _normals(bits, *rows, channels, bands)
        return np.einsum("ij,...jf->...if", root, white)

    patterns = smooth(np.random.PCG64(0), 3)
    own = 0.5 * smooth(np.random.PCG64([1, subject]))
    means = np.array(_BASE) + own + np.array(_STRENGTHS) * patterns
    root = np.linalg.cholesky(0.7**2 * kernel + 0.2**2 * np.eye(channels))
    bits = np.random.PCG64([2, subject])
    tables = [_recording(bits, means, root) for _ in range(2)]
    first = tables[0]["trial"]
    splits = {
        "train": {k: x[first < 9] for k, x in tables[0].items()},
        "val": {k: x[first >= 9] for k, x in tables[0].items()},
        "test": tables[1],
    }
    center, scale = standardize(splits, "eeg")
    return splits, Law((means - center) / scale, root, scale)


def _recording(bits, means, root):
    """Fifteen trials, classes in turn, each an AR(1) process around its class's mean."""
    x, y, trial = [], [], []
    for i in range(15):
        seconds = 40 + int(bits.random_raw() >> np.uint64(11)) % 161
        white = _normals(bits, seconds, *means.shape[1:])
        noise = np.einsum("ij,njf->nif", root, white)
        for t in range(1, seconds):
            noise[t] = _MEMORY * noise[t - 1] + np.sqrt(1 - _MEMORY**2) * noise[t]
        x.append(means[i % 3] + noise)
        y += [i % 3] * seconds
        trial += [i] * seconds
    return {
        "eeg": np.concatenate(x),
        "label": np.array(y, np.int32),
        "trial": np.array(trial, np.int32),
    }


def _normals(bits, *shape):
    size = int(np.prod(shape))
    return normal_pairs(bits, -(-size // 2)).ravel()[:size].reshape(shape)


def standardize(
    splits: Mapping[str, dict[str, Any]], name: str
) -> tuple[np.ndarray, np.ndarray]:
    """Gives each number of a column mean 0 and variance 1 over train, in place, in float32.

    Returns:
      The mean and the standard deviation.

    >>> splits = {"train": {"x": np.array([[1.0], [3.0]])}, "val": {"x": np.array([[4.0]])}}
    >>> _ = standardize(splits, "x")
    >>> splits["val"]["x"].tolist()    # (4 - 2) / 1
    [[2.0]]
    """
    center, scale = (f(splits["train"][name], 0) for f in (np.mean, np.std))
    scale = np.where(scale > 0, scale, 1.0)
    for table in splits.values():
        table[name] = ((table[name] - center) / scale).astype(np.float32)
    return center, scale


def eeg_features(path: str, /) -> Dataset:
    """Features of one recording in an npz file, split by trial.

    The file has x, floats [n, channels, bands], such as of `jssl.ops.eeg.de_features`; y,
    class numbers [n]; and trial, int [n], of the n seconds. The trials are in temporal
    order: the first three fifths are train, the next fifth is val and the last test, as 9,
    3 and 3 of the 15 trials of SEED (Zheng and Lu 2015; its license does not allow copies).
    Each number has mean 0 and variance 1 over train.

    Raises:
      ValueError: a file without these arrays, with fewer than five trials, with negative
        classes, or with numbers that are not finite.
    """
    try:
        with np.load(Path(path).expanduser(), allow_pickle=False) as file:
            x, y, trial = (np.asarray(file[name]) for name in ("x", "y", "trial"))
    except (OSError, EOFError, TypeError, KeyError, ValueError, BadZipFile) as reason:
        raise ValueError(
            f"{path} must be an npz file of x, y and trial: {reason}"
        ) from reason
    fits = x.ndim == 3 and x.dtype.kind == "f" and y.shape == trial.shape == x.shape[:1]
    if not fits or y.dtype.kind not in "iu" or len(np.unique(trial)) < 5:
        raise ValueError(
            f"{path} must have x float[n, channels, bands], y int[n] and five trials or "
            f"more in trial[n], got {x.dtype}{list(x.shape)}, {y.dtype}{list(y.shape)} and "
            f"{len(np.unique(trial))} trials"
        )
    if y.min() < 0 or not np.isfinite(x).all():
        raise ValueError(
            f"{path} must have classes y from 0 (add 1 to SEED's -1, 0, 1) and finite x, "
            f"got y from {y.min()} and {(~np.isfinite(x)).sum()} other numbers"
        )
    trials = np.unique(trial)
    fifth = len(trials) // 5
    sizes = {"train": len(trials) - 2 * fifth, "val": fifth, "test": fifth}
    table = {"eeg": x, "label": y.astype(np.int32), "trial": trial.astype(np.int32)}
    splits = {
        part: {k: column[np.isin(trial, mine)] for k, column in table.items()}
        for part, mine in cut(trials, sizes).items()
    }
    standardize(splits, "eeg")
    return Dataset(splits, int(y.max()) + 1, {"eeg": Field()})


def eeg(where: str | None = None, /) -> Dataset:
    """Real trials of one electrode, 100 samples each, under two conditions.

    Columns: eeg float32 [n, 100], label int32 [n], the condition, and person int32 [n]. The
    training file's 1,129 trials of 15 people are train; of the 200 other people, 50 are val
    and 150 test. Each of the 100 samples has mean 0 and variance 1 over the trials of a
    person, without regard to the condition. Study and electrode are not stated.

    The two files are those of `eeggan` 2.0.2 (Brown University), whose license excludes
    commercial products: they are not distributed with jssl.

    Args:
      where: folder of the files eeggan_training_example.csv and
        eeggan_validation_example.csv; None: that of the installed package.

    Raises:
      ValueError: no such files, or files that cannot be read.
    """
    root = Path(where).expanduser() if where else _installed()
    train, others = (
        _read(root / f"eeggan_{x}_example.csv") for x in ("training", "validation")
    )
    people = np.unique(others["person"])
    if len(people) < 4:
        raise ValueError(f"eeg: {root} has {len(people)} people beside those of training")
    order = people[shuffled(len(people), 0)]
    quarter = len(people) // 4
    parts = cut(order, {"val": quarter, "test": len(people) - quarter})
    splits = {"train": train} | {
        part: {k: x[np.isin(others["person"], mine)] for k, x in others.items()}
        for part, mine in parts.items()
    }
    counts = {part: len(np.unique(x["person"])) for part, x in splits.items()}
    summary = f"{sum(len(x['label']) for x in splits.values()):,} trials of one electrode"
    return Dataset(
        splits,
        2,
        {"eeg": Field(), "label": Labels(("condition 0", "condition 1"))},
        license=LICENSE,
        summary=f"{summary}; people: {counted_words(counts)}",
    )


def _installed():
    try:
        found = importlib.metadata.distribution("eeggan").locate_file("eeggan/data")
    except importlib.metadata.PackageNotFoundError as missing:
        raise ValueError(
            "eeg needs the files of eeggan, without its dependencies: `pip install "
            "--no-deps eeggan`, or eeg:FOLDER of its two csv files"
        ) from missing
    return Path(str(found))


@cache
def _read(path):
    """The columns of a file: participant, condition, trial, electrode, then samples."""
    try:
        rows = np.loadtxt(path, delimiter=",", skiprows=1, ndmin=2)
    except (OSError, ValueError) as reason:
        raise ValueError(f"eeg: {path} cannot be read: {reason}") from reason
    if rows.shape[1] != 104 or not np.isfinite(rows).all():
        raise ValueError(
            f"eeg: {path} must have 104 columns of numbers, the last 100 of samples, got "
            f"{rows.shape[1]}"
        )
    person, samples = rows[:, 0].astype(np.int32), rows[:, 4:]
    for one in np.unique(person):
        own = samples[person == one]
        samples[person == one] = (own - own.mean(0)) / np.maximum(own.std(0), 1e-9)
    columns = {"eeg": samples.astype(np.float32), "label": rows[:, 1].astype(np.int32)}
    return columns | {"person": person}
