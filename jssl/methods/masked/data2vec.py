r"""data2vec: regression of a momentum teacher's features of the whole input, where masked.

Baevski, Hsu, Xu, Babu, Gu and Auli, "data2vec: A General Framework for Self-supervised
Learning in Speech, Vision and Language", ICML 2022. https://arxiv.org/abs/2202.03555

    y = LN(mean over the teacher's top K layers of LN(a_l(x))),
    L = mean over masked positions of sum over features of l_beta(p(masked x) - y) / sqrt d,
    teacher <- m teacher + (1 - m) student,

with the smooth L1 distance l_beta. The teacher, which has no gradient, sees the whole input
x, the student a masked one.
"""

import re
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jssl.learner import Learner, fresh, minimize, noise_keys, on_update, without_predictor
from jssl.losses.siamese import data2vec as regression
from jssl.losses.siamese import data2vec_targets
from jssl.method import Augment, Method, Prepare, field, first_row
from jssl.nets import Net
from jssl.ops.ema import ema


class Teacher(NamedTuple):
    """The average of the student's weights, without the head, with its statistics."""

    params: Any
    stats: Any


class State(NamedTuple):
    student: Learner
    teacher: Teacher
    count: jax.Array  # updates of the student


def data2vec(
    net: Net,
    tx: optax.GradientTransformation,
    hide: Callable,
    augment: Augment | None = None,
    *,
    top: int = 6,
    momentum: optax.ScalarOrSchedule = 0.9998,
    beta: float | None = 2.0,
    shared: str = "",
    prepare: Prepare = field("image"),
) -> Method[State]:
    """Regression of contextual features, for data of any kind.

    Args:
      net: inputs of the student -> predictions [n, l, d]. Its method `encode`, x -> {"h",
        ...}, gives "layers" outside training, maps [n, rows, columns, d] or tokens
        [n, l, d]; its head is named "predictor".
      tx: optimizer of the student.
      hide: (key, x) -> inputs of the student, a tuple, and mask [n, l], True where masked.
      augment: (key, batch) -> x, one view of each row, of which teacher and student see the
        same; None: `prepare`.
      top: K.
      momentum: m, or a schedule of it.
      beta: 2 for images, 4 for text; None is the squared error, for speech.
      shared: regex searched in the paths of the weights, e.g. "encoder/embedding": those
        that match are the student's in the teacher, too; empty: none.
      prepare: batch -> x, the input outside training (normalization, a crop).

    Raises:
      ValueError: in `init`, if `encode` has fewer than K layers.
    """

    look = augment or (lambda key, batch: prepare(batch))

    def targets_of(teacher, x):
        layers = net.apply(*teacher, x, method="encode")[0]["layers"]
        if not 1 <= top <= len(layers):
            raise ValueError(f"data2vec: top must be 1 to {len(layers)} layers, got {top}")
        a = [layer.reshape(len(layer), -1, layer.shape[-1]) for layer in layers[-top:]]
        return data2vec_targets(jnp.stack(a))

    def init(key, batch):
        x = first_row(prepare(batch))
        inputs, _ = hide(key, x)
        student = fresh(tx, *net.init(key, *inputs))
        teacher = Teacher(*without_predictor(student))
        jax.eval_shape(targets_of, teacher, x)
        return State(student, teacher, jnp.zeros((), jnp.int32))

    def loss(params, stats, inputs, mask, targets, keys):
        p, stats = net.apply(params, stats, *inputs, train=True, keys=keys)
        value = regression(p, targets, mask, beta)
        spreads = {"target_std": spread(targets, mask), "prediction_std": spread(p, mask)}
        return value, (stats, {"loss": value} | spreads)

    def step(key, state, batch):
        view_key, mask_key = jax.random.split(key)
        x = look(view_key, batch)
        inputs, mask = hide(mask_key, x)
        targets = targets_of(state.teacher, x)
        noise = noise_keys(key)
        student, metrics = minimize(tx, loss, state.student, inputs, mask, targets, noise)
        m = momentum(state.count) if callable(momentum) else momentum
        followed = follow(state.teacher.params, without_predictor(student)[0], m)
        moved, still = (followed, state.count + 1), (state.teacher.params, state.count)
        params, count = on_update(state.student, student, moved, still)
        return State(student, Teacher(params, state.teacher.stats), count), metrics

    def follow(teacher, student, m):
        """The average; shared weights are copied."""

        def one(path, old, new):
            name = jax.tree_util.keystr(path, simple=True, separator="/")
            return ema(old, new, 0 if shared and re.search(shared, name) else m)

        return jax.tree_util.tree_map_with_path(one, teacher, student)

    def embed(state, batch):
        student = state.student
        return net.apply(student.weights, student.stats, prepare(batch), method="encode")[0]

    return Method(init, step, embed)


def spread(x, mask):
    """Mean over features of the standard deviation over masked tokens; 0: collapse."""
    weight = mask[..., None] / jnp.maximum(mask.sum(), 1)
    center = (weight * x).sum((0, 1))
    return jnp.sqrt((weight * jnp.square(x - center)).sum((0, 1))).mean()
