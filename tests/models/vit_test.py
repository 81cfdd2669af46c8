import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jssl.models import vit

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
