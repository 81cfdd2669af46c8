"""CoGAN's networks: layers that are shared, and the published sizes."""

import jax
import jax.numpy as jnp
import numpy as np
from toys import images, jitted

from jssl.models.cogan import (
    CoupledDiscriminator,
    CoupledGenerator,
    DigitsHead,
    DigitsJudge,
    DigitsStem,
    DigitsTrunk,
    HalvingStem,
    Head,
)
from jssl.models.conditional import Strided
from jssl.models.dcgan import Generator
from jssl.nets import linen

Z = jax.random.normal(jax.random.key(0), (3, 4))


def generators(copies):
    trunks = [Generator((8, 8, 1), (6, 4), 4, (2, 1), maps=True) for _ in range(copies)]
    return jitted(CoupledGenerator(tuple(trunks), (Head(1), Head(1))))


def discriminators(copies):
    stems = HalvingStem(4), HalvingStem(4)
    return jitted(CoupledDiscriminator(stems, tuple(Strided((6,)) for _ in range(copies))))


def moved(net, params, stats, part, *inputs):
    """If each output of a network depends on a part of the weights."""
    other = params | {part: jax.tree.map(lambda x: x + 0.1, params[part])}
    before, after = (net.apply(p, stats, *inputs)[0] for p in (params, other))
    if isinstance(before, dict):
        before, after = before["logits"].T, after["logits"].T
    return [bool(np.any(a != b)) for a, b in zip(before, after, strict=True)]


def test_tied_layers_are_of_both_networks_and_others_of_one():
    pair = images(), images()[:, ::-1]
    for make, own, given in (
        (generators, "heads", (Z,)),
        (discriminators, "stems", (pair,)),
    ):
        net = make(1)
        params, stats = net.init(jax.random.key(1), *given)
        assert set(params) == {"trunks_0", f"{own}_0", f"{own}_1"}
        seen = {part: moved(net, params, stats, part, *given) for part in params}
        assert seen["trunks_0"] == [True, True]
        assert seen[f"{own}_0"] == [True, False] and seen[f"{own}_1"] == [False, True]
        net = make(2)
        params, stats = net.init(jax.random.key(1), *given)
        seen = {part: moved(net, params, stats, part, *given) for part in params}
        assert seen["trunks_0"] == [True, False] and seen["trunks_1"] == [False, True]


def test_equal_heads_of_tied_generators_make_equal_images():
    net = generators(1)
    params, stats = net.init(jax.random.key(1), Z)
    one, two = net.apply(params | {"heads_1": params["heads_0"]}, stats, Z)[0]
    assert one.shape == (3, 8, 8, 1)
    np.testing.assert_array_equal(one, two)


def test_the_gradient_of_a_tied_layer_is_the_sum_of_those_of_both_domains():
    net = generators(1)
    params, stats = net.init(jax.random.key(1), Z)
    weight = jax.random.normal(jax.random.key(2), (2, 3, 8, 8, 1))

    @jax.jit
    def slopes(params):
        def loss(params, which):
            out, _ = net.apply(params, stats, Z, train=True)
            return sum((weight[i] * out[i]).sum() for i in which)

        return [jax.grad(loss)(params, which) for which in ((0, 1), (0,), (1,))]

    both, one, two = slopes(params)
    jax.tree.map(
        lambda a, b, c: np.testing.assert_allclose(a, b + c, rtol=1e-4, atol=1e-5),
        both["trunks_0"],
        one["trunks_0"],
        two["trunks_0"],
    )
    assert not np.any(one["heads_1"]["conv"]["kernel"])


def test_one_domain_alone_has_the_logits_of_the_pair():
    net = discriminators(1)
    pair = images(), images()[:, ::-1]
    params, stats = net.init(jax.random.key(1), pair)
    logits = net.apply(params, stats, pair)[0]["logits"]
    assert logits.shape == (8, 2)
    for i, name in enumerate(("first", "second")):
        out, _ = net.apply(params, stats, pair[i], method=name)
        assert out["h"].shape == (8, 2 * 2 * 6)
        np.testing.assert_allclose(out["logits"], logits[:, i], rtol=1e-5, atol=1e-6)


def test_the_networks_of_digits_have_the_published_sizes():
    """mnist.edge.cogan.train.ptt of the released code: maps of 4, 7, 13, 25, 28 pixels."""
    maker = linen(CoupledGenerator((DigitsTrunk(),), (DigitsHead(), DigitsHead())))
    judge = linen(CoupledDiscriminator((DigitsStem(), DigitsStem()), (DigitsJudge(),)))

    def sizes(net, *inputs):
        params, stats = jax.eval_shape(net.init, jax.random.key(0), *inputs)
        return params, stats, sum(x.size for x in jax.tree.leaves(params))

    z = jnp.zeros((2, 100))
    params, stats, count = sizes(maker, z)
    made = jax.eval_shape(maker.apply, params, stats, z)[0]
    assert [x.shape for x in made] == [(2, 28, 28, 1)] * 2
    layers = [9 * i * o + o for i, o in ((1024, 512), (512, 256), (256, 128))]
    norms = 2 * (1024 + 512 + 256 + 128)  # offsets, slopes of PReLU
    heads = 2 * (36 * 128 + 1)
    assert count == 100 * 16384 + 16384 + sum(layers) + norms + heads
    params, stats, count = sizes(judge, made)
    conv = 2 * (25 * 20 + 20) + 25 * 20 * 50 + 50
    assert count == conv + 4 * 4 * 50 * 500 + 500 + 500 + 500 + 1


def test_the_transposed_convolutions_are_gradients_of_convolutions():
    """Caffe's Deconvolution of padding 1: the gradient of such a convolution, of x."""
    x = jax.random.normal(jax.random.key(0), (1, 5, 5, 2))
    made, variables = DigitsHead().init_with_output(jax.random.key(1), x)
    kernel = variables["params"]["conv"]["kernel"]  # [6, 6, in, out]

    def backward(y):  # a convolution of the larger map, padding 1
        return jax.lax.conv_general_dilated(
            y,
            kernel[::-1, ::-1].swapaxes(2, 3),
            (1, 1),
            [(1, 1)] * 2,
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )

    small, back = jax.vjp(backward, jnp.zeros((1, 8, 8, 1)))
    assert small.shape == x.shape
    np.testing.assert_allclose(made, jax.nn.sigmoid(back(x)[0]), rtol=1e-4, atol=1e-5)
