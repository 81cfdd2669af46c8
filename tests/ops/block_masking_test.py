"""Masks of blocks: exact counts, rectangles, places, and loops that draw them again."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jssl.ops.block_masking import block_mask, multi_block

KEY = jax.random.key(3)
masks = jax.jit(block_mask, static_argnums=(1, 2), static_argnames=("count", "least"))
blocks = jax.jit(multi_block, static_argnums=(1, 2, 3), static_argnames=("scale", "blocks"))


@pytest.mark.parametrize(
    ("grid", "count", "least"),
    [((14, 14), 120, 16), ((7, 7), 29, 4), ((7, 7), 47, 4), ((3, 10), 11, 1)],
)
def test_every_image_has_exactly_the_count(grid, count, least):
    mask = masks(KEY, 50, grid, count=count, least=least)
    assert mask.shape == (50, grid[0] * grid[1])
    assert mask.dtype == bool
    np.testing.assert_array_equal(mask.sum(1), count)
    assert len(np.unique(np.asarray(mask), axis=0)) > 5


def test_counts_may_differ_between_images():
    counts = jnp.array([0, 1, 5, 30, 97, 98])
    mask = block_mask(KEY, 6, (14, 14), counts, least=4)
    np.testing.assert_array_equal(mask.sum(1), counts)


@pytest.mark.parametrize(("grid", "count", "least"), [((14, 14), 120, 16), ((6, 9), 30, 4)])
def test_loops_over_rectangles_and_patches_give_the_same_masks(grid, count, least):
    """The same uniform numbers; none of the images needs all the rectangles allowed."""
    n, (rows, columns) = 40, grid
    found = np.asarray(masks(KEY, n, grid, count=count, least=least)).reshape(n, *grid)
    key, side = jax.random.split(KEY)
    order = np.asarray(jax.random.randint(side, (n,), 0, 4))
    places = [(r, c) for r in range(rows) for c in range(columns)]
    scans = [places, sorted(places, key=lambda place: place[::-1])]
    scans += [scan[::-1] for scan in scans]
    limit = 8 + 2 * -(-rows * columns // least)
    draws = [
        np.asarray(jax.random.uniform(jax.random.fold_in(key, i), (4, n)), np.float64)
        for i in range(limit)
    ]
    for image in range(n):
        mask = np.zeros(grid, bool)
        for u in draws:
            missing = count - mask.sum()
            if missing == 0:
                break
            a, b, c, d = u[:, image]
            area = least + a * max(missing - least, 0)
            low = max(0.3, area / columns**2)
            high = min(1 / 0.3, rows**2 / area)
            ratio = np.exp(np.log(low) + b * (np.log(high) - np.log(low)))
            height, width = round((area * ratio) ** 0.5), round((area / ratio) ** 0.5)
            top, left = int(c * (rows - height + 1)), int(d * (columns - width + 1))
            for row, column in scans[order[image]]:
                inside = 0 <= row - top < height and 0 <= column - left < width
                if inside and mask.sum() < count:
                    mask[row, column] = True
        assert mask.sum() == count
        np.testing.assert_array_equal(found[image], mask)


def test_masks_are_compact():
    """The border between masked and visible patches is short beside that of single ones."""

    def border(mask):
        x = np.asarray(mask).reshape(-1, 14, 14)
        changes = (x[:, 1:] != x[:, :-1]).sum((1, 2)) + (x[..., 1:] != x[..., :-1]).sum(
            (1, 2)
        )
        return changes.mean()

    scattered = jax.random.permutation(
        KEY, jnp.tile(jnp.arange(196) < 120, (60, 1)), axis=1, independent=True
    )
    assert border(masks(KEY, 60, (14, 14), count=120)) < 0.4 * border(scattered)


@pytest.mark.parametrize(
    ("grid", "how", "text"),
    [
        ((7, 7), dict(count=49), "49 of 7 x 7 patches cannot be masked: give 1 to 48"),
        ((7, 7), dict(count=10), "least must be 1 to 10 patches"),
        ((7, 7), dict(count=29, aspect=0.0), "aspect at most 1, got 16 and 0.0"),
    ],
)
def test_impossible_masks_are_refused(grid, how, text):
    with pytest.raises(ValueError, match=text):
        block_mask(KEY, 2, grid, **how)


def sides(patches, columns):
    """Height and width of a set of patches that is a rectangle."""
    rows, across = np.unique(patches // columns), np.unique(patches % columns)
    assert len(rows) * len(across) == len(np.unique(patches))
    assert np.ptp(rows) == len(rows) - 1
    assert np.ptp(across) == len(across) - 1
    return len(rows), len(across)


@pytest.mark.parametrize(("grid", "context"), [((14, 14), 60), ((7, 7), 16), ((6, 9), 20)])
def test_targets_are_rectangles_of_one_size_and_no_part_of_the_context(grid, context):
    length, seen = grid[0] * grid[1], set()
    for key in jax.random.split(KEY, 12):
        found = jax.device_get(blocks(key, 16, grid, context))
        assert found.context.shape == (16, context)
        assert np.all(np.diff(found.context) > 0)
        assert found.context.min() >= 0
        assert found.context.max() < length
        found_sides = {
            sides(target[found.real], grid[1]) for target in found.targets.reshape(64, -1)
        }
        assert len(found_sides) == 1
        seen |= found_sides
        for kept, targets in zip(found.context, found.targets, strict=True):
            assert not set(kept) & set(targets.ravel())
        real, last = found.targets[..., found.real], found.real.sum() - 1
        assert np.all(found.targets[..., ~found.real] == real[..., last:])
    for height, width in seen:  # up to half a patch of rounding on either side
        assert (height - 0.5) * (width - 0.5) <= 0.2 * length
        assert (height + 0.5) * (width + 0.5) >= 0.15 * length - 1
        assert (height + 0.5) / (width - 0.5) >= 0.75
        assert (height - 0.5) / (width + 0.5) <= 1.5
    assert len(seen) > 2


def test_the_context_is_a_slab_of_its_block():
    """Of 9 x 9 patches, less 4 of a target, the first 20 are three rows or columns."""
    found = jax.device_get(blocks(KEY, 64, (10, 10), 20, scale=(0.04, 0.04), blocks=1))
    short = {(np.ptp(kept // 10) + 1, np.ptp(kept % 10) + 1) for kept in found.context}
    assert {min(size) for size in short} == {3}
    assert max(max(size) for size in short) == 9
    places = np.concatenate(found.context)
    assert set(places // 10) == set(places % 10) == set(range(10))  # from all sides


def test_all_places_of_a_target_are_equally_likely():
    found = blocks(KEY, 4000, (5, 5), 12, scale=(0.36, 0.36), blocks=1)
    first = np.asarray(found.targets[:, 0, 0])
    where, times = np.unique(first, return_counts=True)
    height, width = sides(np.asarray(found.targets[0, 0][found.real]), 5)
    places = (6 - height) * (6 - width)
    assert len(where) == places
    expected = 4000 / places
    assert np.abs(times - expected).max() < 4.5 * expected**0.5


def test_a_context_that_only_one_place_of_all_targets_leaves_is_still_reached():
    draw = partial(multi_block, scale=(0.16, 0.16), aspect=(1.0, 1.0), tries=2)
    found = jax.device_get(draw(KEY, 32, (5, 5), 21))
    for kept, targets in zip(found.context, found.targets, strict=True):
        assert set(kept) | set(targets.ravel()) == set(range(25))
        assert len(np.unique(targets)) == 4


@pytest.mark.parametrize(
    ("context", "how", "text"),
    [
        (38, {}, "context must be 1 to 37, as a target has up to 12 of 7 x 7"),
        (0, {}, "7 x 7 patches, got 0"),
        (16, dict(scale=(0.2, 0.1)), "scale must be two ascending fractions"),
        (16, dict(context_scale=(0.5, 1.5)), "context_scale must be two ascending"),
        (16, dict(aspect=(0.0, 1.0)), "aspect must be two ascending positive numbers"),
        (16, dict(blocks=0), "blocks and tries positive"),
    ],
)
def test_impossible_blocks_are_refused(context, how, text):
    with pytest.raises(ValueError, match=text):
        multi_block(KEY, 2, (7, 7), context, **how)
