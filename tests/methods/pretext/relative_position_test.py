"""Relative position: which pairs are asked, what guessing costs, and how they are drawn."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from toys import jitted

from jssl import nets
from jssl.methods.pretext.relative_position import relative_position
from jssl.models.convnet import ConvNet
from jssl.models.patch_pairs import PatchPairs
from jssl.ops.patch_pairs import (
    OFFSETS,
    PAIRS,
    POSITIONS,
    WEIGHTS,
    nine_patches,
    standardize,
)

headline = "loss"


def images(channels=1):
    """Waves [8, 14, 14, c] that grow faster to the right and down."""
    y, x, phase = jnp.arange(14)[:, None], jnp.arange(14), jnp.arange(8)[:, None, None]
    wave = 0.5 + 0.5 * jnp.sin(0.06 * x * x + 0.04 * y * y + 0.1 * phase)
    return wave[..., None] * jnp.linspace(1.0, 0.5, channels)


def network():
    return jitted(PatchPairs(ConvNet((8, 16), maps=True), width=8, hidden=(16,)))


def tiny(tx):
    method = relative_position(
        network(), tx or optax.adam(5e-3), 3, gap=1, jitter=1, chroma="drop"
    )
    return method, {"image": images(3)}


@cache
def stepped():
    method, batch = tiny(optax.sgd(0.0))
    state = jax.jit(method.init)(jax.random.key(0), batch)
    return method, batch, state, jax.jit(method.step)


def test_guessing_costs_log_eight_and_is_right_in_an_eighth():
    _, batch, state, step = stepped()
    params = dict(state.params, head=jax.tree.map(jnp.zeros_like, state.params["head"]))
    _, metrics = step(jax.random.key(1), state._replace(params=params), batch)
    np.testing.assert_allclose(metrics["loss"], np.log(8), rtol=5e-6)
    np.testing.assert_allclose(metrics["position_accuracy"], 1 / 8, rtol=1e-6)


def test_a_network_without_inputs_cannot_do_better_than_guessing():
    """The best constant logits, over all pairs: the classes are equally frequent."""
    weight = np.bincount(POSITIONS, WEIGHTS)
    np.testing.assert_allclose(weight, 1 / 8, rtol=1e-6)
    assert -(weight * np.log(weight)).sum() == pytest.approx(np.log(8))


def test_the_loss_is_the_double_loop_of_the_paper():
    method, batch, state, step = stepped()
    seen = []

    def apply(params, stats, patches, train=False, keys={}, capture=(), method=None):
        out, after = network().apply(params, stats, patches, train=train)
        jax.debug.callback(lambda *x: seen.append(x), patches, out["logits"])
        return out, after

    watched = relative_position(
        nets.Net(network().init, apply), optax.sgd(0.0), 3, gap=1, jitter=1
    )
    _, metrics = jax.jit(watched.step)(jax.random.key(2), state, batch)
    jax.effects_barrier()
    logits = np.float64(seen[0][1])
    total, right = np.zeros(8), np.zeros(8)
    count = np.zeros(8)
    for n in range(8):
        for first in range(9):
            for k, (down, across) in enumerate(OFFSETS):
                row, column = first // 3 + down, first % 3 + across
                if not (0 <= row < 3 and 0 <= column < 3):
                    continue
                pair = PAIRS.tolist().index([first, 3 * row + column])
                z = logits[n, pair]
                total[k] += np.log(np.exp(z).sum()) - z[k]
                right[k] += z.argmax() == k
                count[k] += 1
    np.testing.assert_allclose(metrics["loss"], (total / count).mean(), rtol=1e-5)
    np.testing.assert_allclose(
        metrics["position_accuracy"], (right / count).mean(), atol=1e-6
    )


def knowing(picture, sign=1.0):
    """A network that knows the picture: it finds each patch in it, and compares."""
    pieces = standardize(nine_patches(picture[None], 4, 0)).reshape(9, -1)
    places = np.stack(np.divmod(np.arange(9), 3), 1)

    def apply(params, stats, patches, train=False, keys={}, capture=(), method=None):
        found = jnp.einsum("nkx,jx->nkj", patches.reshape(*patches.shape[:2], -1), pieces)
        place = jnp.asarray(places)[found.argmax(-1)]  # [n, 9, 2]
        moved = place[:, PAIRS[:, 1]] - place[:, PAIRS[:, 0]]  # [n, 40, 2]
        fits = (moved[:, :, None] == OFFSETS).all(-1)
        return {"logits": sign * params["w"] * 20.0 * fits}, stats

    return nets.Net(lambda key, patches: ({"w": jnp.ones(())}, {}), apply)


def solved_by(sign):
    """A batch of one picture, eight times, and a method that solves it, or the reverse."""
    picture = jax.random.uniform(jax.random.key(5), (12, 12, 1))
    batch = {"image": jnp.broadcast_to(picture, (8, 12, 12, 1))}
    net = knowing(picture, sign)
    method = relative_position(net, optax.sgd(0.0), 4, gap=0, jitter=0)
    return method, method.init(jax.random.key(0), batch), batch


def test_who_knows_the_picture_is_always_right():
    method, state, batch = solved_by(1.0)
    _, metrics = jax.jit(method.step)(jax.random.key(1), state, batch)
    assert metrics["position_accuracy"] == pytest.approx(1)
    assert metrics["loss"] < 1e-6


def test_who_does_the_reverse_is_always_wrong():
    method, state, batch = solved_by(-1.0)
    _, metrics = jax.jit(method.step)(jax.random.key(1), state, batch)
    assert metrics["position_accuracy"] == 0


def drawn(sign):
    method, state, batch = solved_by(sign)
    picture = method.render(jax.random.key(3), state, batch, None)["position of a neighbor"]
    return np.moveaxis(np.asarray(picture.images), 1, 0), np.asarray(batch["image"][0])


def test_a_neighbor_is_drawn_at_its_true_place_beside_the_center():
    (predicted, true, whole, _), pixels = drawn(1.0)
    np.testing.assert_array_equal(predicted, true)
    shown = set()
    for image in true:
        same = [
            (image[a : a + 4, b : b + 4] == pixels[c : c + 4, d : d + 4]).all()
            for a, c in zip((1, 7, 13), (0, 4, 8), strict=True)
            for b, d in zip((1, 7, 13), (0, 4, 8), strict=True)
        ]
        assert same[4] and sum(same) == 2
        shown |= {k for k in range(9) if same[k]}
    assert shown == set(range(9))
    np.testing.assert_array_equal(whole[0, 1:5, 7:11], pixels[:4, 4:8])


def test_a_neighbor_predicted_wrongly_is_drawn_elsewhere():
    (predicted, true, _, _), _ = drawn(-1.0)
    assert (predicted != true).any((1, 2, 3)).all()


def test_chroma_must_be_known():
    with pytest.raises(ValueError, match="chroma must be 'drop', 'project' or 'none'"):
        relative_position(network(), optax.sgd(0.1), 3, gap=0, jitter=0, chroma="gray")


def inputs(chroma, **options):
    """The patches that the network receives in a step, [8, 9, 3, 3, 3], and in `embed`."""
    seen = []

    def apply(params, stats, patches, train=False, keys={}, capture=(), method=None):
        jax.debug.callback(lambda x: seen.append(np.asarray(x)), patches)
        zero = 0.0 * params["w"]
        return {"logits": zero + jnp.zeros((len(patches), 40, 8)), "h": patches}, stats

    net = nets.Net(lambda key, patches: ({"w": jnp.ones(())}, {}), apply)
    color = jax.random.uniform(jax.random.key(1), (8, 14, 14, 3))
    batch, options = {"image": color}, {"gap": 1, "jitter": 1} | options
    method = relative_position(net, optax.sgd(0.0), 3, chroma=chroma, **options)
    state = method.init(jax.random.key(0), batch)
    jax.jit(method.step)(jax.random.key(2), state, batch)
    jax.effects_barrier()
    return seen[-1], np.asarray(method.embed(state, batch)["h"])


def test_dropping_leaves_one_channel_in_training_and_all_in_embedding():
    trained, embedded = inputs("drop", rms=50.0)
    power = np.square(trained).mean((2, 3))  # [8, 9, 3]
    np.testing.assert_allclose(power.mean(-1), 2500, rtol=1e-4)
    assert (np.sort(power, -1)[..., 1] < 2e-3 * power.max(-1)).all()
    assert set(power.argmax(-1).ravel()) == {0, 1, 2}
    assert (np.square(embedded).mean((2, 3)) > 1.0).all()


def test_projection_holds_in_training_and_in_embedding():
    for patches in inputs("project"):
        np.testing.assert_allclose(patches @ np.array([-1.0, 2.0, -1.0]), 0, atol=1e-5)
    free, _ = inputs("none")
    assert abs(free @ np.array([-1.0, 2.0, -1.0])).mean() > 0.5


def test_h_is_the_mean_of_descriptions_of_patches_each_by_itself():
    method, batch, state, _ = stepped()
    h = jax.jit(method.embed)(state, batch)["h"]
    patches = standardize(nine_patches(batch["image"], 3, 1))
    alone = [
        network().apply(state.params, state.stats, jnp.repeat(patches[:, k : k + 1], 9, 1))
        for k in range(9)
    ]
    np.testing.assert_allclose(h, np.mean([x[0]["h"] for x in alone], 0), atol=1e-5)


def test_logits_of_a_pair_depend_on_its_two_patches_alone():
    _, batch, state, _ = stepped()
    run = jax.jit(lambda x: network().apply(state.params, state.stats, x)[0]["logits"])
    patches = standardize(nine_patches(batch["image"], 3, 1))
    moved = abs(run(patches.at[:, 5].multiply(-1.0)) - run(patches)).max((0, 2)) > 1e-6
    np.testing.assert_array_equal(moved, (PAIRS == 5).any(1))
