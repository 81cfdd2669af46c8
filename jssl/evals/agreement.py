"""Agreement of generated samples with what they were asked for.

Class agreement, the "GAN-test" of Shmelkov et al., ECCV 2018
(https://arxiv.org/abs/1807.09499), is the accuracy on samples of a classifier of real data.
Pixel agreement is that of the two images of a generated pair, one of each domain (Liu and
Tuzel, NIPS 2016, section 4, https://arxiv.org/abs/1606.07536).
"""

from collections.abc import Callable, Sequence

import jax.numpy as jnp
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


def pixel_agreement(
    transform: Callable, fields: tuple[str, str] = ("image", "second")
) -> Eval:
    """Agreement of the images of a generated pair, by the known map between the domains.

        pixel_agreement        fraction of pixels where round(transform(x1)) = round(x2)
        pixel_agreement/other  the same with x2 of the next sample: the value of unrelated
                               pairs, which is high where most pixels are background
        pair_class             fraction of pairs of which both images have one class, by
                               weighted kNN (k=20) on the pixels of each domain's real rows
        pair_class/other       the same with x2 of the next sample

    Classes are compared if the data have labels.

    Args:
      transform: images [n, h, w, c] of the first domain, in [0, 1] -> those of the second.
      fields: names of the method's samples of both domains. The first is a column, too.

    Raises:
      ValueError: the method generates no such fields, or not of one shape.
    """

    def run(features: Features, final: bool) -> dict:
        split, fit = ("test", ("train", "val")) if final else ("val", ("train",))
        generated = features.generated(split)
        if not set(fields) <= set(generated):
            known = ", ".join(generated) or "nothing"
            raise ValueError(
                f"pixel_agreement: the method must generate {' and '.join(fields)}, it "
                f"generates {known}"
            )
        one, two = (np.asarray(generated[name]) for name in fields)
        mapped = np.asarray(transform(jnp.asarray(one)))
        if mapped.shape != two.shape:
            raise ValueError(
                f"pixel_agreement: samples must have one shape, got {list(mapped.shape)} "
                f"and {list(two.shape)}"
            )
        found = _with_others("pixel_agreement", np.rint(mapped), np.rint(two))
        try:
            labels = np.concatenate([features.labels(x) for x in fit])
        except ValueError:
            return found
        real = np.concatenate([features.rows(x)[fields[0]] for x in fit])

        def classes(bank, x):
            count = int(labels.max()) + 1
            return np.asarray(knn_predict(_flat(bank), labels, _flat(x), classes=count)[0])

        pair = classes(real, one), classes(np.asarray(transform(jnp.asarray(real))), two)
        return found | _with_others("pair_class", *pair)

    return Eval(
        f"pixels of {fields[1]} equal to those of the mapped {fields[0]}, rounded; classes "
        f"of both by weighted kNN on pixels: k=20, cosine, temperature=0.07",
        run,
    )


def _with_others(name, a, b):
    """Fraction of equal entries of two arrays, and with the rows of the second shifted."""
    shifted = np.roll(b, 1, axis=0)
    return {name: float((a == b).mean()), f"{name}/other": float((a == shifted).mean())}


def _flat(x):
    return np.asarray(x, np.float32).reshape(len(x), -1)
