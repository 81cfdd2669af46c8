import numpy as np
import pytest

from jssl.evals import Features, accuracy, macro_f1


class Classifier(Features):
    """Logits of two splits, by name."""

    def __init__(self, logits, y):
        self.logits, self.y = logits, np.array(y, np.int32)

    def __call__(self, split, name="h"):
        return {"logits": self.logits}[name] if split == "val" else -self.logits

    def labels(self, split):
        return self.y


LOGITS = np.array([[2, 1, 0], [0, 1, 2], [0, 3, 1], [1, 0, 0]], np.float32)


def test_top1_counts_the_highest_logits_that_are_right():
    features = Classifier(LOGITS, [0, 2, 2, 0])
    assert accuracy()(features, False) == {"top1": 0.75}


def test_top1_is_judged_on_test_in_the_end():
    features = Classifier(LOGITS, [2, 0, 0, 1])
    assert accuracy()(features, True) == {"top1": 1.0}


def test_two_classifiers_of_a_method_have_a_number_each():
    features = Classifier(LOGITS, [0, 2, 2, 0])
    assert accuracy(metric="student_top1")(features, False) == {"student_top1": 0.75}


def test_one_of_the_largest_logits_is_right():
    features = Classifier(LOGITS, [1, 1, 2, 2])
    assert accuracy(top=2)(features, False) == {"top1": 0.75}
    assert accuracy(metric="top3", top=3)(features, False) == {"top3": 1.0}


def test_an_output_that_the_method_lacks_is_named():
    with pytest.raises(ValueError, match="val split has no 'student'"):
        accuracy("student")(Classifier(LOGITS, [0, 0, 0, 0]), False)


def test_a_label_without_a_logit_is_refused():
    with pytest.raises(ValueError, match="go up to 3, but 'logits' has 3 columns"):
        accuracy()(Classifier(LOGITS, [0, 1, 2, 3]), False)


def test_macro_f1_is_that_of_scikit_learn():
    from sklearn.metrics import f1_score

    draw = np.random.default_rng(0)
    logits = draw.normal(size=(60, 4)).astype(np.float32)
    logits[:, 3] -= 9  # never predicted
    y = draw.integers(0, 4, 60)
    wanted = f1_score(y, logits.argmax(1), average="macro")
    assert macro_f1()(Classifier(logits, y), False)["macro_f1"] == pytest.approx(wanted)
    assert accuracy()(Classifier(logits, y), False)["top1"] != pytest.approx(wanted)
