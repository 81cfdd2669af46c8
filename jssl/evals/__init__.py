"""Evaluation protocols for frozen representations, the same for every method.

An eval is a function of features alone, without access to method, state or network:

    features(split, name="h")   [N, ...]: an output of the method for every row of a
                                split ("train", "val" or "test"), in order
    features.labels(split)      int32 [N]; ValueError if the data have no labels
    features.rows(split)        the decoded columns of a split
    features.of(rows)           an output for other rows, such as synthetic scenes
    features.generated(split)   samples of a generative method
    evaluate(features, final)   {metric: number or picture}

`jssl.features.Features` has further members, for evals of weights. During training
(`final=False`) an eval fits on train and reports on val. At the end (`final=True`) it
selects hyperparameters on val, refits on train + val, and reports on test, once. Its
`protocol` is its full name with all settings, printed beside its number: kNN accuracy with
k=200 is not comparable with that of k=20.
"""

from jssl.evals.accuracy import accuracy, macro_f1
from jssl.evals.agreement import attribute_agreement, class_agreement, pixel_agreement
from jssl.evals.answers import answers, exact_match, normalized_answer, token_f1
from jssl.evals.augmentation import augmentation_gain, generated_classes
from jssl.evals.boxes import average_precision_from_matches, box_iou, coco_ap, giou, nms
from jssl.evals.clips import action
from jssl.evals.clustering import (
    ari,
    clustering,
    contingency,
    hungarian_accuracy,
    nmi,
    purity,
)
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
from jssl.evals.detection import detection
from jssl.evals.doctor import Verdict, diagnose, examine
from jssl.evals.editing import edits, rank_correlation
from jssl.evals.entities import (
    EntityScores,
    entities,
    entity_probe,
    entity_scores,
    entity_spans,
)
from jssl.evals.few_shot import few_labels_probe, few_shot, prototype_predict
from jssl.evals.finetune import fine_tune, transferred
from jssl.evals.gallery import (
    activation_attention,
    attention_mass_mask,
    attention_rollout,
    cls_attention,
    filter_grid,
    nearest_neighbor_panel,
    spectrum_points,
    top_activating,
)
from jssl.evals.generation import (
    Prdc,
    class_histogram_jsd,
    feature_stats,
    fid,
    frechet_distance,
    generation,
    kid,
    kid_subsets,
    memorization,
    mmd_rbf,
    prdc,
)
from jssl.evals.image_quality import image_quality, psnr, ssim
from jssl.evals.iou import confusion_matrix, iou_from_confusion, mean_iou
from jssl.evals.knn import knn, knn_if_labeled, knn_predict
from jssl.evals.layers import layer_probes, pool_to_budget
from jssl.evals.likelihood import likelihood
from jssl.evals.linear import (
    KORNBLITH_GRID,
    linear_probe,
    logreg_fit,
    logreg_path,
    logreg_predict_proba,
)
from jssl.evals.modes import Coverage, mode_coverage, modes
from jssl.evals.motion import centers_of_mass, motion, path_error
from jssl.evals.ngrams import KneserNey, ngrams
from jssl.evals.of_arrays import (
    Arrays,
    Score,
    Scores,
    clustering_scores,
    diagnose_features,
    few_label_accuracy,
    knn_accuracy,
    linear_accuracy,
    regression_score,
    retrieval_scores,
    svm_accuracy,
)
from jssl.evals.perplexity import perplexity
from jssl.evals.picture import embedding_picture, pca
from jssl.evals.protocol import Eval, Features, rows_of, suffixed
from jssl.evals.reconstruction import reconstruction
from jssl.evals.regression import regression, ridge_fit
from jssl.evals.retrieval import average_precision, recall_at_k, retrieval, retrieve
from jssl.evals.rouge import rouge, rouge_l, rouge_n
from jssl.evals.segmentation import hypercolumns, segmentation
from jssl.evals.sgd_probe import linear_probe_sgd, sgd_probe
from jssl.evals.svm import C_GRID, svm, svm_fit
from jssl.evals.tfidf import tfidf
from jssl.evals.words import neighbor_classes, spearman, word_analogies, word_similarity
from jssl.evals.zero_shot import zero_shot, zero_shot_predict, zero_shot_weights

__all__ = [
    "Arrays",
    "Score",
    "Scores",
    "clustering_scores",
    "diagnose_features",
    "few_label_accuracy",
    "knn_accuracy",
    "linear_accuracy",
    "regression_score",
    "retrieval_scores",
    "svm_accuracy",
    "C_GRID",
    "KORNBLITH_GRID",
    "Coverage",
    "EntityScores",
    "Eval",
    "Features",
    "Prdc",
    "Verdict",
    "accuracy",
    "action",
    "activation_attention",
    "alignment",
    "answers",
    "ari",
    "augmentation_gain",
    "attention_mass_mask",
    "attention_rollout",
    "attribute_agreement",
    "average_precision",
    "average_precision_from_matches",
    "box_iou",
    "class_agreement",
    "class_histogram_jsd",
    "centers_of_mass",
    "cls_attention",
    "clustering",
    "coco_ap",
    "confusion_matrix",
    "contingency",
    "detection",
    "diagnose",
    "edits",
    "effective_rank",
    "embedding_picture",
    "entities",
    "entity_probe",
    "entity_scores",
    "entity_spans",
    "exact_match",
    "examine",
    "feature_stats",
    "feature_std",
    "few_labels_probe",
    "few_shot",
    "fid",
    "filter_grid",
    "fine_tune",
    "frechet_distance",
    "generated_classes",
    "generation",
    "giou",
    "hungarian_accuracy",
    "hypercolumns",
    "image_quality",
    "iou_from_confusion",
    "kid",
    "kid_subsets",
    "knn",
    "knn_if_labeled",
    "knn_predict",
    "layer_probes",
    "likelihood",
    "linear_probe",
    "linear_probe_sgd",
    "logreg_fit",
    "logreg_path",
    "logreg_predict_proba",
    "macro_f1",
    "mean_iou",
    "memorization",
    "mmd_rbf",
    "mode_coverage",
    "modes",
    "motion",
    "nearest_neighbor_panel",
    "nmi",
    "nms",
    "normalized_answer",
    "participation_ratio",
    "path_error",
    "pca",
    "pixel_agreement",
    "pool_to_budget",
    "prdc",
    "prototype_predict",
    "psnr",
    "purity",
    "rank_correlation",
    "rankme",
    "recall_at_k",
    "reconstruction",
    "resultant",
    "regression",
    "retrieval",
    "retrieve",
    "ridge_fit",
    "rouge",
    "rouge_l",
    "rouge_n",
    "rows_of",
    "segmentation",
    "sgd_probe",
    "singular_values",
    "spectrum_points",
    "ssim",
    "suffixed",
    "svm",
    "svm_fit",
    "tfidf",
    "token_f1",
    "top_activating",
    "transferred",
    "uniformity",
    "uniformity_sphere",
    "KneserNey",
    "neighbor_classes",
    "ngrams",
    "perplexity",
    "spearman",
    "word_analogies",
    "word_similarity",
    "zero_shot",
    "zero_shot_predict",
    "zero_shot_weights",
]
