"""Top-1 accuracy and macro F1 of a method's own classifier."""

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


def macro_f1(name: str = "logits", metric: str = "macro_f1") -> Eval:
    """Mean over classes of the F1 of the method's logits; fits nothing.

    Classes are those of the labels and of the predictions; it is low where a rare class is
    never predicted, which top-1 accuracy does not show.

    Args:
      name: output of the method with the logits [N, C].
      metric: name of the number.
    """

    def run(features: Features, final: bool) -> dict:
        logits, y = labeled(features, "test" if final else "val", name)
        guess = logits.argmax(axis=1)
        classes = np.union1d(y, guess)
        both = [2 * np.sum((y == c) & (guess == c)) for c in classes]
        either = [np.sum(y == c) + np.sum(guess == c) for c in classes]
        return {metric: float(np.mean(np.divide(both, either)))}

    return Eval(f"macro F1 of the classifier's own {name}", run, (name,), online=True)
