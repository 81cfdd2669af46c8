"""Judges of a representation: what a frozen `h` is worth, told alike for every method.

An eval is a function of the features and of nothing else: it sees no method, no state
and no network.

    features(split, name="h")   float32 [N, d]: the representation of every row of a
                                split ("train", "val" or "test"), in order
    features.labels(split)      int32 [N]; ValueError when the data have none
    evaluate(features, final)   {metric: number or picture}

While training goes on (`final=False`) an eval fits on train and judges on val. At the
end (`final=True`) it chooses whatever it has to choose on val, refits on train + val,
and judges on test, once. Its `protocol` names it with all its settings: the words to
print beside its number, for a kNN accuracy of k=200 is not one of k=20.
"""

from jssl.evals.accuracy import accuracy
from jssl.evals.collapse import (
    alignment,
    effective_rank,
    feature_std,
    participation_ratio,
    rankme,
    resultant,
    singular_values,
    uniformity,
    uniformity_sphere,
)
from jssl.evals.doctor import Verdict, diagnose, examine
from jssl.evals.knn import knn, knn_predict
from jssl.evals.linear import (
    KORNBLITH_GRID,
    linear_probe,
    logreg_fit,
    logreg_path,
    logreg_predict_proba,
)
from jssl.evals.modes import Coverage, mode_coverage, modes
from jssl.evals.picture import Lines, Scatter, embedding_picture, pca
from jssl.evals.protocol import Eval, Features
from jssl.evals.reconstruction import reconstruction

__all__ = [
    "KORNBLITH_GRID",
    "Coverage",
    "Eval",
    "Features",
    "Lines",
    "Scatter",
    "Verdict",
    "accuracy",
    "alignment",
    "diagnose",
    "effective_rank",
    "embedding_picture",
    "examine",
    "feature_std",
    "knn",
    "knn_predict",
    "linear_probe",
    "logreg_fit",
    "logreg_path",
    "logreg_predict_proba",
    "mode_coverage",
    "modes",
    "participation_ratio",
    "pca",
    "rankme",
    "reconstruction",
    "resultant",
    "singular_values",
    "uniformity",
    "uniformity_sphere",
]
