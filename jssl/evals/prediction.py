"""Predicted frames of clips beside the true ones, frame by frame, and copies of the last.

MSE is the sum over the pixels and channels of a frame, of images in [0, 1], as in all
papers on Moving MNIST; PSNR and SSIM are those of `jssl.evals.image_quality`. Copying the
last observed frame is the baseline without learning. An MSE can be small for a blurred
prediction, whose SSIM is then low.
"""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float

from jssl.evals.image_quality import RADIUS, psnr, ssim
from jssl.evals.protocol import Eval, Features
from jssl.pictures import Lines

Clips = Float[np.ndarray, "n t h w c"]


def frame_errors(made: Clips, real: Clips) -> dict[str, Float[np.ndarray, " t"]]:
    """MSE, PSNR and SSIM of each frame, means over the clips.

    Frames smaller than 11 x 11 have no SSIM.

    Raises:
      ValueError: not two arrays of clips [n, t, h, w, c] of one shape.

    >>> real = np.zeros((1, 2, 4, 4, 1))
    >>> made = real + np.array([0.0, 0.5]).reshape(1, 2, 1, 1, 1)
    >>> frame_errors(made, real)["mse"].tolist()    # 16 pixels of 0.25
    [0.0, 4.0]
    """
    if made.shape != real.shape or made.ndim != 5:
        raise ValueError(
            f"frame_errors: clips must be [n, t, h, w, c] of one shape, got "
            f"{list(made.shape)} and {list(real.shape)}"
        )
    large = min(real.shape[2:4]) > 2 * RADIUS
    kinds: dict[str, Callable] = {"mse": _squared, "psnr": psnr}
    kinds |= {"ssim": ssim} if large else {}
    pairs = [(made[:, t], real[:, t]) for t in range(real.shape[1])]
    return {
        name: np.array([np.mean(of(*pair)) for pair in pairs]) for name, of in kinds.items()
    }


def _squared(x, y):
    return np.square(np.asarray(x, np.float64) - y).sum((1, 2, 3))


def frame_prediction(
    observed: int, field: str = "video", *, rows: int | None = None
) -> Eval:
    """MSE, PSNR and SSIM of the frames after the observed ones, and of their halves.

    "mse", "psnr" and "ssim" are means over all predicted frames; "mse/1-5" over the first
    five; "mse/copy" ... those of the last observed frame in their place. Pictures are the
    curves over frames.

    Args:
      observed: frames of a clip that are given.
      field: column of the clips, and of the method's samples, which begin with the observed
        frames.
      rows: number of first clips; None: all.

    Raises:
      ValueError: the method generates no such clips, or there is no frame to predict.
    """
    if observed < 1:
        raise ValueError(f"frame_prediction: observed must be positive, got {observed}")

    def run(features: Features, final: bool) -> dict:
        split = "test" if final else "val"
        generated = features.generated(split, rows)
        if field not in generated:
            raise ValueError(f"frame_prediction: the method must generate {field!r}")
        made, real = np.asarray(generated[field]), features.rows(split, rows)[field]
        real = np.asarray(real)
        if real.ndim != 5 or real.shape[1] <= observed:
            raise ValueError(
                f"frame_prediction: clips must be longer than the {observed} observed "
                f"frames, got {list(real.shape)}"
            )
        last = np.broadcast_to(real[:, observed - 1, None], real[:, observed:].shape)
        ours = frame_errors(made[:, observed:], real[:, observed:])
        copy = frame_errors(last, real[:, observed:])
        count = real.shape[1] - observed
        half = -(-count // 2)
        parts = {"": slice(None), f"/1-{half}": slice(half)}
        if half < count:
            parts[f"/{half + 1}-{count}"] = slice(half, None)
        found: dict = {}
        for part, frames in parts.items():
            for name in ours:
                found[name + part] = float(ours[name][frames].mean())
                found[f"{name}{part}/copy"] = float(copy[name][frames].mean())
        for name in ours:
            curves = {"predicted": ours[name], "last observed frame": copy[name]}
            found[f"{name} by frame"] = Lines(
                curves, f"{name.upper()} of the {split} split", "predicted frame"
            )
        return found

    first = "all" if rows is None else rows
    return Eval(
        f"frames after {observed} observed ones of {first} clips: MSE summed over pixels, "
        f"PSNR, SSIM, means over frames",
        run,
        (),
    )
