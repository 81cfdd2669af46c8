"""RotNet: classification of image rotations by multiples of 90 degrees.

Gidaris, Singh and Komodakis, "Unsupervised Representation Learning by Predicting Image
Rotations", ICLR 2018. https://arxiv.org/abs/1803.07728

    L = mean over images and turns y in {0, 90, 180, 270} of -log p(y | turn_y(x))
"""

import jax
import jax.numpy as jnp
import optax

from jssl.learner import Learner, fresh, minimize, noise_keys
from jssl.method import Augment, Method, Prepare, field, first_row
from jssl.nets import Net
from jssl.ops.rotations import rotate_all
from jssl.pictures import Grid, in_range


def rotation(
    net: Net,
    tx: optax.GradientTransformation,
    augment: Augment | None = None,
    *,
    prepare: Prepare = field("image"),
) -> Method[Learner]:
    """Classification of rotations.

    Args:
      net: x -> {"logits": [n, 4], "h": [n, d]}.
      tx: optimizer of all weights. The paper: SGD, Nesterov momentum 0.9.
      augment: (key, batch) -> one view of each row, which is rotated, normalized as
        `prepare` does; None: `prepare`. The paper crops and flips.
      prepare: batch -> x, the network's input outside training (normalization, a crop).
    """

    look = augment or (lambda key, batch: prepare(batch))

    def turned(images):
        rotated, turns = rotate_all(images)
        return rotated.reshape(-1, *images.shape[1:]), turns.reshape(-1)

    def init(key, batch):
        return fresh(tx, *net.init(key, first_row(prepare(batch))))

    def loss(params, stats, images, turns, keys):
        out, stats = net.apply(params, stats, images, train=True, keys=keys)
        logits = out["logits"]
        value = optax.softmax_cross_entropy_with_integer_labels(logits, turns).mean()
        right = (logits.argmax(-1) == turns).mean()
        return value, (stats, {"loss": value, "rotation_accuracy": right})

    def step(key, state, batch):
        images, turns = turned(look(key, batch))
        return minimize(tx, loss, state, images, turns, noise_keys(key))

    def embed(state, batch):
        return net.apply(state.weights, state.stats, prepare(batch))[0]

    def render(key, state, batch, collect):
        images = prepare(batch)[:8]
        shown, _ = turned(images)
        out, _ = net.apply(state.weights, state.stats, shown)
        guessed = jax.nn.one_hot(out["logits"].argmax(-1), 4)
        back = jnp.stack([jnp.rot90(shown, -k, axes=(1, 2)) for k in range(4)], 1)
        undone = (guessed[:, :, None, None, None] * back).sum(1)
        pairs = jnp.stack([shown, undone], 1).reshape(len(images), 8, *images.shape[1:])
        headings = [x for k in range(4) for x in (f"{90 * k} deg", "turned back")]
        title = "turned, and turned back by the predicted angle"
        return {title: Grid(in_range(pairs), tuple(headings))}

    return Method(init, step, embed, render=render)
