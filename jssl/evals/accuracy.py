"""Top-1 accuracy of a method's own classifier."""

import numpy as np

from jssl.evals.protocol import Eval, Features, labeled


def accuracy(name: str = "logits", metric: str = "top1") -> Eval:
    """Top-1 accuracy of the method's logits; fits nothing.

    Args:
      name: output of the method with the logits [N, C].
      metric: name of the number.

    Raises:
      ValueError: a label has no logit.
    """

    def run(features: Features, final: bool) -> dict:
        split = "test" if final else "val"
        logits, y = labeled(features, split, name)
        if y.max() >= logits.shape[1]:
            raise ValueError(
                f"accuracy: labels of the {split} split go up to {y.max()}, but "
                f"{name!r} has {logits.shape[1]} columns"
            )
        return {metric: float(np.mean(logits.argmax(axis=1) == y))}

    return Eval(f"top-1 accuracy of the classifier's own {name}", run, (name,), online=True)
