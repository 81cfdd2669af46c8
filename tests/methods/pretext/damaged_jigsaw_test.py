"""Damaged jigsaw puzzles: what is shown, what is asked, and the three losses in NumPy."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from toys import jitted

from jssl.methods.pretext.damaged_jigsaw import damaged_jigsaw, gray_tiles
from jssl.models.convnet import ConvNet
from jssl.models.jigsaw import DamagedPuzzle
from jssl.nets import Net
from jssl.ops.lab import ab_bins, lab_to_rgb, rgb_to_lab
from jssl.ops.permutations import permutation_set
from jssl.ops.puzzles import cut_tiles, normalize_tiles

headline = "loss"

KEY = jax.random.key(0)
PERMUTATIONS = permutation_set(9, 4)
BINS = ab_bins(50)  # 13
NETWORK = DamagedPuzzle(
    ConvNet((8, 16), (1, 2), maps=True), 4, len(BINS), width=8, hidden=16, decoder=(8,)
)


def images():
    """Colored waves [8, 12, 12, 3] that grow faster to the right and down."""
    y, x, phase = jnp.arange(12)[:, None], jnp.arange(12), jnp.arange(8)[:, None, None]
    wave = 0.06 * x * x + 0.04 * y * y + 0.1 * phase
    return jnp.stack([0.5 + 0.4 * jnp.sin(wave * c + c) for c in (1.0, 0.7, 0.4)], -1)


BATCH = {"image": images()}


def tiny(tx):
    tx = tx or optax.adam(1e-2)
    method = damaged_jigsaw(jitted(NETWORK), tx, PERMUTATIONS, 3, BINS, sigma=25.0)
    return method, BATCH


@cache
def begun():
    method, batch = tiny(optax.sgd(0.0))
    state = jax.jit(method.init)(KEY, batch)
    return method, batch, state, jax.jit(method.step)


def noted(out):
    """A network with fixed outputs that notes what it is shown."""
    shown = []

    def apply(params, stats, tiles, train=False, keys={}, capture=(), method=None):
        jax.debug.callback(lambda x: shown.append(np.asarray(x)), tiles)
        n = len(tiles)
        made = {name: jnp.broadcast_to(x, (n, *x.shape)) for name, x in out.items()}
        made["logits"] = made["logits"] * params["w"]
        return made | {"h": tiles.reshape(n, -1)}, stats

    return Net(lambda key, tiles: ({"w": jnp.ones(())}, {}), apply), shown


def drawn(key, n=8):
    """Numbers of the permutations and places of the missing tiles in a step."""
    draw, take = jax.random.split(jax.random.split(key, 3)[2])
    y = jax.random.randint(draw, (n,), 0, len(PERMUTATIONS))
    return np.asarray(y), np.asarray(jax.random.randint(take, (n,), 0, 9))


def puzzle_of(key, tile=4):
    """RGB tiles of the step in the order of the puzzle, float64 [8, 9, t, t, 3]."""
    y, gone = drawn(key)
    tiles = np.asarray(cut_tiles(images(), tile, jax.random.split(key, 3)[1]))
    ordered = np.stack([t[PERMUTATIONS[k]] for t, k in zip(tiles, y, strict=True)])
    return ordered, y, gone


def test_the_network_is_shown_gray_tiles_in_the_drawn_order_and_one_of_zeros():
    fixed = {"logits": jnp.zeros(4), "missing": jnp.zeros((4, 4, 3))}
    net, shown = noted(fixed | {"cells": jnp.zeros((9, 2, 2, len(BINS)))})
    method = damaged_jigsaw(net, optax.sgd(0.0), PERMUTATIONS, 4, BINS)
    state, step, places = method.init(KEY, BATCH), jax.jit(method.step), []
    for i in range(30):
        step(jax.random.key(i), state, BATCH)
        jax.effects_barrier()
        tiles, _, gone = puzzle_of(jax.random.key(i))
        wanted = np.array(normalize_tiles(rgb_to_lab(jnp.asarray(tiles))[..., :1]))
        wanted[np.arange(8), gone] = 0
        np.testing.assert_allclose(shown[-1], wanted, atol=1e-4)
        places += gone.tolist()
    counts = np.bincount(places, minlength=9)
    expected = len(places) / 9
    assert ((counts - expected) ** 2 / expected).sum() < 26.1  # chi-square, p = 0.001


def test_the_three_losses_are_those_of_loops_in_numpy():
    """Fixed predictions; loops over images, tiles, cells and bins."""
    random = np.random.default_rng(0)
    logits, missing = random.normal(size=4), random.normal(size=(4, 4, 3))
    cells = random.normal(size=(9, 2, 2, len(BINS)))
    fixed = {"logits": logits, "missing": missing, "cells": cells}
    net, _ = noted({name: jnp.asarray(x, jnp.float32) for name, x in fixed.items()})
    u, v, key = 0.7, 0.3, jax.random.key(4)
    method = damaged_jigsaw(
        net,
        optax.sgd(0.0),
        PERMUTATIONS,
        4,
        BINS,
        inpaint=u,
        color=v,
        neighbors=3,
        sigma=25.0,
    )
    _, metrics = jax.jit(method.step)(key, method.init(KEY, BATCH), BATCH)
    tiles, y, gone = puzzle_of(key)
    lab = np.asarray(rgb_to_lab(jnp.asarray(tiles)), np.float64)
    log = lambda s: s - np.log(np.exp(s).sum())
    order, error, color = [], [], []
    for i in range(8):
        order.append(-log(logits)[y[i]])
        light = np.mean([lab[i, k, ..., 0].mean() for k in range(9) if k != gone[i]])
        target = (lab[i, gone[i]] - [light, 0, 0]) / 50
        error.append(np.square(missing - target).mean())
        for k in range(9):
            for a in range(2) if k != gone[i] else ():
                for b in range(2):
                    far = np.square(lab[i, k, 2 * a, 2 * b, 1:] - BINS).sum(-1)
                    near = np.argsort(far)[:3]
                    weight = np.exp(-far[near] / (2 * 25.0**2))
                    weight /= weight.sum()
                    color.append(-(weight * log(cells[k, a, b])[near]).sum())
    order, error, color = (np.mean(x) for x in (order, error, color))
    np.testing.assert_allclose(metrics["permutation"], order, rtol=1e-5)
    np.testing.assert_allclose(metrics["inpainting"], error, rtol=1e-4)
    np.testing.assert_allclose(metrics["color"], color, rtol=1e-4)
    np.testing.assert_allclose(metrics["loss"], order + u * error + v * color, rtol=1e-4)


def test_without_the_other_weights_it_is_the_loss_of_a_jigsaw_puzzle():
    """Of the same shown tiles, by the network alone; the other heads do not move."""
    method = damaged_jigsaw(
        jitted(NETWORK), optax.sgd(1.0), PERMUTATIONS, 3, BINS, inpaint=0.0, color=0.0
    )
    _, batch, state, _ = begun()
    after, metrics = jax.jit(method.step)(KEY, state, batch)
    assert metrics["loss"] == metrics["permutation"]
    for name, moved in after.params.items():
        same = jax.tree.map(np.array_equal, moved, state.params[name])
        own = name in ("seed", "norm0", "up0", "around", "inside", "colors")
        assert all(jax.tree.leaves(same)) == own, name


def test_the_missing_tile_and_all_colors_are_hidden_from_the_network():
    """Other colors of the same lightness, and another missing tile, change no output."""
    fixed = {"logits": jnp.zeros(4), "missing": jnp.zeros((4, 4, 3))}
    net, shown = noted(fixed | {"cells": jnp.zeros((9, 2, 2, len(BINS)))})
    method = damaged_jigsaw(net, optax.sgd(0.0), PERMUTATIONS, 4, BINS)
    _, y, gone = puzzle_of(KEY)
    lab = rgb_to_lab(0.3 + 0.4 * images())
    state, step = method.init(KEY, BATCH), jax.jit(method.step)
    other = np.array(0.6 * lab.at[..., 1:].multiply(0.5) + 0.4 * lab)
    for i in range(8):
        k = PERMUTATIONS[y[i]][gone[i]]
        top, left = 4 * (k // 3), 4 * (k % 3)
        other[i, top : top + 4, left : left + 4] *= [0.9, 1, 1]
    for colors in (lab, jnp.asarray(other)):
        step(KEY, state, {"image": lab_to_rgb(colors)})
        jax.effects_barrier()
    assert np.abs(lab_to_rgb(jnp.asarray(other)) - lab_to_rgb(lab)).max() > 0.01
    np.testing.assert_allclose(shown[-1], shown[-2], atol=2e-3)


def test_h_is_of_all_gray_tiles_in_order():
    method, batch, state, _ = begun()
    tiles = gray_tiles(cut_tiles(images(), 3))
    wanted, _ = jitted(NETWORK).apply(state.params, state.stats, tiles)
    out = jax.jit(method.embed)(state, batch)
    np.testing.assert_allclose(out["h"], wanted["h"], rtol=1e-4, atol=1e-5)
    assert set(out) == {"logits", "h", "layers"}
    assert [x.shape for x in out["layers"]] == [(8, 9, 9, 8), (8, 6, 6, 16)]


def test_a_puzzle_completed_rightly_is_drawn_as_the_original():
    """A network that knows the one image: its order, its missing tile and its color."""
    lab = jnp.broadcast_to(jnp.array([50.0, 50.0, 50.0]), (12, 12, 3))
    bright = 6 * jnp.sin(jnp.arange(144.0)).reshape(12, 12)
    picture = lab_to_rgb(lab.at[..., 0].add(bright))
    tiles = cut_tiles(picture[None], 4)[0]
    batch = {"image": jnp.broadcast_to(picture, (8, 12, 12, 3))}
    pieces = gray_tiles(tiles[None])[0].reshape(9, -1)
    true = rgb_to_lab(tiles)
    chosen = [list(x) for x in BINS.tolist()].index([50.0, 50.0])

    def apply(params, stats, seen, train=False, keys={}, capture=(), method=None):
        n = len(seen)
        flat = seen.reshape(n, 9, -1)
        alike = jnp.einsum("nkx,jx->nkj", flat, pieces)
        fits = alike[:, jnp.arange(9), jnp.asarray(PERMUTATIONS)].sum(-1)
        gone = (flat == 0).all(-1).argmax(-1)
        real = jnp.asarray(PERMUTATIONS)[fits.argmax(-1), gone]  # its number in the image
        light = true[..., 0].mean((1, 2))
        mean = (light.sum() - light[real]) / 8
        missing = true[real] - mean[:, None, None, None] * jnp.array([1.0, 0, 0])
        cells = 100.0 * jax.nn.one_hot(jnp.full((n, 9, 2, 2), chosen), len(BINS))
        out = {"logits": fits, "missing": missing / 50, "cells": cells, "h": flat[:, 0]}
        return out, stats

    net = Net(lambda key, tiles: ({"w": jnp.ones(())}, {}), apply)
    method = damaged_jigsaw(net, optax.sgd(0.0), PERMUTATIONS, 4, BINS)
    state = method.init(KEY, batch)
    [grid] = method.render(jax.random.key(3), state, batch, None).values()
    puzzle, completed, original = np.moveaxis(np.asarray(grid.images), 1, 0)
    assert grid.columns == ("puzzle", "completed", "original")
    np.testing.assert_allclose(completed, original, atol=1e-3)
    gray = np.ptp(puzzle, axis=-1)
    assert gray.max() < 0.02 and (puzzle == 0.5).all(-1).mean() > 1 / 9


def test_gray_images_and_other_permutations_are_refused():
    method, _ = tiny(None)
    with pytest.raises(ValueError, match="must have 3 channels"):
        method.init(KEY, {"image": images()[..., :1]})
    with pytest.raises(ValueError, match="damaged_jigsaw: permutations must be rows"):
        damaged_jigsaw(jitted(NETWORK), optax.sgd(0.1), np.array([[0, 1]]), 3, BINS)
