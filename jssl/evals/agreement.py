"""Agreement of generated samples with what they were asked for.

Class agreement, the "GAN-test" of Shmelkov et al., ECCV 2018
(https://arxiv.org/abs/1807.09499), is the accuracy on samples of a classifier of real data.
"""

from collections.abc import Callable, Sequence

import numpy as np

from jssl.evals.knn import knn_predict
from jssl.evals.protocol import Eval, Features


def class_agreement(k: int = 20, temperature: float = 0.07, field: str = "image") -> Eval:
    """Fraction of samples with the class of their row, by kNN on the data themselves.

    The classifier is `knn_predict` on the rows of train (and val, at the end), flattened.
    "class_agreement/real" is its accuracy on the real rows of the judged split.

    Args:
      k, temperature: of the classifier.
      field: name of the column, and of the method's samples.

    Raises:
      ValueError: the method generates no such field.
    """

    def run(features: Features, final: bool) -> dict:
        split, fit = ("test", ("train", "val")) if final else ("val", ("train",))
        generated = features.generated(split)
        if field not in generated:
            raise ValueError(f"class_agreement: the method must generate {field!r}")
        bank = np.concatenate([_flat(features.rows(x)[field]) for x in fit])
        labels = np.concatenate([features.labels(x) for x in fit])
        wanted, classes = features.labels(split), int(labels.max()) + 1

        def right(x):
            found, _ = knn_predict(
                bank, labels, x, k=k, temperature=temperature, classes=classes
            )
            return float((np.asarray(found) == wanted).mean())

        return {
            "class_agreement": right(_flat(generated[field])),
            "class_agreement/real": right(_flat(features.rows(split)[field])),
        }

    return Eval(
        f"samples of the class of their row, by weighted kNN on raw {field}: k={k}, "
        f"cosine, temperature={temperature:g}",
        run,
    )


def attribute_agreement(
    measure: Callable, names: Sequence[str], field: str = "image"
) -> Eval:
    """Fraction of samples with the measured attributes of their row, "agreement/<name>".

    For conditions that were made of what is measured from the row's own data, such as
    captions. "agreement/<name>/chance" is the fraction of samples that agree with another
    row, drawn at random.

    Args:
      measure: arrays [n, ...] of the field -> numbers of kinds, int [n, len(names)].
      names: of the attributes.
      field: name of the column, and of the method's samples.

    Raises:
      ValueError: the method generates no such field.
    """

    def run(features: Features, final: bool) -> dict:
        split = "test" if final else "val"
        generated = features.generated(split)
        if field not in generated:
            raise ValueError(f"attribute_agreement: the method must generate {field!r}")
        made = np.asarray(measure(np.asarray(generated[field])))
        wanted = np.asarray(measure(np.asarray(features.rows(split)[field])))
        other = np.random.default_rng(0).permutation(wanted)
        found = {}
        for i, name in enumerate(names):
            found[f"agreement/{name}"] = float((made[:, i] == wanted[:, i]).mean())
            chance = float((made[:, i] == other[:, i]).mean())
            found[f"agreement/{name}/chance"] = chance
        return found

    return Eval(f"samples with the measured {', '.join(names)} of their row", run)


def _flat(x):
    return np.asarray(x, np.float32).reshape(len(x), -1)
