"""S4L: supervised classification of few labels, with rotations as a second task of all.

Zhai, Oliver, Kolesnikov and Beyer, "S4L: Self-Supervised Semi-Supervised Learning", ICCV
2019. https://arxiv.org/abs/1905.03670

    L = mean over labeled x of -log p(y | x)
        + w mean over all x and turns r in {0, 90, 180, 270} of -log p'(r | turn_r(x)),

with two linear heads p and p' on one encoder. As rotated labeled images are processed
anyway, the authors classify all four of them: x of the first term is then turn_r(x).
"""

import optax

from jssl.learner import Learner, fresh, minimize, noise_keys
from jssl.method import Augment, Method, Prepare, field, first_row, fold, part
from jssl.nets import Net
from jssl.ops.rotations import rotate_all


def s4l(
    net: Net,
    tx: optax.GradientTransformation,
    augment: Augment,
    *,
    weight: float = 1.0,
    turned: bool = True,
    prepare: Prepare = field("image"),
) -> Method[Learner]:
    """Semi-supervised learning with classification of rotations.

    Args:
      net: x -> {"logits": [n, classes], "turns": [n, 4], "h": [n, d]}.
      tx: optimizer of all weights.
      augment: (key, batch) -> one view of each row, [n, ...], normalized as `prepare` does,
        which is rotated.
      weight: w.
      turned: whether the class is learned from all four rotations of a labeled image, or
        from the upright one.
      prepare: batch -> x, the network's input outside training (normalization, a crop).
    """

    def init(key, batch):
        return fresh(tx, *net.init(key, first_row(prepare(part(batch, "labeled")))))

    def loss(params, stats, images, turns, labels, keys):
        out, stats = net.apply(params, stats, fold(images), train=True, keys=keys)
        error = optax.softmax_cross_entropy_with_integer_labels
        logits = out["logits"].reshape(*turns.shape, -1)[: len(labels)]  # [m, 4, classes]
        shown = logits if turned else logits[:, :1]
        known = error(shown, labels[:, None].repeat(shown.shape[1], axis=1)).mean()
        rotation = error(out["turns"], turns.reshape(-1)).mean()
        value = known + weight * rotation
        right = out["turns"].argmax(-1) == turns.reshape(-1)
        return value, (
            stats,
            {
                "loss": value,
                "labeled": known,
                "rotation": rotation,
                "accuracy": (logits[:, 0].argmax(-1) == labels).mean(),
                "rotation_accuracy": right.mean(),
            },
        )

    def step(key, state, batch):
        views = augment(key, part(batch, "labeled", "unlabeled"))
        images, turns = rotate_all(views)
        labels = batch["labeled"]["label"]
        return minimize(tx, loss, state, images, turns, labels, noise_keys(key))

    def embed(state, batch):
        return net.apply(state.weights, state.stats, prepare(batch))[0]

    return Method(init, step, embed)
