"""Motion of generated videos of one moving object: its path, its identity, its direction.

The path of an object that moves uniformly and bounces has second differences of 0, but for
the bounces: their median is small. A model whose frames are independent fails this test.
"""

import numpy as np
from jaxtyping import Float

from jssl.evals.generation import fid
from jssl.evals.knn import knn_predict
from jssl.evals.protocol import Eval, Features


def centers_of_mass(videos: Float[np.ndarray, "n t h w c"]) -> Float[np.ndarray, "n t 2"]:
    """Row and column of the center of mass of each frame, by brightness; NaN of black ones.

    >>> video = np.zeros((1, 1, 3, 3, 1))
    >>> video[0, 0, 2, :2, 0] = 1
    >>> centers_of_mass(video).tolist()
    [[[2.0, 0.5]]]
    """
    mass = np.asarray(videos, np.float64).sum(-1)
    total = mass.sum((2, 3))
    total = np.where(total > 0, total, np.nan)
    rows, columns = (np.arange(n) for n in mass.shape[2:])
    return np.stack([mass.sum(3) @ rows / total, mass.sum(2) @ columns / total], axis=-1)


def path_error(centers: Float[np.ndarray, "n t 2"]) -> float:
    """Median absolute second difference of the paths, in pixels, over both coordinates.

    >>> steady = np.stack([np.arange(5.0), -np.arange(5.0)], 1)[None]
    >>> path_error(steady), path_error(steady**2)
    (0.0, 2.0)
    """
    return float(np.nanmedian(np.abs(np.diff(centers, 2, axis=1))))


def motion(field: str = "video", *, side: int = 8, k: int = 10, floor: float = 0.1) -> Eval:
    """Paths, objects and directions in generated videos of one object on black.

    "path" is `path_error`, of centers of mass of pixels brighter than `floor`; "object" is
    the fraction of videos whose first and last frames are of one class, by kNN on the
    object cut out of first frames of the training split; "class" is the fraction whose
    first frame is of the class of their row; "direction" the fraction that begin to move as
    the video of their row, to the same sides along both axes; and "frame_fid" the FID
    between pixels of frames. "path/real", "object/real" ... are of the rows themselves.

    Args:
      field: column of the videos, of three frames or more, and of the method's samples.
      side: of the square around the center of mass that is cut out.
      k: neighbors.
      floor: brightness that is taken as black.

    Raises:
      ValueError: the method generates no such videos.
    """

    def run(features: Features, final: bool) -> dict:
        split = "test" if final else "val"
        generated, rows = features.generated(split), features.rows(split)
        if field not in generated or np.ndim(generated[field]) != 5:
            raise ValueError(f"motion: the method must generate videos as {field!r}")
        made, real = (np.asarray(x[field]) for x in (generated, rows))
        dark = lambda x: np.where(x > floor, x, 0)
        made, real = dark(made), dark(real)
        ends = np.asarray(rows.get("length", np.full(len(real), real.shape[1]))) - 1
        labels = features.labels(split)
        bank = cut_out(dark(np.asarray(features.rows("train")[field][:, 0])), side)
        truth = features.labels("train")

        def classes(frames):
            found, _ = knn_predict(
                bank, truth, cut_out(frames, side), k=k, classes=int(truth.max()) + 1
            )
            return np.asarray(found)

        toward = lambda x: np.sign(np.diff(centers_of_mass(x[:, :2]), axis=1)[:, 0])
        wanted = toward(real)

        def judged(x):
            first, last = classes(x[:, 0]), classes(x[np.arange(len(x)), ends])
            return {
                "path": path_error(centers_of_mass(x)),
                "object": float((first == last).mean()),
                "class": float((first == labels).mean()),
                "direction": float((toward(x) == wanted).all(1)[ends > 0].mean()),
            }

        frames = (x.reshape(len(x) * x.shape[1], -1) for x in (real, made))
        return (
            judged(made)
            | {f"{name}/real": x for name, x in judged(real).items()}
            | {"frame_fid": fid(*frames)}
        )

    return Eval(
        f"paths of centers of mass in pixels, kNN (k={k}) on cut out objects of {side} "
        f"pixels, floor {floor:g}",
        run,
        (),
    )


def cut_out(images: Float[np.ndarray, "n h w c"], side: int) -> Float[np.ndarray, "n d"]:
    """The square around the center of mass of each image, flattened; black beyond the
    image.

    >>> image = np.zeros((1, 4, 4, 1))
    >>> image[0, 1, 1, 0] = 1
    >>> cut_out(image, 2).tolist()
    [[0.0, 0.0, 0.0, 1.0]]
    """
    centers = np.nan_to_num(centers_of_mass(images[:, None])[:, 0])
    half = side // 2
    padded = np.pad(images, ((0, 0), (half, side), (half, side), (0, 0)))
    corners = np.rint(centers).astype(int)  # of the padded image
    squares = [
        image[y : y + side, x : x + side]
        for image, (y, x) in zip(padded, corners, strict=True)
    ]
    return np.stack(squares).reshape(len(images), -1).astype(np.float32)
