import io
import tarfile

import numpy as np
import pytest
from held import assert_val_is_added

from jssl.data import load

TEN = "\n".join(f"kind{i}" for i in range(10)) + "\n\n"


def cifar(n, columns, seed):
    """Records of labels and of images [3, 32, 32], and images [n, 32, 32, 3]."""
    bits = np.random.default_rng(seed)
    image = bits.integers(0, 256, (n, 32, 32, 3), np.uint8)
    label = np.stack([np.arange(n) % k for k in columns], 1).astype(np.uint8)
    body = image.transpose(0, 3, 1, 2).reshape(n, -1)
    return np.concatenate([label, body], 1).tobytes(), image


def written(root, files, packed):
    """The files in a folder, or in an archive."""
    root.mkdir(parents=True)
    if not packed:
        for name, content in files.items():
            (root / name).write_bytes(content)
        return
    with tarfile.open(root / packed, "w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(f"below/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))


@pytest.mark.parametrize("packed", ["", "cifar-10-binary.tar.gz"])
def test_cifar10_is_read_from_its_binary_archive(packed, tmp_path):
    parts = [cifar(40, (10,), i) for i in range(6)]
    files = {f"data_batch_{i + 1}.bin": parts[i][0] for i in range(5)}
    files |= {"test_batch.bin": parts[5][0], "batches.meta.txt": TEN.encode()}
    written(tmp_path / "x", files, packed)
    train = load(f"cifar10:{tmp_path / 'x'}", 4, labeled=True)
    assert [len(train.split(part)) for part in ("train", "val", "test")] == [180, 20, 40]
    np.testing.assert_array_equal(train.split("test").table["image"], parts[5][1])
    np.testing.assert_array_equal(train.split("test").labels(), np.arange(40) % 10)
    assert train.class_names[3] == "kind3"
    assert_val_is_added(f"cifar10:{tmp_path / 'x'}", 200)
    if packed:
        assert len(load(f"cifar10:{tmp_path / 'x' / packed}", 4)) == 180


@pytest.mark.parametrize(("coarse", "count"), [(False, 100), (True, 20)])
def test_cifar100_has_fine_or_coarse_labels(coarse, count, tmp_path):
    names = lambda n: "\n".join(f"k{i}" for i in range(n)).encode()
    files = {
        "train.bin": cifar(1000, (20, 100), 0)[0],
        "test.bin": cifar(100, (20, 100), 1)[0],
    }
    files |= {"fine_label_names.txt": names(100), "coarse_label_names.txt": names(20)}
    written(tmp_path / "cifar-100-binary", files, "")
    train = load(f"cifar100:{tmp_path}", 4, coarse=coarse)
    assert train.classes == count
    np.testing.assert_array_equal(train.split("test").labels(), np.arange(100) % count)
    assert_val_is_added(f"cifar100:{tmp_path}", 1000, coarse=coarse)


@pytest.mark.parametrize("packed", ["", "stl10_binary.tar.gz"])
def test_stl10_is_read_column_by_column_with_labels_from_one(packed, tmp_path):
    image = np.random.default_rng(0).integers(0, 256, (30, 96, 96, 3), np.uint8)
    body = image.transpose(0, 3, 2, 1)
    label = (np.arange(30) % 10 + 1).astype(np.uint8)
    files = {f"{x}_X.bin": body.tobytes() for x in ("train", "test", "unlabeled")}
    files |= {f"{x}_y.bin": label.tobytes() for x in ("train", "test")}
    written(tmp_path / "x", files | {"class_names.txt": TEN.encode()}, packed)
    train = load(f"stl10:{tmp_path / 'x'}", 4)
    np.testing.assert_array_equal(train.split("test").table["image"], image)
    np.testing.assert_array_equal(train.split("test").labels(), np.arange(30) % 10)
    assert len(train) == 27
    assert_val_is_added(f"stl10:{tmp_path / 'x'}", 30)
    if not packed:
        assert train.split("unlabeled").table["image"].shape == (30, 96, 96, 3)
        assert not train.has_labels("unlabeled")


def test_pickles_are_refused_with_the_file_to_take(tmp_path):
    (tmp_path / "data_batch_1").write_bytes(b"\x80\x02}q\x00")
    with pytest.raises(ValueError, match="of pickles.*binary version, cifar-10-binary.tar"):
        load(f"cifar10:{tmp_path}", 4)
    (tmp_path / "cifar-100-python.tar.gz").write_bytes(b"")
    with pytest.raises(ValueError, match="of pickles.*binary version, cifar-100-binary"):
        load(f"cifar100:{tmp_path}/cifar-100-python.tar.gz", 4)


@pytest.mark.parametrize("name", ["cifar10", "cifar100", "stl10"])
def test_a_name_alone_gets_the_folder_to_give(name):
    with pytest.raises(ValueError, match=f"needs a folder, {name}:FOLDER.*tfds:{name}"):
        load(name, 64)


def test_what_is_missing_or_truncated_is_named(tmp_path):
    with pytest.raises(ValueError, match="has neither stl10_binary.tar.gz nor, unpacked"):
        load(f"stl10:{tmp_path}", 4)
    files = {f"data_batch_{i}.bin": cifar(4, (10,), i)[0][:-1] for i in range(1, 6)}
    written(tmp_path / "x", files | {"batches.meta.txt": TEN.encode()}, "")
    with pytest.raises(ValueError, match="data_batch_1.bin is truncated or corrupt: 12291"):
        load(f"cifar10:{tmp_path / 'x'}", 4)
    (tmp_path / "x" / "cifar-10-binary.tar.gz").write_bytes(b"\x1f\x8b and no more")
    with pytest.raises(ValueError, match="cifar-10-binary.tar.gz cannot be read"):
        load(f"cifar10:{tmp_path / 'x' / 'cifar-10-binary.tar.gz'}", 4)


def test_nothing_in_the_package_unpickles_data():
    import ast
    from pathlib import Path

    import jssl.data

    for path in Path(jssl.data.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                assert "pickle" not in [alias.name for alias in node.names]
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "np.load":
                assert "allow_pickle=False" in ast.unparse(node)
