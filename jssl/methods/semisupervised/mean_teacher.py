"""Mean Teacher: consistency with a teacher that averages the student's weights.

Tarvainen and Valpola, "Mean teachers are better role models", NeurIPS 2017.
https://arxiv.org/abs/1703.01780

    L = 1 / n sum over labeled x of -log p(y | view(x))
        + w(s) mean over all x of d(p(view(x)), p'(view'(x))),
    teacher <- m_s teacher + (1 - m_s) student,    m_s = min(1 - 1 / (s + 1), m),

with p' of the teacher, which has no gradient, and d the squared error over classes or
KL(p' || p). The teacher makes the final predictions. Both released codes divide the first
term by the size n of the whole batch; with the number of labeled rows m instead, a weight
of w n / m gives n / m times the same loss.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jssl.learner import Learner, fresh, minimize, on_update
from jssl.losses.consistency import softmax_kl, softmax_squared_error
from jssl.method import Augment, Method, Prepare, field, first_row, part
from jssl.nets import Net
from jssl.ops.ema import ema, ema_decay_warmup
from jssl.ops.ramps import sigmoid_rampup

DIFFERENCES = {"mse": softmax_squared_error, "kl": softmax_kl}


class Teacher(NamedTuple):
    """The average of the student's weights, with its own batch statistics."""

    params: Any
    stats: Any


class State(NamedTuple):
    student: Learner
    teacher: Teacher
    count: jax.Array  # updates of the student


def mean_teacher(
    net: Net,
    tx: optax.GradientTransformation,
    augment: Augment,
    *,
    weight: float = 20.0,
    ramp: int = 1000,
    momentum: float = 0.99,
    consistency: str = "mse",
    divisor: str = "batch",
    prepare: Prepare = field("image"),
) -> Method[State]:
    """Semi-supervised learning with a mean teacher.

    Args:
      net: x -> {"logits": [n, classes], "h": [n, d]}.
      tx: optimizer of the student.
      augment: (key, batch) -> one view of each row, [n, ...], normalized as `prepare` does;
        called twice, for student and teacher.
      weight: w after the ramp. The authors recommend C to C^2 for C classes with "mse",
        1 to 10 with "kl".
      ramp: steps of the sigmoid ramp of w.
      momentum: m.
      consistency: d, "mse" or "kl".
      divisor: of the labeled term, "batch" (all rows) or "labeled" (the labeled ones).
      prepare: batch -> x, the network's input outside training (normalization, a crop).

    Raises:
      ValueError: an unknown consistency or divisor.
    """
    if consistency not in DIFFERENCES:
        known = " or ".join(DIFFERENCES)
        raise ValueError(f"mean_teacher: consistency must be {known}, got {consistency!r}")
    if divisor not in ("batch", "labeled"):
        raise ValueError(f"mean_teacher: divisor must be batch or labeled, got {divisor!r}")
    difference = DIFFERENCES[consistency]

    def init(key, batch):
        student = fresh(tx, *net.init(key, first_row(prepare(part(batch, "labeled")))))
        teacher = Teacher(student.params, student.stats)
        return State(student, teacher, jnp.zeros((), jnp.int32))

    def loss(params, stats, views, labels, targets, w, keys):
        out, stats = net.apply(params, stats, views, train=True, keys=keys)
        logits = out["logits"][: len(labels)]
        each = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
        known = each.mean() if divisor == "labeled" else each.sum() / len(targets)
        agreed = difference(out["logits"], targets)
        value = known + w * agreed
        return value, (
            stats,
            {
                "loss": value,
                "labeled": known,
                "unlabeled": agreed,
                "weight": w,
                "accuracy": (logits.argmax(-1) == labels).mean(),
            },
        )

    def step(key, state, batch):
        one, two, noise, other = jax.random.split(key, 4)
        both = part(batch, "labeled", "unlabeled")
        views, keys = augment(two, both), {"dropout": other}
        taught, stats = net.apply(*state.teacher, views, train=True, keys=keys)
        student, metrics = minimize(
            tx,
            loss,
            state.student,
            augment(one, both),
            batch["labeled"]["label"],
            taught["logits"],
            weight * sigmoid_rampup(state.count, ramp),
            {"dropout": noise},
        )
        m = ema_decay_warmup(state.count + 1, momentum)
        moved = ema(state.teacher.params, student.params, m), state.count + 1
        still = state.teacher.params, state.count
        params, count = on_update(state.student, student, moved, still)
        return State(student, Teacher(params, stats), count), metrics

    def embed(state, batch):
        x, student = prepare(batch), state.student
        out, _ = net.apply(*state.teacher, x)
        own, _ = net.apply(student.weights, student.stats, x)
        return out | {"student_logits": own["logits"]}

    return Method(init, step, embed)
