"""Images in tar files: the shards of WebDataset."""

import functools
import io
import json
import os
import re
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from jssl.cache import cache_folder, written
from jssl.data.crops import Crops
from jssl.data.decoding import SUFFIXES
from jssl.data.encoded import RESIDENT, Shelf, check_knobs, encoded, stamp
from jssl.data.fields import Dataset
from jssl.data.files import SPLITS
from jssl.data.logged import warn_once
from jssl.data.splits import fingerprint
from jssl.data.walking import is_hidden


@dataclass(frozen=True, eq=False)
class Shards(Shelf):
    """Images of one split in tar files.

    Attributes:
      files: the tar files.
      keys: names of the images in them.
      places: int64 [n, 3]: file, first byte, number of bytes.
      labels: int32 [n], or None.
    """

    files: tuple[str, ...]
    keys: np.ndarray
    places: np.ndarray
    labels: np.ndarray | None

    @functools.cached_property
    def identity(self) -> list[str]:
        """Names, sizes and times of modification of the files."""
        return [f"{Path(x).name} {stamp(x)}" for x in self.files]

    def __len__(self) -> int:
        return len(self.places)

    def name(self, row: int) -> str:
        """The tar file, and the name of the image in it."""
        return f"{self.files[self.places[row, 0]]}/{self.keys[row]}"

    def open(self, row: int) -> io.BytesIO:
        """The encoded image."""
        file, start, size = self.places[row].tolist()
        opened = _descriptor(self.files[file], self.identity[file])
        return io.BytesIO(os.pread(opened, size, start))


@functools.cache
def _descriptor(file: str, version: str) -> int:
    """An open file; `pread` has no position that threads or processes would share."""
    return os.open(file, os.O_RDONLY)


def shards(
    path: str,
    /,
    *,
    size: int | None = None,
    channels: int = 3,
    corrupt: str = "refuse",
    resident: int = RESIDENT,
    cut: int | None = None,
    hold_out: bool = True,
    crops: Crops | None = None,
) -> Dataset:
    """Loads the tar files of WebDataset in a folder.

    Files with the same name up to the first dot are a sample: an image, and its class
    number in .cls, in the entry "label" or "cls" of .json, or in .txt if there are numbers
    in all. The split is the first word of the tar file's name, or its folder, as in
    train-000000.tar; without any, all is train. Splits that are missing are cut, as in
    `splits.completed`. The places of the images are listed once, and kept in the cache
    folder.

    Args:
      path: of the folder, or of one tar file.
      size, channels, corrupt, resident, cut, hold_out, crops: as in `encoded`.

    Raises:
      ValueError: no such files, files that are compressed or cannot be read, no images.
    """
    check_knobs(size, channels, corrupt)
    root = Path(path).expanduser()
    if not root.exists():
        raise ValueError(f"tar: no such folder {root}")
    every = [root] if root.is_file() else sorted(root.rglob("*.tar"))
    every = [x for x in every if not is_hidden(x.name)]
    if not every:
        raise ValueError(f"tar: {root} has no .tar files (compressed ones: unpack first)")
    files: dict[str, list[Path]] = {}
    for file in every:
        word = re.split(r"[^A-Za-z]", file.name)[0].lower()
        part = SPLITS.get(word) or SPLITS.get(file.parent.name.lower(), "")
        files.setdefault(part, []).append(file)
    if "" in files:
        if len(files) > 1:
            raise ValueError(
                f"tar: the split of {files[''][0]} is not in its name, as in train-0000.tar"
            )
        files = {"train": files[""]}
    shelves = {part: _shelf(paths) for part, paths in files.items()}
    held = shelves["train"].labels if "train" in shelves else None
    count = 0 if held is None else int(held.max()) + 1
    return encoded(
        shelves,
        tuple(map(str, range(count))),
        size=size,
        channels=channels,
        corrupt=corrupt,
        resident=resident,
        cut=cut,
        hold_out=hold_out,
        crops=crops,
    )


def _shelf(paths: list[Path]) -> Shards:
    """The images of the tar files of a split."""
    keys, places, labels = [], [], []
    for number, path in enumerate(paths):
        index = _index(path)
        keys += [index["keys"]]
        labels += [index["labels"]]
        places += [np.insert(index["places"], 0, number, axis=1)]
    if not sum(map(len, keys)):
        raise ValueError(f"tar: {paths[0]} has no images ({', '.join(SUFFIXES)})")
    label = np.concatenate(labels)
    held = label.astype(np.int32) if (label >= 0).any() else None
    files = tuple(map(str, paths))
    return Shards(files, np.concatenate(keys), np.concatenate(places), held)


def _index(path: Path) -> dict[str, np.ndarray]:
    """Names, places and labels (-1: none) of the images of a tar file."""
    name = fingerprint(str(path.resolve()), stamp(path))
    kept = cache_folder() / "shards" / f"{name}.npz"
    if kept.is_file():
        with np.load(kept, allow_pickle=False) as held:
            return dict(held)
    index = _listed(path)
    try:
        kept.parent.mkdir(parents=True, exist_ok=True)
        with written(kept) as part, part.open("wb") as file:
            np.savez(file, **index)  # type: ignore[arg-type]
    except OSError as reason:
        warn_once(f"the index of {path} is not kept: {reason}")
    return index


def _listed(path: Path) -> dict[str, np.ndarray]:
    images: dict[str, tuple[str, int, int]] = {}
    labels: dict[str, int] = {}
    texts: dict[str, int | None] = {}
    try:
        with tarfile.open(path, "r:") as archive:
            for member in archive:
                folder, _, file = member.name.rpartition("/")
                if not member.isfile() or is_hidden(file):
                    continue
                stem, _, suffix = file.partition(".")
                key, suffix = f"{folder}/{stem}", f".{suffix.lower()}"
                if suffix.endswith(SUFFIXES):
                    if key in images:
                        raise ValueError(f"it has two images for {key.lstrip('/')}")
                    images[key] = member.name, member.offset_data, member.size
                elif suffix in (".cls", ".json", ".txt"):
                    text = archive.extractfile(member).read()  # type: ignore[union-attr]
                    found = _label(text, suffix)
                    if suffix == ".txt":
                        texts[key] = found
                    elif found is not None:
                        labels[key] = found
    except (tarfile.TarError, OSError, ValueError, EOFError) as reason:
        raise ValueError(f"{path} cannot be read as a tar file: {reason}") from reason
    numbers = [x for x in texts.values() if x is not None]
    if not labels and len(numbers) == len(texts):
        labels = dict(zip(texts, numbers, strict=True))
    places = [place for _, *place in images.values()]
    return {
        "keys": np.array([name for name, *_ in images.values()], np.str_),
        "places": np.array(places, np.int64).reshape(-1, 2),
        "labels": np.array([labels.get(key, -1) for key in images], np.int64),
    }


def _label(text: bytes, suffix: str) -> int | None:
    """The class number in a file; None if there is none."""
    if suffix != ".json":
        return int(text) if re.fullmatch(rb"\s*\d{1,9}\s*", text) else None
    told: Any = json.loads(text)
    entries = told if isinstance(told, dict) else {}
    found = entries.get("label", entries.get("cls"))
    return found if type(found) is int and 0 <= found < 2**31 else None
