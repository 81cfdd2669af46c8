"""GAN: algorithm 1, on games whose course is known."""

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from toys import images, jitted

from jssl.learner import ema_weights
from jssl.methods.generative.gan import gan
from jssl.models.dense import linear
from jssl.models.gan import Discriminator, Generator
from jssl.nets import Net

headline = "disc/loss"  # the generator hardly moves, so that the discriminator gains
batch_axis = 1


def normal(width, key, n):
    return jax.random.normal(key, (n, width))


def tiny(tx):
    method = gan(
        jitted(Generator((8, 8, 1), (8,))),
        jitted(Discriminator((16,), 0.3)),
        tx or optax.sgd(1e-3),
        tx or optax.sgd(0.1),
        partial(normal, 4),
    )
    both = jnp.stack([images(), images()[:, ::-1]])
    return method, {"image": both, "index": jnp.arange(16).reshape(2, 8)}


def rows(batch):
    return {"image": batch["image"][0], "index": batch["index"][0]}


@cache
def begun():
    """`tiny`, and its first state."""
    method, batch = tiny(None)
    return method, batch, jax.jit(method.init)(jax.random.key(0), batch)


def network(params, apply) -> Net:
    """A network without statistics, of one function (params, x) -> out."""

    def applied(params, stats, x, train=False, keys={}):
        return apply(params, x), stats

    return Net(lambda key, x: (params, ()), applied)


def dirac(theta, psi, rate, still, loss, r1):
    """Mescheder et al. 2018: data at 0, G = theta, s(x) = -psi x."""
    return gan(
        network(jnp.asarray(theta), lambda theta, z: theta + 0 * z),
        network(
            jnp.asarray(psi),
            lambda psi, x: {"logits": -psi * x[:, 0], "h": jnp.repeat(x, 2, 1)},
        ),
        optax.sgd(rate),
        optax.sgd(still),
        partial(normal, 1),
        loss=loss,
        r1=r1,
    )


def played(method, batch, steps):
    """The states and metrics after each step."""
    batch = jax.tree.map(jnp.asarray, batch)

    def step(state, key):
        state, metrics = method.step(key, state, batch)
        return state, (state, metrics)

    @jax.jit
    def play(keys):
        return jax.lax.scan(step, method.init(keys[0], batch), keys)[1]

    return play(jax.random.split(jax.random.key(0), steps))


@partial(jax.jit, static_argnames=("loss", "r1", "steps"))
def duel(theta=1.0, psi=1.0, rate=0.1, still=0.1, loss="minimax", r1=0.0, steps=1):
    """The states and metrics after each step of a Dirac GAN."""
    method = dirac(theta, psi, rate, still, loss, r1)
    return played(method, {"image": np.zeros((1, 4, 1))}, steps)


def squares(states):
    theta, psi = (np.asarray(x.params) for x in states)
    return theta**2 + psi**2


def test_by_turns_the_dirac_gan_circles(x64):
    """Catalogue, generative A1.4; at once it would have spiralled out to 5.08."""
    states, _ = duel(steps=500)
    np.testing.assert_allclose(squares(states)[-1], 2.0001664397, rtol=1e-9)


def test_with_r1_the_dirac_gan_converges(x64):
    """At the rate of the linearised game: psi <- .9 psi + .05 theta, then theta."""
    psi = np.array([0.05, 0.9])  # of (theta, psi)
    theta = np.array([1, 0]) - 0.05 * psi
    rate = np.abs(np.linalg.eigvals([theta, psi])).max()
    assert rate < 0.97
    states, _ = duel(r1=1.0, steps=500)
    distance = np.sqrt(squares(states))
    np.testing.assert_allclose(distance[-1] / distance[-2], rate, rtol=1e-4)
    assert distance[-1] < 1e-8


def test_the_penalty_is_half_gamma_times_the_squared_slope(x64):
    _, metrics = duel(psi=5.0, rate=0.0, still=0.0, r1=10.0)
    cross = np.log(2) + np.log1p(np.exp(-5))
    np.testing.assert_allclose(metrics["disc/squared_slope"], 25, rtol=1e-12)
    np.testing.assert_allclose(metrics["disc/loss"], cross + 125, rtol=1e-12)
    np.testing.assert_allclose(metrics["value"], -cross, rtol=1e-12)


@pytest.mark.parametrize(
    ("loss", "wanted"), [("minimax", -np.log(2)), ("non_saturating", np.log(2))]
)
def test_an_undecided_discriminator_has_the_textbook_losses(x64, loss, wanted):
    _, metrics = duel(psi=0.0, rate=0.0, still=0.0, loss=loss)
    np.testing.assert_allclose(metrics["disc/loss"], 2 * np.log(2), rtol=1e-12)
    np.testing.assert_allclose(metrics["value"], -np.log(4), rtol=1e-12)
    np.testing.assert_allclose(metrics["gen/loss"], wanted, rtol=1e-12)


def test_the_generators_slopes_saturate_or_not(x64):
    theta, psi = 3.0, 2.0  # s = -6: D is sure
    for loss, slope in ("minimax", "rejected"), ("non_saturating", "believed"):
        states, _ = duel(theta, psi, still=1e-12, loss=loss)
        accepts = 1 / (1 + np.exp(6))
        wanted = {"rejected": psi * accepts, "believed": psi * (1 - accepts)}[slope]
        np.testing.assert_allclose(
            states.generator.params, [theta - 0.1 * wanted], rtol=1e-10
        )


def test_neither_players_step_moves_the_other():
    batch = {"image": np.ones((1, 4, 1))}

    @jax.jit
    def moved(*rates):
        method = gan(
            network(jnp.ones(()), lambda theta, z: theta * z),
            network(jnp.ones(()), lambda psi, x: {"logits": psi * x[:, 0], "h": x}),
            *map(optax.sgd, rates),
            partial(normal, 1),
        )
        return played(method, batch, 1)[0]

    moves = {
        rates: [float(x.params[0]) for x in moved(*rates)]
        for rates in ((0.1, 0.0), (0.0, 0.1), (0.1, 0.1))
    }
    assert moves[0.1, 0.0][0] != 1 == moves[0.1, 0.0][1]
    assert moves[0.0, 0.1][0] == 1 != moves[0.0, 0.1][1]
    assert moves[0.1, 0.1][1] == moves[0.0, 0.1][1]  # D went first
    assert moves[0.1, 0.1][0] != moves[0.1, 0.0][0]  # and G saw what came of it


def test_the_best_discriminator_is_the_ratio_of_the_densities(x64):
    """p = (.5, .3, .2), q = (.2, .3, .5), one free logit for each of three atoms."""
    atoms = np.eye(3)
    data = np.repeat(atoms, [5, 3, 2], axis=0)
    made = jnp.asarray(np.repeat(atoms, [2, 3, 5], axis=0))
    method = gan(
        network(jnp.zeros(3), lambda shift, z: z + shift),
        network(jnp.zeros(3), lambda s, x: {"logits": x @ s, "h": x}),
        optax.sgd(0.0),
        optax.sgd(3.0),
        lambda key, n: made[:n],
    )
    states, metrics = played(method, {"image": data[None]}, 400)
    logits = states.discriminator.params[-1]
    np.testing.assert_allclose(logits, np.log([2.5, 1, 0.4]), atol=1e-10)
    np.testing.assert_allclose(jax.nn.sigmoid(logits), [5 / 7, 1 / 2, 2 / 7], atol=1e-10)
    np.testing.assert_allclose(metrics["value"][-1], -1.2534657323, rtol=1e-10)
    np.testing.assert_allclose(metrics["disc/real_right"][-1], 0.5)
    np.testing.assert_allclose(metrics["disc/fake_right"][-1], 0.5)


def recorder(apply) -> Net:
    """Notes, in its statistics, what each training pass saw and which key it had."""

    def init(key, x):
        empty = jnp.zeros(8)
        return jnp.ones(()), {"seen": empty, "drawn": empty, "passes": jnp.zeros((), int)}

    def applied(params, stats, x, train=False, keys={}):
        if train:
            at = stats["passes"]
            stats = {
                "seen": stats["seen"].at[at].set(x.mean()),
                "drawn": stats["drawn"].at[at].set(jax.random.uniform(keys["dropout"])),
                "passes": at + 1,
            }
        return apply(params, x), stats

    return Net(init, applied)


@pytest.mark.parametrize("r1", [0.0, 1.0])
def test_statistics_noise_and_keys_are_those_of_algorithm_1(r1):
    method = gan(
        recorder(lambda theta, z: theta * z),
        recorder(lambda psi, x: {"logits": psi * x[:, 0], "h": x}),
        optax.sgd(0.0),
        optax.sgd(0.1),
        partial(normal, 1),
        r1=r1,
    )
    data = np.random.default_rng(0).normal(size=(2, 8, 1)).astype(np.float32)
    states, _ = played(method, {"image": data}, 1)
    maker, judge = (jax.tree.map(lambda x: np.asarray(x[0]), s.stats) for s in states)
    assert maker["passes"] == 1  # the generator's own step, and no other
    assert judge["passes"] == 4  # data and samples, twice; none in the generator's step
    real, fake = judge["seen"][[0, 2]], judge["seen"][[1, 3]]
    np.testing.assert_allclose(real, data.mean((1, 2)), rtol=1e-6)
    noise = [*fake, maker["seen"][0]]  # G is the identity
    assert len(set(np.round(noise, 6))) == 3
    drawn = [*judge["drawn"][:4], maker["drawn"][0]]
    assert len(set(np.round(drawn, 6))) == 5


def test_dropout_leaves_out_in_training_alone():
    net = jitted(Discriminator((32,), 0.5))
    params, stats = net.init(jax.random.key(0), images())
    judge = jax.jit(partial(net.apply, params, stats), static_argnames="train")
    keys = [{"dropout": jax.random.key(i)} for i in (1, 2)]
    calm = [judge(images(), train=False, keys=k)[0]["h"] for k in keys]
    np.testing.assert_array_equal(*calm)
    one, two = (np.asarray(judge(images(), train=True, keys=k)[0]["h"]) for k in keys)
    assert np.any(one != two)
    kept = one != 0
    assert 0.35 < kept.mean() < 0.65  # 256 coins: five errors
    np.testing.assert_allclose(one[kept], 2 * np.asarray(calm[0])[kept], rtol=1e-5)


def test_there_is_a_sample_for_each_row_and_the_key_alone_decides():
    method, batch, state = begun()
    generate = jax.jit(method.generate)
    one, same, other = (generate(jax.random.key(k), state, rows(batch)) for k in (0, 0, 1))
    assert one["image"].shape == images().shape
    np.testing.assert_array_equal(one["image"], same["image"])
    assert np.any(one["image"] != other["image"])
    assert np.any(one["image"][0] != one["image"][1])


def test_samples_are_made_with_the_average_of_the_weights():
    points = {"image": jnp.zeros((1, 4, 2)), "index": jnp.arange(4)[None]}
    method = gan(
        jitted(Generator((2,), (4,), linear)),
        jitted(Discriminator((4,))),
        optax.chain(optax.sgd(1.0), ema_weights(1.0)),  # it stays where it began
        optax.sgd(1.0),
        partial(normal, 2),
    )
    state = jax.jit(method.init)(jax.random.key(0), points)
    after, _ = jax.jit(method.step)(jax.random.key(1), state, points)
    params, first = after.generator.params["dense"], state.generator.params["dense"]
    assert np.any(params["dense0"]["kernel"] != first["dense0"]["kernel"])
    generate = jax.jit(method.generate)
    made = [generate(jax.random.key(2), s, rows(points))["image"] for s in (state, after)]
    np.testing.assert_array_equal(*made)


def test_mistakes_are_refused():
    with pytest.raises(ValueError, match="non_saturating or minimax, got 'hinge'"):
        duel(loss="hinge")
    method, batch = tiny(None)
    with pytest.raises(ValueError, match=r"\(8, 8, 1\), but the data .*minibatches"):
        method.init(jax.random.key(0), rows(batch))
