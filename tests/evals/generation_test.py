"""Metrics of generated images, beside double loops, scipy and the catalogue's numbers."""

from itertools import permutations, product

import numpy as np
import pytest

from jssl.evals import Features
from jssl.evals.generation import (
    class_histogram_jsd,
    feature_stats,
    fid,
    frechet_distance,
    generation,
    kid,
    kid_subsets,
    memorization,
    prdc,
)


def cloud(seed, n=60, d=5):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, d)) @ rng.normal(size=(d, d)) + rng.normal(size=d)


def normal(seed, n, d=3):
    return np.random.default_rng(seed).normal(size=(n, d))


def test_the_gaussians_of_the_catalogue_are_as_far_apart_as_it_says():
    there = np.array([1.0, 0.0]), np.diag([4.0, 1.0])
    far = frechet_distance(np.zeros(2), np.eye(2), *there)
    np.testing.assert_allclose(far, 2.0, rtol=1e-12)
    one, two = np.array([[2, 0.5], [0.5, 1]]), np.array([[1, -0.3], [-0.3, 2]])
    far = frechet_distance(np.zeros(2), one, np.array([1.0, -1.0]), two)
    np.testing.assert_allclose(far, 2.5754258933, rtol=1e-10)
    both = np.sqrt(np.trace(one @ two) + 2 * np.sqrt(np.linalg.det(one @ two)))
    np.testing.assert_allclose(far, 2 + 3 + 3 - 2 * both, rtol=1e-12)


def test_moments_are_those_of_numpy_in_float64():
    x = cloud(0).astype(np.float32)
    mean, covariance = feature_stats(x)
    np.testing.assert_allclose(mean, x.mean(axis=0, dtype=np.float64), rtol=1e-12)
    np.testing.assert_allclose(covariance, np.cov(x.T, dtype=np.float64), rtol=1e-11)


@pytest.mark.parametrize("seed", range(3))
def test_the_root_of_scipy_gives_the_same_distance(seed):
    from scipy.linalg import sqrtm

    real, made = cloud(seed), cloud(seed + 9, n=40)
    one, two = np.cov(real.T), np.cov(made.T)
    shared = np.trace(sqrtm(one @ two)).real
    apart = np.square(real.mean(axis=0) - made.mean(axis=0)).sum()
    want = apart + np.trace(one) + np.trace(two) - 2 * shared
    np.testing.assert_allclose([fid(real, made), fid(made, real)], want, rtol=1e-9)


@pytest.mark.parametrize("n", [60, 4])  # of four rows the covariance is singular
def test_a_set_is_no_distance_from_itself_and_a_shift_adds_its_square(n):
    x = cloud(1, n)
    assert fid(x, x) < 1e-8
    np.testing.assert_allclose(fid(x, x + np.arange(5.0)), 30, rtol=1e-8)


def test_a_common_rotation_changes_nothing():
    real, made = cloud(2), cloud(3, n=50)
    turn = np.linalg.qr(normal(0, 5, 5))[0]
    for metric in (fid, kid, lambda a, b: prdc(a, b, 3)):
        turned = metric(real @ turn, made @ turn)
        np.testing.assert_allclose(turned, metric(real, made), rtol=1e-9)


def test_the_distance_of_equal_distributions_falls_as_rows_are_added():
    mean = lambda n: np.mean([fid(normal(s, n), normal(s + 99, n)) for s in range(20)])
    assert mean(10) > 2 * mean(40) > 4 * mean(160) > 0


def test_kid_is_the_catalogues_and_a_double_loops():
    real = np.array([[0.0, 0], [1, 0], [0, 1]])
    made = np.array([[1, 1], [2, 0], [1, -1], [0, 0.5]])
    np.testing.assert_allclose(kid(real, made), 0.0286458333, rtol=1e-8)
    real, made = cloud(4, 7), cloud(5, 9)
    kernel = lambda x, y: (x @ y / 5 + 1) ** 3
    within = lambda a: np.mean([kernel(x, y) for x, y in permutations(a, 2)])
    between = np.mean([kernel(x, y) for x, y in product(real, made)])
    want = within(real) + within(made) - 2 * between
    np.testing.assert_allclose(kid(real, made), want, rtol=1e-10)


def test_kid_of_two_halves_is_nothing_on_average_and_often_negative():
    x = normal(0, 80)
    orders = [np.random.default_rng(seed).permutation(80) for seed in range(200)]
    found = np.array([kid(x[order[:40]], x[order[40:]]) for order in orders])
    # Halves of fixed rows: within and between are each the mean over all pairs.
    assert abs(found.mean()) < 4 * found.std() / np.sqrt(200)
    assert 0.3 < (found < 0).mean() < 0.9
    assert kid(x[:40], x[40:] + 1) > 10 * found.std()


def test_subsets_average_to_the_kid_of_all_rows():
    real, made = cloud(6, 50), cloud(7, 40)
    mean, error = kid_subsets(0, real, made, subsets=200, size=8)
    assert abs(mean - kid(real, made)) < 4 * error
    assert kid_subsets(3, real, made) == kid_subsets(3, real, made, 50, size=20)
    assert kid_subsets(3, real, made) != kid_subsets(4, real, made)


@pytest.mark.parametrize(
    ("k", "want"), [(1, (0.75, 0.8, 1.75, 0.6)), (2, (1.0, 1.0, 1.375, 1.0))]
)
def test_balls_are_the_catalogues(k, want):
    real = np.array([[0, 0], [1, 0], [0, 1.2], [3, 3], [3.1, 4]])
    made = np.array([[0.2, 0.1], [0.4, -0.2], [5, 5], [0.1, 0.9]])
    np.testing.assert_allclose(prdc(real, made, k), want, rtol=1e-12)


@pytest.mark.parametrize(("k", "chunk"), [(1, 1), (1, 1024), (5, 7), (5, 1024)])
def test_balls_are_a_double_loops_however_rows_are_cut(k, chunk):
    real, made = normal(0, 30), 0.7 * normal(1, 25) + 0.3
    far = lambda x, y: np.sqrt(((x - y) ** 2).sum())
    reach, reach_made = ([sorted(far(x, y) for y in a)[k] for x in a] for a in (real, made))
    pairs = [[far(x, y) for y in made] for x in real]
    inside = [[d < r for d in row] for row, r in zip(pairs, reach, strict=True)]
    lies = [[d < r for d, r in zip(row, reach_made, strict=True)] for row in pairs]
    want = (
        np.mean([any(row[j] for row in inside) for j in range(25)]),
        np.mean([any(row) for row in lies]),
        sum(map(sum, inside)) / (k * 25),
        np.mean([min(row) < r for row, r in zip(pairs, reach, strict=True)]),
    )
    np.testing.assert_allclose(prdc(real, made, k, chunk=chunk), want, rtol=1e-12)
    assert 0 < min(want) < max(want) and want[0] != want[1]


def test_dropped_clusters_cost_recall_and_coverage_and_outliers_precision():
    real = np.concatenate([normal(0, 40), normal(1, 40) + 50])
    assert prdc(real, real, 3) == prdc(real, real, 1) == (1, 1, 1, 1)
    dropped = prdc(real, real[:40], 3)
    assert (dropped.precision, dropped.recall, dropped.coverage) == (1, 0.5, 0.5)
    strayed = prdc(real, np.concatenate([real, normal(2, 20) - 90]), 3)
    assert (strayed.precision, strayed.coverage) == (0.8, 1)
    assert strayed.density == pytest.approx(0.8)


def test_a_perfect_generator_has_the_density_and_coverage_that_are_promised():
    found = [prdc(normal(2 * s, 60), normal(2 * s + 1, 60), 2) for s in range(60)]
    # A real row is missed if its k nearest of all others are real: (n - 1)_k / (2n - 1)_k.
    want = 1 - 59 * 58 / (119 * 118)
    assert abs(want - (1 - 2**-2)) < 1 / 60
    for name, mean in (("coverage", want), ("density", 1)):
        values = [getattr(f, name) for f in found]
        assert abs(np.mean(values) - mean) < 4 * np.std(values) / np.sqrt(60)


def test_copies_are_told_from_new_samples():
    train, test = normal(0, 300), normal(1, 100)
    assert 0.8 < memorization(train, test, normal(2, 100)) < 1.25
    assert memorization(train, test, train[:100]) == 0
    noisy = train[:100] + 0.01 * normal(3, 100)
    assert memorization(train, test, noisy) < 0.1
    median = lambda x: np.median(np.linalg.norm(train[:, None] - x, axis=2).min(axis=0))
    want = median(noisy) / median(test)
    np.testing.assert_allclose(memorization(train, test, noisy), want, rtol=1e-10)
    with pytest.raises(ValueError, match="half of the test rows are training rows"):
        memorization(train, train, test)


def test_seven_even_classes_of_eight_diverge_as_scipy_says():
    from scipy.spatial.distance import jensenshannon

    found = class_histogram_jsd(np.arange(8), np.repeat(np.arange(7), 3), 8)
    np.testing.assert_allclose(found, 0.0454065781, rtol=1e-8)
    p, q = np.array([0, 1, 1, 2]), np.array([2, 2, 0, 2, 2])
    want = jensenshannon([1, 2, 1], [1, 0, 4]) ** 2
    both = class_histogram_jsd(p, q, 3), class_histogram_jsd(q, p, 3)
    np.testing.assert_allclose(both, want, rtol=1e-10)
    assert class_histogram_jsd(p[:1], q[:2], 3) == pytest.approx(np.log(2), rel=1e-12)
    assert class_histogram_jsd(p, np.tile(p, 2), 3) == 0


class Outputs(Features):
    """What the loop hands to an eval, and a diary of what was asked for."""

    def __init__(self, seed=0, n=40, shift=0.1):
        rng = np.random.default_rng(seed)
        self.real = {s: rng.uniform(0, 0.5, (n, 2, 2, 1)) for s in ("val", "test")}
        self.made = {s: x + shift for s, x in self.real.items()}
        self.asked = []

    def generated(self, split):
        self.asked.append(split)
        return {"image": self.made[split]}

    def rows(self, split):
        return {"image": self.real[split]}


def pixels(images):
    assert images.ndim == 4
    return images.reshape(len(images), -1)


judge = generation(pixels, encoder="pixels")


@pytest.mark.parametrize("final", [False, True])
def test_the_eval_holds_each_half_against_as_many_samples(final):
    features = Outputs()
    found = judge(features, final)
    assert set(features.asked) == {"test" if final else "val"}
    np.testing.assert_allclose(found["fid"], 4 * 0.1**2, rtol=1e-8)  # a shift, row by row
    features.made = dict(features.real)
    same = judge(features, final)
    assert same.pop("fid") < 1e-8 > same.pop("kid")
    assert same.pop("fid/real_halves") == found["fid/real_halves"] > 0.001
    assert same == dict.fromkeys(("precision", "recall", "density", "coverage"), 1)


def test_a_perfect_generator_gets_what_real_halves_get():
    rows = []
    for seed in range(30):
        features, samples = Outputs(seed), Outputs(seed + 1000).real["test"]
        features.made["test"] = samples
        found = judge(features, True)
        whole = fid(pixels(features.real["test"]), pixels(samples))
        rows.append((found["fid"], found["fid/real_halves"], whole))
    got, floor, whole = np.array(rows).T
    assert abs((got - floor).mean()) < 3 * (got - floor).std() / np.sqrt(30)
    assert whole.mean() < 0.7 * floor.mean()  # of twice as many rows: no fair floor


def test_a_fixed_n_uses_so_many_rows_and_needs_them():
    features = Outputs()
    of = lambda n: generation(pixels, encoder="pixels", n=n)(features, True)
    assert of(10)["fid/real_halves"] > of(20)["fid/real_halves"]
    assert of(20) == judge(features, True)
    with pytest.raises(ValueError, match="40 images are too few for twice 21"):
        of(21)


def test_flat_rows_are_images():
    features = Outputs()
    want = judge(features, True)
    flat = features.made["test"].reshape(40, 4)
    features.made["test"] = flat
    assert judge(features, True) == want


def test_seeds_draw_other_halves_and_the_protocol_says_everything():
    other = generation(pixels, encoder="pixels", seed=1)
    assert other(Outputs(), True) != judge(Outputs(), True)
    assert generation(pixels, "image", 3, 2, encoder="a CNN", n=250).protocol == (
        "samples and real images by a CNN (not comparable with Inception's numbers): "
        "n=250 of each, mean of two halves, seed=2, k=3"
    )
    assert "pixels" in judge.protocol and "n=half of the split" in judge.protocol


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        (np.zeros((40, 5)), r"samples must be .* \[40, 2, 2, 1\] here.* got \[40, 5\]"),
        (np.zeros((20, 2, 2, 1)), r"samples .* got \[20, 2, 2, 1\]"),
        (np.full((40, 4), -1.0), r"samples .* in \[0, 1\], got \[40, 4\], -1 ... -1"),
        (np.full((40, 4), np.nan), r"samples .* in \[0, 1\], got \[40, 4\], nan"),
    ],
)
def test_samples_that_are_no_images_are_refused(samples, message):
    features = Outputs()
    features.made["test"] = samples
    with pytest.raises(ValueError, match=message):
        judge(features, True)
    with pytest.raises(ValueError, match=r"real images must be .* \[0, 2, 2, 1\]"):
        judge(Outputs(n=0), True)


def test_what_has_no_value_is_refused(unhooked):
    x, nan = cloud(0), np.full((9, 5), np.nan)
    for metric in (fid, kid, lambda a, b: prdc(a, b, 3)):
        for bad in (x[:, :3], x[:1], nan, x[0]):
            with pytest.raises(ValueError, match=r"rows, one width, got \[\[60, 5\]"):
                metric(x, bad)
    for k, message in ((9, r"prdc needs 10\+ finite rows"), (0, "prdc needs k >= 1")):
        with pytest.raises(ValueError, match=message):
            prdc(x, x[:9], k)
    with pytest.raises(ValueError, match=r"size 2 ... 60, got 50, 61"):
        kid_subsets(0, x, x, size=61)
    with pytest.raises(ValueError, match="classes 0 ... 2"):
        class_histogram_jsd(np.array([0, 3]), np.array([1]), 3)


def test_few_wide_rows_have_the_frechet_distance_of_their_covariances():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(7, 1025)), 2 * rng.normal(size=(9, 1025)) + 0.1
    long = frechet_distance(*feature_stats(x), *feature_stats(y))
    assert fid(x, y) == pytest.approx(long, rel=1e-6)
    wide = rng.normal(size=(2, 6, 150_528))  # a covariance has 181 GB
    assert fid(*wide) > 0
