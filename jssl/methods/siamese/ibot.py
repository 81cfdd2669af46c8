"""iBOT: self-distillation of class tokens across views, and of masked patches.

Zhou, Wei, Wang, Shen, Xie, Yuille and Kong, "iBOT: Image BERT Pre-Training with Online
Tokenizer", ICLR 2022. https://arxiv.org/abs/2111.07832

    L = DINO's loss of class tokens + mean over global views i of
        1 / sum_l m_il  sum_l m_il H(softmax((t_il - c') / tau_p), softmax(s_il / tau_s)),

with m = 1 at patches that are masked in the student's view, where s is predicted, and t of
the teacher, which sees the same view whole. Both centers are those of the step before.

DINOv2 (Oquab et al. 2024, https://arxiv.org/abs/2304.07193) adds 0.1 times KoLeo, which
spreads the class tokens of a view, and has Sinkhorn's codes in place of centers.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from jssl.learner import Learner, fresh, minimize, noise_keys, on_update, whole_batches
from jssl.losses import distillation
from jssl.method import Augment, Method, Prepare, field, first_row, fold
from jssl.methods.siamese.dino import Teacher, at, attended, entropy_of, taught, unfold
from jssl.nets import Net
from jssl.ops.block_masking import block_mask
from jssl.ops.ema import cosine_momentum, ema
from jssl.ops.masking import mask_of_counts
from jssl.ops.sinkhorn import sinkhorn as balanced


class Centers(NamedTuple):
    """Averages of the teacher's logits, [k] each: c and c'."""

    cls: jax.Array
    patches: jax.Array


class State(NamedTuple):
    student: Learner
    teacher: Teacher
    centers: Centers
    count: jax.Array  # updates of the student


def ibot(
    net: Net,
    tx: optax.GradientTransformation,
    augment: Augment,
    patch: int,
    *,
    steps: int,
    momentum: float = 0.996,
    student_temperature: float = 0.1,
    teacher_temperature: optax.ScalarOrSchedule = 0.04,
    patch_temperature: optax.ScalarOrSchedule = 0.07,
    masked: float = 0.5,
    ratio: tuple[float, float] = (0.1, 0.5),
    blocks: bool = True,
    koleo: float = 0.0,
    sinkhorn: bool = False,
    prepare: Prepare = field("image"),
) -> Method[State]:
    """Self-distillation with masked patches.

    Args:
      net: (x, mask [n, l] or None) -> {"h": [n, d], "prototypes": [n, k], "patches":
        [n, l, k], ...}, as in `dino`.
      tx, augment, steps, momentum, student_temperature, teacher_temperature, prepare: as in
        `dino`.
      patch: side of a patch in pixels, as in the network.
      patch_temperature: tau_p, or a schedule of it.
      masked: probability that a view is masked.
      ratio: range of the fraction of patches that are masked in it, uniform.
      blocks: True masks blocks of patches as BEiT does, False patches at random.
      koleo: weight of KoLeo of h, the sum of both views'; 0.1 in DINOv2.
      sinkhorn: True replaces centering by Sinkhorn's codes, as an option of DINOv2; those
        of patches are over all patches, there over the masked ones.

    Raises:
      ValueError: `ratio` is not two ascending fractions; with `koleo` or `sinkhorn`, an
        optimizer that accumulates gradients.
    """
    if len(ratio) != 2 or not 0 <= ratio[0] <= ratio[1] <= 1:
        raise ValueError(f"ibot: ratio must be two ascending fractions, got {ratio}")

    def init(key, batch):
        x = first_row(prepare(batch))
        student = fresh(tx, *net.init(key, x))
        if koleo or sinkhorn:
            student = whole_batches("ibot", student)
        teacher = Teacher(student.params, student.stats)
        out = jax.eval_shape(lambda: net.apply(*teacher, x)[0])
        logits = out["prototypes"], out["patches"]
        centers = Centers(*(jnp.zeros(x.shape[-1], x.dtype) for x in logits))
        return State(student, teacher, centers, jnp.zeros((), jnp.int32))

    def targets(out, group, centers, taus):
        """The teacher's logits [n, 2, k] and [2 n, l, k], less their centers, and means."""
        found = unfold(out["prototypes"], group), out["patches"]
        if sinkhorn:
            return [*map(_codes, found, taus)], centers
        logits = [x - center for x, center in zip(found, centers, strict=True)]
        return logits, Centers(*map(distillation.update_center, centers, found))

    def loss(params, stats, views, mask, logits, taus, key):
        outs = []
        for i, group in enumerate(views):
            keys, hidden = noise_keys(jax.random.fold_in(key, i)), None if i else mask
            inputs = fold(group), hidden
            out, stats = net.apply(params, stats, *inputs, train=True, keys=keys)
            outs.append(out)
        pairs = zip(outs, views, strict=True)
        student = [unfold(out["prototypes"], group) for out, group in pairs]
        whole, (tokens, patches), parts = outs[0], logits, {}
        zeros = [jnp.zeros(x.shape[-1], x.dtype) for x in logits]
        parts["cls"] = distillation.dino(
            jnp.concatenate(student, 1), tokens, zeros[0], student_temperature, taus[0]
        )
        parts["patch"] = distillation.ibot(
            whole["patches"], patches, mask, zeros[1], student_temperature, taus[1]
        )
        value = parts["cls"] + parts["patch"]
        if koleo:
            h = unfold(whole["h"], views[0])
            parts["koleo"] = distillation.koleo(h[:, 0]) + distillation.koleo(h[:, 1])
            value = value + koleo * parts["koleo"]
        entropies = {"teacher_entropy": entropy_of(tokens / taus[0])}
        return value, (stats, {"loss": value, **parts, **entropies})

    def step(key, state, batch):
        view_key, mask_key, noise = jax.random.split(key, 3)
        views = augment(view_key, batch)
        n, grid = _rows(views[0], patch)
        mask = mask_views(mask_key, n, grid, masked, ratio, blocks)
        out, stats = taught(net, state.teacher, views[0])
        taus = [at(tau, state.count) for tau in (teacher_temperature, patch_temperature)]
        logits, centers = targets(out, views[0], state.centers, taus)
        student, metrics = minimize(
            tx, loss, state.student, views, mask, logits, taus, noise
        )
        m = cosine_momentum(state.count, steps, momentum)
        moved = ema(state.teacher.params, student.params, m), centers, state.count + 1
        still = state.teacher.params, state.centers, state.count
        params, centers, count = on_update(state.student, student, moved, still)
        return State(student, Teacher(params, stats), centers, count), metrics

    def embed(state, batch):
        return net.apply(*state.teacher, prepare(batch))[0]

    def render(key, state, batch, collect):
        return attended(net, state.teacher, prepare(batch)[:8])

    return Method(init, step, embed, render=render)


def mask_views(key, n, grid, masked=0.5, ratio=(0.1, 0.5), blocks=True):
    """Masked patches [n, l] of n views, none of them with probability 1 - `masked`.

    The rectangles of blocks have at least as many patches as in the released code.
    """
    coin, size, place = jax.random.split(key, 3)
    share = jax.random.uniform(size, (n,), minval=ratio[0], maxval=ratio[1])
    share = share * jax.random.bernoulli(coin, masked, (n,))
    count = (share * grid[0] * grid[1]).astype(jnp.int32)
    if not blocks:
        return mask_of_counts(place, count, grid[0] * grid[1])
    return block_mask(place, n, grid, count, least=max((min(grid) // 3) ** 2, 1))


def _rows(group, patch):
    """The number of views in a group, and their grid of patches."""
    n, v, *sides = group.shape[:4]
    return n * v, tuple(side // patch for side in sides)


def _codes(logits, temperature):
    """Logits whose softmax at the temperature is Sinkhorn's code of each."""
    rows = logits.reshape(-1, logits.shape[-1])
    codes = balanced(rows, temperature)
    tiny = jnp.finfo(codes.dtype).tiny
    return (temperature * jnp.log(jnp.maximum(codes, tiny))).reshape(logits.shape)
