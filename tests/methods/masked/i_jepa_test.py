"""I-JEPA: the context sees no target, and the loss is that of latent blocks."""

from functools import cache
from pathlib import Path

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from toys import images, jitted

from jssl import config
from jssl.learner import descend
from jssl.methods.masked.i_jepa import i_jepa
from jssl.models import vit
from jssl.models.jepa import JEPA
from jssl.ops.block_masking import multi_block
from jssl.ops.patches import patchify

headline = "loss"
KEYS = [jax.random.key(i) for i in (0, 1, 3)]  # blocks of the last are padded
SIZES = dict(blocks=2, scale=(0.12, 0.25))


def network():
    return jitted(JEPA(vit.Encoder(8, 1, 2, 2, class_token=False), 8, 1, 2))


def method(tx, momentum=0.9, steps=10, beta=1.0):
    how = dict(steps=steps, momentum=momentum, beta=beta)
    return i_jepa(network(), tx, 2, 6, **how, **SIZES)


def tiny(tx):
    return method(tx or optax.adam(3e-3), 0.996, 100), {"image": images()}


@cache
def walked():
    """The states of three steps of descent, and their metrics."""
    m = method(optax.sgd(0.5))
    states, seen = [jax.jit(m.init)(jax.random.key(9), {"image": images()})], []
    step = jax.jit(m.step)
    for key in KEYS:
        state, metrics = step(key, states[-1], {"image": images()})
        states, seen = [*states, state], [*seen, metrics]
    return states, seen


@cache
def masks():
    """The blocks of the last step."""
    draw = jax.jit(lambda key: multi_block(key, 8, (4, 4), 6, **SIZES))
    return draw(jax.random.split(KEYS[2])[1])


def test_the_loss_is_that_of_loops_over_the_patches_of_blocks():
    states, seen = walked()
    before, found = states[2], jax.device_get(masks())
    whole, _ = network().apply(*before.target, images(), method="encode")
    p, _ = network().apply(before.online.params, {}, images(), *found, train=True)
    errors = []
    tokens, p = np.asarray(whole["tokens"], np.float64), np.asarray(p, np.float64)
    for i, j, t in np.ndindex(found.targets.shape):
        if not found.real[t]:
            continue
        y = tokens[i, found.targets[i, j, t]]
        y = (y - y.mean()) / np.sqrt(y.var() + 1e-5)  # no scale, no offset
        for x in p[i, j, t] - y:
            errors.append(x**2 / 2 if abs(x) < 1 else abs(x) - 0.5)
    assert not found.real.all()
    np.testing.assert_allclose(seen[2]["loss"], np.mean(errors), rtol=1e-5)


def test_the_online_network_descends_with_the_target_held_fixed():
    states, _ = walked()
    before, after = states[2:]
    found = masks()
    whole, _ = network().apply(*before.target, images(), method="encode")
    rows = jnp.arange(8)[:, None, None]
    y = jax.nn.standardize(whole["tokens"], epsilon=1e-5)[rows, found.targets]

    @jax.jit
    @jax.grad
    def paper(params):
        p, _ = network().apply(params, {}, images(), *found, train=True)
        return (optax.huber_loss(p, y).mean(-1) * found.real).sum() / (
            16 * found.real.sum()
        )

    wanted = descend(optax.sgd(0.5), before.online, paper(before.online.params)).params
    chex.assert_trees_all_close(after.online.params, wanted, rtol=1e-4, atol=1e-6)


def test_no_gradient_reaches_the_target():
    state, m = walked()[0][2], method(optax.sgd(0.5))

    @jax.jit
    @jax.value_and_grad
    def loss(params):
        moved = state._replace(target=state.target._replace(params=params))
        return m.step(KEYS[0], moved, {"image": images()})[1]["loss"]

    value, grads = loss(state.target.params)
    assert not any(np.asarray(g).any() for g in jax.tree.leaves(grads))
    other, _ = loss(jax.tree.map(lambda w: 2 * w + 0.1, state.target.params))
    assert abs(value - other) > 1e-3


def test_the_target_follows_the_encoder_with_a_momentum_that_rises_linearly():
    states, _ = walked()
    for s, m in enumerate((0.9, 0.91, 0.92)):  # 0.9 at 0, 1 at 10
        encoder = {"encoder": states[s + 1].online.params["encoder"]}
        wanted = jax.tree.map(
            lambda old, new, m=m: m * old + (1 - m) * new, states[s].target.params, encoder
        )
        chex.assert_trees_all_close(states[s + 1].target.params, wanted, rtol=1e-5)
    assert "predictor" not in states[0].target.params
    assert states[3].count == 3


def test_the_context_does_not_see_the_other_patches():
    params, context = walked()[0][2].online.params["encoder"], masks().context
    encoder = vit.Encoder(8, 1, 2, 2, class_token=False)

    def tokens(x):
        return encoder.apply({"params": params}, x, context)

    weight = jax.random.normal(KEYS[0], (8, 7, 8))
    slope = jax.jit(jax.grad(lambda x: (weight * tokens(x)).sum()))(images())
    felt = np.abs(np.asarray(patchify(slope, 2))).sum(-1) > 0
    seen = np.zeros((8, 16), bool)
    np.put_along_axis(seen, np.asarray(context), True, 1)
    np.testing.assert_array_equal(felt, seen)


def test_predictions_depend_on_their_place_and_neither_on_padding_nor_other_blocks():
    params, found = walked()[0][2].online.params, masks()
    module = JEPA(vit.Encoder(8, 1, 2, 2, class_token=False), 8, 1, 2)

    @jax.jit
    def predict(targets, real):
        return module.apply({"params": params}, images(), found.context, targets, real)

    own = predict(found.targets, found.real)
    bare = found.targets[..., found.real]
    short = predict(bare, jnp.ones(bare.shape[-1], bool))
    np.testing.assert_allclose(own[:, :, found.real], short, rtol=1e-5, atol=1e-6)
    moved = found.targets.at[:, 1].set((found.targets[:, 1] + 5) % 16)
    other = predict(moved, found.real)
    np.testing.assert_allclose(other[:, 0], own[:, 0], rtol=1e-5, atol=1e-6)
    assert np.abs(other[:, 1] - own[:, 1]).min(-1).max() > 1e-4
    assert np.abs(short[:, :, 0] - short[:, :, 1]).max() > 1e-2


def test_the_representation_is_the_mean_of_the_targets_tokens_of_the_whole_image():
    state = walked()[0][3]
    out = jax.jit(method(optax.sgd(0.5)).embed)(state, {"image": images()})
    encoder = vit.Encoder(8, 1, 2, 2, class_token=False)
    params = state.target.params["encoder"]
    tokens = jax.jit(encoder.apply)({"params": params}, images())[:, 1:]
    np.testing.assert_allclose(out["h"], tokens.mean(1), rtol=1e-5, atol=1e-6)
    assert not np.allclose(
        params["embedding"]["kernel"],
        state.online.params["encoder"]["embedding"]["kernel"],
        atol=1e-4,
    )


def test_rate_and_decay_of_the_published_setting_at_some_steps(monkeypatch):
    """Zero gradients leave minus rate times decay of the weights."""
    seen, make = {}, i_jepa

    def spy(net, tx, *more, **how):
        seen.update(how, tx=tx)
        return make(net, tx, *more, **how)

    monkeypatch.setattr("jssl.methods.masked.i_jepa.i_jepa", spy)
    file = Path(__file__).parents[3] / "experiments/i_jepa.py"
    knobs = "variant=8x1x2/16,predictor=(8,1),context=60,linear_epochs=0"
    [stage] = config.load(f"{file}:paper,source=blank:imagenet2012,{knobs}").stages()
    epoch = 1_281_167 // 2048
    assert stage.steps == seen["steps"] == 300 * epoch
    assert seen["momentum"] == 0.996
    params = {"kernel": jnp.ones((2, 2)), "bias": jnp.ones(2)}
    zero = jax.tree.map(jnp.zeros_like, params)
    for step in (0, 20 * epoch, 40 * epoch, 200 * epoch, stage.steps):
        rise = min(step / (40 * epoch), 1)
        fall = max(step - 40 * epoch, 0) / (260 * epoch)
        rate = 2e-4 + 8e-4 * rise if rise < 1 else 1e-6 + (1e-3 - 1e-6) * half_cosine(fall)
        decay = 0.4 - 0.36 * half_cosine(step / stage.steps)
        state = jax.tree_util.tree_map_with_path(
            lambda path, x, at=step: jnp.int32(at) if "count" in str(path[-1]) else x,
            seen["tx"].init(params),
        )
        updates, _ = seen["tx"].update(zero, state, params)
        np.testing.assert_allclose(updates["kernel"], -rate * decay, rtol=1e-4)
        assert not updates["bias"].any()


def half_cosine(done):
    return (1 + np.cos(np.pi * done)) / 2


def test_too_large_a_context_is_refused():
    m = i_jepa(network(), optax.sgd(0.1), 2, 16, steps=1, **SIZES)
    with pytest.raises(ValueError, match="context must be 1 to"):
        jax.eval_shape(m.init, KEYS[0], {"image": images()})
