"""Writes host_crops.npz: boxes and pixels of torchvision's RandomResizedCrop.

    python tests/golden/make_host_crops.py    # with torch and torchvision 0.29.1

boxes/WxH       int16 [draws, 4]: left, top, width, height, area 0.08 to 1, ratio 3/4 to 4/3
picture         uint8 [60, 80, 3], and gray [60, 80]
crops/FILTER    uint8 [boxes, 24, 24, 3] of `at`, and gray/FILTER
versions        of torch, torchvision and Pillow
"""

from pathlib import Path

import numpy as np
import PIL
import torch
import torchvision
from PIL import Image
from torchvision.transforms import InterpolationMode, RandomResizedCrop
from torchvision.transforms.functional import resized_crop

SIZES = (500, 375), (333, 500), (60, 900)
DRAWS = 8000
AT = (0, 0, 80, 60), (3, 7, 41, 29), (50, 2, 30, 58), (10, 20, 9, 11), (79, 59, 1, 1)


def boxes(width, height):
    picture = Image.new("RGB", (width, height))
    found = [
        RandomResizedCrop.get_params(picture, [0.08, 1.0], [3 / 4, 4 / 3])
        for _ in range(DRAWS)
    ]
    top, left, h, w = np.array(found, np.int16).T
    return np.stack([left, top, w, h], 1)


def crops(picture, filter):
    mode = InterpolationMode[filter.upper()]
    return np.stack(
        [
            np.asarray(resized_crop(picture, top, left, h, w, [24, 24], mode))
            for left, top, w, h in AT
        ]
    )


def main():
    torch.manual_seed(0)
    noise = np.random.default_rng(0).integers(0, 256, (60, 80, 3), np.uint8)
    picture = Image.fromarray(noise)
    gray = picture.convert("L")
    versions = [f"torch {torch.__version__}", f"torchvision {torchvision.__version__}"]
    held = {
        "picture": noise,
        "gray": np.asarray(gray),
        "at": np.array(AT),
        "versions": np.array([*versions, f"Pillow {PIL.__version__}"]),
    }
    for width, height in SIZES:
        held[f"boxes/{width}x{height}"] = boxes(width, height)
    for filter in ("bilinear", "bicubic"):
        held[f"crops/{filter}"] = crops(picture, filter)
        held[f"gray/{filter}"] = crops(gray, filter)
    np.savez_compressed(Path(__file__).parent / "host_crops.npz", **held)


if __name__ == "__main__":
    main()
