"""SimCLR v2: without a memory SimCLR, with one more candidates; and its kept layer."""

from functools import cache
from pathlib import Path

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from toys import images, jitted, two_views

from jssl import config
from jssl.learner import fresh, graft
from jssl.methods.contrastive.simclr import simclr
from jssl.methods.contrastive.simclr_v2 import simclr_v2
from jssl.models.convnet import ConvNet
from jssl.models.heads import MLP, Classifier, Siamese

headline = "loss"
KEY = jax.random.key(1)
ENCODER, HEAD = ConvNet((8, 16)), MLP((16, 12, 8))


def network():
    return jitted(Siamese(ENCODER, HEAD))


def method(tx, queue=16, momentum=0.9):
    how = dict(temperature=0.5, queue=queue, momentum=momentum)
    return simclr_v2(network(), tx, two_views, **how)


def tiny(tx):
    return method(tx or optax.adam(3e-3)), {"image": images()}


@cache
def moved(queue):
    """The states before and after two steps by plain descent, and the metrics."""
    m, batch = method(optax.sgd(0.1), queue), {"image": images()}
    states, metrics = [jax.jit(m.init)(jax.random.key(0), batch)], []
    step = jax.jit(m.step)
    for i in range(2):
        state, seen = step(jax.random.key(i), states[-1], batch)
        states.append(state), metrics.append(seen)
    return states, metrics


def unit(x):
    x = np.asarray(x, np.float64)
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def trained(params, stats, images):
    """The network in training: what it says, and its statistics."""
    return network().apply(params, stats, images, train=True)


def test_without_a_queue_a_step_is_simclrs():
    states, metrics = moved(queue=0)
    plain = simclr(network(), optax.sgd(0.1), two_views, temperature=0.5)
    learner, step = states[0].online, jax.jit(plain.step)
    chex.assert_trees_all_equal(
        learner, jax.jit(plain.init)(jax.random.key(0), {"image": images()})
    )
    for i in range(2):
        learner, wanted = step(jax.random.key(i), learner, {"image": images()})
        chex.assert_trees_all_equal(states[i + 1].online, learner)
        chex.assert_trees_all_equal(metrics[i], wanted)
    assert states[2].memory == ()


@pytest.mark.parametrize("queue", [0, 20])
def test_the_scale_is_of_the_step_and_not_of_the_metric(queue):
    states, metrics = moved(queue)
    batch, how = {"image": images()}, dict(temperature=0.5, queue=queue, momentum=0.9)
    half = simclr_v2(network(), optax.sgd(0.05), two_views, scale=2.0, **how)
    after, seen = jax.jit(half.step)(jax.random.key(0), states[0], batch)
    chex.assert_trees_all_close(after.online.params, states[1].online.params, rtol=1e-5)
    np.testing.assert_allclose(seen["loss"], metrics[0]["loss"], rtol=1e-6)


@pytest.mark.parametrize("at", [0, 1])
def test_the_loss_is_a_double_loop_over_views_and_memory(at):
    states, metrics = moved(queue=20)
    before = states[at]
    views = two_views(jax.random.key(at), images()).reshape(16, 8, 8, 1)
    z = unit(trained(before.online.params, before.online.stats, views)[0]["z"])
    memory = unit(before.memory.queue.keys)
    assert memory.shape == (20, 8)
    total = 0.0
    for i in range(16):
        partner = i + 1 if i % 2 == 0 else i - 1  # views of an image stand together
        below = sum(np.exp(z[k] @ z[i] / 0.5) for k in range(16) if k != i)
        below += sum(np.exp(u @ z[i] / 0.5) for u in memory)
        total -= np.log(np.exp(z[partner] @ z[i] / 0.5) / below)
    np.testing.assert_allclose(metrics[at]["loss"], total / 16, rtol=1e-5)


def test_the_queue_takes_what_the_slow_network_says_of_second_views_oldest_out():
    states, _ = moved(queue=20)
    first = np.asarray(states[0].memory.queue.keys)
    said, stats = [], states[0].memory.stats
    for i in range(2):
        views = two_views(jax.random.key(i), images())
        out, stats = trained(states[i].memory.params, stats, views[:, 1])
        said.append(unit(out["z"]))
    keys, pointer = states[2].memory.queue
    np.testing.assert_allclose(keys, np.concatenate([*said, first[16:]]), atol=1e-5)
    assert pointer == 16
    chex.assert_trees_all_close(states[2].memory.stats, stats, rtol=1e-4, atol=1e-6)


def test_the_slow_network_follows_the_weights_after_their_step():
    states, _ = moved(queue=20)
    for before, after in zip(states, states[1:], strict=False):
        old, new = before.memory.params, after.online.params
        wanted = jax.tree.map(lambda a, b: 0.9 * a + 0.1 * b, old, new)
        chex.assert_trees_all_close(after.memory.params, wanted, rtol=1e-5, atol=1e-7)


@cache
def layer(layers):
    """What a head standing on so many of its layers makes of h, out of training."""
    learner = moved(queue=0)[0][2].online
    params, stats = learner.params["projector"], learner.stats["batch_stats"]["projector"]
    variables = {"params": params, "batch_stats": stats}
    h = embedded()["h"]
    return np.asarray(HEAD.apply(variables, h, layers=layers))


@cache
def embedded():
    m = method(optax.sgd(0.1), 0)
    return jax.jit(m.embed)(moved(queue=0)[0][2], {"image": images()})


def test_layer_nought_of_the_head_is_h_and_the_first_what_embed_calls_head1():
    out = embedded()
    np.testing.assert_array_equal(layer(0), out["h"])
    np.testing.assert_allclose(layer(1), out["head1"], rtol=1e-6)
    assert set(out) == {"h", "head1", "layers"}
    assert out["head1"].shape == (8, 16)


def test_layers_go_on_to_z_and_no_further():
    learner = moved(queue=0)[0][2].online
    z = network().apply(learner.params, learner.stats, images())[0]["z"]
    last = learner.params["projector"]["dense2"]
    np.testing.assert_allclose(
        layer(2) @ last["kernel"] + last["bias"], z, rtol=1e-5, atol=1e-6
    )
    with pytest.raises(ValueError, match="layers must be 0 to 2, its hidden layers, got 3"):
        layer(3)


def test_a_classifier_takes_over_the_encoder_and_the_heads_first_layer():
    learner = moved(queue=0)[0][2].online
    net = jitted(Classifier(ENCODER, 3, HEAD))
    begun = fresh(optax.sgd(0.1), *net.init(jax.random.key(5), images()[:1]))
    grown = graft(begun, encoder=learner, projector=learner)
    assert set(grown.params) == {"encoder", "projector", "head"}
    assert set(grown.params["projector"]) == {"dense0", "norm0"}
    for tree, old in (
        (grown.params, learner.params),
        (grown.stats["batch_stats"], learner.stats["batch_stats"]),
    ):
        chex.assert_trees_all_equal(tree["encoder"], old["encoder"])
        first = {name: old["projector"][name] for name in tree["projector"]}
        chex.assert_trees_all_equal(tree["projector"], first)
    chex.assert_trees_all_equal(grown.params["head"], begun.params["head"])
    out, _ = net.apply(grown.params, grown.stats, images())
    np.testing.assert_allclose(out["h"], embedded()["head1"], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(
        out["logits"],
        out["h"] @ grown.params["head"]["kernel"] + grown.params["head"]["bias"],
        rtol=1e-5,
        atol=1e-6,
    )


def test_the_memory_passes_no_gradient():
    """The slow network's weights could be anything: the online ones move alike."""
    m, batch = method(optax.sgd(0.1), 20), {"image": images()}
    state = moved(queue=20)[0][0]
    other = state.memory._replace(params=jax.tree.map(jnp.zeros_like, state.memory.params))
    step = jax.jit(m.step)
    one, _ = step(jax.random.key(0), state, batch)
    two, _ = step(jax.random.key(0), state._replace(memory=other), batch)
    chex.assert_trees_all_equal(one.online, two.online)
    assert (one.memory.queue.keys != two.memory.queue.keys).any()


@pytest.mark.parametrize("name", ["fine-tune", "distil"])
def test_the_papers_new_head_starts_at_zero_and_is_not_under_lars(name):
    """Its step is momentum plus the rate times a gradient of any length."""
    path = Path(__file__).parents[3] / "experiments" / "simclr_v2.py"
    stages = config.load(f"{path}:paper,tiny=True").stages()
    method, data = next((s.method, s.data) for s in stages if s.name == name)
    shapes = jax.eval_shape(data.decode, data.shapes())
    batch = {
        k: jax.random.uniform(KEY, x.shape) if k == "image" else jnp.arange(len(x)) % 2
        for k, x in shapes.items()
    }
    state = jax.jit(method.init)(jax.random.key(0), batch)
    if name == "distil":
        params, tilt = state.teacher.params, jnp.array([0.0, 0.05])
        params = params | {"head": params["head"] | {"bias": tilt}}
        state = state._replace(teacher=state.teacher._replace(params=params))
    step, heads = jax.jit(method.step), []
    for _ in range(3):
        learner = getattr(state, "student", state)
        heads.append(np.asarray(learner.params["head"]["kernel"], np.float64))
        state, _ = step(KEY, state, batch)
    assert not heads[0].any()
    new = (heads[2] - heads[1]) - 0.9 * (heads[1] - heads[0])
    assert np.linalg.norm(new) > 0.05 * np.linalg.norm(heads[1])
