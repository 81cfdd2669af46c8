"""Deep InfoMax: maximal mutual information of an image, its places, and its code.

Hjelm, Fedorov, Lavoie-Marchildon, Grewal, Bachman, Trischler and Bengio, "Learning Deep
Representations by Mutual Information Estimation and Maximization", ICLR 2019.
https://arxiv.org/abs/1808.06670

    L = -alpha I(C; E) - beta mean_m I(C_m; E) + gamma L_E,

with C the feature map of an image, C_m its place m, E the code of the whole image, and I an
estimator of mutual information (`jssl.losses.information`) from scores of pairs from one
image and pairs from two. The local term favors information that all places share, which is
about the content of the image rather than its pixels.

L_E keeps the codes sigmoid(E) distributed as a prior, u uniform in [0, 1]^d, by an
adversary D that distinguishes codes from samples of the prior:

    L_D = -E log D(u) - E log(1 - D(sigmoid(E))) + penalty,    L_E = -E log D(sigmoid(E)),

the penalty being half the mean squared gradients of D's logits at both, times a weight. As
in the released code, both players are updated at once, from the gradients at the same
weights, and the score networks have the optimizer of the encoder.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from jssl.learner import Learner, fresh, minimize, noise_keys, whole_batches
from jssl.losses.adversarial import r1_penalty
from jssl.losses.information import dim_global, dim_local, dim_prior
from jssl.method import Augment, Method, Prepare, field, first_row
from jssl.nets import Net
from jssl.pictures import Grid, in_range

MEASURES = ("jsd", "dv", "nce")


class State(NamedTuple):
    learner: Learner  # of the encoder and the score networks
    judge: Learner | tuple  # of the discriminator; () without a prior


def deep_infomax(
    net: Net,
    tx: optax.GradientTransformation,
    discriminator: Net,
    discriminator_tx: optax.GradientTransformation,
    augment: Augment | None = None,
    *,
    alpha: float = 0.0,
    beta: float = 1.0,
    gamma: float = 0.1,
    measure: str = "jsd",
    penalty: float = 1.0,
    prepare: Prepare = field("image"),
) -> Method[State]:
    """Maximization of mutual information with an encoder's own places.

    Args:
      net: x -> {"h", "z": E [n, d], "local": [n, m, u], "local_code": [n, u], "global":
        [n, u], "global_code": [n, u]}, see `jssl.models.infomax`.
      tx: optimizer of the encoder and the score networks.
      discriminator: codes [n, d] in [0, 1] -> logits, one a row; not used if gamma is 0.
      discriminator_tx: its optimizer.
      augment: (key, batch) -> one view of each row, normalized as `prepare` does; None:
        `prepare`, as in the paper.
      alpha: weight of the global term; the paper's DIM(G): alpha 1, beta 0, gamma 1.
      beta: weight of the local term; the paper's DIM(L): alpha 0, beta 1, gamma 0.1.
      gamma: weight of the prior.
      measure: estimator of both terms: "jsd", "dv" (Donsker-Varadhan) or "nce" (InfoNCE).
      penalty: weight of the gradient penalty of the discriminator.
      prepare: batch -> x, the network's input outside training.
    """
    if measure not in MEASURES:
        raise ValueError(
            f"deep_infomax: measure must be one of {', '.join(MEASURES)}, got {measure!r}"
        )
    if not (alpha or beta):
        raise ValueError(
            "deep_infomax: alpha and beta are 0: give one of the two terms a weight"
        )
    look = augment or (lambda key, batch: prepare(batch))

    def init(key, batch):
        one, two = jax.random.split(key)
        x = first_row(prepare(batch))
        learner = whole_batches("deep_infomax", fresh(tx, *net.init(one, x)))
        if not gamma:
            return State(learner, ())
        code = jax.eval_shape(net.apply, learner.params, learner.stats, x)[0]["z"]
        begun = discriminator.init(two, jnp.zeros(code.shape, code.dtype))
        return State(learner, fresh(discriminator_tx, *begun))

    def judged(params, stats, code, key):
        keys = noise_keys(key)
        return discriminator.apply(params, stats, code, train=True, keys=keys)

    def loss(params, stats, judge, x, key):
        out, stats = net.apply(params, stats, x, train=True, keys=noise_keys(key))
        code, terms = jax.nn.sigmoid(out["z"]), {}
        if alpha:
            terms["global"] = dim_global(out["global"], out["global_code"], measure)
        if beta:
            terms["local"] = dim_local(out["local"], out["local_code"], measure)
        if gamma:
            logits, _ = judged(judge.params, judge.stats, code, key)
            terms["prior"] = dim_prior(logits, logits)["encoder"]
        weights = {"global": alpha, "local": beta, "prior": gamma}
        value = sum(weights[name] * term for name, term in terms.items())
        return value, (stats, terms | {"loss": value, "code": code})

    def judge_loss(params, stats, code, key):
        draw, one, two = jax.random.split(key, 3)
        code = jax.lax.stop_gradient(code)
        prior = jax.random.uniform(draw, code.shape, code.dtype)
        real, after = judged(params, stats, prior, one)
        fake, after = judged(params, after, code, two)
        value = dim_prior(real, fake)["discriminator"]
        right = {"real_right": (real > 0).mean(), "fake_right": (fake < 0).mean()}
        if penalty:
            logit = lambda x: judged(params, stats, x, one)[0].reshape(len(x))
            value += penalty / 2 * (r1_penalty(logit, prior) + r1_penalty(logit, code))
        metrics = {f"disc/{name}": share for name, share in right.items()}
        return value, (after, metrics | {"disc/loss": value})

    def step(key, state, batch):
        view_key, net_key, judge_key = jax.random.split(key, 3)
        judge, x = state.judge, look(view_key, batch)
        learner, metrics = minimize(tx, loss, state.learner, judge, x, net_key)
        code = metrics.pop("code")
        if gamma:
            judge, seen = minimize(
                discriminator_tx, judge_loss, judge, code, judge_key, prefix="disc/"
            )
            metrics |= seen
        return State(learner, judge), metrics

    def embed(state, batch):
        learner = state.learner
        return net.apply(learner.weights, learner.stats, prepare(batch))[0]

    def render(key, state, batch, collect):
        x = prepare(batch)
        if not beta or jnp.ndim(x) != 4 or len(x) < 2:
            return {}
        out, x = embed(state, batch), x[:8]
        places, codes = out["local"][:8], out["local_code"][:8]
        side = round(places.shape[1] ** 0.5)
        if side**2 != places.shape[1]:
            return {}
        other = jnp.roll(codes, 1, 0)
        scores = jnp.stack([jnp.einsum("nmu,nu->nm", places, e) for e in (codes, other)], 1)
        low, high = scores.min((1, 2), keepdims=True), scores.max((1, 2), keepdims=True)
        maps = ((scores - low) / (high - low + 1e-12)).reshape(len(x), 2, side, side, 1)
        maps = jax.image.resize(maps, (len(x), 2, *x.shape[1:3], 1), "nearest")
        maps = jnp.broadcast_to(maps, (len(x), 2, *x.shape[1:]))
        shown = jnp.concatenate([in_range(x)[:, None], maps], 1)
        heads = ("image", "own code", "another's code")
        return {"scores of places": Grid(shown, heads)}

    return Method(init, step, embed, render=render)
