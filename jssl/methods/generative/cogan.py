"""CoGAN: two GANs with tied layers, which learn pairs from data that have none.

Liu and Tuzel, "Coupled Generative Adversarial Networks", NIPS 2016.
https://arxiv.org/abs/1606.07536

    min_G max_D  sum_{i=1,2} E_{x_i} log D_i(x_i) + E_z log(1 - D_i(G_i(z)))

subject to equal weights of the first layers of G_1 and G_2, and of the last layers of D_1
and D_2. Both generators have the same z. The layers that they share decide the content of
a pair (G_1(z), G_2(z)), and those of each its look in one domain; without shared layers the
marginal distributions would be learned, and not the joint one. Training batches have
unrelated samples of both domains.

This is the `gan` of pairs with a discriminator of two logits. As in the released code, its
losses are means over both domains, half of the sums above.
"""

from collections.abc import Callable

import jax.numpy as jnp
import optax

from jssl.method import Method, Prepare, field, identity, part
from jssl.methods.generative.gan import State, gan
from jssl.nets import Net
from jssl.pictures import Grid, in_range

IMAGE = field("image")


def cogan(
    generator: Net,
    discriminator: Net,
    generator_tx: optax.GradientTransformation,
    discriminator_tx: optax.GradientTransformation,
    prior: Callable,
    *,
    domains: tuple[str, str] = ("first", "second"),
    prepare: tuple[Prepare, Prepare] = (IMAGE, IMAGE),
    show: Callable = identity,
    made: tuple[str, str] = ("image", "second"),
) -> Method[State]:
    """Coupled GAN. A training batch is k minibatches, {domain: [k, n, ...]}.

    h is of the first discriminator, given rows of the first domain.

    Args:
      generator: z -> (x1, x2), in the ranges of `prepare`.
      discriminator: (x1, x2) -> {"logits": [n, 2]}; its function "first" is x1 ->
        {"logits": [n], "h": [n, d]}.
      generator_tx: optimizer of both generators.
      discriminator_tx: optimizer of both discriminators.
      prior: (key, n) -> z, the noise of n pairs.
      domains: names of the two parts of a training batch.
      prepare: of each domain, its part of a batch -> x.
      show: samples -> images in [0, 1], the inverse of `prepare`.
      made: names of the two generated fields.
    """

    def pair(batch):
        parts = zip(prepare, domains, strict=True)
        return tuple(look(part(batch, name)) for look, name in parts)

    game = gan(
        generator, discriminator, generator_tx, discriminator_tx, prior, prepare=pair
    )

    def embed(state, batch):
        judge, x = state.discriminator, prepare[0](batch)
        return discriminator.apply(judge.weights, judge.stats, x, method="first")[0]

    def generate(key, state, batch):
        [drawn] = game.generate(key, state, batch).values()
        return dict(zip(made, map(show, drawn), strict=True))

    def render(key, state, batch, collect):
        one, two = generate(key, state, {"index": jnp.arange(32)}).values()
        if one.ndim != 4 or one.shape != two.shape:
            return {}
        pairs = jnp.stack([one, two], 1).reshape(8, 8, *one.shape[1:])
        return {"pairs": Grid(in_range(pairs), 4 * made)}

    return game._replace(embed=embed, generate=generate, render=render)
