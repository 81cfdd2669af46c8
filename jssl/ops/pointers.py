r"""Soft pointers from the places of one frame to those of others, and what they copy.

Vondrick, Shrivastava, Fathi, Guadarrama and Murphy, "Tracking Emerges by Colorizing
Videos", ECCV 2018. https://arxiv.org/abs/1806.09594
"""

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, ScalarLike

from jssl.ops.shapes import expect


def pointers(
    target: Float[Array, "n l d"],
    reference: Float[Array, "n r d"],
    temperature: ScalarLike = 1.0,
    most: int | None = None,
) -> Float[Array, "n l r"]:
    r"""Distribution of each target place over the reference places, by inner product.

    .. math:: A_{ji} = \frac{\exp(f_i^\top f_j / \tau)}{\sum_k \exp(f_k^\top f_j / \tau)}

    with i a place of the reference and j of the target.

    Args:
      target: features of l places.
      reference: features of r places, of one or of several frames.
      temperature: tau; 1 in training and 0.5 in inference in the paper.
      most: number of the largest weights of a row that are kept; None: all.

    Raises:
      ValueError: when shapes do not fit, or there are fewer places than `most`.

    >>> places = jnp.array([[[0.0], [jnp.log(3.0)]]])
    >>> pointers(jnp.ones((1, 1, 1)), places).round(2).tolist()
    [[[0.25, 0.75]]]
    """
    sizes = expect("pointers", target=(target, "n l d"), reference=(reference, "n r d"))
    # In full float32: a temperature of 0.01 multiplies the error of bfloat16 by 100.
    scores = jnp.einsum("nld,nrd->nlr", target, reference, precision=lax.Precision.HIGHEST)
    scores = scores / temperature
    if most is None:
        return jax.nn.softmax(scores)
    if not 1 <= most <= sizes["r"]:
        raise ValueError(f"pointers: most must be 1 to {sizes['r']}, got {most}")
    least = lax.top_k(scores, most)[0][..., -1:]
    return jax.nn.softmax(jnp.where(scores >= least, scores, -jnp.inf))


def propagate_labels(
    maps: Float[Array, "n t l d"],
    labels: Float[Array, "n l k"],
    *,
    references: int = 3,
    temperature: ScalarLike = 0.5,
    most: int | None = None,
) -> Float[Array, "n t l k"]:
    r"""Labels of all frames from those of the first, copied along pointers.

    .. math:: \hat y_t = \sum_{s \in R_t} A_{ts} \hat y_s,
              \qquad R_t = \{1\} \cup \{t - m, \dots, t - 1\}

    The labels of a frame, once propagated, are references of the next m frames. Any numbers
    can be propagated: colors, masks, heat maps of keypoints.

    Args:
      maps: features of the l places of t frames.
      labels: of the first frame; distributions stay distributions.
      references: m; the first frame is always a reference.
      temperature: of the pointers.
      most: as in `pointers`, at most l.

    Raises:
      ValueError: when shapes do not fit, or no reference is asked for.

    >>> maps = 9 * jnp.array([[[[1.0, 0], [0, 1]], [[0, 1], [1, 0]]]])    # places swap
    >>> propagate_labels(maps, jnp.array([[[1.0], [0.0]]]))[0, 1, :, 0].round(2).tolist()
    [0.0, 1.0]
    """
    sizes = expect("propagate_labels", maps=(maps, "n t l d"), labels=(labels, "n l k"))
    if references < 1:
        raise ValueError(f"propagate_labels: references must be positive, got {references}")
    found = [labels]
    for t in range(1, sizes["t"]):
        frames = [0, *range(max(1, t - references), t)]
        known = jnp.concatenate([maps[:, s] for s in frames], 1)
        weights = pointers(maps[:, t], known, temperature, most)
        found.append(weights @ jnp.concatenate([found[s] for s in frames], 1))
    return jnp.stack(found, 1)
