"""Network in network: its shapes and its number of weights."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jssl import nets
from jssl.models.nin import BLOCKS, NIN, NINClassifier

SMALL = ((3, (4,)), (3, (5,)), (3, (6,)))
IMAGES = jax.random.normal(jax.random.key(0), (2, 8, 8, 1))


def test_the_published_network_has_its_shapes_and_weights():
    """Counted by hand: convolutions, two numbers a channel for each norm, the head."""
    module = NIN(4)
    variables = jax.eval_shape(module.init, jax.random.key(0), jnp.zeros((2, 32, 32, 3)))
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


def test_the_maps_of_conv2_are_those_of_the_whole_network_after_its_pool():
    whole, front = NIN(3, SMALL), NIN(3, SMALL, maps=True)
    variables = whole.init(jax.random.key(1), IMAGES)
    _, seen = whole.apply(variables, IMAGES, mutable=["layers"])
    before = np.pad(seen["layers"]["tap"][1], [(0, 0), (1, 1), (1, 1), (0, 0)])
    windows = np.lib.stride_tricks.sliding_window_view(before, (3, 3), (1, 2))
    maps = front.apply(variables, IMAGES)
    np.testing.assert_allclose(maps, windows[:, ::2, ::2].mean((-1, -2)), atol=1e-6)
    assert set(front.init(jax.random.key(1), IMAGES)["params"]) == {
        f"block{i}{kind}0" for i in (0, 1) for kind in ("conv", "norm")
    }


def test_rotnets_classifier_on_conv2_has_the_published_shapes():
    """`NIN_ConvBlock3` of NonLinearClassifier.py: convolutions of 192 without biases, a
    scale and an offset for each channel, and a linear layer."""
    front, head = NIN(4, maps=True), NINClassifier(10)
    images = jnp.zeros((2, 32, 32, 3))
    of = jax.eval_shape(front.init, jax.random.key(0), images)
    maps = jax.eval_shape(front.apply, of, images)
    assert maps.shape == (2, 8, 8, 192)
    of = jax.eval_shape(head.init, jax.random.key(0), jnp.zeros(maps.shape))
    wanted = 192 * 192 * (9 + 1 + 1) + 3 * 2 * 192 + 192 * 10 + 10
    assert sum(x.size for x in jax.tree.leaves(of["params"])) == wanted == 408_586
    out = jax.eval_shape(head.apply, of, jnp.zeros(maps.shape))
    assert {k: v.shape for k, v in out.items()} == {"logits": (2, 10), "h": (2, 192)}


def test_rotnets_classifier_learns_a_class_that_the_mean_of_maps_hides():
    """Horizontal and vertical stripes have the same mean: only a convolution tells."""
    stripes = jnp.broadcast_to((jnp.arange(8) % 2 * 2.0 - 1)[:, None], (8, 8))
    maps = jnp.stack([stripes, stripes.T] * 4)[..., None]
    y = jax.nn.one_hot(jnp.arange(8) % 2, 2)
    net = nets.linen(NINClassifier(2, widths=(4, 4)))
    params, stats = net.init(jax.random.key(0), maps)

    @jax.jit
    def step(params):
        def loss(params):
            logits = net.apply(params, stats, maps, train=True)[0]["logits"]
            return -(y * jax.nn.log_softmax(logits)).sum(-1).mean()

        value, slope = jax.value_and_grad(loss)(params)
        return value, jax.tree.map(lambda w, g: w - 0.1 * g, params, slope)

    for _ in range(50):
        value, params = step(params)
    assert value < 0.1


def test_kernels_begin_with_the_variance_of_their_fan_out():
    params = jax.jit(NIN(4).init)(jax.random.key(0), jnp.zeros((1, 8, 8, 3)))["params"]
    for name, fan in (("block0conv0", 25 * 192), ("block1conv1", 192)):
        wanted = np.sqrt(2 / fan)
        np.testing.assert_allclose(params[name]["kernel"].std(), wanted, rtol=0.03)


def test_a_block_that_is_not_there_is_refused():
    with pytest.raises(ValueError, match="one of its 3 blocks, from 1, got 4"):
        NIN(3, SMALL, feature=4).init(jax.random.key(0), IMAGES)
