"""Random resized crops of whole photographs: boxes, pixels, order."""

import hashlib
import itertools
import os
import pickle
import signal
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image

from jssl.data import Crops, load, minibatches, pair, subset
from jssl.data.crops import draws, resized
from jssl.data.decoding import decode

GOLDEN = Path(__file__).parent.parent / "golden" / "host_crops.npz"
SIZES = (500, 375), (333, 500), (60, 900)
CROPS = Crops(count=2, size=12, area=(0.2, 1.0))
KNOBS = {"size": 16, "crops": CROPS, "labeled": True, "threads": 2}


@pytest.fixture(scope="module")
def golden():
    with np.load(GOLDEN) as held:
        return dict(held)


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """40 JPEGs of many sizes in two classes; the numbers of the names are their order."""
    root = tmp_path_factory.mktemp("photos")
    bits = np.random.default_rng(0)
    for i in range(40):
        path = root / "train" / "ab"[i % 2] / f"{i:02}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        low = bits.integers(0, 256, (5, 7, 3), np.uint8)
        Image.fromarray(low).resize((40 + i, 60 - i // 2)).save(path)
    return f"folder:{root}"


def first(k, batches):
    return list(itertools.islice(batches, k))


def assert_same(a, b):
    for x, y in zip(a, b, strict=True):
        assert x.keys() == y.keys()
        jax.tree.map(np.testing.assert_array_equal, x, y)


def measures(boxes, width, height):
    """Area, ratio, and place within the slack, of boxes (left, top, width, height)."""
    left, top, w, h = boxes.astype(float).T
    places = left / np.maximum(width - w, 1), top / np.maximum(height - h, 1)
    return w * h / (width * height), np.log(w / h), *places


def distance(a, b):
    """The largest difference of two empirical distribution functions."""
    every = np.sort(np.concatenate([a, b]))
    below = [np.searchsorted(np.sort(x), every, "right") / len(x) for x in (a, b)]
    return np.abs(below[0] - below[1]).max()


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_boxes_are_distributed_as_torchvisions(width, height, golden):
    """Kolmogorov and Smirnov: of 8,000 draws each, 0.031 is passed once in a thousand."""
    theirs = golden[f"boxes/{width}x{height}"]
    ours = [Crops().boxes(width, height, (0, 0, i))[0] for i in range(len(theirs))]
    pairs = zip(
        *(measures(np.array(x), width, height) for x in (ours, theirs)), strict=True
    )
    assert max(distance(a, b) for a, b in pairs) < 0.031


def test_the_distance_sees_boxes_of_other_distributions(golden):
    theirs = measures(golden["boxes/500x375"], 500, 375)
    for other in (Crops(area=(0.12, 1.0)), Crops(ratio=(0.7, 4 / 3))):
        ours = np.array([other.boxes(500, 375, (0, 0, i))[0] for i in range(8000)])
        found = map(distance, measures(ours, 500, 375), theirs)
        assert max(found) > 0.031


@pytest.mark.parametrize(
    ("width", "height", "box"),
    [(60, 900, (0, 410, 60, 80)), (900, 60, (410, 0, 80, 60)), (50, 50, (0, 0, 50, 50))],
)
def test_if_no_try_fits_the_center_is_cut(width, height, box):
    """As torchvision 0.29.1: w = width, h = round(width / min(ratio)), halves floored."""
    never = np.ones((10, 4)) * [1.0 - 2**-53, 1.0 - 2**-53, 0.0, 0.0]
    assert Crops(area=(1.0, 1.0)).box(width, height, never) == box


@pytest.mark.parametrize("filter", ["bilinear", "bicubic"])
@pytest.mark.parametrize("kind", ["picture", "gray"])
def test_pixels_of_a_box_are_torchvisions(kind, filter, golden):
    picture = Image.fromarray(golden[kind])
    theirs = golden[f"{'crops' if kind == 'picture' else 'gray'}/{filter}"]
    for box, wanted in zip(golden["at"].tolist(), theirs, strict=True):
        found = resized(picture, tuple(box), 24, filter)
        np.testing.assert_array_equal(found.squeeze(), wanted)


def test_draws_are_those_of_philox_in_every_version_of_numpy():
    raw = (draws(1, (1, 2, 3))[0, 0] * 2**53).astype(np.int64)
    assert raw.tolist() == [
        8410421793294420,
        3516343617457641,
        6305737995086124,
        4929689897198575,
    ]


def test_draws_differ_by_seed_step_place_and_crop():
    keys = [(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1), (2**40, 0, 0)]
    every = np.concatenate([draws(2, key).reshape(2, -1) for key in keys])
    assert len(np.unique(every.ravel())) == every.size
    np.testing.assert_array_equal(draws(3, (0, 0, 1))[:2], draws(2, (0, 0, 1)))


def test_training_batches_have_crops_and_scans_have_centers(photos):
    train, plain = load(photos, 4, **KNOBS), load(photos, 4, size=16, labeled=True)
    batch = next(train.stream())
    assert batch["crops"].shape == (4, 2, 12, 12, 3)
    assert {k: (x.shape, x.dtype) for k, x in batch.items()} == {
        k: (x.shape, x.dtype) for k, x in train.shapes().items()
    }
    assert train.initial_shapes().keys() == {"crops", "image", "index", "label"}
    assert train.table is None
    assert train.row_shapes() == plain.row_shapes()
    assert_same(train.scan(), plain.scan())
    assert_same(train.split("val").scan(), plain.split("val").scan())
    assert train.plain_name == "raw pixels"
    decoded = train.decode(batch)["crops"]
    np.testing.assert_array_equal(decoded, batch["crops"].astype(np.float32) / 255)
    assert plain.initial_shapes() == plain.shapes()
    assert plain.shapes().keys() == {"image", "index", "label"}


def test_crops_are_of_the_whole_photograph(photos):
    train = load(photos, 4, **KNOBS)
    batch = first(6, train.stream())[5]
    for place, row in enumerate(batch["index"]):
        name = train.records.name(row)
        whole = Image.fromarray(decode(name, name, None, 3))
        boxes = CROPS.boxes(*whole.size, (0, 5, place))
        wanted = [resized(whole, box, 12, "bilinear") for box in boxes]
        np.testing.assert_array_equal(batch["crops"][place], wanted)


def test_a_stream_resumes_bit_for_bit_in_any_epoch(photos):
    whole = first(20, load(photos, 4, **KNOBS).stream())  # eight steps an epoch
    assert_same(whole[13:], first(7, load(photos, 4, **KNOBS).stream(13)))
    assert not np.array_equal(whole[0]["crops"], whole[8]["crops"])
    other = first(1, load(photos, 4, seed=1, **KNOBS).stream())
    assert not np.array_equal(whole[0]["crops"], other[0]["crops"])


@pytest.mark.parametrize("count", [2, 4])
def test_any_number_of_processes_reads_the_same_batches(count, photos, monkeypatch):
    train = load(photos, 4, **KNOBS)
    whole = first(5, train.stream(2))
    parts = []
    for i in range(count):
        with monkeypatch.context() as patched:
            patched.setattr("jssl.data.rows.process", lambda i=i: (i, count))
            parts.append(first(5, train.stream(2)))
    joined = [
        {k: np.concatenate([part[k] for part in step]) for k in step[0]}
        for step in zip(*parts, strict=True)
    ]
    assert_same(joined, whole)


def test_composite_sources_have_crops(photos):
    train = load(photos, 4, **KNOBS)
    few = subset(train, [3, 1, 5, 8])
    row = first(1, few.stream(order=[0, 1, 2, 3]))[0]
    same = first(1, train.stream(order=[3, 1, 5, 8]))[0]
    np.testing.assert_array_equal(row["crops"], same["crops"])
    two = minibatches(train, 2)
    assert_same(
        [jax.tree.map(lambda x: x[1], next(two.stream(1)))], first(1, train.stream(3))
    )
    assert two.initial_shapes()["crops"].shape == (2, 4, 2, 12, 12, 3)
    both = pair(labeled=few, unlabeled=train)
    batch = next(both.stream())
    shapes = jax.tree.map(lambda x: x.shape, both.shapes())
    assert jax.tree.map(np.shape, batch) == shapes
    assert both.initial_shapes()["unlabeled"].keys() == {"crops", "image", "index"}


def test_the_digest_is_of_the_crops_too(photos):
    plain = load(photos, 4, size=16, resident=0)
    every = [
        load(photos, 4, size=16, crops=crops)
        for crops in (CROPS, Crops(count=2, size=12, area=(0.2, 1.0), filter="bicubic"))
    ]
    assert len({x.digest for x in (plain, *every)}) == 3
    assert plain.split("val").digest != plain.digest
    tables = load(photos, 4, size=16), every[0]
    assert len({x.split("val").digest for x in tables}) == 1
    assert load(photos, 4, size=16, crops=CROPS).digest == every[0].digest


def test_pictures_of_every_mode_are_cut_upright(tmp_path):
    bits = np.random.default_rng(0)
    color = Image.fromarray(bits.integers(0, 256, (30, 50, 3), np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 6
    deep = Image.fromarray(bits.integers(0, 2**16, (30, 50), np.uint16))
    glass = color.copy()
    glass.putalpha(Image.fromarray(bits.integers(0, 256, (30, 50), np.uint8)))
    color.save(tmp_path / "turned.jpg", exif=exif)
    color.convert("CMYK").save(tmp_path / "cmyk.jpg")
    color.convert("L").save(tmp_path / "gray.png")
    color.convert("P").save(tmp_path / "palette.png")
    deep.save(tmp_path / "deep.png")
    glass.save(tmp_path / "glass.png")
    for channels in (1, 3):
        knobs = KNOBS | {"labeled": False, "channels": channels}
        train = load(f"folder:{tmp_path}", 2, **knobs)
        for row in range(len(train)):
            name = train.records.name(row)
            pixels = decode(name, name, None, channels)
            assert pixels.shape[:2] == ((50, 30) if "turned" in name else (30, 50))
            whole = Image.fromarray(pixels.squeeze())
            found = train.records.draw(row, (0, 0, row))["crops"]
            np.testing.assert_array_equal(found, CROPS.cut(whole, (0, 0, row)))


def test_what_cannot_be_read_is_refused_or_the_next_is_cut(tmp_path):
    for i in range(20):
        pixels = np.full((20, 30, 3), 10 * i, np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{i:02}.png")
    bad = sorted(tmp_path.iterdir())[7]
    content = bad.read_bytes()
    bad.write_bytes(content[:60])
    knobs = {"size": 16, "crops": CROPS}
    train = load(f"folder:{tmp_path}", 4, corrupt="skip", **knobs)
    records = train.records
    row = next(i for i in range(len(train)) if records.name(i) == str(bad))
    after = (row + 1) % len(train)
    found, wanted = (records.draw(i, (0, 3, 1))["crops"] for i in (row, after))
    np.testing.assert_array_equal(found, wanted)
    refused = load(f"folder:{tmp_path}", 4, **knobs)
    with pytest.raises(ValueError, match="07.png cannot be read.*corrupt=skip"):
        refused.records.draw(row, (0, 3, 1))


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        ({"count": 0}, "count must be positive, got 0"),
        ({"size": -1}, "size must be positive, got -1"),
        ({"area": (0.5, 0.2)}, r"area must be a range in \(0, 1\], got \(0.5, 0.2\)"),
        ({"area": (0.5, 1.2)}, r"area must be a range in \(0, 1\]"),
        ({"area": (0.0, 1.0)}, r"area must be a range in \(0, 1\]"),
        ({"ratio": (0.0, 1.0)}, "ratio must be a positive range"),
        ({"ratio": (float("nan"), 1.0)}, "ratio must be a positive range"),
        ({"filter": "nearest"}, r"filter must be one of \['bilinear', 'bicubic'\]"),
    ],
)
def test_wrong_settings_are_refused(knobs, message):
    with pytest.raises(ValueError, match=f"Crops: {message}"):
        Crops(**knobs)


def test_data_without_whole_photographs_are_refused():
    with pytest.raises(ValueError, match="digits has no whole images .* folder, hf, tar"):
        load("digits", 4, crops=CROPS)


def test_blank_images_have_the_same_columns(photos):
    blank, real = load("blank:100x2", 4, **KNOBS), load(photos, 4, **KNOBS)
    assert blank.shapes() == real.shapes()
    assert blank.initial_shapes() == real.initial_shapes()
    assert next(blank.stream())["crops"].max() == 0
    assert pickle.loads(pickle.dumps(real.records)).digest == real.digest


READER = """
import hashlib, sys
from jssl.data import Crops, load
crops = Crops(count=2, size=12, area=(0.2, 1.0))
train = load(sys.argv[1], 4, size=16, crops=crops, labeled=True, threads=1, workers=2)
for batch in train.stream(int(sys.argv[2])):
    print(hashlib.sha256(batch["crops"].tobytes()).hexdigest(), flush=True)
"""


@pytest.mark.slow
def test_a_killed_reader_with_workers_resumes_with_the_same_batches(photos):
    """All its processes are killed; the next, and this one without workers, go on."""
    wanted = [
        hashlib.sha256(batch["crops"].tobytes()).hexdigest()
        for batch in first(7, load(photos, 4, **KNOBS).stream())
    ]
    found = []
    for count in (3, 4):
        reader = subprocess.Popen(
            [sys.executable, "-c", READER, photos, str(len(found))],
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        try:
            found += [reader.stdout.readline().strip() for _ in range(count)]
        finally:
            os.killpg(reader.pid, signal.SIGKILL)
            reader.wait()
            reader.stdout.close()
    assert found == wanted
