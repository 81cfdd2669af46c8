"""Jigsaw: what the network is asked, what guessing costs, and how pictures are solved."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from toys import jitted

from jssl import nets
from jssl.methods.pretext.jigsaw import jigsaw
from jssl.models.convnet import ConvNet
from jssl.models.jigsaw import ContextFree
from jssl.ops.permutations import permutation_set
from jssl.ops.puzzles import cut_tiles, normalize_tiles

headline = "loss"
PERMUTATIONS = permutation_set(9, 4)


def images():
    """Waves [8, 12, 12, 1] that grow faster to the right and down."""
    y, x, phase = jnp.arange(12)[:, None], jnp.arange(12), jnp.arange(8)[:, None, None]
    return (0.5 + 0.5 * jnp.sin(0.06 * x * x + 0.04 * y * y + 0.1 * phase))[..., None]


def network():
    return jitted(ContextFree(ConvNet((8, 16)), 4, width=8, hidden=16))


def tiny(tx):
    method = jigsaw(network(), tx or optax.adam(5e-3), PERMUTATIONS, tile=3)
    return method, {"image": images()}


@cache
def stepped():
    method, batch = tiny(optax.sgd(0.0))
    state = jax.jit(method.init)(jax.random.key(0), batch)
    return method, batch, state, jax.jit(method.step)


def test_guessing_costs_the_logarithm_of_the_number_of_permutations():
    _, batch, state, step = stepped()
    params = dict(state.params, head=jax.tree.map(jnp.zeros_like, state.params["head"]))
    _, metrics = step(jax.random.key(1), state._replace(params=params), batch)
    np.testing.assert_allclose(metrics["loss"], np.log(4), rtol=1e-6)


def solver(picture):
    """A network that knows the picture: it compares each tile with all nine of it."""
    pieces = normalize_tiles(cut_tiles(picture[None], 4)).reshape(9, -1)

    def apply(params, stats, tiles=None, train=False, keys={}, capture=(), method=None):
        if method == "filters":
            return jnp.ones((4, 3, 3, 1)), stats
        flat = tiles.reshape(*tiles.shape[:2], -1)
        alike = jnp.einsum("nkx,jx->nkj", flat, pieces)
        fits = alike[:, jnp.arange(9), jnp.asarray(PERMUTATIONS)].sum(-1)  # [n, 4]
        return {"logits": params["w"] * fits}, stats

    return nets.Net(lambda key, tiles: ({"w": jnp.ones(())}, {}), apply)


def solved_by(weight):
    """A batch of one picture, eight times, and a method that solves it, or the reverse."""
    picture = jax.random.uniform(jax.random.key(5), (12, 12, 1))
    batch = {"image": jnp.broadcast_to(picture, (8, 12, 12, 1))}
    method = jigsaw(solver(picture), optax.sgd(0.0), PERMUTATIONS, tile=4)
    state = method.init(jax.random.key(0), batch)
    return method, state._replace(params={"w": jnp.asarray(weight)}), batch


def test_who_knows_the_picture_is_always_right():
    method, state, batch = solved_by(1.0)
    step = jax.jit(method.step)
    for i in range(5):
        _, metrics = step(jax.random.key(i), state, batch)
        assert metrics["jigsaw_accuracy"] == 1
        assert metrics["loss"] < 1e-3


def test_who_does_the_reverse_is_always_wrong():
    method, state, batch = solved_by(-1.0)
    _, metrics = jax.jit(method.step)(jax.random.key(1), state, batch)
    assert metrics["jigsaw_accuracy"] == 0


def test_a_puzzle_solved_rightly_is_drawn_as_the_original():
    method, state, batch = solved_by(1.0)
    drawn = method.render(jax.random.key(3), state, batch, None)["puzzles, and as solved"]
    puzzle, solved, original = np.moveaxis(np.asarray(drawn.images), 1, 0)
    np.testing.assert_array_equal(solved, original)
    assert (puzzle != original).any((1, 2, 3)).any()
    pixels = np.asarray(batch["image"][0])
    for k in range(9):  # framed by one pixel of grey
        top, left = 6 * (k // 3), 6 * (k % 3)
        framed = original[0, top : top + 6, left : left + 6]
        wanted = pixels[4 * (k // 3) : 4 * (k // 3) + 4, 4 * (k % 3) : 4 * (k % 3) + 4]
        np.testing.assert_array_equal(framed[1:-1, 1:-1], wanted)
        assert (framed[0] == 0.5).all() and (framed[:, -1] == 0.5).all()


def test_a_puzzle_solved_wrongly_is_not():
    method, state, batch = solved_by(-1.0)
    drawn = method.render(jax.random.key(3), state, batch, None)["puzzles, and as solved"]
    _, solved, original = np.moveaxis(np.asarray(drawn.images), 1, 0)
    assert (solved != original).any((1, 2, 3)).all()


def test_every_image_gets_each_puzzle_in_its_turn():
    """A network without weights notes what it is shown."""
    shown = []

    def apply(params, stats, tiles, train=False, keys={}, capture=(), method=None):
        jax.debug.callback(lambda x: shown.append(np.asarray(x)), tiles)
        return {"logits": jnp.zeros((len(tiles), 4)) * params["w"]}, stats

    net = nets.Net(lambda key, tiles: ({"w": jnp.ones(())}, {}), apply)
    method, batch = jigsaw(net, optax.sgd(0.0), PERMUTATIONS, tile=4), {"image": images()}
    state, step = method.init(jax.random.key(0), batch), jax.jit(method.step)
    for i in range(40):
        step(jax.random.key(i), state, batch)
        jax.effects_barrier()
    whole = np.asarray(normalize_tiles(cut_tiles(images(), 4)))
    laid = np.stack([whole[:, order] for order in PERMUTATIONS])  # [4, 8, 9, 4, 4, 1]
    same = np.abs(np.stack(shown)[:, None] - laid).max((3, 4, 5, 6)) < 1e-5  # [40, 4, 8]
    assert (same.sum(1) == 1).all()
    assert same.any(0).all()
    assert abs(same.mean((0, 2)) - 0.25).max() < 0.08


def test_a_tiles_description_depends_on_that_tile_alone():
    method, batch, state, _ = stepped()

    @jax.jit
    def describe(tiles):
        return network().apply(state.params, state.stats, tiles)[0]["h"]

    tiles = normalize_tiles(cut_tiles(images(), 3))
    before, after = describe(tiles), describe(tiles.at[:, 4].set(0.7 * tiles[:, 2] + 0.1))
    moved = np.abs(np.asarray(after - before)).reshape(8, 9, 8).max((0, 2)) > 1e-6
    assert moved.tolist() == [k == 4 for k in range(9)]
    np.testing.assert_allclose(method.embed(state, batch)["h"], before, atol=1e-5)


@pytest.mark.parametrize("rows", [[[0, 1, 2]], [[0, 0, 2, 3, 4, 5, 6, 7, 8]]])
def test_what_is_no_set_of_permutations_is_refused(rows):
    with pytest.raises(ValueError, match="permutations must be rows of the numbers 0 to 8"):
        jigsaw(network(), optax.sgd(0.1), np.array(rows), 3)


def test_layers_are_maps_of_whole_images_tile_beside_tile():
    method, batch, state, _ = stepped()
    first, second = jax.jit(method.embed)(state, batch)["layers"]
    assert first.shape == (8, 6, 6, 8) and second.shape == (8, 3, 3, 16)
    tiles = normalize_tiles(cut_tiles(batch["image"], 3))
    alone = network().apply(state.weights, state.stats, tiles)[0]["layers"][0]
    sixth = alone.reshape(8, 9, 2, 2, 8)[:, 5]
    np.testing.assert_allclose(first[:, 2:4, 4:6], sixth, atol=1e-5)
