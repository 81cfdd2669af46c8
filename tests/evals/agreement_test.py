"""Agreement of samples with the class they were asked for, and of pairs of samples."""

import numpy as np
import pytest

from jssl.evals import Features, attribute_agreement, class_agreement, pixel_agreement

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


def unlike(y):
    """Pairs x, 1 - x, but a fifth of the second images is of another class."""
    one = CENTERS[y]
    two = 1 - CENTERS[np.where(np.arange(len(y)) < 4, (y + 1) % 3, y)]
    return {"image": one, "negative": two}


@pytest.mark.parametrize("final", [False, True])
def test_the_pixels_and_classes_of_pairs_are_compared(final):
    features = Samples(unlike)
    judge = pixel_agreement(lambda x: 1 - x, ("image", "negative"))
    found = judge(features, final)
    assert features.asked == ["test" if final else "val"]
    # Two of three pixels differ between classes: 1 - 4 / 20 * 2 / 3.
    assert found["pixel_agreement"] == pytest.approx(1 - 0.2 * 2 / 3)
    assert found["pair_class"] == pytest.approx(0.8)
    made = unlike(features.truth["test" if final else "val"])
    next_one = np.roll(made["negative"], 1, axis=0)
    other = (1 - made["image"] == next_one).mean()
    assert found["pixel_agreement/other"] == pytest.approx(other)
    same = (made["image"].argmax(1) == next_one.argmin(1)).mean()
    assert found["pair_class/other"] == pytest.approx(same)


def test_pairs_without_labels_have_no_classes():
    class Unlabeled(Samples):
        def labels(self, split):
            raise ValueError("no labels")

    found = pixel_agreement(lambda x: 1 - x, ("image", "negative"))(Unlabeled(unlike), True)
    assert set(found) == {"pixel_agreement", "pixel_agreement/other"}


def test_pairs_of_unlike_shapes_and_single_samples_are_refused():
    with pytest.raises(ValueError, match="must generate image and second, it gen.* image"):
        pixel_agreement(lambda x: x)(Samples(lambda y: {"image": CENTERS[y]}), True)
    pairs = Samples(lambda y: {"image": CENTERS[y], "second": CENTERS[y][:, :2]})
    with pytest.raises(ValueError, match=r"one shape, got \[20, 3\] and \[20, 2\]"):
        pixel_agreement(lambda x: x)(pairs, True)


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
