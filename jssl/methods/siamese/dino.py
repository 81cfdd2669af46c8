"""DINO: self-distillation from a momentum teacher, with views of two sizes.

Caron, Touvron, Misra, Jegou, Mairal, Bojanowski and Joulin, "Emerging Properties in
Self-Supervised Vision Transformers", ICCV 2021. https://arxiv.org/abs/2104.14294

    L = mean over global views i and all views v != i of
        -sum_k softmax((t_i - c) / tau_t)_k log softmax(s_v / tau_s)_k,
    c <- 0.9 c + 0.1 mean t,    teacher <- m teacher + (1 - m) student,

with logits s of the student for all views, t of the teacher, which has no gradient, for
the global ones. The center c, that of the step before, prevents that one prototype
dominates; sharpening, tau_t < tau_s, that all are equally likely.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jssl.learner import Learner, fresh, minimize, noise_keys, on_update
from jssl.losses import distillation
from jssl.method import Augment, Method, Prepare, field, first_row, fold
from jssl.nets import Net
from jssl.ops.ema import cosine_momentum, ema
from jssl.ops.ramps import linear_rampup
from jssl.pictures import Grid


class Teacher(NamedTuple):
    """The average of the student's weights, with its own batch statistics."""

    params: Any
    stats: Any


class State(NamedTuple):
    student: Learner
    teacher: Teacher
    center: jax.Array  # c, [k]
    count: jax.Array  # updates of the student


def dino(
    net: Net,
    tx: optax.GradientTransformation,
    augment: Augment,
    *,
    steps: int,
    momentum: float = 0.996,
    student_temperature: float = 0.1,
    teacher_temperature: optax.ScalarOrSchedule = 0.04,
    centering: bool = True,
    prepare: Prepare = field("image"),
) -> Method[State]:
    """Self-distillation.

    Args:
      net: x -> {"h": [n, d], "prototypes": [n, k], ...}. Without batch norm, noise within
        the network (stochastic depth) is the student's only.
      tx: optimizer of the student. The paper uses `optim.distillation_adamw`.
      augment: (key, batch) -> groups of views of one size, ([n, 2, ...], [n, v, ...], ...),
        normalized as `prepare` does; the teacher sees those of the first group.
      steps: updates of training, after which the teacher's momentum is 1.
      momentum: m at first, rising along a cosine.
      student_temperature: tau_s.
      teacher_temperature: tau_t, or a schedule of it such as `warm_up`.
      centering: False keeps c = 0.
      prepare: batch -> x, the network's input outside training (normalization, a crop).
    """

    def init(key, batch):
        x = first_row(prepare(batch))
        student = fresh(tx, *net.init(key, x))
        teacher = Teacher(student.params, student.stats)
        out = jax.eval_shape(lambda: net.apply(*teacher, x)[0]["prototypes"])
        center = jnp.zeros(out.shape[1], out.dtype)
        return State(student, teacher, center, jnp.zeros((), jnp.int32))

    def loss(params, stats, views, teacher, center, temperature, key):
        student = []
        for i, group in enumerate(views):
            keys = noise_keys(jax.random.fold_in(key, i))
            out, stats = net.apply(params, stats, fold(group), train=True, keys=keys)
            student.append(unfold(out["prototypes"], group))
        student = jnp.concatenate(student, axis=1)  # [n, v, k]
        taus = student_temperature, temperature
        value = distillation.dino(student, teacher, center, *taus)
        entropy = entropy_of((teacher - center) / temperature)
        metrics = {"loss": value, "teacher_entropy": entropy, "kl": value - entropy}
        return value, (stats, metrics)

    def step(key, state, batch):
        view_key, noise = jax.random.split(key)
        views = augment(view_key, batch)
        logits, stats = taught(net, state.teacher, views[0])
        logits = unfold(logits["prototypes"], views[0])  # [n, 2, k]
        temperature = at(teacher_temperature, state.count)
        student, metrics = minimize(
            tx, loss, state.student, views, logits, state.center, temperature, noise
        )
        center = distillation.update_center(state.center, logits)
        center = center if centering else state.center
        m = cosine_momentum(state.count, steps, momentum)
        moved = ema(state.teacher.params, student.params, m), center, state.count + 1
        still = state.teacher.params, state.center, state.count
        params, center, count = on_update(state.student, student, moved, still)
        return State(student, Teacher(params, stats), center, count), metrics

    def embed(state, batch):
        return net.apply(*state.teacher, prepare(batch))[0]

    def render(key, state, batch, collect):
        return attended(net, state.teacher, prepare(batch)[:8])

    return Method(init, step, embed, render=render)


def taught(net, teacher, group):
    """The teacher's output for folded views, and its statistics.

    Stochastic depth is drawn in training only, and batch statistics are updated in it: the
    teacher trains if it has any.
    """
    out, stats = net.apply(
        *teacher, fold(group), train=bool(jax.tree.leaves(teacher.stats))
    )
    return jax.lax.stop_gradient(out), stats


def unfold(logits, group):
    """[n v, ...] -> [n, v, ...], for the views [n, v, ...] of a group."""
    return logits.reshape(*group.shape[:2], *logits.shape[1:])


def at(schedule, count):
    """The value of a number or schedule after so many updates."""
    return schedule(count) if callable(schedule) else schedule


def warm_up(first: float, last: float, epochs: int, per_epoch: int) -> optax.Schedule:
    """The teacher's temperature, from `first` to `last` in `epochs` equal steps.

    It is constant within an epoch of `per_epoch` updates, and `last` from the last of the
    epochs on.
    """

    def schedule(count):
        return first + (last - first) * linear_rampup(count // per_epoch, epochs - 1)

    return schedule


def entropy_of(logits):
    """Mean entropy of softmax(logits), in nats."""
    log_p = jax.nn.log_softmax(logits)
    return -(jnp.exp(log_p) * log_p).sum(-1).mean()


def attended(net, teacher, images):
    """Images lit by the attention of the class token in the last block, by head.

    {} for a network without attention.
    """
    out = net.apply(*teacher, images)[0]
    if "attention" not in out:
        return {}
    seen = out["attention"][-1][:, :, 0, 1:]  # [n, heads, l]
    n, h, w, _ = images.shape
    patch = round((h * w / seen.shape[-1]) ** 0.5)
    seen = seen.reshape(n, -1, h // patch, w // patch)
    seen = seen / jnp.maximum(seen.max((2, 3), keepdims=True), 1e-12)
    light = seen.repeat(patch, 2).repeat(patch, 3)[..., None]
    low, high = images.min(), images.max()
    pixels = ((images - low) / jnp.maximum(high - low, 1e-12))[:, None]
    columns = "input", *(f"head {i + 1}" for i in range(light.shape[1]))
    shown = jnp.concatenate([pixels, (0.2 + 0.6 * pixels) * light], 1)
    return {"attention of the class token": Grid(shown, columns)}
