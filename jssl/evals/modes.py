"""Mode coverage of a generator on a mixture of Gaussians.

A sample belongs to the nearest mean, and is of high quality within three standard
deviations of it; a mode is covered if enough such samples belong to it. A perfect generator
in the plane has 1 - exp(-4.5) = 98.9 % samples of high quality.

Srivastava et al., "VEEGAN", NIPS 2017 (https://arxiv.org/abs/1705.07761); Lin et al.,
"PacGAN", NeurIPS 2018 (https://arxiv.org/abs/1712.04086), with one sample to cover a mode.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Integer

from jssl.evals.protocol import Eval, Features
from jssl.pictures import Scatter


class Coverage(NamedTuple):
    """Mode coverage of samples."""

    modes: int  # number with at least `least` samples of high quality
    high_quality: float  # fraction of all samples
    reverse_kl: float  # of high-quality samples over modes from uniform, in nats
    counts: Integer[np.ndarray, " m"]  # samples of high quality, by mode


def mode_coverage(
    samples: Float[np.ndarray, "n d"],
    means: Float[np.ndarray, "m d"],
    deviation: float,
    *,
    within: float = 3.0,
    least: int = 20,
) -> Coverage:
    """Counts samples near each mean of a uniform mixture of isotropic Gaussians.

        reverse_kl = sum_i p_i log(m p_i),    p_i = counts_i / sum counts

    Without samples of high quality reverse_kl is log m, its maximum.

    Args:
      samples: generated rows.
      means: of the Gaussians.
      deviation: standard deviation of each Gaussian.
      within: radius of high quality, in deviations.
      least: number of high-quality samples that cover a mode.

    Raises:
      ValueError: samples and means are not rows of one width, or there are none.

    >>> means = np.array([[0.0], [10.0]])
    >>> samples = np.array([[0.1], [-0.2], [9.0], [5.1]])    # the last is of neither
    >>> found = mode_coverage(samples, means, 1.0, least=1)
    >>> print(found.modes, found.high_quality, found.counts)
    2 0.75 [2 1]
    >>> print(f"{found.reverse_kl:.4f}")    # 2/3 log(4/3) + 1/3 log(2/3)
    0.0566
    """
    fits = samples.ndim == means.ndim == 2 and samples.shape[1:] == means.shape[1:]
    if not fits or not len(samples) or not len(means):
        raise ValueError(
            f"mode_coverage: samples [n, d] and means [m, d] must be rows of one width, "
            f"got {list(samples.shape)} and {list(means.shape)}"
        )
    nearest, far = _nearest(samples, means, deviation)
    m = len(means)
    counts = np.bincount(nearest[far <= within], minlength=m)
    p = counts[counts > 0] / np.maximum(counts.sum(), 1)
    reverse_kl = float((p * np.log(m * p)).sum()) if len(p) else float(np.log(m))
    quality = float(counts.sum() / len(samples))
    return Coverage(int((counts >= least).sum()), quality, reverse_kl, counts)


def modes(
    means: Float[np.ndarray, "m d"],
    deviation: float,
    *,
    field: str = "image",
    within: float = 3.0,
    least: int = 20,
) -> Eval:
    """`mode_coverage` of one generated sample per judged row; fits nothing.

    In two dimensions there is also a scatter plot, colored by mode; color m is for samples
    that are not of high quality.

    Args:
      means, deviation, within, least: as in `mode_coverage`.
      field: name of the generated samples [N, d].
    """

    def run(features: Features, final: bool) -> dict:
        samples = np.asarray(features.generated("test" if final else "val")[field])
        found = mode_coverage(samples, means, deviation, within=within, least=least)
        metrics = {
            "modes": float(found.modes),
            "high_quality": found.high_quality,
            "reverse_kl": found.reverse_kl,
        }
        if samples.shape[1] != 2:
            return metrics
        nearest, far = _nearest(samples, means, deviation)
        shown = np.where(far <= within, nearest, len(means))
        title = (
            f"N={len(samples)} generated\n{found.modes} of {len(means)} modes, "
            f"{100 * found.high_quality:.1f} % within {within:g} deviations"
        )
        return metrics | {"generated": Scatter(samples.astype(np.float32), shown, title)}

    return Eval(
        f"{len(means)} modes of deviation {deviation:g}: samples within {within:g} "
        f"deviations, {least} to cover a mode",
        run,
    )


def _nearest(samples, means, deviation):
    """Nearest mean of each sample, and the distance to it in deviations."""
    apart = np.linalg.norm(samples[:, None] - means[None], axis=2) / deviation
    return apart.argmin(axis=1), apart.min(axis=1)
