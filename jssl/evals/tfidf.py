"""Logistic regression on TF-IDF of words: a baseline of text classification.

Counts of a term are multiplied by ln((1 + n) / (1 + df)) + 1, where df of n texts have it,
and those of a text scaled to length 1, as scikit-learn does. Wang and Manning 2012,
"Baselines and Bigrams", https://aclanthology.org/P12-2018
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from jssl.evals.protocol import Eval


def tfidf(
    texts: Callable[[Mapping[str, Any]], Sequence[str]],
    words: Callable[[str], Sequence[str]] = str.split,
    ngrams: int = 2,
    c: float = 10.0,
    metric: str = "top1",
) -> Eval:
    """Top-1 accuracy of logistic regression on TF-IDF, by scikit-learn.

    It is fitted on train alone, by one penalty, so that it has no more labels than a
    network that is trained on the same rows.

    Args:
      texts: decoded columns -> texts.
      words: a text in lower case -> its words; its name is part of the protocol.
      ngrams: most words of a term.
      c: inverse of the penalty.
      metric: name of the number.
    """

    def run(features, final) -> dict:
        from sklearn.feature_extraction.text import TfidfVectorizer
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline

        split = "test" if final else "val"
        terms = TfidfVectorizer(
            ngram_range=(1, ngrams), tokenizer=words, token_pattern=None
        )
        model = make_pipeline(terms, LogisticRegression(C=c, max_iter=1000))
        model.fit(texts(features.rows("train")), features.labels("train"))
        guess = model.predict(texts(features.rows(split)))
        return {metric: float(np.mean(guess == features.labels(split)))}

    return Eval(
        f"logistic regression, C={c:g}, on TF-IDF of terms of up to {ngrams} words, "
        f"split by {words.__name__}, fitted on train",
        run,
        (),
    )
