"""Conversions between RGB and hue, saturation, value and chroma."""

import jax.numpy as jnp
from jaxtyping import Array, Float


def rgb_to_hsv(image: Float[Array, "*n c"]) -> Float[Array, "*n 3"]:
    """Converts RGB to hue, saturation and value in [0, 1]; the hue of gray is 0.

    Raises:
      ValueError: when the last axis is not of three channels.

    >>> rgb_to_hsv(jnp.array([[[0.0, 0.5, 0.0]]])).ravel().round(4)  # dark green, 120/360
    Array([0.3333, 1.    , 0.5   ], dtype=float32)
    """
    _three("rgb_to_hsv", image)
    return jnp.concatenate(split_hsv(image), axis=-1)


def hsv_to_rgb(image: Float[Array, "*n c"]) -> Float[Array, "*n 3"]:
    """Converts HSV to RGB, the inverse of `rgb_to_hsv`; hue is taken modulo 1.

    Raises:
      ValueError: when the last axis is not of three channels.

    >>> hsv_to_rgb(jnp.array([[[0.5, 1.0, 1.0]]])).ravel()  # cyan
    Array([0., 1., 1.], dtype=float32)
    """
    _three("hsv_to_rgb", image)
    return join_hsv(image[..., :1], image[..., 1:2], image[..., 2:])


def value_and_chroma(
    r: Float[Array, "*n"], g: Float[Array, "*n"], b: Float[Array, "*n"]
) -> tuple[Float[Array, "*n"], Float[Array, "*n"]]:
    """The maximum of R, G and B, and its distance from their minimum.

    >>> value, chroma = value_and_chroma(jnp.array(0.75), jnp.array(0.5), jnp.array(0.25))
    >>> value.item(), chroma.item()
    (0.75, 0.5)
    """
    # No reduction: XLA's over an axis of three is several times slower on CPU.
    value = jnp.maximum(jnp.maximum(r, g), b)
    return value, value - jnp.minimum(jnp.minimum(r, g), b)


def split_hsv(
    image: Float[Array, "*n 3"],
) -> tuple[Float[Array, "*n 1"], Float[Array, "*n 1"], Float[Array, "*n 1"]]:
    """Hue, saturation and value of RGB, [..., 1] each and in [0, 1].

    >>> [x.item() for x in split_hsv(jnp.array([0.0, 1.0, 1.0]))]
    [0.5, 1.0, 1.0]
    """
    r, g, b = image[..., :1], image[..., 1:2], image[..., 2:]
    value, chroma = value_and_chroma(r, g, b)
    per = jnp.where(chroma > 0, 1 / jnp.where(chroma > 0, chroma, 1), 0) / 6
    # Comparisons of channels, not with their maximum: a compiler that fuses may compute the
    # maximum from other roundings than r, and equality would then select a wrong branch.
    hue = jnp.where(
        (r >= g) & (r >= b),
        (g - b) * per,
        jnp.where(g >= b, 1 / 3 + (b - r) * per, 2 / 3 + (r - g) * per),
    )
    return hue - jnp.floor(hue), chroma / jnp.where(value > 0, value, 1), value


def join_hsv(
    hue: Float[Array, "*n 1"], saturation: Float[Array, "*n 1"], value: Float[Array, "*n 1"]
) -> Float[Array, "*n 3"]:
    """RGB [..., 3] of hue, saturation and value, [..., 1] each; hue is taken modulo 1.

    >>> join_hsv(*jnp.array([[1.0], [1.0], [0.5]])).round(3)    # dark red
    Array([0.5, 0. , 0. ], dtype=float32)
    """
    # f(5), f(3), f(1) with k = (n + 6 H) mod 6: no gathers and no branches. Broadcast over
    # the channels: on CPU a concatenation would compute everything three times.
    k = hue + jnp.array([5, 3, 1], hue.dtype) / 6
    k = 6 * (k - jnp.floor(k))
    return value - value * saturation * jnp.clip(jnp.minimum(k, 4 - k), 0, 1)


def hue_and_chroma(
    images: Float[Array, "n h w c"],
) -> tuple[Float[Array, "n h w"], Float[Array, "n h w"]]:
    """Hue of RGB in [0, 1), and chroma, the largest difference of channels.

    Raises:
      ValueError: when there are not three channels.

    >>> hue, chroma = hue_and_chroma(jnp.array([0.25, 0.75, 0.25]).reshape(1, 1, 1, 3))
    >>> round(hue.item(), 4), chroma.item()
    (0.3333, 0.5)
    """
    _three("hue_and_chroma", images)
    hue, saturation, value = split_hsv(images)
    return hue[..., 0], (saturation * value)[..., 0]


def with_hue_and_chroma(
    gray: Float[Array, "n h w"], hue: Float[Array, "n h w"], chroma: Float[Array, "n h w"]
) -> Float[Array, "n h w 3"]:
    """RGB images of given hue and chroma whose channels have the mean `gray`.

    Channels beyond [0, 1] are clipped, which changes the mean.

    >>> rgb = with_hue_and_chroma(*jnp.array([0.5, 0.0, 0.3]).reshape(3, 1, 1, 1))
    >>> [round(x, 3) for x in rgb.ravel().tolist()]
    [0.7, 0.4, 0.4]
    """
    one = jnp.ones_like(hue)[..., None]
    pure = join_hsv(hue[..., None], one, one)
    colors = gray[..., None] + chroma[..., None] * (pure - pure.mean(-1, keepdims=True))
    return jnp.clip(colors, 0, 1)


def _three(function, image):
    if jnp.ndim(image) == 0 or image.shape[-1] != 3:
        raise ValueError(
            f"{function}: image must have 3 channels, last (RGB or HSV), got "
            f"{list(jnp.shape(image))}"
        )
