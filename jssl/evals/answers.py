"""Extractive question answering: exact match and F1 of words, as SQuAD defines them.

Rajpurkar, Zhang, Lopyrev and Liang 2016, "SQuAD: 100,000+ Questions for Machine
Comprehension of Text", https://arxiv.org/abs/1606.05250, section 6.1.
"""

import re
import string
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from jssl.evals.protocol import Eval

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_NO_WORD = "\0"  # survives the normalization, and equals no word of a text
_PUNCTUATION = str.maketrans("", "", string.punctuation)


def normalized_answer(text: str) -> str:
    """An answer in lower case, without punctuation, articles and extra spaces.

    >>> normalized_answer("The  U.S., an  Island!")
    'us island'
    """
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def exact_match(answer: str, references: Sequence[str]) -> float:
    """1 if an answer equals one of several references after normalization, else 0.

    >>> exact_match("the cat.", ["a dog", "Cat"])
    1.0
    """
    return float(normalized_answer(answer) in map(normalized_answer, references))


def token_f1(answer: str, references: Sequence[str]) -> float:
    """F1 of the words of an answer, the largest over several references.

    Words are those of the normalized answers, with their multiplicity. Two answers without
    words are equal.

    >>> round(token_f1("cat sat down", ["the cat sat"]), 3)  # precision 2/3, recall 1
    0.8
    """
    return max(_f1(answer, each) for each in references)


def _f1(answer, reference):
    given, wanted = (normalized_answer(x).split() for x in (answer, reference))
    if not given or not wanted:
        return float(given == wanted)
    common = sum((Counter(given) & Counter(wanted)).values())
    return 2 * common / (len(given) + len(wanted))


def answers(
    text: Callable[[Mapping[str, Any], np.ndarray], Sequence[str]],
    output: str = "span",
    target: str = "spans",
    unknown: str = "[UNK]",
) -> Eval:
    """Exact match and F1 of a method's own spans; fits nothing.

    A row that does not contain the whole answer, whose span is negative, counts as 0. Words
    that the tokenizer does not know have one text: they count only if the spans are equal.

    Args:
      text: (decoded columns, spans [n, 2]) -> the texts of spans.
      output: predicted first and last places int [n, 2] of `embed`.
      target: column of the spans [n, 2].
      unknown: text of an unknown token.
    """

    def run(features, final) -> dict:
        split = "test" if final else "val"
        truth = np.asarray(features.targets(split, target))
        rows = features.rows(split)
        spans = np.asarray(features(split, output))
        other = (spans != truth).any(-1)
        guess = [
            x.replace(unknown, _NO_WORD) if differs else x
            for x, differs in zip(text(rows, spans), other, strict=True)
        ]
        wanted = text(rows, np.maximum(truth, 0))
        known = (truth >= 0).all(-1)
        pairs = list(zip(guess, wanted, strict=True))
        exact = np.array([exact_match(a, [b]) for a, b in pairs])
        f1 = np.array([token_f1(a, [b]) for a, b in pairs])
        return {
            "exact_match": float((exact * known).mean()),
            "answer_f1": float((f1 * known).mean()),
        }

    return Eval(
        f"exact match and F1 of the words of {output}, by SQuAD's normalization; "
        f"{unknown} only of equal spans",
        run,
        (output,),
        online=True,
    )
