"""Class-conditional generators of rows, to enlarge labeled training sets.

Luo and Lu, "EEG Data Augmentation for Emotion Recognition Using a Conditional Wasserstein
GAN", EMBC 2018; Luo, Zhu, Wan and Lu, "Data Augmentation for Enhancing EEG-based Emotion
Recognition with Deep Generative Models", J. Neural Engineering 2020.
https://arxiv.org/abs/2006.05331

    L_D = E s(G(z, y), y) - E s(x, y) + lambda E (|grad s(u x + (1 - u) G(z, y), y)| - 1)^2
    L_G = -E s(G(z, y), y)

or, in place of the GAN, a conditional VAE with a Gaussian likelihood. Both generate rows of
the classes of a batch. They are appended to the training data of a classifier, all of them
or the accepted ones (`jssl.ops.augmentation`); `jssl.evals.augmentation_gain` measures the
gain over their number.

h is the critic's last hidden layer, or the encoder's mean, without the class: with 1/K for
each of the K classes.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax

from jssl.method import Method, Prepare, field, identity
from jssl.methods.generative.conditional_gan import conditional_gan
from jssl.methods.generative.gan import State as Players
from jssl.methods.generative.vae import State, vae
from jssl.nets import Net


def augmentation(
    generator: Net,
    critic: Net,
    generator_tx: optax.GradientTransformation,
    critic_tx: optax.GradientTransformation,
    prior: Callable,
    classes: int,
    *,
    penalty: float = 10.0,
    prepare: Prepare = field("image"),
    show: Callable = identity,
    made: str = "image",
) -> Method[Players]:
    """Conditional Wasserstein GAN of rows. A training batch is k minibatches, [k, n, ...].

    `embed` has the critic's score s(x, y) [n] of rows with a label as "score".

    Args:
      generator: (z, y) -> x; samples are of averaged weights, if there are any.
      critic: (x, y) -> {"logits": [n], "h": [n, d]}, without batch norm.
      generator_tx: optimizer of the generator.
      critic_tx: optimizer of the critic.
      prior: (key, n) -> z.
      classes: number K of classes.
      penalty: lambda.
      prepare: batch -> x.
      show: x -> the field `made`, the inverse of `prepare`.
      made: name of the generated field.
    """
    game = conditional_gan(
        generator,
        critic,
        generator_tx,
        critic_tx,
        prior,
        classes,
        loss="wasserstein",
        penalty=penalty,
        prepare=prepare,
        show=show,
        made=made,
    )

    def embed(state, batch):
        out = dict(game.embed(state, batch))
        if "label" in batch:
            judge, y = state.discriminator, jax.nn.one_hot(batch["label"], classes)
            scored = critic.apply(judge.weights, judge.stats, prepare(batch), y)[0]
            out["score"] = scored["logits"]
        return out

    return game._replace(embed=embed)


def variational_augmentation(
    net: Net,
    tx: optax.GradientTransformation,
    classes: int,
    *,
    deviation: float = 0.5,
    prepare: Prepare = field("image"),
    show: Callable = identity,
    made: str = "image",
) -> Method[State]:
    """Conditional VAE of rows.

    Samples are means of p(x|z, y) plus the noise of the likelihood, so that their variance
    is that of the model, and not less.

    Args:
      net: "encode" and "decode" with y [n, K] as second argument, as in `vae`.
      tx: optimizer of all weights.
      classes: number K of classes.
      deviation: standard deviation of the Gaussian likelihood.
      prepare: batch -> x.
      show: x -> the field `made`, the inverse of `prepare`.
      made: name of the generated field.
    """

    def known(batch):
        y = jax.nn.one_hot(batch["label"], classes)
        return jnp.where(batch["label"][:, None] < 0, 1 / classes, y)

    model = vae(
        net,
        tx,
        likelihood="gaussian",
        deviation=deviation,
        draws=1,
        prepare=prepare,
        condition=known,
        made=made,
    )

    def embed(state, batch):
        unknown = jnp.full(len(batch["index"]), -1)
        return model.embed(state, dict(batch) | {"label": unknown})

    def generate(key, state, batch):
        code, noise = jax.random.split(key)
        mean = model.generate(code, state, batch)[made]
        x = mean + deviation * jax.random.normal(noise, mean.shape, mean.dtype)
        return {made: show(x)}

    return model._replace(embed=embed, generate=generate)
