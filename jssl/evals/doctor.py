"""Diagnosis of collapse and of failed training, without labels.

`examine` measures the outputs of `embed`: the projections z (or h if there are none),
samples against real rows, and the logits of prototypes. `diagnose` turns the history of
these numbers over a run, with training losses and their values at chance, into a verdict.

The thresholds were fixed on MNIST-5k and then validated on other data, widths and seeds:
`benchmarks/doctor.py`, docs/doctor.md.
"""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from jssl.evals import collapse
from jssl.evals.gallery import spectrum_points
from jssl.evals.generation import prdc
from jssl.evals.protocol import Features, of_settings
from jssl.pictures import Lines

POINT = {"z": 0.2, "h": 0.02}  # complete collapse: std below; h may have a large mean
LESS = 0.75  # complete collapse: std of z below this fraction of that of h,
HALF = 0.5  # and below this one of its maximum
FLAT = 1.6  # dimensional collapse: effective rank below
IDLE = 0.02  # no learning: the best loss is within this fraction of its value at chance
ALIKE = 0.05  # mode collapse: samples/spread below
LOST, SOME = 0.5, 0.1  # mode collapse: coverage below LOST of a best of at least SOME
USED = 0.1  # unused prototypes: prototypes/used below this fraction of all
PATIENCE = 200  # steps below which a run is too short to judge
PLAIN = 0.1  # of its threshold and of its untrained value: std of a collapse plain before
PLAINLY = 0.6  # the same of z, as a fraction of the std of h

NEEDS = {
    "complete collapse": "stop-gradient with a predictor, a momentum target, negatives, a "
    "variance term; a predictor whose learning rate is not lower than the encoder's",
    "dimensional collapse": "a decorrelation term, a lower temperature, a deeper projector",
    "no learning": "a lower temperature, another learning rate, stronger or weaker views",
    "mode collapse": "a weaker or better regularized generator, more discriminator steps, "
    "a gradient penalty",
    "unused prototypes": "balanced assignments, centering and sharpening, fewer prototypes",
}


class Verdict(NamedTuple):
    """The diagnosis of a run.

    Attributes:
      kind: "healthy", "undecided", or a key of `NEEDS`.
      since: first step of the uninterrupted diagnosis; 0 if healthy or undecided.
      words: a sentence with the numbers, and the usual remedies.
    """

    kind: str
    since: int
    words: str


@of_settings("diagnose_features(h)", "takes the features of a stage and a split")
def examine(features: Features, split: str, rows: int = 2048) -> dict[str, float]:
    """Collapse metrics of the first `rows` rows of a split, by "output/metric".

    std is `feature_std` divided by its maximum, 1 / sqrt(d); rank and rankme are effective
    ranks, rank at most min(width, rows - 1); used and unsure are effective numbers of
    prototypes.
    """
    found = {}
    for name, z in _embeddings(features, split, rows):
        found |= {
            f"{name}/std": collapse.feature_std(z) * math.sqrt(z.shape[1]),
            f"{name}/rank": collapse.effective_rank(z),
            f"{name}/rankme": collapse.rankme(z),
            f"{name}/width": float(z.shape[1]),
            f"{name}/rows": float(len(z)),
            f"{name}/uniformity": collapse.uniformity(z),
            f"{name}/resultant": collapse.resultant(z),
        }
    if "prototypes" in features.names:
        logits = np.asarray(features(split, "prototypes", rows=rows))
        used, unsure = collapse.usage(logits)
        found |= {
            "prototypes/used": used,
            "prototypes/unsure": unsure,
            "prototypes/all": float(logits.shape[1]),
        }
    generated = features.generated(split, rows)
    columns = features.rows(split, rows) if generated else {}
    numbers = [k for k in columns if np.issubdtype(columns[k].dtype, np.floating)]
    for name in [k for k in generated if k in numbers][:1]:
        made, real = (
            np.asarray(x).reshape(len(x), -1).astype(np.float64)
            for x in (generated[name], columns[name])
        )
        if len(real) < 2 or made.shape[1] != real.shape[1]:  # crops of the images
            continue
        found |= {
            "samples/coverage": prdc(real, made, min(5, len(real) - 1)).coverage,
            "samples/spread": float(made.std(axis=0).mean() / real.std(axis=0).mean()),
        }
    return found


def spectrum(features: Features, split: str, rows: int = 2048) -> Lines:
    """Singular values of centered z and h, relative to the largest."""
    found = {
        f"{name}: {len(z)} rows of width {z.shape[1]}": np.maximum(spectrum_points(z), 1e-9)
        for name, z in _embeddings(features, split, rows)
    }
    title = "singular values: slow decay is healthy, a cliff is dimensional collapse"
    return Lines(found, title, "rank", log=True)


def _embeddings(features, split, rows):
    """(name, rows [n, d]) of z and h, where the method has them."""
    for name in ("z", "h"):
        if name in features.names:
            z = np.asarray(features(split, name, rows=rows))
            if z.ndim == 2 and len(z) > 1:
                yield name, z


@of_settings("diagnose_features(h)", "takes the history of a run")
def diagnose(
    history: Sequence[tuple[int, Mapping[str, float]]],
    chance: Mapping[str, float] = {},
) -> Verdict:
    """The diagnosis of a run from its history.

    An untrained network may look collapsed, and a network is nearly untrained for its first
    steps: in the first 200 a sign leaves the run "undecided". Two are complete collapse at
    any step: projections z that have lost the spread of h, which an untrained projector
    keeps, and a standard deviation of a tenth of the threshold (and, if the history has the
    untrained network as step 0, of its value there).

    Args:
      history: (step, numbers) in order of steps: those of `examine`, and training metrics.
      chance: values of training metrics for a model that has learned nothing, e.g. log K
        for K classes.

    >>> seen = {"z/std": 0.9, "z/rank": 20.0, "z/width": 64.0}
    >>> diagnose([(100, seen), (200, seen | {"z/std": 0.001})])[:2]
    ('complete collapse', 200)
    """
    if not history:
        return Verdict("healthy", 0, "No examination was made.")
    history = _with_bests(history, chance)
    step, last = history[-1]
    for kind, sign in SIGNS.items():
        words = sign(step, last, chance)
        if words is None:
            continue
        if step < PATIENCE and not _plain(history):
            early = f"Undecided: {step} steps are too few to tell. So far {words}."
            return Verdict("undecided", 0, early)
        since = step
        for earlier, numbers in reversed(history):
            if sign(earlier, numbers, chance) is None:
                break
            since = earlier
        from_start = since == history[0][0]
        when = "at every examination" if from_start else f"since step {since}"
        sentence = f"{kind.capitalize()} {when}: {words}. Usual remedies: {NEEDS[kind]}."
        return Verdict(kind, since, sentence)
    return Verdict("healthy", 0, f"Healthy: {_seen(last, chance)}.")


def _plain(history):
    """True for a complete collapse that a nearly untrained network cannot be."""
    (begin, first), (step, last) = history[0], history[-1]
    name = _judged(last)
    if name is None:
        return False
    if _share(last) < PLAINLY:
        return True
    std, limit = f"{name}/std", POINT[name]
    if begin == 0 and step > 0:
        limit = min(limit, first.get(std, limit))
    return last[std] < PLAIN * limit


def _with_bests(history, chance):
    """Adds the best value so far of losses with a value at chance and of the coverage.

    A loss may rise again, e.g. after clustering anew.
    """
    best, found = {}, []
    for step, numbers in history:
        for name in chance:
            if name in numbers:
                best[name] = min(numbers[name], best.get(name, np.inf))
        seen = numbers.get("samples/coverage", 0.0)
        best["samples/coverage"] = max(seen, best.get("samples/coverage", 0.0))
        found.append((step, dict(numbers) | {f"best {k}": x for k, x in best.items()}))
    return found


def _judged(numbers):
    """Name of the output that is diagnosed: z if there is one, else h."""
    return next((name for name in ("z", "h") if f"{name}/std" in numbers), None)


def _share(numbers):
    """Standard deviation of z as a fraction of that of h; infinite without both.

    It is near 1 in an untrained network, and grows where z is spread over the sphere.
    """
    z, h = numbers.get("z/std"), numbers.get("h/std")
    return z / h if z is not None and h else math.inf


def _point(step, numbers, chance):
    name = _judged(numbers)
    if name is None:
        return None
    std, share = 100 * numbers[f"{name}/std"], _share(numbers)
    if std < 100 * POINT[name]:
        return (
            f"the embeddings {name} are nearly identical (per-dimension std is {std:.2g} % "
            f"of its maximum)"
        )
    if share < LESS and std < 100 * HALF:
        return (
            f"the projections z have lost the spread of h (per-dimension std is {std:.2g} "
            f"% of its maximum, that of h {std / share:.2g} %)"
        )
    return None


def _flat(step, numbers, chance):
    name = _judged(numbers)
    if name is None:
        return None
    if numbers[f"{name}/rank"] >= FLAT or _most(name, numbers) < 2:
        return None  # also a single direction, which cannot collapse further
    return f"the effective rank of {name} is {_rank(name, numbers)}"


def _most(name, numbers):
    """Largest rank that the centered rows can have."""
    return min(numbers[f"{name}/width"], numbers.get(f"{name}/rows", math.inf) - 1)


def _rank(name, numbers):
    """The effective rank and its bound in words."""
    width, most = numbers[f"{name}/width"], _most(name, numbers)
    words = f"{numbers[f'{name}/rank']:.1f} of {width:.0f}"
    return (
        words if most == width else f"{words} (at most {most:.0f}, of {most + 1:.0f} rows)"
    )


def _idle(step, numbers, chance):
    if step < PATIENCE:
        return None
    for name, value in chance.items():
        best = numbers.get(f"best {name}", 0.0)
        if best > (1 - IDLE) * value:
            return f"the best {name} so far is {best:.4g}, its value at chance {value:.4g}"
    return None


def _modes(step, numbers, chance):
    if "samples/spread" not in numbers:
        return None
    spread, covered = numbers["samples/spread"], numbers["samples/coverage"]
    if spread < ALIKE:
        return f"the standard deviation of samples is {100 * spread:.2g} % of the data's"
    best = numbers["best samples/coverage"]
    if best < SOME or covered >= LOST * best:
        return None
    before, after = 100 * best, 100 * covered
    return f"samples cover {after:.0f} % of the data, after {before:.0f} % at best"


def _unused(step, numbers, chance):
    if "prototypes/used" not in numbers:
        return None
    used, known = numbers["prototypes/used"], numbers["prototypes/all"]
    if used >= USED * known:
        return None
    return f"{used:.1f} of {known:.0f} prototypes are used"


SIGNS = {  # in order of precedence
    "mode collapse": _modes,
    "complete collapse": _point,
    "unused prototypes": _unused,
    "dimensional collapse": _flat,
    "no learning": _idle,
}


def _seen(numbers, chance):
    parts = []
    if name := _judged(numbers):
        std = 100 * numbers[f"{name}/std"]
        parts.append(
            f"per-dimension std of {name} is {std:.0f} % of its maximum, its effective "
            f"rank {_rank(name, numbers)}"
        )
    if "samples/coverage" in numbers:
        parts.append(f"samples cover {100 * numbers['samples/coverage']:.0f} % of the data")
    if "prototypes/used" in numbers:
        used, known = numbers["prototypes/used"], numbers["prototypes/all"]
        parts.append(f"{used:.1f} of {known:.0f} prototypes are used")
    parts += [
        f"{name} is {numbers[name]:.4g}, at chance {value:.4g}"
        for name, value in chance.items()
        if name in numbers
    ]
    return "; ".join(parts) or "no examination was made"
