import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import norm

from jssl.losses.diffusion import simple_diffusion, variational_diffusion
from jssl.ops.diffusion import (
    cosine_schedule,
    diffuse,
    diffusion_target,
    linear_schedule,
)

TARGETS = ["epsilon", "x0", "v"]


def normal(seed, *shape):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape))


def test_the_simple_objective_is_a_mean_square_of_what_is_predicted(x64):
    levels, i = cosine_schedule(10), jnp.array([0, 4, 9])
    x0, epsilon, output = (normal(seed, 3, 2, 2) for seed in range(3))
    ab = np.asarray(levels.alpha_bar)[np.asarray(i)][:, None, None]
    wanted = {
        "epsilon": epsilon,
        "x0": x0,
        "v": np.sqrt(ab) * epsilon - np.sqrt(1 - ab) * x0,
    }
    for target, truth in wanted.items():
        got = simple_diffusion(levels, output, x0, i, epsilon, target)
        np.testing.assert_allclose(got, np.mean((output - truth) ** 2), rtol=1e-12)


def test_a_network_that_says_nothing_pays_the_variance_of_the_noise():
    epsilon = normal(0, 1000, 9)
    arguments = 0 * epsilon, 0 * epsilon, jnp.zeros(1000, int), epsilon
    got = simple_diffusion(linear_schedule(10), *arguments)
    np.testing.assert_allclose(got, 1, atol=4 * np.sqrt(2 / 9000))


def test_an_error_in_the_sample_is_one_in_the_noise_times_their_ratio(x64):
    levels, i = cosine_schedule(10), jnp.array([4])
    x0, epsilon = normal(0, 1, 3), normal(1, 1, 3)
    loss = {}
    for target in "epsilon", "x0":
        truth = diffusion_target(levels, x0, i, epsilon, target)
        ratio = (levels.noise[4] / levels.signal[4]) if target == "x0" else 1.0
        loss[target] = simple_diffusion(levels, truth + ratio, x0, i, epsilon, target)
    snr = levels.alpha_bar[4] / (1 - levels.alpha_bar[4])
    np.testing.assert_allclose(loss["x0"] * snr, loss["epsilon"], rtol=1e-9)


def reference(levels, output, x0, i, epsilon, variance):
    """The bound of one entry at one step, epsilon predicted, from the paper's forms."""
    beta, ab = np.asarray(levels.beta), np.asarray(levels.alpha_bar)
    before = np.append(1.0, ab)[i]
    xt = np.sqrt(ab[i]) * x0 + np.sqrt(1 - ab[i]) * epsilon

    def mean(noise):
        return (xt - beta[i] / np.sqrt(1 - ab[i]) * noise) / np.sqrt(1 - beta[i])

    smallest = (1 - ab[0]) / (1 - ab[1]) * beta[1]
    small = (1 - before) / (1 - ab[i]) * beta[i] if i else smallest
    large = beta[i] if i else smallest
    own = small if variance == "small" else large
    if i == 0:
        high = np.inf if x0 > 0.999 else x0 + 1 / 255
        low = -np.inf if x0 < -0.999 else x0 - 1 / 255
        ours = norm(mean(output), np.sqrt(own))
        nats = -np.log(ours.cdf(high) - ours.cdf(low))
    else:
        gap = (mean(epsilon) - mean(output)) ** 2
        nats = 0.5 * (np.log(own / small) - 1 + (small + gap) / own)
    last = 0.5 * (ab[-1] * x0**2 - ab[-1] - np.log(1 - ab[-1]))
    return len(beta) * nats + last


@pytest.mark.parametrize("variance", ["small", "large"])
@pytest.mark.parametrize("i", [0, 1, 5, 9])
def test_the_variational_objective_agrees_with_the_papers_forms(x64, variance, i):
    levels = linear_schedule(200)
    x0 = jnp.array([[-1.0, 100 / 127.5 - 1, 1.0]])
    epsilon, output = normal(0, 1, 3), normal(0, 1, 3) + 0.3 * normal(1, 1, 3)
    wanted = sum(
        reference(levels, float(o), float(x), i, float(e), variance)
        for o, x, e in zip(output[0], x0[0], epsilon[0], strict=True)
    )
    arguments = x0, jnp.array([i]), epsilon
    got = variational_diffusion(levels, output, *arguments, variance=variance)
    np.testing.assert_allclose(got, wanted, rtol=1e-7)


def test_the_variational_objective_weighs_squared_errors_of_the_noise(x64):
    levels = cosine_schedule(20)
    x0, epsilon, error = (normal(seed, 19, 2) for seed in range(3))
    i = jnp.arange(1, 20)

    @jax.jit
    def nats(output):
        each = jax.vmap(lambda *one: variational_diffusion(levels, *(x[None] for x in one)))
        return each(output, x0, i, epsilon)

    beta, ab, own = levels.beta[1:], levels.alpha_bar[1:], levels.posterior_variance[1:]
    weight = beta**2 / (2 * own * (1 - beta) * (1 - ab))
    got = nats(epsilon + error) - nats(epsilon)
    wanted = 20 * weight * jnp.square(error).sum(1)
    np.testing.assert_allclose(got, wanted, rtol=1e-8)


@pytest.mark.parametrize("target", TARGETS)
def test_the_bound_ignores_how_the_estimate_is_written(x64, target):
    levels, i = cosine_schedule(10), jnp.array([0, 4, 8])
    x0, epsilon = jnp.tanh(normal(0, 3, 2)), normal(1, 3, 2)
    wrong = x0 + 0.01, epsilon - 0.01 * (levels.signal / levels.noise)[i][:, None]
    output = diffusion_target(levels, wrong[0], i, wrong[1], target)
    run = jax.jit(variational_diffusion, static_argnums=5)
    got = run(levels, output, x0, i, epsilon, target)
    same = run(levels, wrong[1], x0, i, epsilon, "epsilon")
    np.testing.assert_allclose(got, same, rtol=1e-7)


def test_the_bound_of_the_best_denoiser_is_near_the_entropy_of_the_data():
    # Data N(0.5, 0.25), so that -log p costs log(2 pi e / 4) / 2 = 0.7258 on average.
    levels, n = cosine_schedule(200), 200_000
    keys = jax.random.split(jax.random.key(0), 3)
    x0 = 0.5 + 0.5 * jax.random.normal(keys[0], (n, 1))
    epsilon = jax.random.normal(keys[1], (n, 1))
    i = jax.random.randint(keys[2], (n,), 0, 200)

    @jax.jit
    def bound(x0, i, epsilon):
        xt, ab = diffuse(levels, x0, i, epsilon), levels.alpha_bar[i][:, None]
        best = levels.noise[i][:, None] * (xt - jnp.sqrt(ab) * 0.5)
        best /= ab * 0.25 + 1 - ab
        return [
            variational_diffusion(
                levels, best, x0, i, epsilon, variance=variance, gray_levels=None
            )
            for variance in ("large", "small")
        ]

    # Near x_0 the posterior's variance leaves out that of the estimate of x_0.
    entropy = 0.5 * np.log(2 * np.pi * np.e / 4)
    large, small = bound(x0, i, epsilon)
    assert entropy < large < entropy + 0.2 < small


@pytest.mark.parametrize("target", TARGETS)
def test_half_precision_is_computed_in_single_and_double_in_double(target):
    levels, i = linear_schedule(10), jnp.array([0, 4, 9])
    x = [jnp.asarray(normal(seed, 3, 2), jnp.bfloat16) for seed in range(3)]
    x[1] = jnp.tanh(x[1])
    for loss in simple_diffusion, variational_diffusion:
        run = jax.jit(lambda a, b, c, f=loss: f(levels, a, b, i, c, target))
        got, wide = run(*x), run(*(y.astype(jnp.float32) for y in x))
        assert got.dtype == jnp.float32
        np.testing.assert_allclose(got, wide, rtol=1e-6)
        with jax.enable_x64(True):
            double = jax.ShapeDtypeStruct((3, 2), jnp.float64)
            assert jax.eval_shape(run, double, double, double).dtype == jnp.float64


LEVELS = cosine_schedule(8)
EXTREME = st.sampled_from([0.0, 1.0, -1.0, 1e4, -1e4])


def everything(output, x0, epsilon, i):
    rest = x0, i, epsilon
    total = variational_diffusion(LEVELS, output, *rest, variance="large")
    for target in TARGETS:
        total += simple_diffusion(LEVELS, output, *rest, target)
        total += variational_diffusion(LEVELS, output, *rest, target)
    return total


STEEP = jax.jit(jax.value_and_grad(everything, (0, 1, 2)))


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    x=arrays(np.float32, (3, 2, 2), elements=EXTREME),
    i=arrays(np.int32, (2,), elements=st.integers(0, 7)),
)
def test_extreme_inputs_have_finite_values_and_gradients(x, i):
    value, slopes = STEEP(*jnp.asarray(x), jnp.asarray(i))
    assert value.dtype == jnp.float32
    assert np.isfinite(value)
    assert all(np.isfinite(x).all() for x in slopes)


@pytest.mark.parametrize("loss", [simple_diffusion, variational_diffusion])
@pytest.mark.parametrize(
    "arguments",
    [
        (jnp.ones((2, 1)), jnp.ones((2, 3)), jnp.zeros(2, int), jnp.ones((2, 3))),
        (jnp.ones((2, 3)), jnp.ones((2, 3)), jnp.zeros(2, int), jnp.ones((2, 1))),
        (jnp.ones((2, 3)), jnp.ones((2, 3)), jnp.zeros(3, int), jnp.ones((2, 3))),
        (jnp.ones((2, 3)), jnp.ones((2, 3)), jnp.zeros(2), jnp.ones((2, 3))),
        (jnp.ones((2, 3)), jnp.ones((2, 3), int), jnp.zeros(2, int), jnp.ones((2, 3))),
        (*[jnp.ones((2, 3))] * 2, jnp.zeros(2, int), jnp.ones((2, 3)), "noise"),
    ],
)
def test_wrong_arguments_are_refused_while_tracing(unhooked, loss, arguments):
    with pytest.raises(ValueError, match="must be"):
        jax.eval_shape(lambda: loss(LEVELS, *arguments))


def test_an_unknown_variance_is_refused(unhooked):
    one = jnp.ones((2, 3))
    with pytest.raises(ValueError, match="small or large"):
        variational_diffusion(LEVELS, one, one, jnp.zeros(2, int), one, variance="big")
