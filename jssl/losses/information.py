r"""Variational bounds on mutual information, and Deep InfoMax.

A critic T scores pairs: high for pairs from the joint distribution, low for pairs from
the product of the marginals. Each bound maps the two sets of scores to nats of mutual
information and is to be maximized. Deep InfoMax maximizes it between an image and its
code, and is a loss to be minimized.

Poole et al. 2019 compare them, https://arxiv.org/abs/1905.06922.

With `axis_name`, under `pmap` or `shard_map`, scores of all devices count.
"""

import math

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, ScalarLike

from jssl.ops.explicit import compares_rows
from jssl.ops.gather import gather, global_rows, pmean, psum
from jssl.ops.precision import widen
from jssl.ops.shapes import expect
from jssl.ops.vectors import log_mean_exp, logsumexp


def dv_bound(
    joint: Float[Array, "..."],
    marginal: Float[Array, "..."],
    where: Bool[Array, "..."] | None = None,
    axis_name: str | None = None,
) -> Float[Array, ""]:
    r"""Donsker and Varadhan's bound on mutual information.

    .. math:: I \ge \mathrm{mean}_\text{joint} \, T
              - \log \mathrm{mean}_\text{marginal} \, e^T

    The bound is invariant to adding a constant to T. `where` is True at the scores of
    `marginal` that count: of a matrix of all pairs, those off the diagonal. If none does,
    the second term is 0. On small batches its gradient is biased: see `mine`.

    Donsker and Varadhan 1983, https://doi.org/10.1002/cpa.3160360204

    Raises:
      ValueError: when a score is not floating.

    >>> joint, marginal = jnp.array([2.0]), jnp.array([0.0, jnp.log(3.0)])
    >>> print(f"{dv_bound(joint, marginal):.4f}")    # 2 - log 2
    1.3069
    """
    joint, marginal = _scores("dv_bound", joint, marginal)
    log_mean = log_mean_exp(marginal, where, axis_name)
    return pmean(joint.mean(), axis_name) - log_mean


def nwj_bound(
    joint: Float[Array, "..."],
    marginal: Float[Array, "..."],
    where: Bool[Array, "..."] | None = None,
    axis_name: str | None = None,
) -> Float[Array, ""]:
    r"""Nguyen, Wainwright and Jordan's bound, of which f-GAN's KL is one form.

    .. math:: I \ge \mathrm{mean}_\text{joint} \, T
              - \mathrm{mean}_\text{marginal} \, e^{T - 1}

    Never above `dv_bound` for the same T. Beyond 0.7 times the largest exponent of the
    dtype (62 in float32), the exponential continues as its tangent, so that value and
    gradient stay finite.

    Nguyen, Wainwright and Jordan 2010, https://arxiv.org/abs/0809.0853

    Raises:
      ValueError: when a score is not floating.

    >>> print(f"{nwj_bound(jnp.array([2.0]), jnp.array([1.0])):.4f}")    # 2 - e^0
    1.0000
    """
    joint, marginal = _scores("nwj_bound", joint, marginal)
    most = 0.7 * math.log(jnp.finfo(marginal.dtype).max)
    exponent = jnp.minimum(marginal - 1, most)
    grown = jnp.exp(exponent) * (marginal - exponent)  # linear beyond `most`
    return pmean(joint.mean(), axis_name) - _mean(grown, where, axis_name)


def jsd_bound(
    joint: Float[Array, "..."],
    marginal: Float[Array, "..."],
    where: Bool[Array, "..."] | None = None,
    shift: bool = False,
    axis_name: str | None = None,
) -> Float[Array, ""]:
    r"""Jensen-Shannon estimator: grows with the information but is not a bound on it.

    .. math:: -\mathrm{mean}_\text{joint} \log(1 + e^{-T})
              - \mathrm{mean}_\text{marginal} \log(1 + e^T)

    With `shift`, 2 log 2 is added, which makes it 0 for a critic that is 0 everywhere.

    Nowozin et al. 2016, https://arxiv.org/abs/1606.00709; Hjelm et al. 2019, eq. 4,
    https://arxiv.org/abs/1808.06670

    Raises:
      ValueError: when a score is not floating.

    >>> print(f"{jsd_bound(jnp.zeros(3), jnp.zeros(5)):.4f}")    # -2 log 2
    -1.3863
    """
    joint, marginal = _scores("jsd_bound", joint, marginal)
    together = pmean(jax.nn.softplus(-joint).mean(), axis_name)
    apart = _mean(jax.nn.softplus(marginal), where, axis_name)
    return (2 * math.log(2) if shift else 0) - together - apart


def info_nce_bound(
    scores: Float[Array, "n N"], axis_name: str | None = None
) -> Float[Array, ""]:
    r"""InfoNCE's bound, at most log N.

    .. math:: I \ge \log N - \mathrm{mean}_i \Big[ \log \sum_j e^{T_{ij}} - T_{ii}
              \Big]

    Rows are anchors and columns are all N candidates, those of all devices with
    `axis_name`; the positive of row i of device r is column r n + i.

    van den Oord, Li and Vinyals 2018, eq. 5. https://arxiv.org/abs/1807.03748

    Raises:
      ValueError: when `scores` is not float[n, N], N counting all rows of all devices.

    >>> print(f"{info_nce_bound(10 * jnp.eye(3)):.4f}")    # log 3 - log(1 + 2 e^-10)
    1.0985
    """
    expect("info_nce_bound", scores=(scores, "n N"))
    (scores,) = widen(scores)
    n, everyone = len(scores), psum(len(scores), axis_name)
    expect("info_nce_bound", scores=(scores, f"{n} {everyone}"))
    partner = global_rows(n, axis_name)[:, None]
    positive = jnp.take_along_axis(scores, partner, axis=1)[:, 0]
    nats = (jax.nn.logsumexp(scores, -1) - positive).mean()
    return math.log(everyone) - pmean(nats, axis_name)


def mine(
    joint: Float[Array, "..."],
    marginal: Float[Array, "..."],
    log_average: ScalarLike,
    rate: ScalarLike = 0.01,
    axis_name: str | None = None,
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    r"""MINE: minus `dv_bound`, with a gradient corrected for the bias of small batches.

    .. math:: \bar E \leftarrow (1 - \alpha) \bar E + \alpha \, \mathrm{mean} \, e^T,
              \qquad \nabla = -\nabla \, \mathrm{mean} \, T
              + \frac{\nabla \, \mathrm{mean} \, e^T}{\bar E}

    The running average is passed and returned as its logarithm, initialized to that of
    the first batch or to 0. Returns (loss, new log_average).

    Belghazi et al. 2018, eq. 12. https://arxiv.org/abs/1801.04062

    Raises:
      ValueError: when a score is not floating.

    >>> loss, log_average = mine(jnp.array([2.0]), jnp.array([0.0]), log_average=0.0)
    >>> print(loss, log_average.round(4) + 0)    # log 1 - 2; the average of 1 and 1
    -2.0 0.0
    """
    joint, marginal = _scores("mine", joint, marginal)
    log_mean = log_mean_exp(marginal, axis_name=axis_name)
    old = jnp.asarray(log_average).astype(marginal.dtype)
    new = jnp.logaddexp(old + jnp.log1p(jnp.negative(rate)), log_mean + jnp.log(rate))
    new = lax.stop_gradient(new)
    surrogate = jnp.exp(log_mean - new)  # its gradient is that of mean e^T over new
    slope = surrogate - lax.stop_gradient(surrogate)
    value = lax.stop_gradient(log_mean) + slope
    return value - pmean(joint.mean(), axis_name), new


@compares_rows
def dim_local(
    maps: Float[Array, "n m u"],
    summaries: Float[Array, "n u"],
    measure: str = "jsd",
    axis_name: str | None = None,
) -> Float[Array, ""]:
    r"""Local Deep InfoMax: mutual information of an image's code and its feature map.

    With scores \(T_{abm} = c_{am} \cdot e_b\) of location m of image a and code b, the
    loss is, by `measure`,

    - "jsd": minus `jsd_bound`, where marginal pairs are those with a and b different;
    - "dv": minus `dv_bound` of the same;
    - "nce": for each location of each image, the cross entropy of its score among those
      of all locations of other images with the same code.

    With n = 1 there are no marginal pairs, and that term is 0. Both arguments come from
    score networks; m locations, u units.

    Hjelm et al. 2019, eq. 6. https://arxiv.org/abs/1808.06670

    Raises:
      ValueError: when shapes differ, or the measure is unknown.

    >>> maps, codes = jnp.zeros((3, 4, 2)), jnp.zeros((3, 2))
    >>> print(f"{dim_local(maps, codes):.4f}")    # 2 log 2
    1.3863
    >>> print(f"{dim_local(maps, codes, measure='nce'):.4f}")    # log(1 + 2 * 4)
    2.1972
    """
    expect("dim_local", maps=(maps, "n m u"), summaries=(summaries, "n u"))
    maps, summaries = widen(maps, summaries)
    everyone = gather(summaries, axis_name)
    joint = jnp.einsum("amu,au->am", maps, summaries, precision="highest")
    scores = jnp.einsum("amu,bu->abm", maps, everyone, precision="highest")
    rows = global_rows(len(maps), axis_name)
    others = rows[:, None] != jnp.arange(len(everyone))[None]
    others = jnp.broadcast_to(others[..., None], scores.shape)
    if measure == "jsd":
        return -jsd_bound(joint, scores, others, axis_name=axis_name)
    if measure == "dv":
        return -dv_bound(joint, scores, others, axis_name=axis_name)
    if measure == "nce":
        rest = logsumexp(scores, (0, 2), others, axis_name)[rows]  # [n], of each code
        nats = jnp.logaddexp(joint, rest[:, None]) - joint
        return pmean(nats.mean(), axis_name)
    raise ValueError(f"dim_local: measure must be 'jsd', 'dv' or 'nce', got {measure!r}")


def dim_global(
    features: Float[Array, "n u"],
    summaries: Float[Array, "n u"],
    measure: str = "jsd",
    axis_name: str | None = None,
) -> Float[Array, ""]:
    r"""Global Deep InfoMax: `dim_local` with one feature vector for the whole image.

    Hjelm et al. 2019, eq. 1. https://arxiv.org/abs/1808.06670

    Raises:
      ValueError: when shapes differ, or the measure is unknown.

    >>> z = jnp.zeros((3, 2))
    >>> print(f"{dim_global(z, z, measure='nce'):.4f}")    # log 3
    1.0986
    """
    expect("dim_global", features=(features, "n u"), summaries=(summaries, "n u"))
    return dim_local(features[:, None], summaries, measure, axis_name)


def dim_prior(
    real: Float[Array, "..."], fake: Float[Array, "..."]
) -> dict[str, Float[Array, ""]]:
    r"""Deep InfoMax's prior matching: adversarial losses of codes and prior samples.

    .. math:: L_D &= \mathrm{mean} \log(1 + e^{-D(u)})
                     + \mathrm{mean} \log(1 + e^{D(e)}) \\
              L_E &= \mathrm{mean} \log(1 + e^{-D(e)})

    `real` are the discriminator's logits on samples of the prior, `fake` on codes.
    No gradient is stopped: differentiate "discriminator" with respect to the
    discriminator only, "encoder" with respect to the encoder only.

    Hjelm et al. 2019, eq. 7. https://arxiv.org/abs/1808.06670

    Raises:
      ValueError: when a logit is not floating.

    >>> terms = dim_prior(jnp.zeros(3), jnp.zeros(3))    # 2 log 2 and log 2
    >>> print({name: round(float(x), 4) for name, x in terms.items()})
    {'discriminator': 1.3863, 'encoder': 0.6931}
    """
    real, fake = _scores("dim_prior", real, fake)
    return {
        "discriminator": jax.nn.softplus(-real).mean() + jax.nn.softplus(fake).mean(),
        "encoder": jax.nn.softplus(-fake).mean(),
    }


def _scores(function, first, second):
    expect(function, joint=(first, "..."), marginal=(second, "..."))
    return widen(first, second)


def _mean(x, where, axis_name):
    """The mean over entries with `where`, on all devices; 0 if there are none."""
    where = jnp.ones(x.shape, bool) if where is None else where
    total, count = psum((jnp.where(where, x, 0).sum(), where.sum()), axis_name)
    return total / jnp.maximum(count, 1).astype(x.dtype)
