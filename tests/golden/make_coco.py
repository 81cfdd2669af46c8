"""Makes coco.npz: detections in pictures, and the average precision that COCO gives them.

python -m venv other && other/bin/pip install pycocotools numpy
other/bin/python tests/golden/make_coco.py
"""

import contextlib
import importlib.metadata
import io
from pathlib import Path

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

CLASSES = 6


def random_scenes(seed, *, pictures, most, detections, whole):
    """Truths, and detections near them and anywhere; coordinates and scores that tie."""
    rng = np.random.default_rng(seed)
    corner = rng.uniform(0, 40, size=(pictures, most, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(4, 24, corner.shape)], axis=2)
    label = rng.integers(CLASSES - 1, size=(pictures, most))  # the last has no truths
    valid = rng.random((pictures, most)) < rng.choice([0.0, 0.4, 0.9], size=(pictures, 1))
    source = rng.integers(most, size=(pictures, detections))
    rows = np.arange(pictures)[:, None]
    spread = rng.choice([0.3, 1.5, 6.0], size=(pictures, detections, 1))
    near = boxes[rows, source] + spread * rng.normal(size=(pictures, detections, 4))
    near[..., 2:] = np.maximum(near[..., 2:], near[..., :2] + 1)
    same = rng.random(source.shape) < 0.8
    found = np.where(same, label[rows, source], rng.integers(CLASSES, size=source.shape))
    scores = rng.random(source.shape) - 0.05 * spread[..., 0]
    shown = rng.random(source.shape) < 0.9
    shown[0] = False
    if whole:
        boxes, near = np.round(boxes), np.round(near)
        scores = np.round(scores, 1)
    # What float32 can hold: x0 + (x1 - x0) is then x1 in float64 too.
    boxes, near = boxes.astype(np.float32), near.astype(np.float32)
    return {
        "truths/boxes": boxes,
        "truths/label": label.astype(np.int32),
        "truths/valid": valid,
        "detections/boxes": near,
        "detections/scores": scores,
        "detections/label": found.astype(np.int32),
        "detections/valid": shown,
    }


def rows(arrays, kind):
    """The valid ones as COCO's records: x, y, width, height."""
    records = []
    for i, j in zip(*np.nonzero(arrays[f"{kind}/valid"]), strict=True):
        x0, y0, x1, y1 = arrays[f"{kind}/boxes"][i, j].astype(np.float64)
        record = {
            "id": len(records) + 1,
            "image_id": int(i),
            "category_id": int(arrays[f"{kind}/label"][i, j]),
            "bbox": [x0, y0, x1 - x0, y1 - y0],
            "area": (x1 - x0) * (y1 - y0),
            "iscrowd": 0,
        }
        if kind == "detections":
            record["score"] = float(arrays["detections/scores"][i, j])
        records.append(record)
    return records


def judged(arrays):
    """COCO's numbers: AP, AP50, AP75, and the mean over classes at each threshold."""
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = {
            "info": {},
            "images": [{"id": i} for i in range(len(arrays["truths/valid"]))],
            "categories": [{"id": c} for c in range(CLASSES)],
            "annotations": rows(arrays, "truths"),
        }
        truth.createIndex()
        run = COCOeval(truth, truth.loadRes(rows(arrays, "detections")), "bbox")
        run.evaluate()
        run.accumulate()
        run.summarize()
    precision = run.eval["precision"][:, :, :, 0, 2]  # any area, 100 detections
    known = precision[0, 0] > -1
    return run.stats[:3], precision[..., known].mean(axis=(1, 2))


cases = {
    "reals": random_scenes(0, pictures=60, most=5, detections=12, whole=False),
    "ties": random_scenes(1, pictures=60, most=8, detections=20, whole=True),
    "many": random_scenes(2, pictures=4, most=30, detections=900, whole=True),
}
numbers = {}
for name, arrays in cases.items():
    stats, by_threshold = judged(arrays)
    arrays |= {"stats": stats, "by_threshold": by_threshold}
    numbers |= {f"{name}/{key}": value for key, value in arrays.items()}
    print(name, stats, by_threshold.round(3))
version = importlib.metadata.version("pycocotools")
numbers["versions"] = np.array([f"pycocotools {version}, numpy {np.__version__}"])
np.savez_compressed(Path(__file__).with_name("coco.npz"), **numbers)
