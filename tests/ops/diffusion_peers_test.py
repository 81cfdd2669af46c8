"""Schedules, steps and chains of diffusers: see tests/golden/make_diffusion.py."""

from pathlib import Path

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
    reverse_diffusion,
    scaled_linear_schedule,
)

FOUND = np.load(Path(__file__).parents[1] / "golden" / "diffusion.npz")
LEVELS = linear_schedule(1000)
XT, OUTPUT, NOISE, AT = (jnp.asarray(FOUND[k]) for k in ("xt", "output", "noise", "at"))
MAKERS = {
    "linear": linear_schedule,
    "scaled": scaled_linear_schedule,
    "cosine": cosine_schedule,
}


def names(kind):
    return [name for name in FOUND if name.startswith(f"{kind}/")]


def close(got, wanted, tolerance=1e-5):
    """Within the tolerance, in units of the largest number."""
    np.testing.assert_allclose(got, wanted, rtol=0, atol=tolerance * np.abs(wanted).max())


@pytest.mark.parametrize("name", MAKERS)
def test_schedules(name):
    wanted = FOUND[f"alpha_bar/{name}"]
    np.testing.assert_allclose(
        MAKERS[name](1000).alpha_bar[::37], wanted, rtol=2e-4
    )  # their betas are float32


def test_forward_diffusion_and_velocity():
    close(diffuse(LEVELS, XT, AT, NOISE), FOUND["diffused"])
    close(diffusion_target(LEVELS, XT, AT, NOISE, "v"), FOUND["velocity"])


@pytest.mark.parametrize("name", names("ddpm"))
def test_a_step_of_the_ancestral_sampler(name):
    _, target, variance, clip = name.split("/")
    guess = diffusion_estimates(LEVELS, XT, AT, OUTPUT, target, clip == "clip")
    drawn = jnp.asarray(FOUND["drawn"])
    got = ddim_step(LEVELS, *guess, AT, AT - 1, 1.0, drawn, variance)
    scale = np.abs(guess[0]).max(1, keepdims=True) + 1  # x_0 may be hundreds
    np.testing.assert_allclose(got / scale, FOUND[name] / scale, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", names("ddim"))
def test_a_step_of_ddim_over_a_tenth_of_the_levels(name):
    _, target, eta = name.split("/")
    i = jnp.array([0, 100, 300, 500, 700, 900])
    j = jnp.maximum(i - 100, -1)
    guess = diffusion_estimates(LEVELS, XT, i, OUTPUT, target, clip=True)
    close(ddim_step(LEVELS, *guess, i, j, float(eta), NOISE), FOUND[name])


@pytest.mark.parametrize("name", [n for n in names("chain") if "indices" not in n])
def test_a_whole_chain_of_ddim(name):
    levels, target = scaled_linear_schedule(1000), name.split("/")[1]

    def estimate(xt, i):
        output = jnp.tanh(0.7 * xt + 0.001 * i[:, None])
        return diffusion_estimates(levels, xt, i, output, target)

    run = jax.jit(
        lambda: reverse_diffusion(KEY, levels, estimate, XT, FOUND["chain/indices"])
    )
    close(run(), FOUND[name], 1e-4)


KEY = jax.random.key(0)


def test_neighbors_at_eta_1_are_the_posterior_with_either_variance(x64):
    """DDIM's law with all steps is that of DDPM, eq. 7, or with beta as the variance."""
    i = jnp.arange(1000)
    x0, epsilon = (jax.random.normal(jax.random.key(s), (1000, 1)) for s in (1, 2))
    xt = diffuse(LEVELS, x0, i, epsilon)
    mean, small = diffusion_posterior(LEVELS, x0, xt, i)
    for variance, wanted in (("small", small[:, 0]), ("large", LEVELS.beta.at[0].set(0))):
        ends = [
            ddim_step(LEVELS, x0, epsilon, i, i - 1, 1.0, z + 0 * x0, variance)
            for z in (0, 1)
        ]
        np.testing.assert_allclose(ends[0], mean, rtol=1e-4, atol=1e-5)
        spread = jnp.square(ends[1] - ends[0])[:, 0]
        np.testing.assert_allclose(spread, wanted, rtol=1e-3, atol=1e-9)


def test_without_noise_the_key_has_no_effect_and_with_noise_it_has():
    half = lambda xt, i: diffusion_estimates(LEVELS, xt, i, 0.5 * xt)
    indices = np.array([0, 300, 900])
    for eta, same in ((0.0, True), (1.0, False)):
        ends = [
            reverse_diffusion(jax.random.key(s), LEVELS, half, XT, indices, eta=eta)
            for s in (1, 2)
        ]
        assert np.array_equal(*ends) == same
