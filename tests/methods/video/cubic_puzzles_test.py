"""Cubic puzzles: two classifiers, what guessing costs, and puzzles that can be solved."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from toys import images, jitted

from jssl.methods.video.cubic_puzzles import LOGITS, ORDERS, cubic_puzzles
from jssl.models.convnet import ConvNet
from jssl.models.jigsaw import ContextFree
from jssl.nets import Net
from jssl.ops.permutations import permutation_set

headline = "turn_loss"  # orders take some hundred steps
KEY = jax.random.key(0)
KNOWN = permutation_set(4, ORDERS)


def clips():
    """Videos [8, 4, 8, 8, 1]: the pictures on ramps, downward in each cell and in time."""
    down = jnp.tile(jnp.linspace(0.0, 1.0, 4), 2)[:, None, None]
    bright = jnp.linspace(0.5, 1.0, 4)[:, None, None, None]
    return (0.1 * images() + 0.9 * down)[:, None] * bright


def network():
    return jitted(ContextFree(ConvNet((8, 16), maps=True), LOGITS, width=8, hidden=64))


def tiny(tx):
    method = cubic_puzzles(network(), tx or optax.adam(1e-2), (1, 3, 3), turn=True)
    return method, {"video": clips()}


@cache
def stepped():
    method, batch = tiny(optax.sgd(0.0))
    state = jax.jit(method.init)(KEY, batch)
    return method, batch, state, jax.jit(method.step)


def test_guessing_costs_the_logarithm_of_the_number_of_permutations():
    _, batch, state, step = stepped()
    params = dict(state.params, head=jax.tree.map(jnp.zeros_like, state.params["head"]))
    _, metrics = step(KEY, state._replace(params=params), batch)
    np.testing.assert_allclose(metrics["order_loss"], np.log(24), rtol=1e-6)
    np.testing.assert_allclose(metrics["loss"], np.log(24) + np.log(2), rtol=1e-6)


def marked(n):
    """Videos whose every cell holds its number: 10 (interval) + quarter, from 11."""
    t, y, x = np.mgrid[:8, :4, :6]
    cell = 10 * (1 + t // 2) + 1 + 2 * (y // 2) + x // 3
    return {"video": jnp.broadcast_to(jnp.float32(cell)[..., None], (n, 8, 4, 6, 1))}


def solver(space, time, seen=None):
    """A network that reads the numbers: it scores the true orders by these weights."""
    known = jnp.asarray(KNOWN)

    def apply(params, stats, pieces, train=False, keys={}, capture=(), method=None):
        number = pieces[:, :, 0, 0, 0, 0]
        if seen is not None:
            jax.debug.callback(lambda x: seen.append(np.asarray(x)), number)
        rank = jnp.argsort(jnp.argsort(number, 1), 1)
        fits = 9.0 * params["w"] * (rank[:, None] == known).all(-1)
        turns = jnp.zeros((len(pieces), 4))
        return {"logits": jnp.concatenate([space * fits, time * fits, turns], 1)}, stats

    return Net(lambda key, pieces: ({"w": jnp.ones(())}, {}), apply)


@pytest.mark.parametrize(("space", "time"), [(1, 1), (1, -1), (-1, 1)])
def test_each_mode_has_a_classifier_of_its_own(space, time):
    seen, batch = [], marked(2000)
    method = cubic_puzzles(solver(space, time, seen), optax.sgd(0.0), (1, 1, 2))
    _, metrics = jax.jit(method.step)(KEY, method.init(KEY, batch), batch)
    assert metrics["space_accuracy"] == (space > 0)
    assert metrics["time_accuracy"] == (time > 0)
    jax.effects_barrier()
    (number,) = seen
    interval, quarter = np.divmod(number, 10)
    in_time = (quarter == quarter[:, :1]).all(1)
    in_space = (interval == interval[:, :1]).all(1)
    assert (in_time ^ in_space).all()
    assert abs(in_time.mean() - 0.5) < 4 * np.sqrt(0.25 / 2000)
    assert {tuple(sorted(x)) for x in interval[in_time].tolist()} == {(1, 2, 3, 4)}
    assert {tuple(sorted(x)) for x in quarter[in_space].tolist()} == {(1, 2, 3, 4)}
    orders = np.argsort(np.argsort(number, 1), 1)
    _, counts = np.unique(orders, axis=0, return_counts=True)
    assert len(counts) == 24
    assert abs(counts / 2000 - 1 / 24).max() < 4 * np.sqrt(1 / 24 * 23 / 24 / 2000)


@pytest.mark.parametrize("right", [1, -1])
def test_a_puzzle_solved_rightly_is_drawn_as_the_original(right):
    batch = {"video": marked(8)["video"] / 50}
    method = cubic_puzzles(solver(right, right), optax.sgd(0.0), (1, 2, 2))
    drawn = method.render(KEY, method.init(KEY, batch), batch, None)
    for grid in drawn.values():
        puzzle, solved, original = np.moveaxis(np.asarray(grid.images), 1, 0)
        same = (solved == original).all((1, 2, 3))
        assert same.all() if right > 0 else not same.any()
        assert (puzzle != original).any((1, 2, 3)).any()


def test_turned_pieces_are_told_from_upright_ones():
    """A network that compares the first row with the last."""

    def apply(params, stats, pieces, train=False, keys={}, capture=(), method=None):
        down = pieces[:, :, 0, -1, 0, 0] - pieces[:, :, 0, 0, 0, 0]
        rest = jnp.zeros((len(pieces), 2 * ORDERS))
        return {"logits": jnp.concatenate([rest, -99 * params["w"] * down], 1)}, stats

    net = Net(lambda key, pieces: ({"w": jnp.ones(())}, {}), apply)
    ramp = jnp.broadcast_to(jnp.linspace(0, 1, 4)[:, None, None], (64, 4, 4, 4, 1))
    batch = {"video": ramp}
    method = cubic_puzzles(net, optax.sgd(0.0), (1, 2, 2), turn=True)
    _, metrics = jax.jit(method.step)(KEY, method.init(KEY, batch), batch)
    assert metrics["turn_accuracy"] == 1
    plain = cubic_puzzles(net, optax.sgd(0.0), (1, 2, 2))
    _, metrics = jax.jit(plain.step)(KEY, plain.init(KEY, batch), batch)
    assert "turn_accuracy" not in metrics
    np.testing.assert_allclose(metrics["loss"], np.log(24), rtol=1e-6)


def test_shuffled_frames_change_the_representation_of_a_clip():
    method, batch, state, _ = stepped()
    embed = jax.jit(method.embed)
    h = embed(state, batch)["h"]
    mixed = embed(state, {"video": batch["video"][:, jnp.array([2, 0, 3, 1])]})["h"]
    assert h.shape == (8, 16) and np.abs(h - mixed).max() > 1e-3
