"""DDPM: its loss, and samples whose law is known."""

from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy.stats import norm
from toys import images, jitted

from jssl import config
from jssl.learner import ema_weights
from jssl.methods.generative.ddpm import ddpm
from jssl.models.unet import UNet
from jssl.nets import Net
from jssl.ops.diffusion import cosine_schedule, linear_schedule, schedule

headline = "loss"
label = lambda batch: batch["label"]


def tiny(tx):
    method = ddpm(
        jitted(UNet(4, (1, 2), 1, (), groups=2, classes=3, patch=2)),
        tx or optax.chain(optax.adam(1e-2), ema_weights(0.5)),
        cosine_schedule(20),
        target="v",
        steps=3,
        condition=label,
        none=3,
        guidance=2.0,
    )
    index = jnp.arange(8)
    return method, {"image": images(), "label": index % 3, "index": index}


def network(apply, params=()) -> Net:
    """A network without statistics, of one function (params, x, i, *c) -> output."""

    def applied(params, stats, x, i, *c, train=False, keys={}):
        output = apply(params, x, i, *c)
        return {"output": output, "h": jnp.concatenate([x, output], 1)}, stats

    return Net(lambda key, *inputs: (params, ()), applied)


def points(levels, net, tx=None, **options):
    """A method on numbers [n, 1] that are their own input."""
    options = dict(clip=False, gray_levels=None) | options
    prepare = lambda batch: batch["image"]
    tx = tx or optax.sgd(0.0)
    return ddpm(net, tx, levels, prepare=prepare, show=lambda x: x, **options)


def first(method, batch):
    return method.init(jax.random.key(0), batch)


def numbers(x, **more):
    x = jnp.asarray(x, jnp.float32).reshape(-1, 1)
    return {"image": x, "index": jnp.arange(len(x))} | more


def of_gaussian(levels, mean, variance, x, i):
    """The best estimate of epsilon for data N(mean, variance): catalogue 5.1."""
    ab = levels.alpha_bar[i][:, None]
    return jnp.sqrt(1 - ab) * (x - jnp.sqrt(ab) * mean) / (ab * variance + 1 - ab)


def gaussian(levels, mean, variance):
    return network(lambda params, x, i: of_gaussian(levels, mean, variance, x, i))


def test_a_zero_output_costs_the_mean_square_of_the_target():
    """1 for epsilon, E x0^2 for x0, and for v a mean of both by alpha bar."""
    levels, batch = cosine_schedule(50), numbers(jnp.full(20_000, 3.0))
    ab = np.mean(levels.alpha_bar)
    wanted = {"epsilon": 1.0, "x0": 9.0, "v": ab + 9 * (1 - ab)}
    for target, value in wanted.items():
        method = points(levels, network(lambda params, x, i: 0 * x), target=target)
        _, metrics = jax.jit(method.step)(jax.random.key(1), first(method, batch), batch)
        np.testing.assert_allclose(metrics["loss"], value, rtol=0.05)  # 5 errors or more


def test_a_perfect_network_costs_nothing():
    """All data at 0.5, so that x_t tells epsilon."""
    levels, batch = cosine_schedule(50), numbers(jnp.full(500, 0.5))
    method = points(levels, gaussian(levels, 0.5, 0.0))
    _, metrics = jax.jit(method.step)(jax.random.key(1), first(method, batch), batch)
    assert metrics["loss"] < 1e-9


def test_the_bits_are_those_of_the_bound():
    """One gray value, a perfect network and T = 2: L_T + L_0, and L_1 = 0."""
    levels, batch = schedule(np.array([1e-4, 0.9])), numbers(jnp.full(20_000, 1 / 255))
    net = gaussian(levels, 1 / 255, 0.0)
    method = points(levels, net, gray_levels=256)
    _, metrics = jax.jit(method.step)(jax.random.key(1), first(method, batch), batch)
    ab = 0.1 * (1 - 1e-4)
    last = (ab / 255**2 + (1 - ab) - 1 - np.log(1 - ab)) / 2
    deviation = np.sqrt(levels.posterior_variance[1])
    inside = norm.cdf(1 / 255 / deviation) - norm.cdf(-1 / 255 / deviation)
    wanted = (last - np.log(inside)) / np.log(2)
    np.testing.assert_allclose(metrics["bits"], wanted, rtol=0.05)  # half the rows are at 1


def test_on_gaussian_data_the_learned_score_is_the_closed_form():
    """One slope and offset for each level: least squares, by the method's own steps."""
    levels, mean, deviation = cosine_schedule(8), 0.5, 0.5
    net = network(
        lambda p, x, i: p["slope"][i][:, None] * x + p["offset"][i][:, None],
        {"slope": jnp.zeros(8), "offset": jnp.zeros(8)},
    )
    rate = optax.exponential_decay(0.1, 100, 0.5)
    method = points(levels, net, optax.chain(optax.adam(rate), ema_weights(0.98)))
    x0 = mean + deviation * norm.ppf((np.arange(4096) + 0.5) / 4096)
    batch = numbers(x0)

    @jax.jit
    def learn(keys):
        step = lambda state, key: (method.step(key, state, batch)[0], None)
        return jax.lax.scan(step, method.init(keys[0], batch), keys)[0]

    got = learn(jax.random.split(jax.random.key(0), 600)).weights
    i, zero = jnp.arange(8), jnp.zeros((8, 1))
    offset = of_gaussian(levels, mean, deviation**2, zero, i)[:, 0]
    slope = of_gaussian(levels, mean, deviation**2, zero + 1, i)[:, 0] - offset
    np.testing.assert_allclose(got["slope"], slope, atol=0.02)
    np.testing.assert_allclose(got["offset"], offset, atol=0.02)
    assert np.ptp(slope) > 0.2 and np.ptp(offset) > 0.2


@pytest.mark.parametrize(
    ("options", "moments"),
    [
        (dict(variance="small"), (0.499995, 0.246125)),
        (dict(variance="large"), (0.499995, 0.250752)),
        (dict(eta=0.0, steps=50), (0.498501, 0.222704)),
        (dict(eta=0.0, steps=10), (0.498851, 0.130763)),
        (dict(eta=1.0, steps=50), (0.499995, 0.196420)),
    ],
)
def test_samples_with_the_best_network_have_their_golden_moments(options, moments):
    """Catalogue, generative A1.5: data N(0.5, 0.25), linear, T = 1000."""
    levels, n = linear_schedule(1000), 10_000
    method = points(levels, gaussian(levels, 0.5, 0.25), **options)
    batch = numbers(jnp.zeros(n))
    state = first(method, batch)
    x = np.asarray(jax.jit(method.generate)(jax.random.key(0), state, batch)["image"])
    deviation = np.sqrt(moments[1])
    np.testing.assert_allclose(x.mean(), moments[0], atol=4 * deviation / np.sqrt(n))
    error = moments[1] * np.sqrt(2 / n)
    np.testing.assert_allclose(x.var(), moments[1], atol=4 * error)


MEANS = jnp.array([-1.0, 2.0, 0.0])  # of two classes and of none, each of variance 1


def drawn(c, key=0, n=64, **options):
    """Samples of class c of three Gaussians, by their best network."""
    levels = cosine_schedule(30)
    best = lambda params, x, i, c: of_gaussian(levels, MEANS[c][:, None], 1.0, x, i)
    method = points(levels, network(best), condition=label, none=2, **options)
    batch = numbers(jnp.zeros(n), label=jnp.full(n, c))
    state = first(method, batch)
    return np.asarray(jax.jit(method.generate)(jax.random.key(key), state, batch)["image"])


def test_guidance_of_one_is_the_condition_and_of_zero_is_none():
    np.testing.assert_allclose(drawn(0, guidance=0.0), drawn(2), atol=1e-5)
    np.testing.assert_allclose(
        drawn(0, guidance=1.0), drawn(0, guidance=1 + 1e-6), atol=1e-4
    )
    assert np.abs(drawn(0) - drawn(2)).min() > 0.5


def test_guidance_of_unit_gaussians_moves_the_mean_in_proportion():
    """The guided score of N(m, 1) beside N(0, 1) is that of N(s m, 1)."""
    np.testing.assert_allclose(drawn(0, guidance=-2.0), drawn(1), atol=1e-4)


def test_a_class_is_withheld_from_single_rows():
    """The network says what it was told: 1, or 0 for none."""
    told = network(lambda params, x, i, c: c[:, None] * 1.0)
    batch = numbers(jnp.zeros(10_000), label=jnp.ones(10_000, int))
    for drop in (0.0, 0.1, 1.0):
        method = points(
            cosine_schedule(9), told, target="x0", condition=label, none=0, drop=drop
        )
        _, metrics = jax.jit(method.step)(jax.random.key(1), first(method, batch), batch)
        np.testing.assert_allclose(metrics["loss"], 1 - drop, atol=0.012 * (drop == 0.1))


def test_h_ignores_the_class():
    """The network is told of `none` for each row."""
    told = network(lambda params, x, i, c: c[:, None] * 1.0)
    method = points(cosine_schedule(9), told, condition=label, none=2)
    batch = numbers(jnp.zeros(2), label=jnp.arange(2))
    h = method.embed(first(method, batch), batch)["h"]
    np.testing.assert_array_equal(h[:, 1], [2, 2])


def test_samples_start_from_given_ones_by_the_strength():
    levels = linear_schedule(200)
    method = points(levels, gaussian(levels, 0.5, 0.25), eta=0.0, steps=20)
    like = np.linspace(-3, 3, 5)
    batch = numbers(jnp.zeros(5))
    state, generate = first(method, batch), jax.jit(method.generate)

    def started(strength):
        given = {"like": jnp.asarray(like[:, None]), "strength": jnp.asarray(strength)}
        return generate(jax.random.key(3), state, batch | given)["image"][:, 0]

    alone = generate(jax.random.key(3), state, batch)["image"][:, 0]
    np.testing.assert_array_equal(started(jnp.zeros(5)), np.float32(like))
    np.testing.assert_allclose(started(jnp.ones(5)), alone, atol=0.02)  # sqrt(ab_T) is .006
    half = started(jnp.array([0.0, 0.3, 0.3, 1.0, 0.0]))
    assert half[0] == np.float32(like[0]) and half[4] == np.float32(like[4])
    assert abs(half[1] - like[1]) > 0.01
    np.testing.assert_allclose(half[3], started(jnp.ones(5))[3], rtol=1e-6)


def test_pixels_are_clipped_within_the_chain():
    """A network that says x_0 = 5 gives white pixels, and no others."""
    net = network(lambda params, x, i: 0 * x + 5)
    for clip, wanted in ((True, 1.0), (False, 3.0)):
        method = ddpm(net, optax.sgd(0.0), cosine_schedule(9), target="x0", clip=clip)
        batch = numbers(jnp.zeros(3))
        made = method.generate(jax.random.key(0), first(method, batch), batch)["image"]
        np.testing.assert_allclose(made, wanted, rtol=1e-5)


def test_samples_are_made_with_the_average_of_the_weights():
    net = network(lambda w, x, i: w + 0 * x, jnp.zeros(()))
    batch = numbers(jnp.ones(4))
    for average, same in ((1.0, True), (0.5, False)):
        tx = optax.chain(optax.sgd(0.5), ema_weights(average))
        method = points(cosine_schedule(9), net, tx, target="x0")
        state = first(method, batch)
        after = method.step(jax.random.key(1), state, batch)[0]
        assert after.params != state.params
        made = [
            method.generate(jax.random.key(2), s, batch)["image"] for s in (state, after)
        ]
        assert np.array_equal(*made) == same


PAPER = (
    f"{Path(__file__).parents[3] / 'experiments' / 'ddpm.py'}:paper,source=blank:cifar10"
)


@pytest.mark.changed
def test_the_papers_network_and_length_are_the_published_ones():
    (stage,) = config.load(PAPER).stages()
    shapes = jax.eval_shape(stage.data.decode, stage.data.shapes())
    state = jax.eval_shape(stage.method.init, jax.random.key(0), shapes)
    assert sum(x.size for x in jax.tree.leaves(state.params)) == 35_746_307
    assert stage.steps == 800_000
    step = partial(stage.method.step, jax.random.key(0))
    assert jax.eval_shape(step, state, shapes)[1]["loss"].shape == ()


def test_mistakes_are_refused():
    net = gaussian(linear_schedule(10), 0.0, 1.0)
    for options, told in (
        (dict(steps=11), "0 .all. to 10, got 11"),
        (dict(probe=2.0), "must be 0 to 1, got 2.0"),
    ):
        with pytest.raises(ValueError, match=told):
            points(linear_schedule(10), net, **options)
