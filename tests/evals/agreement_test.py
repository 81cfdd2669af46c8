"""Agreement of samples with the class they were asked for."""

import numpy as np
import pytest

from jssl.evals import Features, attribute_agreement, class_agreement

CENTERS = np.eye(3, dtype=np.float32)


class Samples(Features):
    """Three clouds, and samples of the classes `made`."""

    def __init__(self, made):
        draw = np.random.default_rng(0)
        self.truth = {
            x: draw.integers(3, size=n)
            for x, n in (("train", 60), ("val", 20), ("test", 20))
        }
        self.made, self.asked = made, []

    def labels(self, split):
        return self.truth[split]

    def rows(self, split):
        noise = np.random.default_rng(1).normal(size=(len(self.truth[split]), 3))
        return {"image": CENTERS[self.truth[split]] + 0.1 * noise.astype(np.float32)}

    def generated(self, split):
        self.asked.append(split)
        return self.made(self.truth[split])


@pytest.mark.parametrize("final", [False, True])
def test_the_share_of_samples_of_their_class_is_counted(final):
    def made(y):
        wrong = np.arange(len(y)) < 5
        return {"image": CENTERS[np.where(wrong, (y + 1) % 3, y)]}

    features = Samples(made)
    found = class_agreement(k=5)(features, final)
    assert features.asked == ["test" if final else "val"]
    assert found == {"class_agreement": 0.75, "class_agreement/real": 1.0}


def test_a_method_without_samples_is_refused():
    with pytest.raises(ValueError, match="must generate 'image'"):
        class_agreement()(Samples(lambda y: {}), True)


def test_attributes_of_samples_are_compared_with_those_of_their_row():
    """Two attributes, one a column; the first is another in every other sample."""
    measure = lambda x: np.stack([x[:, 0] > 0.5, x[:, 1] > 0.5], 1).astype(int)

    def made(y):
        x = CENTERS[y].copy()
        x[::2, 0] = 1 - x[::2, 0]
        return {"image": x}

    features = Samples(made)
    found = attribute_agreement(measure, ("first", "second"))(features, True)
    assert features.asked == ["test"]
    assert (found["agreement/first"], found["agreement/second"]) == (0.5, 1.0)
    assert 0.3 < found["agreement/second/chance"] < 0.9
    with pytest.raises(ValueError, match="must generate 'image'"):
        attribute_agreement(measure, ("a", "b"))(Samples(lambda y: {}), True)
