import hashlib

import numpy as np
import pytest

from jssl.evals.zero_shot import zero_shot, zero_shot_predict, zero_shot_weights

NAMES = ["three", "seven", "nought", "one"]
TEMPLATES = ["a photo of a {}", "a small {}", "{}, handwritten"]
H = np.random.default_rng(0).normal(size=(50, 6)).astype(np.float32)


def _encode(texts, d=6):
    """An untrained tower: a random vector that depends on the text alone."""
    seeds = [int(hashlib.sha256(text.encode()).hexdigest()[:8], 16) for text in texts]
    return np.stack([np.random.default_rng(s).normal(size=d) for s in seeds])


def test_weights_are_those_of_a_loop_over_templates():
    found = zero_shot_weights(_encode, NAMES, TEMPLATES)
    for c, name in enumerate(NAMES):
        total = np.zeros(6)
        for template in TEMPLATES:
            text = _encode([template.format(name)])[0]
            total += text / np.sqrt(text @ text)
        mean = total / 3
        np.testing.assert_allclose(found[:, c], mean / np.sqrt(mean @ mean), rtol=1e-12)


def test_one_template_is_the_plain_text():
    text = _encode(["a small " + name for name in NAMES])
    plain = text / np.linalg.norm(text, axis=1, keepdims=True)
    found = zero_shot_weights(_encode, NAMES, ["a small {}"])
    np.testing.assert_allclose(found, plain.T, rtol=1e-12)


def test_templates_given_twice_change_nothing():
    once, twice = (zero_shot_weights(_encode, NAMES, TEMPLATES * n) for n in (1, 2))
    np.testing.assert_allclose(once, twice, rtol=1e-12)


def test_texts_count_by_their_direction():
    def louder(texts):
        return _encode(texts) * np.arange(1, 4)[:, None]

    want = zero_shot_weights(_encode, NAMES, TEMPLATES)
    np.testing.assert_allclose(
        zero_shot_weights(louder, NAMES, TEMPLATES), want, rtol=1e-12
    )


def test_an_order_of_class_names_is_the_order_of_columns():
    order = [2, 0, 3, 1]
    plain = zero_shot_weights(_encode, NAMES, TEMPLATES)
    moved = zero_shot_weights(_encode, [NAMES[i] for i in order], TEMPLATES)
    np.testing.assert_allclose(moved, plain[:, order], rtol=1e-12)
    p, q = zero_shot_predict(H, plain), zero_shot_predict(H, moved)
    np.testing.assert_allclose(q, p[:, order], rtol=1e-9)


@pytest.mark.parametrize("scale", [1.0, 14.3])
def test_probabilities_are_those_of_scipys_softmax(scale):
    from scipy.special import softmax

    weights = zero_shot_weights(_encode, NAMES, TEMPLATES)
    rows = H.astype(np.float64)
    cosine = np.array([[h @ w / np.linalg.norm(h) for w in weights.T] for h in rows])
    want = softmax(scale * cosine, axis=1)
    # Two cosines, each rounded to 5e-10, times the scale.
    np.testing.assert_allclose(zero_shot_predict(H, weights, scale), want, rtol=1.5e-8)


def test_the_scale_changes_no_arg_max():
    weights = zero_shot_weights(_encode, NAMES, TEMPLATES)
    cold, warm = (zero_shot_predict(H, weights, s).argmax(axis=1) for s in (100.0, 0.01))
    np.testing.assert_array_equal(cold, warm)


def test_untrained_towers_are_at_chance(splits):
    features = splits(sizes=(1, 1, 2000))
    rng = np.random.default_rng(1)
    features.arrays["test"] = rng.normal(size=(2000, 6)).astype(np.float32)
    features.truth["test"] = rng.integers(4, size=2000)
    (right,) = zero_shot(_encode, NAMES, TEMPLATES)(features, True).values()
    # Three standard deviations of 2,000 draws.
    assert abs(right - 1 / 4) < 3 * np.sqrt(3 / 16 / 2000)


@pytest.mark.parametrize("final", [False, True])
def test_the_eval_is_the_share_of_judged_rows_nearest_to_their_name(final, splits):
    features = splits()
    centers = {  # a tower that has learnt where the classes are, and forgets the template
        name: features.arrays["train"][features.truth["train"] == c].mean(axis=0)
        for c, name in enumerate(NAMES[:3])
    }

    def encode(texts):
        return np.stack([centers[text.split()[-1]] for text in texts])

    evaluate = zero_shot(encode, NAMES[:3], ["a photo of a {}", "a small {}"])
    (right,) = evaluate(features, final).values()
    split = "test" if final else "val"
    h, y = features.arrays[split], features.truth[split]
    unit = np.stack([center / np.linalg.norm(center) for center in centers.values()])
    assert right == pytest.approx(np.mean((h @ unit.T).argmax(axis=1) == y))
    assert right > 0.6
    assert features.asked == [split]


def test_collapsed_towers_name_the_first_class(splits):
    features = splits()

    def constant(texts):
        return np.full((len(texts), 6), 0.3, np.float32)

    for h in features.arrays.values():
        h[:] = 0.7
    (right,) = zero_shot(constant, NAMES, TEMPLATES)(features, True).values()
    assert right == np.mean(features.truth["test"] == 0)


def test_classes_apart_by_rounding_alone_go_to_the_first():
    column = zero_shot_weights(_encode, NAMES[:1], TEMPLATES)
    p = zero_shot_predict(H, np.hstack([column, column * (1 + 1e-14), column]))
    np.testing.assert_array_equal(p, np.full((50, 3), 1 / 3))
    assert (p.argmax(axis=1) == 0).all()


def test_rows_of_zeros_give_every_class_the_same():
    weights = zero_shot_weights(_encode, NAMES, TEMPLATES)
    np.testing.assert_allclose(zero_shot_predict(0 * H, weights), 1 / 4)
    weights = zero_shot_weights(lambda texts: np.zeros((len(texts), 6)), NAMES, TEMPLATES)
    np.testing.assert_allclose(zero_shot_predict(H, weights), 1 / 4)


def test_protocols_tell_settings_apart():
    every = [(NAMES, TEMPLATES), (NAMES[:2], TEMPLATES), (NAMES, TEMPLATES[:2])]
    every += [(NAMES[::-1], TEMPLATES), (NAMES, [*TEMPLATES[:2], "the {}"])]
    protocols = {zero_shot(_encode, *texts).protocol for texts in every}
    assert len(protocols | {zero_shot(_encode, NAMES, TEMPLATES, "h").protocol}) == 6


def _flat(texts):
    return np.zeros(6)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: zero_shot(_encode, [], TEMPLATES), "got 0 and 3"),
        (lambda: zero_shot(_encode, NAMES, []), "got 4 and 0"),
        (lambda: zero_shot(_encode, NAMES, "a {}"), "lists of texts, got one"),
        (lambda: zero_shot(_encode, NAMES, ["a cat"]), "needs \"{}\", got 'a cat'"),
        (lambda: zero_shot_weights(_flat, NAMES, TEMPLATES), r"\[3, d\] .* got \[6\]"),
        (lambda: zero_shot_predict(H, np.eye(5)), r"weights must be float\[d=6, c\]"),
        (lambda: zero_shot_predict(H, np.eye(6), 0.0), "positive, got 0.0"),
        (lambda: zero_shot_predict(H / 0, np.eye(6)), "must be finite"),
    ],
)
def test_what_does_not_fit_is_refused(call, message, unhooked):
    with np.errstate(all="ignore"), pytest.raises(ValueError, match=message):
        call()


def test_labels_without_a_name_are_refused(splits):
    with pytest.raises(ValueError, match="go up to 2, but there are 2 class names"):
        zero_shot(_encode, NAMES[:2], TEMPLATES)(splits(), False)
