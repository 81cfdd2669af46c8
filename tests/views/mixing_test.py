import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jssl.views import cutmix, mixup, mixup_or_cutmix

KEY = jax.random.key(0)
IMAGES = np.random.default_rng(0).random((6, 8, 10, 3), np.float32)
TARGETS = jnp.eye(6)
MIXES = [mixup, cutmix, mixup_or_cutmix]


@pytest.mark.parametrize("mix", MIXES)
def test_targets_still_sum_to_one(mix):
    for key in jax.random.split(KEY, 5):
        x, y = mix(key, IMAGES, TARGETS)
        assert x.shape == IMAGES.shape and y.shape == TARGETS.shape
        np.testing.assert_allclose(y.sum(1), 1, rtol=1e-6)


def test_mixup_blends_images_as_it_blends_targets():
    x, y = mixup(KEY, IMAGES, TARGETS)
    lam = y[0, 0]  # the last image is the first one's partner
    assert 0 < lam < 1
    np.testing.assert_allclose(y, lam * TARGETS + (1 - lam) * TARGETS[::-1], atol=1e-6)
    np.testing.assert_allclose(x, lam * IMAGES + (1 - lam) * IMAGES[::-1], atol=1e-6)


def test_mixup_s_share_follows_the_beta_distribution():
    alpha, n = 0.8, 400
    x = jnp.ones((2, 2, 2, 1))
    targets = [mixup(k, x, jnp.eye(2), alpha)[1] for k in jax.random.split(KEY, n)]
    lam = np.array(targets)[:, 0, 0]
    variance = 1 / (4 * (2 * alpha + 1))
    assert abs(lam.mean() - 0.5) < 4 * np.sqrt(variance / n)
    # The square of (lam - 1/2) is at most 1/4, so its deviation at most 1/8.
    assert abs(((lam - 0.5) ** 2).mean() - variance) < 4 * (1 / 8) / np.sqrt(n)


def mixes(mix, n, h=8, w=10):
    """Of all zeros mixed with all ones: the image [n, h, w], and lam of the target."""
    pair = jnp.stack([jnp.zeros((h, w, 1)), jnp.ones((h, w, 1))])
    mixed = [mix(key, pair, jnp.eye(2)) for key in jax.random.split(KEY, n)]
    x, y = (np.array(part) for part in zip(*mixed, strict=True))
    return x[:, 0, :, :, 0], y[:, 0, 0]


def test_cutmix_pastes_a_box_of_area_one_minus_lambda():
    masks, lam = mixes(cutmix, 300)
    assert set(np.unique(masks)) == {0, 1}
    np.testing.assert_allclose(masks.mean((1, 2)), 1 - lam, atol=1e-6)
    boxes = masks.max(2, keepdims=True) * masks.max(1, keepdims=True)
    np.testing.assert_array_equal(masks, boxes)
    # A side s = sqrt(1 - lam) shows s - s^2 / 4 of itself on average, s^2 is uniform:
    # the mean of what is kept is 1 - (1/2 - 1/5 + 1/48) = 0.68, more for whole pixels.
    assert 0.66 < lam.mean() < 0.75


def test_cutmix_pastes_at_the_same_place_in_both():
    x, y = cutmix(jax.random.key(3), IMAGES, TARGETS)
    pasted = np.isclose(x, IMAGES[::-1]).all(-1)
    kept = np.isclose(x, IMAGES).all(-1)
    np.testing.assert_array_equal(pasted, ~kept)
    np.testing.assert_array_equal(pasted, pasted[:1].repeat(6, 0))
    np.testing.assert_allclose(y[0, -1], pasted[0].mean(), rtol=1e-5)


def test_one_of_the_two_is_chosen_for_the_batch_half_of_the_time():
    n = 400
    x, lam = mixes(mixup_or_cutmix, n)
    flat = np.ptp(x, axis=(1, 2)) == 0
    cut = ~flat | (x[:, 0, 0] == 0)  # an empty box is a cutmix as well
    assert abs(cut.mean() - 0.5) < 4 * np.sqrt(0.25 / n)
    np.testing.assert_allclose(x.mean((1, 2)), 1 - lam, atol=1e-5)


@pytest.mark.parametrize("mix", MIXES)
def test_a_group_is_mixed_by_a_draw_of_its_own_with_partners_of_its_own(mix):
    rows = np.arange(6)
    values = np.tile([0, 0.5, 1], 2)[:, None, None, None]  # two groups of three
    images = np.broadcast_to(values, IMAGES.shape).astype(np.float32)
    shares = []
    for key in jax.random.split(KEY, 8):
        x, y = mix(key, images, TARGETS, group=3)
        lam = np.asarray(y[rows, rows])
        np.testing.assert_allclose(y[0, 2] + lam[0], 1, rtol=1e-6)
        np.testing.assert_array_equal(y[:3, 3:], 0)
        np.testing.assert_array_equal(y[3:, :3], 0)
        np.testing.assert_allclose(lam[[0, 3]], lam[[2, 5]], rtol=1e-6)
        # The first of a group is 1 - mask, the last, its partner, the mask itself.
        np.testing.assert_allclose(1 - x[::3], x[2::3], atol=1e-6)
        np.testing.assert_allclose(x[2::3].mean((1, 2, 3)), lam[2::3], atol=1e-5)
        np.testing.assert_allclose(x[1::3], 0.5, atol=1e-6)
        shares.append(lam[[0, 3]])
    first, second = np.array(shares).T
    assert (abs(first - second) > 1e-3).mean() > 0.5  # groups are independent


@pytest.mark.parametrize("mix", MIXES)
def test_one_group_is_the_whole_batch(mix):
    whole = mix(KEY, IMAGES, TARGETS)
    for group in (6, 32):
        for got, want in zip(mix(KEY, IMAGES, TARGETS, group=group), whole, strict=True):
            np.testing.assert_array_equal(got, want)
    for group in (4, 0, -2):
        with pytest.raises(ValueError, match=f"must divide the 6 rows .* got {group}"):
            mix(KEY, IMAGES, TARGETS, group=group)


def test_many_groups_share_cutmix_and_mixup_in_one_batch():
    n = 800
    x = jnp.tile(jnp.stack([jnp.zeros((8, 8, 1)), jnp.ones((8, 8, 1))]), (n, 1, 1, 1))
    mixed, _ = mixup_or_cutmix(KEY, x, jnp.ones((2 * n, 1)), group=2)
    one = np.asarray(mixed[::2, ..., 0])
    cut = (np.ptp(one, axis=(1, 2)) > 0) | (one[:, 0, 0] == 0)
    assert abs(cut.mean() - 0.5) < 4 * np.sqrt(0.25 / n)


@pytest.mark.parametrize("mix", MIXES)
def test_mixes_carry_no_gradient(mix):
    def total(images, targets):
        return sum(part.sum() for part in mix(KEY, images, targets))

    for gradient in jax.grad(total, (0, 1))(jnp.asarray(IMAGES), TARGETS):
        np.testing.assert_array_equal(gradient, 0)


@pytest.mark.parametrize("mix", MIXES)
def test_what_cannot_be_mixed_is_refused(mix):
    with pytest.raises(ValueError, match="got uint8: divide them by 255"):
        mix(KEY, (255 * IMAGES).astype(np.uint8), TARGETS)
    with pytest.raises(ValueError, match=r"float \[n, k\], got int32.*one_hot"):
        mix(KEY, IMAGES, jnp.arange(6)[:, None])
    with pytest.raises(ValueError, match="alpha must be positive, got 0"):
        mix(KEY, IMAGES, TARGETS, 0.0)
