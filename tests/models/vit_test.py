import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jssl.models import vit
from jssl.ops.positions import resize_positions, sincos_2d

KEY = jax.random.key(0)
IMAGES = jax.random.uniform(KEY, (4, 12, 12, 1))


def test_grid_pooling_is_adaptive_average_pooling():
    tokens = jax.random.normal(KEY, (2, 1 + 25, 3))  # a 5 x 5 grid: cells overlap
    pooled = np.asarray(vit.pooled(tokens, "grid", (5, 5))).reshape(2, 3, 3, 3)
    grid = np.asarray(tokens)[:, 1:].reshape(2, 5, 5, 3)
    parts = [slice(0, 2), slice(1, 4), slice(3, 5)]
    for i, rows in enumerate(parts):
        for j, columns in enumerate(parts):
            expected = grid[:, rows, columns].mean((1, 2))
            np.testing.assert_allclose(pooled[:, i, j], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("pool", "width"), [("mean", 8), ("cls", 8), ("mean_max", 16), ("flat", 72)]
)
def test_each_pooling_has_its_width(pool, width):
    assert vit.pooled(jnp.ones((2, 1 + 9, 8)), pool, (3, 3)).shape == (2, width)


def test_the_class_token_is_no_patch():
    tokens = jnp.zeros((1, 10, 4)).at[:, 0].set(1.0)
    assert not vit.pooled(tokens, "mean", None).any()
    assert vit.pooled(tokens, "cls", None).all()


def test_rematerialisation_changes_no_gradient():
    def gradient(remat):
        module = vit.Encoder(8, 2, 2, 4, remat=remat)
        variables = module.init(KEY, IMAGES)
        return jax.grad(lambda v: jnp.sum(module.apply(v, IMAGES, train=True) ** 2))(
            variables
        )

    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5),
        gradient(False),
        gradient(True),
    )


def test_a_dropped_path_keeps_the_mean_and_drops_whole_samples():
    x = jnp.ones((4000, 2, 3))
    out = vit.DropPath(0.25).apply({}, x, True, rngs={"drop_path": KEY})
    kept = np.asarray(out)[:, 0, 0] > 0
    assert np.all((np.asarray(out) > 0) == kept[:, None, None])
    np.testing.assert_allclose(np.asarray(out)[kept], 1 / 0.75, rtol=1e-6)
    assert abs(kept.mean() - 0.75) < 4 * np.sqrt(0.75 * 0.25 / 4000)


def test_outside_training_no_path_is_dropped():
    x = jnp.ones((3, 2, 2))
    np.testing.assert_array_equal(vit.DropPath(0.9).apply({}, x, False), x)


def test_bfloat16_computes_with_float32_weights():
    module = vit.Classifier(vit.Encoder(8, 1, 2, 4, dtype=jnp.bfloat16), classes=3)
    variables = module.init(KEY, IMAGES)
    assert {x.dtype for x in jax.tree.leaves(variables)} == {jnp.dtype("float32")}
    out = module.apply(variables, IMAGES)
    assert out["tokens"].dtype == jnp.bfloat16
    assert out["h"].dtype == out["logits"].dtype == jnp.float32


def test_an_oblong_grid_is_pooled_by_its_own_rows_and_columns():
    images = jax.random.uniform(KEY, (2, 21, 42, 1))  # 3 x 6 patches
    module = vit.Pooled(vit.Encoder(8, 1, 2, 7), "grid")
    h, variables = module.init_with_output(KEY, images)
    tokens = module.encoder.apply({"params": variables["params"]["encoder"]}, images)
    wanted = np.asarray(tokens)[:, 1:].reshape(2, 3, 3, 2, 8).mean(3)
    np.testing.assert_allclose(h, wanted.reshape(2, -1), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("shape", [(14, 56), (56, 14), (8, 32)])
def test_a_grid_of_fewer_than_three_rows_or_columns_is_refused(shape):
    module = vit.Classifier(vit.Encoder(8, 1, 2, min(shape) // 2), 3, "grid")
    with pytest.raises(ValueError, match="at least 3 x 3 patches, got"):
        module.init(KEY, jnp.zeros((1, *shape, 1)))


def bounds(encoder, side):
    """Largest and root mean square weight of each kernel, from an initialization."""
    params = jax.jit(encoder.init)(KEY, jnp.zeros((1, side, side, 3)))["params"]
    block = params["block0"]
    kernels = block["attention"] | {k: block[k] for k in ("fc1", "fc2")}
    kernels |= {"embedding": params["embedding"]}
    found = {k: np.asarray(v["kernel"]) for k, v in kernels.items()}
    assert not any(np.any(v["bias"]) for v in kernels.values())
    return {k: (np.abs(v).max(), v.std() * np.sqrt(3)) for k, v in found.items()}, params


@pytest.mark.parametrize(
    ("build", "joint"),
    [(vit.moco_v3, False), (lambda v: vit.Encoder(**vit.sizes(v)), True)],
)
def test_moco_v3_initializes_query_key_and_value_apart_and_mae_jointly(build, joint):
    """`vits.py` of moco-v3, and MAE's xavier_uniform of qkv [3 d, d], for ViT-S/16."""
    encoder = build("S/16").clone(depth=1)
    found, params = bounds(encoder, 32)
    d = 384
    wanted = dict.fromkeys(("query", "key", "value"), 6 / (4 * d if joint else 2 * d))
    wanted |= {"out": 6 / (2 * d), "fc1": 6 / (5 * d), "fc2": 6 / (5 * d)}
    wanted |= {"embedding": 6 / (3 * 16 * 16 + d)}
    assert found.keys() == wanted.keys()
    for name, (largest, uniform) in found.items():
        bound = np.sqrt(wanted[name])
        assert 0.999 * bound < largest <= bound * (1 + 1e-6)
        np.testing.assert_allclose(uniform, bound, rtol=0.01)
    assert np.sqrt(wanted["query"]) == pytest.approx(0.0625 if joint else 0.0884, abs=5e-5)
    deviation = 0.02 if joint else 1e-6
    np.testing.assert_allclose(np.std(params["cls"]), deviation, rtol=0.15)


@pytest.mark.parametrize(
    ("variant", "heads", "count"),
    [("S/16", 12, 21_590_016), ("B/16", 12, 85_647_360)],
)
def test_moco_v3s_networks_have_the_published_size(variant, heads, count):
    """timm 1.0.31: VisionTransformer(embed_dim=d, num_heads=12, num_classes=0), without
    its pos_embed of 197 d numbers."""
    encoder = vit.moco_v3(variant, dtype=jnp.bfloat16)
    assert (encoder.heads, encoder.dtype) == (heads, jnp.bfloat16)
    images = jnp.zeros((1, 224, 224, 3))
    of = jax.eval_shape(encoder.init, KEY, images)
    assert sum(x.size for x in jax.tree.leaves(of)) == count
    tokens = jax.eval_shape(encoder.apply, of, images)
    assert tokens.shape == (1, 197, encoder.width)
    assert not set(of) - {"params"}  # positions are fixed


def test_other_sizes_of_moco_v3_keep_their_heads():
    assert vit.moco_v3("16x1x2/8").heads == 2
    assert vit.moco_v3("L/16").heads == 16
    assert vit.Encoder(**vit.sizes("S/16")).heads == 6


def wide(**more):
    return vit.Encoder(64, 8, 4, 4, **more)


def apart(x, y):
    return np.linalg.norm(np.float64(x) - np.float64(y)) / np.linalg.norm(np.float64(y))


def test_float32_sums_lower_the_error_of_bfloat16():
    images = jax.random.normal(KEY, (8, 32, 32, 3))
    variables = jax.jit(wide().init)(KEY, images)

    def tokens(**more):
        return jax.jit(wide(**more).apply)(variables, images)

    exact, half = tokens(), jnp.bfloat16
    rounded, summed = tokens(dtype=half), tokens(dtype=half, residual_dtype=jnp.float32)
    assert (rounded.dtype, summed.dtype) == (half, jnp.float32)
    assert 0.004 < apart(rounded, exact) < 0.02
    assert apart(summed, exact) < 0.75 * apart(rounded, exact)
    np.testing.assert_array_equal(tokens(residual_dtype=jnp.float32), exact)


def test_float32_sums_reach_maes_decoder():
    keep, restore = jnp.array([[4, 1]] * 4), jnp.array([[8, 1, 2, 3, 0, 5, 6, 7, 4]] * 4)
    half = vit.Encoder(8, 1, 2, 4, dtype=jnp.bfloat16)
    sums = {}
    for encoder in (half, half.clone(residual_dtype=jnp.float32)):
        module = vit.MaskedAutoencoder(encoder, 8, 1, 2)
        variables = module.init(KEY, IMAGES, keep, restore)
        out, seen = module.apply(
            variables,
            IMAGES,
            keep,
            restore,
            capture_intermediates=lambda m, _: m.name in ("block0", "decoder0", "fc1"),
        )
        assert out.dtype == jnp.float32
        seen = seen["intermediates"]
        sums[encoder.residual_dtype] = {
            seen["encoder"]["block0"]["__call__"][0].dtype,
            seen["decoder0"]["__call__"][0].dtype,
        }
        assert seen["decoder0"]["fc1"]["__call__"][0].dtype == jnp.bfloat16
    assert sums == {None: {jnp.dtype("bfloat16")}, jnp.float32: {jnp.dtype("float32")}}


def test_learned_positions_may_begin_as_the_fixed_ones():
    fixed = vit.Encoder(8, 1, 2, 4)
    learned = fixed.clone(grid=(3, 3), sincos_init=True)
    params = learned.init(KEY, IMAGES)["params"]
    rest = {k: v for k, v in params.items() if k != "positions"}
    found = learned.apply({"params": params}, IMAGES)
    np.testing.assert_array_equal(found, fixed.apply({"params": rest}, IMAGES))
    assert not np.any(params["positions"][0, 0])
    slope = jax.grad(lambda p: jnp.sum(learned.apply({"params": p}, IMAGES) ** 3))(params)
    assert np.all(np.any(slope["positions"] != 0, -1))
    with pytest.raises(ValueError, match="give grid="):
        fixed.clone(sincos_init=True).init(KEY, IMAGES)


def test_small_crops_have_resized_positions():
    encoder = vit.Encoder(8, 1, 2, 4, grid=(3, 3), interpolate=True)
    params = encoder.init(KEY, IMAGES)["params"]
    fixed = encoder.clone(interpolate=False)
    np.testing.assert_array_equal(
        encoder.apply({"params": params}, IMAGES), fixed.apply({"params": params}, IMAGES)
    )
    small = IMAGES[:, :8, :8]
    resized = resize_positions(params["positions"], (2, 2))
    own = fixed.clone(grid=(2, 2)).apply({"params": params | {"positions": resized}}, small)
    np.testing.assert_allclose(encoder.apply({"params": params}, small), own, rtol=1e-6)
    with pytest.raises(ValueError, match="3x3 patches have .* the image has 2x2"):
        fixed.apply({"params": params}, small)


def test_a_masked_patch_is_seen_as_the_token_and_its_position_only():
    encoder = vit.Encoder(8, 1, 2, 4)
    variables, token = encoder.init(KEY, IMAGES), jnp.arange(8.0)
    mask = jnp.arange(9) == 4
    mask = jnp.broadcast_to(mask, (4, 9))
    out = encoder.apply(variables, IMAGES, mask=mask, token=token)
    other = IMAGES.at[:, 4:8, 4:8].set(0.3)
    np.testing.assert_array_equal(
        out, encoder.apply(variables, other, mask=mask, token=token)
    )
    bare = encoder.apply(variables, IMAGES, method="embedded")
    seen = encoder.apply(variables, IMAGES, mask=mask, token=token, method="embedded")
    place = sincos_2d(8, 3, 3)[4]
    np.testing.assert_allclose(seen[:, 5], np.tile(place + token, (4, 1)), rtol=1e-5)
    np.testing.assert_array_equal(np.delete(seen, 5, 1), np.delete(bare, 5, 1))


def test_the_last_blocks_are_normalized_class_tokens_side_by_side():
    encoder = vit.Encoder(8, 3, 2, 4)
    module = vit.LastBlocks(encoder, 2, mean=True)
    h, variables = module.init_with_output(KEY, IMAGES)
    params = variables["params"]["encoder"]
    whole = encoder.apply({"params": params}, IMAGES)
    two = {k: v for k, v in params.items() if k != "block2"}
    shorter = encoder.clone(depth=2).apply({"params": two}, IMAGES)
    wanted = np.concatenate([shorter[:, 0], whole[:, 0], whole[:, 1:].mean(1)], 1)
    np.testing.assert_allclose(h, wanted, rtol=1e-5, atol=1e-6)


def test_without_a_class_token_the_mean_of_the_patches_has_its_place():
    encoder = vit.Encoder(8, 2, 2, 4, class_token=False)
    out, variables = encoder.init_with_output(KEY, IMAGES)
    assert "cls" not in variables["params"]
    np.testing.assert_allclose(out[:, 0], out[:, 1:].mean(1), rtol=1e-5, atol=1e-6)
    with_one = encoder.clone(class_token=True)
    assert out.shape == with_one.init_with_output(KEY, IMAGES)[0].shape
    some = encoder.apply(variables, IMAGES, jnp.tile(jnp.arange(9), (4, 1)))
    np.testing.assert_allclose(some, out, rtol=1e-5, atol=1e-6)
    _, moved = encoder.apply(variables, IMAGES, mutable=["layers"])
    assert [x.shape for x in jax.tree.leaves(moved)] == [(4, 3, 3, 8)] * 2


def test_a_masked_key_has_no_effect_on_the_other_tokens():
    block, x = vit.Block(2), jax.random.normal(KEY, (2, 5, 8))
    variables = block.init(KEY, x)
    mask = (jnp.arange(5) < 4)[None, None, None]
    out = block.apply(variables, x, False, mask)
    np.testing.assert_allclose(
        out[:, :4], block.apply(variables, x[:, :4]), rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_attention_has_the_precision_of_its_input(dtype):
    with jax.enable_x64(dtype == jnp.float64):
        x = jax.random.normal(jax.random.key(0), (2, 5, 8), dtype)
        mask = jnp.tril(jnp.ones((5, 5), bool))[None, None]
        layer = vit.Attention(2)
        params = layer.init(jax.random.key(1), x)
        params = jax.tree.map(lambda p: p.astype(dtype), params)
        found = np.asarray(layer.apply(params, x, mask))
    weights = jax.tree.map(lambda p: np.float64(p), params["params"])
    dense = lambda name, y: y @ weights[name]["kernel"] + weights[name]["bias"]
    q, k, v = (
        dense(n, np.float64(x)).reshape(2, 5, 2, 4) for n in ("query", "key", "value")
    )
    logits = np.einsum("nqhd,nkhd->nhqk", q, k) / 2
    logits = np.where(np.tril(np.ones((5, 5), bool)), logits, -np.inf)
    share = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    wanted = dense("out", np.einsum("nhqk,nkhd->nqhd", share, v).reshape(2, 5, 8))
    np.testing.assert_allclose(found, wanted, atol=1e-6 if dtype == jnp.float32 else 1e-14)
