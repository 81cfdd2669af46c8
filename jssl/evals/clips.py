r"""Action recognition on frozen representations of clips.

Two kinds of encoders are judged alike. A *frame encoder* processes one frame at a time, so
motion can be recognized only by a head that compares frames, and only from a representation
with spatial information: feature maps, averaged into at most 4 x 4 cells. For frames x_t [k
cells, c channels], standardized by the moments of the clips fitted on, the heads are

    mean         mean_t x_t, independent of the order of frames
    concat       x_1, ..., x_T
    difference   D_ij = mean_t sum_c (x_t,i x_t+1,j - x_t,j x_t+1,i), and mean_t,c x_t
    conv         mean_t relu(sum_o W_o x_t+o + b), learned, over five frames at a time
    gru          the last state of a gated recurrent unit, learned

each followed by a linear layer. D is Reichardt's motion detector, the difference of two
cells' products across time (W. Reichardt, "Autocorrelation, a principle for the evaluation
of sensory information by the central nervous system", in Sensory Communication, 1961): it
changes sign if a clip is reversed. The mean of x_t+1 - x_t would not suffice: it is the
last frame minus the first, from which, if motion wraps around, no linear layer can decode
the direction. A *clip encoder* processes all frames together; its head is linear.

Three controls are reported beside the accuracy: the middle frame alone (of a clip encoder,
repeated), at chance level unless appearance predicts the motion (as in films: Simonyan and
Zisserman, "Two-Stream Convolutional Networks for Action Recognition in Videos", NIPS 2014,
https://arxiv.org/abs/1406.2199); the same head on clips of shuffled frames, which preserve
the axis of a motion but not its direction: 50 % at best for eight directions; and reversed
clips, whose class should be the opposite one. Retrieval is that of D. Xu et al.,
"Self-Supervised Spatiotemporal Learning via Video Clip Order Prediction", CVPR 2019: clips
of the judged split query those fitted on, by cosine of the concatenated frames, or of the
representation of the clip.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, PRNGKeyArray

from jssl.evals.linear import logreg_fit, logreg_predict_proba
from jssl.evals.protocol import Eval, Features, joined
from jssl.evals.retrieval import recall_at_k, retrieve
from jssl.evals.segmentation import BATCH, train
from jssl.ops.shapes import expect

HEADS = ("mean", "concat", "difference", "conv", "gru")
PENALTIES = (1.0, 0.1, 0.01)  # ties go to the first
SIDE, REACH, WIDTH = 4, 5, 64
MOST = {"train": 10, "val": 10, "test": 90}  # clips of videos for each class
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


def concatenation(x: Float[np.ndarray, "n t k c"]) -> Float[np.ndarray, "n d"]:
    """All frames, flattened: d = t k c."""
    return x.reshape(len(x), -1)


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


def conv_init(
    key: PRNGKeyArray, d: int, classes: int, reach: int = REACH
) -> dict[str, Array]:
    """He-normal kernel over `reach` frames of d numbers; the last layer is zero."""
    kernel = jax.nn.initializers.he_normal(in_axis=(0, 1))(key, (reach, d, WIDTH))
    last = {"weights": jnp.zeros((WIDTH, classes)), "bias": jnp.zeros(classes)}
    return {"kernel": kernel, "shift": jnp.zeros(WIDTH)} | last


def conv_logits(
    params: dict[str, Array], x: Float[Array, "n t d"]
) -> Float[Array, "n classes"]:
    """A convolution over time as a sum of matrix products, ReLU, mean, linear layer."""
    reach = len(params["kernel"])
    steps = x.shape[1] - reach + 1
    seen = sum(x[:, o : o + steps] @ params["kernel"][o] for o in range(reach))
    z = jax.nn.relu(seen + params["shift"]).mean(axis=1)
    return z @ params["weights"] + params["bias"]


class Recurrent(nn.Module):
    """A gated recurrent unit, and a linear layer on its last state: [n, t, d] -> logits.

    Cho et al. 2014, https://arxiv.org/abs/1406.1078
    """

    classes: int

    @nn.compact
    def __call__(self, x):
        state = jnp.asarray(nn.RNN(nn.GRUCell(WIDTH))(x))[:, -1]
        return nn.Dense(self.classes, kernel_init=nn.initializers.zeros)(state)


def _conv_loss(params, key, x, y):
    del key
    return _cross_entropy(conv_logits(params, x), y)


def _gru_loss(params, key, x, y):
    del key
    return _cross_entropy(_gru_logits(params, x), y)


def _gru_logits(params, x):
    classes = params["params"]["Dense_0"]["bias"].shape[0]
    return Recurrent(classes).apply(params, x)


def _cross_entropy(logits, y):
    return optax.softmax_cross_entropy_with_integer_labels(logits, y).mean()


def opposites(names: Sequence[str]) -> tuple[int, ...]:
    """The class of each class's reversed clips by the words of its name, -1 for none.

    >>> opposites(("left", "turn_up", "right", "turn_down", "attack", "move_forward"))
    (2, 3, 0, 1, -1, -1)
    """
    pairs = (("left", "right"), ("up", "down"), ("forward", "backward"))
    turned = dict(pairs) | {b: a for a, b in pairs}
    known = {name: i for i, name in enumerate(names)}

    def opposite(name):
        back = re.sub(r"[a-z]+", lambda found: turned.get(found[0], found[0]), name)
        return -1 if back == name else known.get(back, -1)

    return tuple(map(opposite, names))


def action(
    clips: Callable[[str], Mapping] | None = None,
    name: str | None = None,
    head: str = "conv",
    steps: int = 300,
    lr: Sequence[float] = (1e-3, 3e-3, 1e-2),
    seed: int = 0,
    *,
    column: str = "image",
    opposite: Sequence[int] = (),
    ks: Sequence[int] = (1, 5, 10),
    task: str = "clips",
) -> Eval:
    """Accuracies in [0, 1]: "action" and its controls, and recall at k.

    The controls are "action/single_frame", "action/shuffled" and, with `opposite`,
    "action/reversed", the fraction of reversed clips that are classified as the opposite of
    their class. Each of the first three has a fit of its own: the learning rate ("conv" and
    "gru", trained by Adam) or penalty (logistic regression for the other heads, the single
    frame and clip encoders) is selected on val; at the end the head is refitted on train +
    val and evaluated on test. Values reported during training are the best on val, hence
    slightly optimistic. "action/recall@k" selects nothing.

    Args:
      clips: split -> {"video": [m, t, h, w, c], float32 in [0, 1] or bytes, "label": int
        [m]}; of methods of images, made from images of that split. None: rows of the data
        set of videos, spread evenly over each split, about 10, 10 and 90 of each class:
        with thousands, untrained networks are perfect on simple data.
      name: output that represents a frame: maps [n, h', w', d] or rows [n, d]; of methods
        of videos, [n, t, h', w', d] or [n, t, d]. "h" of a method of videos represents a
        clip. None: "maps" for images; for videos "frames", or "h" if the method has none.
      head: of frame encoders: "mean", "concat", "difference", "conv" or "gru".
      steps, lr, seed: of "conv" and "gru"; the seed also shuffles the frames.
      column: input of the method: "image", of one frame, or "video", of all.
      opposite: class of each class's reversed clips, -1 for none; empty: not evaluated.
      ks: numbers of neighbors of the recalls, those up to the number of clips.
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
    if column not in ("image", "video") or not all(k >= 1 for k in ks):
        raise ValueError(
            f"action: column must be image or video and ks at least 1, got {column!r} and "
            f"{ks}"
        )
    still = partial(_solved, time_mean), PENALTIES
    own = {
        "mean": still,
        "concat": (partial(_solved, concatenation), PENALTIES),
        "difference": (partial(_solved, differences), PENALTIES),
        "conv": (partial(_trained, _of_conv, steps=steps, seed=seed), rates),
        "gru": (partial(_trained, _of_gru, steps=steps, seed=seed), rates),
    }[head]
    if clips is None and column == "image":
        raise ValueError(
            "action: a method of images needs clips: give a function of a split"
        )
    toward = np.asarray(opposite, int)

    def run(features: Features, final: bool) -> dict:
        from threadpoolctl import threadpool_limits

        output, whole = name or _output(features, column), column == "video"
        learn = still if whole and output == "h" else own
        encode = partial(_encoded, features, clips, column=column, name=output, head=head)
        each = [encode(split) for split in ("train", "val", "test")[: 2 + final]]
        rng = np.random.default_rng(seed)
        straight = [(x.played(x.order), x.y) for x in each]
        middle = [(x.played(x.order[:, x.order.shape[1] // 2, None]), x.y) for x in each]
        mixed = [(x.played(rng.permuted(x.order, axis=1)), x.y) for x in each]
        with threadpool_limits(1):  # numpy and scipy would oversubscribe the cores
            predict, accuracy = _judged(*learn, *straight)
            found = {
                "action": accuracy,
                "action/single_frame": _judged(*still, *middle)[1],
                "action/shuffled": _judged(*learn, *mixed)[1],
            }
            if len(toward):
                last = each[-1]
                back = predict(last.played(last.order[:, ::-1]))
                wanted = toward[last.y]
                known = wanted >= 0
                found["action/reversed"] = float(np.mean((back == wanted)[known]))
        return found | _recalls(straight, ks)

    exact = f"exact logistic regression, l2 from {_listed(PENALTIES)}"
    adam = f"Adam to 0 by a cosine, lr from {_listed(rates)}, {steps} steps of {BATCH}"
    told = name or ("maps" if column == "image" else "frames, or h of clips by the latter")
    return Eval(
        f"action recognition in {task}: {head} head on frozen {told} of at most "
        f"{SIDE}x{SIDE} cells, standardised; {adam if head in ('conv', 'gru') else exact}; "
        f"single (middle) frame by {exact}; all chosen on val; recall at {_listed(ks)} by "
        f"cosine; opposites {toward.tolist()}; seed={seed}",
        run,
    )


def video_action(names: Sequence[str], seed: int = 0) -> Eval:
    """`action` of the classes of a data set of videos, with few labels, at one rate.

    Args:
      names: of the classes, by which they have opposites.
      seed: of the heads and the shuffled frames.
    """
    return action(column="video", opposite=opposites(names), lr=(3e-3,), seed=seed)


class _Clips(NamedTuple):
    """Encoded clips of a split.

    Attributes:
      played: places of frames [m, t'] -> the clips of these frames, [m, t', k, c].
      order: the places of all frames, [m, t].
      y: class numbers [m].
    """

    played: Callable
    order: np.ndarray
    y: np.ndarray


def _output(features, column):
    """The output that represents frames, else clips."""
    if column == "image":
        return "maps"
    return "frames" if "frames" in features.names else "h"


def _encoded(features, clips, split, *, column, name, head) -> _Clips:
    """The clips of a split, with the representation of frames or of whole clips."""
    found = clips(split) if clips else _rows(features, split)
    if not {"video", "label"} <= set(found):
        raise ValueError(f"the {split} clips need 'video' and 'label', got {list(found)}")
    video, y = np.asarray(found["video"]), np.asarray(found["label"])
    kind = "any" if video.dtype == np.uint8 else "float"
    shapes = dict(video=(video, "m t h w c", kind), label=(y, "m", "int"))
    sizes = expect(f"action, {split}", **shapes)
    if not len(y) or y.min() < 0 or sizes["t"] < 2:
        raise ValueError(
            f"action: the {split} split needs clips of at least 2 frames and labels >= 0, "
            f"got {len(y)} clips of {sizes['t']} frames"
        )
    rows, t = np.arange(len(y))[:, None], sizes["t"]
    order = np.tile(np.arange(t), (len(y), 1))
    encode = partial(_cells, features, split=split, column=column, name=name)
    if column == "video" and name == "h":

        def played(order):
            order = np.broadcast_to(order, (len(y), t))  # a single frame is repeated
            return _blockwise(encode, video, order)[:, None, None]

        return _Clips(played, order, y)
    x = _blockwise(encode, video, order)
    if head == "difference" and x.shape[2] < 2:
        raise ValueError(
            f"action: the difference of cells needs maps, but {name!r} has one cell: "
            f"choose another name or head"
        )
    return _Clips(lambda order: x[rows, order], order, y)


def _rows(features, split):
    """Clips of the data set."""
    classes = int(features.labels("train").max()) + 1
    few = features.few(split, MOST[split] * classes)
    return {"label": few.labels(split)} | few.rows(split)


def _blockwise(encode, video, order):
    """Representations of clips of these frames, some clips at a time."""
    found = []
    for i in range(0, len(video), TOGETHER):
        places = order[i : i + TOGETHER, :, None, None, None]
        block = np.take_along_axis(video[i : i + TOGETHER], places, 1)
        found.append(encode(block / np.float32(255) if block.dtype == np.uint8 else block))
    return np.concatenate(found)


def _cells(features, video, *, split, column, name):
    """Cells [m, t, k, c] of each frame of clips, or h [m, d] of whole clips."""
    m, t = video.shape[:2]
    whole = column == "video"
    rows = video if whole else video.reshape(m * t, *video.shape[2:])
    found = np.asarray(features.of({column: rows}, name), np.float32)
    if whole and name == "h":
        right, like = found.shape == (m, found.shape[-1]), "rows [n, d], one a clip"
    elif whole:
        right, like = found.ndim in (3, 5) and found.shape[:2] == (m, t), "[n, t, ...]"
    else:
        right = found.ndim in (2, 4) and len(found) == m * t
        like = "maps [n, h, w, d] or rows [n, d], one a frame"
    if not right or not np.isfinite(found).all():
        raise ValueError(
            f"action: {name!r} of the {split} clips must be finite {like}, got "
            f"{list(found.shape)} for {len(rows)} {'clips' if whole else 'frames'}"
        )
    if whole and name == "h":
        return found
    found = found.reshape(m * t, *found.shape[1 + whole :])
    cells = found[:, None] if found.ndim == 2 else cell_means(found)
    return cells.reshape(m, t, *cells.shape[1:])


def _judged(learn, settings, train, val, test=None) -> tuple[Callable, float]:
    """The best setting's fit, and its accuracy on val, or on test after a refit."""
    fits = [learn(*train, setting) for setting in settings]
    right = [_accuracy(predict, *val) for predict in fits]
    best = int(np.argmax(right))
    if test is None:
        return fits[best], right[best]
    predict = learn(*joined(train, val), settings[best])
    return predict, _accuracy(predict, *test)


def _accuracy(predict, x, y):
    return float(np.mean(predict(x) == y))


def _recalls(parts, ks):
    """Recall at each k of the last part among the clips of the others."""
    flat = [(concatenation(x), y) for x, y in parts]
    gallery, known = flat[0] if len(flat) == 2 else joined(*flat[:2])
    query, y = flat[-1]
    ks = [k for k in ks if k <= len(gallery)]
    if not ks:
        return {}
    index, _ = retrieve(query, gallery, max(ks))
    relevant = known[index] == y[:, None]
    return {f"action/recall@{k}": recall_at_k(relevant, k) for k in ks}


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


def _trained(network, x, y, lr, *, steps, seed):
    """Trains a network of rows [n, t, d]: returns x -> classes."""
    moments = _moments(x, (0, 1))

    def rows(x):  # [n, t, d]
        return _scaled(x, moments).reshape(*x.shape[:2], -1)

    h = rows(x)
    start, loss, logits = network(jax.random.key(seed), h, int(y.max()) + 1)
    params = train(loss, start, (h, y), lr=lr, steps=steps, seed=seed)
    return lambda x: np.asarray(jax.jit(logits)(params, rows(x))).argmax(axis=1)


def _of_conv(key, h, classes):
    """Initial weights, loss and logits of "conv"."""
    reach = min(REACH, h.shape[1])
    return conv_init(key, h.shape[2], classes, reach), _conv_loss, conv_logits


def _of_gru(key, h, classes):
    """Initial weights, loss and logits of "gru"."""
    return Recurrent(classes).init(key, h[:1]), _gru_loss, _gru_logits


def _moments(x, axes):
    """Mean and standard deviation over these axes, 1 for constant features."""
    mean, std = (f(x, axes, np.float64) for f in (np.mean, np.std))
    return np.float32(mean), np.float32(np.where(std <= 1e-7 * np.abs(mean), 1, std))


def _scaled(x, moments):
    return (x - moments[0]) / moments[1]


def _listed(settings):
    return ", ".join(f"{x:g}" for x in settings)
