r"""Contrastive predictive coding (CPC) and noise-contrastive estimation (NCE).

Both classify by inner product. Contrastive predictive coding identifies the true latent
k steps ahead among other latents; noise-contrastive estimation discriminates a sample's
own row of a memory bank from m rows drawn at random.
"""

import math

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, ScalarLike, Shaped

from jssl.ops.explicit import compares_rows
from jssl.ops.gather import gather, pmean
from jssl.ops.means import masked_mean
from jssl.ops.precision import widen
from jssl.ops.shapes import expect
from jssl.ops.vectors import log_mean_exp, unit


def cpc(
    latents: Float[Array, "n t d"],
    contexts: Float[Array, "n t c"],
    weights: Float[Array, "k d c"],
    negatives: str = "batch",
    first: int = 1,
    mask: Shaped[Array, "n t"] | None = None,
    axis_name: str | None = None,
) -> Float[Array, ""]:
    r"""Contrastive predictive coding: `cpc_per_step`, averaged over the k steps.

    >>> z, c = jnp.ones((4, 5, 3)), jnp.ones((4, 5, 2))
    >>> print(f"{cpc(z, c, jnp.zeros((2, 3, 2))):.4f}")    # log 4: all candidates alike
    1.3863
    """
    each = cpc_per_step(latents, contexts, weights, negatives, first, mask, axis_name)
    return each.mean()


@compares_rows
def cpc_per_step(
    latents: Float[Array, "n t d"],
    contexts: Float[Array, "n t c"],
    weights: Float[Array, "k d c"],
    negatives: str = "batch",
    first: int = 1,
    mask: Shaped[Array, "n t"] | None = None,
    axis_name: str | None = None,
) -> Float[Array, " k"]:
    r"""InfoNCE for each prediction horizon: first, first + 1, ... steps ahead.

    .. math:: L_k = -\log \frac{\exp(z_{t+k}^\top W_k c_t)}
                               {\sum_{z' \in X} \exp(z'^\top W_k c_t)}

    averaged over samples and over all t with t + k within the sequence. Scores are inner
    products, not cosines. The candidates X are, by `negatives`, the latents of

    - "batch": time t + k of all n samples (of all devices, with `axis_name`);
    - "sequence": all t times of the same sample;
    - "all": all times of all samples.

    For grids of patches [n, r, c, d], predicted from row to row, move columns into the
    batch (`moveaxis(z, 2, 1).reshape(n * c, r, d)`), use "all", and choose `first` so
    that the predicted patch shares no pixel with the context.

    For sequences of different lengths the mask, float or bool, is 1 at the times that there
    are, from the first on: others are neither predicted nor candidates.

    van den Oord, Li and Vinyals 2018, eq. 4. https://arxiv.org/abs/1807.03748

    Raises:
      ValueError: when shapes differ, `negatives` is none of the three, or a step
        reaches beyond the sequence.

    >>> z = jnp.array([[[0.0], [2.0]], [[0.0], [0.0]]])
    >>> c, w = jnp.ones((2, 2, 1)), jnp.ones((1, 1, 1))
    >>> loss = cpc_per_step(z, c, w)
    >>> print(f"{loss[0]:.4f}")    # (log(1 + e^-2) + log(1 + e^2)) / 2
    1.1269
    """
    sizes = expect(
        "cpc",
        latents=(latents, "n t d"),
        contexts=(contexts, "n t c"),
        weights=(weights, "k d c"),
        mask=(mask, "n t", "any"),
    )
    last = first + sizes["k"] - 1
    if not 1 <= first <= last < sizes["t"]:
        raise ValueError(
            f"cpc: steps {first} to {last} ahead do not fit {sizes['t']} times; "
            f"use fewer weights or longer sequences"
        )
    latents, contexts, weights = widen(latents, contexts, weights)
    candidates = {"batch": "mte->ntm", "all": "mse->ntms", "sequence": "nse->nts"}
    if negatives not in candidates:
        raise ValueError(
            f"cpc: negatives must be one of {[*candidates]}, got {negatives!r}"
        )
    own = negatives == "sequence"
    everyone = latents if own else gather(latents, axis_name)

    def present(logits, ahead, there):
        """The logits, of which those of absent candidates have no weight."""
        there = there if own else gather(there, axis_name)
        kept = {
            "batch": lambda: there[:, ahead:].T[None],
            "all": lambda: there[None, None],
            "sequence": lambda: there[:, None],
        }[negatives]()
        return jnp.where(kept > 0, logits, jnp.finfo(logits.dtype).min / 2)

    def step(ahead, weight):
        past = contexts[:, : sizes["t"] - ahead]
        guess = jnp.einsum("ntc,ec->nte", past, weight, precision="highest")
        pool = everyone[:, ahead:] if negatives == "batch" else everyone
        equation = "nte," + candidates[negatives]
        logits = jnp.einsum(equation, guess, pool, precision="highest")
        positive = (guess * latents[:, ahead:]).sum(-1)  # [n, t - ahead]
        logits = logits if mask is None else present(logits, ahead, mask)
        nats = jax.nn.logsumexp(logits, tuple(range(2, logits.ndim))) - positive
        return (
            nats.mean() if mask is None else masked_mean(nats, mask[:, ahead:], axis_name)
        )

    steps = [step(first + i, weight) for i, weight in enumerate(weights)]
    return pmean(jnp.stack(steps), axis_name)


def nce(
    features: Float[Array, "n d"],
    positives: Float[Array, "n d"],
    negatives: Float[Array, "n m d"],
    log_z: ScalarLike,
    size: int,
    temperature: ScalarLike = 0.07,
) -> Float[Array, ""]:
    r"""Noise-contrastive estimation of instance discrimination with a memory bank.

    .. math:: -\frac{1}{n} \sum_i \Big[ \log h(i, u_i)
              + \sum_{k=1}^m \log(1 - h(j_k, u_i)) \Big], \qquad
              h(j, u) = \frac{P(j | u)}{P(j | u) + m / N}, \quad
              P(j | u) = \frac{e^{s(v_j, u) / \tau}}{Z}

    The bank has N = `size` rows: `positives` are the rows of the samples themselves,
    `negatives` m rows for each, drawn uniformly. Z is a constant, estimated once by
    `nce_log_z`. No gradient reaches the bank's rows or Z.

    Wu et al. 2018, eq. 6 and 7. https://arxiv.org/abs/1805.01978

    Raises:
      ValueError: when shapes differ.

    >>> u, noise = jnp.zeros((1, 2)), jnp.zeros((1, 1, 2))
    >>> print(f"{nce(u, u, noise, jnp.log(9.0), 9):.4f}")    # all P = 1/9: 2 log 2
    1.3863
    """
    logits = _bank_logits("nce", features, positives, negatives, temperature)
    log_z = lax.stop_gradient(jnp.asarray(log_z).astype(logits.dtype))
    noise = math.log(negatives.shape[1] / size)
    ratio = logits - log_z - noise  # log of P / (m / N)
    from_data = jax.nn.softplus(-ratio[:, 0])
    return (from_data + jax.nn.softplus(ratio[:, 1:]).sum(-1)).mean()


def nce_log_z(
    features: Float[Array, "n d"],
    positives: Float[Array, "n d"],
    negatives: Float[Array, "n m d"],
    size: int,
    temperature: ScalarLike = 0.07,
    axis_name: str | None = None,
) -> Float[Array, ""]:
    r"""Estimate the constant log Z of `nce` from the first batch.

    .. math:: Z = N \, \mathrm{mean}_{ij} \, e^{s(v_j, u_i) / \tau}

    over the positives and negatives of the batch.

    Wu et al. 2018, section 3.2. https://arxiv.org/abs/1805.01978

    >>> u, noise = jnp.zeros((1, 2)), jnp.zeros((1, 1, 2))
    >>> print(f"{nce_log_z(u, u, noise, 9):.4f}")    # log 9
    2.1972
    """
    logits = _bank_logits("nce_log_z", features, positives, negatives, temperature)
    return math.log(size) + log_mean_exp(lax.stop_gradient(logits), axis_name=axis_name)


def proximal(
    features: Float[Array, "n d"],
    positives: Float[Array, "n d"],
    weight: ScalarLike = 30.0,
) -> Float[Array, ""]:
    r"""Proximal regularization: squared distance of features to their rows of the bank.

    .. math:: \frac{\lambda}{n} \sum_i \lVert \hat u_i - \hat v_i \rVert^2

    No gradient reaches the bank's rows. To be added to `nce`, which is noisy because each
    sample is visited once per epoch.

    Wu et al. 2018, eq. 9. https://arxiv.org/abs/1805.01978

    Raises:
      ValueError: when shapes differ.

    >>> print(proximal(jnp.array([[2.0, 0.0]]), jnp.array([[0.0, 1.0]])))    # 30 * 2
    60.0
    """
    expect("proximal", features=(features, "n d"), positives=(positives, "n d"))
    features, positives = map(unit, widen(features, positives))
    apart = jnp.square(features - lax.stop_gradient(positives))
    return weight * apart.sum(-1).mean()


def _bank_logits(function, features, positives, negatives, temperature):
    """Cosine over temperature, the positive first: [n, 1 + m]."""
    expect(
        function,
        features=(features, "n d"),
        positives=(positives, "n d"),
        negatives=(negatives, "n m d"),
    )
    features, positives, negatives = widen(features, positives, negatives)
    rows = jnp.concatenate([positives[:, None], negatives], 1)
    rows = lax.stop_gradient(unit(rows))
    scaled = unit(features) / temperature
    return jnp.einsum("nd,nmd->nm", scaled, rows, precision="highest")
