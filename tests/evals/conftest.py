import numpy as np
import pytest

from jssl.evals import Features


class Splits(Features):
    """Features as the loop hands them to an eval, and a diary of what was asked for."""

    def __init__(self, arrays, labels):
        self.arrays, self.truth = arrays, labels
        self.asked = []

    def __call__(self, split, name="h"):
        self.asked.append(split)
        return self.arrays[split]

    def labels(self, split):
        return self.truth[split]


@pytest.fixture
def clouds():
    """Three overlapping clouds: (split -> h [N, 6], split -> y [N]), none separable."""

    def draw(seed=0, sizes=(90, 45, 60), spread=1.0):
        rng = np.random.default_rng(seed)
        centers = rng.normal(size=(3, 6))
        h, y = {}, {}
        for split, n in zip(("train", "val", "test"), sizes, strict=True):
            y[split] = rng.integers(3, size=n).astype(np.int32)
            noise = spread * rng.normal(size=(n, 6))
            h[split] = (centers[y[split]] + noise).astype(np.float32)
        return h, y

    return draw


@pytest.fixture
def splits(clouds):
    """Those clouds as an eval sees them."""
    return lambda **settings: Splits(*clouds(**settings))
