"""Mean Teacher: agree with the running average of your own weights on every image.

Tarvainen and Valpola, "Mean teachers are better role models", NeurIPS 2017.
https://arxiv.org/abs/1703.01780

    L = mean over labelled x of -log p(y | view(x))
        + w(s) mean over all x of d(p(view(x)), p'(view'(x))),
    teacher <- m_s teacher + (1 - m_s) student,    m_s = min(1 - 1 / (s + 1), m),

p' of the teacher, which no gradient moves; d the squared error over classes or
KL(p' || p). The teacher is what predicts in the end.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jssl.learner import Learner, fresh, minimize
from jssl.losses.consistency import softmax_kl, softmax_squared_error
from jssl.method import Augment, Method, Prepare, field, first_row, part
from jssl.nets import Net
from jssl.ops.ema import ema, ema_decay_warmup
from jssl.ops.ramps import sigmoid_rampup

DIFFERENCES = {"mse": softmax_squared_error, "kl": softmax_kl}


class Teacher(NamedTuple):
    """The average of the student's weights, with statistics of its own."""

    params: Any
    stats: Any


class State(NamedTuple):
    student: Learner
    teacher: Teacher
    count: jax.Array  # steps taken


def mean_teacher(
    net: Net,
    tx: optax.GradientTransformation,
    augment: Augment,
    *,
    weight: float = 20.0,
    ramp: int = 1000,
    momentum: float = 0.99,
    consistency: str = "mse",
    prepare: Prepare = field("image"),
) -> Method[State]:
    """Learns from few labels, and from its teacher everywhere.

    Args:
      net: images -> {"logits": [n, classes], "h": [n, d]}.
      tx: moves the student.
      augment: draws one view of each image, [n, ...], normalised as `prepare` does; it is
        called twice, for the student's and for the teacher's.
      weight: w after the ramp. The authors' rule of thumb: between C and C^2 for C
        classes with "mse", 1 to 10 with "kl".
      ramp: steps of the sigmoid ramp of w.
      momentum: m.
      consistency: d, "mse" or "kl".
      prepare: what the network sees of an image outside training.

    Raises:
      ValueError: for another consistency.
    """
    if consistency not in DIFFERENCES:
        known = " or ".join(DIFFERENCES)
        raise ValueError(f"mean_teacher: consistency must be {known}, got {consistency!r}")
    difference = DIFFERENCES[consistency]

    def init(key, batch):
        student = fresh(tx, *net.init(key, first_row(prepare(part(batch, "labeled")))))
        teacher = Teacher(student.params, student.stats)
        return State(student, teacher, jnp.zeros((), jnp.int32))

    def loss(params, stats, views, labels, targets, w, keys):
        out, stats = net.apply(params, stats, views, train=True, keys=keys)
        logits = out["logits"][: len(labels)]
        known = optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()
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
        teacher = Teacher(ema(state.teacher.params, student.params, m), stats)
        return State(student, teacher, state.count + 1), metrics

    def embed(state, batch):
        x, student = prepare(batch), state.student
        out, _ = net.apply(*state.teacher, x)
        own, _ = net.apply(student.weights, student.stats, x)
        return out | {"student_logits": own["logits"]}

    return Method(init, step, embed)
