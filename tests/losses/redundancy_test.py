import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jssl.losses.redundancy import (
    barlow_twins,
    cross_correlation,
    sigreg,
    vicreg,
    vicreg_terms,
    w_mse,
    whiten,
)

N, D = 12, 4


@pytest.fixture(autouse=True)
def _float64():
    with jax.enable_x64(True):
        yield


def draw(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape))


def test_barlow_twins_is_its_double_loop():
    a, b = map(np.asarray, (draw(N, D), draw(N, D, seed=1)))
    a_, b_ = ((x - x.mean(0)) / np.sqrt(x.var(0) + 1e-5) for x in (a, b))
    total = 0
    for i in range(D):
        for j in range(D):
            c = np.mean(a_[:, i] * b_[:, j])
            total += (1 - c) ** 2 if i == j else 0.3 * c**2
    np.testing.assert_allclose(barlow_twins(jnp.array(a), jnp.array(b), 0.3), total)


def test_the_correlation_is_numpys():
    a, b = draw(N, D), draw(N, D, seed=1)
    wanted = np.corrcoef(a.T, b.T)[:D, D:]
    np.testing.assert_allclose(cross_correlation(a, b, eps=0.0), wanted)


def test_barlow_twins_has_closed_forms():
    whitened = whiten(draw(N, D))
    np.testing.assert_allclose(barlow_twins(whitened, whitened), 0, atol=1e-8)
    one = jnp.tile(draw(N, 1), (1, D))  # one feature, D times
    np.testing.assert_allclose(barlow_twins(one, one, eps=0.0), 0.005 * D * (D - 1))
    constant = jnp.ones((N, D))
    np.testing.assert_allclose(barlow_twins(constant, constant), D)
    np.testing.assert_allclose(barlow_twins(draw(1, D), draw(1, D, seed=1)), D)


def test_barlow_twins_of_unrelated_views_is_as_expected():
    n, d, draws = 64, 16, 200
    a, b = draw(draws, n, d), draw(draws, n, d, seed=1)
    losses = jax.vmap(lambda a, b: barlow_twins(a, b, eps=0.0))(a, b)
    wanted = d * (1 + 1 / n) + 0.005 * d * (d - 1) / n
    np.testing.assert_allclose(losses.mean(), wanted, rtol=0.02)  # 4 standard errors


def test_barlow_twins_ignores_scale_and_shift_of_features():
    a, b = draw(N, D), draw(N, D, seed=1)
    scale, shift = jnp.arange(1.0, D + 1)[None], draw(1, D, seed=2)
    moved = barlow_twins(a * scale + shift, b * scale - shift, eps=0.0)
    np.testing.assert_allclose(moved, barlow_twins(a, b, eps=0.0))


def test_vicreg_is_its_double_loop():
    a, b = map(np.asarray, (draw(N, D), draw(N, D, seed=1)))
    spread = redundant = 0
    for z in (a, b):
        covariance = np.cov(z.T)
        for i in range(D):
            spread += max(0, 1 - np.sqrt(covariance[i, i] + 1e-4)) / D / 2
            redundant += sum(covariance[i, j] ** 2 for j in range(D) if j != i) / D
    wanted = 3 * np.mean((a - b) ** 2) + 5 * spread + 7 * redundant
    value = vicreg(jnp.array(a), jnp.array(b), 3.0, 5.0, 7.0)
    np.testing.assert_allclose(value, wanted)


def test_vicreg_has_closed_forms():
    constant = jnp.ones((N, D))
    np.testing.assert_allclose(vicreg(constant, constant), 24.75)
    np.testing.assert_allclose(vicreg(draw(1, D), draw(1, D), 0.0), 24.75)
    spread = 1.1 * whiten(draw(N, D))
    np.testing.assert_allclose(vicreg(spread, spread), 0, atol=1e-20)


def test_the_covariance_ignores_shift_but_not_scale():
    a, b = draw(N, D), draw(N, D, seed=1)
    covariance = vicreg_terms(a, b)["covariance"]
    shifted, scaled = vicreg_terms(a + 3, b), vicreg_terms(2 * a, 2 * b)
    np.testing.assert_allclose(shifted["covariance"], covariance)
    np.testing.assert_allclose(scaled["covariance"], 16 * covariance)


def test_whitened_rows_have_the_identity_for_covariance():
    z = draw(N, D) @ draw(D, D, seed=1) + 5
    white = whiten(z)
    np.testing.assert_allclose(white.mean(0), 0, atol=1e-12)
    np.testing.assert_allclose(np.cov(white.T), np.eye(D), atol=1e-10)
    single = whiten(z.astype(jnp.float32))
    np.testing.assert_allclose(np.cov(single.T), np.eye(D), atol=1e-5)


def test_whitening_is_numpys_with_shrinkage_and_blind_to_scale():
    z, eps = np.asarray(draw(N, D) @ draw(D, D, seed=1)), 0.1
    covariance = np.cov(z.T)
    level = np.trace(covariance) / D
    factor = np.linalg.cholesky((1 - eps) * covariance + eps * level * np.eye(D))
    wanted = (np.linalg.inv(factor) @ (z - z.mean(0)).T).T
    np.testing.assert_allclose(whiten(jnp.array(z), eps), wanted)
    np.testing.assert_allclose(whiten(jnp.array(1e6 * z), eps), wanted)


def test_too_few_rows_cannot_be_whitened_without_shrinking():
    with pytest.raises(ValueError, match="4 rows of 4 features"):
        whiten(draw(D, D))
    assert jnp.isfinite(whiten(draw(D, D), eps=1e-4)).all()


def test_w_mse_is_the_mean_over_sub_batches():
    a, b = draw(N, D), draw(N, D, seed=1)
    halves = [w_mse(a[rows], b[rows]) for rows in (slice(6), slice(6, N))]
    np.testing.assert_allclose(w_mse(a, b, size=6), np.mean(halves))


def test_w_mse_is_two_less_twice_the_cosine():
    a, b = draw(N, D), draw(N, D, seed=1)
    v, w = np.asarray(whiten(a)), np.asarray(whiten(b))
    cosine = (v * w).sum(1) / np.linalg.norm(v, axis=1) / np.linalg.norm(w, axis=1)
    np.testing.assert_allclose(w_mse(a, b, eps=0.0), 2 - 2 * cosine.mean())


def test_w_mse_of_identical_views_is_nothing_and_a_key_shuffles_both_alike():
    a, b, key = draw(N, D), draw(N, D, seed=1), jax.random.key(0)
    np.testing.assert_allclose(w_mse(a, a, size=6, key=key), 0, atol=1e-20)
    np.testing.assert_allclose(w_mse(a, b, key=key), w_mse(a, b))  # one sub-batch
    assert abs(w_mse(a, b, size=6, key=key) - w_mse(a, b, size=6)) > 1e-6


def test_w_mse_says_what_it_wants():
    with pytest.raises(ValueError, match="size must divide the 12 rows, got 5"):
        w_mse(draw(N, D), draw(N, D), size=5)


def test_sigreg_is_its_loop():
    z, key = draw(N, D), jax.random.key(3)
    u = np.asarray(jax.random.normal(key, (6, D), jnp.float64))
    u = u / np.linalg.norm(u, axis=1, keepdims=True)
    t = np.linspace(-5, 5, 17)
    statistics = []
    for direction in u:
        empirical = [np.mean(np.exp(1j * x * (np.asarray(z) @ direction))) for x in t]
        window = np.exp(-(t**2) / 2)
        error = np.abs(np.array(empirical) - window) ** 2 * window
        statistics.append(N * np.trapezoid(error, t))
    np.testing.assert_allclose(sigreg(key, z, slices=6), np.mean(statistics))


def test_sigreg_tells_a_gaussian_from_others():
    key, z = jax.random.key(0), draw(2000, D)
    gaussian = sigreg(key, z)
    assert gaussian < 1.5  # its mean is 0.9 whatever n
    for other in (2 * z, z + 1, jnp.sign(z), jnp.zeros_like(z)):
        assert sigreg(key, other) > 20 * gaussian
