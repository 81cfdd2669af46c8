"""DCGAN: the ranges, the networks' statistics, and what h is."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
from toys import images, jitted

from jssl import config, nets
from jssl.methods.generative.dcgan import dcgan
from jssl.models.dcgan import Discriminator, Generator

headline = "disc/loss"  # the generator hardly moves, so that the discriminator gains
batch_axis = 1

MAKER = jitted(Generator((8, 8, 1), (8, 4), 4))
JUDGE = jitted(Discriminator((4, 8), 4))


def method(maker, judge):
    return dcgan(MAKER, JUDGE, maker, judge, noise=4)


def tiny(tx):
    batch = {"image": images()[None], "index": jnp.arange(8)[None]}
    return method(tx or optax.sgd(1e-3), tx or optax.sgd(0.1)), batch


def rows(batch):
    return {"image": batch["image"][0], "index": batch["index"][0]}


def test_statistics_move_in_the_step_of_their_owner():
    """Two passes of D in its own step, data first; one of G in its own."""
    m = method(optax.sgd(0.0), optax.sgd(0.0))
    _, batch = tiny(None)
    before = jax.jit(m.init)(jax.random.key(0), batch)
    after, metrics = jax.jit(m.step)(jax.random.key(1), before, batch)
    maker, judge = (x.stats["batch_stats"] for x in after)

    turn, last = jax.random.split(jax.random.key(1), 2)

    def made(key):
        z_key, _ = jax.random.split(key)
        z = jax.random.uniform(z_key, (8, 4), minval=-1, maxval=1)
        return MAKER.apply(before.generator.params, before.generator.stats, z, train=True)

    def mean_and_logits(stats, x):
        out, stats = JUDGE.apply(before.discriminator.params, stats, x, train=True)
        return out["logits"], stats

    @jax.jit
    def by_hand():
        fake, _ = made(jax.random.split(turn)[0])
        real = 2 * images() - 1
        on_real, stats = mean_and_logits(before.discriminator.stats, real)
        on_fake, stats = mean_and_logits(stats, fake)
        _, makers = made(jax.random.split(last)[0])
        return on_real, on_fake, stats, makers

    on_real, on_fake, judges, makers = by_hand()
    for got, wanted in ((judge, judges), (maker, makers)):
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6),
            got,
            wanted["batch_stats"],
        )
    wanted = np.log1p(np.exp(-on_real)).mean() + np.log1p(np.exp(on_fake)).mean()
    np.testing.assert_allclose(metrics["disc/loss"], wanted, rtol=1e-5)


def test_noise_is_uniform_and_samples_are_shown_from_0_to_1():
    """A generator that is the identity shows its noise."""
    flat = nets.Net(
        lambda key, z: ((), ()),
        lambda params, stats, z, train=False, keys={}: (z.reshape(-1, 8, 8, 1), stats),
    )
    m = dcgan(flat, JUDGE, optax.identity(), optax.sgd(0.1), noise=64)
    _, batch = tiny(None)
    state = jax.jit(m.init)(jax.random.key(0), batch)
    many = {"index": jnp.arange(64)}
    shown = m.generate(jax.random.key(0), state, many)["image"]
    assert 0 <= shown.min() < 0.01 and 0.99 < shown.max() <= 1
    np.testing.assert_allclose(shown.mean(), 0.5, atol=0.02)  # 4,096 draws: 4.4 errors
    np.testing.assert_allclose(shown.var(), 1 / 12, atol=0.005)


def test_h_is_all_maps_of_the_discriminator():
    m, batch = tiny(None)
    state = jax.jit(m.init)(jax.random.key(0), batch)
    out = jax.jit(m.embed)(state, rows(batch))
    assert out["h"].shape == (8, 4 * 4 * 4 + 2 * 2 * 8)
    captured, _ = JUDGE.apply(
        state.discriminator.params,
        state.discriminator.stats,
        2 * images() - 1,
        capture=("conv0", "norm1"),
    )
    maps = captured[1]
    leaky = [np.where(x > 0, x, 0.2 * x) for x in (maps["conv0"], maps["norm1"])]
    wanted = np.concatenate([x.reshape(8, -1) for x in leaky], 1)
    np.testing.assert_allclose(out["h"], wanted, rtol=1e-5, atol=1e-7)


def faces(knobs):
    path = Path(__file__).parents[3] / "experiments" / "dcgan.py"
    return config.load(f"{path}:paper,{knobs}").stages()[0]


def test_an_epoch_of_the_paper_has_a_minibatch_for_each_update_of_either_player():
    """Newmu/dcgan_code: `if n_updates % (k+1) == 0: _train_g(...) else: _train_d(...)`."""
    for k in (1, 3):
        stage = faces(f"source=blank:cifar10,batch=100,epochs=24.0,k={k},widths=(8, 4)")
        updates = 24 * (stage.data.main.size // 100)  # of both
        assert stage.steps * (k + 1) == updates


def test_the_papers_weights_decay_in_the_gradient():
    """train_uncond_dcgan.py: l2 = 1e-5 in updates.Regularizer, g += l2 * p."""
    stage = faces("tiny=True,decay=1e6")
    shapes = jax.eval_shape(stage.data.decode, stage.data.shapes())
    batch = {k: jnp.ones(x.shape, x.dtype) for k, x in shapes.items()}
    before = jax.jit(stage.method.init)(jax.random.key(0), batch)
    after, _ = jax.jit(stage.method.step)(jax.random.key(1), before, batch)
    for player, name in (("generator", "dense"), ("discriminator", "head")):
        w, moved = (getattr(x, player).params[name]["kernel"] for x in (before, after))
        far = np.abs(w) > 1e-3  # where the decay is all of the gradient
        np.testing.assert_allclose((moved - w)[far], -2e-4 * np.sign(w[far]), rtol=1e-3)
