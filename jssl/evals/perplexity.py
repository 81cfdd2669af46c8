"""Perplexity of a language model: the exponential of the mean cross entropy of tokens."""

import math

import numpy as np

from jssl.evals.protocol import Eval


def perplexity() -> Eval:
    """Perplexity of the predicted tokens of a split.

    The outputs "nats" [n, l] and "counted" [n, l] of the method are the cross entropy of
    each token, and 1 where a token is predicted. Of a masked language model it is that of
    the masked tokens given all others, and smaller than that of a causal one. Perplexities
    of unlike vocabularies cannot be compared.
    """

    def run(features, final) -> dict:
        split = "test" if final else "val"
        nats, count = (np.asarray(features(split, x)) for x in ("nats", "counted"))
        total = count.sum()
        if not total:
            raise ValueError(f"perplexity: no token of {split} is predicted")
        return {"perplexity": math.exp(min(float(nats.sum() / total), 700.0))}

    how = "exp of the mean cross entropy of the predicted tokens"
    return Eval(how, run, ("nats", "counted"), online=True)
