import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jssl.ops.diffusion import (
    cosine_schedule,
    ddim_step,
    diffuse,
    diffusion_estimates,
    diffusion_posterior,
    diffusion_target,
    linear_schedule,
    scaled_linear_schedule,
    schedule,
)

SCHEDULES = [linear_schedule, scaled_linear_schedule, cosine_schedule]


def normal(seed, *shape):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape))


@pytest.mark.parametrize(
    ("make", "steps", "golden"),
    [
        # Catalogue, generative A1.5: t, alpha bar.
        (
            linear_schedule,
            1000,
            {
                1: 0.9999,
                250: 0.5240853738,
                500: 0.0785872429,
                750: 0.0033505504,
                1000: 4.0358297654e-05,
            },
        ),
        (linear_schedule, 200, {1: 0.9995, 100: 0.0766589049, 200: 3.0318372e-05}),
        (
            cosine_schedule,
            1000,
            {1: 0.9999587158, 500: 0.4938435904, 1000: 2.4287669e-09},
        ),
        (cosine_schedule, 200, {1: 0.9997450274, 200: 6.0717993e-08}),
        (
            scaled_linear_schedule,
            1000,
            {1: 0.99915, 500: 0.2776696505, 1000: 0.0046600985},
        ),
    ],
)
def test_schedules_have_their_golden_values(x64, make, steps, golden):
    alpha_bar = make(steps).alpha_bar
    for t, value in golden.items():
        np.testing.assert_allclose(alpha_bar[t - 1], value, rtol=1e-7)


def test_the_linear_posterior_has_its_golden_values(x64):
    levels = linear_schedule(1000)
    i = 499
    np.testing.assert_allclose(levels.beta[i], 0.0100400400, rtol=1e-8)
    np.testing.assert_allclose(levels.posterior_variance[i], 0.0100313554, rtol=1e-8)
    np.testing.assert_allclose(levels.posterior_x0[i], 0.0030700711, rtol=1e-7)
    np.testing.assert_allclose(levels.posterior_xt[i], 0.9941066702, rtol=1e-9)
    np.testing.assert_allclose(levels.posterior_variance[1], 5.4531876613e-05, rtol=1e-9)
    assert levels.posterior_variance[0] == 0
    assert levels.posterior_log_variance[0] == levels.posterior_log_variance[1]


def test_only_the_last_cosine_step_is_clipped():
    beta = cosine_schedule(1000).beta
    assert (beta >= 0.999).tolist() == [False] * 999 + [True]


@pytest.mark.parametrize("make", SCHEDULES)
def test_the_sample_only_ever_fades(x64, make):
    levels = make(50)
    assert (jnp.diff(levels.alpha_bar) < 0).all()
    assert (levels.beta > 0).all()
    np.testing.assert_allclose(levels.signal**2 + levels.noise**2, 1, rtol=1e-12)
    # Without noise, the posterior's mean is the noiseless sample one step before.
    before = jnp.append(1.0, levels.signal[:-1])
    got = levels.posterior_x0 + levels.posterior_xt * levels.signal
    np.testing.assert_allclose(got, before, rtol=1e-12)


@pytest.mark.parametrize("make", SCHEDULES)
def test_single_precision_is_rounded_from_double(make):
    with jax.enable_x64(True):
        double = make(1000)
    for single, wanted in zip(make(1000), double, strict=True):
        assert single.dtype == jnp.float32
        np.testing.assert_allclose(single, wanted, rtol=1e-7)


def test_diffusing_step_by_step_has_the_moments_of_diffusing_at_once(x64):
    levels = cosine_schedule(20)
    mean, variance = 1.0, 0.0
    for beta in levels.beta:
        mean, variance = np.sqrt(1 - beta) * mean, (1 - beta) * variance + beta
    np.testing.assert_allclose(levels.signal[-1], mean, rtol=1e-9)
    np.testing.assert_allclose(levels.noise[-1] ** 2, variance, rtol=1e-9)


def test_both_forms_of_the_posterior_mean_agree(x64):
    # Catalogue, generative 5.1: linear, T = 1000, t = 500, x_0 = 0.3, epsilon = -0.7.
    levels, i = linear_schedule(1000), jnp.array([499])
    x0, epsilon = jnp.array([[0.3]]), jnp.array([[-0.7]])
    xt = diffuse(levels, x0, i, epsilon)
    np.testing.assert_allclose(xt, [[-0.5878314820]], rtol=1e-9)
    mean, variance = diffusion_posterior(levels, x0, xt, i)
    np.testing.assert_allclose(mean, [[-0.5834461759]], rtol=1e-9)
    beta, noise = levels.beta[499], levels.noise[499]
    np.testing.assert_allclose(
        mean, (xt - beta / noise * epsilon) / jnp.sqrt(1 - beta), rtol=1e-12
    )
    np.testing.assert_allclose(variance, [[0.0100313554]], rtol=1e-8)


@pytest.mark.parametrize("target", ["epsilon", "x0", "v"])
def test_a_perfect_output_gives_back_sample_and_noise(x64, target):
    levels, i = cosine_schedule(10), jnp.array([0, 4, 8])
    x0, epsilon = normal(0, 3, 2, 5), normal(1, 3, 2, 5)
    output = diffusion_target(levels, x0, i, epsilon, target)
    got = diffusion_estimates(levels, diffuse(levels, x0, i, epsilon), i, output, target)
    np.testing.assert_allclose(got, (x0, epsilon), rtol=1e-9, atol=1e-9)


def test_ddim_with_eta_one_has_the_variance_of_the_posterior(x64):
    levels = linear_schedule(1000)
    i, zero, one = jnp.arange(1, 1000), jnp.zeros((999, 1)), jnp.ones((999, 1))
    deviation = ddim_step(levels, zero, zero, i, i - 1, 1.0, one)
    np.testing.assert_allclose(
        deviation[:, 0] ** 2, levels.posterior_variance[1:], rtol=1e-9
    )


def test_ddim_to_the_same_step_changes_nothing_and_to_the_end_gives_the_estimate(x64):
    levels, i = cosine_schedule(10), jnp.array([0, 4, 9])
    x0, epsilon = normal(0, 3, 2), normal(1, 3, 2)
    xt = diffuse(levels, x0, i, epsilon)
    np.testing.assert_allclose(ddim_step(levels, x0, epsilon, i, i), xt, rtol=1e-12)
    end = jnp.full(3, -1)
    for eta in 0.0, 1.0:
        got = ddim_step(levels, x0, epsilon, i, end, eta, epsilon)
        np.testing.assert_allclose(got, x0, rtol=1e-12)


# Catalogue, generative A1.5: data N(m, s2), its best denoiser, the linear schedule with
# T = 1000, start N(0, 1), no noise in the last step. Mean and variance of what results.
SAMPLED = {
    "posterior": [(0.499995, 0.246125), (0, 0.991067), (0.5, 0)],
    "beta": [(0.499995, 0.250752), (0, 0.999900), (0.5, 0)],
    (0.0, 1000): [(0.498417, 0.248498), (0, 0.996252), (0.5, 0)],
    (0.0, 50): [(0.498501, 0.222704), (0, 0.928106), (0.5, 0)],
    (0.0, 10): [(0.498851, 0.130763), (0, 0.663551), (0.5, 0)],
    (1.0, 50): [(0.499995, 0.196420), (0, 0.855057), (0.5, 0)],
}


def estimates(levels, xt, i, mean, variance):
    """What the best denoiser of N(mean, variance) makes of x_t."""
    ab, noise = levels.alpha_bar[i], levels.noise[i]
    spread = (ab * variance + 1 - ab)[:, None]
    output = noise[:, None] * (xt - levels.signal[i][:, None] * mean) / spread
    return diffusion_estimates(levels, xt, i, output)


def sampled(sampler, mean, variance):
    """Mean and variance after all steps, each being affine: x -> step(0) + slope x."""
    levels = linear_schedule(1000)
    probes = jnp.array([[0.0], [1.0]])

    def ancestral(carry, i):
        i = jnp.full(2, i)
        x0, _ = estimates(levels, probes, i, mean, variance)
        (at_0, at_1), own = diffusion_posterior(levels, x0, probes, i)
        own = levels.beta[i] * (i > 0) if sampler == "beta" else own[:, 0]
        return push(carry, at_0[0], at_1[0], own[0])

    def ddim(carry, step):
        i, j = (jnp.full(2, x) for x in step)
        guess = estimates(levels, probes, i, mean, variance)
        at_0, at_1 = ddim_step(levels, *guess, i, j, sampler[0], 0 * probes)[:, 0]
        noisy = ddim_step(levels, *guess, i, j, sampler[0], probes + 1)[0, 0]
        return push(carry, at_0, at_1, (noisy - at_0) ** 2)

    def push(carry, at_0, at_1, own):
        center, spread = carry
        slope = at_1 - at_0
        return (at_0 + slope * center, slope**2 * spread + own), None

    if isinstance(sampler, str):
        body, steps = ancestral, jnp.arange(999, -1, -1)
    else:
        kept = np.round(np.linspace(0, 999, sampler[1])).astype(int)[::-1]
        body, steps = ddim, (jnp.asarray(kept), jnp.asarray(np.append(kept[1:], -1)))
    start = jnp.array(0.0), jnp.array(1.0)
    return jax.jit(lambda: jax.lax.scan(body, start, steps)[0])()


@pytest.mark.parametrize("sampler", SAMPLED)
def test_samplers_with_the_best_denoiser_have_their_golden_moments(x64, sampler):
    data = [(0.5, 0.25), (0.0, 1.0), (0.5, 0.0)]
    got = [sampled(sampler, *moments) for moments in data]
    # The catalogue prints six decimals.
    np.testing.assert_allclose(got, SAMPLED[sampler], atol=6e-7)


LEVELS, STEPS, ONE = linear_schedule(9), jnp.array([0, 1]), jnp.ones((2, 3))


@pytest.mark.parametrize(
    "call",
    [
        lambda: schedule(np.array([0.5])),
        lambda: schedule(np.array([0.5, 1.0])),
        lambda: schedule(np.array([[0.5, 0.5]])),
        lambda: diffuse(LEVELS, jnp.ones((2, 3)), jnp.ones(2), jnp.ones((2, 3))),
        lambda: diffuse(LEVELS, jnp.ones((2, 3)), STEPS, jnp.ones((2, 1))),
        lambda: diffuse(LEVELS, jnp.ones((3, 3)), STEPS, jnp.ones((3, 3))),
        lambda: diffusion_target(LEVELS, ONE, STEPS, ONE, "noise"),
        lambda: diffusion_estimates(LEVELS, ONE, STEPS, ONE, "eps"),
        lambda: diffusion_posterior(LEVELS, ONE, jnp.ones((2, 3), int), STEPS),
        lambda: ddim_step(LEVELS, ONE, ONE, STEPS, STEPS, 1.0),
        lambda: ddim_step(LEVELS, ONE, ONE, STEPS, jnp.array([0])),
    ],
)
def test_wrong_arguments_are_refused_while_tracing(unhooked, call):
    with pytest.raises(ValueError, match="must|needs"):
        jax.eval_shape(call)
