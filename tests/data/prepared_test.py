import io
import itertools
import json
import pickle
import signal
import subprocess
import sys

import jax
import numpy as np
import pytest
from held import assert_val_is_added
from PIL import Image

from jssl.data import Crops, labels_per_class, load

library = pytest.importorskip("tensorflow_datasets")


def encoded(i):
    file = io.BytesIO()
    Image.fromarray(np.full((6, 9, 3), i, np.uint8)).save(file, "PNG")
    file.seek(0)
    return file


def build(folder, name, feature, example, splits, label=lambda split, i: i % 3):
    """Writes a data set of three classes as TFDS does, without TensorFlow."""
    features = {"image": feature, "label": library.features.ClassLabel(num_classes=3)}

    def info(self):
        features_dict = library.features.FeaturesDict(features)
        return library.core.DatasetInfo(builder=self, features=features_dict)

    def rows(split, n):
        for i in range(n):
            yield i, {"image": example(i), "label": label(split, i)}

    def generators(self, _):
        return {split: rows(split, n) for split, n in splits.items()}

    body = {
        "VERSION": library.core.Version("1.0.0"),
        "_info": info,
        "_split_generators": generators,
        "_generate_examples": None,
    }
    base = library.core.GeneratorBasedBuilder
    kind = type(name, (base,), body, skip_registration=True)
    kind(data_dir=folder, file_format="array_record").download_and_prepare()


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tfds")
    gray = library.features.Tensor(shape=(4, 4, 1), dtype=np.uint8)
    splits = {"train": 30, "test": 6, "extra": 4}
    build(folder, "Plain", gray, lambda i: np.full((4, 4, 1), i, np.uint8), splits)
    image = library.features.Image()
    build(folder, "Pictures", image, encoded, {"train": 12, "validation": 4})
    splits = {"train": 20, "validation": 8, "test": 5}
    hidden = lambda split, i: -1 if split == "test" else i % 3
    black = lambda i: np.zeros((4, 4, 1), np.uint8)
    build(folder, "Hidden", gray, black, splits, hidden)
    words = library.features.Tensor(shape=(4,), dtype=np.int32)
    build(folder, "Words", words, lambda i: np.zeros(4, np.int32), {"train": 2})
    return str(folder)


def assert_same(a, b):
    for x, y in zip(a, b, strict=True):
        assert x.keys() == y.keys()
        jax.tree.map(np.testing.assert_array_equal, x, y)


def test_prepared_arrays_are_read_without_tensorflow(data_dir):
    train = load("tfds:plain", 4, labeled=True, data_dir=data_dir)
    parts = {part: train.split(part) for part in ("train", "val", "test", "extra")}
    assert [part.size for part in parts.values()] == [27, 3, 6, 4]
    assert train.classes == 3
    for part in parts.values():
        pixel = part.table["image"][:, 0, 0, 0]
        np.testing.assert_array_equal(part.labels(), pixel % 3)
    both = [parts[part].table["image"][:, 0, 0, 0] for part in ("train", "val")]
    np.testing.assert_array_equal(np.sort(np.concatenate(both)), np.arange(30))
    assert "tensorflow" not in sys.modules


def test_encoded_pictures_are_fitted(data_dir):
    train = load("tfds:pictures", 4, data_dir=data_dir)
    assert train.table["image"].shape == (11, 6, 9, 3)
    assert [len(train.split(part)) for part in ("val", "test")] == [1, 4]
    small = load("tfds:pictures:1.0.0", 4, size=5, channels=1, data_dir=data_dir)
    assert small.table["image"].shape == (11, 5, 5, 1)
    np.testing.assert_array_equal(small.table["image"][:, 2, 2, 0] % 3, small.labels())


@pytest.mark.parametrize("name", ["plain", "pictures"])
def test_a_stream_from_disk_is_the_stream_from_memory(name, data_dir):
    knobs = {"labeled": True, "data_dir": data_dir}
    table = load(f"tfds:{name}", 4, **knobs)
    disk = load(f"tfds:{name}", 4, resident=0, **knobs)
    assert disk.table is None
    pairs = zip(disk.stream(2), table.stream(2), strict=True)
    for a, b in itertools.islice(pairs, 8):
        assert_same([a], [b])
    assert_same(list(disk.scan()), list(table.scan()))
    few = [labels_per_class(source, 2) for source in (disk, table)]
    assert_same(*[list(source.scan()) for source in few])
    assert disk.digest != load(f"tfds:{name}", 4, size=2, resident=0, **knobs).digest


STREAM = """
import json, pickle, sys
from jssl.data import Crops, load
knobs = json.loads(sys.argv[1])
crops = Crops(count=2, size=4) if knobs.pop("cropped") else None
for batch in load(labeled=True, batch=4, resident=0, crops=crops, **knobs).stream():
    pickle.dump(batch, sys.stdout.buffer)
    sys.stdout.flush()
"""


@pytest.mark.parametrize(("name", "cropped"), [("plain", False), ("pictures", True)])
def test_a_stream_that_was_killed_resumes_bit_for_bit(name, cropped, data_dir):
    """Five batches of a process that is killed while it prefetches, then the others."""
    knobs = {"name": f"tfds:{name}", "data_dir": data_dir}
    words = [sys.executable, "-c", STREAM, json.dumps(knobs | {"cropped": cropped})]
    with subprocess.Popen(words, stdout=subprocess.PIPE) as killed:
        seen = [pickle.load(killed.stdout) for _ in range(5)]
        killed.kill()
    assert killed.returncode == -signal.SIGKILL
    crops = Crops(count=2, size=4) if cropped else None
    again = lambda: load(labeled=True, batch=4, resident=0, crops=crops, **knobs)
    whole = list(itertools.islice(again().stream(), 12))
    assert again().table is None and ("crops" in whole[0]) == cropped
    assert_same(seen, whole[:5])
    assert_same(itertools.islice(again().stream(5), 7), whole[5:])


def test_a_data_set_that_is_not_prepared_is_asked_for(data_dir):
    message = "tfds:mnist is not prepared in .* `tfds build mnist --file_format=array"
    with pytest.raises(ValueError, match=message):
        load("tfds:mnist", 4, data_dir=data_dir)


def test_tfrecords_get_the_command_that_converts_them(tmp_path):
    gray = library.features.Tensor(shape=(4, 4, 1), dtype=np.uint8)
    black = np.zeros((4, 4, 1), np.uint8)
    build(tmp_path, "Old", gray, lambda i: black, {"train": 2})
    info = tmp_path / "old" / "1.0.0" / "dataset_info.json"
    content = json.loads(info.read_text())
    info.write_text(json.dumps(content | {"fileFormat": "tfrecord"}))
    message = (
        "tfds:old is prepared as tfrecord, which only TensorFlow reads.* `tfds "
        "convert_format --out_file_format=array_record --dataset_version_dir=.*1.0.0"
    )
    with pytest.raises(ValueError, match=message):
        load("tfds:old", 1, data_dir=str(tmp_path))


def test_a_data_set_without_pictures_is_refused(data_dir):
    with pytest.raises(ValueError, match="a feature `image` of bytes, got image:"):
        load("tfds:words", 1, data_dir=data_dir)


def test_a_published_test_without_labels_is_set_aside(data_dir):
    """As TFDS has ImageNet: test labels of -1, and a validation set that is judged."""
    train = load("tfds:hidden", 4, data_dir=data_dir)
    sizes = {part: len(train.split(part)) for part in train.split_names()}
    assert sizes == {"train": 18, "test_unlabeled": 5, "test": 8, "val": 2}
    labeled = {part for part in sizes if train.has_labels(part)}
    assert labeled == {"train", "val", "test"}


@pytest.mark.parametrize(
    ("name", "count"), [("plain", 30), ("pictures", 12), ("hidden", 20)]
)
@pytest.mark.parametrize("resident", [0, 10**6])
def test_all_published_images_are_trained_on(name, count, resident, data_dir):
    """A set of train and test only, as TFDS has CIFAR-10; and two as it has ImageNet."""
    knobs = {"labeled": True, "data_dir": data_dir, "resident": resident}
    _, whole = assert_val_is_added(f"tfds:{name}", count, **knobs)
    assert whole.steps(1) == count // 4


@pytest.mark.parametrize("name", ["plain", "pictures"])
def test_arrays_and_encoded_pictures_are_cropped(name, data_dir):
    crops = Crops(count=3, size=5)
    train = load(f"tfds:{name}", 4, crops=crops, data_dir=data_dir, labeled=True)
    batch = next(train.stream())
    channels = 1 if name == "plain" else 3
    assert batch["crops"].shape == (4, 3, 5, 5, channels)
    pixel = batch["crops"].reshape(4, -1)  # pictures of one color
    assert (pixel == pixel[:, :1]).all()
    np.testing.assert_array_equal(pixel[:, 0] % 3, batch["label"])


def test_a_spoilt_record_is_named():
    from jssl.data.encoded import Encoded
    from jssl.data.prepared import Prepared

    spoilt = Prepared("x/1.0.0/train", [{"image": b"no picture"}], False)
    with pytest.raises(ValueError, match="x/1.0.0/train, record 0, cannot be read"):
        Encoded(spoilt, None, 4, (4, 4, 3))[0]
    mixed = Prepared("x/1.0.0/train", [{"image": np.zeros((2, 2, 1), np.uint8)}], False)
    with pytest.raises(ValueError, match=r"record 0, has shape \(2, 2, 1\), others"):
        Encoded(mixed, None, None, (3, 3, 1))[0]
