r"""Zero-shot classification by text embeddings of class names.

A. Radford, J. W. Kim, C. Hallacy et al., "Learning Transferable Visual Models From
Natural Language Supervision", ICML 2021 (https://arxiv.org/abs/2103.00020). The weights of
the classifier are embeddings of a text encoder g for the class name c in several templates
t ("a photo of a {}"):

.. math:: w_c = \text{norm}\Big(\frac{1}{|T|} \sum_{t \in T} \text{norm}(g(t(c)))\Big),
    \qquad p(c | x) = \text{softmax}_c(s \, \text{norm}(h(x)) \cdot w_c).

No labels are used. Classes whose names or captions occur in training are not zero-shot in
a strict sense: report held-out classes, or combinations of attributes, separately.
"""

import hashlib
from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float, Shaped

from jssl.evals.protocol import Eval, Features, labeled
from jssl.evals.retrieval import unit_rows
from jssl.ops.shapes import expect

EncodeText = Callable[[list[str]], np.ndarray]


def zero_shot_weights(
    encode_text: EncodeText, class_names: Sequence[str], templates: Sequence[str]
) -> Float[np.ndarray, "d c"]:
    """Classifier weights from class names: one column of length 1 per class.

    Args:
      encode_text: n texts -> float [n, d]; called once per class with all templates, so
        always with the same number of texts.
      class_names: of classes 0, 1, ...
      templates: texts with a "{}" in place of the name.

    Raises:
      ValueError: no class or no template, a template without "{}", or encodings that
        are not finite rows, one per text.

    Reference: Radford et al., ICML 2021, section 3.1.4.

    >>> book = {"a cat": [2.0, 0.0], "the cat": [0.0, 5.0]}
    >>> encode = lambda texts: np.array([book[text] for text in texts])
    >>> # (1, 0) and (0, 1) have the mean (1, 1) / 2, of direction (1, 1) / sqrt(2)
    >>> print(zero_shot_weights(encode, ["cat"], ["a {}", "the {}"]).round(4))
    [[0.7071]
     [0.7071]]
    """
    _check_texts(class_names, templates)
    columns = []
    for name in class_names:
        texts = [template.replace("{}", name) for template in templates]
        found = np.asarray(encode_text(texts))
        if found.ndim != 2 or len(found) != len(texts):
            raise ValueError(
                f"zero_shot_weights: encode_text must give [{len(texts)}, d] for "
                f"{len(texts)} texts, got {list(found.shape)}"
            )
        columns.append(unit_rows(found).mean(axis=0))
    return unit_rows(np.stack(columns)).T


def zero_shot_predict(
    h: Shaped[np.ndarray, "n d"], weights: Float[np.ndarray, "d c"], scale: float = 100.0
) -> Float[np.ndarray, "n c"]:
    """Class probabilities softmax(scale * norm(h) @ weights), in float64.

    Cosines are rounded to 1e-9, so that classes with equal texts are exactly equally
    probable, and ties go to the first.

    Args:
      h: image embeddings.
      weights: from `zero_shot_weights`.
      scale: 1 / temperature; does not change the arg-max. In CLIP it is learned and clipped
        at 100, its value at the end of training.

    Raises:
      ValueError: inconsistent shapes or dtypes, features that are not finite, or a scale
        that is not positive and finite.

    Reference: Radford et al., ICML 2021, section 3.1.2.

    >>> h, weights = np.array([[3.0, 4.0]]), np.eye(2)
    >>> # Cosines .6 and .8, so odds of e^(10 * .2) = 7.389 for the second
    >>> print(zero_shot_predict(h, weights, 10.0).round(4))
    [[0.1192 0.8808]]
    """
    expect("zero_shot_predict", h=(h, "n d"), weights=(weights, "d c"))
    if not 0 < scale < np.inf:
        raise ValueError(f"zero_shot_predict: scale must be positive, got {scale}")
    logits = scale * (unit_rows(h) @ weights).round(9)
    p = np.exp(logits - logits.max(axis=1, keepdims=True))
    return p / p.sum(axis=1, keepdims=True)


def zero_shot(
    encode_text: EncodeText,
    class_names: Sequence[str],
    templates: Sequence[str],
    name: str = "z",
) -> Eval:
    """Accuracy in [0, 1] of the zero-shot classifier; fits nothing.

    Args:
      encode_text: as in `zero_shot_weights`, with current weights: texts are encoded at
        every evaluation.
      class_names: of labels 0, 1, ...
      templates: texts with a "{}" in place of the name.
      name: output of the method with image embeddings in the space of texts [N, d].

    Raises:
      ValueError: as in `zero_shot_weights`; while running, a label without a name, or texts
        and images of different widths.
    """
    _check_texts(class_names, templates)
    class_names, templates = tuple(class_names), tuple(templates)

    def run(features: Features, final: bool) -> dict:
        split = "test" if final else "val"
        h, y = labeled(features, split, name)
        if y.max() >= len(class_names):
            raise ValueError(
                f"zero_shot: labels of the {split} split go up to {y.max()}, but there "
                f"are {len(class_names)} class names"
            )
        weights = zero_shot_weights(encode_text, class_names, templates)
        found = zero_shot_predict(h, weights).argmax(axis=1)
        return {"zero_shot": float(np.mean(found == y))}

    told = hashlib.sha256(repr((class_names, templates)).encode()).hexdigest()[:8]
    return Eval(
        f"zero-shot: cosine of {name} with the names of {len(class_names)} classes, mean "
        f"of {len(templates)} templates ({templates[0]!r}, ...; sha256 {told})",
        run,
    )


def _check_texts(class_names, templates):
    if isinstance(class_names, str) or isinstance(templates, str):
        raise ValueError(
            "zero_shot: class_names and templates must be lists of texts, got one text"
        )
    if not class_names or not templates:
        raise ValueError(
            f"zero_shot needs a class name and a template, got {len(class_names)} and "
            f"{len(templates)}"
        )
    for template in templates:
        if "{}" not in template:
            raise ValueError(f'zero_shot: a template needs "{{}}", got {template!r}')
