"""Edits of an attribute of images: the attribute that they have, and the identity kept.

The edits of an image have each value of an ordered attribute, as the faces of six ages of
Antipov et al., ICIP 2017 (https://arxiv.org/abs/1702.01983).
"""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float

from jssl.evals.knn import knn_predict
from jssl.evals.protocol import Eval, Features


def rank_correlation(values: Float[np.ndarray, "n k"]) -> Float[np.ndarray, " n"]:
    """Spearman's correlation of each row of measured values with 0, 1, ... k - 1.

    0 for rows of equal values.

    >>> rank_correlation(np.array([[0.1, 0.2, 0.9], [3.0, 2.0, 1.0], [5.0, 5.0, 5.0]]))
    array([ 1., -1.,  0.])
    """
    from scipy.stats import rankdata

    ranks = rankdata(values, axis=1)
    asked = np.arange(values.shape[1]) - (values.shape[1] - 1) / 2
    ranks -= ranks.mean(1, keepdims=True)
    scale = np.sqrt(np.square(ranks).sum(1) * np.square(asked).sum())
    return (ranks @ asked) / np.maximum(scale, 1e-12)


def edits(
    measure: Callable,
    edges: Float[np.ndarray, " bins"],
    *,
    identity: str = "label",
    field: str = "edits",
) -> Eval:
    """Measured attributes and identities of the edits of the judged split.

        edit_agreement       fraction of the edits in the bin that they were to have
        edit_rank            rank correlation of the measured attribute with the bins asked
                             for, mean over images
        edit_identity        fraction of the edits with the class of their image, by
                             weighted kNN (k=20) on pixels
        edit_identity/real   the same of the real images

    Args:
      measure: images [n, h, w, c] in [0, 1] -> the attribute, float [n].
      edges: between the bins, in order; bin i ends at edge i.
      identity: column of the classes.
      field: name of the method's edits, [N, bins, h, w, c].

    Raises:
      ValueError: the method generates no such field.
    """

    def run(features: Features, final: bool) -> dict:
        split, fit = ("test", ("train", "val")) if final else ("val", ("train",))
        generated = features.generated(split)
        if field not in generated:
            raise ValueError(f"edits: the method must generate {field!r}")
        each = np.asarray(generated[field])
        n, bins = each.shape[:2]
        flat = each.reshape(n * bins, *each.shape[2:])
        values = np.asarray(measure(flat)).reshape(n, bins)
        bank = np.concatenate([_flat(features.rows(x)["image"]) for x in fit])
        labels = np.concatenate([features.targets(x, identity) for x in fit])
        wanted = features.targets(split, identity)

        def classes(x):
            count = int(labels.max()) + 1
            return np.asarray(knn_predict(bank, labels, _flat(x), classes=count)[0])

        real = classes(features.rows(split)["image"])
        kept = classes(flat).reshape(n, bins) == wanted[:, None]
        agrees = np.searchsorted(edges, values) == np.arange(bins)
        return {
            "edit_agreement": float(agrees.mean()),
            "edit_rank": float(rank_correlation(values).mean()),
            "edit_identity": float(kept.mean()),
            "edit_identity/real": float((real == wanted).mean()),
        }

    return Eval(
        f"edits: measured attribute in {len(edges) + 1} bins; {identity} by weighted kNN "
        f"on pixels: k=20, cosine, temperature=0.07",
        run,
    )


def _flat(x):
    return np.asarray(x, np.float32).reshape(len(x), -1)
