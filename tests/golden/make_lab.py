"""Makes lab.npz: Lab, HSV and RGB of colors by scikit-image.

python -m venv other && other/bin/pip install scikit-image
other/bin/python tests/golden/make_lab.py
"""

from pathlib import Path

import numpy as np
import skimage
from skimage.color import hsv2rgb, lab2rgb, rgb2hsv, rgb2lab

draw = np.random.default_rng(0)
corners = np.stack(np.meshgrid(*[[0, 0.002, 0.04, 0.5, 1]] * 3), -1).reshape(-1, 3)
rgb = np.float32(np.concatenate([corners, draw.random((300, 3))]))
wide = np.float32(draw.uniform((0, -128, -128), (100, 128, 128), (300, 3)))  # most outside
found = {
    "versions": np.array([f"scikit-image {skimage.__version__}"]),
    "rgb": rgb,
    "lab": np.float32(rgb2lab(rgb.astype(float))),
    "hsv": np.float32(rgb2hsv(rgb.astype(float))),
    "wide": wide,
    "wide/rgb": np.float32(lab2rgb(wide.astype(float))),
    "turned/rgb": np.float32(hsv2rgb(rgb.astype(float))),
}
np.savez_compressed(Path(__file__).parent / "lab.npz", **found)
