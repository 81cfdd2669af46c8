"""Clips of the videos, or of the image sequences, in a folder."""

import functools
import logging
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from jssl.data.decoding import SUFFIXES, check_shape, decode, fit, picture
from jssl.data.fields import Dataset, Labels, Text, Video
from jssl.data.splits import tenths
from jssl.data.walking import is_hidden, listed

LICENSE = "not stated"
_VIDEOS = (".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".ogv", ".webm")
_LEFT_OUT = "megamind"  # a film's trailer in opencv-doc, whose rights are doubtful
_BANDS = {"train": (0.0, 0.8), "val": (0.8, 0.9), "test": (0.9, 1.0)}  # of the duration
_log = logging.getLogger(__name__)


def clips(
    folder: str,
    /,
    *,
    frames: int = 16,
    every: int = 1,
    stride: int = 8,
    size: int = 64,
    channels: int = 3,
) -> Dataset:
    """Clips of all videos in a folder, and of its folders of images, held in memory.

    Columns: video uint8 [n, frames, size, size, channels], with the frame rate of the first
    video; file, strings [n], path of the video relative to the folder; label int32 [n], the
    first subfolder of the video, if every video has one.

    A tenth of the videos each is for val and test, stratified by label. One video or two
    are split by time: val and test are the last two tenths, each preceded by a gap of one
    clip. A folder with images and no videos is a video of these images in the order of
    their names. An example is vtest.avi, 795 frames of pedestrians in Debian's
    `opencv-doc`; Megamind.avi in the same package is excluded.

    Args:
      folder: of videos.
      frames: frames of a clip.
      every: distance between frames of a clip, in frames of the video.
      stride: distance between starts of clips, in frames of the video.
      size: side of the squares, in pixels, that frames are fitted to.
      channels: 1 (gray) or 3 (color).

    Raises:
      ValueError: no such folder; no videos; a video that cannot be read; none long enough;
        no package that reads videos.
    """
    check_shape(size, channels)
    if min(frames, every, stride) < 1:
        raise ValueError(
            f"clips: frames, every and stride must be positive, got {frames}, {every}, "
            f"{stride}"
        )
    root = Path(folder).expanduser()
    if not root.is_dir():
        raise ValueError(f"clips: no such folder {root}")
    names = _listed(root)
    classes, labels = _classes(names)
    if len(names) < 3:
        rows = dict.fromkeys(_BANDS, np.arange(len(names)))
    else:
        rows = tenths(len(names), labels, "val", "test")
    span = (frames - 1) * every + 1
    read = functools.cache(partial(_read, size=size, channels=channels))

    def table(part):
        band = _BANDS[part] if len(names) < 3 else (0.0, 1.0)
        held, files, kinds = [], [], []
        for i in sorted(rows[part]):
            found = read(root / names[i])
            starts = _starts(len(found), span, stride, band)
            held += [found[start : start + span : every] for start in starts]
            files += [names[i]] * len(starts)
            kinds += [0 if labels is None else labels[i]] * len(starts)
        if not held:
            raise ValueError(
                f"clips: no video of {part} in {root} has {span} frames: reduce "
                f"`frames` or `every`"
            )
        columns = {"video": np.stack(held), "file": np.array(files)}
        if labels is not None:
            columns["label"] = np.array(kinds, np.int32)
        return columns

    fields = {"video": Video(_fps(root / names[0]) / every), "file": Text()}
    if classes:
        fields["label"] = Labels(classes)
    splits = {part: partial(table, part) for part in _BANDS}
    return Dataset(splits, len(classes), fields, license=LICENSE)


def _listed(root):
    """Sorted relative paths of videos and of folders of images below a folder."""
    names, _ = listed(root, _VIDEOS)
    pictures, _ = listed(root, SUFFIXES)
    below = lambda names: {x.rpartition("/")[0] or "." for x in names}
    names += below(pictures) - below(names)
    kept = [x for x in names if not Path(x).name.lower().startswith(_LEFT_OUT)]
    if len(kept) < len(names):
        _log.info("clips: %d videos excluded, of doubtful rights", len(names) - len(kept))
    if not kept:
        raise ValueError(f"clips: {root} contains no videos ({', '.join(_VIDEOS)})")
    return sorted(kept)


def _classes(names):
    """Names of the classes, and class of each video; (), None without classes."""
    if not all("/" in name for name in names):
        return (), None
    kinds = [name.partition("/")[0] for name in names]
    classes = tuple(sorted(set(kinds)))
    return classes, np.array([classes.index(kind) for kind in kinds], np.int32)


def _starts(count, span, stride, band):
    """First frames of the clips in a band of a video of `count` frames."""
    first, last = (round(x * count) for x in band)
    if first:
        first += span  # the gap
    return range(first, last - span + 1, stride)


def _read(path, *, size, channels) -> UInt8[np.ndarray, "t size size channels"]:
    if path.is_dir():
        files = sorted(x for x in path.iterdir() if x.suffix.lower() in SUFFIXES)
        files = [x for x in files if not is_hidden(x.name)]
        return np.stack([decode(x, x, size, channels) for x in files])
    found = [fit(picture(frame), size, channels) for frame in _frames(path)]
    if not found:
        raise ValueError(f"clips: {path} cannot be read as a video")
    return np.stack(found)


def _frames(path: Path) -> Iterator[UInt8[np.ndarray, "h w 3"]]:
    """The frames of a video file."""
    opened = _opencv()
    if opened is None:
        import imageio.v3

        yield from imageio.v3.imiter(path)
        return
    video = opened.VideoCapture(str(path))
    try:
        while (frame := video.read())[0]:
            yield np.ascontiguousarray(frame[1][..., ::-1])  # from blue, green, red
    finally:
        video.release()


def _opencv():
    """The module cv2; None if only imageio is installed."""
    try:
        import cv2
    except ModuleNotFoundError:
        try:
            import imageio.v3  # noqa: F401
        except ModuleNotFoundError as missing:
            raise ValueError(
                "clips: no package reads videos: `pip install opencv-python-headless`, or "
                "`pip install imageio imageio-ffmpeg`"
            ) from missing
        return None
    return cv2


def _fps(path):
    """Frames per second of a video file; 8 if unknown."""
    if path.is_dir():
        return 8.0
    opened = _opencv()
    if opened is None:
        import imageio.v3

        return float(imageio.v3.immeta(path).get("fps") or 8.0)
    video = opened.VideoCapture(str(path))
    fps = video.get(opened.CAP_PROP_FPS)
    video.release()
    return float(fps) or 8.0
