"""BiGAN: a GAN with an encoder, whose discriminator judges pairs of data and code.

Donahue, Krahenbuhl and Darrell, "Adversarial Feature Learning", ICLR 2017.
https://arxiv.org/abs/1605.09782; the same model: Dumoulin et al., "Adversarially Learned
Inference", ICLR 2017, https://arxiv.org/abs/1606.00704

    min_{G,E} max_D V,    V = E_x log D(x, E(x)) + E_z log(1 - D(G(z), z)),

with D = sigmoid(s). For the best D, V = -log 4 + 2 JSD of the two joint distributions,
which is least where they are equal; E is then the inverse of G almost everywhere. G and E
do not descend V but the cross entropy with both labels exchanged,

    L_GE = -E_x log(1 - D(x, E(x))) - E_z log D(G(z), z),

whose gradient does not vanish where D is right. As in the released code, all three networks
are updated at once, from the gradients at the same weights and the same noise.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from jssl.learner import Learner, fresh, minimize
from jssl.losses.adversarial import minimax_discriminator
from jssl.method import Method, Prepare, field, first_row
from jssl.nets import Net


class State(NamedTuple):
    maker: Learner  # of the encoder and the generator: {"encoder", "generator"}
    judge: Learner


def bigan(
    encoder: Net,
    generator: Net,
    discriminator: Net,
    tx: optax.GradientTransformation,
    discriminator_tx: optax.GradientTransformation,
    prior: Callable,
    *,
    prepare: Prepare = field("image"),
    made: str = "image",
) -> Method[State]:
    """Bidirectional GAN. h is E(x); the reconstruction is G(E(x)).

    Args:
      encoder: x -> {"h": E(x) [n, d], ...}, in the range of z.
      generator: z [n, d] -> x, in the range of `prepare`.
      discriminator: (x, z) -> {"logits": [n], ...}.
      tx: optimizer of encoder and generator.
      discriminator_tx: optimizer of the discriminator.
      prior: (key, n) -> z [n, d].
      prepare: batch -> x.
      made: name of the generated field.
    """
    nets = {"encoder": encoder, "generator": generator}

    def init(key, batch):
        one, two, three, noise = jax.random.split(key, 4)
        x, z = first_row(prepare(batch)), prior(noise, 1)
        begun = {"encoder": encoder.init(one, x), "generator": generator.init(two, z)}
        params, stats = ({name: pair[i] for name, pair in begun.items()} for i in (0, 1))
        maker = fresh(tx, params, stats)
        code, fake = (
            jax.eval_shape(nets[name].apply, params[name], stats[name], given)[0]
            for name, given in (("encoder", x), ("generator", z))
        )
        if (code["h"].shape, fake.shape) != (z.shape, x.shape):
            raise ValueError(
                f"bigan: codes and samples must have the shapes of z and x, "
                f"{z.shape[1:]} and {x.shape[1:]}, got {code['h'].shape[1:]} and "
                f"{fake.shape[1:]}"
            )
        return State(maker, fresh(discriminator_tx, *discriminator.init(three, x, z)))

    def pairs(params, stats, x, z, key):
        """E(x) and G(z) in training, and the statistics after them."""
        out, after = {}, {}
        given = {"encoder": x, "generator": z}
        for i, (name, net) in enumerate(nets.items()):
            keys = {"dropout": jax.random.fold_in(key, i)}
            out[name], after[name] = net.apply(
                params[name], stats[name], given[name], train=True, keys=keys
            )
        return out["encoder"]["h"], out["generator"], after

    def judged(params, stats, x, code, fake, z, key):
        """Logits of both kinds of pairs, in two passes with their own batch statistics."""
        logits = []
        for i, pair in enumerate(((x, code), (fake, z))):
            keys = {"dropout": jax.random.fold_in(key, 2 + i)}
            out, stats = discriminator.apply(params, stats, *pair, train=True, keys=keys)
            logits.append(out["logits"])
        return *logits, stats

    def judge_loss(params, stats, x, code, fake, z, key):
        on_real, on_fake, stats = judged(params, stats, x, code, fake, z, key)
        value = minimax_discriminator(on_real, on_fake)
        right = {"real": (on_real > 0).mean(), "fake": (on_fake < 0).mean()}
        metrics = {f"disc/{kind}_right": share for kind, share in right.items()}
        return value, (stats, metrics | {"disc/loss": value, "value": -value})

    def maker_loss(params, stats, judge, x, z, key):
        code, fake, stats = pairs(params, stats, x, z, key)
        on_real, on_fake, _ = judged(judge.params, judge.stats, x, code, fake, z, key)
        value = minimax_discriminator(on_fake, on_real)  # both labels exchanged
        return value, (stats, {"gen/loss": value})

    def step(key, state, batch):
        maker, judge = state
        noise, drop = jax.random.split(key)
        x = prepare(batch)
        z = prior(noise, len(x))
        code, fake, _ = pairs(maker.params, maker.stats, x, z, drop)
        next_judge, seen = minimize(
            discriminator_tx, judge_loss, judge, x, code, fake, z, drop, prefix="disc/"
        )
        next_maker, gained = minimize(
            tx, maker_loss, maker, judge, x, z, drop, prefix="gen/"
        )
        return State(next_maker, next_judge), seen | gained

    def run(state, name, given):
        weights, stats = state.maker.weights, state.maker.stats
        return nets[name].apply(weights[name], stats[name], given)[0]

    def embed(state, batch):
        x = prepare(batch)
        out = run(state, "encoder", x)
        rows = {"input": x, "reconstruction": run(state, "generator", out["h"])}
        return out | {name: jnp.reshape(a, (len(a), -1)) for name, a in rows.items()}

    def generate(key, state, batch):
        return {made: run(state, "generator", prior(key, len(batch["index"])))}

    return Method(init, step, embed, generate=generate)
