"""Holes: their areas, their places, and two loops that draw them as the functions do."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from jssl.ops.holes import central_hole, central_window, random_blocks, random_regions

KEY = jax.random.key(3)


@pytest.mark.parametrize("side", [8, 28, 32, 128])
def test_a_central_hole_is_a_quarter_less_its_border(side):
    hole = np.asarray(central_hole(side, side))
    assert hole.mean() == 0.25
    for i in range(side):
        for j in range(side):
            inside = side / 4 <= i < 3 * side / 4 and side / 4 <= j < 3 * side / 4
            assert hole[i, j] == inside
    rows, columns = central_window(side, side)
    assert hole[rows, columns].all()
    inner = np.asarray(central_hole(side, side, 1))
    np.testing.assert_array_equal(inner, ndimage.binary_erosion(hole, np.ones((3, 3))))


@pytest.mark.parametrize(("h", "w"), [(8, 8), (28, 28), (20, 36)])
def test_blocks_are_added_in_turn_as_long_as_they_fit(h, w):
    """The same uniform numbers, in loops over images, blocks and pixels."""
    n, count, share = 12, 8, 0.25
    found = random_blocks(KEY, n, h, w, count=count, share=share)
    u = np.asarray(jax.random.uniform(KEY, (4, n, count, 1)))[..., 0]
    left_out = 0
    for row in range(n):
        hidden = np.zeros((h, w), bool)
        for k in range(count):
            box = []
            for axis, side in enumerate((h, w)):
                size, place = u[2 * axis : 2 * axis + 2, row, k]
                least, most = max(side // 8, 1), side // 4
                length = least + math.floor(size * np.float32(most - least + 1))
                start = math.floor(place * np.float32(side - length + 1))
                box.append(slice(start, start + length))
            more = hidden.copy()
            more[tuple(box)] = True
            if more.sum() <= share * h * w:
                hidden = more
            else:
                left_out += 1
        np.testing.assert_array_equal(found[row], hidden)
    assert left_out  # the limit has been met


def test_blocks_hide_up_to_a_quarter_and_reach_every_pixel():
    hidden = np.asarray(random_blocks(KEY, 2000, 32, 32))
    area = hidden.mean((1, 2))
    assert area.max() <= 0.25 and area.min() > 1 / 16 and 0.2 < area.mean()
    assert hidden.any(0).all()
    assert len(np.unique(hidden.reshape(2000, -1), axis=0)) == 2000


def keys_kernel(t):
    """Keys's cubic with a = -1/2."""
    t = abs(t)
    if t < 1:
        return 1.5 * t**3 - 2.5 * t**2 + 1
    return -0.5 * t**3 + 2.5 * t**2 - 4 * t + 2 if t < 2 else 0.0


def test_a_region_is_where_an_interpolated_surface_is_lowest():
    """The same noise, interpolated by four loops in float64."""
    n, h, w, cell, share = 2, 12, 10, 0.3, 0.25
    found = np.asarray(random_regions(KEY, n, h, w, share=share, cell=cell))
    draw, move = jax.random.split(KEY)
    step = cell * h
    grid = [math.ceil(side / step) + 6 for side in (h, w)]
    noise = np.asarray(jax.random.uniform(draw, (n, *grid)), np.float64)
    offset = 3 + np.asarray(jax.random.uniform(move, (n, 2)), np.float64)
    for row in range(n):
        surface = np.zeros((h, w))
        for i in range(h):
            for j in range(w):
                y, x = (np.array([i, j]) + 0.5) / step + offset[row] - 0.5
                for p in range(grid[0]):
                    for q in range(grid[1]):
                        weight = keys_kernel(y - p) * keys_kernel(x - q)
                        surface[i, j] += weight * noise[row, p, q]
        level = np.sort(surface.ravel())[round(share * h * w)]
        sure = np.abs(surface - level) > 1e-5
        np.testing.assert_array_equal(found[row][sure], (surface < level)[sure])
        assert sure.mean() > 0.95


def test_regions_cover_their_share_in_few_pieces():
    for share in (0.1, 0.25):
        hidden = np.asarray(random_regions(KEY, 200, 32, 32, share=share))
        assert (hidden.sum((1, 2)) == round(share * 1024)).all()
    pieces = [ndimage.label(x)[1] for x in hidden]
    noise = np.random.default_rng(0).uniform(size=(200, 32, 32)) < 0.25
    assert np.mean(pieces) < 0.2 * np.mean([ndimage.label(x)[1] for x in noise])
    assert hidden.mean(0).min() > 0.1 and hidden.mean(0).max() < 0.4


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (lambda: central_hole(8, 8, 2), "an overlap of 2 pixels leaves no hole"),
        (lambda: random_blocks(KEY, 1, 3, 8), "4 x 4 or larger.* got 3 x 8"),
        (lambda: random_blocks(KEY, 1, 8, 8, share=0.01), "share of 1/16 to 1"),
        (lambda: random_regions(KEY, 1, 8, 8, share=1.0), "between 0 and 1, got 1.0"),
        (lambda: random_regions(KEY, 1, 8, 8, cell=0.0), "between 0 and 1, got 0.25, 0.0"),
    ],
)
def test_holes_that_cannot_be_are_refused(made, message):
    with pytest.raises(ValueError, match=message):
        made()


def test_rows_do_not_depend_on_their_number_of_devices():
    """Drawn under jit, the holes are the same."""
    for draw in (random_blocks, random_regions):
        once = jax.jit(draw, static_argnums=(1, 2, 3))(KEY, 4, 16, 16)
        np.testing.assert_array_equal(once, draw(KEY, 4, 16, 16))
        assert once.dtype == jnp.bool_
