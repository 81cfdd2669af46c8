"""Action recognition: each head against loops, and dots whose motion is known."""

import jax
import numpy as np
import pytest

from jssl.evals import Features
from jssl.evals import clips as module
from jssl.evals.clips import (
    action,
    cell_means,
    conv_init,
    conv_logits,
    differences,
    time_mean,
)

pytestmark = pytest.mark.slow

WAYS = [(0, 1), (1, 1), (1, 0), (1, -1), (0, -1), (-1, -1), (-1, 0), (-1, 1)]
SIZES = {"train": 200, "val": 80, "test": 160}
CHANCE, SPREAD = 1 / 8, np.sqrt(1 / 8 * 7 / 8 / 160)


@pytest.fixture
def x():
    """Clips of 6 frames of 4 cells and 3 channels."""
    return np.random.default_rng(0).normal(size=(5, 6, 4, 3)).astype(np.float32)


@pytest.mark.parametrize("shape", [(7, 5), (8, 8), (2, 9), (4, 4)])
def test_cells_are_the_means_of_what_they_cover(shape):
    h, w = shape
    maps = np.random.default_rng(1).normal(size=(2, h, w, 3)).astype(np.float32)
    expected = []
    for i in range(min(4, h)):
        for j in range(min(4, w)):
            a, b = min(4, h), min(4, w)
            top, bottom = int(np.floor(i * h / a)), int(np.ceil((i + 1) * h / a))
            left, right = int(np.floor(j * w / b)), int(np.ceil((j + 1) * w / b))
            expected.append(maps[:, top:bottom, left:right].mean((1, 2)))
    np.testing.assert_allclose(cell_means(maps), np.stack(expected, 1), atol=1e-6)


def test_differences_are_those_of_a_loop(x):
    for clip, found in zip(x, differences(x), strict=True):
        pairs = []
        for i in range(4):
            for j in range(i + 1, 4):
                ahead = [clip[t, i] @ clip[t + 1, j] for t in range(5)]
                back = [clip[t, j] @ clip[t + 1, i] for t in range(5)]
                pairs.append(np.mean(ahead) - np.mean(back))
        means = [clip[:, i].mean() for i in range(4)]
        np.testing.assert_allclose(found, pairs + means, atol=1e-5)


def test_a_clip_played_backwards_has_the_opposite_differences_and_a_still_one_none(x):
    ahead, back = differences(x), differences(x[:, ::-1])
    np.testing.assert_allclose(ahead[:, :6], -back[:, :6], atol=1e-6)
    np.testing.assert_allclose(ahead[:, 6:], back[:, 6:], atol=1e-6)
    still = differences(np.repeat(x[:, :1], 6, axis=1))
    np.testing.assert_allclose(still[:, :6], 0, atol=1e-5)


def test_the_convolution_is_that_of_a_loop(x):
    params = {k: np.asarray(v) for k, v in conv_init(jax.random.key(0), 12, 3).items()}
    rng = np.random.default_rng(2)
    params["shift"] = rng.normal(size=module.WIDTH).astype(np.float32)
    params["weights"] = rng.normal(size=(module.WIDTH, 3)).astype(np.float32)
    rows = x.reshape(5, 6, 12)
    hidden = np.zeros((5, module.WIDTH))
    for t in range(2):  # six frames, five at a time
        seen = sum(rows[:, t + o] @ params["kernel"][o] for o in range(5))
        hidden += np.maximum(seen + params["shift"], 0) / 2
    expected = hidden @ params["weights"] + params["bias"]
    convolve = jax.jit(conv_logits)
    np.testing.assert_allclose(convolve(params, rows), expected, atol=1e-4)
    mixed = convolve(params, rows[:, [3, 1, 5, 0, 2, 4]])
    assert np.abs(mixed - expected).max() > 0.1  # order matters


def test_the_mean_over_time_is_blind_to_order(x):
    mixed = x[:, [3, 1, 5, 0, 2, 4]]
    np.testing.assert_allclose(time_mean(x), time_mean(mixed), atol=1e-6)
    assert time_mean(x).shape == (5, 12)


def test_the_kernel_begins_with_hes_variance():
    kernel = conv_init(jax.random.key(0), 200, 8)["kernel"]
    np.testing.assert_allclose(kernel.std(), np.sqrt(2 / (5 * 200)), rtol=0.02)


def test_fewer_rows_than_numbers_are_solved_as_scikit_learn_does():
    from sklearn.linear_model import LogisticRegression

    rng = np.random.default_rng(3)
    x = rng.normal(2, 3, (40, 2, 5, 12)).astype(np.float32)
    y = rng.integers(3, size=40)
    h = x.mean(1).reshape(40, 60).astype(np.float64)
    more = rng.normal(2, 3, (50, 2, 5, 12)).astype(np.float32)
    mean, std = h.mean(0), h.std(0)
    theirs = LogisticRegression(C=1 / (0.1 * 40), tol=1e-8, max_iter=1000)
    theirs.fit((h - mean) / std, y)
    expected = theirs.predict((more.mean(1).reshape(50, 60) - mean) / std)
    found = module._solved(time_mean, x, y, 0.1)(more)
    np.testing.assert_array_equal(found, expected)


class Pixels(Features):
    """An encoder whose maps are the pixels, and whose rows are how much is lit."""

    def __init__(self):
        self.calls, self.broken = [], lambda x: x

    def __call__(self, split, name="h"):
        raise AssertionError("the split's own images are not asked for")

    def of(self, rows, name="h"):
        images = rows["image"]
        self.calls.append(images.shape)
        return self.broken(images if name == "maps" else images.sum((1, 2)))


@pytest.fixture
def clips():
    """A dot that moves by one of 4 x 4 cells a frame; a diary of the splits."""
    tables = {}
    for seed, (split, n) in enumerate(SIZES.items()):
        rng = np.random.default_rng(seed)
        label = rng.permutation(np.arange(n) % 8).astype(np.int32)
        place = rng.integers(8, size=(n, 2))
        video = np.zeros((n, 7, 8, 8, 1), np.float32)
        for t in range(7):
            row, column = ((place + 2 * t * np.array(WAYS)[label]) % 8).T
            video[np.arange(n), t, row, column] = 1
        tables[split] = {"video": video, "label": label}

    def give(split):
        give.asked.append(split)
        return tables[split]

    give.asked, give.tables = [], tables
    return give


@pytest.mark.parametrize("head", ["difference", "conv"])
def test_motion_is_found_and_neither_in_one_frame_nor_beyond_its_axis_in_shuffled_ones(
    head, clips
):
    found = action(clips, head=head, steps=100, lr=(1e-2,))(Pixels(), True)
    recalls = {f"action/recall@{k}" for k in (1, 5, 10)}
    controls = {"action", "action/single_frame", "action/shuffled"}
    assert set(found) == controls | recalls
    assert found["action"] > 0.9
    assert abs(found["action/single_frame"] - CHANCE) < 3 * SPREAD
    assert found["action/shuffled"] < 0.5 + 3 * np.sqrt(0.25 / 160)


def test_a_head_that_is_blind_to_order_finds_no_direction(clips):
    found = action(clips, head="mean")(Pixels(), True)
    assert found["action"] < 0.5
    assert found["action/shuffled"] == pytest.approx(found["action"], abs=0.02)


@pytest.mark.parametrize("head", ["difference", "conv", "gru"])
def test_clips_played_backwards_are_said_to_go_the_opposite_way(head, clips):
    opposite = [(i + 4) % 8 for i in range(8)]
    evaluate = action(clips, head=head, steps=150, lr=(1e-2,), opposite=opposite)
    assert evaluate(Pixels(), True)["action/reversed"] > 0.9
    test = clips.tables["test"]
    test["video"] = test["video"][:, ::-1]
    assert evaluate(Pixels(), True)["action"] < 0.1
    test["label"] = (test["label"] + 4) % 8
    assert evaluate(Pixels(), True)["action"] > 0.9


def test_what_is_pooled_over_all_places_knows_no_motion(clips):
    found = action(clips, name="h", steps=20, lr=(1e-2,))(Pixels(), True)
    assert abs(found["action"] - CHANCE) < 3 * SPREAD


def test_an_appearance_that_gives_the_motion_away_is_seen_in_the_single_frame(clips):
    for table in clips.tables.values():
        table["video"] = table["video"] + table["label"].reshape(-1, 1, 1, 1, 1) / 8
    found = action(clips, head="difference")(Pixels(), True)
    assert found["action/single_frame"] > 0.9


def test_the_rate_is_chosen_on_val_then_fitted_again_and_judged_on_test(clips):
    def judged(fit, split, lr):
        video, y = (
            np.concatenate([clips.tables[part][field] for part in fit])
            for field in ("video", "label")
        )
        cells = {
            s: cell_means(v.reshape(-1, 8, 8, 1))
            for s, v in (("fit", video), ("judge", clips.tables[split]["video"]))
        }
        seen = {s: v.reshape(-1, 7, 16, 1) for s, v in cells.items()}
        predict = module._trained(module._of_conv, seen["fit"], y, lr, steps=60, seed=0)
        return np.mean(predict(seen["judge"]) == clips.tables[split]["label"])

    slow, fast = (judged(["train"], "val", lr) for lr in (1e-5, 1e-2))
    assert slow < fast
    evaluate = action(clips, steps=60, lr=(1e-2, 1e-5))
    assert evaluate(Pixels(), False)["action"] == pytest.approx(fast)
    expected = judged(["train", "val"], "test", 1e-2)
    assert evaluate(Pixels(), True)["action"] == pytest.approx(expected)


def test_nothing_asks_for_test_while_training_and_few_clips_are_embedded_at_once(clips):
    features = Pixels()
    action(clips, head="mean")(features, False)
    assert clips.asked == ["train", "val"]
    assert max(len_ for len_, *_ in features.calls) == 7 * module.TOGETHER
    assert sum(len_ for len_, *_ in features.calls) == 7 * (200 + 80)


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (lambda x: x[..., 0], r"'maps' of the train clips must be finite maps"),
        (lambda x: x[:-1], r"got \[447, 8, 8, 1\] for 448 frames"),
        (lambda x: x * np.nan, "must be finite"),
    ],
)
def test_maps_that_are_none_are_refused(clips, broken, message):
    features = Pixels()
    features.broken = broken
    with pytest.raises(ValueError, match=message):
        action(clips, head="mean")(features, False)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"label": None}, "need 'video' and 'label', got"),
        ({"label": np.full(200, -1)}, "labels >= 0"),
        ({"label": np.zeros(9, int)}, r"label must be int\[m=200\]"),
        ({"video": np.zeros((200, 1, 8, 8, 1))}, "at least 2 frames .* clips of 1"),
        ({"video": np.zeros((200, 8, 8, 1))}, r"video must be float\[m, t, h, w, c\]"),
    ],
)
def test_clips_that_are_none_are_refused(clips, change, message):
    table = {**clips.tables["train"], **change}
    clips.tables["train"] = {k: v for k, v in table.items() if v is not None}
    with pytest.raises(ValueError, match=message):
        action(clips)(Pixels(), False)


def test_a_single_cell_has_no_differences(clips):
    with pytest.raises(ValueError, match="'h' has one cell"):
        action(clips, name="h", head="difference")(Pixels(), False)


@pytest.mark.parametrize(
    "change", [{"head": "deep"}, {"steps": 0}, {"lr": ()}, {"lr": (0.0,)}]
)
def test_settings_without_a_meaning_are_refused(clips, change):
    with pytest.raises(ValueError, match="head must be one of mean, concat, difference"):
        action(clips, **change)


def test_protocols_tell_settings_apart(clips):
    changes = [{}, {"head": "mean"}, {"head": "difference"}, {"steps": 9}, {"lr": [1.0]}]
    changes += [{"seed": 1}, {"task": "x"}, {"name": "h"}]
    assert len({action(clips, **x).protocol for x in changes}) == len(changes)


class Whole(Features):
    """An encoder of clips: products of the places of the dot in successive frames."""

    names = ("h",)
    broken = staticmethod(lambda x: x)

    def of(self, rows, name="h"):
        video = rows["video"]
        cells = cell_means(video.reshape(-1, 8, 8, 1)).reshape(*video.shape[:2], 16)
        steps = np.einsum("nti,ntj->nij", cells[:, :-1], cells[:, 1:])
        return self.broken({"h": steps.reshape(len(video), -1)}[name])


class Framed(Whole):
    """An encoder of frames of clips."""

    names = ("h", "frames")

    def of(self, rows, name="h"):
        assert name == "frames"
        return self.broken(rows["video"])


OPPOSITE = tuple((i + 4) % 8 for i in range(8))


def test_clip_encoders_are_judged_with_all_controls(clips):
    found = action(clips, column="video", opposite=OPPOSITE)(Whole(), True)
    assert found["action"] > 0.9 and found["action/reversed"] > 0.9
    assert abs(found["action/single_frame"] - CHANCE) < 3 * SPREAD
    assert found["action/shuffled"] < 0.5 + 3 * np.sqrt(0.25 / 160)


def test_frames_of_clips_are_judged_as_images_are(clips):
    """The same numbers, whichever way the frames are given, as numbers or as bytes."""
    of_images = action(clips, head="difference")(Pixels(), True)
    assert action(clips, head="difference", column="video")(Framed(), True) == of_images
    for table in clips.tables.values():
        table["video"] = np.uint8(255 * table["video"])
    assert action(clips, head="difference", column="video")(Framed(), True) == of_images


def test_recall_is_that_of_the_concatenated_frames(clips):
    found = action(clips, head="difference", ks=(1, 3, 999))(Pixels(), True)
    rows = {
        split: cell_means(table["video"].reshape(-1, 8, 8, 1)).reshape(-1, 7 * 16)
        for split, table in clips.tables.items()
    }
    gallery = np.concatenate([rows["train"], rows["val"]])
    known = np.concatenate([clips.tables[x]["label"] for x in ("train", "val")])
    unit = lambda x: x / np.linalg.norm(x, axis=1, keepdims=True)
    best = np.argsort(-(unit(rows["test"]) @ unit(gallery).T), axis=1, kind="stable")
    hit = known[best] == clips.tables["test"]["label"][:, None]
    for k in (1, 3):
        wanted = hit[:, :k].any(1).mean()
        assert found[f"action/recall@{k}"] == pytest.approx(wanted, abs=0.02)  # ties
    assert "action/recall@999" not in found


def test_classes_without_an_opposite_do_not_count(clips):
    only = [4, -1, -1, -1, 0, -1, -1, -1]
    found = action(clips, head="difference", opposite=only)(Pixels(), True)
    assert found["action/reversed"] > 0.9
    wrong = [3, -1, -1, -1, 3, -1, -1, -1]
    assert (
        action(clips, head="difference", opposite=wrong)(Pixels(), True)["action/reversed"]
        < 0.1
    )


@pytest.mark.parametrize(
    ("features", "broken", "message"),
    [
        (Whole, lambda x: x[:, None], r"'h' of the train clips must be finite rows"),
        (Framed, lambda x: x[:, :3], r"'frames' of the train clips must be finite \[n, t"),
    ],
)
def test_representations_of_clips_that_are_none_are_refused(
    clips, features, broken, message
):
    given = features()
    given.broken = broken
    with pytest.raises(ValueError, match=message):
        action(clips, column="video")(given, False)


def test_methods_of_images_need_clips():
    with pytest.raises(ValueError, match="a method of images needs clips"):
        action()
