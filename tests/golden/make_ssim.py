"""Makes ssim.npz: PSNR and SSIM of scikit-image.

python -m venv other && other/bin/pip install scikit-image
other/bin/python tests/golden/make_ssim.py
"""

from pathlib import Path

import numpy as np
import skimage
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

found = {"versions": np.array([f"scikit-image {skimage.__version__}"])}
for name, channels in {"gray": 1, "color": 3}.items():
    draw = np.random.default_rng(channels)
    coarse = draw.random((4, 7, 6, channels)).repeat(4, 1).repeat(4, 2)
    levels = np.array([0.02, 0.1, 0.3, 1]).reshape(4, 1, 1, 1)
    noise = levels * draw.normal(size=coarse.shape)
    x = np.float16(coarse)
    y = np.float16(np.clip(coarse + noise, 0, 1))
    pairs = list(zip(x.astype(np.float64), y.astype(np.float64), strict=True))
    found |= {f"{name}/x": x, f"{name}/y": y}
    found[f"{name}/psnr"] = np.array(
        [peak_signal_noise_ratio(a, b, data_range=1) for a, b in pairs]
    )
    found[f"{name}/ssim"] = np.array(
        [
            structural_similarity(
                a,
                b,
                data_range=1,
                channel_axis=-1,
                gaussian_weights=True,
                sigma=1.5,
                use_sample_covariance=False,
            )
            for a, b in pairs
        ]
    )
np.savez_compressed(Path(__file__).parent / "ssim.npz", **found)
