"""Linear evaluation: the head alone learns, on features of a network in evaluation mode."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
from toys import images, jitted, noisy

from jssl.learner import Learner, ema_weights, fresh
from jssl.methods.transfer.linear import after, linear
from jssl.models.convnet import ConvNet
from jssl.models.heads import MLP, LinearHead, Siamese
from jssl.models.nin import NIN, NINClassifier

headline = "loss"
KEY = jax.random.key(0)
NET = jitted(Siamese(ConvNet((4, 8)), MLP((8, 4))))
BATCH = {"image": images(), "label": jnp.arange(8, dtype=jnp.int32) % 3}


def tiny(tx, norm=True, augment=noisy):
    head = jitted(LinearHead(3, norm))
    return linear(NET, head, tx or optax.adam(0.1), 3, augment), BATCH


def test_the_network_and_its_statistics_stay_and_the_head_moves():
    method, batch = tiny(optax.sgd(1.0))
    state = method.init(KEY, batch)
    after, _ = method.step(KEY, state, batch)
    jax.tree.map(np.testing.assert_array_equal, after.net, state.net)
    assert np.abs(after.head.params["head"]["kernel"]).max() > 0
    assert np.abs(after.head.stats["batch_stats"]["norm"]["mean"]).max() > 0


def test_features_are_those_of_evaluation_mode():
    method, batch = tiny(None)
    state = method.init(KEY, batch)
    params, stats = state.net
    moved = jax.tree.map(lambda x: x + 0.5, stats)  # statistics far from the batch's
    state = state._replace(net=state.net._replace(stats=moved))
    expected = NET.apply(params, moved, batch["image"])[0]["h"]
    np.testing.assert_allclose(method.embed(state, batch)["h"], expected, rtol=1e-6)


def test_h_is_the_mean_of_frozen_maps_and_not_the_hidden_layer_of_the_head():
    maps, head = jitted(NIN(4, maps=True)), jitted(NINClassifier(3, widths=(5,)))
    method = linear(maps, head, optax.sgd(0.1), 3, output="")
    state = method.init(KEY, BATCH)
    frozen, _ = maps.apply(*state.net, BATCH["image"])
    out, _ = head.apply(state.head.params, state.head.stats, frozen)
    embedded = method.embed(state, BATCH)
    np.testing.assert_allclose(embedded["h"], frozen.mean((1, 2)), rtol=1e-6)
    np.testing.assert_array_equal(embedded["logits"], out["logits"])


def test_it_converges_to_the_exact_linear_probe():
    tx = optax.chain(optax.add_decayed_weights(0.1), optax.sgd(0.2))
    method, batch = tiny(tx, norm=False, augment=None)
    step, state = jax.jit(method.step), method.init(KEY, batch)
    for _ in range(4000):
        state, metrics = step(KEY, state, batch)
    h = np.asarray(method.embed(state, batch)["h"], np.float64)
    y = np.asarray(batch["label"])
    w, b = np.zeros((h.shape[1], 3)), np.zeros(3)
    for _ in range(20000):  # plain gradient descent in numpy
        p = np.exp(h @ w + b)
        p = p / p.sum(1, keepdims=True) - np.eye(3)[y]
        w, b = w - 0.2 * (h.T @ p / 8 + 0.1 * w), b - 0.2 * (p.mean(0) + 0.1 * b)
    np.testing.assert_allclose(state.head.params["head"]["kernel"], w, atol=1e-4)
    np.testing.assert_allclose(state.head.params["head"]["bias"], b, atol=1e-4)


def test_a_stage_starts_from_the_averaged_weights_of_an_earlier_one():
    tx = optax.chain(optax.sgd(0.1), ema_weights(0.9))
    earlier: Learner = fresh(tx, *NET.init(jax.random.key(5), images()[:1]))
    average = jax.tree.map(lambda x: x + 1, earlier.params)
    opt = (earlier.opt[0], earlier.opt[1]._replace(average=average))
    earlier = earlier._replace(opt=opt)
    method, batch = tiny(None)
    start = after("pretrain", lambda state: state["online"])
    state = start(method.init(KEY, batch), {"pretrain": {"online": earlier}})
    jax.tree.map(np.testing.assert_array_equal, tuple(state.net), (average, earlier.stats))
