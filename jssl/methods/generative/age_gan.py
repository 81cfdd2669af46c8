"""Age GAN: editing an attribute of an image by the inversion of a conditional GAN.

Antipov, Baccouche and Dugelay, "Face Aging with Conditional Generative Adversarial
Networks", ICIP 2017. https://arxiv.org/abs/1702.01983

    z_0 = E(x),    E = argmin E_{z,y} |E(G(z, y)) - z|^2,
    z*  = argmin_z |R(x) - R(G(z, y_0))|^2    from z_0,    the edited image: G(z*, y),

where G is the generator of a trained `conditional_gan`, y the attribute, an age group, y_0
that of x, and R the features of a network that recognizes identities, persons in the paper.
Their distance keeps the identity, which the distance of pixels does not.

Only E is trained here. Departure: Adam with a fixed number of steps in place of L-BFGS.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from jssl.learner import Learner, fresh, minimize, noise_keys
from jssl.method import Method, Prepare, dispatched, field, first_row, identity
from jssl.methods.generative import gan
from jssl.methods.transfer.distil import Frozen
from jssl.nets import Net
from jssl.pictures import Grid

Distance = Callable[[jax.Array], jax.Array]  # z [n, d] -> [n]


class State(NamedTuple):
    encoder: Learner
    gan: gan.State  # fixed
    recognizer: Frozen


def age_gan(
    encoder: Net,
    tx: optax.GradientTransformation,
    conditional: Method[gan.State],
    generator: Net,
    recognizer: Net,
    prior: Callable,
    attribute: Prepare,
    classes: int,
    *,
    distance: str = "identity",
    steps: int = 50,
    lr: float = 0.05,
    prepare: Prepare = field("image"),
    show: Callable = identity,
    made: str = "image",
) -> Method[State]:
    """Editing of an attribute. h is the discriminator's.

    The stage starts from trained networks:

        start=lambda state, done: state._replace(
            gan=done["gan"], recognizer=frozen(done["recognizer"])
        )

    `generate` edits the images of the rows: "edits" [n, K, ...] have each value of the
    attribute, the field `made` that of "label".

    Args:
      encoder: x -> {"h": z [n, d], ...}.
      tx: its optimizer.
      conditional: the `conditional_gan` of the attribute.
      generator: its generator, (z, y) -> x.
      recognizer: images in [0, 1] -> {"h": [n, k], ...}, the features R.
      prior: (key, n) -> z [n, d], as in `conditional`.
      attribute: batch -> y_0, int [n], the attribute of the images, below K.
      classes: K.
      distance: that the inversion minimizes, "identity" or "pixels".
      steps: of the inversion.
      lr: learning rate of the inversion.
      prepare: batch -> x, as in `conditional`.
      show: x -> images in [0, 1], the inverse of `prepare`.
      made: name of the generated field.
    """
    if distance not in ("identity", "pixels"):
        raise ValueError(
            f'age_gan: distance must be "identity" or "pixels", got {distance!r}'
        )

    def init(key, batch):
        one, two, three, noise = jax.random.split(key, 4)
        x, z = first_row(prepare(batch)), prior(noise, 1)
        begun = conditional.init(one, jax.tree.map(lambda leaf: leaf[None], batch))
        learner = fresh(tx, *encoder.init(two, x))
        code = jax.eval_shape(encoder.apply, learner.params, learner.stats, x)[0]["h"]
        if code.shape != z.shape:
            raise ValueError(
                f"age_gan: codes must have the shape of z, {z.shape[1:]}, got "
                f"{code.shape[1:]}"
            )
        return State(learner, begun, Frozen(*recognizer.init(three, show(x))))

    def image(state, z, y):
        maker = state.gan.generator
        return generator.apply(maker.weights, maker.stats, z, jax.nn.one_hot(y, classes))[0]

    def loss(params, stats, x, z, keys):
        out, stats = encoder.apply(params, stats, x, train=True, keys=keys)
        value = jnp.square(out["h"] - z).mean()
        return value, (stats, {"loss": value})

    def step(key, state, batch):
        noise, draw, drop = jax.random.split(key, 3)
        n = len(batch["index"])
        z, y = prior(noise, n), jax.random.randint(draw, (n,), 0, classes)
        x = image(state, z, y)
        learner, metrics = minimize(tx, loss, state.encoder, x, z, noise_keys(drop))
        return state._replace(encoder=learner), metrics

    def encoded(state, x):
        learner = state.encoder
        return encoder.apply(learner.weights, learner.stats, x)[0]["h"]

    def seen(state, x):
        """The quantity that the inversion compares, [n, ...]."""
        if distance == "pixels":
            return show(x)
        return recognizer.apply(*state.recognizer, show(x))[0]["h"]

    def apart(state, wanted, y, z):
        gap = seen(state, image(state, z, y)) - wanted
        return jnp.square(gap).reshape(len(z), -1).sum(1)

    def embed(state, batch):
        x, y = prepare(batch), attribute(batch)
        z = encoded(state, x)
        found = {"z": z, "input": show(x), "reconstruction": show(image(state, z, y))}
        return dict(conditional.embed(state.gan, batch)) | found

    @jax.jit
    def begun(state, batch):
        x, y = prepare(batch), attribute(batch)
        return x, y, seen(state, x), encoded(state, x)

    @jax.jit
    def edited(state, z):
        each = [show(image(state, z, jnp.full(len(z), k))) for k in range(classes)]
        return jnp.stack(each, 1)

    @dispatched
    def generate(key, state, batch):
        x, y, wanted, z = begun(state, batch)
        far = jax.tree_util.Partial(apart, state, wanted, y)
        z, _ = invert(far, z, steps=steps, lr=lr)
        edits = edited(state, z)
        each = jnp.arange(len(z)), batch.get("label", y)
        return {made: edits[each], "edits": edits, "original": show(x)}

    def render(key, state, batch, collect):
        few = generate(key, state, {name: x[:8] for name, x in batch.items()})
        x, edits = few["original"], few["edits"]
        if x.ndim != 4 or x.shape[-1] not in (1, 3):
            return {}
        names = "original", *(f"y = {k}" for k in range(classes))
        return {"edits": Grid(jnp.concatenate([x[:, None], edits], 1), names)}

    return Method(init, step, embed, render=render, generate=generate)


def invert(
    distance: Distance, z: jax.Array, *, steps: int, lr: float
) -> tuple[jax.Array, jax.Array]:
    """The codes of least distance among those that Adam visits, and their distances.

    Each step is a dispatch, compiled once; a loop within a program would be slow on CPU for
    gradients of convolutions. Rows are independent of each other.

    Args:
      distance: z [n, d] -> [n], a `jax.tree_util.Partial` of its arrays.
      z: [n, d], where it begins.
      steps: of Adam.
      lr: learning rate.

    Returns:
      z [n, d], and the least distance so far, [1 + steps, n].
    """
    search = Search(z, z, jnp.full(len(z), jnp.inf, z.dtype), optax.adam(lr).init(z))
    trace = []
    for _ in range(1 + steps):
        search = _searched(distance, search, lr)
        trace.append(search.least)
    return search.best, jnp.stack(trace)


class Search(NamedTuple):
    z: jax.Array
    best: jax.Array
    least: jax.Array
    opt: optax.OptState


@partial(jax.jit, static_argnames="lr")
def _searched(distance, search, lr):
    """Evaluates z, and moves on."""

    def total(z):
        each = distance(z)
        return each.sum(), each

    slope, each = jax.grad(total, has_aux=True)(search.z)
    closer = each < search.least
    best = jnp.where(closer[:, None], search.z, search.best)
    updates, opt = optax.adam(lr).update(slope, search.opt)
    return Search(search.z + updates, best, jnp.where(closer, each, search.least), opt)
