"""Linear probes on every layer: the "conv1 to conv5" table.

Maps are averaged over a grid of cells within a budget of numbers per row (9,600 in the
papers; fewer for small data sets), and each layer has an exact probe of its own.

R. Zhang, P. Isola, A. A. Efros, "Colorful Image Colorization", ECCV 2016,
https://arxiv.org/abs/1603.08511; M. Noroozi, P. Favaro, ECCV 2016.
"""

from collections.abc import Sequence
from functools import cache, partial

import jax
import numpy as np
from jaxtyping import Array, Float

from jssl.evals.linear import TOY_GRID, linear_probe
from jssl.evals.protocol import Eval, Features, rows_of
from jssl.ops.shapes import expect


def pool_to_budget(maps: Float[Array, "n h w c"], budget: int) -> Float[Array, "n d"]:
    """Means over the finest grid of cells with d = cells * c <= budget (at least one cell).

    The cells are those of adaptive average pooling: from floor(i h / k) to
    ceil((i + 1) h / k).

    >>> x = jax.numpy.arange(16.0).reshape(1, 4, 4, 1)
    >>> pool_to_budget(x, 4).tolist()  # 2 x 2 cells
    [[2.5, 4.5, 10.5, 12.5]]
    """
    expect("pool_to_budget", maps=(maps, "n h w c"))
    return rows_of(maps, budget)


def layer_probes(budget: int = 600, l2_grid: Sequence[float] = TOY_GRID) -> Eval:
    """Accuracy of a linear probe on each of the method's layers: "layer 1", "layer 2" ...

    Args:
      budget: largest number of features per row.
      l2_grid: penalties to select from on val.

    Raises:
      ValueError: the method has no output "layers".
    """
    probe, pooled = linear_probe(l2_grid), _pooled(budget)

    def run(features: Features, final: bool) -> dict:
        maps = features("train", "layers", pooled)
        found = {}
        for i in range(len(maps)):
            layer = _Layer(features, pooled, i)  # type: ignore[abstract]
            found |= {f"layer {i + 1}": probe(layer, final)["linear"]}
        return found

    how = f"each layer's maps, averaged to {budget} numbers; {probe.protocol}"
    return Eval(how, run, ("layers",))


class _Layer(Features):
    """Features whose h are the pooled maps of one layer."""

    def __init__(self, features, pooled, i):
        self.features, self.pooled, self.i = features, pooled, i

    def labels(self, split):
        return self.features.labels(split)

    def __call__(self, split, name="h"):
        del name
        return np.asarray(self.features(split, "layers", self.pooled)[self.i])


@cache
def _pooled(budget):
    """Pooling function of a budget, cached so that it is compiled once."""
    return partial(jax.tree.map, partial(rows_of, budget=budget))
