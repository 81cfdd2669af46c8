"""Cells of videos: which four, where they are cut, and which way up."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jssl.ops.cubic_puzzles import crop_pieces, four_cells, turn_upside_down
from jssl.ops.permutations import permutation_set
from jssl.ops.puzzles import shuffle, unshuffle

KEY = jax.random.key(0)


@pytest.fixture
def videos():
    """Videos [8, 8, 4, 6, 2], every number another."""
    return jnp.arange(8 * 8 * 4 * 6 * 2).reshape(8, 8, 4, 6, 2)


def test_cells_in_space_share_their_time_and_cells_in_time_their_place(videos):
    in_time, place = jnp.arange(8) >= 4, jnp.arange(8) % 4
    found = np.asarray(four_cells(videos, in_time, place))
    assert found.shape == (8, 4, 2, 2, 3, 2)
    x = np.asarray(videos)
    for i in range(4):
        quarters = [
            x[i, 2 * i : 2 * i + 2, a : a + 2, b : b + 3] for a in (0, 2) for b in (0, 3)
        ]
        np.testing.assert_array_equal(found[i], quarters)
        top, left = 2 * (i // 2), 3 * (i % 2)
        inside = x[4 + i, :, top : top + 2, left : left + 3]
        np.testing.assert_array_equal(found[4 + i], np.split(inside, 4))


def test_the_24_permutations_are_different_and_can_be_undone(videos):
    known = permutation_set(4, 24)
    assert len(set(map(tuple, known.tolist()))) == 24
    pieces = four_cells(videos, jnp.zeros(8, bool), jnp.zeros(8, int))
    for order in known:
        given = jnp.tile(order, (8, 1))
        back = unshuffle(shuffle(pieces, given), given)
        np.testing.assert_array_equal(back, pieces)


def test_crops_stay_within_their_cell_and_reach_all_of_it():
    t, y, x = np.mgrid[:5, :7, :6]
    cell = (10_000 * t + 100 * y + x)[..., None]
    pieces = jnp.broadcast_to(jnp.asarray(cell), (200, 4, 5, 7, 6, 1))
    size = (2, 3, 4)
    found = np.asarray(crop_pieces(pieces, size, KEY))
    begin = np.stack(
        [found[..., 0, 0, 0, 0] // 10_000, found[..., 0, 0, 0, 0] // 100 % 100,
         found[..., 0, 0, 0, 0] % 100], -1,
    )  # fmt: skip
    assert begin.min((0, 1)).tolist() == [0, 0, 0]
    assert begin.max((0, 1)).tolist() == [3, 4, 2]
    for i, k in np.ndindex(200, 4):
        a, b, c = begin[i, k]
        np.testing.assert_array_equal(found[i, k], cell[a : a + 2, b : b + 3, c : c + 4])
    central = crop_pieces(pieces, size)
    np.testing.assert_array_equal(central[0, 0], cell[1:3, 2:5, 1:5])


def test_turned_videos_are_numpys(videos):
    turned = jnp.arange(8) % 2 == 1
    found = np.asarray(turn_upside_down(videos, turned))
    wanted = np.rot90(np.asarray(videos), 2, (2, 3))
    np.testing.assert_array_equal(found[1::2], wanted[1::2])
    np.testing.assert_array_equal(found[::2], videos[::2])


def test_what_does_not_fit_is_refused(videos):
    with pytest.raises(ValueError, match=r"multiples of \(4, 2, 2\), got \[7, 4, 6\]"):
        four_cells(videos[:, :7], jnp.zeros(8, bool), jnp.zeros(8, int))
    with pytest.raises(ValueError, match="crops of 3x3x3 do not fit cells of 2x4x4"):
        crop_pieces(jnp.zeros((1, 4, 2, 4, 4, 1)), (3, 3, 3), KEY)
