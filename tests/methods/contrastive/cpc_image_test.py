"""CPC on images: the label arithmetic of its pseudo-code, causality, and its directions."""

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from toys import images, jitted, noisy

from jssl import nets
from jssl.methods.contrastive.cpc_image import cpc_image, on_grid
from jssl.models.cpc import (
    PatchEncoder,
    PatchMean,
    PreactivationResNet,
    Predictive,
    RowContext,
)
from jssl.models.heads import Classifier
from jssl.ops.grids import DIRECTIONS, patch_grid

headline = "loss"
KEY = jax.random.key(0)
HOW = dict(patch=4, stride=2, first=2)


def network(steps=1, directions=("down",), norm="layer", target=0):
    encoder = PatchEncoder((4, 8), (1, 2), norm)
    return jitted(Predictive(encoder, steps, directions, target, blocks=2, width=8))


def tiny(tx):
    method = cpc_image(network(), tx or optax.adam(1e-2), augment=noisy, **HOW)
    return method, {"image": images()}


@cache
def large():
    """Images [4, 10, 10, 1], whose grids are of 4 x 4 patches."""
    return {"image": jax.random.uniform(jax.random.key(7), (4, 10, 10, 1))}


def out_of(net, learner, batch):
    grid = patch_grid(batch["image"], 4, 2)
    return net.apply(learner.params, learner.stats, grid, train=True)[0]


def pseudo_code(z, context, weights, ks, scale):
    """Per k, by the labels of the pseudo-code of version 2: rows of [b, r, c] in order."""
    b, r, c, d = z.shape
    everyone, found = z.reshape(-1, d), []
    for k, w in zip(ks, weights, strict=True):
        guesses = scale * context[:, : r - k].reshape(b, -1, context.shape[-1]) @ w.T
        total = 0.0
        for image in range(b):
            for m, guess in enumerate(guesses[image]):
                logits = everyone @ guess
                label = image * r * c + k * c + m
                total += np.log(np.exp(logits).sum()) - logits[label]
        found.append(total / (b * (r - k) * c))
    return np.array(found)


@pytest.mark.parametrize(("groups", "target"), [(1, 0), (2, 5)])
def test_the_loss_is_that_of_the_pseudo_code_in_every_direction(groups, target):
    ways = ("down", "up", "left")
    net = network(2, ways, target=target)
    method = cpc_image(net, optax.sgd(0.0), scale=0.7, groups=groups, **HOW)
    state = jax.jit(method.init)(KEY, large())
    _, metrics = jax.jit(method.step)(KEY, state, large())
    out = jax.tree.map(lambda x: np.asarray(x, np.float64), out_of(net, state, large()))
    turns = {
        "down": lambda x: x,
        "up": lambda x: x[:, ::-1],
        "left": lambda x: np.rot90(x, 1, (1, 2)),
    }
    each = []
    for way in ways:
        z, context, weights = (
            turns[way](out["z"]),
            out["contexts"][way],
            out["weights"][way],
        )
        parts = zip(np.split(z, groups), np.split(context, groups), strict=True)
        per_k = [pseudo_code(x, y, weights, (2, 3), 0.7) for x, y in parts]
        each.append(np.mean(per_k, 0))
    each = np.mean(each, 0)
    np.testing.assert_allclose(metrics["loss"], each.mean(), rtol=1e-5)
    np.testing.assert_allclose(metrics["loss/k2"], each[0], rtol=1e-5)
    np.testing.assert_allclose(metrics["loss/k3"], each[1], rtol=1e-5)


@pytest.mark.parametrize("blocks", [1, 3])
def test_the_context_of_a_row_depends_on_no_row_below(blocks):
    """Its Jacobian [r, k, d, r, k, d]: zero above the diagonal of rows, and only there."""
    module = RowContext(blocks, width=6)
    z = jax.random.normal(KEY, (1, 5, 4, 3))
    params = module.init(jax.random.key(1), z)
    params = jax.tree.map(lambda x: x + 0.05, params)  # biases, too

    slopes = jax.jit(jax.jacrev(lambda z: module.apply(params, z[None])[0]))(z[0])
    by_row = np.abs(slopes).max((1, 2, 4, 5))
    i, j = np.indices((5, 5))
    assert (by_row[j > i] == 0).all()
    assert (by_row[(j <= i) & (i - j <= blocks)] > 0).all()
    assert (by_row[i - j > blocks] == 0).all()  # a row further for each block


def test_a_context_does_not_see_the_pixels_of_the_rows_it_predicts():
    """From image to context: pixels of rows 2 ahead and beyond have no influence."""
    net = on_grid(network(2), 4, 2)
    state, _ = compiled(network(2))

    def context(image):
        out, _ = net.apply(state.params, state.stats, image[None])
        return out["contexts"]["down"][0, 1]  # of the second row of patches

    slopes = jax.jit(jax.jacrev(context))(large()["image"][0])
    by_row = np.abs(slopes).max((0, 1, 3, 4))
    assert (by_row[:6] > 0).all()  # patches 0 and 1
    assert (by_row[6:] == 0).all()  # patch 3 begins there: what is predicted


@pytest.mark.parametrize("first", [0, 1])
def test_predictions_of_patches_that_overlap_are_refused(first):
    with pytest.raises(ValueError, match=f"overlap {first} rows ahead: give first=2"):
        cpc_image(network(), optax.sgd(0.1), patch=4, stride=2, first=first)
    cpc_image(network(), optax.sgd(0.1), patch=4, stride=2, first=2)
    with pytest.raises(ValueError, match="give first=3 or more"):
        cpc_image(network(), optax.sgd(0.1), patch=12, stride=4, first=2)


@cache
def compiled(net, groups=1):
    """The initial state of larger images, and a step that moves no weight."""
    method = cpc_image(net, optax.sgd(0.0), groups=groups, **HOW)
    return jax.jit(method.init)(KEY, large()), jax.jit(method.step)


def loss_of(net, params, batch, groups=1):
    state, step = compiled(net, groups)
    return step(KEY, state._replace(params=params), batch)[1]["loss"]


def renamed(params, names):
    """The weights of other directions in the place of these."""
    moved = dict(params)
    for old, new in names.items():
        for part in ("context", "predict"):
            moved[f"{part}_{new}"] = params[f"{part}_{old}"]
            if new not in names:
                moved.pop(f"{part}_{old}", None)
    return moved


def test_up_is_down_in_the_flipped_grid():
    params, grid = compiled(network(2))[0].params, patch_grid(large()["image"], 4, 2)
    down, _ = network(2).apply(params, {}, grid, train=True)
    moved = renamed(params, {"down": "up"})
    up, _ = network(2, ("up",)).apply(moved, {}, grid[:, ::-1], train=True)
    np.testing.assert_allclose(up["contexts"]["up"], down["contexts"]["down"], atol=1e-6)
    np.testing.assert_allclose(up["z"][:, ::-1], down["z"], atol=1e-6)
    assert set(moved) == {"encoder", "context_up", "predict_up"}


def symmetric(params):
    """Kernels of the patch encoder that do not change if a patch is transposed."""
    encoder = jax.tree.map(
        lambda x: (x + x.swapaxes(0, 1)) / 2 if x.ndim == 4 else x, params["encoder"]
    )
    return dict(params, encoder=encoder)


def test_four_directions_of_a_transposed_image_are_the_others():
    net = network(1, DIRECTIONS)
    params = symmetric(compiled(net)[0].params)
    swapped = {"down": "right", "right": "down", "up": "left", "left": "up"}
    batch = {"image": large()["image"].swapaxes(1, 2)}
    there = loss_of(net, params, large())
    np.testing.assert_allclose(
        loss_of(net, renamed(params, swapped), batch), there, rtol=1e-5
    )
    assert abs(loss_of(net, params, batch) - there) > 1e-4 * there


@pytest.mark.parametrize(("groups", "candidates"), [(1, 64), (4, 16)])
def test_weights_of_zero_cost_the_logarithm_of_the_patches_compared(groups, candidates):
    params = compiled(network())[0].params
    params = dict(params, predict_down=0 * params["predict_down"])
    value = loss_of(network(), params, large(), groups=groups)
    np.testing.assert_allclose(value, np.log(candidates), rtol=1e-6)


def test_the_order_of_the_images_does_not_matter():
    params = compiled(network(2))[0].params
    other = {"image": large()["image"][jnp.array([2, 0, 3, 1])]}
    np.testing.assert_allclose(
        loss_of(network(2), params, other), loss_of(network(2), params, large()), rtol=1e-6
    )


@pytest.mark.parametrize("norm", ["none", "layer"])
def test_the_latent_of_a_patch_depends_on_that_patch_alone_in_training_too(norm):
    net, grid = network(norm=norm), patch_grid(images(), 4, 2)
    params, stats = net.init(KEY, grid)
    other = grid.at[3, 1, 2].set(grid[5, 0, 0] * 0.7 + 0.2)
    z, moved = (net.apply(params, stats, x, train=True)[0]["z"] for x in (grid, other))
    changed = np.abs(moved - z).max(-1) > 1e-6
    assert changed[3, 1, 2] and changed.sum() == 1
    assert not stats


def test_patches_are_distorted_in_training_each_by_itself():
    seen = []

    def distort(key, patches):
        seen.append(patches.shape)
        return patches + jax.random.normal(key, patches.shape)

    plain, changed = (
        cpc_image(network(), optax.sgd(0.1), distort=how, **HOW) for how in (None, distort)
    )
    batch = {"image": images()}
    state = plain.init(KEY, batch)
    losses = [jax.jit(x.step)(KEY, state, batch)[1]["loss"] for x in (plain, changed)]
    assert seen == [(8 * 9, 4, 4, 1)]
    assert abs(losses[0] - losses[1]) > 1e-4
    one, two = (x.embed(state, batch)["h"] for x in (plain, changed))
    np.testing.assert_array_equal(one, two)


def test_h_is_the_mean_of_the_patches_and_layers_are_maps_of_the_grid():
    method, batch = tiny(optax.sgd(0.0))
    state = jax.jit(method.init)(KEY, batch)
    out = jax.jit(method.embed)(state, batch)
    encoder = jitted(PatchEncoder((4, 8), (1, 2), "layer"))
    places = [(y, x) for y in (0, 2, 4) for x in (0, 2, 4)]
    cut = [batch["image"][:, y : y + 4, x : x + 4] for y, x in places]
    alone = np.stack([encoder.apply(state.params["encoder"], {}, x)[0] for x in cut], 1)
    np.testing.assert_allclose(out["h"], alone.mean(1), atol=1e-5)
    assert [x.shape for x in out["layers"]] == [(8, 3, 3, 4), (8, 3, 3, 8)]
    np.testing.assert_allclose(out["layers"][1].reshape(8, 9, 8), alone, atol=1e-5)
    mean = on_grid(
        jitted(Classifier(PatchMean(PatchEncoder((4, 8), (1, 2), "layer")), 3)), 4, 2
    )
    params, stats = mean.init(KEY, batch["image"])
    params = dict(params, encoder={"encoder": state.params["encoder"]})
    same, _ = mean.apply(params, stats, batch["image"])
    np.testing.assert_allclose(same["h"], out["h"], atol=1e-5)


def test_a_batch_that_does_not_divide_into_groups_is_refused():
    method = cpc_image(network(), optax.sgd(0.1), groups=3, **HOW)
    state = method.init(KEY, {"image": images()})
    with pytest.raises(ValueError, match="a batch of 8 does not divide into 3 groups"):
        method.step(KEY, state, {"image": images()})


def test_predictions_beyond_the_grid_are_refused():
    method = cpc_image(network(2), optax.sgd(0.1), **HOW)
    state = method.init(KEY, {"image": images()})
    with pytest.raises(ValueError, match="a grid of 3 rows has none 3 rows ahead"):
        method.step(KEY, state, {"image": images()})


def oracle(sign):
    """A network whose latents are pixels, and whose contexts are those 2 rows below."""

    def apply(params, stats, grid, train=False, keys={}, capture=(), method=None):
        z = grid.reshape(*grid.shape[:3], -1)
        z = z / jnp.linalg.norm(z, axis=-1, keepdims=True)
        contexts = {"down": jnp.roll(z, -2, 1)}
        eye = params["w"] * jnp.eye(z.shape[-1])[None]
        return {
            "h": z.mean((1, 2)),
            "z": z,
            "contexts": contexts,
            "weights": {"down": eye},
        }, {}

    return nets.Net(lambda key, grid: ({"w": jnp.asarray(sign)}, {}), apply)


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_who_knows_the_patch_guesses_it_first(sign):
    method = cpc_image(oracle(sign), optax.sgd(0.0), **HOW)
    state = method.init(KEY, large())
    pictures = method.render(KEY, state, large(), None)
    cells = np.asarray(pictures["patches 2 rows ahead"].images)
    assert cells.shape == (4, 6, 10, 10, 1)
    np.testing.assert_array_equal(
        cells[:, 0, :4], large()["image"][:, :4]
    )  # row 0 of patches
    assert (cells[:, 0, 4:] == 0.5).all()
    patch = np.asarray(large()["image"])[:, 4:8, 4:8]  # row 2, column 2
    np.testing.assert_array_equal(cells[:, 1, 1:9:2, 1:9:2], patch)
    same = (cells[:, 2] == cells[:, 1]).all((1, 2, 3))
    assert same.all() if sign > 0 else not same.any()


def convolutions(module, side):
    """Number of convolutions on the way through, and output, of patches of 3 colors."""
    x = jax.ShapeDtypeStruct((1, side, side, 3), jnp.float32)
    out, variables = jax.eval_shape(partial(module.init_with_output, KEY), x)
    return sum("conv" in name for name in variables["params"]), out.shape[-1]


def test_the_papers_networks_have_as_many_layers_as_their_names_say():
    """ResNet-101 without its last stage of nine layers; each with a linear layer more."""
    assert convolutions(PreactivationResNet(), 64) == (101 - 9 - 1, 1024)
    wide = PreactivationResNet((3, 4, 46), (64, 128, 512), (256, 512, 4096), "layer")
    assert convolutions(wide, 80) == (161 - 1, 4096)


def test_a_residual_block_is_its_shortcut_at_first_and_a_patch_is_encoded_alone():
    module = PreactivationResNet((1, 1, 1), (4, 4, 4), (4, 8, 8), "layer")
    x = jax.random.normal(KEY, (3, 16, 16, 3))
    params = module.init(KEY, x)
    whole = module.apply(params, x)
    for i in range(3):
        np.testing.assert_allclose(
            module.apply(params, x[i : i + 1])[0], whole[i], atol=1e-5
        )
    last = [x for k, x in params["params"].items() if k.endswith("conv2")]
    assert len(last) == 3 and all((x["kernel"] == 0).all() for x in last)
    with pytest.raises(ValueError, match="norm must be one of none, layer, got 'batch'"):
        PreactivationResNet((1,), (4,), (4,), "batch").init(KEY, x)
