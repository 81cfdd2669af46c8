import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jssl import nets


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
