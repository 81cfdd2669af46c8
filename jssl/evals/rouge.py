r"""ROUGE: overlap of a written text with a reference, in n-grams or in a subsequence.

Of n-grams (n = 1, 2), with the number of those that both have, and of the longest common
subsequence (L), with its length:

    precision = shared / candidate,  recall = shared / reference,  F1 = 2 P R / (P + R)

Lin 2004, "ROUGE: A Package for Automatic Evaluation of Summaries",
https://aclanthology.org/W04-1013
"""

import re
from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from typing import Any, NamedTuple

import numpy as np

from jssl.evals.protocol import Eval

NAMES = ("rouge1", "rouge2", "rougeL")


class Overlap(NamedTuple):
    """Precision, recall and F1."""

    precision: float
    recall: float
    f1: float


def words(text: str) -> list[str]:
    """Lower-case words of letters a to z and digits, as the package rouge-score has them.

    >>> words("It's 9 a.m., Mrs. Jones!")
    ['it', 's', '9', 'a', 'm', 'mrs', 'jones']
    """
    return re.findall(r"[a-z0-9]+", text.lower())


def rouge_n(
    candidate: Sequence[Hashable], reference: Sequence[Hashable], n: int = 1
) -> Overlap:
    """Overlap in n-grams, each as often as it occurs in both; 0 where there is none.

    >>> rouge_n("the old king slept".split(), "the king".split())
    Overlap(precision=0.5, recall=1.0, f1=0.6666666666666666)
    """
    a, b = (
        Counter(tuple(x[i : i + n]) for i in range(len(x) - n + 1))
        for x in (candidate, reference)
    )
    return _overlap((a & b).total(), a.total(), b.total())


def rouge_l(candidate: Sequence[Hashable], reference: Sequence[Hashable]) -> Overlap:
    """Overlap in the longest common subsequence.

    >>> rouge_l("the king slept here".split(), "here the old king slept".split()).recall
    0.6
    """
    row = [0] * (len(reference) + 1)  # lengths for the candidate up to here
    for word in candidate:
        before = row
        row = [0]
        for j, other in enumerate(reference):
            same = before[j] + 1 if word == other else max(before[j + 1], row[j])
            row.append(same)
    return _overlap(row[-1], len(candidate), len(reference))


def _overlap(shared, candidate, reference):
    return Overlap(
        shared / max(candidate, 1),
        shared / max(reference, 1),
        2 * shared / max(candidate + reference, 1),
    )


def rouge(
    text: Callable[[Any], str],
    made: str = "corpus",
    wanted: str = "target",
    rows: int = 256,
) -> Eval:
    """Mean F1 of ROUGE-1, 2 and L of written texts.

    The method generates the texts, the output "target" has their references, both int
    [n, t]. "rouge1/other" is ROUGE-1 of a text with the reference of the row half of the
    rows further on, the value of a text of the right kind about other things.

    Args:
      text: token numbers -> a text.
      made: field of the written texts.
      wanted: name of the output.
      rows: number of first rows.
    """

    def run(features, final) -> dict:
        split = "test" if final else "val"
        generated = features.generated(split, rows)
        if made not in generated:
            raise ValueError(f"rouge: the method must generate {made!r}")
        found, true = (
            [words(text(row)) for row in np.asarray(x)]
            for x in (generated[made], features(split, wanted, rows=rows))
        )
        judges = (rouge_n, lambda a, b: rouge_n(a, b, 2), rouge_l)
        scores = {
            name: float(np.mean([judge(a, b).f1 for a, b in zip(found, true, strict=True)]))
            for name, judge in zip(NAMES, judges, strict=True)
        }
        far = max(len(true) // 2, 1)  # neighbors may be of one document
        others = zip(found, [*true[far:], *true[:far]], strict=True)
        other = float(np.mean([rouge_n(a, b).f1 for a, b in others]))
        return scores | {"rouge1/other": other}

    how = f"mean F1 of ROUGE-1, 2 and L, words without stemming, {rows} rows"
    return Eval(how, run, (wanted,))
