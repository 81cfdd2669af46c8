r"""Video prediction: the frames to come, from those observed, by a recurrent network.

Shi et al., "Convolutional LSTM network", NeurIPS 2015, https://arxiv.org/abs/1506.04214;
Wang et al., "PredRNN", NeurIPS 2017, and with the decoupling loss TPAMI 2022,
https://arxiv.org/abs/2103.09504. The setting is of Srivastava et al. 2015,
https://arxiv.org/abs/1502.04681: ten frames are observed, ten predicted.

    L = mean over t = 2 ... T and pixels of (\hat x_t - x_t)^2
        + beta mean |cos(W (i o g), W (i2 o g2))|

\hat x_t is predicted from inputs up to t - 1: true frames as long as they are observed,
then the predictions themselves or, in training with a probability that falls linearly from
1 to 0, true frames again (scheduled sampling; Bengio et al. 2015,
https://arxiv.org/abs/1506.03099). The second term, of PredRNN-V2, keeps the increments of
the two memories of a cell apart.

h is the mean state of all layers after the observed frames.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from jssl.learner import Learner, fresh, minimize, noise_keys, on_update
from jssl.losses.video import memory_decoupling
from jssl.method import Augment, Method, Prepare, field, first_row
from jssl.nets import Net
from jssl.ops.ramps import linear_rampup
from jssl.pictures import Clip


class State(NamedTuple):
    learner: Learner
    count: jax.Array  # updates so far


def video_prediction(
    net: Net,
    tx: optax.GradientTransformation,
    observed: int = 10,
    augment: Augment | None = None,
    *,
    sampling: int = 50_000,
    decoupling: float = 0.0,
    prepare: Prepare = field("video"),
    made: str = "video",
) -> Method[State]:
    """Prediction of the next frames of clips.

    `generate` continues the observed frames of each row to the length of its clip.

    Args:
      net: (frames [n, t, y, x, c], given bool [n, t - 1]) -> {"frames": predictions of
        frames 2 to t, "states": [n, t - 1, d], and, for `decoupling`, "increments": a pair
        of [n, s, y', x', k]}. Input t is the prediction where it is not given.
      tx: its optimizer. The papers: Adam.
      observed: frames that are given, at least 1; clips are longer.
      augment: (key, batch) -> clips in training; None: `prepare`.
      sampling: updates until no true frame after the observed ones is given; 0: none is
        from the start.
      decoupling: beta, weight of the decoupling loss; 0.1 in PredRNN-V2.
      prepare: batch -> clips [n, t, y, x, c] in [0, 1].
      made: name of the generated field.
    """
    if observed < 1 or sampling < 0 or decoupling < 0:
        raise ValueError(
            f"video_prediction: observed must be at least 1, sampling and decoupling 0 or "
            f"more, got {observed}, {sampling} and {decoupling}"
        )

    def is_given(x):
        """True for inputs of observed frames, [n, t - 1]."""
        if x.shape[1] <= observed:
            raise ValueError(
                f"video_prediction: clips must be longer than the {observed} observed "
                f"frames, got {x.shape[1]}"
            )
        return jnp.broadcast_to(
            jnp.arange(x.shape[1] - 1) < observed, x[:, 1:, 0, 0, 0].shape
        )

    def init(key, batch):
        x = prepare(first_row(dict(batch)))
        return State(fresh(tx, *net.init(key, x, is_given(x))), jnp.zeros((), jnp.int32))

    def loss(params, stats, x, given, keys):
        out, stats = net.apply(params, stats, x, given, train=True, keys=keys)
        errors = jnp.square(out["frames"] - x[:, 1:])
        value = mse = errors.mean()
        metrics = {"pixel_mse": mse, "unexplained_variance": mse / x[:, 1:].var()}
        if decoupling:
            metrics["decoupling"] = memory_decoupling(*out["increments"])
            value = mse + decoupling * metrics["decoupling"]
        return value, (stats, {"loss": value} | metrics)

    def step(key, state, batch):
        look, draw = jax.random.split(key)
        x = prepare(batch) if augment is None else augment(look, batch)
        given, eta = is_given(x), 1 - linear_rampup(state.count, sampling)
        given = given | jax.random.bernoulli(draw, eta, given.shape)
        learner, metrics = minimize(tx, loss, state.learner, x, given, noise_keys(key))
        count = on_update(state.learner, learner, state.count + 1, state.count)
        return State(learner, count), metrics | {"true_inputs": eta}

    def applied(state, x):
        learner = state.learner
        return net.apply(learner.weights, learner.stats, x, is_given(x))[0]

    def embed(state, batch):
        x = prepare(batch)[:, : observed + 1]
        return {"h": applied(state, x)["states"][:, -1]}

    def continued(state, batch):
        x = prepare(batch)
        seen = jnp.clip(applied(state, x)["frames"][:, observed - 1 :], 0, 1)
        return jnp.concatenate([x[:, :observed], seen], 1)

    def generate(key, state, batch):
        return {made: continued(state, batch)}

    def render(key, state, batch, collect):
        rows = jax.tree.map(lambda leaf: leaf[:6], dict(batch))
        x = prepare(rows)
        if x.shape[-1] not in (1, 3):
            return {}
        pair = jnp.stack([x, continued(state, rows)], 1)
        return {"predicted frames": Clip(pair, ("true", f"predicted from {observed + 1}"))}

    return Method(init, step, embed, render=render, generate=generate)
