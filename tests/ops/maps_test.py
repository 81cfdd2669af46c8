import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from PIL import Image

from jssl.ops.maps import (
    bicubic_enlarge,
    bicubic_shrink,
    box_shrink,
    doubled,
    max_cells,
    pixel_shuffle,
    pixel_unshuffle,
    random_shrink,
)

PLAIN = ("NHWC", "HWIO", "NHWC")


def arrays(k, seed=0):
    random = np.random.default_rng(seed)
    return random.normal(size=(2, 3, 5, 2)), random.normal(size=(k, k, 2, 3))


@pytest.mark.parametrize(("k", "padding"), [(4, 1), (5, 2)])
def test_doubling_is_the_gradient_of_a_convolution_of_stride_2(x64, k, padding):
    maps, kernel = map(jnp.asarray, arrays(k))
    flipped = kernel[::-1, ::-1].swapaxes(2, 3)

    def halved(x):
        return lax.conv_general_dilated(
            x, flipped, (2, 2), [(padding, padding)] * 2, dimension_numbers=PLAIN
        )

    larger, back = jax.vjp(halved, jnp.zeros((2, 6, 10, 3)))
    assert larger.shape == maps.shape
    np.testing.assert_allclose(doubled(maps, kernel), back(maps)[0], atol=1e-12)


@pytest.mark.parametrize("k", [3, 4, 5])
def test_doubling_agrees_with_a_loop(x64, k):
    """Every pixel of the small map stamps the flipped kernel on the large one."""
    maps, kernel = arrays(k)
    wanted = np.zeros((2, 3 * 2 + 8, 5 * 2 + 8, 3))
    for i in range(3):
        for j in range(5):
            stamp = np.einsum("nc,abcd->nabd", maps[:, i, j], kernel[::-1, ::-1])
            # y_t takes tap 2 i + 2 - t: those of t = 2 i + 3 - k to 2 i + 2
            top, left = 2 * i + 3 - k + 4, 2 * j + 3 - k + 4
            wanted[:, top : top + k, left : left + k] += stamp
    got = doubled(jnp.asarray(maps), jnp.asarray(kernel))
    np.testing.assert_allclose(got, wanted[:, 4:-4, 4:-4], atol=1e-12)


def test_gradients_by_the_kernel_agree_with_those_of_a_dilated_convolution(x64):
    maps, kernel = map(jnp.asarray, arrays(5))
    weight = jnp.asarray(np.random.default_rng(1).normal(size=(2, 6, 10, 3)))

    def dilated(kernel):
        return lax.conv_transpose(
            maps, kernel, (2, 2), [(2, 3), (2, 3)], dimension_numbers=PLAIN
        )

    ours = jax.grad(lambda w: (weight * doubled(maps, w)).sum())(kernel)
    theirs = jax.grad(lambda w: (weight * dilated(w)).sum())(kernel)
    np.testing.assert_allclose(ours, theirs, atol=1e-12)


@pytest.mark.parametrize("k", [2, 6])
def test_kernels_that_do_not_fit_are_refused(k):
    maps, kernel = map(jnp.asarray, arrays(k))
    with pytest.raises(ValueError, match=f"side must be 3 to 5, got {k}"):
        doubled(maps, kernel)


@pytest.mark.parametrize(("h", "w", "side"), [(14, 14, 4), (7, 10, 4), (4, 9, 4)])
def test_cells_hold_the_largest_of_their_rows_and_columns(h, w, side):
    maps = np.random.default_rng(0).normal(size=(2, h, w, 3))
    got = max_cells(jnp.asarray(maps, jnp.float32), side)
    assert got.shape == (2, side, side, 3)
    for i in range(side):
        for j in range(side):
            rows = slice(int(np.floor(i * h / side)), int(np.ceil((i + 1) * h / side)))
            columns = slice(int(np.floor(j * w / side)), int(np.ceil((j + 1) * w / side)))
            np.testing.assert_allclose(
                got[:, i, j], maps[:, rows, columns].max((1, 2)), rtol=1e-6
            )


@pytest.mark.parametrize("side", [0, 4])
def test_more_cells_than_pixels_are_refused(side):
    with pytest.raises(ValueError, match=f"side must be 1 to 3, got {side}"):
        max_cells(jnp.zeros((1, 3, 5, 1)), side)


def test_a_pixel_shuffle_has_the_channels_of_torch():
    """y[r i + a, r j + b, q] = x[i, j, r^2 q + r a + b], and its inverse."""
    x = np.random.default_rng(0).normal(size=(2, 3, 4, 18)).astype(np.float32)
    wanted = np.zeros((2, 9, 12, 2), np.float32)
    for i, j, a, b, q in np.ndindex(3, 4, 3, 3, 2):
        wanted[:, 3 * i + a, 3 * j + b, q] = x[:, i, j, 9 * q + 3 * a + b]
    got = pixel_shuffle(jnp.asarray(x), 3)
    np.testing.assert_array_equal(got, wanted)
    np.testing.assert_array_equal(pixel_unshuffle(got, 3), x)


@pytest.mark.parametrize("factor", [2, 4])
def test_bicubic_resizing_is_that_of_pillow(factor):
    x = np.random.default_rng(0).random((24, 16)).astype(np.float32)
    for resize, size in (
        (bicubic_shrink, (16 // factor, 24 // factor)),
        (bicubic_enlarge, (16 * factor, 24 * factor)),
    ):
        wanted = Image.fromarray(x).resize(size, Image.Resampling.BICUBIC)
        got = resize(jnp.asarray(x)[None, :, :, None], factor)[0, :, :, 0]
        np.testing.assert_allclose(got, np.clip(wanted, 0, 1), atol=2e-6)


def test_sizes_that_do_not_divide_are_refused(unhooked):
    with pytest.raises(ValueError, match="multiples of 2, got 3 x 4"):
        bicubic_shrink(jnp.zeros((1, 3, 4, 1)), 2)
    with pytest.raises(ValueError, match="multiples of 2, got 3 x 4"):
        pixel_unshuffle(jnp.zeros((1, 3, 4, 1)), 2)
    with pytest.raises(ValueError, match=r"multiple of 2\^2, got 6"):
        pixel_shuffle(jnp.zeros((1, 3, 4, 6)), 2)


@pytest.mark.parametrize("factor", [1, 2, 3])
def test_a_box_keeps_the_mean_and_is_that_of_pillow(factor):
    x = jnp.asarray(np.random.default_rng(0).uniform(size=(2, 6, 12, 1)), jnp.float32)
    small = np.asarray(box_shrink(x, factor))
    np.testing.assert_allclose(small.mean((1, 2)), x.mean((1, 2)), rtol=1e-6)
    for image, found in zip(np.asarray(x)[..., 0], small[..., 0], strict=True):
        size = 12 // factor, 6 // factor
        wanted = Image.fromarray(image).resize(size, Image.Resampling.BOX)
        np.testing.assert_allclose(found, wanted, atol=1e-6)
    with pytest.raises(ValueError, match="box_shrink: height and width must be multiples"):
        box_shrink(x, 5)


def test_each_image_is_shrunk_by_one_of_three_kernels():
    x = jnp.asarray(np.random.default_rng(1).uniform(size=(300, 8, 8, 1)), jnp.float32)
    small = random_shrink(jax.random.key(0), x, 2)
    filters = (Image.Resampling.BICUBIC, Image.Resampling.BOX, Image.Resampling.BILINEAR)
    wanted = [
        [Image.fromarray(image).resize((4, 4), kind) for image in np.asarray(x)[..., 0]]
        for kind in filters
    ]
    wanted = np.clip(np.array([[np.asarray(i) for i in kind] for kind in wanted]), 0, 1)
    same = np.abs(wanted - small[..., 0]).max((2, 3)) < 1e-5  # [3, 300]
    assert (same.sum(0) == 1).all()
    assert np.abs(same.mean(1) - 1 / 3).max() < 0.1
