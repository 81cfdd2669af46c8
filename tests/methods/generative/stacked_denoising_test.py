"""Stacked denoising: layers that leave those below alone, and add up to one encoder."""

from functools import cache, partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from toys import images, jitted

from jssl.learner import ema_weights, fresh, graft
from jssl.method import field
from jssl.methods.generative.denoising import denoising
from jssl.methods.generative.stacked_denoising import stacked_denoising, stacked_encoder
from jssl.methods.transfer.supervised import supervised
from jssl.models.dense import Autoencoder, Dense
from jssl.models.heads import Classifier
from jssl.ops.corruption import masking

headline = "loss"
KEY = jax.random.key(0)
WIDTHS = (16, 8, 6)
BATCH = {"image": images()}


def layers(tx, corrupt=None, error="squared"):
    corrupt = corrupt or [partial(masking, share=share) for share in (0.1, 0.2, 0.3)]
    shapes = [(8, 8, 1), (16,), (8,)]
    return [
        denoising(
            jitted(Autoencoder(shape, (width,))),
            tx,
            spoil,
            error=error,
            prepare=field("below" if i else "image"),
        )
        for i, (shape, width, spoil) in enumerate(zip(shapes, WIDTHS, corrupt, strict=True))
    ]


def tiny(tx):
    return stacked_denoising(layers(tx or optax.adam(3e-2))[:2])[1], BATCH


@cache
def trained():
    """The states of a stack, each layer trained on the one before."""
    tx = optax.chain(optax.adam(1e-2), ema_weights(0.9))
    stack, states = stacked_denoising(layers(tx, error="cross_entropy")), []
    for i, method in enumerate(stack):
        state = jax.jit(method.init)(jax.random.key(i), BATCH)
        if states:
            state = state._replace(below=states[-1])
        before, step = state, jax.jit(method.step)
        for j in range(5):
            state, _ = step(jax.random.key(j), state, BATCH)
        states.append(state)
        if i:
            moved = jax.tree.map(lambda a, b: np.any(a != b), before.own, state.own)
            assert all(jax.tree.leaves(moved.params))
    return stack, states


def code(learner, h):
    """One encoder in numpy."""
    (layer,) = learner.weights["encoder"].values()
    s = h @ np.asarray(layer["kernel"], np.float64) + np.asarray(layer["bias"])
    return 1 / (1 + np.exp(-s))


def test_training_a_layer_leaves_every_bit_below_as_it_was():
    _, (first, second, third) = trained()
    chex.assert_trees_all_equal(second.below, first)
    chex.assert_trees_all_equal(third.below, second)


def test_a_stack_embeds_as_its_encoders_one_after_another():
    stack, states = trained()
    h = np.asarray(images(), np.float64).reshape(8, 64)
    learners = [states[0], states[1].own, states[2].own]
    for method, state, learner in zip(stack, states, learners, strict=True):
        h = code(learner, h)
        np.testing.assert_allclose(method.embed(state, BATCH)["h"], h, rtol=1e-5)


def test_a_layer_is_given_clean_codes_and_spoils_them_itself():
    """What a layer sees depends on its own corruption alone; its target is clean."""
    _, states = trained()
    seen = []

    def watch(key, x):
        seen.append(np.asarray(x))
        return x, jnp.ones(x.shape)

    def never(key, x):
        raise AssertionError("a layer below corrupted something")

    tx = optax.sgd(0.1)
    stack = stacked_denoising(layers(tx, [never, never, watch]))
    params = states[2].own.params
    for key in (0, 1):
        state = states[2]._replace(own=fresh(tx, params, {}))
        _, metrics = stack[2].step(jax.random.key(key), state, BATCH)
    flat = np.asarray(images(), np.float64).reshape(8, 64)
    wanted = code(states[1].own, code(states[0], flat))
    for codes in seen:
        np.testing.assert_allclose(codes, wanted, rtol=1e-5)
    assert len(seen) == 2

    out, _ = jitted(Autoencoder((8,), (6,))).apply(params, {}, seen[0])
    restored = np.asarray(jax.nn.sigmoid(out["logits"]), np.float64)
    loss = np.square(restored - wanted).sum(1).mean()
    np.testing.assert_allclose(metrics["loss"], loss, rtol=1e-5)


def classifier(widths=WIDTHS):
    return supervised(jitted(Classifier(Dense(widths), 3)), optax.sgd(0.1), 3)


def test_a_classifier_takes_over_the_weights_and_embeds_as_the_stack_did():
    stack, states = trained()
    new = classifier().init(jax.random.key(9), BATCH)
    tuned = graft(new, encoder=stacked_encoder(states[2]))
    owners = [states[0], states[1].own, states[2].own]
    for i, owner in enumerate(owners):
        wanted = owner.ema["encoder"]["dense0"]
        chex.assert_trees_all_equal(tuned.params["encoder"][f"dense{i}"], wanted)
    assert set(tuned.params) == {"encoder", "head"}  # no decoder came along
    chex.assert_trees_all_equal(tuned.params["head"], new.params["head"])
    h = classifier().embed(tuned, BATCH)["h"]
    np.testing.assert_allclose(h, stack[2].embed(states[2], BATCH)["h"], rtol=1e-5)


def test_fine_tuning_moves_every_layer_and_begins_at_log_k_under_a_head_of_zeros():
    _, states = trained()
    method, batch = classifier(), BATCH | {"label": jnp.arange(8) % 3}
    state = graft(method.init(KEY, BATCH), encoder=stacked_encoder(states[2]))
    after, _ = jax.jit(method.step)(KEY, state, batch)
    moved = jax.tree.map(lambda a, b: bool(np.any(a != b)), state.params, after.params)
    assert all(jax.tree.leaves(moved))
    blank = state.params | {"head": jax.tree.map(jnp.zeros_like, state.params["head"])}
    _, metrics = jax.jit(method.step)(KEY, state._replace(params=blank), batch)
    np.testing.assert_allclose(metrics["loss"], np.log(3), rtol=1e-6)


def test_layers_of_several_widths_are_counted_through():
    deep = jitted(Autoencoder((8, 8, 1), (16, 8)))
    top = jitted(Autoencoder((8,), (6,)))
    spoil = partial(masking, share=0.1)
    low = denoising(deep, optax.sgd(0.1), spoil)
    high = denoising(top, optax.sgd(0.1), spoil, prepare=field("below"))
    method = stacked_denoising([low, high])[1]
    state = method.init(KEY, BATCH)
    tuned = graft(classifier().init(KEY, BATCH), encoder=stacked_encoder(state))
    h = classifier().embed(tuned, BATCH)["h"]
    np.testing.assert_allclose(h, method.embed(state, BATCH)["h"], rtol=1e-5)


def test_another_networks_stack_is_refused():
    _, states = trained()
    new = classifier((16, 8, 5)).init(KEY, BATCH)
    with pytest.raises(ValueError, match=r"encoder/dense2/\w+ has shape"):
        graft(new, encoder=stacked_encoder(states[2]))
    new = classifier((16, 8, 6, 5)).init(KEY, BATCH)
    with pytest.raises(ValueError, match="no encoder/dense3"):
        graft(new, encoder=stacked_encoder(states[2]))
