"""Images a second and core that are read, decoded and cut, from each storage.

    python benchmarks/streaming.py --images 1000 --rounds 5

The same JPEGs (parts of two photographs, 256 x 256 and more) as a folder, Parquet, tar
shards and array_record (TFDS), streamed in shuffled batches by one process with one
thread. Rounds alternate between the storages; the table has medians and ranges.
"""

import argparse
import io
import os
import statistics
import tarfile
import tempfile
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import numpy as np

BATCH = 32


def photographs(count: int) -> list[bytes]:
    """JPEGs of parts of two photographs, 256 to 400 pixels wide."""
    from PIL import Image
    from sklearn.datasets import load_sample_images

    whole = [Image.fromarray(x) for x in load_sample_images().images]
    found, bits = [], np.random.default_rng(0)
    for i in range(count):
        w, h = bits.integers(256, 400, 2)
        x, y = bits.integers(0, (640 - w, 427 - h))
        file = io.BytesIO()
        whole[i % 2].crop((x, y, x + w, y + h)).save(file, "JPEG", quality=90)
        found.append(file.getvalue())
    return found


def folder(root: Path, images: list[bytes]) -> str:
    for i, image in enumerate(images):
        path = root / "train" / "ab"[i % 2] / f"{i:05}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(image)
    return f"folder:{root}"


def parquet(root: Path, images: list[bytes]) -> str:
    import pyarrow
    import pyarrow.parquet

    kind = pyarrow.struct({"bytes": pyarrow.binary(), "path": pyarrow.string()})
    rows = [{"bytes": image, "path": f"{i}.jpg"} for i, image in enumerate(images)]
    label = [i % 2 for i in range(len(images))]
    table = pyarrow.table({"image": pyarrow.array(rows, kind), "label": label})
    pyarrow.parquet.write_table(table, root / "train-00000-of-00001.parquet")
    return f"hf:{root}"


def shards(root: Path, images: list[bytes]) -> str:
    with tarfile.open(root / "train-000000.tar", "w") as archive:
        for i, image in enumerate(images):
            for suffix, content in (("jpg", image), ("cls", str(i % 2).encode())):
                member = tarfile.TarInfo(f"{i:05}.{suffix}")
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
    return f"tar:{root}"


def array_record(root: Path, images: list[bytes]) -> str:
    import tensorflow_datasets as library

    features = {
        "image": library.features.Image(),
        "label": library.features.ClassLabel(num_classes=2),
    }

    def info(self):
        held = library.features.FeaturesDict(features)
        return library.core.DatasetInfo(builder=self, features=held)

    def rows(self, _):
        each = enumerate(images)
        return {"train": ((i, {"image": io.BytesIO(x), "label": i % 2}) for i, x in each)}

    body = {
        "VERSION": library.core.Version("1.0.0"),
        "_info": info,
        "_split_generators": rows,
        "_generate_examples": None,
    }
    base = library.core.GeneratorBasedBuilder
    kind = type("Photographs", (base,), body, skip_registration=True)
    kind(data_dir=root, file_format="array_record").download_and_prepare()
    return "tfds:photographs"


STORAGES: dict[str, Callable[[Path, list[bytes]], str]] = {
    "folder": folder,
    "parquet": parquet,
    "tar": shards,
    "array_record": array_record,
}


def main() -> None:
    parse = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parse.add_argument("--images", type=int, default=1000)
    parse.add_argument("--rounds", type=int, default=5)
    parse.add_argument("--size", type=int, default=224)
    options = parse.parse_args()
    images = photographs(options.images)
    with tempfile.TemporaryDirectory() as place:
        os.environ["JSSL_CACHE"] = f"{place}/cache"
        from jssl import data

        sources = {}
        for name, write in STORAGES.items():
            root = Path(place) / name
            root.mkdir()
            knobs = {"data_dir": str(root)} if name == "array_record" else {}
            written = write(root, images)
            sources[name] = data.load(
                written, BATCH, size=options.size, resident=0, threads=1, **knobs
            )
        steps = sources["folder"].size // BATCH
        rates: dict[str, list[float]] = {name: [] for name in sources}
        for turn in range(options.rounds + 1):  # the first warms the disk's cache
            for name, source in sources.items():
                began, used = time.perf_counter(), time.process_time()
                for _ in islice(source.stream(turn * steps), steps):
                    pass
                seconds = time.perf_counter() - began
                cores = (time.process_time() - used) / seconds
                if turn:
                    rates[name].append(steps * BATCH / seconds / max(cores, 1e-9))
    size, count = sum(map(len, images)) / len(images) / 1024, options.images
    print(f"{count} JPEGs of {size:.0f} KiB, cut to {options.size}x{options.size}")
    print("storage       images/s a core   range")
    for name, each in rates.items():
        middle, low, high = statistics.median(each), min(each), max(each)
        print(f"{name:12}  {middle:15.0f}   {low:.0f} to {high:.0f}")


if __name__ == "__main__":
    main()
