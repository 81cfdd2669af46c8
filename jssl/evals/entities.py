"""Named entities: precision, recall and F1 of whole entities, of BIO tags of words.

Tjong Kim Sang and De Meulder 2003, "Introduction to the CoNLL-2003 Shared Task",
https://aclanthology.org/W03-0419
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Int

from jssl.evals.linear import TOY_GRID, logreg_fit, logreg_path, logreg_predict_proba
from jssl.evals.protocol import Eval, fit_and_judge, labeled, of_which


class EntityScores(NamedTuple):
    """Micro averages over all entities; 0 where there are none."""

    precision: float
    recall: float
    f1: float


def entity_spans(tags: Sequence[str]) -> list[tuple[str, int, int]]:
    """(type, first, last) of the entities of a text.

    An entity begins at B-x, and at I-x unless it continues an entity of type x, as the
    evaluation of CoNLL does.

    Args:
      tags: O, B-x or I-x of each word.

    Raises:
      ValueError: another tag.

    >>> entity_spans(["B-PER", "I-PER", "O", "I-LOC", "I-PER"])
    [('PER', 0, 1), ('LOC', 3, 3), ('PER', 4, 4)]
    """
    found: list[tuple[str, int, int]] = []
    open_ = ""  # type of the entity that the next word can continue
    for i, tag in enumerate(tags):
        mark, _, kind = tag.partition("-")
        if tag != "O" and (mark not in ("B", "I") or not kind):
            raise ValueError(f"a tag must be O, B-TYPE or I-TYPE, got {tag!r}")
        if mark == "I" and kind == open_:
            found[-1] = (kind, found[-1][1], i)
        elif kind:
            found.append((kind, i, i))
        open_ = kind
    return found


def entity_scores(
    truth: Int[np.ndarray, "n l"], guess: Int[np.ndarray, "n l"], names: Sequence[str]
) -> EntityScores:
    """Scores of entities, each of which is right if its type and both ends are.

    Args:
      truth: tags; those of negative number are no words, and left out of both.
      guess: predicted tags; those of negative number were not read, and are left out too.
      names: of the tags.

    >>> names, truth = ("O", "B-X", "I-X"), np.array([[1, 2, -1, 0, 1]])
    >>> entity_scores(truth, np.array([[1, 2, 1, 0, 0]]), names)._asdict()
    {'precision': 1.0, 'recall': 0.5, 'f1': 0.6666666666666666}
    """
    right = wanted = made = 0
    for row, other in zip(truth, guess, strict=True):
        true, given = (
            {*entity_spans([names[i] for i in x[(row >= 0) & (other >= 0)]])}
            for x in (row, other)
        )
        right += len(true & given)
        wanted += len(true)
        made += len(given)
    precision, recall = right / max(made, 1), right / max(wanted, 1)
    return EntityScores(precision, recall, 2 * right / max(made + wanted, 1))


def entities(names: Sequence[str], output: str = "tags", target: str = "tags") -> Eval:
    """Micro precision, recall and F1 of entities, of a method's own tags; fits nothing.

    Args:
      names: of the tags, in BIO.
      output: predicted tags int [n, l] of `embed`; negative where no word was read.
      target: column of the tags [n, l]; negative where there is no word.

    Raises:
      ValueError: tags that are not BIO.
    """
    entity_spans(names)

    def run(features, final) -> dict:
        split = "test" if final else "val"
        truth, guess = features.targets(split, target), features(split, output)
        scores = entity_scores(np.asarray(truth), np.asarray(guess), names)
        return {f"entity_{k}": x for k, x in scores._asdict().items()}

    return Eval(
        f"precision, recall and F1 of entities of {output}, by type and both ends, micro, "
        f"of the words that were read",
        run,
        (output,),
        online=True,
    )


def entity_probe(
    names: Sequence[str], output: str = "tokens", target: str = "tags"
) -> Eval:
    """Micro precision, recall and F1 of entities, of a linear probe on frozen tokens.

    Tags are those of largest probability of `linear_probe`, which is fitted on the tokens
    with a tag. Its penalty is selected by the accuracy of single tags on val.

    Args:
      names: of the tags, in BIO.
      output: representations [n, l, d].
      target: column of the tags [n, l]; negative where there is no word.

    Raises:
      ValueError: tags that are not BIO.
    """
    entity_spans(names)

    def run(features, final) -> dict:
        train, val = (labeled(features, x, output, target) for x in ("train", "val"))
        model, _ = logreg_path(*train, *val, TOY_GRID)
        if final:
            (h, y), _ = fit_and_judge(features, True, output, target)
            model = logreg_fit(h, y, classes=int(y.max()) + 1, l2=model.info.l2)
        split = "test" if final else "val"
        truth = np.asarray(features.targets(split, target))
        guess = np.full(truth.shape, -1)
        h, _ = labeled(features, split, output, target)
        guess[truth >= 0] = logreg_predict_proba(model, h).argmax(1)
        scores = entity_scores(truth, guess, names)
        return {f"entity_{k}": x for k, x in scores._asdict().items()}

    return Eval(
        "precision, recall and F1 of entities, by type and both ends, micro, of a linear "
        "probe: logistic regression on standardised features, exact, l2 chosen on val, by "
        f"single tags{of_which(output, target)}",
        run,
        (output,),
    )
