"""Bounds on the log likelihood of held-out samples.

    1/n sum_i -bound_i >= -1/n sum_i log p(x_i)

for bounds that the method's `embed` gives for each row, in nats: the evidence lower bound
(Kingma and Welling 2014, https://arxiv.org/abs/1312.6114), the importance-weighted bound
(Burda et al. 2016, https://arxiv.org/abs/1509.00519).
"""

import numpy as np

from jssl.evals.protocol import Eval, Features


def likelihood(*names: str, details: str = "") -> Eval:
    """Means of negative bounds over the judged split, in nats per sample; fits nothing.

    Args:
      names: outputs [N] of the method, e.g. "negative_elbo".
      details: settings of the bounds, for the protocol.

    Raises:
      ValueError: an output is not finite, or has more than one number a row.
    """

    def run(features: Features, final: bool) -> dict:
        split = "test" if final else "val"
        return {name: _mean(name, features(split, name)) for name in names}

    how = f": {details}" if details else ""
    return Eval(f"nats per sample{how}", run, outputs=names, online=True)


def _mean(name, nats):
    nats = np.asarray(nats, np.float64)
    if nats.ndim != 1 or not len(nats) or not np.isfinite(nats).all():
        raise ValueError(
            f"likelihood: {name!r} must be finite numbers [N], got {list(nats.shape)}"
        )
    return float(nats.mean())
