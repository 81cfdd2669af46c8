"""Fields: decoding, rows without a network, pictures and checks of each kind of column."""

import jax.numpy as jnp
import numpy as np
import pytest

from jssl import data
from jssl.data import (
    Edges,
    Field,
    Image,
    Index,
    Labels,
    Numbers,
    Sound,
    Text,
    Tokens,
    Video,
)
from jssl.pictures import Clip, Graph, Grid
from jssl.pictures import Sound as Heard

IDS = np.array([[1, 2, 2], [0, 1, 0]], np.uint8)
WORDS = Tokens(("<pad>", "cat", "dog"))


def source(columns, batch=2, **more):
    return data.dataset("mine", {"train": columns}, batch, **more)


def test_bytes_are_pixels_only_where_they_are_an_image():
    columns = {
        "image": np.full((2, 1, 1, 1), 255, np.uint8),
        "segments": np.full((2, 1, 1), 255, np.uint8),
        "tokens": IDS,
    }
    read = source(columns, fields={"tokens": WORDS})
    batch = read.decode(next(read.scan()))
    assert batch["image"].dtype == jnp.float32 and float(batch["image"].max()) == 1
    assert batch["segments"].dtype == jnp.uint8 and int(batch["segments"].max()) == 255
    assert batch["tokens"].dtype == jnp.int32
    np.testing.assert_array_equal(batch["tokens"], IDS)


def test_samples_of_16_bits_become_numbers_from_minus_1_to_1():
    wave = np.array([[-(2**15), 2**14]], np.int16)
    assert Sound().decode(jnp.asarray(wave)).tolist() == [[-1.0, 0.5]]
    floats = jnp.array([[0.25, -0.5]])
    assert Sound().decode(floats) is floats


def test_a_bag_of_words_counts_tokens_that_are_not_masked():
    batch = {"mask": jnp.array([[1, 1, 1], [0, 1, 0]])}
    counts = WORDS.plain(jnp.asarray(IDS, jnp.int32), batch)
    assert counts.tolist() == [[0, 1, 2], [0, 1, 0]]


def test_rare_words_of_a_large_vocabulary_are_not_counted():
    many = Tokens(tuple(map(str, range(3000))))
    ids = jnp.array([[0, 0, 2047, 2048, 2999]])
    (counts,) = np.asarray(many.plain(ids, {}))
    assert counts.shape == (2048,)
    assert counts[0] == 2 and counts[2047] == 1 and counts.sum() == 3


def test_plain_rows_join_all_columns_but_targets_masks_and_row_numbers():
    columns = {
        "image": np.zeros((2, 2, 2, 1), np.uint8),
        "tokens": IDS,
        "mask": np.ones((2, 3), np.float32),
        "label": np.array([0, 1]),
        "pose": np.ones((2, 4), np.float32),
    }
    read = source(columns, fields={"tokens": WORDS, "pose": Numbers()})
    assert read.plain(read.decode(next(read.scan()))).shape == (2, 4 + 3)
    assert read.plain_name == "raw input"
    pixels = source({"image": columns["image"]})
    assert pixels.plain_name == "raw pixels"
    ids = source({"node": np.arange(2)})
    assert ids.plain(ids.decode(next(ids.scan()))) is None


@pytest.mark.parametrize(
    ("shape", "size", "name"),
    [
        ((28, 28, 1), 784, "raw pixels"),
        ((32, 32, 1), 1024, "raw pixels"),
        ((32, 32, 3), 16 * 16 * 3, "raw pixels, 16x16"),
        ((40, 8, 4), 16 * 8 * 4, "raw pixels, 16x8"),
        ((4, 4, 100), 1600, "raw pixels"),
    ],
)
def test_pixels_of_large_images_are_averaged_and_so_named(shape, size, name):
    images = np.random.default_rng(0).integers(0, 256, (2, *shape), np.uint8)
    read = source({"image": images})
    h = read.plain(read.decode(next(read.scan())))
    assert h.shape == (2, size)
    assert read.plain_name == name
    np.testing.assert_allclose(h.mean(1), images.mean((1, 2, 3)) / 255, atol=0.01)


def test_frames_of_long_clips_are_averaged():
    clips = {"video": np.zeros((2, 5, 32, 24, 1), np.uint8)}
    read = source(clips)
    assert read.plain(read.decode(next(read.scan()))).shape == (2, 5 * 16 * 16)
    assert read.plain_name == "raw input, 16x16"


def test_unlabeled_streams_carry_no_target_of_any_name():
    columns = {
        "tokens": IDS,
        "tags": np.zeros((2, 3), int),
        "pose": np.ones((2, 4), np.float32),
    }
    fields = {"tokens": WORDS, "tags": Labels(), "pose": Numbers()}
    read = source(columns, fields=fields)
    assert set(next(read.stream())) == {"tokens", "index"}
    assert set(next(read.scan())) == {"tokens", "tags", "pose", "index"}
    assert read.target_columns() == {"tags": (3,), "pose": (4,)}
    taught = source(columns, fields=fields, labeled=True)
    assert set(next(taught.stream())) == {"tokens", "tags", "pose", "index"}
    np.testing.assert_array_equal(read.targets("pose"), columns["pose"])
    with pytest.raises(ValueError, match="mine/train has no column 'depth'; it has tokens"):
        read.targets("depth")


def test_strings_stay_on_the_host():
    columns = {"tokens": IDS, "caption": np.array(["a cat", "a dog"])}
    read = source(columns, fields={"tokens": WORDS, "caption": Text()})
    assert set(next(read.scan())) == {"tokens", "index"}
    assert read.column("caption").tolist() == ["a cat", "a dog"]
    assert read.at([1])["caption"].tolist() == ["a dog"]


def test_an_index_stands_for_items_or_windows_of_the_context():
    context = {"book": jnp.array([5, 6, 7, 8])}
    item, window = Index("book"), Index("book", length=2)
    starts = jnp.array([0, 2])
    assert item.take(starts, context).tolist() == [5, 7]
    assert window.take(starts, context).tolist() == [[5, 6], [7, 8]]
    assert "a b" in Index("book", 2, Tokens(tuple("......ab"))).shown(
        np.array([[1]]), (), {"book": jnp.array([5, 6, 7, 6])}
    )


def test_every_kind_has_its_picture():
    assert isinstance(Image().shown(np.zeros((2, 3, 4, 4, 1))), Grid)
    assert Image().shown(np.zeros((2, 3, 4, 4, 2))) is None
    assert isinstance(Video().shown(np.zeros((2, 3, 5, 4, 4, 3))), Clip)
    assert isinstance(Sound().shown(np.zeros((2, 3, 90))), Heard)
    assert isinstance(Edges().shown(np.zeros((2, 3, 5, 5))), Graph)
    assert "cat dog dog" in WORDS.shown(IDS[None].astype(int), ("query", "nearest 1"))
    assert Field().shown(np.zeros((2, 3))) is None


@pytest.mark.parametrize(
    ("kind", "array", "message"),
    [
        (
            Image(),
            np.zeros((2, 4, 4), np.uint8),
            r"x must be uint8\[n, h, w, c\]",
        ),
        (Video(), np.zeros((2, 4, 4, 1), np.uint8), r"x must be uint8\[n, t, h, w, c\]"),
        (Sound(), np.zeros((2, 9)), r"x must be int16 or float32 .* got float64\[2, 9\]"),
        (WORDS, np.array([[3]]), "x: tokens must be 0 to 2, got 3 to 3"),
        (WORDS, np.zeros((2, 3)), r"x must be int\[n, l\], got float64\[2, 3\]"),
        (Labels(), np.zeros(2), r"x must be int\[n\], got float64\[2\]"),
        (Numbers(), np.zeros(2, int), r"x must be float\[n\] or float\[n, k\], got int64"),
        (Edges(), np.zeros((2, 3, 4)), r"x must be \[n, v, v\], got float64\[2, 3, 4\]"),
        (Text(), np.zeros(2), r"x must be strings \[n\], got float64\[2\]"),
        (Index("x"), np.zeros(2), r"x must be int\[n\], got float64\[2\]"),
    ],
)
def test_a_column_of_another_kind_is_refused_in_one_line(kind, array, message):
    with pytest.raises(ValueError, match=message):
        kind.check("x", array)


def test_the_names_of_columns_and_of_the_context_do_not_meet():
    with pytest.raises(ValueError, match="may be called 'x', the name of a context"):
        source({"x": np.zeros(2)}, context={"x": np.zeros(5)})
    with pytest.raises(ValueError, match="may be called 'index', the name of row"):
        source({"index": np.zeros(2)})


def test_a_context_is_whole_in_every_batch_and_part_of_the_digest():
    nodes, graph = {"node": np.arange(4)}, np.eye(4, dtype=np.float32)
    read = source(nodes, context={"graph": graph})
    batch = read.decode(next(read.stream()), read.decoded_context())
    np.testing.assert_array_equal(batch["graph"], graph)
    assert batch["node"].shape == (2,)
    other = source(nodes, context={"graph": 2 * graph})
    assert read.digest != other.digest
    assert read.digest != source(nodes).digest


def test_rows_that_are_met_once_come_in_their_order_and_then_end():
    read = source({"x": np.arange(7.0)}, batch=3, passes="once")
    assert read.steps(1) == 2
    assert [b["x"].tolist() for _, b in zip(range(2), read.stream(), strict=False)] == [
        [0, 1, 2],
        [3, 4, 5],
    ]
    assert next(read.stream(start=1))["x"].tolist() == [3, 4, 5]
    with pytest.raises(ValueError, match="read once: epochs must be at most 1, got 2"):
        read.steps(2)
    with pytest.raises(ValueError, match="no rows left at step 2: it is read once"):
        next(read.stream(start=2))
    with pytest.raises(ValueError, match="is read once, in its own order"):
        read.stream(order=[0, 1])
    with pytest.raises(ValueError, match="passes must be .* got 'twice'"):
        source({"x": np.arange(7.0)}, passes="twice")
