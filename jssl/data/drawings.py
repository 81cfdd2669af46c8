"""Captioned drawings: emoji, and the Open Clip Art Library."""

import collections
import html
import json
import re
from pathlib import Path

from jssl.data.captioned import Captioned, captioned, words
from jssl.data.fields import Dataset
from jssl.data.packages import Package, require

EMOJI = Package("emoji-datasource-google", "package", "npm")
PNG = Package("openclipart-png", "usr/share/openclipart/png")
SVG = Package("openclipart-svg", "usr/share/openclipart/svg")
LARGEST = 4_000_000  # pixels of a drawing
LICENSES = {
    "emoji": "Apache-2.0 (pictures, Noto Emoji), MIT (names, emoji-data)",
    "openclipart": "public domain",
}


def emoji(
    where: str | None = None,
    /,
    *,
    size: int = 64,
    channels: int = 3,
    length: int = 8,
    label: str = "category",
) -> Dataset:
    """1,906 emoji with their names, without skin tones.

    The columns are those of `captioned`. Emoji that differ only in sex, hair or direction
    are in the same split; val and test have a tenth of such groups each.

    Args:
      where: folder of emoji.json and img/google/64; None: that of the npm package
        `emoji-datasource-google`.
      size: side of the images, in pixels; they are stored at 64.
      channels: 1 (gray) or 3 (color).
      length: tokens of a name.
      label: "category" (of 9) or "subcategory" (of 98).

    Raises:
      ValueError: no such folder or package; an image that cannot be read.
    """
    if label not in ("category", "subcategory"):
        raise ValueError(f"emoji: label must be 'category' or 'subcategory', got {label!r}")
    root = Path(where).expanduser() if where else require("emoji", EMOJI)[0]
    try:
        listed = json.loads((root / "emoji.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as reason:
        raise ValueError(f"emoji: {root}/emoji.json cannot be read: {reason}") from reason
    rows = [
        Captioned(
            root / "img" / "google" / "64" / entry["image"],
            entry["name"].lower(),
            entry[label],
            group=emoji_group(entry["unified"]),
        )
        for entry in sorted(listed, key=lambda entry: entry["unified"])
        if entry["category"] != "Component" and entry["has_img_google"]  # skin tones
    ]
    knobs = {"size": size, "channels": channels, "length": length}
    return captioned("emoji", rows, LICENSES["emoji"], **knobs)


_JOINERS = {"200D", "FE0F"}
_PEOPLE = {"1F468", "1F469", "1F9D1"}  # man, woman, person
_SEXES = {"2640", "2642"}
_HAIR = {"1F9B0", "1F9B1", "1F9B2", "1F9B3"}
_RIGHT = {"27A1"}
_TONES = {f"1F3F{x}" for x in "BCDEF"}


def emoji_group(unified: str) -> str:
    """Code points of an emoji without those of sex, hair, skin tone and direction.

    Unicode Technical Standard 51, https://www.unicode.org/reports/tr51

    >>> emoji_group("1F3C3-200D-2640-FE0F"), emoji_group("1F3C3")    # a woman runs
    ('1F3C3', '1F3C3')
    >>> emoji_group("1F469-200D-1F33E"), emoji_group("1F469")    # a farmer, a woman
    ('1F33E', 'person')
    """
    drop = _JOINERS | _PEOPLE | _SEXES | _HAIR | _RIGHT | _TONES
    points = unified.split("-")
    kept = [point for point in points if point not in drop]
    if kept:
        return "-".join(kept)
    return "person" if set(points) & (_PEOPLE | _HAIR) else unified


def openclipart(
    where: str | None = None,
    /,
    *,
    size: int = 64,
    channels: int = 3,
    length: int = 16,
) -> Dataset:
    """About 5,500 public-domain drawings with titles and tags.

    The columns are those of `captioned`; the label is the top folder, 22 classes of very
    different sizes. A title shared by more than ten drawings is that of a collection; the
    caption is then the file name without digits. Drawings with the same caption are in the
    same split; val and test have a tenth of the captions each. Excluded are the 1,375
    generated stars ("gramastar"), links to other files, drawings not marked as public
    domain, and 18 of more than 4 million pixels (the largest has 623).

    Open Clip Art Library, release 0.18.

    Args:
      where: folder with png/ and svg/ (which contains the titles); None: those of the
        packages `openclipart-png` and `openclipart-svg`.
      size: side of the images, in pixels.
      channels: 1 (gray) or 3 (color).
      length: tokens of title and tags together.

    Raises:
      ValueError: no such folder or packages; an image that cannot be read.
    """
    if where:
        pngs, svgs = (Path(where).expanduser() / part for part in ("png", "svg"))
    else:
        pngs, svgs = require("openclipart", PNG, SVG)
    found = []
    for path in sorted(svgs.rglob("*.svg"), key=lambda x: x.relative_to(svgs).as_posix()):
        name = path.relative_to(svgs).with_suffix(".png")
        png = pngs / name
        if path.is_symlink() or png.is_symlink() or not png.is_file():
            continue
        title, tags, free = _metadata(path)
        if free and title != "gramastar" and _pixels(png) <= LARGEST:
            found.append((name, title, tags))
    if not found:
        raise ValueError(f"openclipart: {pngs} and {svgs} contain no drawings")
    counts = collections.Counter(title for _, title, _ in found)
    rows = []
    for name, title, tags in found:
        general = counts[title] > 10 or not words(title) or title.startswith("Clipart by")
        caption = _spoken(name.stem) if general else title
        rows.append(
            Captioned(pngs / name, caption, name.parts[0], caption.lower(), ", ".join(tags))
        )
    knobs = {"size": size, "channels": channels, "length": length}
    return captioned("openclipart", rows, LICENSES["openclipart"], **knobs)


def _spoken(stem):
    """Words of a file name: "red car" for "red_car-02"."""
    return " ".join(re.findall(r"[^\W\d_]+", stem)) or stem


def _pixels(path):
    """Number of pixels of a PNG file: width and height are bytes 16 to 23."""
    with path.open("rb") as file:
        header = file.read(24)
    return int.from_bytes(header[16:20], "big") * int.from_bytes(header[20:24], "big")


def _metadata(path):
    """Title and tags of an SVG file, and True if it is marked as public domain."""
    raw = path.read_text(encoding="utf-8", errors="replace")
    title = re.search(r"<dc:title[^>]*>(.*?)</dc:title>", raw, re.S)
    tags = re.findall(r"<rdf:li[^>]*>(.*?)</rdf:li>", raw, re.S)
    license = re.search(r'<cc:license\s+rdf:resource="(.*?)"', raw)
    title = html.unescape(title[1]).strip() if title else ""
    tags = dict.fromkeys(html.unescape(tag).strip() for tag in tags)
    tags = [tag for tag in tags if tag not in ("", "hash")]  # an artifact of the library
    return title, tags, license is not None and "publicdomain" in license[1].lower()
