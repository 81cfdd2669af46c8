"""GAN: alternating training of a generator and a discriminator.

Goodfellow et al., "Generative Adversarial Nets", NIPS 2014, algorithm 1.
https://arxiv.org/abs/1406.2661

    min_G max_D V,    V = E_x log D(x) + E_z log(1 - D(G(z))),    D = sigmoid(s)

k updates of D, each with its own data and noise, then one update of G with new noise and
the updated D. The "non-saturating" G ascends E_z log D(G(z)) instead of descending V. With
r1, the loss of D includes r1 / 2 times its mean squared gradient at the data (Mescheder et
al. 2018, https://arxiv.org/abs/1801.04406).
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import optax

from jssl.learner import Learner, fresh, minimize
from jssl.losses.adversarial import (
    minimax_discriminator,
    minimax_generator,
    non_saturating_generator,
    r1_penalty,
)
from jssl.method import Batch, Method, Prepare, field, first_row, identity
from jssl.nets import Net

LOSSES = {"non_saturating": non_saturating_generator, "minimax": minimax_generator}
Player = tuple[optax.GradientTransformation, Callable]  # an optimizer and a loss


class State(NamedTuple):
    generator: Learner
    discriminator: Learner


def gan(
    generator: Net,
    discriminator: Net,
    generator_tx: optax.GradientTransformation,
    discriminator_tx: optax.GradientTransformation,
    prior: Callable,
    *,
    loss: str = "non_saturating",
    r1: float = 0.0,
    prepare: Prepare = field("image"),
    show: Callable = identity,
    made: str = "image",
) -> Method[State]:
    """Generative adversarial network. A training batch is k minibatches, [k, n, ...].

    Args:
      generator: z -> x, in the range of `prepare`, an array or several. With batch norm do
        not average its weights, because running statistics do not match averaged weights.
      discriminator: x -> {"logits": [n], "h": [n, d]}; without batch norm if r1 > 0. Losses
        are means over all logits, if there are several of a sample.
      generator_tx: optimizer of the generator.
      discriminator_tx: optimizer of the discriminator.
      prior: (key, n) -> z, the noise of n samples.
      loss: of the generator, "non_saturating" or "minimax".
      r1: gamma, weight of the gradient penalty; its factor 1/2 is included.
      prepare: batch -> x, the input of the discriminator.
      show: x -> images in [0, 1], the inverse of `prepare`.
      made: name of the generated field.
    """
    if loss not in LOSSES:
        raise ValueError(f"gan: loss must be {' or '.join(LOSSES)}, got {loss!r}")

    def init(key, batch):
        first, second, noise = jax.random.split(key, 3)
        z, real = prior(noise, 1), first_row(prepare(minibatch(batch, 0)))
        maker = fresh(generator_tx, *generator.init(first, z))
        fake = jax.eval_shape(generator.apply, maker.params, maker.stats, z)[0]
        check_samples("gan", fake, real)
        judge = fresh(discriminator_tx, *discriminator.init(second, real))
        return State(maker, judge)

    def generate(params, stats, key, n):
        noise, drop = jax.random.split(key)
        keys = {"dropout": drop}
        return generator.apply(params, stats, prior(noise, n), train=True, keys=keys)

    def judged(params, stats, x, key):
        keys = {"dropout": key}
        out, stats = discriminator.apply(params, stats, x, train=True, keys=keys)
        return out["logits"], stats

    def discriminator_loss(params, stats, maker, batch, i, key):
        make, drop = jax.random.split(key)
        fake, _ = generate(maker.params, maker.stats, make, rows_of(batch))
        fake, real = jax.lax.stop_gradient(fake), prepare(minibatch(batch, i))
        one, two = jax.random.split(drop)
        on_real, after = judged(params, stats, real, one)  # two passes, so that batch
        on_fake, after = judged(params, after, fake, two)  # statistics are not shared
        value = minimax_discriminator(on_real, on_fake)
        metrics = {
            "value": -value,
            "disc/real_right": (on_real > 0).mean(),
            "disc/fake_right": (on_fake < 0).mean(),
        }
        if r1:
            slope = r1_penalty(lambda x: judged(params, stats, x, one)[0], real)
            value += r1 / 2 * slope
            metrics["disc/squared_slope"] = slope
        return value, (after, metrics | {"disc/loss": value})

    def generator_loss(params, stats, judge, batch, i, key):
        make, drop = jax.random.split(key)
        fake, stats = generate(params, stats, make, rows_of(batch))
        logits, _ = judged(judge.params, judge.stats, fake, drop)
        value = LOSSES[loss](logits)
        return value, (stats, {"gen/loss": value})

    def step(key, state, batch):
        players = (generator_tx, generator_loss), (discriminator_tx, discriminator_loss)
        return alternate(key, state, batch, *players)

    def embed(state, batch):
        judge = state.discriminator
        return discriminator.apply(judge.weights, judge.stats, prepare(batch))[0]

    def samples(key, state, batch):
        maker, z = state.generator, prior(key, len(batch["index"]))
        return {made: show(generator.apply(maker.weights, maker.stats, z)[0])}

    return Method(init, step, embed, generate=samples)


def alternate(
    key: jax.Array, state: State, batch: Batch, generator: Player, discriminator: Player
) -> tuple[State, dict[str, Any]]:
    """Algorithm 1: an update of D for each minibatch, then one of G with the updated D.

    Args:
      key: of all noise.
      state: of both players.
      batch: k minibatches, [k, n, ...].
      generator: (optimizer, loss) with loss(params, stats, judge, batch, i, key) as in
        `minimize`, for the discriminator's Learner and the last minibatch, i = k - 1.
      discriminator: likewise, with loss(params, stats, maker, batch, i, key).
    """
    maker, judge = state
    k = len(jax.tree.leaves(batch)[0])
    *turns, last = jax.random.split(key, k + 1)
    for i, turn in enumerate(turns):
        judge, seen = minimize(*discriminator, judge, maker, batch, i, turn, prefix="disc/")
    maker, made = minimize(*generator, maker, judge, batch, k - 1, last, prefix="gen/")
    return State(maker, judge), seen | made


def minibatch(batch: Batch, i: int) -> Batch:
    """Minibatch i of a training batch."""
    return jax.tree.map(lambda x: x[i], batch)


def rows_of(batch: Batch) -> int:
    """Number of rows of each minibatch of a training batch."""
    return jax.tree.leaves(batch)[0].shape[1]


def once(before: Any, after: Any) -> Any:
    """Statistics after a pass, with the vectors of spectral norm of those before it.

    A further pass in the same step begins its power iteration where the first one did, and
    thus judges with the same normalized weights.
    """
    kept = {kind: before[kind] for kind in ("spectral",) if kind in before}
    return after | kept if kept else after


def check_samples(method: str, fake: Any, real: Any) -> None:
    """Compares the shapes of samples, arrays or pairs of arrays, with those of the data.

    Raises:
      ValueError: they differ.
    """
    came, wanted = jax.tree.map(lambda x: x.shape[1:], (fake, real))
    if came != wanted:
        raise ValueError(
            f"{method}: samples have shape {came}, but the data {wanted}; a batch must be "
            f"[k, n, ...], as from data.minibatches(source, k)"
        )
