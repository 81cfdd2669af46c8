"""Images in the files of Hugging Face's `datasets`: Arrow folders and Parquet files."""

import functools
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from jssl.cache import cache_folder, written
from jssl.data.crops import Crops
from jssl.data.encoded import RESIDENT, Shelf, check_knobs, encoded, stamp
from jssl.data.fields import Dataset
from jssl.data.files import SPLITS
from jssl.data.splits import fingerprint

_IMAGES = ("image", "img", "jpg", "jpeg", "png", "webp", "picture")
_LABELS = ("label", "labels", "fine_label", "class", "cls")


@dataclass(frozen=True, eq=False)
class Table(Shelf):
    """Images of one split in Arrow or Parquet files.

    Attributes:
      files: of the rows, in order, in Arrow's format.
      shown: the files that the user has, for each.
      column: of the images: bytes, or {bytes, path}.
      labels: int32 [n], or None.
      ends: number of rows up to the end of each file.
      root: folder of images that are given by path alone.
    """

    files: tuple[str, ...]
    shown: tuple[str, ...]
    column: str
    labels: np.ndarray | None
    ends: tuple[int, ...]
    root: Path

    @functools.cached_property
    def identity(self) -> list[str]:
        """Names, sizes and times of modification of the files."""
        return [f"{Path(x).name} {stamp(x)}" for x in self.shown]

    @functools.cached_property
    def versions(self) -> list[str]:
        """Sizes and times of modification of the Arrow files."""
        return [stamp(x) for x in self.files]

    def __len__(self) -> int:
        return self.ends[-1]

    def name(self, row: int) -> str:
        """The file, and the number of the row in it."""
        file, within = self._place(row)
        return f"{self.shown[file]}, row {within},"

    def open(self, row: int) -> Any:
        """The encoded image, or the path of one that is not in the file."""
        file, within = self._place(row)
        try:
            table = _opened(self.files[file], self.versions[file])
            value = table[self.column][within].as_py()
        except (OSError, ValueError) as reason:
            raise ValueError(f"{self.shown[file]} cannot be read: {reason}") from reason
        found = value if isinstance(value, Mapping) else {"bytes": value}
        if found.get("bytes") is not None:
            return io.BytesIO(found["bytes"])
        if not found.get("path"):
            raise ValueError(f"{self.name(row)} has no image")
        return self.root / found["path"]

    def _place(self, row):
        file = int(np.searchsorted(self.ends, row, "right"))
        return file, row - (self.ends[file - 1] if file else 0)


def hf(
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
    """Loads images from the files of Hugging Face's `datasets`, read with pyarrow.

    The folder is one that `save_to_disk` wrote, of a Dataset or of a DatasetDict, or it has
    Parquet files whose folder or name begins with the split, as in
    data/train-00000-of-00002.parquet. Splits that are missing are cut, as in
    `splits.completed`. Parquet is unpacked into the cache folder, once, since its rows
    cannot be read one by one.

    Args:
      path: of the folder, or of one Parquet file.
      size, channels, corrupt, resident, cut, hold_out, crops: as in `encoded`.

    Raises:
      ValueError: no such files, no column of images, or files that cannot be read.
    """
    check_knobs(size, channels, corrupt)
    root = Path(path).expanduser()
    if not root.exists():
        raise ValueError(f"hf: no such folder {root}")
    files = _arrow(root) or _parquet(root)
    if not files:
        raise ValueError(
            f"hf: {root} has neither .parquet files nor the state.json of save_to_disk"
        )
    opened = {part: _shelf(root, paths) for part, paths in files.items()}
    names = next((n for _, n in opened.values() if n), ())
    shelves = {part: shelf for part, (shelf, _) in opened.items()}
    count = _count(shelves.get("train"), names)
    return encoded(
        shelves,
        names or tuple(map(str, range(count))),
        size=size,
        channels=channels,
        corrupt=corrupt,
        resident=resident,
        cut=cut,
        hold_out=hold_out,
        crops=crops,
    )


def _count(train, names):
    if train is None or train.labels is None:
        return 0
    return max(len(names), int(train.labels.max()) + 1)


def _arrow(root: Path) -> dict[str, list[Path]]:
    """The Arrow files of each split that `save_to_disk` wrote."""
    told = root / "dataset_dict.json"
    parts = _json(told)["splits"] if told.is_file() else [""]
    if not (root / parts[0] / "state.json").is_file():
        return {}
    found = {}
    for part in parts:
        state = _json(root / part / "state.json")
        if state.get("_indices_data_files"):
            raise ValueError(f"hf: {root / part} has indices: save it again, flattened")
        files = [root / part / x["filename"] for x in state["_data_files"]]
        found[SPLITS.get(part.lower(), part) or "train"] = files
    return found


def _parquet(root: Path) -> dict[str, list[Path]]:
    """The Parquet files of each split, by the first word of their name or folder."""
    files = [root] if root.is_file() else sorted(root.rglob("*.parquet"))
    found: dict[str, list[Path]] = {}
    for file in files:
        words = [file.name.partition("-")[0].partition(".")[0], file.parent.name]
        parts = [SPLITS[x.lower()] for x in words if x.lower() in SPLITS]
        if not parts and len(files) > 1:
            raise ValueError(
                f"hf: the split of {file} is not in its name, as in train-00000.parquet"
            )
        found.setdefault(parts[0] if parts else "train", []).append(file)
    return found


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError) as reason:
        raise ValueError(f"{path} cannot be read: {reason}") from reason


def _shelf(root: Path, paths: Sequence[Path]) -> tuple[Table, tuple[str, ...]]:
    """The images of a split, and the names of its classes."""
    files, ends, labels, names, column = [], [0], [], (), ""
    for path in paths:
        file = str(_unpacked(path)) if path.suffix == ".parquet" else str(path)
        table = _opened(file, stamp(file))
        column = _image_column(path, table.schema)
        label, names = _label_column(table.schema, path.parent / "dataset_info.json")
        if label:
            labels.append(_numbers(path, table[label].to_numpy()))
        files.append(file)
        ends.append(ends[-1] + table.num_rows)
    if not ends[-1]:
        raise ValueError(f"hf: {paths[0]} has no rows")
    held = np.concatenate(labels) if labels else None
    shown, folder = tuple(map(str, paths)), root if root.is_dir() else root.parent
    return Table(tuple(files), shown, column, held, tuple(ends[1:]), folder), names


def _numbers(path, labels):
    if labels.dtype.kind == "f" and np.isnan(labels).any():  # nulls
        labels = np.where(np.isnan(labels), -1, labels).astype(np.int64)
    if labels.dtype.kind not in "iu" or (labels < -1).any():
        raise ValueError(f"hf: {path}: labels must be class numbers from 0, or -1 for none")
    return labels.astype(np.int32)


def _image_column(path, schema):
    told = _features(schema)
    kinds = {name: x.get("_type") for name, x in told.items() if isinstance(x, dict)}
    known = [name for name in schema.names if kinds.get(name) == "Image"]
    known += [name for name in _IMAGES if name in schema.names]
    if not known:
        raise ValueError(f"hf: {path} has no column of images; {', '.join(schema.names)}")
    return known[0]


def _label_column(schema, info: Path):
    """Name of the column of labels, or "", and the names of the classes."""
    told = _features(schema) or (_json(info).get("features") if info.is_file() else {})
    classes = {
        name: tuple(x.get("names") or ())
        for name, x in (told or {}).items()
        if isinstance(x, dict) and x.get("_type") == "ClassLabel"
    }
    for name in (*_LABELS, *classes):
        if name in schema.names:
            return name, classes.get(name, ())
    return "", ()


def _features(schema) -> Mapping[str, Any]:
    """Metadata of the columns in the schema, as `datasets` writes them."""
    text = (schema.metadata or {}).get(b"huggingface", b"{}")
    try:
        return json.loads(text).get("info", {}).get("features", {})
    except (ValueError, AttributeError):
        return {}


def _unpacked(path: Path) -> Path:
    """The rows of a Parquet file as an Arrow file in the cache folder."""
    import pyarrow
    import pyarrow.parquet

    kept = cache_folder() / "parquet" / f"{fingerprint(str(path.resolve()), stamp(path))}"
    kept = kept.with_suffix(".arrow")
    if kept.is_file():
        return kept
    kept.parent.mkdir(parents=True, exist_ok=True)
    try:
        with (
            pyarrow.parquet.ParquetFile(path) as rows,
            written(kept) as part,
            pyarrow.ipc.new_stream(part, rows.schema_arrow) as out,
        ):
            for batch in rows.iter_batches(batch_size=256):
                out.write_batch(batch)
    except (pyarrow.ArrowException, OSError) as reason:
        raise ValueError(f"{path} cannot be read as Parquet: {reason}") from reason
    return kept


@functools.lru_cache(maxsize=4096)
def _opened(file: str, version: str) -> Any:
    """A table on disk, mapped into memory; another one if the file changes."""
    import pyarrow

    try:
        with pyarrow.memory_map(file) as source:
            try:
                return pyarrow.ipc.open_stream(source).read_all()
            except pyarrow.ArrowInvalid:
                return pyarrow.ipc.open_file(source).read_all()
    except (pyarrow.ArrowException, OSError) as reason:
        raise ValueError(f"{file} cannot be read as Arrow: {reason}") from reason
