r"""Losses of clips: colors copied from other frames, and memories that should differ."""

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jssl.ops.precision import widen
from jssl.ops.shapes import expect
from jssl.ops.vectors import cosine


def pointer_nll(
    probabilities: Float[Array, "n l k"], classes: Int[Array, "n l"], eps: float = 1e-8
) -> Float[Array, ""]:
    r"""Negative log likelihood of classes under probabilities, such as of copied colors.

    .. math:: -\frac{1}{n l} \sum_{i, j} \log (y_{ij c_{ij}} + \epsilon)

    A copied color is a probability already: there is no softmax.

    Vondrick et al. 2018, "Tracking Emerges by Colorizing Videos", eq. 2.
    https://arxiv.org/abs/1806.09594

    Raises:
      ValueError: when shapes do not fit.

    >>> y = jnp.array([[[0.25, 0.75], [1.0, 0.0]]])
    >>> print(f"{pointer_nll(y, jnp.array([[0, 0]])):.4f}")    # (log 4 + 0) / 2
    0.6931
    """
    expect(
        "pointer_nll",
        probabilities=(probabilities, "n l k"),
        classes=(classes, "n l", "int"),
    )
    (probabilities,) = widen(probabilities)
    hit = classes[..., None] == jnp.arange(probabilities.shape[-1])
    return -jnp.log(jnp.sum(probabilities, -1, where=hit) + eps).mean()


def memory_decoupling(
    one: Float[Array, "n s h w d"], two: Float[Array, "n s h w d"]
) -> Float[Array, ""]:
    r"""Mean absolute cosine between the increments of two memories, channel by channel.

    .. math:: \frac{1}{n s d} \sum_{i, j, q}
              \frac{|\sum_p a_{ijpq} b_{ijpq}|}{\|a_{ij \cdot q}\| \|b_{ij \cdot q}\|}

    over samples, steps and channels, with p the pixels; 0 where an increment is 0.

    Wang et al. 2022, "PredRNN", section 3.3. https://arxiv.org/abs/2103.09504

    Raises:
      ValueError: when shapes differ.

    >>> a = jnp.array([1.0, 0.0]).reshape(1, 1, 2, 1, 1)    # two pixels
    >>> [memory_decoupling(a, b).item() for b in (-3 * a, a[:, :, ::-1])]
    [1.0, 0.0]
    """
    expect("memory_decoupling", one=(one, "n s h w d"), two=(two, "n s h w d"))
    one, two = widen(one, two)
    pixels = lambda x: jnp.moveaxis(x.reshape(*x.shape[:2], -1, x.shape[-1]), 2, -1)
    return jnp.abs(cosine(pixels(one), pixels(two))).mean()
