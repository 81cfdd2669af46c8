"""SRGAN: super-resolution by a generator against a discriminator of photographs.

Ledig et al., "Photo-Realistic Single Image Super-Resolution Using a Generative Adversarial
Network", CVPR 2017. https://arxiv.org/abs/1609.04802

    L_G = content(x, G(y)) - 1e-3 E log D(G(y)),    y = shrunk(x),
    L_D = -E log D(x) - E log(1 - D(G(y)))

The labels are free: x is a photograph, y its bicubic reduction. The content is the mean
squared error of pixels, whose best answer is the mean of all that may have been shrunk to
y, and blurred; or that of the features of a fixed network. The adversarial term prefers a
sharp one of them: the peak signal-to-noise ratio falls. G begins as trained by the content
alone, by `super_resolution`, which also trains SRCNN (Dong et al. 2014,
https://arxiv.org/abs/1501.00092); `bicubic` learns nothing.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from jssl.learner import Learner, fresh, noise_keys
from jssl.losses.adversarial import minimax_discriminator, non_saturating_generator
from jssl.method import Augment, Method, Prepare, field, first_row
from jssl.methods.generative import gan
from jssl.methods.generative.gan import alternate, minibatch
from jssl.methods.pretext.super_resolution import (
    check_size,
    drawing,
    peak_ratio,
    rows,
    squared_error,
)
from jssl.methods.transfer.distil import Frozen
from jssl.nets import Net
from jssl.ops.maps import bicubic_shrink


class State(NamedTuple):
    players: gan.State
    features: Frozen | tuple[()]


def srgan(
    generator: Net,
    discriminator: Net,
    generator_tx: optax.GradientTransformation,
    discriminator_tx: optax.GradientTransformation,
    *,
    factor: int = 4,
    adversarial: float = 1e-3,
    features: Net | None = None,
    scale: float = 1.0,
    augment: Augment | None = None,
    prepare: Prepare = field("image"),
    made: str = "image",
) -> Method[State]:
    """SRGAN. A training batch is k minibatches, [k, n, ...]; h is the discriminator's.

    The stage starts from the generator of `super_resolution`:

        start=lambda state, done: begun(state, done["content"])

    Args:
      generator: as the net of `super_resolution`. With batch norm do not average its
        weights, because running statistics do not match averaged weights.
      discriminator: images in [-1, 1] -> {"logits": [n], "h": [n, d]}.
      generator_tx: optimizer of the generator.
      discriminator_tx: optimizer of the discriminator.
      factor: of the reduction.
      adversarial: weight of the adversarial term.
      features: images in [0, 1] -> {"h": [n, ...]}, whose mean squared error is the
        content; fixed. None: pixels in [-1, 1].
      scale: weight of the content.
      augment: (key, batch) -> x of training, e.g. crops; None: `prepare`.
      prepare: batch -> x, images in [0, 1].
      made: name of the generated field.
    """
    look = augment or (lambda key, batch: prepare(batch))

    def init(key, batch):
        one, two, three = jax.random.split(key, 3)
        x = first_row(look(key, minibatch(batch, 0)))
        maker = fresh(generator_tx, *generator.init(one, bicubic_shrink(x, factor)))
        check_size(generator, maker, x, factor)
        judge = fresh(discriminator_tx, *discriminator.init(two, x))
        fixed = Frozen(*features.init(three, x)) if features else ()
        return State(gan.State(maker, judge), fixed)

    def enlarged(params, stats, x, key):
        low = bicubic_shrink(x, factor)
        keys = noise_keys(key)
        out, stats = generator.apply(params, stats, low, train=True, keys=keys)
        return out["output"], stats

    def judged(params, stats, x, key):
        keys = noise_keys(key)
        out, stats = discriminator.apply(params, stats, x, train=True, keys=keys)
        return out["logits"], stats

    def content(fixed, made, x):
        if features is None:
            return squared_error(made, x)
        of = lambda x: features.apply(*fixed, x)[0]["h"]
        return jnp.square(of((made + 1) / 2) - of(x)).mean()

    def discriminator_loss(params, stats, maker, batch, i, key):
        view, make, one, two = jax.random.split(key, 4)
        x = look(view, minibatch(batch, i))
        fake = jax.lax.stop_gradient(enlarged(maker.params, maker.stats, x, make)[0])
        on_real, after = judged(params, stats, 2 * x - 1, one)
        on_fake, after = judged(params, after, fake, two)
        value = minimax_discriminator(on_real, on_fake)
        right = {"real": (on_real > 0).mean(), "fake": (on_fake < 0).mean()}
        metrics = {f"disc/{kind}_right": share for kind, share in right.items()}
        return value, (after, metrics | {"disc/loss": value})

    def generator_loss(fixed, params, stats, judge, batch, i, key):
        view, make, drop = jax.random.split(key, 3)
        x = look(view, minibatch(batch, i))
        fake, stats = enlarged(params, stats, x, make)
        fooled = non_saturating_generator(judged(judge.params, judge.stats, fake, drop)[0])
        kept = content(fixed, fake, x)
        value = scale * kept + adversarial * fooled
        ratio = peak_ratio(squared_error(fake, x))
        metrics = {"content": kept, "adversarial": fooled, "psnr": ratio}
        metrics = {f"gen/{name}": number for name, number in metrics.items()}
        return value, (stats, metrics | {"gen/loss": value})

    def step(key, state, batch):
        loss = partial(generator_loss, state.features)
        players = (generator_tx, loss), (discriminator_tx, discriminator_loss)
        after, metrics = alternate(key, state.players, batch, *players)
        return state._replace(players=after), metrics

    def embed(state, batch):
        maker, judge = state.players
        x = prepare(batch)
        low = bicubic_shrink(x, factor)
        out = generator.apply(maker.weights, maker.stats, low)[0]["output"]
        found = discriminator.apply(judge.weights, judge.stats, 2 * x - 1)[0]
        return rows(x, low, out) | found

    return Method(init, step, embed, **drawing(embed, factor, made))


def begun(state: State, content: Learner, features: Frozen | tuple[()] = ()) -> State:
    """A first state with a trained generator, and the trained network of features."""
    maker = state.players.generator._replace(params=content.params, stats=content.stats)
    players = state.players._replace(generator=maker)
    return State(players, features or state.features)
