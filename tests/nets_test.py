import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from jssl import nets
from jssl.learner import fresh, minimize


class Small(nn.Module):
    @nn.compact
    def __call__(self, x, train=False):
        x = nn.Dense(4, name="first")(x)
        x = nn.BatchNorm(use_running_average=not train, momentum=0.5, name="norm")(x)
        return nn.Dropout(0.5, deterministic=not train)(x)


def start():
    net, x = nets.linen(Small()), jax.random.normal(jax.random.key(1), (8, 3))
    return net, x, net.init(jax.random.key(0), x)


def test_in_eval_the_statistics_come_back_as_they_went_in():
    net, x, (params, stats) = start()
    _, after = net.apply(params, stats, x)
    assert after is stats


def test_in_training_they_move_and_keep_their_tree():
    net, x, (params, stats) = start()
    _, after = net.apply(params, stats, x, train=True, keys={"dropout": jax.random.key(2)})
    assert jax.tree.structure(after) == jax.tree.structure(stats)
    assert not np.allclose(after["batch_stats"]["norm"]["mean"], 0)


def test_noise_without_a_key_is_refused():
    net, x, (params, stats) = start()
    match = 'without a key: pass keys={NAME: key}: .* needs PRNG for "dropout"$'
    with pytest.raises(ValueError, match=match):
        net.apply(params, stats, x, train=True, keys={"drop_path": jax.random.key(2)})


def test_captured_outputs_come_by_name():
    net, x, (params, stats) = start()
    (_, seen), after = net.apply(params, stats, x, capture=("first",))
    expected = x @ params["first"]["kernel"] + params["first"]["bias"]
    np.testing.assert_allclose(seen["first"], expected, rtol=1e-5)
    assert after is stats


def test_a_network_without_statistics_gives_an_empty_tree():
    net = nets.linen(DenseOnly())
    params, stats = net.init(jax.random.key(0), jnp.ones((1, 2)))
    assert not jax.tree.leaves(stats)
    _, after = net.apply(params, stats, jnp.ones((1, 2)), train=True)
    assert jax.tree.structure(after) == jax.tree.structure(stats)


class DenseOnly(nn.Module):
    @nn.compact
    def __call__(self, x, train=False):
        return nn.Dense(1)(x)


class Branch(nnx.Module):
    def __init__(self, rngs):
        self.dense = nnx.Linear(4, 4, rngs=rngs)

    def __call__(self, x):
        x = self.dense(x)
        self.sow(nnx.Intermediate, "layers", x)
        return x


class SmallNNX(nnx.Module):
    """The network `Small`, and after it branches whose sum is "sum"."""

    def __init__(self, rngs, branches=0):
        self.first = nnx.Linear(3, 4, rngs=rngs)
        self.norm = nnx.BatchNorm(4, momentum=0.5, rngs=rngs)
        self.dropout = nnx.Dropout(0.5, rngs=rngs)
        self.branches = nnx.List([Branch(rngs) for _ in range(branches)])

    def __call__(self, x):
        x = self.dropout(self.norm(self.first(x)))
        if not self.branches:
            return x
        return {"h": x, "sum": sum(branch(x) for branch in self.branches)}

    def encode(self, x):
        return self.first(x)


def start_nnx(branches=0):
    net = nets.nnx(lambda rngs: SmallNNX(rngs, branches))
    x = jax.random.normal(jax.random.key(1), (8, 3))
    return net, x, net.init(jax.random.key(0), x)


def shapes(tree):
    return jax.tree.map(lambda x: (x.shape, x.dtype), tree)


def test_linen_and_nnx_give_the_same_output_for_the_same_weights():
    linen, x, variables = start()
    net, _, own = start_nnx()
    assert shapes(own) == shapes(variables)
    for train in (False, True):
        calm = {"keys": {"dropout": jax.random.key(2)}} if train else {}
        out, stats = linen.apply(*variables, x, train=train, capture=("norm",), **calm)
        same, moved = net.apply(*variables, x, train=train, capture=("norm",), **calm)
        np.testing.assert_allclose(same[1]["norm"], out[1]["norm"], rtol=1e-5, atol=1e-6)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, 1e-5), moved, stats)
        if not train:
            np.testing.assert_allclose(same[0], out[0], rtol=1e-5, atol=1e-6)


def test_an_nnx_module_is_trained_in_a_compiled_step():
    net, x, (params, stats) = start_nnx()
    tx = optax.adam(0.05)

    def loss(params, stats, x, key):
        out, stats = net.apply(params, stats, x, train=True, keys={"dropout": key})
        value = jnp.mean((out - 1) ** 2)
        return value, (stats, {"loss": value})

    @jax.jit
    def step(learner, key):
        return minimize(tx, loss, learner, x, key)

    first = learner = fresh(tx, params, stats)
    for key in jax.random.split(jax.random.key(3), 50):
        learner, metrics = step(learner, key)
        assert shapes(learner) == shapes(first)
    assert metrics["loss"] < 0.7 * step(first, key)[1]["loss"]
    before, after = (x.stats["batch_stats"]["norm"]["mean"] for x in (first, learner))
    assert not np.allclose(before, after)


def test_an_nnx_module_in_eval_leaves_its_statistics_and_draws_nothing():
    net, x, (params, stats) = start_nnx()
    out, after = net.apply(params, stats, x)
    assert after is stats
    np.testing.assert_array_equal(net.apply(params, stats, x)[0], out)


def test_an_nnx_modules_noise_follows_its_key_alone():
    net, x, (params, stats) = start_nnx()
    keys = [{"dropout": jax.random.key(i), "drop_path": jax.random.key(9)} for i in (2, 3)]
    one, two = (net.apply(params, stats, x, train=True, keys=k)[0] for k in keys)
    again, _ = net.apply(params, stats, x, train=True, keys=keys[0])
    np.testing.assert_array_equal(again, one)
    assert not np.array_equal(one == 0, two == 0)
    with pytest.raises(ValueError, match=r"noise .* without a key: pass keys="):
        net.apply(params, stats, x, train=True)


def test_another_function_of_an_nnx_module_is_called_by_name():
    net, x, (params, stats) = start_nnx()
    out, _ = net.apply(params, stats, x, method="encode")
    expected = x @ params["first"]["kernel"] + params["first"]["bias"]
    np.testing.assert_allclose(out, expected, rtol=1e-5)


def test_what_nnx_modules_sow_comes_in_order_and_in_eval_alone():
    net, x, (params, stats) = start_nnx(branches=11)
    out, _ = net.apply(params, stats, x)
    assert len(out["layers"]) == 11
    dense = params["branches"][10]["dense"]
    expected = out["h"] @ dense["kernel"] + dense["bias"]
    np.testing.assert_allclose(out["layers"][10], expected, rtol=1e-4, atol=1e-6)
    trained, _ = net.apply(
        params, stats, x, train=True, keys={"dropout": jax.random.key(0)}
    )
    assert set(trained) == {"h", "sum"}


def test_an_nnx_module_without_statistics_gives_an_empty_tree():
    net = nets.nnx(lambda rngs: nnx.Linear(2, 1, rngs=rngs))
    params, stats = net.init(jax.random.key(0))
    assert stats == net.apply(params, stats, jnp.ones((1, 2)), train=True)[1] == {}
