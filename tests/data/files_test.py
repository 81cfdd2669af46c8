import itertools
import logging
import shutil
import struct
import warnings

import jax
import numpy as np
import pytest
from PIL import Image

from jssl.data import labels_per_class, load, subset
from jssl.data.decoding import decode, fit, measure


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
    for i in range(11):
        save(tmp_path / f"{i}.PNG", i)
    (tmp_path / "notes.txt").write_text("not a picture")
    (tmp_path / "._0.png").write_text("what macOS leaves behind")
    train = load(f"folder:{tmp_path}", 4)
    assert train.classes == 0
    assert train.size == len(train) == 9
    assert next(train.scan()).keys() == {"image", "index"}
    assert not any(map(train.has_labels, train.split_names()))
    with pytest.raises(ValueError, match="train has no labels"):
        load(f"folder:{tmp_path}", 4, labeled=True)


def test_pictures_beside_class_folders_are_refused_by_name(pets):
    save(pets / "stray.png", 0)
    with pytest.raises(ValueError, match="has 1 images beside its folders .* stray.png"):
        load(f"folder:{pets}", 4)
    train = load(f"folder:{pets}", 4, flat=True)
    assert (train.classes, train.size) == (0, 33)


LAYOUTS = [
    ("train", "val", "test"),
    ("Train", "Val", "Test"),
    ("TRAINING", "valid", "testing"),
    ("train", "dev", "tst"),
    ("Training", "Validation", "test"),
]


@pytest.mark.parametrize("names", LAYOUTS, ids="-".join)
@pytest.mark.parametrize("inside", ["", "archive"])
def test_splits_are_known_by_the_names_people_use(names, inside, tmp_path):
    for name, n in zip(names, (12, 3, 5), strict=True):
        for i in range(n):
            save(tmp_path / inside / name / "ab"[i % 2] / f"{i}.png", i)
    train = load(f"folder:{tmp_path}", 4)
    assert [train.split(part).size for part in ("train", "val", "test")] == [12, 3, 5]
    assert train.class_names == ("a", "b")
    assert not train.warnings


def test_two_names_of_one_split_or_no_train_are_refused(tmp_path):
    save(tmp_path / "train" / "0.png", 0)
    save(tmp_path / "val" / "0.png", 0)
    save(tmp_path / "Validation" / "0.png", 0)
    with pytest.raises(ValueError, match="has both Validation and val: keep one"):
        load(f"folder:{tmp_path}", 1)
    shutil.rmtree(tmp_path / "train")
    with pytest.raises(ValueError, match="has Validation, val and no train"):
        load(f"folder:{tmp_path}", 1)


def test_hidden_and_system_folders_are_no_classes(pets):
    for name in (".git", "__MACOSX", ".ipynb_checkpoints", "@eaDir", "$RECYCLE.BIN"):
        save(pets / name / "x.png", 0)
        save(pets / "cat" / name / "x.png", 0)
    (pets / "Thumbs.db").write_bytes(b"")
    (pets / "cat" / "notes.txt").write_text("fond of milk")
    train = load(f"folder:{pets}", 4)
    assert train.class_names == ("cat", "dog")
    assert train.size == 32
    assert train.summary == (
        "40 images of 6x6; 32 train, 4 val, 4 test; 2 classes: cat 20, dog 20; "
        "passed over: 1 .txt, 11 hidden or system"
    )


def test_every_suffix_that_pillow_reads_is_taken_in_any_case(tmp_path):
    kinds = ["png", "JPEG", "tiff", "tif", "TGA", "jfif", "webp", "bmp", "ppm", "Gif"]
    for i, kind in enumerate(kinds):
        path = tmp_path / f"{i}.{kind}"
        form = {"jfif": "JPEG"}.get(kind)
        Image.new("RGB", (6, 6)).save(path, form)
    assert load(f"folder:{tmp_path}", 1).summary.startswith("10 images of 6x6; 8 train")


def test_each_file_counts_once_however_it_is_linked(pets):
    (pets / "cat" / "above").symlink_to(pets)
    (pets / "ape").symlink_to(pets / "dog")
    (pets / "cat" / "copy.png").symlink_to(pets / "dog" / "more" / "00.png")
    (pets / "cat" / "lost.png").symlink_to(pets / "nowhere.png")
    train = load(f"folder:{pets}", 4)
    assert train.class_names == ("cat", "dog")
    assert "40 images" in train.summary
    assert "passed over: 1 broken links, 3 linked twice" in train.summary


def test_a_linked_folder_from_elsewhere_is_read(tmp_path):
    for i in range(12):
        save(tmp_path / "store" / f"{i}.png", i)
    (tmp_path / "data").mkdir()
    for name in ("cat", "dog"):
        (tmp_path / "data" / name).mkdir()
    (tmp_path / "data" / "cat" / "more").symlink_to(tmp_path / "store")
    save(tmp_path / "data" / "dog" / "x.png", 9)
    train = load(f"folder:{tmp_path / 'data'}", 4)
    assert "cat 12, dog 1" in train.summary


def test_train_and_val_alone_judge_val_and_cut_a_val_from_train(tmp_path, caplog):
    for part, n in (("train", 20), ("val", 6)):
        for i in range(n):
            save(tmp_path / part / "ab"[i % 2] / f"{i}.png", i if part == "train" else 200)
    with caplog.at_level(logging.INFO):
        train = load(f"folder:{tmp_path}", 4)
    assert train.split_names() == ("train", "val", "test")
    assert [len(train.split(x)) for x in train.split_names()] == [18, 2, 6]
    assert (train.split("test").table["image"] == 200).all()
    assert all(map(train.has_labels, train.split_names()))
    line = "no test split: val is judged as test, and 2 images of train are val"
    assert train.warnings == (line,)
    assert f"folder:{tmp_path}: {line}" in [x.getMessage() for x in caplog.records]


def test_a_test_folder_without_classes_is_set_aside(tmp_path):
    for i in range(20):
        save(tmp_path / "train" / "ab"[i % 2] / f"{i}.png", i)
        save(tmp_path / "test" / f"{i}.png", 200)
    train = load(f"folder:{tmp_path}", 4)
    assert {x: len(train.split(x)) for x in train.split_names()} == {
        "train": 16,
        "val": 2,
        "test": 2,
        "test_unlabeled": 20,
    }
    assert not train.has_labels("test_unlabeled")
    assert train.has_labels("test")
    assert train.warnings[0] == "test has no labels, and is set aside as test_unlabeled"


def test_classes_that_vanish_from_val_and_test_are_named(tmp_path):
    for i in range(40):
        save(tmp_path / "common" / f"{i}.png", i)
    save(tmp_path / "rare" / "0.png", 0)
    train = load(f"folder:{tmp_path}", 4)
    assert train.warnings == (
        "1 of 2 classes has no image in val: rare (1 in train)",
        "1 of 2 classes has no image in test: rare (1 in train)",
    )


def test_a_stream_has_another_digest_once_a_picture_changes(pets):
    knobs = dict(resident=0)
    old = load(f"folder:{pets}", 4, **knobs).digest
    assert load(f"folder:{pets}", 4, **knobs).digest == old
    save(pets / "cat" / "03.png", 250)
    assert load(f"folder:{pets}", 4, **knobs).digest != old


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
    message = "images of 3 sizes, 8x9 to 300x200 pixels: give a size, e.g. size=32"
    with pytest.raises(ValueError, match=message):
        load(f"folder:{tmp_path}", 1)
    cut = load(f"folder:{tmp_path}", 1, cut=16)
    assert cut.image_shape == (16, 16, 3)
    assert cut.summary.startswith("6 images of 8x9 to 300x200, cut to 16x16 centers; ")


def test_pictures_of_one_size_are_kept_unless_they_are_large(tmp_path):
    for i in range(3):
        save(tmp_path / "small" / f"{i}.png", i, h=60, w=80)
        save(tmp_path / "large" / f"{i}.png", i, h=150, w=200)
    small = load(f"folder:{tmp_path / 'small'}", 1, cut=16)
    assert small.image_shape == (60, 80, 3)
    with pytest.raises(ValueError, match="images of 80x60 pixels, and squares .* size=60"):
        small.side  # noqa: B018
    assert load(f"folder:{tmp_path / 'large'}", 1, cut=16).side == 16


def test_a_picture_of_another_size_that_was_not_measured_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr("jssl.data.encoded._MEASURED", 2)
    for i in range(8):
        save(tmp_path / f"{i}.png", i, h=9 if i == 2 else 6)
    message = r"2.png has shape \(9, 6, 3\), others have \(6, 6, 3\); give a size"
    with pytest.raises(ValueError, match=message):
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


def test_sixteen_bits_are_scaled_to_eight(tmp_path):
    values = np.array([[0, 257, 65535, 32767]], np.uint16)
    for i in range(3):
        Image.fromarray(values).save(tmp_path / f"{i}.png")
    image = load(f"folder:{tmp_path}", 1, channels=1).table["image"]
    np.testing.assert_array_equal(image[0, ..., 0], [[0, 1, 255, 127]])


def test_floats_are_refused_rather_than_clipped(tmp_path):
    for i in range(3):
        Image.fromarray(np.full((4, 4), 0.5, np.float32)).save(tmp_path / f"{i}.tif")
    with pytest.raises(ValueError, match="tif cannot be read .* not 8 or 16 bits"):
        load(f"folder:{tmp_path}", 1)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparent_parts_become_white_whatever_color_they_hide(mode, tmp_path):
    left = Image.new("RGBA", (4, 2), (0, 0, 0, 0))
    left.paste((0, 0, 0, 255), (2, 0, 4, 2))
    for i in range(3):
        if mode == "P":
            flat = Image.new("P", (4, 2), 1)
            flat.putpalette([0, 0, 0, 10, 20, 30])
            flat.paste(0, (2, 0, 4, 2))
            flat.save(tmp_path / f"{i}.png", transparency=1)
        else:
            left.convert(mode).save(tmp_path / f"{i}.png")
    image = load(f"folder:{tmp_path}", 1).table["image"][0]
    assert (image[:, :2] == 255).all()
    assert (image[:, 2:] == 0).all()


def test_cmyk_is_converted_to_the_colors_that_it_prints(tmp_path):
    for i in range(3):
        Image.new("CMYK", (4, 4), (0, 255, 255, 0)).save(tmp_path / f"{i}.jpg")
    image = load(f"folder:{tmp_path}", 1).table["image"][0]
    assert abs(image.astype(int) - [255, 0, 0]).max() <= 6  # JPEG rounds


def turned(path, orientation, resolution=(1, 1), h=4, w=8):
    """A picture of which the left half is white, with EXIF."""
    halves = Image.new("RGB", (w, h))
    halves.paste("white", (0, 0, w // 2, h))
    exif = Image.Exif()
    exif[0x0112] = orientation
    halves.save(path, exif=exif)
    if resolution == "signed":  # XResolution as a signed fraction, -1 / 0
        entry = struct.pack("<HHI", 0x011A, 10, 1) + struct.pack("<I", 38)
        turn = struct.pack("<HHI", 0x0112, 3, 1) + struct.pack("<HH", orientation, 0)
        body = struct.pack("<H", 2) + turn + entry + struct.pack("<Iii", 0, -1, 0)
        halves.save(path, exif=b"Exif\0\0II*\0" + struct.pack("<I", 8) + body)
    return np.asarray(halves)


TURNS = {  # of the stored array, by EXIF's definition of rows and columns
    1: lambda x: x,
    2: lambda x: x[:, ::-1],
    3: lambda x: x[::-1, ::-1],
    4: lambda x: x[::-1],
    5: lambda x: x.swapaxes(0, 1),
    6: lambda x: x[::-1].swapaxes(0, 1),
    7: lambda x: x[::-1, ::-1].swapaxes(0, 1),
    8: lambda x: x[:, ::-1].swapaxes(0, 1),
}


@pytest.mark.parametrize("resolution", [(1, 1), "signed"], ids=["sound", "malformed"])
@pytest.mark.parametrize("orientation", TURNS)
def test_pictures_are_turned_even_if_other_exif_is_malformed(
    orientation, resolution, tmp_path
):
    path = tmp_path / "x.png"
    stored = turned(path, orientation, resolution)
    wanted = TURNS[orientation](stored)
    np.testing.assert_array_equal(decode(path, path, None, 3), wanted)
    assert measure(path, path) == wanted.shape[1::-1]


@pytest.mark.parametrize(
    "reason", [struct.error("bad"), SyntaxError("bad"), OverflowError("bad"), KeyError(7)]
)
def test_whatever_a_decoder_raises_names_the_file(reason, pets, monkeypatch):
    def broken(*_, **__):
        raise reason

    monkeypatch.setattr("jssl.data.encoded.fit", broken)
    with pytest.raises(ValueError, match=r"\d\d.png cannot be read as an image: .*skip"):
        load(f"folder:{pets}", 4)
    with pytest.raises(ValueError, match="none of the 32 images can be read"):
        load(f"folder:{pets}", 4, corrupt="skip")


def test_a_warning_of_pillow_names_the_file(tmp_path, monkeypatch):
    save(tmp_path / "large.png", 0, h=40, w=40)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    shown = []
    monkeypatch.setattr(warnings, "showwarning", lambda *told: shown.append(str(told[0])))
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        decode(tmp_path / "large.png", "large.png", None, 3)
        warnings.warn("of something else", UserWarning, stacklevel=1)
    assert shown[0].startswith("large.png: Image size (1600 pixels)")
    assert shown[-1] == "of something else"


SPOILT = ("cat/00.png", "dog/more/05.png", "dog/more/07.png")


@pytest.fixture
def spoilt(pets):
    """Pets, with a cat cut short, a dog that is no picture, and an empty file."""
    save(pets / "cat" / "00.png", np.arange(108).reshape(6, 6, 3), 6, 6)
    cut = (pets / "cat" / "00.png").read_bytes()[:-40]
    for name, content in zip(SPOILT, (cut, b"a dog", b""), strict=True):
        (pets / name).write_bytes(content)
    return pets


@pytest.mark.parametrize("resident", [0, 2**20])
def test_a_corrupt_file_is_refused_by_name(spoilt, resident):
    message = "png cannot be read as an image: .*; corrupt=skip skips such files"
    with pytest.raises(ValueError, match=message):
        source = load(f"folder:{spoilt}", 1, size=6, resident=resident)
        for part in "train", "val", "test":
            list(source.split(part).scan())


def test_corrupt_files_are_left_out_of_a_table_and_named(spoilt, caplog):
    with caplog.at_level(logging.WARNING):
        train = load(f"folder:{spoilt}", 1, size=6, corrupt="skip")
        parts = [train.split(part) for part in ("train", "val", "test")]
    assert sum(part.size for part in parts) == 37
    assert [part.readable for part in parts] == [part.size for part in parts]
    lost = sorted(str(spoilt / name) for name in SPOILT)
    assert all(sorted(part.unreadable) == lost for part in parts)
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
    lost = source.unreadable
    assert {str(spoilt / name) for name in SPOILT} >= set(lost)
    assert len(lost) == len(named) > 0
    assert source.readable == 32 - len(lost)
    bad = min(source.records.skipped)
    assert subset(source, [bad, bad + 1]).readable < 2


def test_a_folder_of_nothing_sound_is_refused(tmp_path):
    for i in range(3):
        (tmp_path / f"{i}.png").write_bytes(b"")
    with pytest.raises(ValueError, match="none of the 3 images can be read: .*0.png"):
        load(f"folder:{tmp_path}", 1, corrupt="skip")
    with pytest.raises(ValueError, match="none of the 1 images can be read, from .*png"):
        load(f"folder:{tmp_path}", 1, corrupt="skip", size=4)
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
