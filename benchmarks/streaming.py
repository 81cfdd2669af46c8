"""Images a second and core that are read, decoded and cut, from each storage.

    python benchmarks/streaming.py --images 1000 --rounds 5 --peer other/bin/python

The same JPEGs (parts of two photographs, 500 x 375) as a folder, Parquet, tar shards and
array_record (TFDS), streamed in shuffled batches by one process with one thread: the
central square, and one and two random crops of the whole photograph. Beside them are
torchvision's ImageFolder and RandomResizedCrop in a DataLoader without workers, in the
Python that --peer names. Rounds alternate between the storages; the table has medians and
ranges of images by seconds of processor time.
"""

import argparse
import io
import os
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import numpy as np

BATCH = 32


def photographs(count: int) -> list[bytes]:
    """JPEGs of parts of two photographs, 500 x 375."""
    from PIL import Image
    from sklearn.datasets import load_sample_images

    whole = [Image.fromarray(x) for x in load_sample_images().images]
    found, bits = [], np.random.default_rng(0)
    for i in range(count):
        w, h = 500, 375
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


PEER = """
import sys, time
import torch
from torch.utils.data import DataLoader
from torchvision import transforms
from torchvision.datasets import ImageFolder

root, size, batch, rounds, count = sys.argv[1], *map(int, sys.argv[2:])
torch.set_num_threads(1)
view = transforms.Compose([
    transforms.RandomResizedCrop(size, (0.08, 1.0)),
    transforms.RandomHorizontalFlip(),
    transforms.PILToTensor(),
])
images = ImageFolder(root, lambda x: torch.stack([view(x) for _ in range(count)]))
loader = DataLoader(images, batch, shuffle=True, drop_last=True)
for _ in range(rounds + 1):
    used = time.process_time()
    steps = sum(1 for _ in loader)
    print(steps * batch / (time.process_time() - used))
"""


def peer(python: str, root: Path, size: int, rounds: int, count: int) -> list[float]:
    """Images a second of torchvision's ImageFolder and DataLoader in another Python.

    Each has `count` random resized crops with a flip; empty if torchvision is not there.
    """
    numbers = map(str, (size, BATCH, rounds, count))
    words = [python, "-c", PEER, str(root), *numbers]
    ran = subprocess.run(words, capture_output=True, text=True)
    return [] if ran.returncode else [float(x) for x in ran.stdout.split()[1:]]


def main() -> None:
    parse = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parse.add_argument("--images", type=int, default=1000)
    parse.add_argument("--rounds", type=int, default=5)
    parse.add_argument("--size", type=int, default=224)
    parse.add_argument("--storages", default=",".join(STORAGES))
    parse.add_argument(
        "--peer", default=sys.executable, help="a Python with torchvision (this one)"
    )
    options = parse.parse_args()
    size, rounds = options.size, options.rounds
    images = photographs(options.images)
    with tempfile.TemporaryDirectory() as place:
        os.environ["JSSL_CACHE"] = f"{place}/cache"
        from jssl import data

        sources = {}
        for storage in options.storages.split(","):
            root = Path(place) / storage
            root.mkdir()
            knobs = {"data_dir": str(root)} if storage == "array_record" else {}
            written = STORAGES[storage](root, images)
            for what, crops in {
                "central square": None,
                "1 crop": data.Crops(size=size),
                "2 crops": data.Crops(count=2, size=size),
            }.items():
                sources[storage, what] = data.load(
                    written, BATCH, size=size, resident=0, threads=1, crops=crops, **knobs
                )
        rates: dict[tuple[str, str], list[float]] = {name: [] for name in sources}
        for turn in range(rounds + 1):  # the first warms the disk's cache
            for name, source in sources.items():
                steps = source.size // BATCH
                used = time.process_time()
                for _ in islice(source.stream(turn * steps), steps):
                    pass
                if turn:
                    rates[name].append(steps * BATCH / (time.process_time() - used))
        root = Path(place) / "torchvision"
        root.mkdir()
        folder(root, images)
        for count in (1, 2):
            found = peer(options.peer, root / "train", size, rounds, count)
            rates["torchvision", f"{count} crop{'s' * (count > 1)}, flip"] = found
    mean, count = sum(map(len, images)) / len(images) / 1024, options.images
    print(f"{count} JPEGs of 500x375, {mean:.0f} KiB, cut to {size}x{size}")
    print("storage       training batch   images/s a core   range")
    for (storage, what), each in rates.items():
        told = "skipped: --peer has no torchvision"
        if each:
            middle, low, high = statistics.median(each), min(each), max(each)
            told = f"{middle:15.0f}   {low:.0f} to {high:.0f}"
        print(f"{storage:12}  {what:14}  {told}")


if __name__ == "__main__":
    main()
