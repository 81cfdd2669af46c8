"""MAE against the catalogue's identities and another implementation's numbers."""

from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from toys import jitted

from jssl.losses.reconstruction import masked_patch_error
from jssl.methods.masked.mae import mae
from jssl.models import vit
from jssl.ops.masking import masking_by, random_masking, restore_tokens, take_tokens
from jssl.ops.patches import normalize_patches, patchify, unpatchify
from jssl.ops.positions import sincos_2d

headline = "loss"
GOLDEN = Path(__file__).parents[2] / "golden"


def network():
    return vit.MaskedAutoencoder(vit.Encoder(16, 2, 2, 2), width=8, depth=1, heads=2)


def tiny(tx):
    method = mae(jitted(network()), tx or optax.adam(3e-3), patch=2)
    ramp = jnp.linspace(0, 1, 8)
    phase = jnp.arange(8)[:, None, None]
    images = 0.5 + 0.5 * jnp.sin(6 * ramp[:, None] + 4 * ramp[None] + phase)
    return method, {"image": images[..., None]}


@jax.jit
def forward(images, masking):
    inputs = images, masking.keep, masking.restore
    variables = network().init(jax.random.key(0), *inputs)
    return network().apply(variables, *inputs)


def test_unpatchify_is_the_exact_inverse_of_patchify():
    x = jax.random.uniform(jax.random.key(0), (2, 12, 8, 3))
    np.testing.assert_array_equal(unpatchify(patchify(x, 4), 4, (12, 8)), x)


@pytest.mark.parametrize(
    ("length", "ratio", "kept"), [(196, 0.75, 49), (49, 0.75, 12), (100, 0.9, 9)]
)
def test_masking_keeps_the_integer_formula_literally(length, ratio, kept):
    masking = random_masking(jax.random.key(1), 5, length, ratio)
    assert masking.keep.shape == (5, kept)  # int(100 * (1 - 0.9)) is 9 in floating point
    np.testing.assert_array_equal(masking.mask.sum(1), length - kept)
    np.testing.assert_array_equal(
        jnp.take_along_axis(masking.mask, masking.keep, axis=1), 0
    )


def test_restore_undoes_the_shuffle():
    x = jax.random.normal(jax.random.key(0), (3, 16, 2))
    masking = random_masking(jax.random.key(1), 3, 16, 0.5)
    visible = take_tokens(x, masking.keep)
    back = restore_tokens(visible, jnp.zeros((1, 1, 2)), masking.restore)
    np.testing.assert_array_equal(back, jnp.where(masking.mask[..., None] == 1, 0, x))


def test_each_patch_is_kept_as_often_as_any_other():
    n, length = 4000, 16
    masking = random_masking(jax.random.key(2), n, length, 0.75)
    kept = n - masking.mask.sum(0)
    sigma = np.sqrt(n * 0.25 * 0.75)
    assert np.abs(kept - n / 4).max() < 4 * sigma


def test_each_sample_has_a_mask_of_its_own():
    mask = random_masking(jax.random.key(0), 8, 64, 0.75).mask
    assert len(np.unique(np.asarray(mask), axis=0)) == 8


@pytest.mark.parametrize(
    ("patch", "channels", "expected"), [(4, 1, 0.9375), (4, 3, 0.97917), (16, 3, 0.998698)]
)
def test_predicting_zero_costs_what_the_unbiased_variance_says(patch, channels, expected):
    images = jax.random.uniform(jax.random.key(0), (2, 2 * patch, 2 * patch, channels))
    target = normalize_patches(patchify(images, patch))
    mask = jnp.ones(target.shape[:2])
    value = masked_patch_error(jnp.zeros_like(target), target, mask)
    np.testing.assert_allclose(value, expected, atol=5e-5)  # eps = 1e-6 beside var 1/12


def test_visible_predictions_have_no_gradient():
    images = jax.random.uniform(jax.random.key(0), (2, 8, 8, 1))
    target = normalize_patches(patchify(images, 2))
    mask = random_masking(jax.random.key(1), 2, 16, 0.75).mask
    grad = jax.grad(masked_patch_error)(target + 1.0, target, mask)
    assert np.all(np.asarray(grad)[np.asarray(mask) == 0] == 0)
    assert np.all(np.asarray(grad)[np.asarray(mask) == 1] != 0)


def test_the_prediction_does_not_see_hidden_pixels():
    images = jax.random.uniform(jax.random.key(0), (2, 8, 8, 1))
    masking = random_masking(jax.random.key(1), 2, 16, 0.75)
    noise = jax.random.uniform(jax.random.key(2), images.shape)
    hidden = unpatchify(jnp.repeat(masking.mask[..., None], 4, -1), 2, (8, 8))
    changed = jnp.where(hidden == 1, noise, images)
    np.testing.assert_array_equal(forward(images, masking), forward(changed, masking))


def test_the_order_of_the_visible_patches_does_not_matter():
    images = jax.random.uniform(jax.random.key(0), (2, 8, 8, 1))
    masking = random_masking(jax.random.key(1), 2, 16, 0.75)
    swap = np.array([2, 0, 3, 1])  # new place i holds what stood at swap[i]
    places = np.concatenate([np.argsort(swap), np.arange(4, 16)])
    other = masking._replace(
        keep=masking.keep[:, swap], restore=jnp.asarray(places)[masking.restore]
    )
    np.testing.assert_allclose(
        forward(images, masking), forward(images, other), rtol=1e-5, atol=1e-6
    )


def test_positions_have_the_norm_and_order_of_the_authors_code():
    grid = sincos_2d(16, 3, 5)
    np.testing.assert_allclose(np.linalg.norm(grid, axis=1), np.sqrt(8))
    same_column, same_row = grid[[2, 7]], grid[[5, 6]]
    np.testing.assert_array_equal(same_column[0, :8], same_column[1, :8])
    np.testing.assert_array_equal(same_row[0, 8:], same_row[1, 8:])


def test_the_cost_of_the_encoder_falls_with_the_visible_patches():
    encoder = vit.Encoder(16, 2, 2, 2)
    images = jnp.zeros((1, 8, 8, 1))
    variables = jax.eval_shape(encoder.init, jax.random.key(0), images)

    def flops(keep):
        lowered = jax.jit(encoder.apply).lower(variables, images, keep)
        return lowered.compile().cost_analysis()["flops"]

    assert flops(jnp.arange(3)[None]) < 0.35 * flops(jnp.arange(15)[None])


def test_published_sizes_are_met():
    module = vit.Encoder(**vit.sizes("B/16"))
    shapes = jax.eval_shape(module.init, jax.random.key(0), jnp.zeros((1, 224, 224, 3)))
    assert sum(x.size for x in jax.tree.leaves(shapes["params"])) == 85_647_360


def test_initial_matrices_lie_within_the_joint_xavier_bound():
    module = vit.Encoder(64, 1, 4, 4)
    params = jax.jit(module.init)(jax.random.key(0), jnp.zeros((1, 8, 8, 1)))["params"]
    params = jax.device_get(params)
    query = np.abs(params["block0"]["attention"]["query"]["kernel"])
    bound = np.sqrt(6 / (64 + 3 * 64))
    assert 0.98 * bound < query.max() <= bound
    patch = np.abs(params["embedding"]["kernel"])
    assert 0.98 * np.sqrt(6 / (16 + 64)) < patch.max() <= np.sqrt(6 / (16 + 64))
    assert not np.any(params["embedding"]["bias"])
    np.testing.assert_allclose(np.std(params["cls"]), 0.02, rtol=0.4)  # 64 draws


def golden_params(golden):
    """The other implementation's weights under our names."""

    def weights(name, flax):
        """A torch layer as a Flax one."""
        if flax == "norm":
            return {"scale": golden[f"{name}.weight"], "bias": golden[f"{name}.bias"]}
        return {"kernel": golden[f"{name}.weight"].T, "bias": golden[f"{name}.bias"]}

    def block(name):
        return {
            "norm1": weights(f"{name}.layernorm_before", "norm"),
            "norm2": weights(f"{name}.layernorm_after", "norm"),
            "fc1": weights(f"{name}.mlp.fc1", "dense"),
            "fc2": weights(f"{name}.mlp.fc2", "dense"),
            "attention": {
                ours: weights(f"{name}.attention.{theirs}_proj", "dense")
                for ours, theirs in zip(
                    ("query", "key", "value", "out"), "qkvo", strict=True
                )
            },
        }

    patch = golden["vit.embeddings.patch_embeddings.projection.weight"]  # [d, c, p, p]
    encoder = {
        "cls": golden["vit.embeddings.cls_token"],
        "embedding": {
            "kernel": patch.transpose(2, 3, 1, 0).reshape(-1, len(patch)),
            "bias": golden["vit.embeddings.patch_embeddings.projection.bias"],
        },
        "block0": block("vit.layers.0"),
        "block1": block("vit.layers.1"),
        "norm": weights("vit.layernorm", "norm"),
    }
    return {
        "encoder": encoder,
        "bridge": weights("decoder.decoder_embed", "dense"),
        "mask_token": golden["decoder.mask_token"],
        "decoder0": block("decoder.decoder_layers.0"),
        "decoder1": block("decoder.decoder_layers.1"),
        "norm": weights("decoder.decoder_norm", "norm"),
        "pixels": weights("decoder.decoder_pred", "dense"),
    }


def test_the_forward_pass_is_that_of_another_implementation():
    """transformers' ViTMAEForPreTraining; tests/golden/make_mae.py made the numbers."""
    golden = dict(np.load(GOLDEN / "mae.npz"))
    named = {k.removeprefix("weights/"): v for k, v in golden.items()}
    module = vit.MaskedAutoencoder(
        vit.Encoder(width=24, depth=2, heads=3, patch=8), width=16, depth=2, heads=2
    )
    params = jax.tree.map(jnp.asarray, golden_params(named))
    masking = masking_by(jnp.asarray(golden["noise"]), 0.75)
    images = jnp.asarray(golden["images"])
    inputs = images, masking.keep, masking.restore
    fresh = jax.eval_shape(module.init, jax.random.key(0), *inputs)["params"]
    shapes = lambda tree: jax.tree.map(lambda x: tuple(x.shape), tree)
    assert shapes(params) == shapes(fresh)  # every weight has its place, none is left
    pred = jax.jit(module.apply)({"params": params}, *inputs)
    loss = masked_patch_error(pred, normalize_patches(patchify(images, 8)), masking.mask)
    encode = partial(module.apply, method=lambda m, x, keep: m.encoder(x, keep))
    tokens = jax.jit(encode)({"params": params}, images, masking.keep)
    np.testing.assert_array_equal(masking.mask, golden["mask"])
    np.testing.assert_allclose(tokens, golden["tokens"], atol=1e-5)
    np.testing.assert_allclose(pred, golden["prediction"], atol=1e-5)
    np.testing.assert_allclose(loss, golden["loss"], rtol=1e-6)
    table = np.concatenate([np.zeros((1, 24)), sincos_2d(24, 4, 4)])[None]
    np.testing.assert_allclose(
        table, named["vit.embeddings.position_embeddings"], atol=1e-6
    )


class Perfect:
    """A network of one weight that predicts the target of every patch."""

    def __init__(self, norm_pixels):
        self.norm_pixels = norm_pixels

    def init(self, key, images, keep, restore):
        return {"w": jnp.ones(())}, {}

    def apply(self, params, stats, images, keep, restore, train=False, keys={}):
        assert images.shape[1:] == (8, 8, 3)
        assert restore.shape == (len(images), 16)
        target = patchify(images, 2)
        return normalize_patches(target) if self.norm_pixels else target, stats


@pytest.mark.parametrize("rows", [1, 2, 5, 9])
@pytest.mark.parametrize("norm_pixels", [True, False])
def test_a_perfect_prediction_of_a_crop_is_drawn_as_its_input(norm_pixels, rows):
    stored = jax.random.uniform(jax.random.key(0), (rows, 12, 12, 3))
    prepare = lambda batch: 4 * batch["image"][:, 2:10, 2:10] - 2  # beyond [0, 1]
    method = mae(
        Perfect(norm_pixels), optax.sgd(0.1), 2, prepare=prepare, norm_pixels=norm_pixels
    )
    batch = {"image": stored}
    state = method.init(jax.random.key(0), batch)
    drawn = method.render(jax.random.key(1), state, batch, None)["masked patches"]
    seen, masked, reconstructed = np.moveaxis(drawn.images, 1, 0)
    assert seen.shape == (min(rows, 8), 8, 8, 3)
    np.testing.assert_allclose(reconstructed, seen, atol=2e-7)
    assert (masked != seen).any()
