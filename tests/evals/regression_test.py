"""Ridge regression: its solution, its score, and what it refuses."""

import numpy as np
import pytest

from jssl.evals import Features, regression, ridge_fit


class Poses(Features):
    """Features x and numbers y of three splits."""

    names = ("h",)

    def __init__(self, n=60, scale=1.0, noise=0.1):
        rng = np.random.default_rng(0)
        true = rng.normal(size=(5, 2))
        self.x = {s: rng.normal(size=(n, 5)) for s in ("train", "val", "test")}
        self.y = {
            s: scale * (x @ true + noise * rng.normal(size=(n, 2)))
            for s, x in self.x.items()
        }

    def __call__(self, split, name="h"):
        return self.x[split]

    def targets(self, split, name="label"):
        return self.y[split]


@pytest.mark.parametrize("shape", [(40, 5), (5, 40)])
def test_the_fit_solves_the_normal_equations_by_either_system(shape):
    rng = np.random.default_rng(0)
    x, y = rng.normal(3, 2, shape), rng.normal(size=(shape[0], 2))
    found = ridge_fit(x, y, 0.5)
    z = (x - x.mean(0)) / x.std(0)
    slope = z.T @ (z @ found.weights - (y - y.mean(0))) + 0.5 * found.weights
    np.testing.assert_allclose(slope, 0, atol=1e-8)


def test_the_score_is_that_of_scikit_learn():
    from sklearn.linear_model import Ridge
    from sklearn.metrics import r2_score

    poses = Poses()
    score = regression("pose", l2_grid=(1.0,))(poses, True)["r2/pose"]
    x, y = (np.concatenate([d["train"], d["val"]]) for d in (poses.x, poses.y))
    z = lambda a: (a - x.mean(0)) / x.std(0)
    theirs = Ridge(alpha=1.0).fit(z(x), y)
    assert score == pytest.approx(
        r2_score(poses.y["test"], theirs.predict(z(poses.x["test"])))
    )


@pytest.mark.parametrize("scale", [1e-12, 1.0, 1e9])
def test_the_units_of_a_target_change_no_score(scale):
    """In units of 1e-12 a score of any prediction used to be 1."""
    judge = regression("pose")
    same = judge(Poses(noise=1.0), True)["r2/pose"]
    assert judge(Poses(noise=1.0, scale=scale), True)["r2/pose"] == pytest.approx(same)
    assert same < 0.95


def test_a_constant_axis_is_predicted_or_not():
    poses = Poses()
    for split in poses.y:
        poses.y[split][:, 1] = 7.0
    first = regression("pose")(Poses(), True)["r2/pose"]
    assert 0.9 < first < 1
    assert regression("pose")(poses, True)["r2/pose"] == pytest.approx(1.0, abs=0.01)
    poses.y["test"][:, 1] = 8.0
    assert regression("pose")(poses, True)["r2/pose"] == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize("which", ["x", "y"])
def test_numbers_that_are_not_finite_are_refused(which):
    poses = Poses()
    getattr(poses, which)["val"][3] = np.nan
    with pytest.raises(ValueError, match="of val must be rows .* with NaN"):
        regression("pose")(poses, False)
