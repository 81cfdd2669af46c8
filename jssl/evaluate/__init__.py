"""The evaluation command, `python -m jssl.evaluate`, and the protocols that it applies."""

QUICK = {
    "knn": "weighted k-nearest neighbors on the frozen features",
    "linear": "exact logistic regression on the frozen features",
    "few_labels": "the same on 1 and 10 labels of each class",
    "few_shot": "5-way 5-shot episodes by nearest class means",
    "retrieval": "recall@k and mAP of the ranking by cosine",
    "clustering": "NMI, ARI, Hungarian accuracy and purity of k-means",
    "linear_sgd": "a linear layer trained by SGD, as in the papers",
    "layers": "a linear probe on each layer's maps",
    "regression/COLUMN": "ridge regression of a column of numbers",
    "linear/COLUMN": "a linear probe of tags, from tokens",
    "entities/COLUMN": "the same, F1 of whole entities",
}
SLOW = {
    "svm": "exact linear L2-SVM on the frozen features, as DCGAN's",
    "fine_tune@10": "fine-tuning on 10 labels of each class",
    "fine_tune": "fine-tuning on all labels",
    "upto1": "fine-tuning with the first layer transferred",
    "upto1-frozen": "the same, with the layer frozen",
    "upto2": "fine-tuning with the first two layers transferred",
    "upto2-frozen": "the same, with the layers frozen",
    "segmentation": "a linear layer on the maps of scenes",
    "segmentation_fcn": "a small convolutional head on the maps of scenes",
    "detection": "boxes in scenes, from the maps",
    "action": "the motion in clips, from frames or h, with controls and recall@k",
    "propagation": "masks of objects propagated through clips, from the maps",
}


def listing() -> str:
    """The protocols, one a line, for the help of the command.

    >>> print(listing().splitlines()[1])
      knn                weighted k-nearest neighbors on the frozen features
    """
    kinds = {"quick protocols": QUICK, "further ones, in all": SLOW}
    lines = []
    for kind, known in kinds.items():
        lines += [f"{kind}:", *(f"  {name:<17}  {told}" for name, told in known.items())]
    return "\n".join(lines)
