import itertools
import logging

import jax
import numpy as np
import pytest
from PIL import Image

from jssl.data import labels_per_class, load
from jssl.data.decoding import fit


def save(path, value, h=6, w=6):
    path.parent.mkdir(parents=True, exist_ok=True)
    color = np.full((h, w, 3), value, np.uint8)
    Image.fromarray(color).save(path)


@pytest.fixture
def pets(tmp_path):
    """Twenty cats of grey 0 to 19, twenty dogs of grey 100 to 119."""
    for i in range(20):
        save(tmp_path / "cat" / f"{i:02d}.png", i)
        save(tmp_path / "dog" / "more" / f"{i:02d}.png", 100 + i)
    return tmp_path


def first(k, batches):
    return list(itertools.islice(batches, k))


def assert_same(a, b):
    for x, y in zip(a, b, strict=True):
        assert x.keys() == y.keys()
        jax.tree.map(np.testing.assert_array_equal, x, y)


def test_a_folder_a_class_gives_labels_in_the_order_of_names(pets):
    train = load(f"folder:{pets}", 4, labeled=True)
    parts = [train.split(part) for part in ("train", "val", "test")]
    assert [part.size for part in parts] == [32, 4, 4]
    assert train.classes == 2
    gray = np.concatenate([part.table["image"][:, 0, 0, 0] for part in parts])
    np.testing.assert_array_equal(np.sort(gray), [*range(20), *range(100, 120)])
    for part in parts:
        dogs = part.table["image"][:, 0, 0, 0] >= 100
        np.testing.assert_array_equal(part.labels(), dogs)
        assert part.labels().mean() == 0.5


def test_a_flat_folder_has_no_labels(tmp_path):
    for i in range(10):
        save(tmp_path / f"{i}.png", i)
    save(tmp_path / "album" / "10.PNG", 10)
    (tmp_path / "notes.txt").write_text("not a picture")
    (tmp_path / "._0.png").write_text("what macOS leaves behind")
    train = load(f"folder:{tmp_path}", 4)
    assert train.classes == 0
    assert train.size == 9
    assert next(train.scan()).keys() == {"image", "index"}
    with pytest.raises(ValueError, match="train has no labels"):
        load(f"folder:{tmp_path}", 4, labeled=True)


def test_train_val_and_test_may_be_on_top(tmp_path):
    for part, n in (("train", 12), ("validation", 3), ("test", 5)):
        for i in range(n):
            save(tmp_path / part / "ab"[i % 2] / f"{i}.png", i)
    train = load(f"folder:{tmp_path}", 4)
    assert [train.split(part).size for part in ("train", "val", "test")] == [12, 3, 5]
    assert train.classes == 2


def test_val_is_a_tenth_of_train_where_it_is_missing(tmp_path):
    for part, n in (("train", 20), ("test", 5)):
        for i in range(n):
            save(tmp_path / part / f"{i}.png", i)
    train = load(f"folder:{tmp_path}", 4)
    assert [train.split(part).size for part in ("train", "val", "test")] == [18, 2, 5]


def test_a_class_that_train_has_not_is_refused(tmp_path):
    save(tmp_path / "train" / "cat" / "0.png", 0)
    save(tmp_path / "val" / "cow" / "0.png", 0)
    with pytest.raises(ValueError, match=r"val/cow is not a class of train: \['cat'\]"):
        load(f"folder:{tmp_path}", 1)


def test_a_stream_from_disk_is_the_stream_from_memory(pets):
    table = load(f"folder:{pets}", 4, labeled=True, size=5)
    disk = load(f"folder:{pets}", 4, labeled=True, size=5, resident=0)
    assert disk.table is None
    assert table.records is None
    assert_same(first(11, disk.stream(3)), first(11, table.stream(3)))
    assert_same(list(disk.split("val").scan()), list(table.split("val").scan()))
    assert disk.shapes() == table.shapes()
    few = [labels_per_class(source, 3, seed=1) for source in (disk, table)]
    assert_same(*[list(source.scan()) for source in few])
    np.testing.assert_array_equal(*[source.labels() for source in few])


def test_pictures_of_many_sizes_are_cut_square(tmp_path):
    save(tmp_path / "a.png", 10, h=40, w=20)
    save(tmp_path / "b.jpg", 20, h=200, w=300)
    for x in "cdef":
        save(tmp_path / f"{x}.png", 30, h=9, w=8)
    source = load(f"folder:{tmp_path}", 1, size=8)
    assert source.table["image"].shape == (4, 8, 8, 3)
    with pytest.raises(ValueError, match=r"has shape .*, others have .*; .* size=32"):
        load(f"folder:{tmp_path}", 1)


def test_the_short_side_is_resized_and_the_center_kept():
    noise = np.random.default_rng(0).integers(0, 256, (10, 30, 3)).astype(np.uint8)
    wide = Image.fromarray(noise)
    wanted = wide.resize((15, 5), Image.Resampling.BICUBIC).crop((5, 0, 10, 5))
    np.testing.assert_array_equal(fit(wide, 5, 3), wanted)


def test_a_large_jpeg_is_the_same_picture_decoded_coarsely(tmp_path):
    ramp = np.linspace(0, 255, 400).astype(np.uint8)
    ramps = np.broadcast_to(ramp[:, None, None], (400, 400, 3))
    Image.fromarray(ramps.copy()).save(tmp_path / "x.jpg", quality=95)
    with Image.open(tmp_path / "x.jpg") as found:
        came = fit(found, 10, 3)
    wanted = ramp.reshape(10, 40).mean(1)
    # Bicubic edges and the JPEG's rounding move a smooth ramp by a few levels.
    np.testing.assert_allclose(came[:, 5, 1], wanted, atol=6)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "P", "1", "LA", "CMYK"])
@pytest.mark.parametrize("channels", [1, 3])
def test_pictures_of_every_mode_get_the_channels_asked_for(mode, channels, tmp_path):
    picture = Image.new("RGB", (4, 4), (255, 255, 255)).convert(mode)
    picture.save(tmp_path / ("x.tif" if mode == "CMYK" else "x.png"))
    picture.save(tmp_path / ("y.tif" if mode == "CMYK" else "y.png"))
    picture.save(tmp_path / ("z.tif" if mode == "CMYK" else "z.png"))
    image = load(f"folder:{tmp_path}", 1, channels=channels).table["image"]
    np.testing.assert_array_equal(image, np.full((1, 4, 4, channels), 255))


def test_sixteen_bits_are_refused_rather_than_clipped(tmp_path):
    for i in range(3):
        Image.fromarray(np.full((4, 4), 500, np.uint16)).save(tmp_path / f"{i}.png")
    with pytest.raises(ValueError, match="png cannot be read .* not 8 bits per channel"):
        load(f"folder:{tmp_path}", 1)


@pytest.fixture
def spoilt(pets):
    """Pets, with a cat cut short, a dog that is no picture, and an empty file."""
    save(pets / "cat" / "00.png", np.arange(108).reshape(6, 6, 3), 6, 6)
    for name, content in {
        "cat/00.png": (pets / "cat" / "00.png").read_bytes()[:-40],
        "dog/more/05.png": b"a dog",
        "dog/more/07.png": b"",
    }.items():
        (pets / name).write_bytes(content)
    return pets


@pytest.mark.parametrize("resident", [0, 2**20])
def test_a_corrupt_file_is_refused_by_name(spoilt, resident):
    message = "png cannot be read as an image: .*; corrupt='skip' skips such files"
    with pytest.raises(ValueError, match=message):
        source = load(f"folder:{spoilt}", 1, size=6, resident=resident)
        for part in "train", "val", "test":
            list(source.split(part).scan())


def test_corrupt_files_are_left_out_of_a_table_and_named(spoilt, caplog):
    with caplog.at_level(logging.WARNING):
        train = load(f"folder:{spoilt}", 1, size=6, corrupt="skip")
        parts = [train.split(part) for part in ("train", "val", "test")]
    assert sum(part.size for part in parts) == 37
    for part in parts:
        dogs = part.table["image"][:, 0, 0, 0] >= 100
        np.testing.assert_array_equal(part.labels(), dogs)
    named = [record.getMessage() for record in caplog.records]
    assert len(named) == 3
    for file in "cat/00.png", "dog/more/05.png", "dog/more/07.png":
        assert sum(file in line for line in named) == 1


def test_a_sound_file_stands_in_for_a_corrupt_one_in_a_stream(spoilt, caplog):
    knobs = {"corrupt": "skip", "resident": 0}
    with caplog.at_level(logging.WARNING):
        source = load(f"folder:{spoilt}", 1, labeled=True, **knobs)
        rows = list(source.scan()) + list(source.scan())
    assert len(rows) == 2 * source.size == 64
    assert_same(rows[:32], rows[32:])
    for row in rows:
        np.testing.assert_array_equal(row["label"], row["image"][:, 0, 0, 0] >= 100)
    named = [record.getMessage() for record in caplog.records]
    assert len(named) == len(set(named)) <= 3  # once a file, though read twice


def test_a_folder_of_nothing_sound_is_refused(tmp_path):
    for i in range(3):
        (tmp_path / f"{i}.png").write_bytes(b"")
    for knobs in {}, {"size": 4}:
        with pytest.raises(ValueError, match="none of the 1 images"):
            load(f"folder:{tmp_path}", 1, corrupt="skip", **knobs)
    source = load(f"folder:{tmp_path}", 1, corrupt="skip", size=4, resident=0)
    with pytest.raises(ValueError, match="none of the 1 images"):
        next(source.stream())


def test_impossible_folders_and_knobs_are_refused(tmp_path):
    with pytest.raises(ValueError, match="no such folder .*nowhere"):
        load(f"folder:{tmp_path}/nowhere", 1)
    with pytest.raises(ValueError, match="contains no images"):
        load(f"folder:{tmp_path}", 1)
    with pytest.raises(ValueError, match="must be 'refuse' or 'skip', got 'x'"):
        load(f"folder:{tmp_path}", 1, corrupt="x")
    with pytest.raises(ValueError, match="size must be a positive .* got 0"):
        load(f"folder:{tmp_path}", 1, size=0)
    with pytest.raises(ValueError, match="channels must be 1 .* got 4"):
        load(f"folder:{tmp_path}", 1, channels=4)


@pytest.mark.slow
def test_worker_processes_keep_the_order(pets):
    knobs = {"size": 5, "resident": 0}
    alone = load(f"folder:{pets}", 4, **knobs)
    helped = load(f"folder:{pets}", 4, workers=2, threads=1, **knobs)
    assert_same(first(5, helped.stream(2)), first(5, alone.stream(2)))
