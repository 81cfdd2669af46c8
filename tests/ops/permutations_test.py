"""Permutation sets: the catalogue's statistics, and what algebra says of them."""

import itertools

import numpy as np
import pytest

from jssl.ops.permutations import (
    affine_permutations_9,
    hamming_statistics,
    permutation_set,
)

# Reference sets: begun at the identity, the lexicographically first of equals.
TABLE = [
    (10, "max", 8.8000, 2),
    (24, "max", 8.3152, 2),
    (64, "max", 8.1250, 2),
    (72, "max", 8.1127, 2),
    (100, "max", 8.0800, 2),
    (1000, "max", 8.0080, 2),
    (9, "maxmin", 9.0000, 9),
    (10, "maxmin", 8.8000, 8),
    (24, "maxmin", 8.3043, 7),
    (64, "maxmin", 8.1230, 7),
    (72, "maxmin", 8.1088, 7),
    (100, "maxmin", 8.0796, 6),
    (100, "min", 3.998, None),
]


def distances(rows):
    return [
        sum(a != b for a, b in zip(p, q, strict=True))
        for p, q in itertools.combinations(rows.tolist(), 2)
    ]


def are_permutations(rows):
    return (np.sort(rows, axis=1) == np.arange(rows.shape[1])).all()


@pytest.mark.parametrize(("count", "mode", "mean", "minimum"), TABLE)
def test_the_reference_sets_have_the_catalogues_statistics(count, mode, mean, minimum):
    rows = permutation_set(9, count, mode)
    found = hamming_statistics(rows)
    digits = 3 if mode == "min" else 4
    assert round(found.mean, digits) == mean
    assert minimum is None or found.minimum == minimum
    assert are_permutations(rows)
    assert len(np.unique(rows, axis=0)) == count
    assert rows[0].tolist() == list(range(9))


@pytest.mark.parametrize("mode", ["max", "maxmin", "middle", "min"])
@pytest.mark.parametrize("seed", [None, 3])
def test_no_set_is_further_apart_than_the_bound(mode, seed):
    for count in (2, 7, 30):
        rows = permutation_set(5, count, mode, seed)
        bound = 4 * count / (count - 1)
        assert hamming_statistics(rows).mean <= bound + 1e-12
        assert are_permutations(rows)
        assert len(np.unique(rows, axis=0)) == count


def test_the_bound_is_reached_by_all_permutations_together():
    rows = permutation_set(4, 24, "max")
    assert len(np.unique(rows, axis=0)) == 24
    np.testing.assert_allclose(hamming_statistics(rows).mean, 3 * 24 / 23)


def test_statistics_are_those_of_a_double_loop():
    rows = permutation_set(6, 20, "middle", seed=1)
    apart = distances(rows)
    found = hamming_statistics(rows)
    np.testing.assert_allclose(found.mean, np.mean(apart))
    assert (found.minimum, found.maximum) == (min(apart), max(apart))


SCORES = {
    "max": lambda apart: sum(apart),
    "maxmin": lambda apart: (min(apart), sum(apart)),
    "min": lambda apart: -sum(apart),
}


@pytest.mark.parametrize("mode", SCORES)
def test_the_greedy_choice_is_that_of_a_plain_loop(mode):
    everyone = [np.array(p) for p in itertools.permutations(range(5))]
    chosen, rest = everyone[:1], everyone[1:]
    while len(chosen) < 12:
        scores = [SCORES[mode]([int((p != q).sum()) for p in chosen]) for q in rest]
        chosen.append(rest.pop(scores.index(max(scores))))
    np.testing.assert_array_equal(permutation_set(5, 12, mode), np.stack(chosen))


def test_a_seed_starts_elsewhere_and_says_all():
    one, again, other = (permutation_set(9, 5, "middle", seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(one, again)
    assert (one[0] != other[0]).any()


def test_sets_are_closest_under_min_and_furthest_under_max():
    means = [
        hamming_statistics(permutation_set(6, 20, mode)).mean
        for mode in ("min", "middle", "max")
    ]
    assert means[0] < means[1] < means[2]


def test_the_affine_maps_are_a_group_of_72_that_meets_the_bound():
    rows = affine_permutations_9()
    assert rows.shape == (72, 9)
    assert are_permutations(rows)
    members = {tuple(p) for p in rows.tolist()}
    assert len(members) == 72
    assert tuple(range(9)) in members
    for p, q in itertools.product(rows, rows):  # closed, hence a group
        assert tuple(p[q].tolist()) in members
    found = hamming_statistics(rows)
    np.testing.assert_allclose(found.mean, 8 * 72 / 71)
    assert (found.minimum, found.maximum) == (8, 9)
    for place in rows.T:
        np.testing.assert_array_equal(np.bincount(place), [8] * 9)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((11, 3), "n_tiles must be 2 to 10, got 11"),
        ((3, 7), "count must be 1 to 6"),
        ((3, 0), "count must be 1 to 6"),
    ],
)
def test_what_cannot_be_chosen_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        permutation_set(*arguments)


def test_an_unknown_mode_and_a_lonely_permutation_are_refused(unhooked):
    with pytest.raises(ValueError, match="one of max, .* got 'best'"):
        permutation_set(3, 2, "best")
    with pytest.raises(ValueError, match="at least two"):
        hamming_statistics(np.arange(9)[None])
