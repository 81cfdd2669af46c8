"""Context encoder: inpainting of a hidden region from its surroundings.

Pathak, Krahenbuhl, Donahue, Darrell and Efros, "Context Encoders: Feature Learning by
Inpainting", CVPR 2016. https://arxiv.org/abs/1604.07379

    L_rec = mean over hidden pixels of (x - F((1 - M) x))^2,    M = 1 where hidden
    L_D   = -E log D(x) - E log(1 - D(F((1 - M) x)))
    L     = (1 - a) L_rec - a E log D(F((1 - M) x))

The squared error has its least value at the mean of all that may be in the hole, which is
blurred; the adversarial term prefers a sharp one of them. D sees the prediction alone:
together with the context it would look for the seam. a is 0 for features, 0.001 for
pictures.

Where the network predicts visible pixels as well, their error has a weight of its own: 10
in the border of a central hole, in order that the prediction continues what is around it.
"""

from collections.abc import Callable
from typing import NamedTuple, cast

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, ArrayLike, Bool

from jssl.learner import Learner, fresh, minimize, noise_keys
from jssl.losses.adversarial import minimax_discriminator, non_saturating_generator
from jssl.method import Augment, Method, Prepare, field, first_row, identity
from jssl.nets import Net
from jssl.ops.means import masked_mean
from jssl.pictures import Grid

Mask = Callable[[jax.Array, int], Bool[Array, "n h w"]]
WHOLE = (slice(None), slice(None))


class State(NamedTuple):
    painter: Learner
    judge: Learner | tuple[()]


def context_encoder(
    net: Net,
    tx: optax.GradientTransformation,
    mask: Mask,
    *,
    window: tuple[slice, slice] = WHOLE,
    fill: ArrayLike = 0.0,
    visible: float = 0.0,
    adversarial: float = 0.0,
    judge: Net | None = None,
    judge_tx: optax.GradientTransformation | None = None,
    augment: Augment | None = None,
    prepare: Prepare = field("image"),
    show: Callable = identity,
) -> Method[State]:
    """Context encoder; h is that of whole images, without a hole.

    Args:
      net: F, images [n, h, w, c] -> {"output": the window of an image, "h": [n, d]}.
      tx: its optimizer.
      mask: (key, n) -> M [n, h, w], True where hidden, within the window; `jssl.ops.holes`.
      window: rows and columns that the network predicts and the discriminator sees.
      fill: of hidden pixels, in the range of `prepare`: the mean of the data.
      visible: weight of the squared error of visible pixels in the window. With a
        discriminator, which sees them, it should not be 0.
      adversarial: a, weight of the adversarial term, from 0 to 1.
      judge: D, windows -> {"logits": [n]}; used if a > 0.
      judge_tx: its optimizer.
      augment: (key, batch) -> one view of each row, normalized as `prepare` does; None:
        `prepare`.
      prepare: batch -> x, images in the range of the network's output.
      show: x -> images in [0, 1], the inverse of `prepare`.

    Raises:
      ValueError: a is not in [0, 1), or is positive without a discriminator.
    """
    if not 0 <= adversarial < 1:
        raise ValueError(
            f"context_encoder: adversarial must be in [0, 1), got {adversarial}"
        )
    if adversarial and (judge is None or judge_tx is None):
        raise ValueError(
            f"context_encoder: adversarial={adversarial} needs a discriminator (judge) and "
            f"its optimizer (judge_tx)"
        )
    critic_net = cast(Net, judge)  # without one it is not called
    look = augment or (lambda key, batch: prepare(batch))
    cut = lambda x: x[:, *window]

    def damaged(x, hidden):
        return jnp.where(hidden[..., None], jnp.asarray(fill, x.dtype), x)

    def painted(params, stats, x, hidden, key):
        keys = noise_keys(key)
        out, stats = net.apply(params, stats, damaged(x, hidden), train=True, keys=keys)
        return out["output"], stats

    def judged(params, stats, x, key):
        out, stats = critic_net.apply(params, stats, x, train=True, keys=noise_keys(key))
        return out["logits"], stats

    def init(key, batch):
        one, two = jax.random.split(key)
        x = first_row(look(key, batch))
        painter = fresh(tx, *net.init(one, x))
        made = jax.eval_shape(net.apply, painter.params, painter.stats, x)[0]["output"]
        if made.shape != cut(x).shape:
            raise ValueError(
                f"context_encoder: the network must make {cut(x).shape[1:]}, the window of "
                f"an image, it makes {made.shape[1:]}: give it that shape"
            )
        if not adversarial:
            return State(painter, ())
        return State(painter, fresh(judge_tx, *critic_net.init(two, cut(x))))

    def judge_loss(params, stats, real, fake, key):
        one, two = jax.random.split(key)
        on_real, after = judged(params, stats, real, one)  # two passes, so that batch
        on_fake, after = judged(params, after, fake, two)  # statistics are not shared
        value = minimax_discriminator(on_real, on_fake)
        right = {"real": (on_real > 0).mean(), "fake": (on_fake < 0).mean()}
        metrics = {f"disc/{kind}_right": share for kind, share in right.items()}
        return value, (after, metrics | {"disc/loss": value})

    def loss(params, stats, judge, x, hidden, key):
        paint, drop = jax.random.split(key)
        output, stats = painted(params, stats, x, hidden, paint)
        weight = jnp.where(cut(hidden), 1.0, visible)
        error = jnp.square(output - cut(x)).mean(-1)
        value = kept = masked_mean(weight * error, weight > 0)
        metrics = {"hole_error": masked_mean(error, cut(hidden))}
        if adversarial:
            logits, _ = judged(judge.params, judge.stats, output, drop)
            fooled = non_saturating_generator(logits)
            value = (1 - adversarial) * kept + adversarial * fooled
            metrics |= {"adversarial": fooled}
        return value, (stats, metrics | {"loss": value})

    def step(key, state, batch):
        view, place, own, other = jax.random.split(key, 4)
        x = look(view, batch)
        hidden = mask(place, len(x))
        painter, critic = state
        seen = {}
        if adversarial:
            paint, _ = jax.random.split(own)
            fake, _ = painted(painter.params, painter.stats, x, hidden, paint)
            fake = jax.lax.stop_gradient(fake)
            players = judge_loss, critic, cut(x), fake, other
            critic, seen = minimize(judge_tx, *players, prefix="disc/")
        painter, made = minimize(tx, loss, painter, critic, x, hidden, own)
        return State(painter, critic), seen | made

    def filled(state, x, hidden):
        """Images with a prediction in their holes."""
        painter = state.painter
        out, _ = net.apply(painter.weights, painter.stats, damaged(x, hidden))
        found = jnp.where(cut(hidden)[..., None], out["output"], cut(x))
        return x.at[:, *window].set(found)

    def embed(state, batch):
        x = prepare(batch)
        out, _ = net.apply(state.painter.weights, state.painter.stats, x)
        hidden = mask(jax.random.key(0), 1)  # of all rows, which are thus independent
        hidden = jnp.broadcast_to(hidden, x.shape[:3])
        seen = {"input": x, "reconstruction": filled(state, x, hidden)}
        seen |= {"unfilled": damaged(x, hidden)}
        seen = {name: jnp.clip(show(cut(x)), 0, 1) for name, x in seen.items()}
        return {name: x for name, x in out.items() if name != "output"} | seen

    def render(key, state, batch, collect):
        x = prepare(batch)[:8]
        hidden = mask(key, len(x))
        moments = damaged(x, hidden), filled(state, x, hidden), x
        if x.shape[-1] not in (1, 3):
            return {}
        images = jnp.clip(jnp.stack([show(x) for x in moments], 1), 0, 1)
        return {"holes, and as filled": Grid(images, ("hole", "filled", "original"))}

    return Method(init, step, embed, render=render)
