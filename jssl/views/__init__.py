"""Image augmentations: pure functions (key, images) -> images that run on the device.

`recipe("simclr")` gives the augmentations of a paper, `View` configures one, `multi_view`
applies several to images, `augment` and `on` make functions of a batch, as methods take
them; operations on single images are also available. Images are
float [n, h, w, c] in [0, 1], and the key is the first argument of random functions.
"""

from jssl.ops.hsv import hsv_to_rgb, rgb_to_hsv
from jssl.ops.lab import rgb_to_lab
from jssl.views.color import (
    CIFAR10,
    CIFAR10_PIXELS,
    IMAGENET,
    IMAGENET_SWAV,
    LAB,
    Statistics,
    brightness,
    color_jitter,
    contrast,
    denormalize,
    gaussian_blur,
    grayscale,
    hue,
    normalize,
    saturation,
    solarize,
)
from jssl.views.flow import centered_flow, flow_hflip, flow_time_flip
from jssl.views.geometry import (
    affine,
    center_crop,
    crop_resize,
    hflip,
    motion,
    pad_crop,
    random_erase,
    rotate,
    rrc_box,
    shift,
)
from jssl.views.mixing import cutmix, mixup, mixup_or_cutmix
from jssl.views.randaugment import RandAugment, rand_augment
from jssl.views.recipes import RECIPES, augment, on, recipe, resized
from jssl.views.view import (
    View,
    crop_of,
    multi_crop,
    multi_size,
    multi_view,
    of_clips,
)

__all__ = [
    "CIFAR10",
    "CIFAR10_PIXELS",
    "IMAGENET",
    "IMAGENET_SWAV",
    "LAB",
    "RECIPES",
    "RandAugment",
    "Statistics",
    "View",
    "affine",
    "augment",
    "brightness",
    "center_crop",
    "centered_flow",
    "color_jitter",
    "contrast",
    "crop_of",
    "crop_resize",
    "cutmix",
    "denormalize",
    "flow_hflip",
    "flow_time_flip",
    "gaussian_blur",
    "grayscale",
    "hflip",
    "hsv_to_rgb",
    "hue",
    "mixup",
    "mixup_or_cutmix",
    "motion",
    "multi_crop",
    "multi_size",
    "multi_view",
    "normalize",
    "of_clips",
    "on",
    "pad_crop",
    "rand_augment",
    "random_erase",
    "recipe",
    "resized",
    "rgb_to_hsv",
    "rgb_to_lab",
    "rotate",
    "rrc_box",
    "saturation",
    "shift",
    "solarize",
]
