r"""Contrastive divergence and related objectives for restricted Boltzmann machines.

.. math:: -\nabla \log p(v) = \nabla F(v) - \mathbb{E}_{v' \sim p}[\nabla F(v')]

is the gradient of the free energy at the data minus that at samples of the model.
Contrastive divergence approximates these by k Gibbs sweeps started at the data;
persistent contrastive divergence continues the chains of the previous step. The RBM, its
free energies and Gibbs sweeps are in `jssl.ops.gibbs`; exact likelihoods and their
gradients in `jssl.ops.partition`.

Hinton, "Training Products of Experts by Minimizing Contrastive Divergence", Neural
Computation 14, 2002. https://doi.org/10.1162/089976602760128018
Tieleman, "Training Restricted Boltzmann Machines using Approximations to the Likelihood
Gradient", ICML 2008. https://doi.org/10.1145/1390156.1390290
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jssl.ops.explicit import compares_rows
from jssl.ops.gibbs import RBM, Units, check, free_energy, gibbs, hidden_mean
from jssl.ops.precision import widen


@compares_rows
def moments(rbm: RBM, v: Float[Array, "n v"], hidden: Units = "bernoulli") -> RBM:
    """Means of v h, v and h over samples, h at its mean given v.

    Minus the mean gradient of `free_energy`, up to constants (a Gaussian layer's own
    bias) that cancel between data and model samples.

    >>> rbm = RBM(jnp.zeros((2, 1)), jnp.zeros(2), jnp.zeros(1))
    >>> [x.tolist() for x in moments(rbm, jnp.array([[1.0, 0.0], [1.0, 1.0]]))]
    [[[0.5], [0.25]], [1.0, 0.5], [0.5]]
    """
    check("moments", rbm, hidden=hidden, v=(v, "n v"))
    h = hidden_mean(rbm, v, hidden)
    v = v.astype(h.dtype)
    return RBM(v.T @ h / len(v), v.mean(0), h.mean(0))


def contrast(
    rbm: RBM,
    data: Float[Array, "n v"],
    model: Float[Array, "m v"],
    hidden: Units = "bernoulli",
) -> RBM:
    """Gradient for descent: moments of the model's samples minus those of the data.

    It is the gradient of `free_energy_difference`, in closed form.

    Raises:
      ValueError: when shapes differ or an argument is not floating.

    >>> rbm = RBM(jnp.zeros((2, 1)), jnp.zeros(2), jnp.zeros(1))
    >>> contrast(rbm, jnp.array([[1.0, 0.0]]), jnp.array([[1.0, 1.0]])).b.tolist()
    [0.0, 1.0]
    """
    uphill, downhill = moments(rbm, data, hidden), moments(rbm, model, hidden)
    return jax.tree.map(jnp.subtract, downhill, uphill)


def cd_gradients(
    key: jax.Array,
    rbm: RBM,
    v: Float[Array, "n v"],
    k: int | Int[Array, ""] = 1,
    visible: Units = "bernoulli",
    hidden: Units = "bernoulli",
    mean: bool = False,
) -> tuple[RBM, Float[Array, "n v"]]:
    r"""Contrastive divergence: the gradient after k Gibbs sweeps started at the data.

    .. math:: \nabla_W = \langle v h \rangle_k - \langle v h \rangle_{\text{data}}

    h is its mean in both moments and a sample within the chain. `mean=True` is Hinton's
    recipe, whose chain uses the mean of v instead of a sample. Weight decay belongs to
    the optimizer, and to W alone.

    Hinton 2002. https://doi.org/10.1162/089976602760128018

    Returns:
      The gradient (for descent, so minus the textbook's update), and v after k sweeps,
      whose distance from the data is a diagnostic, not the objective.

    Raises:
      ValueError: when shapes differ, an argument is not floating, or both layers are
        Gaussian.

    >>> rbm = RBM(jnp.full((2, 1), 99.0), jnp.full(2, -50.0), jnp.full(1, -50.0))
    >>> grads, model = cd_gradients(jax.random.key(0), rbm, jnp.array([[1.0, 0.0]]))
    >>> model.tolist(), grads.b.tolist()    # one unit on turns on the other
    ([[1.0, 1.0]], [0.0, 1.0])
    """
    model = gibbs(key, rbm, v, k, visible, hidden, mean)
    return contrast(rbm, v, model, hidden), model


def pcd_gradients(
    key: jax.Array,
    rbm: RBM,
    v: Float[Array, "n v"],
    chain: Float[Array, "m v"],
    k: int | Int[Array, ""] = 1,
    visible: Units = "bernoulli",
    hidden: Units = "bernoulli",
) -> tuple[RBM, Float[Array, "m v"]]:
    """Persistent contrastive divergence: chains continue from one step to the next.

    As `cd_gradients`, with sweeps started at `chain` (of any number of rows), always
    sampling v. The learning rate must be small for the chains to stay near the model.

    Tieleman 2008. https://doi.org/10.1145/1390156.1390290

    Returns:
      The gradient for descent, and the chain to start from at the next step.

    Raises:
      ValueError: when shapes differ, an argument is not floating, or both layers are
        Gaussian.

    >>> rbm = RBM(jnp.zeros((2, 1)), jnp.array([99.0, -99.0]), jnp.zeros(1))
    >>> grads, chain = pcd_gradients(
    ...     jax.random.key(0), rbm, jnp.array([[0.0, 0.0]]), jnp.ones((1, 2))
    ... )
    >>> chain.tolist(), grads.b.tolist()
    ([[1.0, 0.0]], [1.0, 0.0])
    """
    chain = gibbs(key, rbm, chain, k, visible, hidden)
    return contrast(rbm, v, chain, hidden), chain


def free_energy_difference(
    rbm: RBM,
    data: Float[Array, "n v"],
    model: Float[Array, "m v"],
    visible: Units = "bernoulli",
    hidden: Units = "bernoulli",
) -> Float[Array, ""]:
    r"""Mean free energy of the data minus that of samples from the model.

    .. math:: \frac{1}{n} \sum_i F(v_i) - \frac{1}{m} \sum_i F(v'_i)

    With v' from `gibbs`, its gradient is that of CD-k or PCD. The value is not a
    likelihood and need not decrease. No gradient flows through the model's samples. With
    held-out data in place of `model`, it measures overfitting.

    Hinton 2010, "A Practical Guide to Training Restricted Boltzmann Machines",
    section 6. https://www.cs.toronto.edu/~hinton/absps/guideTR.pdf

    Raises:
      ValueError: when shapes differ, an argument is not floating, or both layers are
        Gaussian.

    >>> rbm = RBM(jnp.zeros((2, 1)), jnp.array([1.0, 2.0]), jnp.zeros(1))
    >>> print(free_energy_difference(rbm, jnp.ones((1, 2)), jnp.zeros((1, 2))))
    -3.0
    """
    model = jax.lax.stop_gradient(model)
    of_data = free_energy(rbm, data, visible, hidden)
    return of_data.mean() - free_energy(rbm, model, visible, hidden).mean()


def negative_pseudo_likelihood(rbm: RBM, v: Float[Array, "n v"]) -> Float[Array, ""]:
    r"""Negative log pseudo-likelihood, in nats per sample; it does not need Z.

    .. math:: -\frac{1}{n} \sum_{ij} \log p(v_{ij} | v_{i, -j})
              = -\frac{1}{n} \sum_{ij} \log \sigma(F(\bar v_{ij}) - F(v_i))

    where bar v_ij is v_i with unit j flipped. Both layers are Bernoulli.

    Besag 1975, "Statistical Analysis of Non-Lattice Data".
    https://doi.org/10.2307/2987782

    Raises:
      ValueError: when shapes differ or an argument is not floating.

    >>> rbm = RBM(jnp.zeros((2, 1)), jnp.zeros(2), jnp.zeros(1))
    >>> print(f"{negative_pseudo_likelihood(rbm, jnp.ones((1, 2))):.4f}")    # 2 log 2
    1.3863
    """
    check("negative_pseudo_likelihood", rbm, v=(v, "n v"))
    w, b, a, v = widen(*rbm, v)
    x = v @ w + a[None]  # [n, h]

    @jax.checkpoint
    def unit(column):
        w, b, v = column
        return _log_conditional(w, b, v, x)

    return -jax.lax.map(unit, (w[:, None], b[:, None], v.T)).sum(0).mean()


def stochastic_pseudo_likelihood(
    key: jax.Array, rbm: RBM, v: Float[Array, "n v"]
) -> Float[Array, ""]:
    r"""Unbiased estimate of `negative_pseudo_likelihood` from one random unit per sample.

    The unit's term is multiplied by the number of units; it costs two free energies.

    >>> rbm = RBM(jnp.zeros((2, 1)), jnp.zeros(2), jnp.zeros(1))
    >>> v = jnp.ones((1, 2))
    >>> print(f"{stochastic_pseudo_likelihood(jax.random.key(0), rbm, v):.4f}")
    1.3863
    """
    check("stochastic_pseudo_likelihood", rbm, v=(v, "n v"))
    w, b, a, v = widen(*rbm, v)
    j = jax.random.randint(key, (len(v),), 0, len(b))
    own = jnp.take_along_axis(v, j[:, None], axis=1)[:, 0]
    return -len(b) * _log_conditional(w[j], b[j], own, v @ w + a[None]).mean()


def _log_conditional(w, b, v, x):
    """log p(v_j | all others), one unit per row: w [n, h], b [n], v [n], x [n, h]."""
    flip = 1 - 2 * v
    softplus = jax.nn.softplus
    gain = (softplus(x + flip[:, None] * w) - softplus(x)).sum(-1)
    return jax.nn.log_sigmoid(-flip * b - gain)
