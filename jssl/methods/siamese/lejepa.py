"""LeJEPA: views predict the mean of the large ones, with embeddings kept Gaussian.

Balestriero and LeCun, "LeJEPA: Provable and Scalable Self-Supervised Learning Without the
Heuristics", 2025. https://arxiv.org/abs/2511.08544

    L = (1 - lambda) mean_v |z_v - m|^2 / k + lambda mean_v SIGReg(z_v),
    m = mean of z_v over the large views,

where v runs over all views, large ones included. SIGReg is the Epps-Pulley statistic of z_v
against a standard Gaussian along random directions, which are drawn anew at each step. It
prevents collapse by itself: there is no teacher, stop-gradient or predictor.
"""

import jax
import jax.numpy as jnp
import optax

from jssl.learner import Learner, fresh, minimize, noise_keys, whole_batches
from jssl.losses.redundancy import sigreg
from jssl.method import Augment, Method, Prepare, field, first_row
from jssl.nets import Net, by_size


def lejepa(
    net: Net,
    tx: optax.GradientTransformation,
    augment: Augment,
    *,
    crops: int = 2,
    lam: float = 0.05,
    slices: int = 1024,
    knots: int = 17,
    reach: float = 5.0,
    prepare: Prepare = field("image"),
) -> Method[Learner]:
    """Prediction of the mean of large views, with Gaussian embeddings.

    Args:
      net: x -> {"h": [n, d], "z": [n, k]}; its function `encode` ends at h and `head`
        begins there.
      tx: optimizer of all weights. The paper uses AdamW.
      augment: (key, batch) -> groups of views of one size, ([n, 2, ...], [n, 6, ...]),
        normalized as `prepare` does.
      crops: number of large views, which come first: their mean is the target.
      lam: lambda; 0 leads to collapse.
      slices: number of random directions.
      knots: points of the integral over frequencies.
      reach: largest frequency; 5 in the paper, 3 in the released code, which has as many
        knots between 0 and 3 as we between -3 and 3.
      prepare: batch -> x, the network's input outside training (normalization, a crop).
    """

    def init(key, batch):
        learner = fresh(tx, *net.init(key, first_row(prepare(batch))))
        return whole_batches("lejepa", learner)

    def loss(params, stats, groups, slice_key, keys):
        out, stats = by_size(net, params, stats, groups, "head", keys=keys)
        z = out["z"]  # [n, views, k]
        prediction = jnp.square(z - z[:, :crops].mean(1, keepdims=True)).mean()
        # One key: all views have the directions of the step.
        each = [sigreg(slice_key, x, slices, knots, reach) for x in jnp.moveaxis(z, 1, 0)]
        gaussian = sum(each) / len(each)
        value = (1 - lam) * prediction + lam * gaussian
        spread = z[:, 0].std(0).mean()  # 1 healthy, 0 collapse
        metrics = {"prediction": prediction, "sigreg": gaussian, "z_spread": spread}
        return value, (stats, {"loss": value} | metrics)

    def step(key, state, batch):
        view_key, slice_key = jax.random.split(key)
        groups, keys = augment(view_key, batch), noise_keys(key)
        return minimize(tx, loss, state, groups, slice_key, keys)

    def embed(state, batch):
        return net.apply(state.weights, state.stats, prepare(batch))[0]

    return Method(init, step, embed)
