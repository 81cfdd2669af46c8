"""StackGAN: images of a text by two GANs, of which the second enlarges those of the first.

Zhang et al., "StackGAN: Text to Photo-realistic Image Synthesis with Stacked Generative
Adversarial Networks", ICCV 2017. https://arxiv.org/abs/1612.03242

    c = mu(t) + sigma(t) eps,    eps ~ N(0, I)                       of a text t
    L_D = -log D(x, t) - 1/2 [log(1 - D(x', t)) + log(1 - D(G, t))]
    L_G = -log D(G, t) + kl KL(N(mu(t), sigma(t)^2) || N(0, I))

Stage 1 makes small images G = G1(z, c) of noise z; stage 2 makes large ones, G = G2(G1(z,
c), c'), with a c' of its own and stage 1 frozen. x' is a real image of another text: with
these pairs D must regard the text (Reed et al. 2016, https://arxiv.org/abs/1605.05396).

h is the last map of D, before it is joined with the text.

The divergence is a mean over the numbers of c, as in the released code, whose kl is 2.
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax

from jssl.learner import Learner, fresh
from jssl.losses.adversarial import matching_aware_discriminator, non_saturating_generator
from jssl.method import Above, Augment, Method, Prepare, field, first_row, identity
from jssl.methods.generative.gan import State, alternate, check_samples, minibatch, once
from jssl.nets import Net
from jssl.ops.densities import gaussian_divergence
from jssl.pictures import Grid, in_range


def stackgan(
    generator: Net,
    discriminator: Net,
    generator_tx: optax.GradientTransformation,
    discriminator_tx: optax.GradientTransformation,
    prior: Callable,
    *,
    condition: Prepare,
    lower: Net | None = None,
    kl: float = 2.0,
    augment: Augment | None = None,
    prepare: Prepare = field("image"),
    show: Callable = identity,
    made: str = "image",
) -> Method[Above]:
    """A stage of StackGAN. A training batch is k minibatches, [k, n, ...].

    The state is `Above(below, own)`: the frozen generator of stage 1, () in stage 1 itself,
    and both players.

    Args:
      generator: (z or an image of stage 1, t, eps) -> {"image", "mean", "log_sigma"}.
      discriminator: (x, t) -> {"logits": [n], "h": [n, d]}, where h does not depend on t.
      generator_tx: optimizer of the generator.
      discriminator_tx: optimizer of the discriminator.
      prior: (key, n) -> (z, eps), the noise of n samples.
      condition: batch -> t [n, e], the text.
      lower: generator of stage 1, for stage 2; its weights come from that stage (`upon`).
      kl: weight of the divergence.
      augment: (key, batch) -> x in training; None: `prepare`.
      prepare: batch -> x, the input of the discriminator.
      show: x -> images in [0, 1] of the size of the data, of the field `made`.
      made: name of the generated field.
    """
    look = augment or (lambda key, batch: prepare(batch))

    def inputs(key, below, text):
        """The inputs of the generator for samples of texts."""
        z, eps = prior(key, len(text))
        if lower is None:
            return z, text, eps
        low, _ = lower.apply(below.params, below.stats, z, text, eps)
        return low["image"], text, prior(jax.random.fold_in(key, 1), len(text))[1]

    def init(key, batch):
        one, two, three, noise = jax.random.split(key, 4)
        now = minibatch(batch, 0)
        real, text = first_row(prepare(now)), first_row(condition(now))
        below: Any = ()
        if lower is not None:
            z, eps = prior(noise, 1)
            below = Learner(*lower.init(three, z, text, eps), ())
        given = inputs(noise, below, text)
        maker = fresh(generator_tx, *generator.init(one, *given))
        fake, _ = jax.eval_shape(generator.apply, maker.params, maker.stats, *given)
        check_samples("stackgan", fake["image"], real)
        judge = fresh(discriminator_tx, *discriminator.init(two, real, text))
        return Above(below, State(maker, judge))

    def judged(params, stats, x, text):
        out, stats = discriminator.apply(params, stats, x, text, train=True)
        return out["logits"], stats

    def step(key, state, batch):
        def discriminator_loss(params, stats, maker, batch, i, key):
            view, noise, pairs = jax.random.split(key, 3)
            now = minibatch(batch, i)
            real, text = look(view, now), condition(now)
            given = inputs(noise, state.below, text)
            fake, _ = generator.apply(maker.params, maker.stats, *given, train=True)
            fake = jax.lax.stop_gradient(fake["image"])
            other, known = mismatched(pairs, text)
            on_real, after = judged(params, stats, real, text)
            on_wrong, after = judged(params, once(stats, after), real[other], text)
            on_fake, after = judged(params, once(stats, after), fake, text)
            on_wrong = jnp.where(known, on_wrong, on_fake)
            value = matching_aware_discriminator(on_real, on_wrong, on_fake)
            return value, (after, {
                "disc/loss": value,
                "disc/real_right": (on_real > 0).mean(),
                "disc/wrong_right": (on_wrong < 0).mean(),
                "disc/fake_right": (on_fake < 0).mean(),
            })  # fmt: skip

        def generator_loss(params, stats, judge, batch, i, key):
            text = condition(minibatch(batch, i))
            given = inputs(key, state.below, text)
            out, stats = generator.apply(params, stats, *given, train=True)
            logits, _ = judged(judge.params, judge.stats, out["image"], text)
            nats = gaussian_divergence(out["mean"], 2 * out["log_sigma"]).mean()
            value = non_saturating_generator(logits) + kl * nats
            return value, (stats, {"gen/loss": value, "gen/kl": nats})

        players = (generator_tx, generator_loss), (discriminator_tx, discriminator_loss)
        own, metrics = alternate(key, state.own, batch, *players)
        return state._replace(own=own), metrics

    def embed(state, batch):
        judge, x, text = state.own.discriminator, prepare(batch), condition(batch)
        out, _ = discriminator.apply(judge.weights, judge.stats, x, jnp.zeros_like(text))
        return {name: x for name, x in out.items() if name != "logits"}

    def sampled(key, state, text):
        maker, given = state.own.generator, inputs(key, state.below, text)
        return show(generator.apply(maker.weights, maker.stats, *given)[0]["image"])

    def generate(key, state, batch):
        return {made: sampled(key, state, condition(batch))}

    def render(key, state, batch, collect):
        x, text = batch[made][:8], condition(batch)[:8]
        images = in_range(jax.jit(sampled)(key, state, text.repeat(7, 0)))
        images = images.reshape(len(x), 7, *x.shape[1:])
        both = jnp.concatenate([x[:, None], images], 1)
        return {"samples of a text": Grid(both, ("image of the text", *[""] * 7))}

    return Method(init, step, embed, render=render, generate=generate)


def mismatched(key: jax.Array, text: jax.Array) -> tuple[jax.Array, jax.Array]:
    """A random row with another text for each row [n], and True where there is one.

    >>> text = jnp.array([[0.0], [0.0], [1.0]])
    >>> other, known = mismatched(jax.random.key(0), text)
    >>> other[:2].tolist(), known.tolist()
    ([2, 2], [True, True, True])
    """
    differ = (text[:, None] != text).any(-1)  # [n, n]
    drawn = jnp.where(differ, jax.random.uniform(key, differ.shape), -1)
    return drawn.argmax(1), differ.any(1)


def upon(stage: str) -> Callable[[Above, Mapping[str, Any]], Above]:
    """The `start` of stage 2, from the generator of stage 1."""

    def start(state, done):
        first = done[stage].own.generator
        return state._replace(below=Learner(first.weights, first.stats, ()))

    return start
