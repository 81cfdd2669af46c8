"""Augmentation recipes of published methods: `recipe("byol")` gives BYOL's two views.

Each `View` is one row of the published tables, in the authors' order of operations and at
their image size; `recipe("simclr", size=96)` changes a field of every view. Interpolation
is that of the released code; where images are shrunk to 224 pixels it is with antialiasing,
also for SimCLR and BYOL, whose released code has none.

Recipes have the normalization of their released code: ImageNet's for MoCo, NPID, SimSiam,
BYOL, Barlow Twins, VICReg, SwAV (a deviation of 0.228 for 0.229), DINO, iBOT, DINOv2,
I-JEPA and MAE, CIFAR-10's for MoCo, W-MSE, RotNet and Mean Teacher, Lab's for CMC, and
[-1, 1] for MixMatch and FixMatch. SimCLR has none; VAT, and Mean Teacher with its
convolutional network, have images whitened in advance. On CIFAR-10 BYOL, Barlow Twins,
VICReg and SwAV, which have no code of their authors for it, have those of solo-learn;
SimSiam has CIFAR-10's statistics in place of ImageNet's. `prepare` of the method must
normalize alike; `statistics=None` omits the normalization.

The recipes for 28 x 28 gray images are our own: larger crops (small ones contain only a
stroke), only brightness and contrast jitter, and for digits, which have no mirror
symmetry, small rotations and shifts instead of flips.
"""

import difflib
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from jssl.views.color import (
    CIFAR10,
    CIFAR10_PIXELS,
    IMAGENET,
    IMAGENET_SWAV,
    LAB,
    Statistics,
)
from jssl.views.randaugment import BLENDS, WARPS, RandAugment
from jssl.views.view import ORDER, View, multi_view

# SimCLR: Chen et al., 2020, https://arxiv.org/abs/2002.05709; v2: Chen et al., 2020,
# https://arxiv.org/abs/2006.10029, with multiplicative brightness. Not normalized.
_SIMCLR = View(
    size=224, area=(0.08, 1.0), method="bicubic", antialias=True, flip=0.5,
    jitter=0.8, strength=(0.8, 0.8, 0.8, 0.2), jitter_style="tensorflow",
    gray=0.2, blur=0.5,
)  # fmt: skip
_SIMCLR_CIFAR = replace(
    _SIMCLR, size=32, antialias=False, strength=(0.4, 0.4, 0.4, 0.1), blur=0.0,
    jitter_style="simclr_v2",  # the default of the released code
)  # fmt: skip
# The same in torchvision, with Pillow's blur, of any radius.
_TORCHVISION: dict[str, Any] = dict(
    jitter_style="torchvision", blur_border="edge", blur_radius=11, statistics=IMAGENET
)

# MoCo v2: Chen et al., 2020, https://arxiv.org/abs/2003.04297; SimSiam's are the same.
_MOCO_V2 = replace(
    _SIMCLR, area=(0.2, 1.0), method="bilinear", strength=(0.4, 0.4, 0.4, 0.1),
    **_TORCHVISION,
)  # fmt: skip
# NPID: Wu et al., 2018, https://arxiv.org/abs/1805.01978: grayscale before jitter, a hue
# shift of up to 0.4, and every image is jittered; MoCo v1's are the same.
_MOCO_V1 = replace(
    _MOCO_V2, jitter=1.0, strength=(0.4, 0.4, 0.4, 0.4), blur=0.0,
    order=(
        "move", "crop", "gray", "jitter", "flip", "randaugment", "blur", "solarize",
        *ORDER[ORDER.index("noise") :],
    ),
)  # fmt: skip
_SIAMESE_CIFAR = replace(
    _SIMCLR_CIFAR, area=(0.2, 1.0), method="bilinear", jitter_style="torchvision",
    statistics=CIFAR10,
)  # fmt: skip

# BYOL: Grill et al., 2020, https://arxiv.org/abs/2006.07733: two different views.
_BYOL_1 = replace(_SIMCLR, strength=(0.4, 0.4, 0.2, 0.1), blur=1.0, statistics=IMAGENET)
_BYOL = (_BYOL_1, replace(_BYOL_1, blur=0.1, solarize=0.2))
# Barlow Twins: Zbontar et al., 2021, https://arxiv.org/abs/2103.03230: BYOL's views by
# torchvision; VICReg, MoCo v3 and DINO have the same.
_BARLOW = tuple(replace(view, **_TORCHVISION) for view in _BYOL)
# BYOL, Barlow Twins and VICReg on CIFAR-10 by solo-learn:
# https://github.com/vturrisi/solo-learn
_SOLO = replace(
    _BYOL_1, size=32, antialias=False, blur=0.0, jitter_style="torchvision",
    statistics=CIFAR10_PIXELS,
)  # fmt: skip
_SOLO_CIFAR = (_SOLO, replace(_SOLO, solarize=0.2))
_VICREG_CIFAR = replace(_SOLO, area=(0.2, 1.0), solarize=0.1)

# SwAV: Caron et al., 2020, https://arxiv.org/abs/2006.09882: OpenCV's blur of 23 taps.
_SWAV = replace(
    _SIMCLR, area=(0.14, 1.0), method="bilinear", jitter_style="torchvision",
    blur_border="reflect", blur_radius=11, statistics=IMAGENET_SWAV,
)  # fmt: skip
_SWAV_LOCAL = replace(_SWAV, size=96, area=(0.05, 0.14))
# SwAV on CIFAR-10 by solo-learn: strong colors and Pillow's blur, no small crops.
_SWAV_CIFAR = replace(
    _SOLO, strength=(0.8, 0.8, 0.8, 0.2), blur=0.5, blur_border="edge", blur_radius=11
)

# LeJEPA: Balestriero and LeCun, 2025, https://arxiv.org/abs/2511.08544: one set of colors,
# and a blur of 7 taps. Small crops of 98 pixels, for patches of 14.
_LEJEPA = replace(
    _SIMCLR, area=(0.3, 1.0), method="bilinear", strength=(0.4, 0.4, 0.2, 0.1),
    jitter_style="torchvision", blur_border="reflect", blur_radius=3, solarize=0.2,
    statistics=IMAGENET,
)  # fmt: skip
_LEJEPA_LOCAL = replace(_LEJEPA, size=98, area=(0.05, 0.3))
# The same four times for Imagenette, by the released example.
_LEJEPA_EXAMPLE = replace(_LEJEPA, area=(0.08, 1.0), strength=(0.8, 0.8, 0.8, 0.2))


# DINO: Caron et al., 2021, https://arxiv.org/abs/2104.14294
def _dino(large: tuple[float, float], small: tuple[float, float] | None, count: int = 8):
    views = tuple(replace(view, area=large) for view in _BARLOW)
    if small is None:
        return views
    return views + (replace(_BARLOW[0], size=96, area=small, blur=0.5),) * count


# W-MSE: Ermolov et al., 2021, https://arxiv.org/abs/2007.06346: colors before the crop.
_WMSE = replace(
    _SIMCLR_CIFAR, area=(0.2, 1.0), gray=0.1, jitter_style="torchvision",
    statistics=CIFAR10,
    order=("move", "jitter", "gray", "crop", "flip", "randaugment", *ORDER[6:]),
)  # fmt: skip
# I-JEPA: Assran et al., 2023, https://arxiv.org/abs/2301.08243: one view, no flip.
_IJEPA = View(size=224, area=(0.3, 1.0), antialias=True, statistics=IMAGENET)
# CMC: Tian et al., 2020, https://arxiv.org/abs/1906.05849: L and ab are the two views.
_CMC = View(size=224, area=(0.08, 1.0), antialias=True, flip=0.5, lab=True, statistics=LAB)
# MAE: He et al., 2022, https://arxiv.org/abs/2111.06377
_MAE = View(
    size=224, area=(0.2, 1.0), method="bicubic", antialias=True, flip=0.5,
    statistics=IMAGENET,
)  # fmt: skip
_MAE_FINETUNE = replace(
    _MAE, area=(0.08, 1.0), randaugment=(2, 9.0, 0.5), erase=0.25, erase_fill="noise"
)

# Shifts by whole pixels, CIFAR-10. RotNet: Gidaris et al., 2018,
# https://arxiv.org/abs/1803.07728: black border.
_ROTNET = View(size=32, pad=4, flip=0.5, statistics=CIFAR10_PIXELS)
# MixMatch: Berthelot et al., 2019, https://arxiv.org/abs/1905.02249: pixels in [-1, 1].
_MIXMATCH = View(
    size=32, pad=4, pad_mode="reflect", flip=0.5, statistics=Statistics((0.5,), (0.5,))
)
# Mean Teacher: Tarvainen and Valpola, 2017, https://arxiv.org/abs/1703.01780: the ResNet;
# the network of 13 layers has shifts of 2 pixels of whitened images.
_MEAN_TEACHER = replace(_MIXMATCH, statistics=CIFAR10_PIXELS)
_MEAN_TEACHER_CONVNET = replace(_MIXMATCH, pad=2, statistics=None)
# VAT: Miyato et al., 2019, https://arxiv.org/abs/1704.03976: the border is 0, which is the
# mean of whitened images.
_VAT = View(size=32, pad=2, flip=0.5)
# FixMatch: Sohn et al., 2020, https://arxiv.org/abs/2001.07685: a weak and a strong view.
# Magnitudes are uniform in [0, 10], in the released code whole numbers from 1 to 9.
_FIXMATCH = (
    _MIXMATCH,
    replace(
        _MIXMATCH, erase=1.0, erase_side=0.5,
        randaugment=RandAugment(
            2, 10.0, math.inf, translate=10 / 32,
            operations=("identity", *WARPS, *BLENDS, "autocontrast", "equalize",
                        "posterize", "solarize"),
        ),
    ),
)  # fmt: skip
# The same for gray digits: no flip, no tones (most of which turn a black ground gray or
# white), warps that leave the digit in the image, and a smaller square.
_WEAK_DIGITS = View(size=28, shift=2.0)
_FIXMATCH_DIGITS = (
    _WEAK_DIGITS,
    replace(
        _WEAK_DIGITS, erase=1.0, erase_side=0.35,
        randaugment=RandAugment(
            2, 6.0, math.inf, fill=0.0, probability=1.0,
            operations=(*WARPS, "contrast", "brightness", "sharpness"),
        ),
    ),
)  # fmt: skip

_GARMENTS = View(
    size=28, area=(0.3, 1.0), flip=0.5, jitter=0.8, strength=(0.4, 0.4, 0.0, 0.0),
    blur=0.3, sigma=(0.1, 1.0), erase_area=(0.05, 0.2),
)  # fmt: skip
_DIGITS = replace(_GARMENTS, flip=0.0, rotate=15.0, shift=3.0)
# Color pictures of 32 to 64 pixels: SimCLR's for CIFAR-10, with the milder crops that
# small data need (MoCo v2, SimSiam), and a small blur in place of none.
_PHOTOS = replace(_SIAMESE_CIFAR, blur=0.3, sigma=(0.1, 1.0), statistics=None)


def _multicrop(view: View):
    """Multi-crop for small images: two large crops, and two small ones at half the size."""
    small = replace(view, size=view.size // 2, area=(0.1, 0.4))
    return (replace(view, area=(0.4, 1.0)),) * 2 + (small,) * 2


RECIPES: dict[str, tuple[View, ...]] = {
    "simclr": (_SIMCLR,) * 2,
    "simclr_v2": (replace(_SIMCLR, jitter_style="simclr_v2"),) * 2,
    "simclr_cifar": (_SIMCLR_CIFAR,) * 2,
    "npid": (_MOCO_V1,),
    "moco_v1": (_MOCO_V1,) * 2,
    "moco_v2": (_MOCO_V2,) * 2,
    "moco_v3": tuple(replace(v, method="bilinear") for v in _BARLOW),
    "moco_v3_resnet": tuple(
        replace(v, method="bilinear", area=(0.2, 1.0)) for v in _BARLOW
    ),
    "moco_cifar": (_SIAMESE_CIFAR,) * 2,
    "simsiam": (_MOCO_V2,) * 2,
    "simsiam_cifar": (_SIAMESE_CIFAR,) * 2,
    "byol": _BYOL,
    "byol_cifar": _SOLO_CIFAR,
    "barlow_twins": _BARLOW,
    "barlow_twins_cifar": _SOLO_CIFAR,
    "vicreg": _BARLOW,
    "vicreg_cifar": (_VICREG_CIFAR,) * 2,
    "swav": (_SWAV,) * 2 + (_SWAV_LOCAL,) * 6,
    "swav_cifar": (_SWAV_CIFAR,) * 2,
    "dino": _dino((0.4, 1.0), (0.05, 0.4)),
    "dino_resnet": _dino((0.14, 1.0), (0.05, 0.14)),
    "dino_two_views": _dino((0.14, 1.0), None),
    "ibot": _dino((0.4, 1.0), (0.05, 0.4)),
    "ibot_small": _dino((0.25, 1.0), (0.05, 0.25), 10),  # of ViT-S
    "lejepa": (_LEJEPA,) * 2 + (_LEJEPA_LOCAL,) * 6,
    "lejepa_imagenette": (_LEJEPA_EXAMPLE,) * 4,
    "dinov2": _dino((0.32, 1.0), (0.05, 0.32)),
    "wmse": (_WMSE,) * 2,
    "ijepa": (_IJEPA,),
    "cmc": (_CMC,),
    "cmc_alexnet": (replace(_CMC, area=(0.2, 1.0)),),
    "mae": (_MAE,),
    "mae_finetune": (_MAE_FINETUNE,),
    "rotnet": (_ROTNET,),
    "mixmatch": (_MIXMATCH,),
    "mean_teacher": (_MEAN_TEACHER,),
    "mean_teacher_convnet": (_MEAN_TEACHER_CONVNET,),
    "vat": (_VAT,),
    "fixmatch": _FIXMATCH,
    "fixmatch_digits": _FIXMATCH_DIGITS,
    "digits": (_DIGITS,) * 2,
    "garments": (_GARMENTS,) * 2,
    "photos": (_PHOTOS,) * 2,
    "digits_multicrop": _multicrop(_DIGITS),
    "garments_multicrop": _multicrop(_GARMENTS),
    "cifar_multicrop": _multicrop(replace(_SIMCLR_CIFAR, jitter_style="torchvision")),
}


def recipe(name: str, **changes: Any) -> tuple[View, ...]:
    """The views of a method by name; `changes` replace fields of every view.

    Raises:
      ValueError: if the name is not in `RECIPES`; the closest one is suggested.
      TypeError: if `View` has no such field.

    >>> [view.solarize for view in recipe("byol")]
    [0.0, 0.2]
    >>> recipe("simclr", size=96)[0].size
    96
    """
    if name not in RECIPES:
        close = difflib.get_close_matches(name, RECIPES, n=1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise ValueError(f"recipe: no {name!r} among {sorted(RECIPES)}{hint}")
    return tuple(replace(view, **changes) for view in RECIPES[name])


def resized(
    views: Sequence[View], size: int, patch: int = 1, **changes: Any
) -> tuple[View, ...]:
    """Views for another image size, the large ones `size`, others in proportion.

    Args:
      views: such as those of a multi-crop recipe.
      size: side in pixels of the largest view.
      patch: of which every side is a multiple, the nearest one.
      changes: further fields of every view.

    Raises:
      ValueError: if small views would be as large as the large ones.

    >>> [view.size for view in resized(recipe("swav"), 112, patch=16)]
    [112, 112, 48, 48, 48, 48, 48, 48]
    """
    largest = max(view.size for view in views)

    def side(view):
        return max(round(view.size * size / largest / patch), 1) * patch

    found = tuple(replace(view, size=side(view), **changes) for view in views)
    if len({view.size for view in found}) < len({view.size for view in views}):
        raise ValueError(
            f"resized: patches of {patch} leave no smaller size for small views of images "
            f"of {size} pixels: use smaller patches, or a recipe without small views"
        )
    return found


def augment(name: str, **changes: Any) -> Callable:
    """(key, batch) -> views of its images, [n, views, size, size, c], by a recipe's name.

    Args and errors are those of `recipe`. The views must be of one size. If the batch has
    "crops", [n, views, h, w, c], they take the place of the views' own crops (`on`).
    """
    return on(partial(multi_view, views=recipe(name, **changes)))


def on(view: Callable, field: str = "image") -> Callable:
    """A view of arrays as a function of a batch: (key, batch) -> view(key, batch[field]).

    Crops that a loader cut from the whole images, batch["crops"] of shape
    [n, views, h, w, c], are taken in place of batch["image"]: `View` and `multi_view` then
    omit their own crop.

    >>> on(lambda key, images: images[::-1])(None, {"image": "ab", "label": 1})
    'ba'
    """

    def look(key, batch):
        cropped = field == "image" and "crops" in batch
        return view(key, batch["crops" if cropped else field])

    return look
