r"""Intersection over union of segmentation masks, by class and on average.

J. Long, E. Shelhamer, T. Darrell, "Fully Convolutional Networks for Semantic
Segmentation", CVPR 2015 (https://arxiv.org/abs/1411.4038). With M_ij the number of pixels
of class i predicted as j,

$$ IoU_c = \frac{M_{cc}}{\sum_j M_{cj} + \sum_i M_{ic} - M_{cc}}, $$

the mean is over the classes, background included, whose union is not empty. M counts the
pixels of the **whole set**, which differs from the mean of the mIoU of single images.
"""

import numpy as np
from jaxtyping import Array, Float, Integer

from jssl.ops.shapes import expect

IGNORE = 255


def confusion_matrix(
    pred: Integer[Array | np.ndarray, "*pixels"],
    target: Integer[Array | np.ndarray, "*pixels"],
    classes: int,
    ignore: int = IGNORE,
) -> Integer[np.ndarray, "c c"]:
    """Confusion matrix of pixels: rows are classes, columns predictions.

    Pixels with target `ignore` are not counted. Matrices of several batches can be added.

    Raises:
      ValueError: shapes differ, or a counted pixel is not in 0 ... classes - 1.

    >>> confusion_matrix(np.array([0, 1, 1, 0]), np.array([0, 1, 0, 255]), 2).tolist()
    [[1, 1], [0, 1]]
    """
    expect("confusion_matrix", pred=(pred, "...", "int"), target=(target, "...", "int"))
    truth, said = np.asarray(target, np.int64), np.asarray(pred, np.int64)
    alike = truth.shape == said.shape
    if alike:
        truth, said = truth[truth != ignore], said[truth != ignore]
    pixels = np.append(truth, said)
    known = ((0 <= pixels) & (pixels < classes)).all()
    if not (alike and known) or 0 <= ignore < classes:
        raise ValueError(
            f"confusion_matrix: pred and target must have one shape and hold 0 ... "
            f"{classes - 1}, or {ignore} in the target and none of these, got "
            f"{list(pred.shape)} and {list(target.shape)}, {np.unique(pixels).tolist()}"
        )
    pairs = np.bincount(classes * truth + said, minlength=classes**2)
    return pairs.reshape(classes, classes)


def iou_from_confusion(matrix: Integer[np.ndarray, "c c"]) -> Float[np.ndarray, " c"]:
    """IoU of each class; nan if the class is neither present nor predicted.

    >>> iou_from_confusion(np.array([[3, 1], [2, 4]])).round(4)  # 3 / 6 and 4 / 7
    array([0.5   , 0.5714])
    """
    hit = np.diag(matrix).astype(np.float64)
    union = matrix.sum(0) + matrix.sum(1) - hit
    return np.divide(hit, union, out=np.full_like(hit, np.nan), where=union > 0)


def mean_iou(matrix: Integer[np.ndarray, "c c"]) -> float:
    """Mean IoU over classes with a nonempty union; ValueError if no pixel was counted.

    >>> round(mean_iou(np.array([[3, 1, 0], [2, 4, 0], [0, 0, 0]])), 4)  # of two classes
    0.5357
    """
    if not matrix.any():
        raise ValueError("mean_iou: no pixel was counted, so there is no IoU")
    return float(np.nanmean(iou_from_confusion(matrix)))
