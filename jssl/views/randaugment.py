"""RandAugment: a few strong distortions, drawn at random for each image.

Each round draws one of fifteen operations, whose strengths all increase with `magnitude`.
MAE's fine-tuning uses 2 rounds of magnitude 9 +- 0.5, FixMatch 2 of any magnitude.

Cubuk, Zoph, Shlens, Le, *RandAugment: Practical automated data augmentation with a
reduced search space*, NeurIPS 2020, https://arxiv.org/abs/1909.13719. Strengths, and the
probability 1/2 of applying an operation (1 in the paper), are those of timm's
"rand-m9-mstd0.5-inc1".

The operation is a traced index, so under `vmap` all branches of a `lax.switch` would be
computed. The operations are therefore grouped in three families that share their
computation: a warp, a blend with another image, and a change of tones. A round costs about
one affine resampling and one histogram per image.
"""

import math
from collections.abc import Callable, Collection
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike
from jaxtyping import Array, Float, PRNGKeyArray

from jssl.ops.shapes import expect
from jssl.views.color import contrast, saturation, solarize
from jssl.views.geometry import affine, motion

WARPS = ("rotate", "shear_x", "shear_y", "translate_x", "translate_y")
BLENDS = ("saturation", "contrast", "brightness", "sharpness")
TONES = (
    "autocontrast", "equalize", "invert", "posterize", "solarize", "solarize_add"
)  # fmt: skip
FAMILIES = (WARPS, BLENDS, TONES)
OPERATIONS = WARPS + BLENDS + TONES


class RandAugment(NamedTuple):
    """The arguments of `rand_augment` after the image, in their order."""

    n: int = 2
    magnitude: float = 9.0
    std: float = 0.5
    fill: float = 0.5
    probability: float = 0.5
    operations: tuple[str, ...] = OPERATIONS
    translate: float = 0.45


def rand_augment(
    key: PRNGKeyArray,
    image: Float[Array, "h w c"],
    n: int = 2,
    magnitude: float = 9.0,
    std: float = 0.5,
    fill: float = 0.5,
    probability: float = 0.5,
    operations: tuple[str, ...] = OPERATIONS,
    translate: float = 0.45,
) -> Float[Array, "h w c"]:
    """Applies n rounds of a random operation to an image.

    Args:
      key: random key of this image.
      image: [h, w, c] in [0, 1], 1 or 3 channels.
      n: number of rounds.
      magnitude: mean strength of an operation, 0 to 10.
      std: standard deviation of the strength; infinite: uniform from 0 to `magnitude`.
      fill: pixel value beyond the border, for warps.
      probability: probability that a round applies its operation.
      operations: those that are drawn, of `OPERATIONS` and "identity".
      translate: largest translation, as a fraction of the side.

    Raises:
      ValueError: if the image is not float [h, w, 1 or 3], or for an unknown operation.
    """
    expect("rand_augment", image=(image, "h w c"))
    if unknown := set(operations) - {*OPERATIONS, "identity"}:
        raise ValueError(
            f"rand_augment: operations must be of {[*OPERATIONS, 'identity']}, got "
            f"{sorted(unknown)}"
        )
    families = [family for family in FAMILIES if set(family) & set(operations)]
    for u in jax.random.uniform(key, (n, 4), jnp.float32):
        if math.isinf(std):
            level = magnitude / 10 * u[0]
        else:
            normal = math.sqrt(2) * lax.erf_inv(2 * u[0] - 1)
            level = jnp.clip(magnitude + std * normal, 0, 10) / 10
        level = jnp.where(u[1] < 0.5, -level, level)
        operation = jnp.floor(u[2] * len(operations)).astype(jnp.int32)
        if operations != OPERATIONS:
            numbers = [*map((*OPERATIONS, "identity").index, operations)]
            operation = jnp.asarray(numbers, jnp.int32)[operation]
        operation = jnp.where(u[3] < probability, operation, -1)
        image = operate(image, operation, level, fill, translate, families)
    return image


def operate(
    image: Float[Array, "h w c"],
    operation: ArrayLike,
    level: ArrayLike,
    fill: ArrayLike = 0.5,
    translate: float = 0.45,
    families: Collection[tuple[str, ...]] = FAMILIES,
) -> Float[Array, "h w c"]:
    """Applies one operation, an index into `OPERATIONS`, or none for another number.

    At level 1, of [-1, 1]: rotate 30 degrees, shear 0.3, translate by that fraction of the
    side, blend factors 1.9 (0.1 at -1), posterize to 0 bits, solarize at 0, solarize_add
    110 / 255.
    Tones use the absolute level; autocontrast, equalize and invert have no strength.
    Operations of other families than these have no effect, and take no time.

    Raises:
      ValueError: if the image is not float [h, w, 1 or 3].

    >>> invert = OPERATIONS.index("invert")
    >>> jax.jit(operate)(jnp.array([[[0.0, 0.25, 1.0]]]), invert, 1.0).ravel()
    Array([1.  , 0.75, 0.  ], dtype=float32)
    """
    operation = jnp.asarray(operation)
    level = jnp.asarray(level, image.dtype)
    changes: dict[tuple[str, ...], Callable] = {
        WARPS: partial(_warp, translate=translate),
        BLENDS: _blend,
        TONES: _tone,
    }
    for names in families:
        is_one = {name: operation == OPERATIONS.index(name) for name in names}
        changed = changes[names](image, is_one, level, fill)
        among = jnp.stack(list(is_one.values())).any(0)
        image = jnp.where(among, changed, image)
    return image


def _warp(image, is_one, level, fill, translate):
    # Shears are about the center; Pillow's are about the corner.
    h, w, _ = image.shape
    amount = {name: jnp.where(chosen, level, 0) for name, chosen in is_one.items()}
    matrix = motion(
        degrees=30 * amount["rotate"],
        dy=translate * h * amount["translate_y"],
        dx=translate * w * amount["translate_x"],
    )
    matrix = matrix.at[0, 1].add(0.3 * amount["shear_y"])
    matrix = matrix.at[1, 0].add(0.3 * amount["shear_x"])
    return affine(image, matrix, fill)


def _blend(image, is_one, level, fill):
    other = jnp.select(
        [is_one["saturation"], is_one["contrast"], is_one["sharpness"]],
        [saturation(image, 0.0), contrast(image, 0.0), _smooth(image)],
        jnp.zeros_like(image),
    )
    factor = 1 + 0.9 * level
    return jnp.clip(factor * image + (1 - factor) * other, 0, 1)


def _smooth(image):
    """Smooths by the 3 x 3 kernel of 1s around a 5, over 13; the border is unchanged."""
    rows = image[:-2] + image[1:-1] + image[2:]
    box = rows[:, :-2] + rows[:, 1:-1] + rows[:, 2:]
    return image.at[1:-1, 1:-1].set((box + 4 * image[1:-1, 1:-1]) / 13)


def _tone(image, is_one, level, fill):
    level = jnp.abs(level)
    low, high = image.min((0, 1)), image.max((0, 1))
    stretched = (image - low) / jnp.where(high > low, high - low, 1)
    step = 2 ** (4 + jnp.floor(4 * level))  # 4 bits at level 0, none at 1
    changes = {
        "autocontrast": jnp.where(high > low, stretched, image),
        "equalize": _equalize(image),
        "invert": 1 - image,
        "posterize": jnp.floor(jnp.round(255 * image) / step) * step / 255,
        "solarize": solarize(image, (1 - level) * 256 / 255),
        "solarize_add": jnp.where(
            image < 0.5, jnp.minimum(image + level * 110 / 255, 1), image
        ),
    }
    return jnp.select([is_one[name] for name in changes], list(changes.values()), image)


def _equalize(image):
    """Histogram equalization of each channel in 256 bins, as in Pillow."""
    h, w, c = image.shape
    level = jnp.round(255 * image).astype(jnp.int32)
    channel = jnp.arange(c)
    counts = jnp.zeros((256, c), jnp.int32).at[level, channel].add(1)
    step = (h * w - counts[level.max((0, 1)), channel]) // 255  # [c]
    below = jnp.cumsum(counts, axis=0) - counts
    table = (below + step // 2) // jnp.maximum(step, 1)
    table = jnp.clip(table, 0, 255).astype(image.dtype) / 255
    return jnp.where(step > 0, table[level, channel], image)
