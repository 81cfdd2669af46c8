"""Knowledge distillation: a student is trained on the predictions of a teacher.

Hinton, Vinyals and Dean, "Distilling the Knowledge in a Neural Network", 2015,
https://arxiv.org/abs/1503.02531; as the last stage of SimCLR v2: Chen, Kornblith,
Swersky, Norouzi and Hinton, NeurIPS 2020, https://arxiv.org/abs/2006.10029

    L = -(1 - alpha) mean_labeled log p_S(y | x)
        - alpha mean_unlabeled sum_c p_T(c | x) log p_S(c | x),

where the unlabeled p(c | x) = softmax(logits / temperature) of teacher and student. The
gradient with respect to the student's logits is alpha (p_S - p_T) / temperature; it is not
multiplied by temperature^2.
"""

from typing import Any, NamedTuple

import jax
import optax

from jssl.learner import Learner, fresh, minimize, noise_keys
from jssl.method import Augment, Method, Prepare, field, first_row, part
from jssl.nets import Net
from jssl.ops.divergences import entropy, soft_cross_entropy


class Frozen(NamedTuple):
    """Fixed weights and statistics of a network."""

    params: Any
    stats: Any


class State(NamedTuple):
    student: Learner
    teacher: Frozen


def frozen(learner: Learner) -> Frozen:
    """The evaluation weights of a learner, with their statistics."""
    return Frozen(learner.weights, learner.stats)


def distil(
    net: Net,
    teacher: Net,
    tx: optax.GradientTransformation,
    *,
    temperature: float = 1.0,
    alpha: float = 1.0,
    augment: Augment | None = None,
    prepare: Prepare = field("image"),
) -> Method[State]:
    """Distillation of a teacher that was trained in an earlier stage:

        start=lambda state, done: state._replace(teacher=frozen(done["teacher"]))

    Batches are plain or, for alpha < 1, {"labeled": ..., "unlabeled": ...}.

    Args:
      net: the student, x -> {"logits": [n, classes], "h": [n, d]}.
      teacher: x -> {"logits": [n, classes]}; larger than or like the student.
      tx: optimizer of the student.
      temperature: divides the logits of both networks; 1 or less in SimCLR v2.
      alpha: weight of the teacher's term; 1 - alpha is that of labels.
      augment: (key, batch) -> one view of each row, the input of both networks, normalized
        as `prepare` does; None: `prepare`. SimCLR v2 crops and flips.
      prepare: batch -> x, the networks' input outside training (normalization, a crop).
    """
    if not temperature > 0 or not 0 <= alpha <= 1:
        raise ValueError(
            f"distil: temperature must be positive and alpha between 0 and 1, got "
            f"{temperature} and {alpha}"
        )
    look = augment or (lambda key, batch: prepare(batch))

    def unlabeled_part(batch):
        return batch if alpha == 1 else part(batch, "unlabeled")

    def init(key, batch):
        student_key, teacher_key = jax.random.split(key)
        images = first_row(prepare(unlabeled_part(batch)))
        student = fresh(tx, *net.init(student_key, images))
        return State(student, Frozen(*teacher.init(teacher_key, images)))

    def noisy(key):
        return noise_keys(key) | {"drop_path": key}

    def soft(params, stats, images, told, keys):
        out, stats = net.apply(params, stats, images, train=True, keys=keys)
        said = out["logits"] / temperature
        value = soft_cross_entropy(said, jax.nn.softmax(told)).mean()
        agreement = (said.argmax(-1) == told.argmax(-1)).mean()
        gap = value - entropy(told).mean()  # KL divergence; its minimum is 0
        return value, stats, {"divergence": gap, "agreement": agreement}

    def hard(params, stats, images, labels, keys):
        out, stats = net.apply(params, stats, images, train=True, keys=keys)
        logits = out["logits"]
        value = optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()
        return value, stats, {"accuracy": (logits.argmax(-1) == labels).mean()}

    def loss(params, stats, unlabeled, labeled):
        value, metrics = 0.0, {}
        for share, term, seen in ((1 - alpha, hard, labeled), (alpha, soft, unlabeled)):
            if share > 0:
                part, stats, seen_metrics = term(params, stats, *seen)
                value, metrics = value + share * part, metrics | seen_metrics
        return value, (stats, {"loss": value} | metrics)

    def step(key, state, batch):
        view, drop, other_view, other_drop = jax.random.split(key, 4)
        unlabeled = labeled = None
        if alpha > 0:
            images = look(view, unlabeled_part(batch))
            out, _ = teacher.apply(*state.teacher, images)
            told = jax.lax.stop_gradient(out["logits"]) / temperature
            unlabeled = images, told, noisy(drop)
        if alpha < 1:
            some = part(batch, "labeled")
            labeled = look(other_view, some), some["label"], noisy(other_drop)
        student, metrics = minimize(tx, loss, state.student, unlabeled, labeled)
        return state._replace(student=student), metrics

    def embed(state, batch):
        student = state.student
        return net.apply(student.weights, student.stats, prepare(batch))[0]

    return Method(init, step, embed)
