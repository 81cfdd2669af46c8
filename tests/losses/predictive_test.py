import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jssl.losses.predictive import cpc, cpc_per_step, nce, nce_log_z, proximal

N, T, D, C, K = 3, 5, 4, 2, 3


@pytest.fixture(autouse=True)
def _float64():
    with jax.enable_x64(True):
        yield


def draw(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape))


def unit(x):
    return np.asarray(x) / np.linalg.norm(x, axis=-1, keepdims=True)


def sequences():
    return draw(N, T, D), draw(N, T, C, seed=1), draw(K, D, C, seed=2)


def cpc_loop(z, c, w, negatives, first):
    z, c, w = map(np.asarray, (z, c, w))
    steps = []
    for k in range(first, first + len(w)):
        losses = []
        for i in range(N):
            for t in range(T - k):
                guess = w[k - first] @ c[i, t]
                candidates = {
                    "batch": [z[j, t + k] for j in range(N)],
                    "sequence": z[i],
                    "all": z.reshape(-1, D),
                }[negatives]
                below = np.log(sum(np.exp(x @ guess) for x in candidates))
                losses.append(below - z[i, t + k] @ guess)
        steps.append(np.mean(losses))
    return steps


@pytest.mark.parametrize("first", [1, 2])
@pytest.mark.parametrize("negatives", ["batch", "sequence", "all"])
def test_cpc_is_its_loop(negatives, first):
    z, c, w = sequences()
    w = w[: T - first - 1]
    wanted = cpc_loop(z, c, w, negatives, first)
    np.testing.assert_allclose(cpc_per_step(z, c, w, negatives, first), wanted)
    np.testing.assert_allclose(cpc(z, c, w, negatives, first), np.mean(wanted))


@pytest.mark.parametrize("negatives", ["batch", "sequence", "all"])
def test_cpc_of_sequences_of_different_lengths_is_its_loop(negatives):
    z, c, w = sequences()
    sizes, found = np.array([5, 2, 3]), []
    mask = jnp.asarray(np.arange(T) < sizes[:, None])
    far = jnp.where(mask[..., None], z, 1e3)
    for k in range(1, K + 1):
        losses = []
        for i in range(N):
            for t in range(sizes[i] - k):
                guess = np.asarray(w[k - 1] @ c[i, t])
                candidates = {
                    "batch": [z[j, t + k] for j in range(N) if t + k < sizes[j]],
                    "sequence": z[i, : sizes[i]],
                    "all": np.concatenate([z[j, : sizes[j]] for j in range(N)]),
                }[negatives]
                below = np.log(sum(np.exp(np.asarray(x) @ guess) for x in candidates))
                losses.append(below - z[i, t + k] @ guess)
        found.append(np.mean(losses))
    each = cpc_per_step(far, c, w, negatives, mask=mask)
    np.testing.assert_allclose(each, found, atol=1e-12)
    slope = jax.grad(lambda z: cpc(z, c, w, negatives, mask=mask))(far)
    assert np.isfinite(slope).all() and not slope[~mask].any()
    every = cpc_per_step(z, c, w, negatives, mask=jnp.ones((N, T)))
    np.testing.assert_allclose(every, cpc_per_step(z, c, w, negatives))


def test_weights_of_zero_leave_the_logarithm_of_the_candidates():
    z, c, w = sequences()
    for negatives, x in {"batch": N, "sequence": T, "all": N * T}.items():
        np.testing.assert_allclose(cpc_per_step(z, c, 0 * w, negatives), np.log(x))


def test_a_grid_is_a_batch_of_columns():
    """CPC's label arithmetic on [n, r, c, d]: m-th prediction -> b r c + k c + m."""
    n, r, c, d = 2, 4, 3, 5
    z, contexts, w = draw(n, r, c, d), draw(n, r, c, 2, seed=1), draw(1, d, 2, seed=2)
    k = 2
    everyone = np.asarray(z).reshape(-1, d)
    losses = []
    for b in range(n):
        past = np.asarray(contexts[b, : r - k]).reshape(-1, 2)
        for m, context in enumerate(past):
            logits = everyone @ (np.asarray(w[0]) @ context)
            label = b * r * c + k * c + m
            losses.append(np.log(np.exp(logits).sum()) - logits[label])
    columns = [jnp.moveaxis(x, 2, 1).reshape(n * c, r, -1) for x in (z, contexts)]
    value = cpc(*columns, w, negatives="all", first=k)
    np.testing.assert_allclose(value, np.mean(losses))


def test_the_order_of_the_batch_does_not_matter():
    z, c, w = sequences()
    order = jnp.array([2, 0, 1])
    np.testing.assert_allclose(cpc(z[order], c[order], w), cpc(z, c, w))


def test_cpc_says_what_it_wants():
    z, c, w = sequences()
    with pytest.raises(ValueError, match="steps 3 to 5 ahead do not fit 5 times"):
        cpc(z, c, w, first=3)
    with pytest.raises(ValueError, match="one of .* got 'none'"):
        cpc(z, c, w, negatives="none")


def test_nce_is_its_loop():
    u, v, noise = draw(N, D), draw(N, D, seed=1), draw(N, 4, D, seed=2)
    t, size, log_z = 0.3, 50, 4.0

    def posterior(row, i):
        p = np.exp(unit(row) @ unit(u[i]) / t - log_z)
        return p / (p + 4 / size)

    total = 0
    for i in range(N):
        total -= np.log(posterior(v[i], i))
        total -= sum(np.log(1 - posterior(row, i)) for row in noise[i])
    np.testing.assert_allclose(nce(u, v, noise, log_z, size, t), total / N)


@pytest.mark.parametrize(("m", "wanted"), [(1, 1.386294), (4, 2.502012), (4096, 9.317888)])
def test_a_model_as_even_as_the_noise_has_a_closed_form(m, wanted):
    u = jnp.zeros((1, 2))  # cosines 0, so P = 1 / Z = 1 / 30
    value = nce(u, u, jnp.zeros((1, m, 2)), jnp.log(30.0), 30)
    np.testing.assert_allclose(value, wanted, atol=1e-6)


def test_many_noise_draws_give_the_gradient_of_the_whole_softmax():
    bank = draw(6, D)
    bank = bank / jnp.linalg.norm(bank, axis=1, keepdims=True)
    u, times = draw(1, D, seed=1), 4000
    noise = jnp.tile(bank, (times, 1))[None]  # every row drawn equally often

    def softmax(u):
        logits = bank @ u[0] / jnp.linalg.norm(u) / 0.3
        return jax.nn.logsumexp(logits) - logits[2]

    log_z = jax.nn.logsumexp(bank @ u[0] / jnp.linalg.norm(u) / 0.3)
    slope = jax.grad(lambda u: nce(u, bank[2:3], noise, log_z, 6, 0.3))(u)
    np.testing.assert_allclose(slope, jax.grad(softmax)(u), rtol=1e-3)  # 1 / 24000


def test_z_is_the_mean_over_all_logits_times_the_size():
    u, v, noise = draw(N, D), draw(N, D, seed=1), draw(N, 4, D, seed=2)
    rows = unit(np.concatenate([v[:, None], noise], 1))
    z = 50 * np.exp(np.einsum("nd,nmd->nm", unit(u), rows) / 0.3).mean()
    np.testing.assert_allclose(jnp.exp(nce_log_z(u, v, noise, 50, 0.3)), z)


def test_no_gradient_reaches_the_bank_or_z():
    u, v, noise = draw(N, D), draw(N, D, seed=1), draw(N, 4, D, seed=2)
    slopes = jax.grad(nce, (1, 2, 3))(u, v, noise, 3.0, 50)
    slopes += (jax.grad(proximal, 1)(u, v), jax.grad(nce_log_z)(u, v, noise, 50))
    for slope in slopes:
        np.testing.assert_array_equal(slope, 0)


def test_proximal_is_the_squared_distance_of_directions():
    u, v = draw(N, D), draw(N, D, seed=1)
    wanted = 7 * np.square(unit(u) - unit(v)).sum(1).mean()
    np.testing.assert_allclose(proximal(u, v, 7.0), wanted)
