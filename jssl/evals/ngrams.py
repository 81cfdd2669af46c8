r"""N-gram models, to compare the perplexity of language models with.

Interpolated Kneser-Ney smoothing: with a discount D, counts c of the highest order, and in
the lower orders the number of words that precede,

    p(w | h) = max(c(h w) - D, 0) / c(h) + D n(h) / c(h) p(w | h')

where n(h) is the number of words that follow h, and h' is h without its first word. Below
the first order is the even distribution.

Kneser and Ney 1995; Chen and Goodman 1999, https://doi.org/10.1006/csla.1999.0128
"""

import collections
import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from jaxtyping import Int

from jssl.evals.protocol import Eval

NAMES = {1: "unigram", 2: "bigram", 3: "trigram"}


class KneserNey:
    """A smoothed n-gram model of rows of tokens.

    Args:
      rows: sequences of tokens, of which the first `order` - 1 are not predicted.
      order: length of the n-grams.
      vocabulary: number of tokens.
      discount: D, between 0 and 1.
    """

    def __init__(
        self, rows: Iterable[Sequence[int]], order: int, vocabulary: int, discount: float
    ):
        self.order, self.vocabulary, self.discount = order, vocabulary, discount
        counts: collections.Counter[tuple[int, ...]] = collections.Counter()
        for row in rows:
            row = tuple(row)
            counts.update(row[i : i + order] for i in range(len(row) - order + 1))
        self.counts, self.totals, self.kinds = {}, {}, {}
        for n in range(order, 0, -1):
            self.counts[n] = counts
            totals: collections.Counter[tuple[int, ...]] = collections.Counter()
            kinds: collections.Counter[tuple[int, ...]] = collections.Counter()
            lower: collections.Counter[tuple[int, ...]] = collections.Counter()
            for gram, count in counts.items():
                totals[gram[:-1]] += count
                kinds[gram[:-1]] += 1
                lower[gram[1:]] += 1
            self.totals[n], self.kinds[n], counts = totals, kinds, lower

    def probability(self, history: Sequence[int], word: int) -> float:
        """p(word | history), of which the last `order` - 1 tokens count."""
        held, p = tuple(history), 1 / self.vocabulary
        for n in range(1, self.order + 1):
            before = held[len(held) - n + 1 :]
            total = self.totals[n][before]
            if len(before) < n - 1 or not total:
                break  # longer histories are not known either
            own = max(self.counts[n][(*before, word)] - self.discount, 0)
            p = own / total + self.discount * self.kinds[n][before] / total * p
        return p


def ngrams(
    orders: Sequence[int] = (1, 3),
    *,
    begin: int,
    pad: int | None = 0,
    discount: float = 0.75,
) -> Eval:
    """Perplexity of n-gram models of the training rows, of the tokens that GPT predicts.

    It does not depend on the method. The data must be windows of a corpus.

    Args:
      orders: lengths of the n-grams.
      begin: token before the first one of a row.
      pad: padding, which is not predicted.
      discount: D of Kneser-Ney smoothing.
    """
    known: dict[Any, float] = {}

    def rows(source, split) -> Int[np.ndarray, "n l"]:
        part = source.split(split)
        if "corpus" not in part.context:
            return part.column("corpus")
        start, length = part.column("start"), part.field_of("start").length
        return part.context["corpus"][start[:, None] + np.arange(length)]

    def after(row, count):
        kept = row[row != pad].tolist() if pad is not None else row.tolist()
        return [begin] * count + kept

    def measured(source, split, order):
        size = len(source.field_of("corpus").vocabulary)
        train = (after(row, order - 1) for row in rows(source, "train"))
        model = KneserNey(train, order, size, discount)
        total = count = 0.0
        for row in rows(source, split):
            held = after(row, order - 1)
            for i in range(order - 1, len(held)):
                total -= math.log(
                    model.probability(held[max(i - order + 1, 0) : i], held[i])
                )
                count += 1
        return math.exp(total / count)

    def run(features, final) -> dict:
        split = "test" if final else "val"
        found = {}
        for order in orders:
            key = features.source.digest, split, order
            if key not in known:
                known[key] = measured(features.source, split, order)
            found[f"perplexity/{NAMES.get(order, f'{order}-gram')}"] = known[key]
        return found

    names = ", ".join(NAMES.get(n, f"{n}-gram") for n in orders)
    how = f"perplexity of Kneser-Ney n-grams of the training rows ({names}), D {discount:g}"
    return Eval(how, run)
