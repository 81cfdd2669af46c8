"""Damaged files and odd folders: a ValueError that names the file, or images."""

import io
import random
import warnings
from functools import partial

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_sample_images

from jssl.data import load
from jssl.data.decoding import decode, measure

pytestmark = pytest.mark.slow
FORMATS = {
    "x.png": dict(), "x.jpg": dict(quality=80), "x.gif": dict(), "x.bmp": dict(),
    "x.webp": dict(), "x.tif": dict(compression="tiff_lzw"), "x.tiff": dict(),
    "x.ppm": dict(), "x.tga": dict(compression="tga_rle"), "x.jp2": dict(),
}  # fmt: skip


@pytest.fixture(autouse=True)
def shown():
    """Warnings of Pillow are shown, as outside of tests, and raise no errors."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def sound(name, options):
    """The bytes of a small photograph with EXIF."""
    exif = Image.Exif()
    exif[0x0112], exif[0x011A], exif[0x010E] = 6, 72.0, "a temple"
    picture = Image.fromarray(load_sample_images().images[0][:24, :32])
    picture = picture.convert("P") if name == "x.gif" else picture
    more = {"exif": exif} if name in ("x.png", "x.jpg", "x.webp", "x.tif") else {}
    file = io.BytesIO()
    file.name = name
    picture.save(file, Image.registered_extensions()[f".{name[2:]}"], **options, **more)
    return file.getvalue()


def damaged(content, bits):
    """Flips, cuts, repeats or moves some bytes."""
    found = bytearray(content)
    for _ in range(bits.randrange(1, 5)):
        kind, at = bits.randrange(5), bits.randrange(max(1, len(found)))
        if kind == 0:
            found[at : at + 1] = bytes([bits.randrange(256)])
        elif kind == 1:
            found[at:] = b""
        elif kind == 2:
            found[at:at] = bytes(bits.randrange(256) for _ in range(bits.randrange(9)))
        elif kind == 3:
            found[at : at + 4] = bits.choice(
                [b"\xff\xff\xff\xff", b"\0\0\0\0", b"\x7f\xff\xff\xff", b"\0\0\0\1"]
            )
        else:
            found[at : at + bits.randrange(1, 9)] = b""
    return bytes(found)


def outcome(use, name):
    """1 if `use` returns, 0 if it raises a ValueError with the name."""
    try:
        use()
    except ValueError as reason:
        told = str(reason)
        if name not in told:
            raise
        return 0
    return 1


def opened(path, **knobs):
    """Reads all images of all splits."""
    train = load(path, 1, **knobs)
    for part in train.split_names():
        assert len(train.split(part).column("image")) == len(train.split(part))


def read_damaged(name, rounds, seed):
    """Number of damaged files that are decoded, of `rounds`."""
    bits, content = random.Random(f"{name} {seed}"), sound(name, FORMATS[name])
    read = 0
    for i in range(rounds):
        file, which = damaged(content, bits), f"{name}-{i}"
        read += outcome(partial(decode, io.BytesIO(file), which, 8, 3), which)
        outcome(partial(measure, io.BytesIO(file), which), which)
    return read


@pytest.mark.parametrize("name", FORMATS)
def test_a_damaged_file_is_read_or_refused_by_name(name):
    assert 0 <= read_damaged(name, rounds=150, seed=0) < 150


def odd_folder(root, bits):
    """A tree of folders with names of splits, of systems and of classes."""
    names = ["train", "Val", "test", "cat", "dog", ".git", "__MACOSX", "a b", "é", "VALID"]
    endings = ["a.png", "b.PNG", ".c.png", "d.txt", "e", "f.png", "g.png"]
    whole = sound("x.png", {})
    folders = [root]
    for _ in range(bits.randrange(1, 7)):
        folder = bits.choice(folders) / bits.choice(names)
        folder.mkdir(exist_ok=True)
        folders.append(folder)
    spoilt = bits.choice([[], [damaged(whole, bits), b""]])
    for _ in range(bits.randrange(20)):
        kind = bits.choice([whole, whole, whole, *spoilt])
        path = bits.choice(folders) / bits.choice(endings)
        if not path.is_symlink():
            path.write_bytes(kind)
    for _ in range(bits.randrange(3)):
        link = bits.choice(folders) / f"link{bits.randrange(3)}"
        if not link.exists() and not link.is_symlink():
            link.symlink_to(bits.choice([*folders, root / "nowhere"]))


@pytest.mark.parametrize("corrupt", ["refuse", "skip"])
def test_an_odd_folder_is_read_or_refused_by_name(corrupt, tmp_path):
    read = 0
    for i in range(80):
        root = tmp_path / f"{i}"
        root.mkdir()
        odd_folder(root, random.Random(i))
        use = partial(opened, f"folder:{root}", corrupt=corrupt, cut=8)
        read += outcome(use, str(root))
    assert 0 < read < 80


def odd_arrays(bits):
    """Arrays that are nearly right."""
    n = bits.choice([0, 1, 3, 20])
    shape = bits.choice([(n, 4, 4, 3), (n, 4, 4), (n, 3, 4, 4), (n, 4), (n, 0, 4, 3), (n,)])
    kind = bits.choice([np.uint8, np.float32, np.int64, np.float64, bool, "U3"])
    image = np.zeros(shape, kind)
    if image.size and image.dtype.kind == "f":
        image.flat[0] = bits.choice([0.5, np.nan, np.inf, -1, 255])
    label = np.zeros(bits.choice([n, n, n + 1, 0]), bits.choice([int, float, np.uint64]))
    if label.size:
        label.flat[0] = bits.choice([0, 1, 2, 7, 2**31])
    keys = bits.choice([("image", "label"), ("x_train", "y_train"), ("x_test", "y_test")])
    found = dict(zip(keys, (image, label), strict=True))
    if bits.random() < 0.3:
        found |= {"x_test": image[:2], "y_test": label[:2]}
    return found


def test_odd_or_damaged_arrays_are_read_or_refused_by_name(tmp_path):
    read = 0
    for i in range(400):
        bits, path = random.Random(i), tmp_path / f"{i}.npz"
        np.savez(path, **odd_arrays(bits))
        if bits.random() < 0.5:
            path.write_bytes(damaged(path.read_bytes(), bits))
        read += outcome(partial(opened, f"npz:{path}"), str(path))
    assert 0 < read < 400
