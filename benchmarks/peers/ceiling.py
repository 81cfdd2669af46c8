"""What the machine can do: a float32 product of 2048 x 2048 matrices, and a large copy.

Both sides do the same. A copy of b bytes counts 2 b, one reading and one writing.
"""

from functools import partial

from peers.pair import Pair, Work


def shapes(quick):
    """(side of the product, floats of the copy)."""
    return (256, 2**20) if quick else (2048, 2**26)


def ours(kind, quick):
    import jax
    import jax.numpy as jnp

    side, size = shapes(quick)
    if kind == "product":
        x = jax.random.normal(jax.random.key(0), (side, side))
        function = jax.jit(lambda x: x @ x)
    else:
        x, function = jnp.arange(size, dtype=jnp.float32), jax.jit(jnp.copy)
    return Work(lambda: function(x).block_until_ready(), units(kind, quick))


def theirs(kind, quick):
    import torch

    side, size = shapes(quick)
    if kind == "product":
        x = torch.randn(side, side)
        out = torch.empty_like(x)
        return Work(lambda: torch.mm(x, x, out=out), units(kind, quick))
    x = torch.arange(size, dtype=torch.float32)
    return Work(x.clone, units(kind, quick))


def units(kind, quick):
    """GFLOP or GB of one call."""
    side, size = shapes(quick)
    return (2 * side**3 if kind == "product" else 2 * 4 * size) / 1e9


PAIRS = {
    f"ceiling-{kind}": Pair(
        unit, partial(ours, kind), {"torch": partial(theirs, kind)}, None
    )
    for kind, unit in (("product", "GFLOP"), ("copy", "GB"))
}
