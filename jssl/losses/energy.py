r"""Restricted Boltzmann machines: raising the likelihood without knowing it.

.. math:: -\nabla \log p(v) = \nabla F(v) - \mathbb{E}_{v' \sim p}[\nabla F(v')]

is the free energy's slope at the data less that at what the machine itself would
dream. Contrastive divergence dreams for k Gibbs sweeps begun at the data; persistent
contrastive divergence goes on from where it stopped at the last step. The machine, its
free energies and its sweeps are in `jssl.ops.gibbs`; exact likelihoods and their exact
gradients in `jssl.ops.partition`.

Hinton, "Training Products of Experts by Minimizing Contrastive Divergence", Neural
Computation 14, 2002. https://doi.org/10.1162/089976602760128018
Tieleman, "Training Restricted Boltzmann Machines using Approximations to the Likelihood
Gradient", ICML 2008. https://doi.org/10.1145/1390156.1390290
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jssl.ops.gibbs import RBM, Units, check, free_energy, gibbs, hidden_mean
from jssl.ops.precision import widen


def moments(rbm: RBM, v: Float[Array, "n v"], hidden: Units = "bernoulli") -> RBM:
    """Means of v h, v and h over samples, h at its mean given v.

    Minus the mean gradient of `free_energy`, up to constants (a Gaussian layer's own
    bias) that cancel between data and dream.

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
    """Gradient to descend along: moments of the model's samples less the data's.

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
    r"""Contrastive divergence: the gradient after k sweeps begun at the data.

    .. math:: \nabla_W = \langle v h \rangle_k - \langle v h \rangle_{\text{data}}

    h is a mean in both moments and a draw within the chain. `mean=True` is Hinton's
    recipe, whose chain hands on the mean of v. Weight decay belongs to the optimiser,
    and to W alone.

    Hinton 2002. https://doi.org/10.1162/089976602760128018

    Returns:
      The gradient (to descend, so minus the textbook's update), and the k-th v, whose
      distance from the data is a monitor, not the objective.

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
    """Persistent contrastive divergence: chains that live on between steps.

    As `cd_gradients`, with sweeps begun at `chain` (of any number of rows) and all of
    them draws. Small learning rates let the chains keep up.

    Tieleman 2008. https://doi.org/10.1145/1390156.1390290

    Returns:
      The gradient to descend, and the chain to start from at the next step.

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
    r"""Mean free energy of the data less that of samples from the model.

    .. math:: \frac{1}{n} \sum_i F(v_i) - \frac{1}{m} \sum_i F(v'_i)

    With v' from `gibbs`, its gradient is that of CD-k or PCD. The value is no
    likelihood and need not fall. No gradient passes to the model's samples. Given
    held-out data for them, it measures overfitting.

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
    r"""Nats to tell each unit from all the others, summed over units: no Z needed.

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
        return _log_conditional(*column, x)

    return -jax.lax.map(unit, (w[:, None], b[:, None], v.T)).sum(0).mean()


def stochastic_pseudo_likelihood(
    key: jax.Array, rbm: RBM, v: Float[Array, "n v"]
) -> Float[Array, ""]:
    r"""`negative_pseudo_likelihood` from one random unit a sample, times their number.

    Right on average, at the price of two free energies.

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
    """log p(v_j | all others) of one unit a row: w [n, h], b [n], v [n], x [n, h]."""
    flip = 1 - 2 * v
    softplus = jax.nn.softplus
    gain = (softplus(x + flip[:, None] * w) - softplus(x)).sum(-1)
    return jax.nn.log_sigmoid(-flip * b - gain)
