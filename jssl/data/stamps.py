"""Captioned images of Tux Paint's rubber stamps."""

import logging
from io import BytesIO
from pathlib import Path

from jssl.data.captioned import Captioned, captioned, over_white
from jssl.data.fields import Dataset
from jssl.data.packages import Package, require

PACKAGE = Package("tuxpaint-stamps-default", "usr/share/tuxpaint/stamps")
LICENSE = "GPL-2"
_VARIANTS = ("_mirror", "_flip")  # of other stamps
_log = logging.getLogger(__name__)


def stamps(
    where: str | None = None,
    /,
    *,
    size: int = 64,
    channels: int = 3,
    length: int = 16,
    svg: bool = False,
) -> Dataset:
    """785 cutouts of photographs and drawings, on white, with captions.

    The columns are those of `captioned`; the label is the top folder, of 16: animals,
    food, symbols, town, ... Images with the same caption are in the same split; val and
    test have a tenth of the captions each. A caption is the first line of the .txt file
    next to an image; mirrored copies are excluded.

    Bill Kendrick and others, Tux Paint, https://tuxpaint.org

    Args:
      where: folder of the stamps; None: that of the package `tuxpaint-stamps-default`.
      size: side of the images, in pixels.
      channels: 1 (gray) or 3 (color).
      length: tokens of a caption.
      svg: True adds 246 drawings, rendered with `cairosvg`.

    Raises:
      ValueError: no such folder or package; an image that cannot be read.
    """
    root = Path(where).expanduser() if where else require("stamps", PACKAGE)[0]
    if not root.is_dir():
        raise ValueError(f"stamps: no such folder {root}")
    if svg:
        import cairosvg  # noqa: F401  # fails early if it is missing
    rows = _rows(root, svg)
    knobs = {"size": size, "channels": channels, "length": length}
    return captioned("stamps", rows, LICENSE, read=_read, **knobs)


def _rows(root, svg):
    """All stamps below a folder, in the order of their names."""
    rows, left = [], 0
    for path in sorted(root.rglob("*"), key=lambda path: path.relative_to(root).as_posix()):
        if path.suffix not in (".png", ".svg") or path.stem.endswith(_VARIANTS):
            continue
        text = path.with_suffix(".txt")
        caption = _first_line(text) if text.is_file() else ""
        if not caption or (path.suffix == ".svg" and not (svg and _is_plain(path))):
            left += 1
            continue
        label = path.relative_to(root).parts[0]
        rows.append(Captioned(path, caption, label, group=caption.lower()))
    if not rows:
        raise ValueError(f"stamps: {root} contains no .png image with a .txt caption")
    if left:
        _log.info("stamps: %d images excluded: no caption, or not rendered", left)
    return rows


def _first_line(path):
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    return lines[0].strip() if lines else ""


def _is_plain(path):
    """True for an SVG file without entity definitions, which cairosvg rejects."""
    return b"<!ENTITY" not in path.read_bytes()


def _read(path, size, channels):
    if path.suffix == ".png":
        return over_white(path, path, size, channels)
    import cairosvg

    rendered = cairosvg.svg2png(url=str(path), output_width=4 * size)
    return over_white(BytesIO(rendered), path, size, channels)
