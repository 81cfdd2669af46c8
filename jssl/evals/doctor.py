"""Is it training, or has it collapsed? Numbers that need no labels, and one verdict.

`examine` looks at what `embed` gives: at the projections z, or at h where there are none;
at samples, beside real images; at the logits of prototypes. `diagnose` reads such numbers
as they came in the course of a run, beside the training loss and what it is at chance.

The thresholds were fixed on MNIST-5k and then tried on other data, widths and seeds:
`benchmarks/doctor.py`, docs/doctor.md.
"""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from jssl.evals import collapse
from jssl.evals.gallery import spectrum_points
from jssl.evals.generation import prdc
from jssl.evals.protocol import Features
from jssl.pictures import Lines

POINT = {"z": 0.2, "h": 0.05}  # std below it: complete collapse; h after a ReLU is positive
FLAT = 1.6  # rank below it: dimensional collapse
IDLE = 0.05  # the loss has never come down by more than this share of its value at chance
ALIKE = 0.05  # samples/spread below it: mode collapse
LOST, SOME = 0.5, 0.1  # so is a samples/coverage below LOST of the best so far, from SOME
USED = 0.1  # prototypes/used as a share of all below it: most prototypes are unused
PATIENCE = 200  # steps in which a loss may stay at chance

NEEDS = {
    "complete collapse": "a stopped gradient with a predictor, a slow target, negatives, a "
    "variance term; a predictor that learns no slower than the rest",
    "dimensional collapse": "a term that decorrelates channels, a lower temperature, a "
    "deeper projector",
    "no learning": "a lower temperature, another learning rate, harder or softer views",
    "mode collapse": "a weaker or better regularised generator, more discriminator steps, "
    "a gradient penalty",
    "unused prototypes": "balanced assignments, centring beside sharpening, fewer of them",
}


class Verdict(NamedTuple):
    """What the numbers of a run say.

    Attributes:
      kind: "healthy", or a key of `NEEDS`.
      since: the step from which on every examination said so; 0 if it is healthy.
      words: one sentence with the numbers.
    """

    kind: str
    since: int
    words: str


def examine(features: Features, split: str, rows: int = 2048) -> dict[str, float]:
    """The numbers of a moment, by "output/what"; of the first `rows` rows of a split.

    std is `feature_std` in units of its largest value, 1 / sqrt(d); rank and rankme are
    counts of directions, of width; used and unsure count prototypes.
    """
    found = {}
    for name, z in _embeddings(features, split, rows):
        found |= {
            f"{name}/std": collapse.feature_std(z) * math.sqrt(z.shape[1]),
            f"{name}/rank": collapse.effective_rank(z),
            f"{name}/rankme": collapse.rankme(z),
            f"{name}/width": float(min(z.shape[1], len(z) - 1)),
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
    numbers = [k for k, x in generated.items() if np.issubdtype(x.dtype, np.floating)]
    for name in numbers[:1]:
        made, real = (
            np.asarray(x).reshape(len(x), -1).astype(np.float64)
            for x in (generated[name], features.rows(split, rows)[name])
        )
        found |= {
            "samples/coverage": prdc(real, made, min(5, len(real) - 1)).coverage,
            "samples/spread": float(made.std(axis=0).mean() / real.std(axis=0).mean()),
        }
    return found


def spectrum(features: Features, split: str, rows: int = 2048) -> Lines:
    """The singular values of centred z and h, each relative to its largest."""
    found = {
        name: np.maximum(spectrum_points(z), 1e-9)
        for name, z in _embeddings(features, split, rows)
    }
    title = "singular values: a slow fall is healthy, a cliff is dimensional collapse"
    return Lines(found, title, "rank", log=True)


def _embeddings(features, split, rows):
    """(name, rows [n, d]) of z and h, where the method has them."""
    for name in ("z", "h"):
        if name in features.names:
            z = np.asarray(features(split, name, rows=rows))
            if z.ndim == 2 and len(z) > 1:
                yield name, z


def diagnose(
    history: Sequence[tuple[int, Mapping[str, float]]],
    chance: Mapping[str, float] = {},
) -> Verdict:
    """The verdict on a run, from what was seen of it at some of its steps, the last last.

    Args:
      history: (step, numbers): those of `examine`, and training metrics.
      chance: training metrics that have a value at chance, log K of K classes say.

    >>> seen = {"z/std": 0.9, "z/rank": 20.0, "z/width": 64.0}
    >>> diagnose([(100, seen), (200, seen | {"z/std": 0.001})])[:2]
    ('complete collapse', 200)
    """
    if not history:
        return Verdict("healthy", 0, "nothing was examined")
    history = _with_bests(history, chance)
    step, last = history[-1]
    for kind, sign in SIGNS.items():
        words = sign(step, last, chance)
        if words is None:
            continue
        since = step
        for earlier, numbers in reversed(history):
            if sign(earlier, numbers, chance) is None:
                break
            since = earlier
        from_start = since == history[0][0]
        when = "at every examination" if from_start else f"since step {since}"
        return Verdict(kind, since, f"{kind}, {when}: {words}. What helps: {NEEDS[kind]}.")
    return Verdict("healthy", 0, f"healthy: {_seen(last, chance)}")


def _with_bests(history, chance):
    """Adds what each loss that has a value at chance, and the coverage, have reached so
    far: a loss may rise again, with new clusters say."""
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
    """The output whose collapse counts: the projections where there are any."""
    return next((name for name in ("z", "h") if f"{name}/std" in numbers), None)


def _point(step, numbers, chance):
    name = _judged(numbers)
    if name is None or numbers[f"{name}/std"] >= POINT[name]:
        return None
    std = numbers[f"{name}/std"]
    return f"all rows of {name} point one way (they spread {std:.2g} of what is possible)"


def _flat(step, numbers, chance):
    name = _judged(numbers)
    if name is None:
        return None
    rank, width = numbers[f"{name}/rank"], numbers[f"{name}/width"]
    if rank >= FLAT:
        return None
    return f"{name} varies in {rank:.1f} directions of {width:.0f}"


def _idle(step, numbers, chance):
    if step < PATIENCE:
        return None
    for name, value in chance.items():
        best = numbers.get(f"best {name}", 0.0)
        if best > (1 - IDLE) * value:
            return f"{name} has been {best:.4g} at best, by chance it would be {value:.4g}"
    return None


def _modes(step, numbers, chance):
    if "samples/spread" not in numbers:
        return None
    spread, covered = numbers["samples/spread"], numbers["samples/coverage"]
    if spread < ALIKE:
        return f"samples vary {100 * spread:.2g} % as much as real images"
    best = numbers["best samples/coverage"]
    if best < SOME or covered >= LOST * best:
        return None
    before, after = 100 * best, 100 * covered
    return f"samples cover {after:.0f} % of the data, had covered {before:.0f} %"


def _unused(step, numbers, chance):
    if "prototypes/used" not in numbers:
        return None
    used, known = numbers["prototypes/used"], numbers["prototypes/all"]
    if used >= USED * known:
        return None
    return f"{used:.1f} of {known:.0f} prototypes are used"


SIGNS = {  # the first that shows is the verdict
    "mode collapse": _modes,
    "complete collapse": _point,
    "unused prototypes": _unused,
    "dimensional collapse": _flat,
    "no learning": _idle,
}


def _seen(numbers, chance):
    parts = []
    if name := _judged(numbers):
        std, rank, width = (numbers[f"{name}/{what}"] for what in ("std", "rank", "width"))
        parts.append(
            f"{name} spreads {std:.2f} of what is possible, in {rank:.1f} directions of "
            f"{width:.0f}"
        )
    if "samples/coverage" in numbers:
        parts.append(f"samples cover {100 * numbers['samples/coverage']:.0f} % of the data")
    if "prototypes/used" in numbers:
        used, known = numbers["prototypes/used"], numbers["prototypes/all"]
        parts.append(f"{used:.1f} of {known:.0f} prototypes are used")
    parts += [
        f"{name} {numbers[name]:.4g}, by chance {value:.4g}"
        for name, value in chance.items()
        if name in numbers
    ]
    return "; ".join(parts) or "nothing was examined"
