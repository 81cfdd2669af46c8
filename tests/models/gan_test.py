"""Maxout: units are the largest of their pieces, and dropout precedes every layer."""

import jax
import jax.numpy as jnp
import numpy as np
from toys import jitted

from jssl.models.gan import Maxout


def test_a_maxout_unit_is_the_largest_of_its_linear_pieces():
    x = jax.random.uniform(jax.random.key(0), (4, 5, 1))
    net = jitted(Maxout((6, 3), pieces=2))
    params, stats = net.init(jax.random.key(1), x)
    out, _ = net.apply(params, stats, x)
    h = np.asarray(x)[..., 0]
    for name, width in (("dense0", 6), ("dense1", 3)):
        kernel, bias = (np.asarray(params[name][k]) for k in ("kernel", "bias"))
        pieces = [h @ kernel[:, i::2] + bias[i::2] for i in range(2)]
        h = np.maximum(*pieces)
        assert h.shape[1] == width
    np.testing.assert_allclose(out["h"], h, rtol=1e-5)
    head = params["head"]
    np.testing.assert_allclose(out["logits"], (h @ head["kernel"])[:, 0], rtol=1e-5)


def test_the_published_discriminator_has_its_number_of_weights():
    shapes = jax.eval_shape(Maxout().init, jax.random.key(0), jnp.zeros((1, 784)))
    count = sum(x.size for x in jax.tree.leaves(shapes["params"]))
    assert count == 785 * 1200 + 241 * 1200 + 241


def test_dropout_has_a_rate_of_its_own_for_the_input():
    x = jnp.ones((1, 2000))
    for how, dropped in ((dict(input_dropout=0.0, dropout=0.5), False), ({}, True)):
        net = Maxout((4,), 2, **how, kernel_init=jax.nn.initializers.ones)
        params = net.init(jax.random.key(0), x)
        keys = {"dropout": jax.random.key(1)}
        h = net.apply(params, x, train=True, rngs=keys)["h"][0]
        kept = np.asarray(h) / 2000
        assert (kept != 1).all() == dropped
        assert (abs(kept - 1) < 0.1).all()  # scaled up by what is left out
