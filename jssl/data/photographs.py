"""Patches of natural color photographs from packages of wallpapers and examples."""

import hashlib
import logging
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from jssl.data.decoding import check_shape, fit_all, read
from jssl.data.embedded import photos
from jssl.data.fields import Dataset
from jssl.data.packages import Package, require
from jssl.data.splits import fingerprint

_TURNS = ("train", "train", "train", "val", "test")  # splits of every five photographs
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Collection:
    """The photographs of a package.

    Attributes:
      package: that contains them.
      names: paths of the files, relative to the package's folder, in a fixed order.
      license: as stated by the package.
      digest: fingerprint of names and contents.
    """

    package: Package
    names: tuple[str, ...]
    license: str
    digest: str

    def parts(self) -> dict[str, tuple[str, ...]]:
        """The photographs of each split."""
        found: dict[str, tuple[str, ...]] = {"train": (), "val": (), "test": ()}
        for i, name in enumerate(self.names):
            found[_TURNS[i % 5]] += (name,)
        return found

    def checked(self, root: Path) -> Path:
        """The folder, after verifying that its photographs are those of the fixed split.

        Raises:
          ValueError: a photograph is missing or differs.
        """
        missing = [name for name in self.names if not (root / name).is_file()]
        if missing:
            raise ValueError(
                f"photographs: {root} lacks {missing[0]}, which is in {self.package.name} "
                f"of Debian 12: `{self.package.commands()}`"
            )
        came = content(root, self.names)
        if came != self.digest:
            raise ValueError(
                f"photographs: the {len(self.names)} photographs in {root} are not those "
                f"of the fixed splits: they hash to {came}, not {self.digest}"
            )
        return root


def content(root: Path, names: tuple[str, ...]) -> str:
    """Fingerprint of the names and contents of files."""
    hashes = [hashlib.sha256((root / name).read_bytes()).hexdigest() for name in names]
    return fingerprint(*names, *hashes)


_NATURE = ("Aqua", "Blinds", "Dune", "FreshFlower", "Garden", "GreenMeadow", "LadyBird")
_NATURE += ("RainDrops", "Storm", "TwoWings", "Wood", "YellowFlower")
_LOMIRI = (
    "Bridge_by_Sander_Klootwijk",
    "Dragonfly_by_Bolly",
    "Picture_0B_by_freespace",
    "Picture_1A_by_freespace",
    "Wine_by_Jakkub_Mede",
    "aitzgorri_by_Aitzol_Berasategi",
    "free_by_Peter_Nerlich",
    "friends_by_Aitzol_Berasategi",
    "greentock_by_Peter_Nerlich",
    "life_by_Aitzol_Berasategi",
    "picosdeeuropa_by_Aitzol_Berasategi",
    "seeding_by_Clements_Engelhardt",
    "sunset_by_Aitzol_Berasategi",
)
_PLASMA = ("BytheWater", "ColorfulCups", "DarkestHour", "EveningGlow", "FallenLeaf")
_PLASMA += ("Kite", "OneStandsOut", "Path", "summer_1am")
_OPENCV = ("aero1.jpg", "aloeL.jpg", "apple.jpg", "baboon.jpg", "board.jpg")
_OPENCV += ("building.jpg", "butterfly.jpg", "chicky_512.png", "ela_original.jpg")
_OPENCV += ("fruits.jpg", "graf1.png", "home.jpg", "left.jpg", "leuvenA.jpg")
_OPENCV += ("licenseplate_motion.jpg", "orange.jpg", "rubberwhale1.png")
_OPENCV += ("squirrel_cls.jpg", "stuff.jpg")
_SKIMAGE = ("astronaut.png", "chelsea.png", "coffee.png", "motorcycle_left.png")
_SKIMAGE += ("rocket.jpg",)

COLLECTIONS = {
    collection.package.name: collection
    for collection in (
        Collection(
            Package("mate-backgrounds", "usr/share/backgrounds/mate/nature"),
            tuple(f"{name}.jpg" for name in _NATURE),
            "GPL-2+",
            "47f83352d1418532",
        ),
        Collection(
            Package(
                "lomiri-wallpapers-16.04",
                "usr/share/backgrounds",
                file=f"{_LOMIRI[0]}.jpg",
            ),
            tuple(f"{name}.jpg" for name in _LOMIRI),
            "CC-BY-4.0, CC-BY-SA-4.0, CC0-1.0",
            "55389509fc9c92ff",
        ),
        Collection(
            Package("plasma-workspace-wallpapers", "usr/share/wallpapers", file=_PLASMA[0]),
            tuple(f"{name}/contents/images/2560x1600.jpg" for name in _PLASMA),
            "GPL-2+",
            "f5cdefe272d234f7",
        ),
        Collection(
            Package("opencv-doc", "usr/share/doc/opencv-doc/examples/data"),
            _OPENCV,
            "Apache-2.0 and BSD-3-Clause (not stated for each picture)",
            "ff6211d1d82bd335",
        ),
        Collection(
            Package("python3-skimage", "usr/lib/python3/dist-packages/skimage/data"),
            _SKIMAGE,
            "BSD-3-Clause (not stated for each picture)",
            "5dc3731b7807e03c",
        ),
    )
}


def photographs(
    where: str | None = None,
    /,
    *,
    size: int = 64,
    stride: int = 16,
    side: int = 256,
    channels: int = 3,
) -> Dataset:
    """Patches of up to 58 photographs, split by photograph.

    A photograph is first downsampled to a short side of `side` pixels. There are no labels.
    In each package's fixed list, checked by hash, the fourth of every five photographs is
    for val and the fifth for test.

    | package | photographs |
    |---|---|
    | mate-backgrounds | 12 |
    | lomiri-wallpapers-16.04 | 13 |
    | plasma-workspace-wallpapers | 9 |
    | opencv-doc | 19 |
    | python3-skimage | 5 |

    Args:
      where: packages, as "mate-backgrounds+lomiri-wallpapers-16.04"; "scikit-learn": the
        two photographs of `photos`, split by bands; None: all packages of the table that
        are found, or else "scikit-learn".
      size: side of a patch, in pixels.
      stride: distance between patches, in pixels.
      side: short side of the downsampled photographs, in pixels.
      channels: 1 (gray) or 3 (color).

    Raises:
      ValueError: unknown or missing packages; photographs that are not those of the fixed
        split; sizes out of range.
    """
    check_shape(size, channels)
    if not 0 < size <= side or stride < 1:
        raise ValueError(
            f"photographs: size must be 1 to side, stride positive, got size={size}, "
            f"side={side}, stride={stride}"
        )
    names = where.split("+") if where else _found()
    if names == ["scikit-learn"]:
        return photos(size=size, stride=stride, channels=channels)
    unknown = [name for name in names if name not in COLLECTIONS]
    if unknown:
        known = ", ".join(["scikit-learn", *COLLECTIONS])
        raise ValueError(f"photographs: unknown package {unknown[0]!r}; known are {known}")
    chosen = [COLLECTIONS[name] for name in dict.fromkeys(names)]
    roots = require("photographs", *(x.package for x in chosen))
    roots = [x.checked(root) for x, root in zip(chosen, roots, strict=True)]

    def table(part):
        pictures = [
            root / name
            for x, root in zip(chosen, roots, strict=True)
            for name in x.parts()[part]
        ]
        patches = [patched(shrunk(x, side), size, stride) for x in pictures]
        return {"image": fit_all(np.concatenate(patches), None, channels)}

    splits = {part: partial(table, part) for part in ("train", "val", "test")}
    licenses = "; ".join(f"{x.package.name}: {x.license}" for x in chosen)
    return Dataset(splits, license=licenses)


def _found():
    found = [name for name, x in COLLECTIONS.items() if x.package.found()]
    if not found:
        commands = COLLECTIONS["mate-backgrounds"].package.commands()
        _log.info("photographs: only scikit-learn's two; for more: `%s`", commands)
    return found or ["scikit-learn"]


def shrunk(path: Path, side: int) -> np.ndarray:
    """Decodes a photograph to a short side of at most `side` pixels, uint8 [h, w, 3].

    Raises:
      ValueError: the file cannot be read as an image.
    """
    from PIL import Image

    def small(found):
        ratio = max(1, min(found.size) / side)
        w, h = (round(x / ratio) for x in found.size)
        found.draft("RGB", (2 * w, 2 * h))
        return found.convert("RGB").resize((w, h), Image.Resampling.BICUBIC)

    return np.asarray(read(path, path, small))


def patched(picture: np.ndarray, size: int, stride: int) -> np.ndarray:
    """Patches [n, size, size, c] of an image [h, w, c], row by row; n may be 0.

    >>> patched(np.zeros((8, 12, 3)), size=4, stride=4).shape
    (6, 4, 4, 3)
    """
    h, w, c = picture.shape
    if min(h, w) < size:
        return np.zeros((0, size, size, c), picture.dtype)
    windows = np.lib.stride_tricks.sliding_window_view(picture, (size, size), (0, 1))
    return np.moveaxis(windows[::stride, ::stride], 2, -1).reshape(-1, size, size, c)
