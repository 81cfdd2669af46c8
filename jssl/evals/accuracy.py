"""Top-1 accuracy of a method's own classifier."""

import numpy as np

from jssl.evals.protocol import Eval, Features, labeled


def accuracy(
    name: str = "logits", metric: str = "top1", target: str = "label", top: int = 1
) -> Eval:
    """Top-1 accuracy of the method's logits; fits nothing.

    Args:
      name: output of the method with the logits [N, C].
      metric: name of the number.
      target: column with the class numbers [N].
      top: number of largest logits of which one is to be right.

    Raises:
      ValueError: a label has no logit.
    """

    def run(features: Features, final: bool) -> dict:
        split = "test" if final else "val"
        logits, y = labeled(features, split, name, target)
        if y.max() >= logits.shape[1]:
            raise ValueError(
                f"accuracy: labels of the {split} split go up to {y.max()}, but "
                f"{name!r} has {logits.shape[1]} columns"
            )
        if top == 1:
            return {metric: float(np.mean(logits.argmax(axis=1) == y))}
        best = np.argpartition(-logits, min(top, logits.shape[1]) - 1, axis=1)[:, :top]
        return {metric: float(np.mean((best == y[:, None]).any(1)))}

    of = "" if target == "label" else f" for {target}"
    protocol = f"top-{top} accuracy of the classifier's own {name}{of}"
    return Eval(protocol, run, (name,), online=True)
