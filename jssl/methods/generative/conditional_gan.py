"""Conditional GAN: a GAN of each class, by networks that read the class.

Mirza and Osindero, "Conditional Generative Adversarial Nets", 2014.
https://arxiv.org/abs/1411.1784

    min_G max_D  E_{x,y} log D(x, y) + E_{z,y} log(1 - D(G(z, y), y)),    D = sigmoid(s)

Both networks read y [n, K], one-hot; samples in training have the classes of the minibatch.
h does not depend on the class: `embed` passes 1/K for each. The losses may be those of the
hinge or of the Wasserstein distance. Penalties on the slope of s are added to that of D,

    r1 / 2 E |grad s(x, y)|^2 + penalty E (|grad s(u x + (1 - u) G(z, y), y)| - 1)^2

(Mescheder et al. 2018, https://arxiv.org/abs/1801.04406; Gulrajani et al. 2017,
https://arxiv.org/abs/1704.00028), and -log p(r | x turned r times by 90 degrees), weighted,
to both losses, of data for D and of samples for G (Chen et al. 2019,
https://arxiv.org/abs/1811.11212).
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax

from jssl.learner import fresh
from jssl.losses import adversarial
from jssl.method import Method, Prepare, field, first_row, identity
from jssl.methods.generative.gan import State, alternate, check_samples, minibatch, once
from jssl.nets import Net
from jssl.ops.rotations import rotate_all
from jssl.pictures import Grid, in_range

LOSSES = {
    "non_saturating": (
        adversarial.minimax_discriminator,
        adversarial.non_saturating_generator,
    ),
    "minimax": (adversarial.minimax_discriminator, adversarial.minimax_generator),
    "hinge": (adversarial.hinge_discriminator, adversarial.hinge_generator),
    "wasserstein": (adversarial.wasserstein_critic, adversarial.wasserstein_generator),
}


def conditional_gan(
    generator: Net,
    discriminator: Net,
    generator_tx: optax.GradientTransformation,
    discriminator_tx: optax.GradientTransformation,
    prior: Callable,
    classes: int,
    *,
    loss: str = "non_saturating",
    r1: float = 0.0,
    penalty: float = 0.0,
    rotation: tuple[float, float] = (0.0, 0.0),
    prepare: Prepare = field("image"),
    show: Callable = identity,
    made: str = "image",
) -> Method[State]:
    """GAN conditioned on classes. A training batch is k minibatches, [k, n, ...].

    Args:
      generator: (z, y) -> x, in the range of `prepare`. With batch norm do not average its
        weights, because running statistics do not match averaged weights.
      discriminator: (x, y) -> {"logits": [n], "h": [n, d]}, and "turns" [n, 4] with
        rotation; without batch norm if there is a penalty or a rotation. Its statistics
        "spectral" are updated once in each of its steps.
      generator_tx: optimizer of the generator.
      discriminator_tx: optimizer of the discriminator.
      prior: (key, n) -> z, the noise of n samples.
      classes: number K of classes.
      loss: of both: "non_saturating", "minimax", "hinge" or "wasserstein".
      r1: gamma, weight of the slope at the data; its factor 1/2 is included.
      penalty: weight of the distance of the slope's norm from 1, between data and samples;
        10 in WGAN-GP.
      rotation: weights of the rotations of data for D and of samples for G; (1, 0.2) in the
        paper. Images must be square.
      prepare: batch -> x, the input of the discriminator.
      show: x -> images in [0, 1], the inverse of `prepare`.
      made: name of the generated field.
    """
    if loss not in LOSSES:
        raise ValueError(
            f"conditional_gan: loss must be {' or '.join(LOSSES)}, got {loss!r}"
        )
    of_discriminator, of_generator = LOSSES[loss]

    def one_hot(labels):
        return jax.nn.one_hot(labels, classes)

    def init(key, batch):
        first, second, noise = jax.random.split(key, 3)
        real = first_row(prepare(minibatch(batch, 0)))
        z, y = prior(noise, 1), unknown(1)
        maker = fresh(generator_tx, *generator.init(first, z, y))
        fake = jax.eval_shape(generator.apply, maker.params, maker.stats, z, y)[0]
        check_samples("conditional_gan", fake, real)
        return State(maker, fresh(discriminator_tx, *discriminator.init(second, real, y)))

    def unknown(n):
        return jnp.full((n, classes), 1 / classes)

    def generate(params, stats, y, key):
        noise, drop = jax.random.split(key)
        z, keys = prior(noise, len(y)), {"dropout": drop}
        return generator.apply(params, stats, z, y, train=True, keys=keys)

    def judged(params, stats, x, y, key):
        return discriminator.apply(params, stats, x, y, train=True, keys={"dropout": key})

    def of_turns(params, stats, x, y, key):
        turned, turns = rotate_all(x)
        turned, y = turned.reshape(-1, *x.shape[1:]), jnp.repeat(y, 4, 0)
        logits = judged(params, stats, turned, y, key)[0]["turns"]
        each = optax.softmax_cross_entropy_with_integer_labels(logits, turns.ravel())
        return each.mean(), (logits.argmax(-1) == turns.ravel()).mean()

    def discriminator_loss(params, stats, maker, batch, i, key):
        make, one, two, mix, turn = jax.random.split(key, 5)
        now = minibatch(batch, i)
        real, y = prepare(now), one_hot(now["label"])
        fake = jax.lax.stop_gradient(generate(maker.params, maker.stats, y, make)[0])
        on_real, after = judged(params, stats, real, y, one)
        on_fake, after = judged(params, once(stats, after), fake, y, two)
        on_real, on_fake = on_real["logits"], on_fake["logits"]
        value = of_discriminator(on_real, on_fake)
        metrics = {
            "value": -value,
            "disc/real_right": (on_real > 0).mean(),
            "disc/fake_right": (on_fake < 0).mean(),
        }
        critic = lambda x: judged(params, stats, x, y, one)[0]["logits"]
        if r1:
            metrics["disc/squared_slope"] = adversarial.r1_penalty(critic, real)
            value += r1 / 2 * metrics["disc/squared_slope"]
        if penalty:
            metrics["disc/penalty"] = adversarial.gradient_penalty(mix, critic, real, fake)
            value += penalty * metrics["disc/penalty"]
        if rotation[0]:
            turned, right = of_turns(params, stats, real, y, turn)
            metrics |= {"disc/turns_loss": turned, "disc/turns_right": right}
            value += rotation[0] * turned
        return value, (after, metrics | {"disc/loss": value})

    def generator_loss(params, stats, judge, batch, i, key):
        make, drop, turn = jax.random.split(key, 3)
        y = one_hot(minibatch(batch, i)["label"])
        fake, stats = generate(params, stats, y, make)
        out, _ = judged(judge.params, judge.stats, fake, y, drop)
        value = of_generator(out["logits"])
        if rotation[1]:
            value += rotation[1] * of_turns(judge.params, judge.stats, fake, y, turn)[0]
        return value, (stats, {"gen/loss": value})

    def step(key, state, batch):
        players = (generator_tx, generator_loss), (discriminator_tx, discriminator_loss)
        return alternate(key, state, batch, *players)

    def embed(state, batch):
        judge, x = state.discriminator, prepare(batch)
        return discriminator.apply(judge.weights, judge.stats, x, unknown(len(x)))[0]

    def sampled(key, state, y):
        maker, z = state.generator, prior(key, len(y))
        return show(generator.apply(maker.weights, maker.stats, z, y)[0])

    def samples(key, state, batch):
        draw, noise = jax.random.split(key)
        drawn = jax.random.randint(draw, (len(batch["index"]),), 0, classes)
        return {made: sampled(noise, state, one_hot(batch.get("label", drawn)))}

    def render(key, state, batch, collect):
        shown = sampled(key, state, one_hot(jnp.repeat(jnp.arange(classes), 10)))
        if shown.ndim != 4:
            return {}
        return {
            "a class a row": Grid(in_range(shown).reshape(classes, 10, *shown.shape[1:]))
        }

    return Method(init, step, embed, render=render, generate=samples)
