"""Random views of images: the augmentation pipelines of self-supervised methods.

Methods learn by comparing views of an image (Chen, Kornblith, Norouzi, Hinton, *A simple
framework for contrastive learning of visual representations*, ICML 2020,
https://arxiv.org/abs/2002.05709). A `View` configures one pipeline with the parameters
that papers report; `multi_view` applies several to a batch:

    view = View(size=32, area=(0.08, 1.0), flip=0.5)
    x = multi_view(key, images, (view, view))  # [n, 2, 32, 32, c]

Each image of each view has its own random key: crops are independent, and the result does
not depend on the number of devices.
"""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, PRNGKeyArray, Shaped

from jssl.ops.lab import rgb_to_lab
from jssl.views.batch import Crops, Images, at_least_single, float_images, image_keys
from jssl.views.color import (
    BORDERS,
    STYLES,
    Statistics,
    gaussian_blur,
    grayscale,
    jitter_from,
    normalize,
    solarize,
)
from jssl.views.geometry import (
    ERASE_RATIO,
    KERNELS,
    PAD_MODES,
    affine,
    box_from,
    crop_resize,
    erase,
    hflip,
    motion,
    pad_crop,
    square_from,
)
from jssl.views.randaugment import rand_augment

ORDER = (
    "move", "crop", "flip", "randaugment", "jitter", "gray", "blur", "solarize",
    "noise", "lab", "normalize", "erase",
)  # fmt: skip

# Number of uniform random numbers per image, by purpose.
DRAWS = {"coins": len(ORDER), "move": 3, "crop": 22, "jitter": 8, "blur": 1, "erase": 22}


def of_clips(view: Callable) -> Callable:
    """A view of images as a view of videos: of all frames of a video alike.

    Args:
      view: (key, images [n, h, w, c]) -> [n, ...], with one random key for each image.

    Returns:
      (key, videos [n, t, h, w, c]) -> [n, t, ...].

    >>> videos = jnp.repeat(jax.random.uniform(jax.random.key(0), (2, 1, 8, 8, 3)), 3, 1)
    >>> x = of_clips(View(size=4, area=(0.2, 1.0), flip=0.5))(jax.random.key(1), videos)
    >>> x.shape, bool((x == x[:, :1]).all())
    ((2, 3, 4, 4, 3), True)
    """
    return jax.vmap(view, in_axes=(None, 1), out_axes=1)


@dataclass(frozen=True, kw_only=True)
class View:
    """A random augmentation pipeline; `View(...)(key, images)` applies it to a batch.

    Steps with probability or strength 0, the default, are skipped at no cost. Computed in
    float32 or better; the result has the dtype of the images.

    Attributes:
      size: height and width of the view in pixels; crops and images that are smaller are
        enlarged, without a warning.
      area: area of the random resized crop, as a range of fractions of the image; None
        uses the whole image.
      ratio: range of width / height of the crop.
      method: interpolation of the crop, "bilinear" or "bicubic".
      antialias: whether resizing is antialiased; off for images of 28 or 32 pixels.
      flip: probability of a horizontal flip.
      rotate: maximum rotation in degrees, in either direction.
      shift: maximum shift along each axis in pixels, in either direction, continuous and
        interpolated.
      pad: maximum shift by whole pixels, without interpolation: the image is padded on
        every side and cropped to its size at random; not together with `shift`.
      pad_mode: padding of `pad`: "fill", "reflect" or "edge".
      fill: pixel value beyond the border, for `rotate`, `shift` and `pad`.
      randaugment: arguments of `RandAugment` in their order (number of operations,
        magnitude, its standard deviation, ...), or None.
      jitter: probability of color jitter.
      strength: maximum change of brightness, contrast, saturation and hue.
      jitter_order: "random" or "fixed".
      jitter_style: definitions of the parts: "torchvision", "tensorflow" (SimCLR v1, BYOL)
        or "simclr_v2"; see `color_jitter`.
      gray: probability of grayscale.
      blur: probability of a Gaussian blur.
      sigma: range of the blur's standard deviation in pixels.
      blur_radius: taps of the blur on either side of a pixel; None: max(1, size // 20).
      blur_border: pixels beyond the border in the blur: "zero", "edge" or "reflect".
      solarize: probability of solarization.
      noise: standard deviation of Gaussian noise; the sum is clipped to [0, 1].
      lab: whether to convert RGB to CIE Lab.
      statistics: mean and standard deviation for normalization, or None.
      erase: probability of erasing a box.
      erase_area: area of the box, as a range of fractions of the view.
      erase_side: side of the box, as a fraction of the view's, if it is the square of
        Cutout, around any pixel and cut off at the border; 0: a box of `erase_area`.
      erase_fill: a number on the scale of the normalized view, or "noise".
      order: names of the steps in order of application.

    Raises:
      ValueError: for an invalid probability or range, or an unknown method or step.

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
    pad: int = 0
    pad_mode: str = "fill"
    fill: float = 0.0
    randaugment: tuple | None = None
    jitter: float = 0.0
    strength: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)
    jitter_order: str = "random"
    jitter_style: str = "torchvision"
    gray: float = 0.0
    blur: float = 0.0
    sigma: tuple[float, float] = (0.1, 2.0)
    blur_radius: int | None = None
    blur_border: str = "zero"
    solarize: float = 0.0
    noise: float = 0.0
    lab: bool = False
    statistics: Statistics | None = None
    erase: float = 0.0
    erase_area: tuple[float, float] = (0.02, 1 / 3)
    erase_side: float = 0.0
    erase_fill: float | str = 0.0
    order: tuple[str, ...] = ORDER

    def __post_init__(self):
        for name in ("flip", "jitter", "gray", "blur", "solarize", "erase"):
            p = getattr(self, name)
            if not 0 <= p <= 1:
                raise ValueError(f"View: {name} must be a probability, got {p}")
        if not 0 <= self.erase_side <= 1:
            raise ValueError(
                f"View: erase_side must be a fraction of the side, got {self.erase_side}"
            )
        for name in ("area", "erase_area"):
            low, high = getattr(self, name) or (1, 1)
            if not 0 < low <= high <= 1:
                raise ValueError(
                    f"View: {name} must be a range in (0, 1], got {(low, high)}"
                )
        for name, allowed in (
            ("method", KERNELS),
            ("pad_mode", PAD_MODES),
            ("jitter_style", STYLES),
            ("blur_border", BORDERS),
        ):
            given = getattr(self, name)
            if given not in allowed:
                raise ValueError(f"View: {name} must be one of {[*allowed]}, got {given!r}")
        if self.pad != int(self.pad) or self.pad < 0:
            raise ValueError(f"View: pad must be whole pixels >= 0, got {self.pad}")
        if self.pad and self.shift:
            raise ValueError(
                f"View: pad shifts by whole pixels, shift by fractions: set one of them to "
                f"0, got pad={self.pad}, shift={self.shift}"
            )
        if sorted(self.order) != sorted(ORDER):
            raise ValueError(
                f"View: order must hold each of {ORDER} once, got {self.order}"
            )

    def __call__(
        self, key: PRNGKeyArray, images: Images | Crops, axis_name: str | None = None
    ) -> Shaped[Array, "n S S c"]:
        """A view of each image, [n, h, w, c] -> [n, size, size, c], without gradients.

        Args:
          key: random key, split over the images.
          images: float, in [0, 1]; or crops [n, 1, h, w, c], as in `multi_view`.
          axis_name: under `pmap` and `shard_map`, the axis over which the batch is
            sharded; the result equals that of the whole batch on one device.

        Raises:
          ValueError: if the images are not float [n, h, w, c] or [n, 1, h, w, c].
        """
        (view,), images = _seen("View", (self,), images)
        keys = image_keys(key, len(images), axis_name)
        return _look(view, keys[:, None], images)[:, 0]

    def one(
        self, key: PRNGKeyArray, image: Shaped[Array, "h w c"]
    ) -> Shaped[Array, "S S c"]:
        """A view of one image, [h, w, c] -> [size, size, c]."""
        pixels = None
        if self.noise or self.randaugment or self.erase_fill == "noise":
            key, pixels = jax.random.split(key)
        # All random numbers except pixel noise are drawn at once: on CPU the overhead of a
        # call of the random generator exceeds the cost of the numbers.
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
        """{name: (probability, function of image, uniform numbers and key)}."""
        return {
            "move": (bool(self.rotate or self.shift or self.pad), self._move),
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
        if self.rotate or self.shift:
            most = jnp.array([self.rotate, self.shift, self.shift], jnp.float32)
            x = affine(x, motion(*(most * (2 * u - 1))), self.fill)
        if self.pad:
            corner = jnp.floor((2 * self.pad + 1) * u[1:]).astype(jnp.int32)
            x = pad_crop(x, corner, self.pad, self.pad_mode, self.fill)
        return x

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
        # Bicubic weights can be negative; uint8 images would be clipped, too.
        return jnp.clip(x, 0, 1) if self.method == "bicubic" else x

    def _randaugment(self, x, _, key):
        return rand_augment(jax.random.fold_in(key, 0), x, *self.randaugment)  # type: ignore[misc]

    def _jitter(self, x, u, _):
        return jitter_from(u, x, self.strength, self.jitter_order, self.jitter_style)

    def _blur(self, x, u, _):
        low, high = self.sigma
        # 23 taps at 224 pixels, 3 at 32.
        radius = self.blur_radius
        if radius is None:
            radius = max(1, self.size // 20)
        return gaussian_blur(x, low + (high - low) * u[0], radius, self.blur_border)

    def _noise(self, x, _, key):
        noise = jax.random.normal(jax.random.fold_in(key, 1), x.shape, x.dtype)
        return jnp.clip(x + self.noise * noise, 0, 1)

    def _normalize(self, x, *_):
        return normalize(x, *self.statistics)  # type: ignore[misc]

    def _erase(self, x, u, key):
        fill = self.erase_fill
        if fill == "noise":
            fill = jax.random.normal(jax.random.fold_in(key, 2), x.shape, x.dtype)
        if self.erase_side:
            box = square_from(u, x.shape[:2], round(self.erase_side * self.size))
        else:
            box = box_from(u, x.shape[:2], self.erase_area, ERASE_RATIO)
        return erase(x, box, fill)  # type: ignore[arg-type]


def multi_crop(
    key: PRNGKeyArray,
    images: Images | Crops,
    views: Sequence[View],
    axis_name: str | None = None,
) -> list[Shaped[Array, "n _ _ c"]]:
    """A list of views of a batch, [n, S_v, S_v, c] each, which may differ in size.

    >>> large, small = View(size=4), View(size=2, area=(0.1, 0.4))
    >>> x = multi_crop(jax.random.key(0), jnp.ones((5, 4, 4, 3)), (large, small, small))
    >>> [v.shape for v in x]
    [(5, 4, 4, 3), (5, 2, 2, 3), (5, 2, 2, 3)]
    """
    groups = _groups("multi_crop", key, images, views, axis_name)
    return [x[:, i] for x in groups for i in range(x.shape[1])]


def multi_size(
    key: PRNGKeyArray,
    images: Images | Crops,
    views: Sequence[View],
    axis_name: str | None = None,
) -> tuple[Shaped[Array, "n _ S S c"], ...]:
    """The views of `multi_crop`, stacked on axis 1 in groups of one size, in their order.

    A method folds each group into the batch axis, for one pass of the network per size. If
    all views have the same size there is one group.

    >>> large, small = View(size=4), View(size=2, area=(0.1, 0.4))
    >>> x = multi_size(jax.random.key(0), jnp.ones((5, 4, 4, 3)), (large, large, small))
    >>> [group.shape for group in x]
    [(5, 2, 4, 4, 3), (5, 1, 2, 2, 3)]
    """
    parts = _groups("multi_size", key, images, views, axis_name)
    sized = itertools.groupby(parts, key=lambda x: x.shape[2:])
    return tuple(jnp.concatenate([*same], axis=1) for _, same in sized)


def multi_view(
    key: PRNGKeyArray,
    images: Images | Crops,
    views: Sequence[View],
    axis_name: str | None = None,
) -> Shaped[Array, "n V S S c"] | list[Shaped[Array, "n _ _ c"]]:
    """Views of a batch stacked on axis 1, [n, V, S, S, c], if all have the same size.

    In this layout, reshaping the views into the batch axis keeps those of an image
    together and needs no communication for a sharded batch. If sizes differ, returns the
    list of `multi_crop`.

    Args:
      key: random key, folded with the index of the view, then split over the images.
      images: float [n, h, w, c], in [0, 1]; or a crop for each view, [n, V, h, w, c], cut
        as `crop_of(views)` states: view i is then that of crops[:, i] without its own
        crop, and without resizing where the size fits.
      views: the views to apply, such as `recipe("byol")`.
      axis_name: under `pmap` and `shard_map`, the axis over which the batch is sharded.

    Raises:
      ValueError: if the images are not float [n, h, w, c] or [n, V, h, w, c], if there are
        no views, if they are more than twice as large as the images, or if a step before
        the crop makes crops cut in advance impossible.

    >>> views = (View(size=4, area=(0.2, 1.0)), View(size=4, flip=0.5))
    >>> multi_view(jax.random.key(0), jnp.ones((5, 4, 4, 3)), views).shape
    (5, 2, 4, 4, 3)
    """
    if len({view.size for view in views}) > 1:
        return multi_crop(key, images, views, axis_name)
    groups = _groups("multi_view", key, images, views, axis_name)
    return jnp.concatenate(groups, axis=1)


def crop_of(
    views: Sequence[View],
) -> tuple[int, int, tuple[float, float], tuple[float, float], str]:
    """The random resized crops that the views share: (count, size, area, ratio, filter).

    A loader can cut them from the whole photograph; `multi_view` applies the rest of the
    views to them.

    Returns:
      Crops of each image, one for each view; their side in pixels; the range of their area
      as fractions of the image; that of width / height; "bilinear" or "bicubic".

    Raises:
      ValueError: if there are no views, if a view has no random crop or a step before it,
        or if the views differ in size, area, ratio or interpolation.

    >>> crop_of((View(size=32, area=(0.2, 1.0), ratio=(1.0, 1.0)),) * 2)
    (2, 32, (0.2, 1.0), (1.0, 1.0), 'bilinear')
    """
    if not views:
        raise ValueError("crop_of: views must hold at least one View")
    specs = set()
    for view in views:
        _without_crop("crop_of", view)
        if view.area is None:
            raise ValueError(
                f"crop_of: a View without area has no random crop: pass area=(low, high), "
                f"got View(size={view.size}, area=None)"
            )
        specs.add((view.size, view.area, view.ratio, view.method))
    if len(specs) > 1:
        raise ValueError(
            f"crop_of: views must share size, area, ratio and method, got {sorted(specs)}: "
            f"crop multi-crop views on the device"
        )
    return len(views), *specs.pop()


def _without_crop(function, view):
    """The view of an image that has been cropped."""
    earlier = view.order[: view.order.index("crop")]
    moved = [name for name in earlier if view._steps[name][0]]
    if view.area is not None and moved:
        raise ValueError(
            f"{function}: this View has {', '.join(moved)} before its crop, so that the "
            f"crop cannot be cut in advance: crop on the device, or change its order"
        )
    return replace(view, area=None)


def _seen(function, views, images):
    """Views and images after checks; for crops, the views without their crops."""
    if jnp.ndim(images) != 5:
        return views, float_images(function, images)
    images = float_images(function, images, "n v h w c")
    if images.shape[1] != len(views):
        raise ValueError(
            f"{function}: {len(views)} views need as many crops of each image, got "
            f"{images.shape[1]}, crops {list(images.shape)}: cut them by crop_of(views)"
        )
    return tuple(_without_crop(function, view) for view in views), images


def _groups(function, key, images, views, axis_name):
    """[n, k, S, S, c] for each run of k equal consecutive views, compiled as one."""
    if not views:
        raise ValueError(f"{function}: views must hold at least one View")
    views, images = _seen(function, views, images)
    size, side = max(view.size for view in views), max(images.shape[-3:-1])
    if size > 2 * side:
        raise ValueError(
            f"{function}: views of {size} pixels would enlarge images of {side} more than "
            f"twice: pass size={side}, as in recipe(name, size={side}), or resize them"
        )
    views_keys = jax.vmap(lambda v: jax.random.fold_in(key, v))(jnp.arange(len(views)))
    keys = jax.vmap(lambda key: image_keys(key, len(images), axis_name), out_axes=1)(
        views_keys
    )  # [n, V]
    groups = []
    for view, run in itertools.groupby(range(len(views)), key=views.__getitem__):
        indices = [*run]
        part = slice(indices[0], indices[-1] + 1)
        seen = images[:, part] if images.ndim == 5 else images
        groups.append(_look(view, keys[:, part], seen))
    return groups


@partial(jax.jit, static_argnames="view")
def _look(view, keys, images):
    """Views [n, k, S, S, c] of n images, or of k crops of each, for keys [n, k].

    Jitted for eager callers.
    """
    each = jax.vmap(view.one, in_axes=(0, 0 if images.ndim == 5 else None))
    return lax.stop_gradient(jax.vmap(each)(keys, images))
