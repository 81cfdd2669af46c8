"""Networks that read a class: constant maps, the projection, the joint layers of 2014."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toys import images, jitted

from jssl.models import gan
from jssl.models.conditional import (
    Conditional,
    Conditioned,
    JointGenerator,
    JointMaxout,
    Strided,
)

Y = jax.nn.one_hot(jnp.arange(8) % 3, 3)
DENSE = gan.Discriminator((6,))


def began(module, *inputs):
    net = jitted(module)
    return net, *net.init(jax.random.key(0), *inputs)


def test_concatenated_classes_are_constant_maps():
    net, params, stats = began(Conditional(DENSE, "concat"), images(), Y)
    assert params["net"]["dense0"]["kernel"].shape == (8 * 8 * 4, 6)
    maps = np.broadcast_to(np.asarray(Y)[:, None, None], (8, 8, 8, 3))
    x = np.concatenate([images(), maps], -1).reshape(8, -1)
    h = x @ params["net"]["dense0"]["kernel"]
    out, _ = net.apply(params, stats, images(), Y)
    np.testing.assert_allclose(out["h"], np.where(h > 0, h, 0.2 * h), rtol=1e-4, atol=1e-5)


def test_the_projection_adds_an_inner_product_with_the_class():
    net, params, stats = began(Conditional(DENSE, "projection"), images(), Y)
    plain = jitted(Conditional(DENSE, "none"))
    out, _ = net.apply(params, stats, images(), Y)
    other, _ = plain.apply({"net": params["net"]}, stats, images(), Y)
    np.testing.assert_array_equal(out["h"], other["h"])
    embedded = np.asarray(params["classes"]["kernel"])[np.arange(8) % 3]
    added = (embedded * np.asarray(out["h"])).sum(1)
    assert abs(added).min() > 1e-4
    np.testing.assert_allclose(out["logits"] - other["logits"], added, rtol=1e-3, atol=1e-5)
    zero = params | {"classes": {"kernel": 0 * params["classes"]["kernel"]}}
    np.testing.assert_array_equal(
        net.apply(zero, stats, images(), Y)[0]["logits"], other["logits"]
    )


def test_a_strided_discriminator_of_classes_has_maps_and_a_head_of_turns():
    judge = Conditional(Strided((2, 3)), turns=True, spectral=True)
    net, params, stats = began(judge, images(), Y)
    out, _ = net.apply(params, stats, images(), Y)
    assert [x.shape[1:] for x in out["layers"]] == [(4, 4, 2), (2, 2, 3)]
    np.testing.assert_array_equal(out["layers"][-1].reshape(8, -1), out["h"])
    assert out["turns"].shape == (8, 4)


def test_a_generator_has_the_class_beside_the_noise():
    z = jnp.ones((8, 2))
    net, params, stats = began(Conditioned(gan.Generator((3,), (), lambda x: x)), z, Y)
    kernel = np.asarray(params["net"]["dense"]["dense0"]["kernel"])
    made, _ = net.apply(params, stats, z, Y)
    wanted = kernel[:2].sum(0) + kernel[2 + np.arange(8) % 3]
    np.testing.assert_allclose(made, wanted, rtol=1e-5, atol=1e-6)


def test_the_networks_of_2014_have_their_numbers_of_weights():
    z, y, x = jnp.zeros((1, 100)), jnp.zeros((1, 10)), jnp.zeros((1, 28, 28, 1))

    def count(module, *inputs):
        params = jax.eval_shape(module.init, jax.random.key(0), *inputs)["params"]
        return sum(leaf.size for leaf in jax.tree.leaves(params))

    made = 101 * 200 + 11 * 1000 + 1201 * 1200 + 1201 * 784
    assert count(JointGenerator((28, 28, 1)), z, y) == made
    judged = 785 * 240 * 5 + 11 * 50 * 5 + 291 * 240 * 4 + 241
    assert count(JointMaxout(), x, y) == judged


def test_joint_maxout_units_are_the_largest_of_their_pieces():
    net, params, stats = began(JointMaxout((3, 2), (2, 2), (4, 2)), images(), Y)
    out, _ = net.apply(params, stats, images(), Y)

    def largest(x, name):
        kernel, bias = (np.asarray(params[name][k]) for k in ("kernel", "bias"))
        pieces = x @ kernel + bias
        return np.maximum(pieces[:, ::2], pieces[:, 1::2])

    both = largest(np.asarray(images()).reshape(8, -1), "sample"), largest(Y, "classes")
    h = largest(np.concatenate(both, 1), "joint")
    np.testing.assert_allclose(out["h"], h, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(
        out["logits"], (h @ params["head"]["kernel"])[:, 0], rtol=1e-4, atol=1e-5
    )


def test_an_unknown_condition_is_refused():
    with pytest.raises(ValueError, match="concat, projection or none, got 'film'"):
        jitted(Conditional(DENSE, "film")).init(jax.random.key(0), images(), Y)
