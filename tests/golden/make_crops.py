"""Writes crops.npz, boxes of torchvision's RandomResizedCrop: torch and torchvision.

    pip install torch torchvision && python tests/golden/make_crops.py

For each image size and range of areas, 4,000 boxes (top, left, height, width).
"""

from pathlib import Path

import numpy as np
import torch
import torchvision
from torchvision.transforms import RandomResizedCrop

# (height, width): two photographs, upright and not, and one too wide for most crops.
SIZES = ((375, 500), (500, 333), (60, 900))
AREAS = ((0.08, 1.0), (0.2, 1.0))


def main():
    torch.manual_seed(0)
    arrays = {
        "versions": f"torch {torch.__version__}, torchvision {torchvision.__version__}"
    }
    for height, width in SIZES:
        image = torch.zeros(1, height, width)
        for low, high in AREAS:
            draw = RandomResizedCrop.get_params
            boxes = [draw(image, [low, high], [3 / 4, 4 / 3]) for _ in range(4000)]
            arrays[f"{height}x{width} {low} {high}"] = np.array(boxes, np.int16)
    np.savez_compressed(Path(__file__).parent / "crops.npz", **arrays)


if __name__ == "__main__":
    main()
