"""The same images as files, Arrow, Parquet and tar files: the same batches."""

import io
import itertools
import json
import tarfile

import jax
import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from held import assert_val_is_added
from PIL import Image

from jssl.data import Crops, load

NAMES = ("cat", "dog")
FEATURES = {
    "image": {"_type": "Image"},
    "label": {"names": NAMES, "_type": "ClassLabel"},
}


def png(i):
    file = io.BytesIO()
    noise = np.random.default_rng(i).integers(0, 256, (6 + i % 3, 9, 3), np.uint8)
    Image.fromarray(noise).save(file, "PNG")
    return file.getvalue()


def table(rows, **columns):
    """A table as `datasets` writes it: the kinds of columns are in the schema."""
    kind = pyarrow.struct({"bytes": pyarrow.binary(), "path": pyarrow.string()})
    images = [{"bytes": png(i), "path": f"{i}.png"} for i in rows]
    held = {
        "image": pyarrow.array(images, kind),
        "label": pyarrow.array([i % 2 for i in rows], pyarrow.int64()),
    }
    found = pyarrow.table(held | columns)
    told = json.dumps({"info": {"features": FEATURES}})
    return found.replace_schema_metadata({"huggingface": told})


def saved(folder, tables):
    """A Dataset, as `save_to_disk` writes it: one Arrow file per table."""
    folder.mkdir(parents=True)
    files = []
    for i, found in enumerate(tables):
        name = f"data-{i:05}-of-{len(tables):05}.arrow"
        with pyarrow.ipc.new_stream(folder / name, found.schema) as out:
            out.write_table(found)
        files.append({"filename": name})
    state = {"_data_files": files, "_indices_data_files": None, "_split": None}
    (folder / "state.json").write_text(json.dumps(state))
    (folder / "dataset_info.json").write_text(json.dumps({"features": FEATURES}))


def tarred(path, rows, label="cls"):
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for i in rows:
            text = {"json": json.dumps({"label": i % 2})}.get(label, str(i % 2)).encode()
            for suffix, content in (("png", png(i)), (label, text)):
                member = tarfile.TarInfo(f"some/{i:03}.{suffix}")
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))


def folder(root):
    for part, rows in PARTS.items():
        for i in rows:
            path = root / part / NAMES[i % 2] / f"{i:03}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(png(i))
    return f"folder:{root}"


def arrow(root):
    for part, rows in PARTS.items():
        saved(root / part, [table(rows[:5]), table(rows[5:])])
    (root / "dataset_dict.json").write_text(json.dumps({"splits": list(PARTS)}))
    return f"hf:{root}"


def parquet(root):
    (root / "data").mkdir()
    for part, rows in PARTS.items():
        for i, some in enumerate((rows[:7], rows[7:])):
            path = root / "data" / f"{part}-{i:05}-of-00002.parquet"
            pyarrow.parquet.write_table(table(some), path)
    return f"hf:{root}"


def shards(root, label="cls"):
    for part, rows in PARTS.items():
        tarred(root / f"{part}-000000.tar", rows[:9], label)
        tarred(root / f"{part}-000001.tar", rows[9:], label)
    return f"tar:{root}"


def shards_json(root):
    return shards(root, "json")


def shards_txt(root):
    return shards(root, "txt")


PARTS = {"train": range(24), "val": range(24, 34), "test": range(34, 46)}
KINDS = [folder, arrow, parquet, shards, shards_json, shards_txt]
KNOBS = {"labeled": True, "size": 5}


def assert_same(a, b):
    for x, y in zip(a, b, strict=True):
        assert x.keys() == y.keys()
        jax.tree.map(np.testing.assert_array_equal, x, y)


def first(k, batches):
    return list(itertools.islice(batches, k))


def rows(source):
    """All rows in the order of their pixels: folders are sorted by class."""
    image = source.column("image").reshape(len(source), -1)
    order = np.lexsort(image.T)
    return image[order], source.labels()[order]


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("JSSL_CACHE", str(tmp_path / "cache"))


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_every_storage_has_the_same_images_and_labels(kind, tmp_path):
    for each in ("a", "b"):
        (tmp_path / each).mkdir()
    wanted = load(folder(tmp_path / "a"), 4, **KNOBS)
    train = load(kind(tmp_path / "b"), 4, **KNOBS)
    assert not train.warnings
    for part in PARTS:
        for x, y in zip(rows(train.split(part)), rows(wanted.split(part)), strict=True):
            np.testing.assert_array_equal(x, y)
    assert train.classes == 2
    assert train.has_labels("test")


@pytest.mark.parametrize("kind", KINDS[1:], ids=lambda kind: kind.__name__)
def test_a_stream_is_the_stream_from_memory_and_resumes_bit_for_bit(kind, tmp_path):
    (tmp_path / "b").mkdir()
    name = kind(tmp_path / "b")
    held, disk = load(name, 4, **KNOBS), load(name, 4, resident=0, **KNOBS)
    assert disk.table is None
    whole = first(12, disk.stream())
    assert_same(whole, first(12, held.stream()))
    assert_same(whole[7:], first(5, load(name, 4, resident=0, **KNOBS).stream(7)))
    assert_same(disk.split("val").scan(), held.split("val").scan())
    assert load(name, 4, resident=0, **KNOBS).digest == disk.digest


@pytest.mark.parametrize("resident", [0, 10**6])
@pytest.mark.parametrize("kind", [folder, arrow, parquet, shards])
def test_val_that_is_cut_from_train_is_trained_on(kind, resident, tmp_path, monkeypatch):
    (tmp_path / "b").mkdir()
    monkeypatch.delitem(PARTS, "val")
    name = kind(tmp_path / "b")
    for corrupt in ("refuse", "skip"):
        knobs = KNOBS | {"resident": resident, "corrupt": corrupt}
        held, whole = assert_val_is_added(name, 24, **knobs)
        assert "24 train, 2 val (trained on), 12 test" in whole.summary
        assert (held.table is None) == (not resident)
        assert (whole.table is None) == (not resident or corrupt == "skip")


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_crops_are_cut_from_every_storage(kind, tmp_path):
    (tmp_path / "b").mkdir()
    crops = Crops(count=2, size=4)
    train = load(kind(tmp_path / "b"), 4, crops=crops, **KNOBS)
    batch = next(train.stream())
    for place, row in enumerate(batch["index"]):
        whole = Image.open(train.records.shelf.open(int(row))).convert("RGB")
        wanted = crops.cut(whole, (0, 0, place))
        np.testing.assert_array_equal(batch["crops"][place], wanted)


@pytest.mark.slow
@pytest.mark.parametrize("kind", [arrow, parquet, shards], ids=lambda kind: kind.__name__)
def test_worker_processes_keep_the_order(kind, tmp_path):
    (tmp_path / "b").mkdir()
    name = kind(tmp_path / "b")
    alone = load(name, 4, resident=0, **KNOBS)
    helped = load(name, 4, resident=0, workers=2, threads=1, **KNOBS)
    assert_same(first(5, helped.stream(2)), first(5, alone.stream(2)))


def test_the_names_of_classes_are_those_of_the_schema(tmp_path):
    (tmp_path / "b").mkdir()
    assert load(parquet(tmp_path / "b"), 4, size=5).class_names == NAMES


def test_mixed_sizes_are_cut_or_refused_in_every_storage(tmp_path):
    for kind in (arrow, parquet, shards):
        root = tmp_path / kind.__name__
        root.mkdir()
        assert load(kind(root), 4, cut=8).side == 8
        with pytest.raises(ValueError, match="images of 3 sizes, 9x6 to 9x8 .* size=32"):
            load(f"{'tar' if kind is shards else 'hf'}:{root}", 4)


def test_one_data_set_of_one_arrow_folder_is_train(tmp_path):
    saved(tmp_path / "set", [table(range(40))])
    train = load(f"hf:{tmp_path / 'set'}", 4, **KNOBS)
    assert [len(train.split(x)) for x in ("train", "val", "test")] == [32, 4, 4]


def test_images_given_by_path_alone_and_plain_bytes_are_read(tmp_path):
    kind = pyarrow.struct({"bytes": pyarrow.binary(), "path": pyarrow.string()})
    for i in range(20):
        (tmp_path / f"{i}.png").write_bytes(png(i))
    paths = [{"bytes": None, "path": f"{i}.png"} for i in range(20)]
    found = pyarrow.table({"image": pyarrow.array(paths, kind)})
    pyarrow.parquet.write_table(found, tmp_path / "train.parquet")
    (tmp_path / "plain").mkdir()
    plain = pyarrow.table({"img": [png(i) for i in range(20)]})
    pyarrow.parquet.write_table(plain, tmp_path / "plain" / "x.parquet")
    a = load(f"hf:{tmp_path / 'train.parquet'}", 4, size=5, channels=3)
    b = load(f"hf:{tmp_path / 'plain'}", 4, size=5)
    np.testing.assert_array_equal(a.table["image"], b.table["image"])
    assert a.classes == 0


@pytest.mark.parametrize(
    ("kind", "name"), [(parquet, "row 3, cannot"), (shards, "003.png cannot")]
)
def test_a_spoilt_image_is_named_and_skipped(kind, name, tmp_path, monkeypatch):
    (tmp_path / "b").mkdir()
    sound = png
    with monkeypatch.context() as patched:
        patched.setitem(globals(), "png", lambda i: b"bad" if i == 3 else sound(i))
        spoilt = kind(tmp_path / "b")
    with pytest.raises(ValueError, match=f"{name} be read.*corrupt=skip"):
        load(spoilt, 4, **KNOBS)
    assert len(load(spoilt, 4, corrupt="skip", **KNOBS)) == 23


def test_the_index_of_a_tar_file_is_made_once_and_again_if_it_changes(
    tmp_path, monkeypatch
):
    name = shards(tmp_path)
    one = load(name, 4, resident=0, **KNOBS)
    monkeypatch.setattr(tarfile, "open", None)
    assert load(name, 4, resident=0, **KNOBS).digest == one.digest
    monkeypatch.undo()
    monkeypatch.setenv("JSSL_CACHE", str(tmp_path / "cache"))
    tarred(tmp_path / "train-000001.tar", range(100, 130))
    two = load(name, 4, resident=0, **KNOBS)
    assert len(two) == 39
    assert two.digest != one.digest


@pytest.mark.parametrize(
    ("files", "name", "message"),
    [
        ({}, "hf", "has neither .parquet files nor the state.json"),
        ({}, "tar", "has no .tar files"),
        ({"train.parquet": b"PAR1 and no more"}, "hf", "train.parquet cannot be read as P"),
        ({"train.tar": b"no tar file at all" * 99}, "tar", "train.tar cannot be read as a"),
        ({"a.parquet": b"", "b.parquet": b""}, "hf", "split of .*a.parquet is not in its"),
        ({"a.tar": b"", "test.tar": b""}, "tar", "split of .*a.tar is not in its name"),
        ({"dataset_dict.json": b"{"}, "hf", "dataset_dict.json cannot be read"),
    ],
)
def test_what_cannot_be_read_is_named(files, name, message, tmp_path):
    root = tmp_path / "x"
    root.mkdir()
    for file, content in files.items():
        (root / file).write_bytes(content)
    with pytest.raises(ValueError, match=message):
        load(f"{name}:{root}", 4)


def test_a_table_without_images_is_refused_with_its_columns(tmp_path):
    found = pyarrow.table({"text": ["a"], "label": [0]})
    pyarrow.parquet.write_table(found, tmp_path / "train.parquet")
    with pytest.raises(ValueError, match="has no column of images; text, label"):
        load(f"hf:{tmp_path}", 4)


def test_images_without_a_label_beside_others_are_refused(tmp_path):
    held = table(range(20)).set_column(1, "label", [[0, None] * 10])
    told = json.dumps({"info": {"features": FEATURES}})
    held = held.replace_schema_metadata({"huggingface": told})
    pyarrow.parquet.write_table(held, tmp_path / "train.parquet")
    with pytest.raises(ValueError, match="10 of 20 images of train have no label"):
        load(f"hf:{tmp_path}", 4, size=5)
