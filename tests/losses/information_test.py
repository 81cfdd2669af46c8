import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jssl.losses.contrastive import info_nce
from jssl.losses.information import (
    dim_global,
    dim_local,
    dim_prior,
    dv_bound,
    info_nce_bound,
    jsd_bound,
    mine,
    nwj_bound,
)

N, M, U = 4, 3, 5


@pytest.fixture(autouse=True)
def _float64():
    with jax.enable_x64(True):
        yield


def draw(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape))


def softplus(x):
    return np.log1p(np.exp(x))


BOUNDS = {
    dv_bound: lambda joint, apart: joint.mean() - np.log(np.exp(apart).mean()),
    nwj_bound: lambda joint, apart: joint.mean() - np.exp(apart - 1).mean(),
    jsd_bound: lambda joint, apart: -softplus(-joint).mean() - softplus(apart).mean(),
}


@pytest.mark.parametrize("bound", BOUNDS)
def test_a_bound_is_its_formula_with_and_without_a_mask(bound):
    joint, marginal = draw(7), draw(5, 3, seed=1)
    wanted = BOUNDS[bound](np.asarray(joint), np.asarray(marginal))
    np.testing.assert_allclose(bound(joint, marginal), wanted)
    where = marginal > 0
    wanted = BOUNDS[bound](np.asarray(joint), np.asarray(marginal)[np.asarray(where)])
    np.testing.assert_allclose(bound(joint, marginal, where), wanted)


def test_a_silent_critic_has_closed_forms():
    zero = jnp.zeros(5)
    np.testing.assert_allclose(dv_bound(zero, zero), 0, atol=1e-12)
    np.testing.assert_allclose(nwj_bound(zero, zero), -1 / np.e)
    np.testing.assert_allclose(jsd_bound(zero, zero), -2 * np.log(2))
    np.testing.assert_allclose(jsd_bound(zero, zero, shift=True), 0, atol=1e-12)
    np.testing.assert_allclose(info_nce_bound(jnp.zeros((5, 5))), 0, atol=1e-12)


def test_only_donsker_varadhan_ignores_a_constant_and_nwj_is_below_it():
    joint, marginal = draw(7), draw(9, seed=1)
    value = dv_bound(joint, marginal)
    np.testing.assert_allclose(dv_bound(joint + 3, marginal + 3), value)
    assert abs(nwj_bound(joint + 3, marginal + 3) - nwj_bound(joint, marginal)) > 1
    for shift in (-2.0, 0.0, 1.0, 2.0):
        assert nwj_bound(joint + shift, marginal + shift) <= value


@pytest.mark.parametrize(("rho", "wanted"), [(0.9, 0.830366), (0.5, 0.143841)])
def test_the_best_critic_gives_the_information_of_two_gaussians(rho, wanted):
    assert abs(-np.log(1 - rho**2) / 2 - wanted) < 1e-6
    x, noise, other = draw(3, 200_000)
    y = rho * x + np.sqrt(1 - rho**2) * noise

    def critic(y):
        variance = 1 - rho**2
        return -((y - rho * x) ** 2) / (2 * variance) - jnp.log(variance) / 2 + y**2 / 2

    for bound, shift in ((dv_bound, 0), (nwj_bound, 1)):  # NWJ's best is one higher
        value = bound(critic(y) + shift, critic(other) + shift)
        np.testing.assert_allclose(value, wanted, atol=0.02)  # e^T has heavy tails


def test_info_nce_stops_at_the_logarithm_of_the_batch():
    scores = draw(N, N)
    nats = -jax.nn.log_softmax(scores)[jnp.arange(N), jnp.arange(N)].mean()
    np.testing.assert_allclose(info_nce_bound(scores), np.log(N) - nats)
    np.testing.assert_allclose(info_nce_bound(1e4 * jnp.eye(N)), np.log(N))
    z = jnp.eye(N)
    loss = info_nce(z, z, None, 0.5)
    np.testing.assert_allclose(info_nce_bound(z / 0.5), np.log(N) - loss)


def test_info_nce_wants_one_column_for_each_row():
    with pytest.raises(ValueError, match="info_nce_bound: scores must be float"):
        info_nce_bound(jnp.zeros((3, 4)))


def test_mine_reports_the_bound_and_divides_by_the_running_average():
    joint, marginal, old, rate = draw(7), draw(9, seed=1), 0.7, 0.2
    mean = np.exp(np.asarray(marginal)).mean()
    new = (1 - rate) * np.exp(old) + rate * mean
    loss, log_average = mine(joint, marginal, old, rate)
    np.testing.assert_allclose(loss, -dv_bound(joint, marginal))
    np.testing.assert_allclose(log_average, np.log(new))
    slope = jax.grad(lambda m: mine(joint, m, old, rate)[0])(marginal)
    np.testing.assert_allclose(slope, np.exp(marginal) / 9 / new)
    slope = jax.grad(lambda average: mine(joint, marginal, average)[1])(old)
    assert slope == 0


def test_a_full_step_of_the_average_makes_mine_donsker_varadhan():
    joint, marginal = draw(7), draw(9, seed=1)
    slope = jax.grad(lambda m: mine(joint, m, 0.0, 1 - 1e-12)[0])(marginal)
    wanted = -jax.grad(lambda m: dv_bound(joint, m))(marginal)
    np.testing.assert_allclose(slope, wanted, rtol=1e-9)


def dim_loop(maps, codes, measure):
    maps, codes = np.asarray(maps), np.asarray(codes)

    def t(a, b, m):
        return maps[a, m] @ codes[b]

    joint = [t(a, a, m) for a in range(N) for m in range(M)]
    apart = [t(a, b, m) for a in range(N) for b in range(N) for m in range(M) if a != b]
    if measure == "jsd":
        return np.mean(softplus(np.array(apart))) + np.mean(softplus(-np.array(joint)))
    if measure == "dv":
        return -np.mean(joint) + np.log(np.mean(np.exp(apart)))
    losses = []
    for b in range(N):
        rest = [t(a, b, m) for a in range(N) for m in range(M) if a != b]
        for m in range(M):
            below = np.log(np.exp([t(b, b, m), *rest]).sum())
            losses.append(below - t(b, b, m))
    return np.mean(losses)


@pytest.mark.parametrize("measure", ["jsd", "dv", "nce"])
def test_deep_infomax_is_its_loop(measure):
    maps, codes = draw(N, M, U), draw(N, U, seed=1)
    wanted = dim_loop(maps, codes, measure)
    np.testing.assert_allclose(dim_local(maps, codes, measure), wanted)


def test_silent_scores_have_closed_forms():
    maps, codes = jnp.zeros((N, M, U)), jnp.zeros((N, U))
    np.testing.assert_allclose(dim_local(maps, codes), 2 * np.log(2))
    np.testing.assert_allclose(dim_local(maps, codes, "dv"), 0, atol=1e-12)
    closed = np.log(1 + (N - 1) * M)
    np.testing.assert_allclose(dim_local(maps, codes, "nce"), closed)


def test_the_global_term_is_the_local_one_of_a_single_place():
    features, codes = draw(N, U), draw(N, U, seed=1)
    for measure in ("jsd", "dv", "nce"):
        local = dim_local(features[:, None], codes, measure)
        np.testing.assert_allclose(dim_global(features, codes, measure), local)


def test_one_image_alone_has_no_marginal_pairs():
    maps, codes = draw(1, M, U), draw(1, U, seed=1)
    joint = np.asarray(maps[0] @ codes[0])
    np.testing.assert_allclose(dim_local(maps, codes), softplus(-joint).mean())
    np.testing.assert_allclose(dim_local(maps, codes, "dv"), -joint.mean())
    np.testing.assert_allclose(dim_local(maps, codes, "nce"), 0, atol=1e-12)


def test_the_measure_must_be_known():
    with pytest.raises(ValueError, match="'jsd', 'dv' or 'nce', got 'kl'"):
        dim_local(jnp.zeros((N, M, U)), jnp.zeros((N, U)), "kl")


def test_the_prior_game_is_its_formula():
    real, fake = draw(7), draw(9, seed=1)
    terms = dim_prior(real, fake)
    true, false = (1 / (1 + np.exp(-np.asarray(x))) for x in (real, fake))
    wanted = -np.log(true).mean() - np.log(1 - false).mean()
    np.testing.assert_allclose(terms["discriminator"], wanted)
    np.testing.assert_allclose(terms["encoder"], -np.log(false).mean())
