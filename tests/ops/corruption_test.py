import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jssl.ops.corruption import gaussian, masking, salt_and_pepper

KEY = jax.random.key(0)
N, D = 500, 64


@pytest.fixture
def x():
    """Away from 0 and 1: what was selected can be told."""
    rows = np.random.default_rng(0).uniform(0.1, 0.9, (N, 8, 8, 1))
    return jnp.asarray(rows, jnp.float32)


@pytest.mark.parametrize("spoil", [masking, salt_and_pepper])
def test_an_exact_share_is_that_of_every_sample(spoil, x):
    for share in (0.0, 0.1, 0.25, 1.0):
        _, selected = spoil(KEY, x, share, exact=True)
        counts = np.asarray(selected).reshape(N, -1).sum(1)
        assert set(counts) == {round(share * D)}


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("spoil", [masking, salt_and_pepper])
def test_every_entry_is_selected_equally_often(spoil, exact, x):
    _, selected = spoil(KEY, x, 0.25, exact=exact)
    often = np.asarray(selected).reshape(N, D).mean(0)
    five_sigma = 5 * np.sqrt(0.25 * 0.75 / N)
    assert np.abs(often - 0.25).max() < five_sigma
    if not exact:
        counts = np.asarray(selected).reshape(N, D).sum(1)
        assert abs(counts.mean() / D - 0.25) < five_sigma / np.sqrt(D)
        np.testing.assert_allclose(counts.var(), D * 0.25 * 0.75, rtol=0.35)


@pytest.mark.parametrize("exact", [False, True])
def test_unselected_entries_keep_every_bit(exact, x):
    for spoil in (masking, salt_and_pepper):
        corrupted, selected = spoil(KEY, x, 0.25, exact=exact)
        spoilt, chosen = np.asarray(corrupted), np.asarray(selected)
        np.testing.assert_array_equal(spoilt[~chosen], np.asarray(x)[~chosen])
        assert corrupted.dtype == x.dtype


def test_masked_entries_are_zero_and_nothing_else_grows(x):
    corrupted, selected = masking(KEY, x, 0.25)
    np.testing.assert_array_equal(corrupted, np.asarray(x) * ~np.asarray(selected))


def test_salt_and_pepper_fall_half_and_half_within_the_range(x):
    corrupted, selected = salt_and_pepper(KEY, x, 0.25, low=-1.0, high=2.0)
    values = np.asarray(corrupted)[np.asarray(selected)]
    assert set(values) == {-1.0, 2.0}
    assert abs((values == 2.0).mean() - 0.5) < 5 * 0.5 / np.sqrt(len(values))


def test_an_entry_that_keeps_its_value_is_selected_all_the_same():
    black = jnp.zeros((N, D))
    corrupted, selected = masking(KEY, black, 0.25, exact=True)
    np.testing.assert_array_equal(corrupted, black)
    np.testing.assert_array_equal(np.asarray(selected).sum(1), 16)
    corrupted, selected = salt_and_pepper(KEY, black, 0.25, exact=True)
    assert np.asarray(selected).sum() > 1.5 * np.asarray(corrupted).sum() > 0


def test_gaussian_noise_has_its_moments_and_is_not_clipped(x):
    corrupted, selected = gaussian(KEY, x, 0.4)
    noise = np.asarray(corrupted, np.float64) - np.asarray(x, np.float64)
    count = noise.size
    assert abs(noise.mean()) < 5 * 0.4 / np.sqrt(count)
    assert abs(noise.var() / 0.16 - 1) < 5 * np.sqrt(2 / count)
    assert corrupted.min() < 0 < 1 < corrupted.max()
    assert np.all(selected)


SPOILT = {
    "gaussian": lambda key, x: gaussian(key, x, 0.3),
    "masking": lambda key, x: masking(key, x, 0.5),
    "exact masking": lambda key, x: masking(key, x, 0.5, exact=True),
    "salt and pepper": lambda key, x: salt_and_pepper(key, x, 0.5),
}


@pytest.mark.parametrize("spoil", SPOILT.values(), ids=SPOILT)
def test_no_two_samples_and_no_two_keys_share_a_draw(spoil):
    same = jnp.full((50, D), 0.5)
    one, two = (np.asarray(spoil(jax.random.key(i), same)[0]) for i in (0, 1))
    assert len({row.tobytes() for row in [*one, *two]}) == 100
    np.testing.assert_array_equal(spoil(jax.random.key(0), same)[0], one)


@pytest.mark.parametrize("spoil", SPOILT.values(), ids=SPOILT)
def test_half_precision_stays_half(spoil):
    corrupted, selected = jax.jit(spoil)(KEY, jnp.ones((2, 3, 3), jnp.bfloat16))
    assert corrupted.dtype == jnp.bfloat16
    assert selected.dtype == jnp.bool_
    assert corrupted.shape == selected.shape == (2, 3, 3)


def test_wrong_arguments_are_refused(unhooked):
    with pytest.raises(ValueError, match=r"masking: share must lie in \[0, 1\], got 1.5"):
        masking(KEY, jnp.ones((2, 3)), 1.5)
    with pytest.raises(ValueError, match=r"salt_and_pepper: share must lie .* got -0.1"):
        salt_and_pepper(KEY, jnp.ones((2, 3)), -0.1)
    with pytest.raises(ValueError, match="gaussian: x must be float"):
        gaussian(KEY, jnp.ones((2, 3), jnp.uint8), 0.1)
