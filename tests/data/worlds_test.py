"""Every answer of a composed task, told again by other means."""

from itertools import combinations

import jax
import numpy as np
import pytest

from jssl.data import worlds
from jssl.data.worlds import DIRECTIONS, glyph_scenes, moving

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def digits():
    """Digits of scikit-learn, every pixel four: float32 [300, 16, 16, 1] and labels."""
    from sklearn.datasets import load_digits

    found = load_digits()
    glyphs = (found.images[:300] / 16).astype(np.float32)
    glyphs = glyphs.repeat(2, axis=1).repeat(2, axis=2)
    return glyphs[..., None], found.target[:300].astype(np.int32)


@pytest.fixture(scope="module")
def draw(digits):
    """96 scenes of up to four glyphs on 48 x 48, compiled once."""

    def make(seed=0, glyphs=digits[0], labels=digits[1], overlap=0.3):
        key = jax.random.key(seed)
        return jax.device_get(glyph_scenes(key, glyphs, labels, 96, 48, overlap=overlap))

    return make


@pytest.fixture(scope="module")
def drawn(draw):
    return draw()


@pytest.fixture(scope="module")
def drifting(digits):
    """800 clips, 100 of each direction."""
    return jax.device_get(moving(jax.random.key(2), *digits, 800, frames=4, size=24))


def _inside(mask, box):
    x0, y0, x1, y1 = box.astype(int)
    return mask[y0:y1, x0:x1]


def test_scenes_have_the_promised_shapes_types_and_range(drawn):
    wanted = {
        "image": ((96, 48, 48, 1), np.float32),
        "mask": ((96, 48, 48), np.int32),
        "boxes": ((96, 4, 4), np.float32),
        "label": ((96, 4), np.int32),
        "valid": ((96, 4), np.bool_),
    }
    assert {name: (x.shape, x.dtype.type) for name, x in drawn.items()} == wanted
    assert drawn["image"].min() == 0 and drawn["image"].max() == 1


def test_a_scene_has_one_to_four_digits_each_number_as_often_as_others(draw, digits):
    from scipy import stats

    found = [draw(seed, overlap=1.0) for seed in range(4)]  # room for all
    counts = np.bincount(np.concatenate([x["valid"].sum(1) for x in found]), minlength=5)
    assert counts[0] == 0 and stats.chisquare(counts[1:]).pvalue > 0.01
    classes = np.concatenate([x["label"][x["valid"]] for x in found])
    share = np.bincount(digits[1]) / 300 * len(classes)
    assert stats.chisquare(np.bincount(classes), share).pvalue > 0.01


def test_what_is_no_object_says_so_everywhere(drawn):
    none = ~drawn["valid"]
    assert none.any() and (drawn["label"][none] == -1).all()
    assert (drawn["boxes"][none] == 0).all() and (drawn["label"][~none] >= 0).all()


def test_boxes_overlap_no_more_than_allowed_and_some_do(drawn):
    worst = 0.0
    for boxes, valid in zip(drawn["boxes"], drawn["valid"], strict=True):
        for a, b in combinations(boxes[valid], 2):
            both = np.zeros((2, 48, 48), bool)  # count pixels
            for canvas, box in zip(both, (a, b), strict=True):
                _inside(canvas, box)[:] = True
            worst = max(worst, both.all(0).sum() / both.any(0).sum())
    assert 0.2 < worst <= 0.3


def test_without_overlap_each_side_of_a_box_touches_its_glyph(draw):
    found = draw(overlap=0.0)
    assert found["valid"].sum() > 100
    for i, k in np.argwhere(found["valid"]):
        seen = _inside(found["mask"][i], found["boxes"][i, k])
        assert set(np.unique(seen)) <= {0, found["label"][i, k] + 1}
        assert all(side.any() for side in (seen[0], seen[-1], seen[:, 0], seen[:, -1]))


def test_boxes_hold_all_of_the_mask_and_agree_with_its_labels(drawn):
    for i, mask in enumerate(drawn["mask"]):
        covered = np.zeros_like(mask, bool)
        for box, label in zip(drawn["boxes"][i], drawn["label"][i], strict=True):
            _inside(covered, box)[:] |= _inside(mask, box) == label + 1
        assert (covered == (mask > 0)).all()


def test_a_later_glyph_covers_an_earlier_one_whose_box_stays_whole(draw):
    glyphs = np.zeros((300, 16, 16, 1), np.float32)
    glyphs[:, 1:15, 3:11] = 1  # 14 rows, 8 columns
    found = draw(glyphs=glyphs, labels=np.arange(300), overlap=1.0)
    covered = 0
    for i, mask in enumerate(found["mask"]):
        expected = np.zeros_like(mask)
        for k in np.flatnonzero(found["valid"][i]):
            box = found["boxes"][i, k]
            assert (box[2:] - box[:2]).tolist() == [8, 14]
            covered += (_inside(expected, box) > 0).any()
            _inside(expected, box)[:] = found["label"][i, k] + 1
        np.testing.assert_array_equal(mask, expected)
    assert covered > 10


def test_a_glyph_without_room_or_without_ink_is_left_out(draw):
    full = np.ones((300, 16, 16, 1), np.float32)
    wanted = draw(glyphs=full, overlap=1.0)["valid"]
    placed = draw(glyphs=full, overlap=0.0)["valid"]
    assert placed[:, 0].all() and not (placed & ~wanted).any()
    assert (wanted & ~placed).sum() > 5
    faint = draw(glyphs=np.float32(0.3) * full)
    assert not faint["valid"].any() and not faint["mask"].any()


def test_brightness_parts_neither_digits_from_clutter_nor_one_digit_from_another(draw):
    found = [draw(seed) for seed in range(4)]
    image = np.stack([x["image"][..., 0] for x in found])
    mask = np.stack([x["mask"] for x in found])
    level = (image * 32).astype(int).clip(0, 31)
    seen = np.zeros((32, 11))
    np.add.at(seen, (level[:2], mask[:2]), 1)
    posterior = seen / seen.sum(0)  # each class as likely: the best rule of brightness
    truth, level = mask[2:], level[2:]
    guess = 1 + posterior[:, 1:].argmax(1)[level]
    right = [(guess[truth == c] == c).mean() for c in range(1, 11)]
    assert np.mean(right) < 0.12  # of ten classes
    assert (mask[image > 0.4] == 0).mean() > 0.2


def test_a_linear_classifier_of_single_pixels_stays_below_the_bar(drawn):
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import jaccard_score

    x, y = drawn["image"].reshape(-1, 1), drawn["mask"].ravel()
    half = len(x) // 2
    guess = LogisticRegression(tol=1e-2).fit(x[:half:29], y[:half:29]).predict(x[half::5])
    score = jaccard_score(y[half::5], guess, average="macro", zero_division=0)
    assert score < 0.15  # the catalogue's; .08 is all background


def test_clips_have_the_promised_shapes_and_even_directions(drifting):
    assert drifting["video"].shape == (800, 4, 24, 24, 1)
    assert drifting["video"].dtype == np.float32
    assert drifting["label"].dtype == drifting["digit"].dtype == np.int32
    assert np.bincount(drifting["label"]).tolist() == [100] * 8
    assert DIRECTIONS.sum(0).tolist() == [0, 0]
    np.testing.assert_array_equal(DIRECTIONS[4:], -DIRECTIONS[:4])


def _steps(video, size, speed):
    """(down, right) between frames, where their circular correlation peaks."""
    spectrum = np.fft.fft2(video[..., 0])
    cross = np.fft.ifft2(spectrum[:, 1:] * spectrum[:, :-1].conj()).real
    peak = cross.reshape(*cross.shape[:2], -1).argmax(-1)
    shift = np.stack(np.unravel_index(peak, (size, size)), -1)
    return ((shift + size // 2) % size - size // 2) / speed


def test_correlation_finds_the_labeled_motion_and_its_opposite_in_reversed_clips(drifting):
    way = DIRECTIONS[drifting["label"]][:, None]
    ahead = _steps(drifting["video"], 24, 2)
    np.testing.assert_array_equal(ahead, np.broadcast_to(way, ahead.shape))
    back = _steps(drifting["video"][:, ::-1], 24, 2)
    opposite = DIRECTIONS[(drifting["label"] + 4) % 8][:, None]
    np.testing.assert_array_equal(back, np.broadcast_to(opposite, back.shape))


def test_what_leaves_comes_back_on_the_other_side(drifting):
    size = 24
    for video, label in zip(drifting["video"][:40], drifting["label"][:40], strict=True):
        for t, frame in enumerate(video[..., 0]):
            rolled = np.roll(video[0, ..., 0], 2 * t * DIRECTIONS[label], (0, 1))
            np.testing.assert_array_equal(frame, rolled)
    edges = drifting["video"][..., 0][..., [0, size - 1]]
    assert (edges > 0.3).any()


def test_starts_and_glyphs_are_even_whatever_the_direction():
    from scipy import stats

    dots, labels = np.ones((4, 1, 1, 1), np.float32), np.arange(4)
    found = jax.device_get(
        moving(jax.random.key(6), dots, labels, 4096, frames=3, size=8, speed=3)
    )
    tables = [np.zeros((8, n)) for n in (4, 8, 8, 8, 8)]
    first, last = (np.argwhere(found["video"][:, t, ..., 0])[:, 1:] for t in (0, 2))
    columns = [found["digit"], first[:, 0], first[:, 1], last[:, 0], last[:, 1]]
    for table, column in zip(tables, columns, strict=True):
        np.add.at(table, (found["label"], column), 1)
        assert stats.chisquare(table.sum(0)).pvalue > 0.001
        assert stats.chi2_contingency(table).pvalue > 0.001


@pytest.mark.parametrize("frame", [0, 3])
def test_one_frame_tells_nothing_of_the_motion(drifting, frame):
    from sklearn.linear_model import LogisticRegression

    x = drifting["video"][:, frame].reshape(800, 12, 2, 12, 2).mean((2, 4))
    x, y = x.reshape(800, 144), drifting["label"]
    right = LogisticRegression(max_iter=500).fit(x[:400], y[:400]).score(x[400:], y[400:])
    assert abs(right - 1 / 8) < 3 * np.sqrt(1 / 8 * 7 / 8 / 400)


def test_the_key_decides_everything(draw, drawn, digits):
    again, other = draw(), draw(1)
    for name, x in drawn.items():
        np.testing.assert_array_equal(again[name], x)
        assert (other[name] != x).any()
    a, b = (moving(jax.random.key(k), *digits, 800, 4, 24)["label"] for k in (0, 1))
    assert (a != b).any()


def test_both_can_be_traced_and_keep_their_shapes(digits, drawn, drifting):
    key = jax.random.key(0)
    still = jax.eval_shape(
        lambda k, *glyphs: glyph_scenes(k, *glyphs, 96, 48), key, *digits
    )
    clips = jax.eval_shape(lambda k, *x: moving(k, *x, 800, 4, 24), key, *digits)
    for traced, made in ((still, drawn), (clips, drifting)):
        assert {k: (x.shape, x.dtype) for k, x in traced.items()} == {
            k: (x.shape, x.dtype) for k, x in made.items()
        }


def test_scenes_that_no_block_divides_are_all_made(drawn):
    assert 96 % worlds.TOGETHER and drawn["valid"].any(1).all()
    assert len(np.unique(drawn["image"].reshape(96, -1), axis=0)) == 96


@pytest.mark.parametrize("make", [glyph_scenes, moving])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"glyphs": np.zeros((5, 8, 8, 1), np.uint8)}, r"glyphs must be float\[m, h, w, 1"),
        ({"glyphs": np.zeros((5, 8, 8), np.float32)}, r"glyphs must be float\[m, h, w, 1"),
        ({"glyphs": np.full((5, 8, 8, 1), 255.0)}, "divide bytes by 255"),
        ({"glyphs": np.full((5, 8, 8, 1), np.nan)}, r"in \[0, 1\]"),
        ({"labels": np.zeros(4, np.int32)}, r"labels must be int\[m=5\]"),
        ({"labels": np.full(5, -1)}, "a label -1"),
        ({"count": 0}, "count and the number of glyphs must be at least 1"),
        ({"size": 7}, "8x8 on 7x7"),
    ],
)
def test_what_does_not_fit_is_refused(make, change, message):
    good = {"glyphs": np.zeros((5, 8, 8, 1), np.float32), "labels": np.zeros(5, np.int32)}
    with pytest.raises(ValueError, match=message):
        make(jax.random.key(0), **{**good, "count": 2, "size": 16, **change})


@pytest.mark.parametrize(
    ("make", "settings", "message"),
    [
        (glyph_scenes, {"most": 0}, "most must be at least 1"),
        (glyph_scenes, {"overlap": 1.5}, "overlap in"),
        (moving, {"frames": 1}, "frames must be at least 2"),
        (moving, {"size": 16, "speed": 8}, "speed 1 to less than half the size 16"),
    ],
)
def test_settings_without_a_meaning_are_refused(make, settings, message):
    glyphs, labels = np.zeros((5, 8, 8, 1), np.float32), np.zeros(5, np.int32)
    with pytest.raises(ValueError, match=message):
        make(jax.random.key(0), glyphs, labels, 2, **settings)
