r"""Action recognition on frozen representations of single frames.

The encoder processes one frame at a time, so motion can be recognized only by a head that
compares frames, and only from a representation with spatial information. The default is
therefore feature maps, averaged into at most 4 x 4 cells. For frames x_t [k cells, c
channels], standardized by the moments of the clips fitted on, the heads are

    mean         mean_t x_t, independent of the order of frames
    difference   D_ij = mean_t sum_c (x_t,i x_t+1,j - x_t,j x_t+1,i), and mean_t,c x_t
    conv         mean_t relu(sum_o W_o x_t+o + b), learned, over five frames at a time

each followed by a linear layer. D is Reichardt's motion detector, the difference of two
cells' products across time (W. Reichardt, "Autocorrelation, a principle for the evaluation
of sensory information by the central nervous system", in Sensory Communication, 1961): it
changes sign if a clip is reversed. The mean of x_t+1 - x_t would not suffice: it is the
last frame minus the first, from which, if motion wraps around, no linear layer can decode
the direction.

Two controls are reported beside the accuracy: the middle frame alone, at chance level
unless appearance predicts the motion (as in films: Simonyan and Zisserman, "Two-Stream
Convolutional Networks for Action Recognition in Videos", NIPS 2014,
https://arxiv.org/abs/1406.2199), and the same head on clips of shuffled frames, which
preserve the axis of a motion but not its direction: 50 % at best for eight directions.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from jssl.evals.linear import logreg_fit, logreg_predict_proba
from jssl.evals.protocol import Eval, Features, Labeled, joined
from jssl.evals.segmentation import BATCH, train
from jssl.ops.shapes import expect

HEADS = ("mean", "difference", "conv")
PENALTIES = (1.0, 0.1, 0.01)  # ties go to the first
SIDE, REACH, WIDTH = 4, 5, 64
TOGETHER = 64  # clips embedded at a time: maps may be large, cells are small


def cell_means(maps: Float[np.ndarray, "n h w c"]) -> Float[np.ndarray, "n k c"]:
    """The mean of each of 4 x 4 cells that cover a map; a side below 4 stays as it is.

    Cell i has the rows floor(i h / 4) to ceil((i + 1) h / 4), and columns likewise.

    >>> maps = np.array([[1, 2], [3, 4]], np.float32).repeat(4, 0).repeat(4, 1)
    >>> cell_means(maps[None, ..., None])[0, :, 0].tolist()[:4]  # rows of 1 1 2 2
    [1.0, 1.0, 2.0, 2.0]
    """
    expect("cell_means", maps=(maps, "n h w c"))

    def shares(size):  # [cells, size]
        side, at = min(SIDE, size), np.arange(size)
        edges = [(i * size // side, -(-(i + 1) * size // side)) for i in range(side)]
        return np.stack([(a <= at) & (at < b) for a, b in edges]) / np.diff(edges)

    rows, columns = (shares(size).astype(maps.dtype) for size in maps.shape[1:3])
    cells = np.einsum("ih,nhwc,jw->nijc", rows, maps, columns, optimize=True)
    return cells.reshape(len(maps), -1, maps.shape[3])


def time_mean(x: Float[np.ndarray, "n t k c"]) -> Float[np.ndarray, "n d"]:
    """The mean frame, flattened: d = k c."""
    return x.mean(axis=1).reshape(len(x), -1)


def differences(x: Float[np.ndarray, "n t k c"]) -> Float[np.ndarray, "n d"]:
    """D_ij of every pair of cells i < j, then every cell's mean: d = k (k - 1) / 2 + k.

    Cell means are taken over channels, too: with 128 channels, 2,048 numbers would dominate
    the 120 of D.

    >>> dot = np.array([[[[1.0], [0.0]], [[0.0], [1.0]]]])  # from cell 0 to cell 1
    >>> differences(dot).tolist(), differences(dot[:, ::-1]).tolist()  # D = 1 1 - 0 0
    ([[1.0, 0.5, 0.5]], [[-1.0, 0.5, 0.5]])
    """
    sizes = expect("differences", x=(x, "n t k c"))
    pairs = np.einsum("ntic,ntjc->nij", x[:, :-1], x[:, 1:], optimize=True)
    i, j = np.triu_indices(sizes["k"], 1)
    found = (pairs[:, i, j] - pairs[:, j, i]) / (sizes["t"] - 1)
    return np.concatenate([found, x.mean(axis=(1, 3))], axis=1)


def conv_init(key: PRNGKeyArray, d: int, classes: int) -> dict[str, Array]:
    """He-normal kernel over five frames of d numbers; the last layer is zero."""
    kernel = jax.nn.initializers.he_normal(in_axis=(0, 1))(key, (REACH, d, WIDTH))
    last = {"weights": jnp.zeros((WIDTH, classes)), "bias": jnp.zeros(classes)}
    return {"kernel": kernel, "shift": jnp.zeros(WIDTH)} | last


def conv_logits(
    params: dict[str, Array], x: Float[Array, "n t d"]
) -> Float[Array, "n classes"]:
    """A convolution over time as a sum of matrix products, ReLU, mean, linear layer."""
    steps = x.shape[1] - REACH + 1
    seen = sum(x[:, o : o + steps] @ params["kernel"][o] for o in range(REACH))
    z = jax.nn.relu(seen + params["shift"]).mean(axis=1)
    return z @ params["weights"] + params["bias"]


def _conv_loss(params, key, x, y):
    del key
    hit = y[:, None] == jnp.arange(len(params["bias"]))
    return -jnp.sum(jax.nn.log_softmax(conv_logits(params, x)), where=hit) / len(y)


def action(
    clips: Callable[[str], Mapping],
    name: str = "maps",
    head: str = "conv",
    steps: int = 300,
    lr: Sequence[float] = (1e-3, 3e-3, 1e-2),
    seed: int = 0,
    *,
    task: str = "clips",
) -> Eval:
    """Accuracies in [0, 1]: "action", "action/single_frame" and "action/shuffled".

    Each of the three has a fit of its own: the learning rate ("conv", trained by Adam) or
    penalty (logistic regression for the other heads and the single frame) is selected on
    val; at the end the head is refitted on train + val and evaluated on test. Values
    reported during training are the best on val, hence slightly optimistic.

    Args:
      clips: split -> {"video": float32 [m, t, h, w, c], "label": int [m]}, from images of
        that split.
      name: output of the method that represents a frame: maps [n, h', w', d], or rows
        [n, d], which are one cell.
      head: "mean", "difference" or "conv".
      steps, lr, seed: of "conv"; the seed also shuffles the frames.
      task: description of the clips, for the protocol.

    Raises:
      ValueError: invalid settings; clips or representations that are not as above, not
        finite, too short, or of too few cells for the head.
    """
    rates = tuple(sorted(float(x) for x in lr))
    if head not in HEADS or steps < 1 or not rates or not rates[0] > 0:
        raise ValueError(
            f"action: head must be one of {', '.join(HEADS)}, steps at least 1 and every "
            f"lr positive, got {head!r}, {steps}, {rates}"
        )
    still = partial(_solved, time_mean), PENALTIES
    own = {
        "mean": still,
        "difference": (partial(_solved, differences), PENALTIES),
        "conv": (partial(_trained, steps=steps, seed=seed), rates),
    }[head]

    def run(features: Features, final: bool) -> dict:
        from threadpoolctl import threadpool_limits

        splits = ("train", "val", "test") if final else ("train", "val")
        whole = [_framed(features, clips, split, name, head) for split in splits]
        middle = [(x[:, [x.shape[1] // 2]], y) for x, y in whole]
        rng = np.random.default_rng(seed)
        mixed = [(_shuffled(rng, x), y) for x, y in whole]
        with threadpool_limits(1):  # numpy and scipy would oversubscribe the cores
            return {
                "action": _judged(*own, *whole),
                "action/single_frame": _judged(*still, *middle),
                "action/shuffled": _judged(*own, *mixed),
            }

    exact = f"exact logistic regression, l2 from {_listed(PENALTIES)}"
    adam = f"Adam to 0 by a cosine, lr from {_listed(rates)}, {steps} steps of {BATCH}"
    return Eval(
        f"action recognition in {task}: {head} head on frozen {name} of at most "
        f"{SIDE}x{SIDE} cells, standardised; {adam if head == 'conv' else exact}; single "
        f"(middle) frame by {exact}; all chosen on val; seed={seed}",
        run,
    )


def _framed(features, clips, split, name, head) -> Labeled:
    """The frames of a split's clips as cells [m, t, k, c], and the labels."""
    found = clips(split)
    if not {"video", "label"} <= set(found):
        raise ValueError(f"the {split} clips need 'video' and 'label', got {list(found)}")
    video, y = np.asarray(found["video"]), np.asarray(found["label"])
    sizes = expect(f"action, {split}", video=(video, "m t h w c"), label=(y, "m", "int"))
    least = REACH if head == "conv" else 2
    if not len(y) or y.min() < 0 or sizes["t"] < least:
        raise ValueError(
            f"action: the {split} split needs clips of at least {least} frames and labels "
            f">= 0, got {len(y)} clips of {sizes['t']} frames"
        )
    blocks = [video[i : i + TOGETHER] for i in range(0, len(y), TOGETHER)]
    parts = [_cells(features, block, name, split) for block in blocks]
    x = np.concatenate(parts).reshape(*video.shape[:2], *parts[0].shape[1:])
    if head == "difference" and x.shape[2] < 2:
        raise ValueError(
            f"action: the difference of cells needs maps, but {name!r} has one cell: "
            f"choose another name or head"
        )
    return x, y


def _cells(features, video, name, split):
    """Cells of the representation of each frame, [m t, k, c]."""
    frames = video.reshape(-1, *video.shape[2:])
    found = np.asarray(features.of({"image": frames}, name), np.float32)
    right = found.ndim in (2, 4) and len(found) == len(frames)
    if not right or not np.isfinite(found).all():
        raise ValueError(
            f"action: {name!r} of the {split} clips must be finite maps [n, h, w, d] or "
            f"rows [n, d], one a frame, got {list(found.shape)} for {len(frames)} frames"
        )
    return found[:, None] if found.ndim == 2 else cell_means(found)


def _shuffled(rng, x):
    """Clips with their frames in random order; frames were embedded one by one."""
    order = rng.permuted(np.tile(np.arange(x.shape[1]), (len(x), 1)), axis=1)
    return x[np.arange(len(x))[:, None], order]


def _judged(learn, settings, train, val, test=None) -> float:
    """Accuracy on val, or on test after a refit, with the best setting on val."""
    right = [_accuracy(learn(*train, setting), *val) for setting in settings]
    if test is None:
        return max(right)
    return _accuracy(learn(*joined(train, val), settings[int(np.argmax(right))]), *test)


def _accuracy(predict, x, y):
    return float(np.mean(predict(x) == y))


def _solved(feature, x, y, l2):
    """Fits a linear layer on a feature of the clips: returns x -> classes."""
    first = _moments(x, (0, 1))
    h = feature(_scaled(x, first))
    second = _moments(h, 0)
    h, classes = _scaled(h, second), int(y.max()) + 1
    # With an L2 penalty the weights are in the span of the rows, of dimension n < d.
    basis = np.linalg.qr(h.T)[0]
    model = logreg_fit(h @ basis, y, classes=classes, l2=l2, standardize=False)

    def predict(x):
        h = _scaled(feature(_scaled(x, first)), second) @ basis
        return logreg_predict_proba(model, h).argmax(axis=1)

    return predict


def _trained(x, y, lr, *, steps, seed):
    """Trains the convolution over time: returns x -> classes."""
    moments = _moments(x, (0, 1))

    def rows(x):  # [n, t, d]
        return _scaled(x, moments).reshape(*x.shape[:2], -1)

    h = rows(x)
    start = conv_init(jax.random.key(seed), h.shape[2], int(y.max()) + 1)
    params = train(_conv_loss, start, (h, y), lr=lr, steps=steps, seed=seed)
    return lambda x: np.asarray(jax.jit(conv_logits)(params, rows(x))).argmax(axis=1)


def _moments(x, axes):
    """Mean and standard deviation over these axes, 1 for constant features."""
    mean, std = (f(x, axes, np.float64) for f in (np.mean, np.std))
    return np.float32(mean), np.float32(np.where(std <= 1e-7 * np.abs(mean), 1, std))


def _scaled(x, moments):
    return (x - moments[0]) / moments[1]


def _listed(settings):
    return ", ".join(f"{x:g}" for x in settings)
