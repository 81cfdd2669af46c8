"""LARS, by the conventions of the papers that have it."""

from functools import partial

import jax
import jax.numpy as jnp
import optax

from jssl.optim.parts import held
from jssl.optim.paths import biases_and_norms, matching, matrices
from jssl.optim.schedules import scale_by_rate


def lars(
    learning_rate: optax.ScalarOrSchedule,
    weight_decay: float = 0.0,
    momentum: float = 0.9,
    trust: float = 0.001,
    rate_in_momentum: bool = False,
    unscaled: str = "",
    clip: bool = False,
    vectors: float = 1.0,
    freeze: int = 0,
    last: str = "",
) -> optax.GradientTransformation:
    r"""LARS: step sizes proportional to each layer's weight norm, for very large batches.

    .. math:: g' = g + \lambda w, \qquad \rho = \eta \lVert w \rVert / \lVert g' \rVert

    then, with the learning rate inside the momentum (SimCLR; `optax.lars`)
    v <- beta v + lr rho g', w <- w - v, and with it outside (BYOL, Barlow Twins, VICReg,
    MoCo v3) v <- beta v + rho g', w <- w - lr v. The two differ when the learning rate
    changes. Biases and norms, i.e. all vectors, have neither weight decay nor rho.

    You, Gitman and Ginsburg 2017, https://arxiv.org/abs/1708.03888

    Args:
      weight_decay: lambda.
      trust: eta.
      rate_in_momentum: whether the learning rate is inside the momentum.
      unscaled: regex searched in the paths of the weights, e.g. "^head/" for a new head:
        those that match have rho = 1, i.e. SGD with momentum, and decay as before. With
        rho a new head moves by a thousandth of its length per unit of the learning rate.
      clip: whether lr rho is at most lr, as in solo-learn's settings for CIFAR-10, where
        eta is 0.02.
      vectors: factor of the learning rate of biases and norms; 0.024 in Barlow Twins.
      freeze: updates before the first of the weights `last`, which until then have neither
        momentum nor decay, as in `held`.
      last: regex searched in the paths of the weights, e.g. "prototypes"; empty: none.

    Raises:
      ValueError: in `init`, if no path matches `unscaled` or `last`.
    """
    late = partial(held, where=last, steps=freeze) if last else lambda tx: tx
    scale, trace = scale_by_rate(learning_rate), late(optax.trace(momentum))

    def scaled(params):
        if not unscaled:
            return matrices(params)
        found = matching("lars", unscaled, params)
        return jax.tree.map(lambda x, out: x.ndim > 1 and not out, params, found)

    ratio = (
        clipped_trust_ratio(learning_rate, trust)
        if clip
        else optax.scale_by_trust_ratio(trust_coefficient=trust)
    )
    return optax.chain(
        optax.add_decayed_weights(weight_decay, matrices),
        optax.masked(ratio, scaled),
        *((scale, trace) if rate_in_momentum else (trace, scale)),
        *([] if vectors == 1 else [optax.masked(optax.scale(vectors), biases_and_norms)]),
        late(optax.identity()),
    )


def clipped_trust_ratio(
    learning_rate: optax.ScalarOrSchedule, trust: float
) -> optax.GradientTransformation:
    r"""LARC's ratio, :math:`\min(\eta \lVert w \rVert / (\lVert u \rVert lr), 1)`, a leaf.

    Before the learning rate, the step of a leaf is thus never longer than that of SGD.

    >>> tx = clipped_trust_ratio(0.1, trust=0.02)
    >>> w, u = jnp.array([3.0, 4.0]), jnp.array([0.0, 2.0])    # 0.02 * 5 / (2 * 0.1) = 0.5
    >>> tx.update(u, tx.init(w), w)[0].round(6).tolist()
    [0.0, 1.0]
    """

    def init(params):
        return optax.ScaleByScheduleState(jnp.zeros((), jnp.int32))

    def update(updates, state, params=None):
        rate = learning_rate(state.count) if callable(learning_rate) else learning_rate

        def scaled(u, w):
            length = jnp.linalg.norm(u) * rate
            ratio = trust * jnp.linalg.norm(w) / jnp.where(length > 0, length, 1.0)
            return u * jnp.where((length > 0) & (ratio > 0), jnp.minimum(ratio, 1.0), 1.0)

        after = optax.ScaleByScheduleState(optax.safe_increment(state.count))
        return jax.tree.map(scaled, updates, params), after

    return optax.GradientTransformation(init, update)
