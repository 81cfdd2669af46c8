"""Pictures of the report: images, clips, sounds, graphs, text, points and curves.

Methods' `render`, evals and fields of the data return these; `draw` writes them to files
for a browser.
"""

import wave
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np


class Grid(NamedTuple):
    """Images in rows and columns.

    Attributes:
      images: [rows, columns, h, w, c] in [0, 1]; their mean is drawn unless c is 1 or 3.
      columns: a heading for each column, or none.
    """

    images: Any
    columns: tuple[str, ...] = ()


class Clip(NamedTuple):
    """Videos in rows and columns, written as one GIF.

    Attributes:
      frames: [rows, columns, t, h, w, c] in [0, 1], c 1 or 3.
      columns: a heading for each column, or none.
      fps: frames per second.
    """

    frames: Any
    columns: tuple[str, ...] = ()
    fps: float = 8.0


class Sound(NamedTuple):
    """Waveforms in rows and columns: spectrograms, and one WAV file per row.

    Attributes:
      waves: [rows, columns, samples] in [-1, 1].
      columns: a heading for each column, or none.
      rate: samples per second.
    """

    waves: Any
    columns: tuple[str, ...] = ()
    rate: int = 16_000


class Graph(NamedTuple):
    """Graphs in rows and columns, their nodes on circles.

    Attributes:
      edges: [rows, columns, nodes, nodes], weights; 0: no edge.
      columns: a heading for each column, or none.
    """

    edges: Any
    columns: tuple[str, ...] = ()


class Scatter(NamedTuple):
    """Points in two dimensions, colored by label.

    Attributes:
      xy: float32 [n, 2].
      labels: int [n].
      title: text above the picture.
      names: of labels 0, 1, ...; empty: their numbers.
    """

    xy: np.ndarray
    labels: np.ndarray
    title: str
    names: Sequence[str] = ()


class Lines(NamedTuple):
    """Curves over 1, 2, 3 ..., or over other numbers.

    Attributes:
      ys: by name, [n].
      title: text above the picture.
      x: label of the x axis.
      log: True for a logarithmic y axis.
      marker: of the points, as in matplotlib.
      xs: [n], of all curves; None: 1, 2, 3 ...
    """

    ys: Mapping[str, np.ndarray]
    title: str
    x: str
    log: bool = False
    marker: str = ""
    xs: np.ndarray | None = None


Picture = Grid | Clip | Sound | Graph | Scatter | Lines | str


def in_range(images: Any) -> Any:
    """Images mapped linearly to [0, 1], unless all numbers are in it already."""
    low, high = images.min().clip(max=0), images.max().clip(min=1)
    return (images - low) / (high - low)


def thumbnails(images: Any, side: int = 32) -> Any:
    """Images [n, h, w, c] of at most `side` pixels, in float16, by leaving out the others.

    A whole split of such images fits in the memory of a host.

    >>> thumbnails(np.zeros((2, 224, 224, 3))).shape
    (2, 32, 32, 3)
    """
    every = -(-max(images.shape[1:3]) // side)
    return images[:, ::every, ::every].astype(np.float16)


def text_table(cells: Any, columns: tuple[str, ...] = ()) -> str:
    """Rows of strings as text in aligned columns.

    >>> print(text_table([["a", "bcd"], ["ef", "g"]], ("x", "y")))
    x   y
    a   bcd
    ef  g
    """
    rows = [list(map(str, row)) for row in ([columns] if columns else []) + list(cells)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    padded = (
        "  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)) for row in rows
    )
    return "\n".join(line.rstrip() for line in padded)


def sheet(images: Any, columns: int) -> np.ndarray:
    """Images [n, h, w, c] in [0, 1] as one of bytes, in rows of `columns`, with white gaps.

    >>> sheet(np.zeros((5, 8, 8, 1)), 3).shape    # two rows, and a gap after each image
    (18, 27)
    """
    images = np.asarray(images, np.float32)
    blank = np.ones((-len(images) % columns, *images.shape[1:]), np.float32)
    cells = np.concatenate([images, blank]).reshape(-1, columns, *images.shape[1:])
    pixels = np.rint(255 * _canvas(cells)[0]).astype(np.uint8)
    return pixels[..., 0] if pixels.shape[-1] == 1 else pixels


def draw(picture: Picture, name: str, path: Path) -> None:
    """Writes a picture to `path` with an added suffix: .png, .gif, .wav or .txt.

    A `Sound` is written as an image of spectrograms and one WAV file per row,
    `path--row1.wav`, of all columns in sequence.

    Raises:
      ValueError: `picture` is none of the kinds of this module.
    """
    if isinstance(picture, str):
        _with_suffix(path, ".txt").write_text(picture)
    elif isinstance(picture, Clip):
        _gif(picture, _with_suffix(path, ".gif"))
    elif type(picture) in _PAINTERS:
        from matplotlib.figure import Figure

        figure = Figure(dpi=110, layout="constrained")
        _PAINTERS[type(picture)](figure, picture)
        figure.savefig(_with_suffix(path, ".png"))
        if isinstance(picture, Sound):
            for i, row in enumerate(np.asarray(picture.waves), 1):
                _wav(row, picture.rate, _with_suffix(path, f"--row{i}.wav"))
    else:
        raise ValueError(
            f"{name}: a picture is a Grid, Clip, Sound, Graph, Scatter, Lines or text, "
            f"got {type(picture)}"
        )


def _with_suffix(path, suffix):
    """`path` with an added suffix, also for names with a dot."""
    return Path(path).with_name(Path(path).name + suffix)


def _canvas(images):
    """[rows, columns, ..., h, w, c] as one image [..., h, w, c], with white gaps.

    The mean over channels unless there are one or three, such as the two of edges.
    """
    images = np.clip(np.asarray(images, np.float32), 0, 1)
    if images.shape[-1] not in (1, 3):
        images = images.mean(-1, keepdims=True)
    rows, columns, *frames, h, w, c = images.shape
    gap = 1 if max(h, w) < 64 else 2
    canvas = np.ones((*frames, rows * (h + gap), columns * (w + gap), c), np.float32)
    for i in range(rows):
        for j in range(columns):
            top, left = i * (h + gap), j * (w + gap)
            canvas[..., top : top + h, left : left + w, :] = images[i, j]
    return canvas, w + gap


def _headed(axes, columns, width, count):
    """Column headings above a picture of `count` columns, `width` pixels each."""
    axes.set_xticks((np.arange(count) + 0.5) * width if columns else [], columns)
    axes.xaxis.tick_top()
    axes.tick_params(length=0, labelsize=9)
    axes.set_yticks([])
    axes.set_frame_on(False)


def _grid(figure, grid):
    rows, columns, h, w, _ = np.shape(grid.images)
    canvas, width = _canvas(grid.images)
    inches = (1.3 if grid.columns else 0.5) * max(1, min(3, max(h, w) / 64))
    figure.set_size_inches(inches * columns + 0.2, inches * rows * h / w + 0.4)
    axes = figure.subplots()
    seen = canvas.squeeze(-1) if canvas.shape[-1] == 1 else canvas
    axes.imshow(seen, cmap="gray", vmin=0, vmax=1)
    _headed(axes, grid.columns, width, columns)


def _gif(clip, path):
    from PIL import Image, ImageDraw

    canvas, width = _canvas(clip.frames)
    scale = max(1, round(96 / max(np.shape(clip.frames)[3:5])))
    head = 14 if clip.columns else 0
    frames = []
    for frame in np.rint(255 * canvas).astype(np.uint8):
        image = Image.fromarray(frame[..., 0] if frame.shape[-1] == 1 else frame)
        image = image.convert("RGB").resize(
            (scale * image.width, scale * image.height), Image.Resampling.NEAREST
        )
        page = Image.new("RGB", (image.width, image.height + head), "white")
        page.paste(image, (0, head))
        for i, heading in enumerate(clip.columns):
            ImageDraw.Draw(page).text((i * width * scale + 2, 1), heading, fill="black")
        frames.append(page)
    pause = round(1000 / clip.fps)
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=pause, loop=0)


def _sound(figure, sound):
    from matplotlib import colormaps

    waves = np.asarray(sound.waves, np.float32)
    rows, columns, _ = waves.shape
    spectra = np.stack([[_spectrogram(x)[::-1] for x in row] for row in waves])
    spectra = spectra.repeat(max(1, 64 // spectra.shape[-1]), -1)
    low, high = (f((2, 3), keepdims=True) for f in (spectra.min, spectra.max))
    colors = colormaps["magma"]((spectra - low) / np.maximum(high - low, 1e-12))
    canvas, width = _canvas(colors[..., :3])
    figure.set_size_inches(1.6 * columns + 0.2, 1.1 * rows + 0.4)
    axes = figure.subplots()
    axes.imshow(canvas, aspect="auto")
    _headed(axes, sound.columns, width, columns)


def _spectrogram(wave_):
    """Log power [frequencies, frames] of Hann windows with 75 % overlap."""
    size = min(256, len(wave_))
    frames = np.lib.stride_tricks.sliding_window_view(wave_, size)[:: max(1, size // 4)]
    power = np.abs(np.fft.rfft(frames * np.hanning(size), axis=1)) ** 2
    return np.log(power + 1e-6).T


def _wav(row, rate, path):
    """Writes the columns of a row in sequence, separated by a fifth of a second."""
    gap = np.zeros(rate // 5, np.float32)
    samples = np.concatenate([x for column in row for x in (column, gap)][:-1])
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(np.int16(np.rint(np.clip(samples, -1, 1) * 32767)).tobytes())


def _graph(figure, graph):
    from matplotlib.collections import LineCollection

    edges = np.asarray(graph.edges)
    rows, columns, n, _ = edges.shape
    turn, width = 2 * np.pi * np.arange(n) / n, 2.6
    circle = np.stack([np.cos(turn), np.sin(turn)], 1)
    lines, points = [], []
    for i, j in np.ndindex(rows, columns):
        linked = (edges[i, j] != 0) | (edges[i, j].T != 0)
        places = circle + [width * (j + 0.5), width * (i + 0.5)]
        lines += list(places[np.argwhere(np.triu(linked))])
        points += list(places[linked.any(0)])
    figure.set_size_inches(1.3 * columns + 0.2, 1.3 * rows + 0.4)
    axes = figure.subplots()
    axes.add_collection(LineCollection(lines, colors="0.5", linewidths=0.8))
    axes.scatter(*np.reshape(points, (-1, 2)).T, s=12, color="C0", zorder=2)
    axes.set(xlim=(0, width * columns), ylim=(width * rows, 0), aspect="equal")
    _headed(axes, graph.columns, width, columns)


def _scatter(figure, scatter):
    figure.set_size_inches(6.4, 5.6)
    axes = figure.subplots()
    labels = np.asarray(scatter.labels)
    for label in np.unique(labels):
        x, y = np.asarray(scatter.xy)[labels == label].T
        name = scatter.names[int(label)] if scatter.names else str(label)
        axes.scatter(x, y, s=7, color=f"C{int(label) % 10}", label=name)
    axes.legend(markerscale=2, fontsize=8, ncols=2, framealpha=0.6)
    axes.set_title(scatter.title, fontsize=8)
    axes.set_xticks([])
    axes.set_yticks([])


def _lines(figure, lines):
    figure.set_size_inches(6.4, 3.6)
    axes = figure.subplots()
    for name, y in lines.ys.items():
        xs = np.arange(1, len(y) + 1) if lines.xs is None else lines.xs
        axes.plot(xs, y, label=name, marker=lines.marker)
    axes.set_yscale("log" if lines.log else "linear")
    axes.set_xlabel(lines.x)
    axes.set_title(lines.title, fontsize=8)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)


_PAINTERS = {Grid: _grid, Sound: _sound, Graph: _graph, Scatter: _scatter, Lines: _lines}
