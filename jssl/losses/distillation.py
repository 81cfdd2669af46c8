r"""Self-distillation losses: a student predicts codes of a momentum teacher or Sinkhorn.

Codes are distributions over k prototypes; the loss is the cross entropy

.. math:: H(P_t, P_s) = -\sum_k P_t^{(k)} \log P_s^{(k)}

between two views of an image. Centering and sharpening (DINO) or equally used prototypes
(SwAV) prevent collapse to a single code.

Means over samples: under `pmap` and `shard_map`, take the `pmean` of `dino` and `ibot`.
The center, Sinkhorn's codes and KoLeo depend on the whole batch, and take `axis_name`.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, ScalarLike, Shaped

from jssl.ops.explicit import compares_rows
from jssl.ops.gather import gather, global_rows, pmean
from jssl.ops.precision import widen
from jssl.ops.shapes import expect
from jssl.ops.sinkhorn import sinkhorn
from jssl.ops.vectors import dots, norm, unit


def dino(
    student: Float[Array, "n v k"],
    teacher: Float[Array, "n g k"],
    center: Float[Array, " k"],
    student_temperature: ScalarLike = 0.1,
    teacher_temperature: ScalarLike = 0.04,
) -> Float[Array, ""]:
    r"""DINO: cross entropy of each student view with every other view of the teacher.

    .. math:: \mathrm{mean}_{i, v \neq i} \; H\Big(
              \mathrm{softmax} \frac{t_i - c}{\tau_t}, \;
              \mathrm{softmax} \frac{s_v}{\tau_s} \Big)

    averaged over samples. Logits are [n, views, k]; the student's first g views are the
    teacher's, followed by local crops. No gradient flows through the teacher or the
    center. After the step: `center = update_center(center, teacher)`.

    Caron et al. 2021, eq. 3. https://arxiv.org/abs/2104.14294

    Raises:
      ValueError: when shapes differ, or there are no two different views to compare.

    >>> s, t = jnp.zeros((1, 2, 4)), jnp.zeros((1, 2, 4))
    >>> print(f"{dino(s, t, jnp.zeros(4)):.4f}")    # uniform: log 4
    1.3863
    """
    expect(
        "dino",
        student=(student, "n v k"),
        teacher=(teacher, "n g k"),
        center=(center, "k"),
    )
    student, teacher, center = widen(student, teacher, center)
    targets = _sharpened(teacher, center, teacher_temperature)
    return _across_views("dino", targets, student / student_temperature)


def update_center(
    center: Float[Array, " k"],
    teacher: Float[Array, "*n k"],
    momentum: ScalarLike = 0.9,
    axis_name: str | None = None,
) -> Float[Array, " k"]:
    r"""Update DINO's center: an exponential moving average of the teacher's logits.

    .. math:: c \leftarrow m c + (1 - m) \, \mathrm{mean} \; t

    The mean is over all axes but the last (samples, views, patches) and the devices of
    `axis_name`. No gradient.

    Caron et al. 2021, eq. 4. https://arxiv.org/abs/2104.14294

    Raises:
      ValueError: when the last axes differ.

    >>> update_center(jnp.zeros(2), jnp.array([[[1.0, 2.0], [3.0, 0.0]]]))
    Array([0.2, 0.1], dtype=float32)
    """
    expect("update_center", center=(center, "k"), teacher=(teacher, "... k"))
    center, teacher = widen(center, lax.stop_gradient(teacher))
    mean = pmean(teacher.reshape(-1, teacher.shape[-1]).mean(0), axis_name)
    return momentum * lax.stop_gradient(center) + (1 - momentum) * mean


def ibot(
    student: Float[Array, "n t k"],
    teacher: Float[Array, "n t k"],
    mask: Shaped[Array, "n t"],
    center: Float[Array, " k"],
    student_temperature: ScalarLike = 0.1,
    teacher_temperature: ScalarLike = 0.04,
) -> Float[Array, ""]:
    r"""iBOT: cross entropy with the teacher's codes of the unmasked crop at masked patches.

    .. math:: \frac{1}{n} \sum_i \frac{1}{\sum_t m_{it}} \sum_t m_{it} \,
              H(P_t^{(it)}, P_s^{(it)})

    t runs over the patches of one crop, `mask` is 1 or True at masked ones; the loss of
    an image without any is 0. No gradient flows through the teacher or the center. The
    center is updated by `update_center` with the teacher's patch logits.

    Zhou et al. 2022, eq. 2. https://arxiv.org/abs/2111.07832

    Raises:
      ValueError: when shapes differ.

    >>> s, mask = jnp.zeros((2, 3, 4)), jnp.array([[1, 1, 0], [0, 0, 0]])
    >>> print(f"{ibot(s, s, mask, jnp.zeros(4)):.4f}")    # log 4 and 0, halved
    0.6931
    """
    expect(
        "ibot",
        student=(student, "n t k"),
        teacher=(teacher, "n t k"),
        mask=(mask, "n t", "any"),
        center=(center, "k"),
    )
    student, teacher, mask, center = widen(student, teacher, mask, center)
    targets = _sharpened(teacher, center, teacher_temperature)
    log_p = jax.nn.log_softmax(student / student_temperature)
    nats = -(targets * log_p).sum(-1)  # [n, t]
    masked = mask.sum(1)
    return ((nats * mask).sum(1) / jnp.where(masked > 0, masked, 1)).mean()


@compares_rows
def koleo(
    x: Float[Array, "n d"], eps: float = 1e-8, axis_name: str | None = None
) -> Float[Array, ""]:
    r"""Spread features uniformly over the sphere, by nearest-neighbor distances (KoLeo).

    .. math:: -\frac{1}{n} \sum_i \log \left( \lVert \hat x_i - \hat x_{\mathrm{nn}(i)}
              \rVert + \epsilon \right)

    the Kozachenko-Leonenko estimate of (minus) entropy, up to constants. Two equal rows
    cost log(1 / eps) each, with no gradient between them; a single row costs 0.
    DINOv2 searches neighbors on one device, this function on all of `axis_name`.

    Sablayrolles et al. 2019, eq. 3, https://arxiv.org/abs/1806.03198; DINOv2: Oquab et
    al. 2024, https://arxiv.org/abs/2304.07193.

    Raises:
      ValueError: when `x` is not float[n, d].

    >>> print(f"{koleo(jnp.eye(3)):.4f}")    # all sqrt(2) apart: -log(2) / 2
    -0.3466
    """
    expect("koleo", x=(x, "n d"))
    (z,) = map(unit, widen(x))
    everyone, own = gather(z, axis_name), global_rows(len(z), axis_name)
    if len(everyone) == 1:
        return jnp.zeros_like(z, shape=())
    itself = own[:, None] == jnp.arange(len(everyone))[None]
    neighbor = jnp.where(itself, -jnp.inf, dots(z, everyone)).argmax(-1)
    distance = norm(z - everyone[neighbor])
    return pmean(-jnp.log(distance + eps).mean(), axis_name)


@compares_rows
def swav(
    scores: Float[Array, "n v k"],
    codes: Float[Array, "n g k"] | None = None,
    crops: int = 2,
    temperature: ScalarLike = 0.1,
    epsilon: ScalarLike = 0.05,
    iterations: int = 3,
    axis_name: str | None = None,
) -> Float[Array, ""]:
    r"""SwAV: cross entropy of each view with the codes of every other global view.

    .. math:: \mathrm{mean}_{i, v \neq i} \;
              H\big( q_i, \mathrm{softmax}(s_v / \tau) \big), \qquad
              q_i = \mathrm{sinkhorn}(s_i, \epsilon)

    averaged over samples. Scores are inner products of unit features and unit
    prototypes, [n, views, k]; the first `crops` views are global and get codes, without
    gradient. With a queue, run `sinkhorn` on queue and batch together and pass the last n
    rows as `codes`; their number of views then replaces `crops`.

    Caron et al. 2020, eq. 2 and 6. https://arxiv.org/abs/2006.09882

    Raises:
      ValueError: when shapes differ, or there are no two different views to compare.

    >>> print(f"{swav(jnp.zeros((5, 2, 4))):.4f}")    # uniform codes: log 4
    1.3863
    """
    expect("swav", scores=(scores, "n v k"), codes=(codes, "n g k"))
    (scores,) = widen(scores)
    if codes is None:
        deal = partial(
            sinkhorn, epsilon=epsilon, iterations=iterations, axis_name=axis_name
        )
        fixed = lax.stop_gradient(scores)
        views = range(fixed.shape[1])[:crops]  # apart: XLA is slow along a middle axis
        codes = [deal(fixed[:, i]) for i in views]
        codes = jnp.stack(codes, axis=1) if codes else fixed[:, :0]
    codes = lax.stop_gradient(codes.astype(scores.dtype))
    return pmean(_across_views("swav", codes, scores / temperature), axis_name)


def _sharpened(teacher, center, temperature):
    """The teacher's centered and sharpened distribution, without gradient."""
    center = center.reshape((1,) * (teacher.ndim - 1) + center.shape)
    return lax.stop_gradient(jax.nn.softmax((teacher - center) / temperature))


def _across_views(function, targets, logits):
    """Mean cross entropy of view v under the target of view i, over i != v."""
    g, v = targets.shape[1], logits.shape[1]
    if not 1 <= g <= v or v == 1:
        raise ValueError(
            f"{function}: the student needs at least 2 views, of which the first have "
            f"targets; got {v} views and {g} targets"
        )
    # One target per view, the sum of the others, and no array [n, v, k]: XLA is slow along
    # the middle of three axes, and for products that reduce large arrays to small ones.
    nats = 0.0
    for j in range(v):
        others = [targets[:, i] for i in range(g) if i != j]
        if not others:  # the only view with a target has nothing to predict
            continue
        target = sum(others)
        s = logits[:, j] - lax.stop_gradient(logits[:, j].max(-1, keepdims=True))
        total = jnp.log(jnp.exp(s).sum(-1))
        nats += (target.sum(-1) * total - (target * s).sum(-1)).sum()
    return nats / (len(logits) * g * (v - 1))
