"""Networks with dropout: each step draws anew, and embeddings draw nothing."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from toys import images, jitted

from jssl import nets
from jssl.learner import noise_keys
from jssl.methods.clustering.deepcluster import deepcluster
from jssl.methods.generative.autoencoder import autoencoder
from jssl.methods.generative.deep_autoencoder import deep_autoencoder
from jssl.methods.generative.denoising import denoising
from jssl.methods.pretext.jigsaw import jigsaw
from jssl.methods.pretext.rotation import rotation
from jssl.methods.transfer.distil import distil
from jssl.methods.transfer.linear import linear
from jssl.methods.transfer.supervised import supervised
from jssl.ops.permutations import permutation_set


class Dropped(nn.Module):
    """A linear layer "head" behind dropout: x [n, ...] -> {"logits": [n, *shape], "h"}."""

    shape: tuple[int, ...]

    @nn.compact
    def __call__(self, x, train=False):
        h = x.reshape(len(x), -1)
        y = nn.Dropout(0.5, deterministic=not train)(h)
        logits = nn.Dense(int(np.prod(self.shape)), name="head")(y)
        return {"logits": logits.reshape(-1, *self.shape), "h": h}

    def filters(self, train=False):
        return jnp.ones((1, 3, 3, 1))


PLAIN = nets.Net(
    lambda key, x: ({}, {}),
    lambda params, stats, x, **how: ({"h": x.reshape(len(x), -1)}, stats),
)
TX = optax.sgd(0.0)
METHODS = {
    "supervised": lambda: supervised(jitted(Dropped((3,))), TX, 3),
    "linear": lambda: linear(PLAIN, jitted(Dropped((3,))), TX, 3),
    "distil": lambda: distil(jitted(Dropped((3,))), jitted(Dropped((3,))), TX),
    "deepcluster": lambda: deepcluster(jitted(Dropped((3,))), TX, size=8, clusters=3),
    "jigsaw": lambda: jigsaw(jitted(Dropped((4,))), TX, permutation_set(9, 4), tile=2),
    "rotation": lambda: rotation(jitted(Dropped((4,))), TX),
    "autoencoder": lambda: autoencoder(jitted(Dropped((8, 8, 1))), TX),
    "denoising": lambda: denoising(
        jitted(Dropped((8, 8, 1))), TX, lambda key, x: (x, jnp.zeros_like(x))
    ),
    "deep_autoencoder": lambda: deep_autoencoder(jitted(Dropped((8, 8, 1))), TX),
}


@pytest.mark.parametrize("name", METHODS)
def test_a_network_with_dropout_trains_by_the_key_of_the_step(name):
    method = METHODS[name]()
    index = jnp.arange(8, dtype=jnp.int32)
    batch = {"image": images(), "label": index % 3, "index": index}
    state = method.init(jax.random.key(0), batch)
    step = jax.jit(method.step)
    losses = [float(step(jax.random.key(i), state, batch)[1]["loss"]) for i in (1, 1, 2)]
    assert np.isfinite(losses).all()
    assert losses[0] == losses[1]
    if name != "jigsaw":  # its loss also depends on the permutations that are drawn
        assert losses[0] != losses[2]
    both = [method.embed(state, batch)["h"] for _ in range(2)]
    np.testing.assert_array_equal(*both)


def test_keys_of_noise_are_none_of_those_that_views_split_off():
    key = jax.random.key(0)
    drawn = [*noise_keys(key).values(), *jax.random.split(key, 64), key]
    assert len({tuple(np.asarray(jax.random.key_data(x))) for x in drawn}) == 67
