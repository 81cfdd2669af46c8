"""Conditional GAN: a game for each class, the stabilizers' closed forms, and the ring."""

from functools import cache, partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy.spatial.distance import jensenshannon
from toys import images, jitted

from jssl.data.toys import RING
from jssl.methods.generative.conditional_gan import conditional_gan
from jssl.models import gan
from jssl.models.conditional import Conditional, Conditioned
from jssl.models.dense import linear
from jssl.nets import Net, linen

headline = "disc/loss"  # the generator hardly moves, so that the discriminator gains
batch_axis = 1

MAKER = jitted(Conditioned(gan.Generator((8, 8, 1), (8,))))
JUDGE = jitted(
    Conditional(gan.Discriminator((16,), 0.3), "projection", turns=True, spectral=True)
)


def normal(width, key, n):
    return jax.random.normal(key, (n, width))


def method(maker, judge, **more):
    return conditional_gan(MAKER, JUDGE, maker, judge, partial(normal, 4), 3, **more)


def tiny(tx):
    label, index = jnp.arange(8) % 3, jnp.arange(8)
    batch = {"image": images()[None], "label": label[None], "index": index[None]}
    of_maker, of_judge = tx or optax.sgd(1e-3), tx or optax.sgd(0.1)
    return method(of_maker, of_judge, loss="hinge", rotation=(1.0, 0.2)), batch


def rows(batch):
    return {name: x[0] for name, x in batch.items()}


@cache
def begun():
    """`tiny`, and its first state."""
    m, batch = tiny(None)
    return m, batch, jax.jit(m.init)(jax.random.key(0), batch)


def network(params, apply) -> Net:
    """A network without statistics, of one function (params, x, y) -> out."""

    def applied(params, stats, x, y, train=False, keys={}):
        return apply(params, x, y), stats

    return Net(lambda key, x, y: (params, ()), applied)


def critic(params, logits):
    """A discriminator of one function (params, x, y) -> logits, whose h is x."""
    return network(params, lambda s, x, y: {"logits": logits(s, x, y), "h": x})


def played(m, batch, steps):
    """The states and metrics after each step."""
    batch = jax.tree.map(jnp.asarray, batch)

    def step(state, key):
        state, metrics = m.step(key, state, batch)
        return state, (state, metrics)

    @jax.jit
    def play(keys):
        return jax.lax.scan(step, m.init(keys[0], batch), keys)[1]

    return play(jax.random.split(jax.random.key(0), steps))


def against(samples, judge, tx, classes, **more):
    """A game against samples [n, d] that do not change."""
    return conditional_gan(
        network(jnp.zeros(samples.shape[-1]), lambda shift, z, y: z + shift),
        judge,
        optax.sgd(0.0),
        tx,
        lambda key, n: jnp.asarray(samples)[:n],
        classes,
        **more,
    )


def test_the_best_discriminator_is_the_ratio_of_the_densities_of_each_class(x64):
    """V = -log 4 + 2 E_y JSD(p(.|y), p_G(.|y)), by one free logit for each pair (x, y)."""
    counts = np.array([[5, 3, 2], [1, 8, 1]]), np.array([[2, 3, 5], [4, 2, 4]])
    label = np.repeat([0, 1], 10)
    data, made = (np.repeat(np.tile(np.eye(3), (2, 1)), c.ravel(), axis=0) for c in counts)
    judge = critic(jnp.zeros((2, 3)), lambda s, x, y: jnp.einsum("nk,kd,nd->n", y, s, x))
    m = against(made, judge, optax.sgd(3.0), 2)
    states, metrics = played(m, {"image": data[None], "label": label[None]}, 800)
    ratio = np.log(counts[0] / counts[1])
    np.testing.assert_allclose(states.discriminator.params[-1], ratio, atol=1e-8)
    apart = jensenshannon(counts[0].T / 10, counts[1].T / 10) ** 2
    value = -np.log(4) + 2 * apart.mean()
    np.testing.assert_allclose(metrics["value"][-1], value, rtol=1e-10)


def test_the_best_hinge_loss_is_twice_the_overlap(x64):
    """2 sum min(p, q) = 1.4 for p = (.5, .3, .2), q = (.2, .3, .5), by free logits."""
    data, made = (np.repeat(np.eye(3), c, axis=0) for c in ([5, 3, 2], [2, 3, 5]))
    judge = critic(jnp.zeros(3), lambda s, x, y: x @ s)
    m = against(
        made, judge, optax.sgd(optax.exponential_decay(0.3, 1, 0.97)), 1, loss="hinge"
    )
    states, metrics = played(m, {"image": data[None], "label": np.zeros((1, 10), int)}, 400)
    np.testing.assert_allclose(states.discriminator.params[-1], [1, 0, -1], atol=1e-4)
    np.testing.assert_allclose(metrics["disc/loss"][-1], 1.4, rtol=1e-4)


def test_a_linear_critic_has_the_penalties_of_its_slope(x64):
    """w = (3, 4): (5 - 1)^2 = 16 for WGAN-GP, 10 / 2 * 25 = 125 for R1, of any data."""
    data = np.random.default_rng(0).normal(size=(1, 6, 2))
    made = np.random.default_rng(1).normal(size=(6, 2))
    judge = critic(jnp.array([3.0, 4.0]), lambda w, x, y: x @ w)
    batch = {"image": data, "label": np.zeros((1, 6), int)}
    apart = (made.mean(0) - data[0].mean(0)) @ [3, 4]
    for more, name, wanted, weight in (
        ({"penalty": 10.0}, "disc/penalty", 16, 10),
        ({"r1": 10.0}, "disc/squared_slope", 25, 5),
    ):
        m = against(made, judge, optax.sgd(0.0), 1, loss="wasserstein", **more)
        _, metrics = played(m, batch, 1)
        np.testing.assert_allclose(metrics[name], wanted, rtol=1e-9)
        np.testing.assert_allclose(metrics["disc/loss"], apart + weight * wanted, rtol=1e-9)
        np.testing.assert_allclose(metrics["value"], -apart, rtol=1e-9)


def cross(real, fake):
    """Binary cross entropy of the discriminator."""
    return np.log1p(np.exp(-real)) + np.log1p(np.exp(fake))


@pytest.mark.parametrize(
    ("loss", "of_discriminator", "of_generator"),
    [
        ("minimax", cross, lambda f: -np.log1p(np.exp(f))),
        ("non_saturating", cross, lambda f: np.log1p(np.exp(-f))),
        ("hinge", lambda r, f: np.maximum(0, 1 - r) + np.maximum(0, 1 + f), np.negative),
        ("wasserstein", lambda r, f: f - r, np.negative),
    ],
)
def test_the_losses_are_those_of_their_names(x64, loss, of_discriminator, of_generator):
    judge = critic(jnp.ones(()), lambda w, x, y: w * x[:, 0])
    real, fake = np.array([[0.3], [-2.0]]), np.array([[0.7], [-0.4]])
    m = against(fake, judge, optax.sgd(0.0), 1, loss=loss)
    _, metrics = played(m, {"image": real[None], "label": np.zeros((1, 2), int)}, 1)
    wanted = of_discriminator(real, fake).mean()
    np.testing.assert_allclose(metrics["disc/loss"], wanted, rtol=1e-10)
    np.testing.assert_allclose(metrics["gen/loss"], of_generator(fake).mean(), rtol=1e-10)


def test_both_players_read_the_classes_of_the_minibatch_in_every_pass():
    """G writes y into its sample; D's statistics note y and x of each training pass."""

    def init(key, x, y):
        return jnp.ones(()), {"y": jnp.zeros((6, 4)), "x": jnp.zeros((6, 4)), "at": 0}

    def applied(params, stats, x, y, train=False, keys={}):
        at, code = stats["at"], y @ jnp.arange(1.0, 4)
        seen = {"y": stats["y"].at[at].set(code), "x": stats["x"].at[at].set(x[:, 0])}
        out = {"logits": params * x[:, 0], "h": x}
        return out, seen | {"at": at + 1} if train else stats

    def write(params, z, y):
        return params * (y @ jnp.arange(1.0, 4))[:, None]

    m = conditional_gan(
        network(jnp.ones(()), write),
        Net(init, applied),
        optax.sgd(0.0),
        optax.sgd(0.0),
        partial(normal, 1),
        3,
    )
    label = np.array([[0, 1, 2, 1], [2, 2, 0, 1]])
    states, metrics = played(m, {"image": np.zeros((2, 4, 1)), "label": label}, 1)
    stats = jax.tree.map(lambda x: np.asarray(x[0]), states.discriminator.stats)
    assert stats["at"] == 4  # data and samples of two minibatches, none of G's own step
    np.testing.assert_array_equal(stats["y"][:4], 1 + label[[0, 0, 1, 1]])
    np.testing.assert_array_equal(stats["x"][[1, 3]], 1 + label)  # samples of those classes
    np.testing.assert_array_equal(stats["x"][[0, 2]], 0)
    wanted = np.log1p(np.exp(-1.0 - label[1])).mean()  # G's: classes of the last minibatch
    np.testing.assert_allclose(metrics["gen/loss"], wanted, rtol=1e-6)


def spectral(stats, name):
    """The vector u and the singular value sigma that statistics have for a kernel."""
    found = {k: x for layer in stats["spectral"].values() for k, x in layer.items()}
    return np.asarray(found[f"{name}/kernel/u"])[0], np.asarray(
        found[f"{name}/kernel/sigma"]
    )


def power(kernel, u):
    """One power iteration in numpy: (u, v, sigma) of a kernel [inputs, outputs]."""
    w = np.asarray(kernel, np.float64)
    v = w @ u / np.linalg.norm(w @ u)
    u = w.T @ v / np.linalg.norm(w.T @ v)
    return u, v, v @ w @ u


@cache
def layer():
    """A discriminator whose logits are x W / sigma c, W = [[3, 0], [4, 5]], c = (1, 2)."""
    net = Layer()
    judge = jitted(Conditional(net, "none", spectral=True))
    params, stats = judge.init(jax.random.key(0), jnp.eye(2), jnp.eye(2))
    params = {"net": {"dense": {"kernel": jnp.array([[3.0, 0.0], [4.0, 5.0]])}}}
    return judge, params, stats


class Layer(nn.Module):
    @nn.compact
    def __call__(self, x, train=False):
        h = nn.Dense(2, use_bias=False, name="dense")(x)
        return {"logits": h @ jnp.array([1.0, 2.0]), "h": h}


def test_kernels_are_divided_by_their_largest_singular_value():
    judge, params, stats = layer()
    w, x = np.array([[3.0, 0.0], [4.0, 5.0]]), jnp.eye(2)
    for _ in range(30):
        _, stats = judge.apply(params, stats, x, x, train=True)
    out, after = judge.apply(params, stats, x, x)
    assert after is stats or jax.tree.all(jax.tree.map(np.array_equal, after, stats))
    largest = np.linalg.svd(w, compute_uv=False)[0]
    np.testing.assert_allclose(largest, 6.7082039325, rtol=1e-10)
    np.testing.assert_allclose(spectral(stats, "net/dense")[1], largest, rtol=1e-6)
    np.testing.assert_allclose(out["h"], w / largest, rtol=1e-5, atol=1e-6)


def test_singular_vectors_are_constants_of_the_gradient():
    """d <c, W / sigma> = c / sigma - <c, W> / sigma^2 v u' with sigma = v' W u."""
    judge, params, stats = layer()
    x = jnp.array([[1.0, -2.0]])

    def loss(params):
        return judge.apply(params, stats, x, x, train=True)[0]["logits"].sum()

    got = jax.jit(jax.grad(loss))(params)["net"]["dense"]["kernel"]
    w = params["net"]["dense"]["kernel"]
    u, v, sigma = power(w, spectral(stats, "net/dense")[0])
    c = np.outer([1, -2], [1, 2])
    wanted = c / sigma - (c * np.asarray(w)).sum() / sigma**2 * np.outer(v, u)
    np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("k", [1, 2])
def test_each_update_of_the_discriminator_has_one_power_iteration(k):
    """None in the pass of samples, in penalties, in the generator's step, or in `embed`."""
    m = method(optax.sgd(0.1), optax.sgd(0.0), rotation=(1.0, 0.2), r1=1.0)
    _, batch = tiny(None)
    batch = {name: jnp.concatenate([x] * k) for name, x in batch.items()}
    _, _, before = begun()
    after, _ = jax.jit(m.step)(jax.random.key(1), before, batch)
    for name in ("dense0", "head"):
        kernel = before.discriminator.params["net"][name]["kernel"]
        u = spectral(before.discriminator.stats, f"net/{name}")[0]
        for _ in range(k):
            u, _, sigma = power(kernel, u)
        got = spectral(after.discriminator.stats, f"net/{name}")
        np.testing.assert_allclose(got[0], u, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(got[1], sigma, rtol=1e-4)


def test_data_are_turned_for_the_discriminator_and_samples_for_the_generator():
    """Without weights in the head, -log p(r | x) = log 4."""

    def turned(params, x, y):
        flat = x.reshape(len(x), -1)
        logits = flat @ jnp.arange(4.0) * 0
        return {"logits": logits, "h": flat, "turns": params * flat}

    label = np.zeros((1, 2), int)
    data = np.array([[1.0, 0.0], [0.0, 0.0]])  # its corner goes down the left, and around
    for weights in ((0.0, 0.0), (1.0, 0.0), (0.0, 0.5)):
        m = conditional_gan(
            network(jnp.zeros((2, 2, 1)), lambda shift, z, y: z + shift),
            network(jnp.zeros(4), turned),
            optax.sgd(1.0),
            optax.sgd(1.0),
            lambda key, n: jnp.ones((n, 2, 2, 1)) * jnp.arange(4.0).reshape(2, 2, 1),
            1,
            rotation=weights,
        )
        batch = {"image": np.stack([data] * 2)[None, ..., None], "label": label}
        states, metrics = played(m, batch, 1)
        extra = metrics["disc/loss"] - 2 * np.log(2), metrics["gen/loss"] - np.log(2)
        np.testing.assert_allclose(
            np.ravel(extra), np.log(4) * np.array(weights), atol=1e-6
        )
        # Turn r puts the corner into cell (0, 2, 3, 1)[r], and d loss / d w_c is the mean
        # over turns of x_c (1/4 - [c = r]).
        slope = np.mean(
            [np.eye(4)[c] * (0.25 - np.eye(4)[r]) for r, c in enumerate((0, 2, 3, 1))], 0
        )
        moved = np.asarray(states.discriminator.params[0])
        np.testing.assert_allclose(moved, -weights[0] * slope, atol=1e-6)


def test_h_does_not_depend_on_the_labels_and_samples_do():
    m, batch, state = begun()
    one = rows(batch)
    other = one | {"label": (one["label"] + 1) % 3}
    embed = jax.jit(m.embed)
    np.testing.assert_array_equal(*(embed(state, x)["h"] for x in (one, other)))
    generate = jax.jit(m.generate)
    key = jax.random.key(0)
    made, again, changed = (generate(key, state, x)["image"] for x in (one, one, other))
    np.testing.assert_array_equal(made, again)
    assert np.all(np.any(np.asarray(made != changed), axis=(1, 2, 3)))
    kept = {name: x for name, x in one.items() if name != "label"}
    assert generate(key, state, kept)["image"].shape == images().shape


def test_samples_without_labels_are_of_all_classes_alike():
    """A generator that shows its class."""
    m = conditional_gan(
        network((), lambda params, z, y: y),
        critic((), lambda params, x, y: x[:, 0]),
        optax.identity(),
        optax.identity(),
        partial(normal, 1),
        4,
    )
    batch = {"image": jnp.zeros((1, 2, 4)), "label": jnp.zeros((1, 2), int)}
    state = m.init(jax.random.key(0), batch)
    made = m.generate(jax.random.key(1), state, {"index": jnp.arange(4000)})["image"]
    np.testing.assert_array_equal(made.sum(1), 1)
    np.testing.assert_allclose(made.mean(0), 0.25, atol=0.03)  # 4.4 errors
    wanted = m.generate(
        jax.random.key(1), state, {"index": jnp.arange(3), "label": jnp.array([2, 0, 2])}
    )
    np.testing.assert_array_equal(wanted["image"].argmax(1), [2, 0, 2])


def test_a_picture_has_a_class_a_row():
    m, batch, state = begun()
    [grid] = jax.jit(lambda s, b: m.render(jax.random.key(0), s, b, None))(
        state, rows(batch)
    ).values()
    assert grid.images.shape == (3, 10, 8, 8, 1)


@pytest.mark.parametrize("condition", ["projection", "concat", "none"])
def test_samples_of_a_class_land_on_its_mode_if_the_discriminator_reads_it(condition):
    """`ring8` with the mode as the class; a discriminator that does not read it fails."""
    adam = optax.adam(2e-3, b1=0.5)
    m = conditional_gan(
        linen(Conditioned(gan.Generator((2,), (32, 32), linear))),
        linen(Conditional(gan.Discriminator((32, 32)), condition)),
        adam,
        adam,
        partial(normal, 2),
        8,
        r1=0.1,
    )
    draw = np.random.default_rng(0)
    label = draw.integers(8, size=(600, 1, 64))
    points = RING[label] + 0.05 * draw.normal(size=(600, 1, 64, 2))
    data = {"image": jnp.asarray(points, jnp.float32), "label": jnp.asarray(label)}

    @jax.jit
    def play(key):
        def step(state, now):
            return m.step(now[0], state, now[1])[0], None

        first = m.init(key, jax.tree.map(lambda x: x[0], data))
        state, _ = jax.lax.scan(step, first, (jax.random.split(key, 600), data))
        asked = jnp.repeat(jnp.arange(8), 32)
        return m.generate(key, state, {"label": asked, "index": asked})["image"]

    made = np.asarray(play(jax.random.key(0)))
    nearest = np.linalg.norm(made[:, None] - RING, axis=2).argmin(1)
    agreement = (nearest == np.repeat(np.arange(8), 32)).mean()
    assert agreement >= 0.95 if condition != "none" else agreement < 0.5


def test_mistakes_are_refused():
    with pytest.raises(ValueError, match="minimax or hinge or wasserstein, got 'lsgan'"):
        method(optax.sgd(0.1), optax.sgd(0.1), loss="lsgan")
    m, batch, _ = begun()
    with pytest.raises(ValueError, match=r"\(8, 8, 1\), but the data .*minibatches"):
        m.init(jax.random.key(0), rows(batch))
