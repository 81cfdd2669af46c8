"""A view: one way of looking at an image, drawn anew for every image.

Methods learn by comparing views of one image (Chen, Kornblith, Norouzi, Hinton, *A simple
framework for contrastive learning of visual representations*, ICML 2020,
https://arxiv.org/abs/2002.05709), or by seeing few pixels of it in many ways. A `View`
holds what one row of the papers' tables says; `multi_view` makes several of one batch:

    view = View(size=32, area=(0.08, 1.0), flip=0.5)
    x = multi_view(key, images, (view, view))  # [n, 2, 32, 32, c]

Every image of every view has a key of its own: no two share a crop, and what they are
does not depend on the number of devices that make them.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, PRNGKeyArray, Shaped

from jssl.views.batch import Images, at_least_single, float_images, image_keys
from jssl.views.color import (
    Statistics,
    gaussian_blur,
    grayscale,
    jitter_from,
    normalize,
    rgb_to_lab,
    solarize,
)
from jssl.views.geometry import (
    ERASE_RATIO,
    KERNELS,
    affine,
    box_from,
    crop_resize,
    erase,
    hflip,
    motion,
)
from jssl.views.randaugment import rand_augment

ORDER = (
    "move", "crop", "flip", "randaugment", "jitter", "gray", "blur", "solarize",
    "noise", "lab", "normalize", "erase",
)  # fmt: skip

# How many uniform numbers an image needs, and what for.
DRAWS = {"coins": len(ORDER), "move": 3, "crop": 22, "jitter": 8, "blur": 1, "erase": 22}


@dataclass(frozen=True, kw_only=True)
class View:
    """One way of looking at an image; `View(...)(key, images)` looks at a batch.

    What has probability or strength 0, the default, is left out and costs nothing. The
    arithmetic is float32 or better; the result has the images' dtype.

    Attributes:
      size: height and width of the view, in pixels.
      area: range of the random resized crop, as a fraction of the image; None takes the
        whole image.
      ratio: range of the crop's width / height.
      method: interpolation of the crop, "bilinear" or "bicubic".
      antialias: whether shrinking averages; off for images of 28 or 32 pixels.
      flip: probability of a horizontal flip.
      rotate: most rotation, in degrees either way.
      shift: most shift along each axis, in pixels either way.
      fill: what comes in where `rotate` and `shift` look beyond the border.
      randaugment: number of operations, magnitude and its standard deviation, or None.
      jitter: probability of colour jitter.
      strength: most change of brightness, contrast, saturation and hue.
      jitter_order: "random" or "fixed".
      gray: probability of greyscale.
      blur: probability of a Gaussian blur, of size // 20 taps (at least 1) either side.
      sigma: range of the blur's standard deviation, in pixels.
      solarize: probability of solarisation.
      noise: standard deviation of Gaussian noise; the sum is clipped to [0, 1].
      lab: whether RGB becomes CIE Lab.
      statistics: mean and standard deviation to normalise by, or None.
      erase: probability of erasing a box.
      erase_area: range of the box, as a fraction of the view.
      erase_fill: a number on the scale of the normalised view, or "noise".
      order: the steps, by name, in the paper's order.

    Raises:
      ValueError: a probability or range that is none, an unknown method or step.

    >>> view = View(size=2, area=(0.2, 1.0), flip=0.5)
    >>> view(jax.random.key(0), jnp.ones((5, 4, 4, 3))).shape
    (5, 2, 2, 3)
    """

    size: int
    area: tuple[float, float] | None = None
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    method: str = "bilinear"
    antialias: bool = False
    flip: float = 0.0
    rotate: float = 0.0
    shift: float = 0.0
    fill: float = 0.0
    randaugment: tuple[int, float, float] | None = None
    jitter: float = 0.0
    strength: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)
    jitter_order: str = "random"
    gray: float = 0.0
    blur: float = 0.0
    sigma: tuple[float, float] = (0.1, 2.0)
    solarize: float = 0.0
    noise: float = 0.0
    lab: bool = False
    statistics: Statistics | None = None
    erase: float = 0.0
    erase_area: tuple[float, float] = (0.02, 1 / 3)
    erase_fill: float | str = 0.0
    order: tuple[str, ...] = ORDER

    def __post_init__(self):
        for name in ("flip", "jitter", "gray", "blur", "solarize", "erase"):
            p = getattr(self, name)
            if not 0 <= p <= 1:
                raise ValueError(f"View: {name} must be a probability, got {p}")
        for name in ("area", "erase_area"):
            low, high = getattr(self, name) or (1, 1)
            if not 0 < low <= high <= 1:
                raise ValueError(
                    f"View: {name} must be a range in (0, 1], got {(low, high)}"
                )
        if self.method not in KERNELS:
            raise ValueError(
                f"View: method must be one of {list(KERNELS)}, got {self.method!r}"
            )
        if sorted(self.order) != sorted(ORDER):
            raise ValueError(
                f"View: order must hold each of {ORDER} once, got {self.order}"
            )

    def __call__(
        self, key: PRNGKeyArray, images: Images, axis_name: str | None = None
    ) -> Shaped[Array, "n S S c"]:
        """The view of each image, [n, h, w, c] -> [n, size, size, c]; no gradient.

        Args:
          key: split over the images.
          images: float, in [0, 1].
          axis_name: under `pmap` and `shard_map`, the axis over which the batch is
            spread; the result is what one device would make of the whole batch.

        Raises:
          ValueError: images that are not float [n, h, w, c].
        """
        images = float_images("View", images)
        keys = image_keys(key, len(images), axis_name)
        return _look(self, keys[:, None], images)[:, 0]

    def one(
        self, key: PRNGKeyArray, image: Shaped[Array, "h w c"]
    ) -> Shaped[Array, "S S c"]:
        """The view of one image, [h, w, c] -> [size, size, c]."""
        pixels = None
        if self.noise or self.randaugment or self.erase_fill == "noise":
            key, pixels = jax.random.split(key)
        # All that an image needs but noise is drawn at once: on CPU, each call of the
        # random generator costs more than the numbers it makes.
        u = jax.random.uniform(key, (sum(DRAWS.values()),), jnp.float32)
        u = jnp.split(u, list(itertools.accumulate(DRAWS.values()))[:-1])
        u = dict(zip(DRAWS, u, strict=True))
        x = at_least_single(image)
        steps = self._steps
        for name in self.order:
            p, change = steps[name]
            if p:
                y = change(x, u.get(name), pixels)
                coin = u["coins"][ORDER.index(name)]
                x = y if p >= 1 else jnp.where(coin < p, y, x)
        return x.astype(image.dtype)

    @property
    def _steps(self):
        """Name: (probability, change of an image by uniform numbers and a key)."""
        return {
            "move": (bool(self.rotate or self.shift), self._move),
            "crop": (1, self._crop),
            "flip": (self.flip, lambda x, *_: hflip(x)),
            "randaugment": (bool(self.randaugment), self._randaugment),
            "jitter": (self.jitter, self._jitter),
            "gray": (self.gray, lambda x, *_: grayscale(x)),
            "blur": (self.blur, self._blur),
            "solarize": (self.solarize, lambda x, *_: solarize(x)),
            "noise": (bool(self.noise), self._noise),
            "lab": (self.lab, lambda x, *_: rgb_to_lab(x)),
            "normalize": (bool(self.statistics), self._normalize),
            "erase": (self.erase, self._erase),
        }

    def _move(self, x, u, _):
        most = jnp.array([self.rotate, self.shift, self.shift], jnp.float32)
        return affine(x, motion(*(most * (2 * u - 1))), self.fill)

    def _crop(self, x, u, _):
        h, w, _ = x.shape
        if self.area is not None:
            box = box_from(u, (h, w), self.area, self.ratio)
        elif (h, w) == (self.size, self.size):
            return x
        else:
            box = jnp.array([0, 0, h, w], jnp.float32)
        out = (self.size, self.size)
        x = crop_resize(x, box, out, self.method, self.antialias)
        # Bicubic weights may be negative; bytes would have been clipped as well.
        return jnp.clip(x, 0, 1) if self.method == "bicubic" else x

    def _randaugment(self, x, _, key):
        return rand_augment(jax.random.fold_in(key, 0), x, *self.randaugment)

    def _jitter(self, x, u, _):
        return jitter_from(u, x, self.strength, self.jitter_order)

    def _blur(self, x, u, _):
        low, high = self.sigma
        # 23 taps at 224 pixels, 9 at 96, 3 at 32.
        return gaussian_blur(x, low + (high - low) * u[0], max(1, self.size // 20))

    def _noise(self, x, _, key):
        noise = jax.random.normal(jax.random.fold_in(key, 1), x.shape, x.dtype)
        return jnp.clip(x + self.noise * noise, 0, 1)

    def _normalize(self, x, *_):
        return normalize(x, *self.statistics)

    def _erase(self, x, u, key):
        fill = self.erase_fill
        if fill == "noise":
            fill = jax.random.normal(jax.random.fold_in(key, 2), x.shape, x.dtype)
        box = box_from(u, x.shape[:2], self.erase_area, ERASE_RATIO)
        return erase(x, box, fill)


def multi_crop(
    key: PRNGKeyArray,
    images: Images,
    views: Sequence[View],
    axis_name: str | None = None,
) -> list[Shaped[Array, "n _ _ c"]]:
    """The views of a batch, [n, S_v, S_v, c] each, in the order given.

    >>> large, small = View(size=4), View(size=2, area=(0.1, 0.4))
    >>> x = multi_crop(jax.random.key(0), jnp.ones((5, 4, 4, 3)), (large, small, small))
    >>> [v.shape for v in x]
    [(5, 4, 4, 3), (5, 2, 2, 3), (5, 2, 2, 3)]
    """
    groups = _groups("multi_crop", key, images, views, axis_name)
    return [x[:, i] for x in groups for i in range(x.shape[1])]


def multi_view(
    key: PRNGKeyArray,
    images: Images,
    views: Sequence[View],
    axis_name: str | None = None,
) -> Shaped[Array, "n V S S c"] | list[Shaped[Array, "n _ _ c"]]:
    """The views of a batch stacked on axis 1, [n, V, S, S, c], if their sizes agree.

    Stacked so, folding them into the batch stays sample-major, and costs a sharded batch
    no exchange. If sizes differ, the list of `multi_crop`.

    Args:
      key: folded with the index of the view, then split over the images.
      images: float [n, h, w, c], in [0, 1].
      views: what to make, such as `recipe("byol")`.
      axis_name: under `pmap` and `shard_map`, the axis over which the batch is spread.

    Raises:
      ValueError: images that are not float [n, h, w, c], or no views.

    >>> views = (View(size=4, area=(0.2, 1.0)), View(size=4, flip=0.5))
    >>> multi_view(jax.random.key(0), jnp.ones((5, 4, 4, 3)), views).shape
    (5, 2, 4, 4, 3)
    """
    if len({view.size for view in views}) > 1:
        return multi_crop(key, images, views, axis_name)
    groups = _groups("multi_view", key, images, views, axis_name)
    return jnp.concatenate(groups, axis=1)


def _groups(function, key, images, views, axis_name):
    """[n, k, S, S, c] for each run of k equal views, which are compiled as one."""
    images = float_images(function, images)
    if not views:
        raise ValueError(f"{function}: views must hold at least one View")
    views_keys = jax.vmap(lambda v: jax.random.fold_in(key, v))(jnp.arange(len(views)))
    keys = jax.vmap(lambda key: image_keys(key, len(images), axis_name), out_axes=1)(
        views_keys
    )  # [n, V]
    runs = itertools.groupby(range(len(views)), key=views.__getitem__)
    return [
        _look(view, keys[:, run[0] : run[-1] + 1], images)
        for view, run in ((view, list(run)) for view, run in runs)
    ]


@partial(jax.jit, static_argnames="view")
def _look(view, keys, images):
    """Views [n, k, S, S, c] of n images by keys [n, k]; compiled, for eager callers."""
    each = jax.vmap(view.one, in_axes=(0, None))
    return lax.stop_gradient(jax.vmap(each)(keys, images))
