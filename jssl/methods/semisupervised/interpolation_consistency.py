"""Interpolation consistency: predictions at a mixture are the mixture of predictions.

Verma, Lamb, Kannala, Bengio and Lopez-Paz, "Interpolation Consistency Training for
Semi-Supervised Learning", IJCAI 2019. https://arxiv.org/abs/1903.03825

    Mix_l(a, b) = l a + (1 - l) b,    l from Beta(alpha, alpha),
    L = mean over labeled x of -log p(y | x)
        + w(s) / C mean over unlabeled u of |p(Mix_l(u, u')) - Mix_l(q(u), q(u'))|^2,
    teacher <- m_s teacher + (1 - m_s) student,    m_s = min(1 - 1 / (s + 1), m),

with u' another unlabeled row and q of the teacher, which has no gradient, sees the same
views unmixed, and makes the final predictions. The released code mixes labeled rows and
their labels too, and the teacher's logits, not its probabilities, with one l a batch.
"""

import jax
import jax.numpy as jnp
import optax

from jssl.learner import fresh, minimize, noise_keys, on_update
from jssl.losses.consistency import ict
from jssl.method import Augment, Method, Prepare, field, first_row, part
from jssl.methods.semisupervised.mean_teacher import State, Teacher
from jssl.nets import Net
from jssl.ops.ema import ema, ema_decay_warmup
from jssl.ops.mixing import mixup
from jssl.ops.ramps import sigmoid_rampup


def interpolation_consistency(
    net: Net,
    tx: optax.GradientTransformation,
    augment: Augment,
    *,
    weight: float = 100.0,
    ramp: int = 1000,
    momentum: float = 0.999,
    alpha: float = 1.0,
    labeled_alpha: float = 0.0,
    mix_logits: bool = False,
    per_sample: bool = True,
    prepare: Prepare = field("image"),
) -> Method[State]:
    """Semi-supervised learning with a mean teacher and mixed unlabeled samples.

    Args:
      net: x -> {"logits": [n, classes], "h": [n, d]}.
      tx: optimizer of the student.
      augment: (key, batch) -> one view of each row, [n, ...], normalized as `prepare` does.
      weight: w after the ramp.
      ramp: steps of the sigmoid ramp of w.
      momentum: m.
      alpha: of the Beta distribution of l for unlabeled rows; 0: no mixing, and a teacher
        of the same views.
      labeled_alpha: the same for labeled rows, which are mixed by mixup; 0: as they are.
      mix_logits: mix the teacher's logits, as in the released code.
      per_sample: draw an l for each row; False: one for the batch, as in the released code.
      prepare: batch -> x, the network's input outside training (normalization, a crop).
    """

    def init(key, batch):
        student = fresh(tx, *net.init(key, first_row(prepare(part(batch, "labeled")))))
        teacher = Teacher(student.params, student.stats)
        return State(student, teacher, jnp.zeros((), jnp.int32))

    def loss(params, stats, x, y, u, taught, w, mix, one, two):
        def predict(mixed):
            return net.apply(params, stats, mixed, train=True, keys=two)[0]["logits"]

        out, moved = net.apply(params, stats, x, train=True, keys=one)
        logits = out["logits"]
        known = optax.softmax_cross_entropy(logits, y).mean()
        agreed = ict(
            mix, predict, u, taught, alpha, mix_logits=mix_logits, per_sample=per_sample
        )
        value = known + w * agreed
        return value, (
            moved,
            {
                "loss": value,
                "labeled": known,
                "unlabeled": agreed,
                "weight": w,
                "accuracy": (logits.argmax(-1) == y.argmax(-1)).mean(),
            },
        )

    def step(key, state, batch):
        look, mix_x, mix_u, *drops = jax.random.split(key, 6)
        one, two, three = map(noise_keys, drops)
        labels = batch["labeled"]["label"]
        views = augment(look, part(batch, "labeled", "unlabeled"))
        x, u = views[: len(labels)], views[len(labels) :]
        taught, stats = net.apply(*state.teacher, u, train=True, keys=three)
        y = jax.nn.one_hot(labels, taught["logits"].shape[1], dtype=x.dtype)
        if labeled_alpha:
            x, y, _ = mixup(
                mix_x, x, y, labeled_alpha, per_sample=per_sample, keep_dominant=False
            )
        w = weight * sigmoid_rampup(state.count, ramp)
        given = x, y, u, taught["logits"], w, mix_u, one, two
        student, metrics = minimize(tx, loss, state.student, *given)
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
