"""Texts that are written with a cache fit the positions of the network."""

import jax
import jax.numpy as jnp
import pytest

from jssl import nets
from jssl.models.transformer import GPT, Transformer

LENGTH = 6


@pytest.mark.parametrize("count", [LENGTH + 1, LENGTH + 2])
def test_a_text_longer_than_the_positions_is_refused(count):
    """All but the last token are read: one more than there are positions can be written."""
    net = nets.linen(GPT(Transformer(8, LENGTH, 8, 1, 2, causal=True, pad=None), None))
    prefix, whole = jnp.ones((1, 2), int), jnp.ones((1, count), int)
    params, stats = net.init(jax.random.key(0), prefix)
    begin = lambda: net.apply(params, stats, prefix, whole, method="begin")
    if count == LENGTH + 1:
        begin()
    else:
        with pytest.raises(ValueError, match="8 tokens cannot be written with the 6 pos"):
            begin()
