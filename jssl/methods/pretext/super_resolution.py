"""Super-resolution as a pretext task: images from their own reductions.

    L = mean of (x - F(y))^2 or of |x - F(y)|,    y = shrunk(x)

The labels are free: y is made of x. Who restores details has to know those of strokes,
edges and textures. Networks make them by pixel shuffle: Shi et al., "Real-Time Single
Image and Video Super-Resolution Using an Efficient Sub-Pixel Convolutional Neural Network",
CVPR 2016, https://arxiv.org/abs/1609.05158. The squared error alone trains SRCNN (Dong et
al., ECCV 2014, https://arxiv.org/abs/1501.00092) and SRResNet (Ledig et al., CVPR 2017,
https://arxiv.org/abs/1609.04802); `bicubic` learns nothing.

One kernel of reduction leaves traces by which it can be inverted without regard of the
content: `jssl.ops.maps.random_shrink` draws one for each image.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax

from jssl.learner import Learner, fresh, minimize, noise_keys
from jssl.method import Augment, Method, Prepare, field, first_row
from jssl.nets import Net
from jssl.ops.maps import bicubic_enlarge, bicubic_shrink
from jssl.pictures import Grid

ERRORS = ("squared", "absolute")


def super_resolution(
    net: Net,
    tx: optax.GradientTransformation,
    *,
    factor: int = 4,
    error: str = "squared",
    shrink: Callable | None = None,
    augment: Augment | None = None,
    prepare: Prepare = field("image"),
    made: str = "image",
) -> Method[Learner]:
    """Super-resolution; h is of the reduced image, which is all that the network sees.

    Args:
      net: images [n, h, w, c] in [0, 1] -> {"output": images in [-1, 1], "h": [n, d]}, with
        sides multiplied by `factor`.
      tx: its optimizer.
      factor: of the reduction.
      error: "squared" or "absolute", of pixels in [-1, 1].
      shrink: (key, x, factor) -> the reductions of training; None: `bicubic_shrink`, which
        is used outside training.
      augment: (key, batch) -> x of training, e.g. crops; None: `prepare`.
      prepare: batch -> x, images in [0, 1].
      made: name of the generated field.

    Raises:
      ValueError: another error; in `init`, a network that enlarges by another factor.
    """
    if error not in ERRORS:
        raise ValueError(
            f"super_resolution: error must be {' or '.join(ERRORS)}, got {error!r}"
        )
    look = augment or (lambda key, batch: prepare(batch))

    def init(key, batch):
        x = first_row(look(key, batch))
        learner = fresh(tx, *net.init(key, bicubic_shrink(x, factor)))
        check_size(net, learner, x, factor)
        return learner

    def loss(params, stats, x, keys, key):
        low = shrink(key, x, factor) if shrink else bicubic_shrink(x, factor)
        out, stats = net.apply(params, stats, low, train=True, keys=keys)
        value = square = squared_error(out["output"], x)
        if error == "absolute":
            value = jnp.abs(out["output"] - (2 * x - 1)).mean()
        return value, (stats, {"loss": value, "psnr": peak_ratio(square)})

    def step(key, state, batch):
        view, noise = jax.random.split(key)
        return minimize(tx, loss, state, look(view, batch), noise_keys(noise), noise)

    def embed(state, batch):
        x = prepare(batch)
        low = bicubic_shrink(x, factor)
        out = dict(net.apply(state.weights, state.stats, low)[0])
        return rows(x, low, out.pop("output")) | out

    return Method(init, step, embed, **drawing(embed, factor, made))


def squared_error(output: jax.Array, x: jax.Array) -> jax.Array:
    """Mean squared error of an output in [-1, 1] of images in [0, 1], which are scaled."""
    return jnp.square(output - (2 * x - 1)).mean()


def peak_ratio(error: jax.Array) -> jax.Array:
    """Peak signal-to-noise ratio, in decibels, of a mean squared error in [-1, 1].

    >>> float(peak_ratio(jnp.array(0.04)))    # 10 log10(2^2 / 0.04)
    20.0
    """
    return 10 * jnp.log10(4 / jnp.maximum(error, 1e-12))


def rows(x: jax.Array, low: jax.Array, output: jax.Array) -> dict[str, jax.Array]:
    """Outputs of `embed`: images, and what two ways make of their reductions."""
    factor = x.shape[1] // low.shape[1]
    return {
        "input": x,
        "reconstruction": jnp.clip((output + 1) / 2, 0, 1),
        "bicubic": bicubic_enlarge(low, factor),
    }


def check_size(net: Net, learner: Learner, x: jax.Array, factor: int) -> None:
    """Raises ValueError unless a network enlarges reduced images to their size."""
    low = bicubic_shrink(x, factor)
    out = jax.eval_shape(net.apply, learner.params, learner.stats, low)[0]["output"]
    if out.shape != x.shape:
        raise ValueError(
            f"super_resolution: the network must enlarge images of {low.shape[1:]} to "
            f"{x.shape[1:]}, it makes {out.shape[1:]}: give both the same factor"
        )


def drawing(embed: Callable, factor: int, made: str) -> dict[str, Callable]:
    """`generate` and `render` of a method whose `embed` has the outputs of `rows`.

    Both have the reduced image, two enlargements of it, and the original.
    """

    def generate(key, state, batch):
        out = embed(state, batch)
        low = bicubic_shrink(out["input"], factor)
        return {
            "low": low.repeat(factor, 1).repeat(factor, 2),
            "bicubic": out["bicubic"],
            made: out["reconstruction"],
            "original": out["input"],
        }

    def render(key, state, batch, collect):
        columns = generate(key, state, {name: x[:8] for name, x in batch.items()})
        if columns[made].shape[-1] not in (1, 3):
            return {}
        return {"enlarged": Grid(jnp.stack([*columns.values()], 1), tuple(columns))}

    return {"render": render, "generate": generate}
