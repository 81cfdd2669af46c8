"""Network in network: its shapes and its number of weights."""

import jax
import jax.numpy as jnp

from jssl.models.nin import BLOCKS, NIN


def test_the_published_network_has_its_shapes_and_weights():
    """Counted by hand: convolutions, two numbers a channel for each norm, the head."""
    module = NIN(4)
    variables = jax.eval_shape(
        module.init, jax.random.key(0), jnp.zeros((2, 32, 32, 3))
    )
    wanted, into = 0, 3
    for side, (first, *rest) in BLOCKS:
        wanted += side * side * into * first + 2 * first
        into = first
        for width in rest:
            wanted += into * width + 2 * width
            into = width
    wanted += 192 * 4 + 4
    assert sum(x.size for x in jax.tree.leaves(variables["params"])) == wanted
    out = jax.eval_shape(module.apply, variables, jnp.zeros((2, 32, 32, 3)))
    assert {k: v.shape for k, v in out.items()} == {"logits": (2, 4), "h": (2, 192)}


def test_maps_are_halved_twice_and_h_is_the_mean_of_its_block():
    module = NIN(3, blocks=((3, (4,)), (3, (5,)), (3, (6,))), feature=2)
    images = jax.random.normal(jax.random.key(0), (2, 8, 8, 1))
    variables = module.init(jax.random.key(1), images)
    out, seen = module.apply(variables, images, capture_intermediates=True)
    maps = [seen["intermediates"][f"block{i}norm0"]["__call__"][0] for i in range(3)]
    assert [m.shape for m in maps] == [(2, 8, 8, 4), (2, 4, 4, 5), (2, 2, 2, 6)]
    assert jnp.allclose(out["h"], jnp.maximum(maps[1], 0).mean((1, 2)), atol=1e-6)
