"""MoCo: its queue on integers, its slow encoder, its shuffling; versions 1 to 3."""

from functools import cache, partial
from pathlib import Path

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
from toys import images, jitted, two_views

from jssl import config, nets
from jssl.learner import without_predictor
from jssl.methods.contrastive.moco import moco
from jssl.models.convnet import ConvNet
from jssl.models.heads import MLP, Siamese

headline = "loss"
KEY = jax.random.key(4)


def network(groups=1, predictor=None):
    head = MLP((16, 8), norm=predictor is not None)
    return jitted(Siamese(ConvNet((8, 16), groups=groups), head, predictor))


def tiny(tx):
    method = moco(
        network(), tx or optax.adam(3e-3), two_views, steps=100, queue=16,
        temperature=0.2, momentum=0.9,
    )  # fmt: skip
    return method, {"image": images()}


class Scalar:
    """A network of one weight: z = (w x, 1), so that keys can be counted."""

    @staticmethod
    def init(key, images):
        return {"w": jnp.ones(())}, {}

    @staticmethod
    def apply(params, stats, images, train=False, keys={}, capture=(), method=None):
        x = images.reshape(len(images), -1)[:, :1] * params["w"]
        z = jnp.concatenate([x, jnp.ones_like(x)], 1)
        return {"h": x, "z": z, "p": z}, stats


def test_the_queue_holds_the_newest_keys_oldest_first():
    def twice(key, batch):
        return jnp.stack([batch["image"]] * 2, 1)

    net = nets.Net(Scalar.init, Scalar.apply)
    method = moco(net, optax.sgd(0.0), twice, steps=9, queue=6)

    def batch(*numbers):
        return {"image": jnp.asarray(numbers, jnp.float32).reshape(-1, 1, 1, 1)}

    state = jax.jit(method.init)(jax.random.key(0), batch(0, 0, 0, 0))
    step = jax.jit(method.step)
    for i in range(3):
        numbers = 4 * i + np.arange(4)
        state, _ = step(jax.random.key(i), state, batch(*numbers))
    keys, pointer = state.queue
    held = np.asarray(keys[:, 0] / keys[:, 1])  # unit(x, 1) back to x
    oldest_first = np.roll(held, -int(pointer))
    np.testing.assert_allclose(oldest_first, [6, 7, 8, 9, 10, 11], rtol=1e-5)
    assert pointer.dtype == jnp.int32


@cache
def stepped():
    """The states around a step with key 1, and its metrics."""
    method, batch = tiny(optax.sgd(0.5))
    before = jax.jit(method.init)(jax.random.key(0), batch)
    return before, *jax.jit(method.step)(jax.random.key(1), before, batch)


def test_the_current_keys_are_no_negatives():
    state, _, metrics = stepped()
    views = two_views(jax.random.split(jax.random.key(1))[0], images())
    z = [
        np.asarray(
            network().apply(state.params, state.stats, views[:, i], train=True)[0]["z"]
        )
        for i in (0, 1)
    ]
    q, k = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in z)
    negatives = np.exp(q @ np.asarray(state.queue.keys).T / 0.2).sum(1)
    positive = np.exp((q * k).sum(1) / 0.2)
    wanted = -np.log(positive / (positive + negatives)).mean()
    np.testing.assert_allclose(metrics["loss"], wanted, rtol=1e-5)


def test_the_slow_encoder_moves_by_one_part_in_ten():
    before, after, _ = stepped()
    online, _ = without_predictor(after.online)
    wanted = jax.tree.map(lambda old, new: 0.9 * old + 0.1 * new, before.params, online)
    chex.assert_trees_all_close(after.params, wanted, rtol=1e-5, atol=1e-7)


def test_shuffling_gives_queries_and_keys_different_statistics():
    """Without noise, z of query and key differ only by what shares their group."""
    still = lambda key, batch: jnp.stack([batch["image"]] * 2, 1)
    method = moco(network(groups=4), optax.sgd(0.0), still, steps=9, queue=16)
    batch = {"image": images()}
    state = jax.jit(method.init)(jax.random.key(0), batch)
    after, _ = jax.jit(method.step)(jax.random.key(1), state, batch)
    together, _ = network(groups=4).apply(state.params, state.stats, images(), train=True)
    z = together["z"] / jnp.linalg.norm(together["z"], axis=1, keepdims=True)
    assert np.abs(np.asarray(after.queue.keys[:8]) - np.asarray(z)).max() > 1e-3


@cache
def third():
    """Version three: its network, a first state and a compiled step."""
    net = network(predictor=MLP((16, 8)))
    tx = optax.adam(3e-3)
    method = moco(net, tx, two_views, steps=100, queue=0, temperature=0.2, momentum=0.9)
    state = jax.jit(method.init)(jax.random.key(0), {"image": images()})
    return net, state, jax.jit(method.step)


def test_version_three_is_symmetric_and_has_no_queue():
    net, state, step = third()
    batch = {"image": images()}
    assert state.queue == ()
    key = jax.random.key(1)
    _, metrics = step(key, state, batch)
    views = two_views(jax.random.split(key)[0], batch["image"])
    apply = partial(net.apply, train=True)
    project = partial(net.apply, train=True, method="project")
    online, keys = [], []
    for i in (0, 1):
        out, _ = apply(state.online.params, state.online.stats, views[:, i])
        slow_out, _ = project(state.params, state.stats, views[:, i])
        online.append(np.asarray(out["p"])), keys.append(np.asarray(slow_out["z"]))
    unit = lambda x: x / np.linalg.norm(x, axis=1, keepdims=True)
    total = 0.0
    for q, k in ((online[0], keys[1]), (online[1], keys[0])):
        logits = unit(q) @ unit(k).T / 0.2
        log_p = logits - np.log(np.exp(logits).sum(1, keepdims=True))
        total -= 2 * 0.2 * np.diag(log_p).mean()
    np.testing.assert_allclose(metrics["loss"], total, rtol=1e-5)


def test_version_three_learns():
    (_, state, step), batch, seen = third(), {"image": images()}, []
    for i in range(40):
        state, metrics = step(jax.random.key(i), state, batch)
        seen.append(float(metrics["loss"]))
    assert np.mean(seen[-5:]) < 0.9 * np.mean(seen[:5])


def state_of(function, knobs):
    """The method of a setting of experiments/moco.py, its first state, and a batch."""
    path = Path(__file__).parents[3] / "experiments" / "moco.py"
    stage, *_ = config.load(f"{path}:{function},tiny=True,{knobs}").stages()
    shapes = jax.eval_shape(stage.data.decode, stage.data.shapes())
    batch = {k: jax.random.uniform(KEY, x.shape) for k, x in shapes.items()}
    return stage.method, jax.jit(stage.method.init)(KEY, batch), batch


def test_adamw_of_the_papers_vit_decays_biases_and_norms_too():
    """main_moco.py of facebookresearch/moco-v3 has one group of parameters."""
    method, state, batch = state_of("v3_vit", "lr=0.16,warmup=0,decay=100.0")
    before = jax.tree.map(lambda x: x + 1, state.online.params)
    state = state._replace(online=state.online._replace(params=before))
    after = jax.jit(method.step)(KEY, state, batch)[0].online.params
    still = after["encoder"]["encoder"].pop("embedding")
    first = before["encoder"]["encoder"]["embedding"]
    chex.assert_trees_all_equal(still, first)  # the patch projection is frozen
    for weight in jax.tree.leaves(after):  # w - 0.01 (100 w + u), where u is Adam's, <= 1
        np.testing.assert_allclose(weight, 0, atol=0.011)


def test_v3s_predictor_has_no_bias_and_its_momentum_and_decay_are_knobs():
    method, state, batch = state_of("v3", "momentum=0.9,decay=0.5,warmup=0")
    assert set(state.online.params["predictor"]["dense1"]) == {"kernel"}
    after = jax.jit(method.step)(KEY, state, batch)[0]
    kernel = lambda tree: np.asarray(tree["projector"]["dense0"]["kernel"])
    wanted = 0.9 * kernel(state.params) + 0.1 * kernel(after.online.params)
    np.testing.assert_allclose(kernel(after.params), wanted, rtol=1e-5, atol=1e-8)
