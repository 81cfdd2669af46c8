"""Pooling and upsampling of feature maps, and resizing of images, [n, h, w, c]."""

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, PRNGKeyArray

from jssl.ops.shapes import expect


def max_cells(maps: Float[Array, "n h w c"], side: int) -> Float[Array, "n s s c"]:
    r"""Adaptive max pooling to side x side cells that cover a map.

    .. math:: \text{rows of cell } i: \; \lfloor i h / s \rfloor \text{ to }
              \lceil (i + 1) h / s \rceil

    and likewise for columns: where s does not divide h, neighboring cells share a row.

    He et al. 2014, "Spatial Pyramid Pooling". https://arxiv.org/abs/1406.4729

    Raises:
      ValueError: when the maps are not float[n, h, w, c] or smaller than side x side.

    >>> maps = jnp.array([[1.0, 5.0, 2.0], [0.0, 3.0, 4.0], [9.0, 8.0, 7.0]])
    >>> max_cells(maps[None, :, :, None], 2)[0, :, :, 0].tolist()  # rows 0, 1 and 1, 2
    [[5.0, 5.0], [9.0, 8.0]]
    """
    sizes = expect("max_cells", maps=(maps, "n h w c"))
    if not 1 <= side <= min(sizes["h"], sizes["w"]):
        raise ValueError(
            f"max_cells: side must be 1 to {min(sizes['h'], sizes['w'])}, got {side}"
        )

    def largest(x, axis):
        size = x.shape[axis]
        cells = ((i * size // side, -(-(i + 1) * size // side)) for i in range(side))
        return jnp.stack(
            [jnp.take(x, jnp.arange(*cell), axis).max(axis) for cell in cells], axis
        )

    return largest(largest(maps, 1), 2)


def doubled(
    maps: Float[Array, "n h w c"], kernel: Float[Array, "k k c d"]
) -> Float[Array, "n h2 w2 d"]:
    r"""Transposed convolution of stride 2, which doubles the height and width of a map.

    .. math:: y_t = \sum_j k_j u_{t + j - 2}, \qquad u_{2 m} = x_m, \; u_{2 m + 1} = 0

    along either axis, for kernels of side 3 to 5. With sides 4 and 5 it is the gradient of
    a convolution of stride 2 and padding 1 and 2 with the flipped kernel: torch's
    ConvTranspose2d(4, 2, 1) and (5, 2, 2, output_padding=1).

    Each of the four phases of y is an ordinary 3 x 3 convolution of x, and they are
    computed together: on CPU the gradients take at most half the time of those through a
    convolution of zero-interleaved maps.

    Dumoulin and Visin 2016, section 4. https://arxiv.org/abs/1603.07285; Shi et al. 2016,
    https://arxiv.org/abs/1609.07009

    Raises:
      ValueError: when shapes do not fit, or the kernel's side is not 3 to 5.

    >>> maps = jnp.array([1.0, 10.0])[None, None, :, None]    # a row of two
    >>> kernel = jnp.zeros((4, 4, 1, 1)).at[2].set(jnp.arange(1.0, 5)[:, None, None])
    >>> doubled(maps, kernel)[0, 0, :, 0].tolist()    # 3 1, 2 1 + 4 10, 1 1 + 3 10, 2 10
    [3.0, 42.0, 31.0, 20.0]
    """
    sizes = expect("doubled", maps=(maps, "n h w c"), kernel=(kernel, "k k c d"))
    n, h, w, c, k, d = (sizes[x] for x in "nhwckd")
    if not 3 <= k <= 5:
        raise ValueError(f"doubled: the kernel's side must be 3 to 5, got {k}")
    grown = jnp.pad(kernel, [(1, 5 - k)] * 2 + [(0, 0)] * 2)
    taps = grown.reshape(3, 2, 3, 2, c, d)[:, ::-1, :, ::-1]  # even outputs use odd taps
    phases = lax.conv_general_dilated(
        maps,
        taps.transpose(0, 2, 4, 1, 3, 5).reshape(3, 3, c, 4 * d),
        (1, 1),
        "SAME",
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )
    phases = phases.reshape(n, h, w, 2, 2, d).transpose(0, 1, 3, 2, 4, 5)
    return phases.reshape(n, 2 * h, 2 * w, d)


def pixel_shuffle(maps: Float[Array, "n h w k"], factor: int) -> Float[Array, "n H W c"]:
    r"""Rearranges channels into space: [n, h, w, r^2 c] -> [n, r h, r w, c].

    .. math:: y_{r i + a, \; r j + b, \; q} = x_{i, \; j, \; r^2 q + r a + b}

    the order of torch's PixelShuffle; TensorFlow's depth_to_space has channel (r a + b) c +
    q. Shi et al. 2016. https://arxiv.org/abs/1609.05158

    Raises:
      ValueError: when the maps are not float[n, h, w, k], or r^2 does not divide k.

    >>> pixel_shuffle(jnp.arange(4.0).reshape(1, 1, 1, 4), 2)[0, :, :, 0].tolist()
    [[0.0, 1.0], [2.0, 3.0]]
    """
    sizes = expect("pixel_shuffle", maps=(maps, "n h w k"))
    n, h, w, k = (sizes[x] for x in "nhwk")
    if factor < 1 or k % factor**2:
        raise ValueError(
            f"pixel_shuffle: channels must be a multiple of {factor}^2, got {k}"
        )
    cells = maps.reshape(n, h, w, k // factor**2, factor, factor)
    shape = n, h * factor, w * factor, k // factor**2
    return cells.transpose(0, 1, 4, 2, 5, 3).reshape(shape)


def pixel_unshuffle(
    images: Float[Array, "n H W c"], factor: int
) -> Float[Array, "n h w k"]:
    r"""Rearranges space into channels, the inverse of `pixel_shuffle`.

    Raises:
      ValueError: when the images are not float[n, h, w, c], or r does not divide h and w.

    >>> x = jnp.arange(8.0).reshape(1, 2, 1, 4)
    >>> pixel_unshuffle(pixel_shuffle(x, 2), 2).tolist() == x.tolist()
    True
    """
    sizes = expect("pixel_unshuffle", images=(images, "n h w c"))
    n, h, w, c = (sizes[x] for x in "nhwc")
    _divides("pixel_unshuffle", factor, h, w)
    cells = images.reshape(n, h // factor, factor, w // factor, factor, c)
    shape = n, h // factor, w // factor, c * factor**2
    return cells.transpose(0, 1, 3, 5, 2, 4).reshape(shape)


def bicubic_shrink(images: Float[Array, "n H W c"], factor: int) -> Float[Array, "n h w c"]:
    """Downsamples images in [0, 1] by the bicubic kernel, widened against aliasing.

    Keys's kernel with a = -1/2, as MATLAB's imresize, the degradation of super-resolution
    (Ledig et al. 2017, section 3). https://arxiv.org/abs/1609.04802

    Raises:
      ValueError: when the images are not float[n, h, w, c], or `factor` does not divide
        height and width.

    >>> bicubic_shrink(jnp.full((1, 4, 4, 1), 0.5), 2)[0, :, :, 0].tolist()
    [[0.5, 0.5], [0.5, 0.5]]
    """
    sizes = expect("bicubic_shrink", images=(images, "n h w c"))
    _divides("bicubic_shrink", factor, sizes["h"], sizes["w"])
    n, h, w, c = images.shape
    shape = n, h // factor, w // factor, c
    return jnp.clip(jax.image.resize(images, shape, "bicubic"), 0, 1)


def box_shrink(images: Float[Array, "n H W c"], factor: int) -> Float[Array, "n h w c"]:
    """Downsamples images to the means of cells of factor x factor pixels.

    Raises:
      ValueError: when the images are not float[n, h, w, c], or `factor` does not divide
        height and width.

    >>> box_shrink(jnp.arange(4.0).reshape(1, 2, 2, 1), 2).item()
    1.5
    """
    sizes = expect("box_shrink", images=(images, "n h w c"))
    n, h, w, c = (sizes[x] for x in "nhwc")
    _divides("box_shrink", factor, h, w)
    cells = images.reshape(n, h // factor, factor, w // factor, factor, c)
    return cells.mean((2, 4))


def random_shrink(
    key: PRNGKeyArray, images: Float[Array, "n H W c"], factor: int
) -> Float[Array, "n h w c"]:
    """Downsamples each image by one of three kernels: bicubic, triangular or a box.

    The first two are widened against aliasing. Of one kernel alone a network may learn the
    inverse, without regard of what the image shows.

    Raises:
      ValueError: when the images are not float[n, h, w, c], or `factor` does not divide
        height and width.

    >>> gray = jnp.full((1, 4, 4, 1), 0.5)
    >>> random_shrink(jax.random.key(0), gray, 2)[0, :, :, 0].tolist()
    [[0.5, 0.5], [0.5, 0.5]]
    """
    small = [bicubic_shrink(images, factor), box_shrink(images, factor)]
    small.append(jax.image.resize(images, small[0].shape, "linear"))
    chosen = jax.random.randint(key, (len(images), 1, 1, 1), 0, len(small))
    return jnp.select([chosen == i for i in range(len(small))], small)


def bicubic_enlarge(
    images: Float[Array, "n h w c"], factor: int
) -> Float[Array, "n H W c"]:
    """Upsamples images in [0, 1] by bicubic interpolation, of Keys's kernel with a = -1/2.

    Raises:
      ValueError: when the images are not float[n, h, w, c].

    >>> bicubic_enlarge(jnp.full((1, 2, 2, 1), 0.5), 2).shape
    (1, 4, 4, 1)
    """
    expect("bicubic_enlarge", images=(images, "n h w c"))
    n, h, w, c = images.shape
    shape = n, h * factor, w * factor, c
    return jnp.clip(jax.image.resize(images, shape, "bicubic"), 0, 1)


def _divides(function, factor, h, w):
    if factor < 1 or h % factor or w % factor:
        raise ValueError(
            f"{function}: height and width must be multiples of {factor}, got {h} x {w}"
        )
