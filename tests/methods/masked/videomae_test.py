"""VideoMAE against the catalogue's identities and another implementation's numbers."""

from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from toys import jitted

from jssl.methods.masked.videomae import videomae
from jssl.models.videomae import VideoEncoder, VideoMaskedAutoencoder
from jssl.nets import Net
from jssl.ops.masking import take_tokens, video_masking
from jssl.ops.patches import normalize_cubes, patchify_video, unpatchify_video

headline = "loss"
GOLDEN = Path(__file__).parents[2] / "golden"
KEY = jax.random.key(0)


def network():
    encoder = VideoEncoder(16, 1, 2, 4, tube=2)
    return VideoMaskedAutoencoder(encoder, width=8, depth=1, heads=2)


def tiny(tx):
    method = videomae(jitted(network()), tx or optax.adam(3e-3), (2, 4), mask=0.75)
    y, x, t, i = jnp.ix_(jnp.arange(8.0), jnp.arange(8.0), jnp.arange(4.0), jnp.arange(8.0))
    waves = 0.5 + 0.5 * jnp.sin(0.9 * x + 0.5 * y + 0.8 * t * (i - 3.5) + i)
    return method, {"video": waves.transpose(3, 2, 0, 1)[..., None]}


def videos(shape=(2, 4, 8, 8, 3)):
    return jax.random.uniform(KEY, shape)


@pytest.mark.parametrize(("grid", "kept"), [((8, 196), 160), ((5, 64), 35)])
def test_a_tube_is_one_mask_for_all_slices_of_the_stated_counts(grid, kept):
    slices, places = grid
    masking = video_masking(KEY, 5, grid, 0.9)
    assert masking.keep.shape == (5, kept)
    mask = np.asarray(masking.mask).reshape(5, *grid)
    assert (mask == mask[:, :1]).all()
    assert (mask.sum(2) == int(0.9 * places)).all()
    assert len(np.unique(mask[:, 0], axis=0)) == 5


def test_keep_hidden_and_mask_are_one_partition():
    for way in ("tube", "frame", "random"):
        masking = video_masking(KEY, 3, (4, 9), 0.5, way)
        parts = np.concatenate([masking.keep, masking.hidden], 1)
        np.testing.assert_array_equal(np.sort(parts), np.tile(np.arange(36), (3, 1)))
        assert not np.take_along_axis(np.asarray(masking.mask), masking.keep, 1).any()
        hidden = np.take_along_axis(np.asarray(masking.mask), masking.hidden, 1)
        assert hidden.all() and masking.mask.sum() == hidden.size
        back = np.take_along_axis(parts, np.asarray(masking.restore), 1)
        np.testing.assert_array_equal(back, np.tile(np.arange(36), (3, 1)))


def copied(video, masking):
    """Each masked cube from a visible one at the same place in another slice, if any."""
    cubes = np.asarray(patchify_video(video, (2, 4, 4))).reshape(2, 2, 4, -1)
    seen = np.asarray(masking.mask).reshape(2, 2, 4) == 0
    found = np.zeros_like(cubes)
    for i, t, place in np.ndindex(2, 2, 4):
        others = [s for s in range(2) if seen[i, s, place]]
        found[i, t, place] = cubes[i, others[0], place] if others else np.nan
    return cubes, found, seen


def test_only_tubes_forbid_copying_through_time_in_a_static_video():
    video = jnp.repeat(videos((2, 1, 8, 8, 1)), 4, axis=1)
    cubes, found, seen = copied(video, video_masking(KEY, 2, (2, 4), 0.5, "frame"))
    known = ~seen & ~np.isnan(found[..., 0])
    assert known.sum() >= 2  # masked cubes that are copied, without an error
    np.testing.assert_array_equal(found[known], cubes[known])
    cubes, found, seen = copied(video, video_masking(KEY, 2, (2, 4), 0.5, "tube"))
    assert np.isnan(found[~seen]).all()


@pytest.mark.parametrize(("cube", "expected"), [((2, 16), 0.998047), ((2, 4), 0.96875)])
def test_predicting_zero_costs_the_unbiased_variance_of_each_channel(cube, expected):
    t, p = cube
    target = normalize_cubes(patchify_video(videos((2, t, p, p, 3)), (t, p, p)), 3)
    np.testing.assert_allclose(jnp.square(target).mean(), expected, atol=2e-5)


def test_targets_are_those_of_a_loop_over_cubes_and_channels():
    video = np.asarray(videos())
    cubes = normalize_cubes(patchify_video(jnp.asarray(video), (2, 4, 4)), 3)
    wanted = np.zeros_like(video)
    for i, t, y, x, c in np.ndindex(2, 2, 2, 2, 3):
        at = i, slice(2 * t, 2 * t + 2), slice(4 * y, 4 * y + 4), slice(4 * x, 4 * x + 4), c
        wanted[at] = (video[at] - video[at].mean()) / (video[at].std(ddof=1) + 1e-6)
    found = unpatchify_video(cubes, (2, 4, 4), (4, 8, 8))
    np.testing.assert_allclose(found, wanted, atol=2e-5)


def test_the_prediction_does_not_see_hidden_cubes():
    video, other = videos(), jax.random.uniform(jax.random.key(1), (2, 4, 8, 8, 3))
    masking = video_masking(KEY, 2, (2, 4), 0.5)
    hidden = jnp.repeat(masking.mask[..., None], 2 * 4 * 4 * 3, -1)
    hidden = unpatchify_video(hidden, (2, 4, 4), (4, 8, 8))
    changed = jnp.where(hidden == 1, other, video)
    net = jitted(network())
    params, stats = net.init(KEY, video, masking.keep, masking.hidden)
    pred, again = (
        net.apply(params, stats, x, masking.keep, masking.hidden)[0]
        for x in (video, changed)
    )
    assert pred.shape == (2, 4, 2 * 4 * 4 * 3)
    np.testing.assert_array_equal(pred, again)


def golden_params(named):
    """The other implementation's weights under our names."""

    def dense(name):
        """A layer; keys have no bias there, since it has no effect on a softmax."""
        kernel = named[f"{name}.weight"].T
        bias = named.get(f"{name}.bias", np.zeros(kernel.shape[1]))
        return {"kernel": kernel, "bias": bias}

    def norm(name):
        return {"scale": named[f"{name}.weight"], "bias": named[f"{name}.bias"]}

    def block(name):
        attention = f"{name}.attention.attention"
        parts = {x: dense(f"{attention}.{x}") for x in ("query", "key", "value")}
        return {
            "norm1": norm(f"{name}.layernorm_before"),
            "norm2": norm(f"{name}.layernorm_after"),
            "fc1": dense(f"{name}.intermediate.dense"),
            "fc2": dense(f"{name}.output.dense"),
            "attention": parts | {"out": dense(f"{name}.attention.output.dense")},
        }

    cube = named["videomae.embeddings.patch_embeddings.projection.weight"]
    encoder = {
        "embedding": {
            "kernel": cube.transpose(2, 3, 4, 1, 0).reshape(-1, len(cube)),
            "bias": named["videomae.embeddings.patch_embeddings.projection.bias"],
        },
        "block0": block("videomae.encoder.layer.0"),
        "block1": block("videomae.encoder.layer.1"),
        "norm": norm("videomae.layernorm"),
    }
    return {
        "encoder": encoder,
        "bridge": {"kernel": named["encoder_to_decoder.weight"].T},
        "mask_token": named["mask_token"],
        "decoder0": block("decoder.decoder_layers.0"),
        "decoder1": block("decoder.decoder_layers.1"),
        "norm": norm("decoder.norm"),
        "pixels": dense("decoder.head"),
    }


def test_loss_predictions_and_features_are_those_of_another_implementation():
    """transformers' VideoMAEForPreTraining; tests/golden/make_videomae.py made them."""
    golden = dict(np.load(GOLDEN / "videomae.npz"))
    named = {k.removeprefix("weights/"): v for k, v in golden.items()}
    encoder = VideoEncoder(24, 2, 3, 4, tube=2)
    module = VideoMaskedAutoencoder(encoder, width=16, depth=2, heads=2)
    float32 = lambda x: jnp.asarray(x, jnp.float32)
    params = jax.tree.map(float32, golden_params(named))
    hidden = jnp.asarray(np.stack([np.flatnonzero(row) for row in golden["mask"]]))
    keep = jnp.asarray(np.stack([np.flatnonzero(~row) for row in golden["mask"]]))
    frames = jnp.asarray(golden["frames"])
    mean, std = jnp.array([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]])
    inputs = (frames - mean) / std, keep, hidden
    fresh = jax.eval_shape(module.init, KEY, *inputs)["params"]
    shapes = lambda tree: jax.tree.map(lambda x: tuple(x.shape), tree)
    assert shapes(params) == shapes(fresh)  # every weight has its place, none is left
    pred = jax.jit(module.apply)({"params": params}, *inputs)
    target = normalize_cubes(patchify_video(frames, (2, 4, 4)), 3)
    loss = jnp.square(pred - take_tokens(target, hidden)).mean()
    encode = jax.jit(partial(module.apply, method="encode"))
    tokens = encode({"params": params}, inputs[0])["tokens"]
    np.testing.assert_allclose(tokens, golden["tokens"], atol=1e-5)
    np.testing.assert_allclose(pred, golden["prediction"], atol=1e-5)
    np.testing.assert_allclose(loss, golden["loss"], rtol=1e-6)


def test_the_step_has_the_loss_of_its_mask():
    """A network that predicts zero: the loss is the mean square of the masked targets."""

    def apply(params, stats, videos, keep, hidden, train=False, keys={}):
        zeros = jnp.zeros((*hidden.shape, 2 * 4 * 4))
        return zeros * params["w"], stats

    zero = Net(lambda key, *_: ({"w": jnp.ones(())}, {}), apply)
    method = videomae(zero, optax.sgd(0.1), (2, 4), mask=0.5)
    batch = {"video": videos((2, 4, 8, 8, 1))}
    _, metrics = method.step(KEY, method.init(KEY, batch), batch)
    np.testing.assert_allclose(metrics["loss"], 31 / 32, rtol=1e-4)
    raw = videomae(zero, optax.sgd(0.1), (2, 4), mask=0.5, norm_pixels=False)
    bright = {"video": jnp.full((2, 4, 8, 8, 1), 0.5)}
    _, metrics = raw.step(KEY, raw.init(KEY, bright), bright)
    np.testing.assert_allclose(metrics["loss"], 0.25, rtol=1e-6)


def test_published_sizes_are_met():
    encoder = VideoEncoder(768, 12, 12, 16)
    module = VideoMaskedAutoencoder(encoder)
    clip = jnp.zeros((1, 16, 224, 224, 3))
    masking = jax.eval_shape(partial(video_masking, n=1, grid=(8, 196), ratio=0.9), KEY)
    keep, hidden = masking.keep, jax.ShapeDtypeStruct((1, 1408), jnp.int32)
    shapes = jax.eval_shape(module.init, KEY, clip, keep, hidden)["params"]
    size = lambda tree: sum(x.size for x in jax.tree.leaves(tree))
    keys = 768 * 12 + 384 * 4  # biases of keys, which have no effect
    assert size(shapes) - keys == 94_210_944  # transformers' default config has as many


def test_mistakes_are_refused():
    with pytest.raises(ValueError, match="one of tube, frame, random"):
        video_masking(KEY, 1, (2, 4), 0.5, "tubes")
    with pytest.raises(ValueError, match="of 4 cubes masked and one visible"):
        video_masking(KEY, 1, (2, 4), 0.1)
    with pytest.raises(ValueError, match="3 channels do not divide cubes of 4"):
        normalize_cubes(jnp.zeros((1, 1, 4)), 3)
