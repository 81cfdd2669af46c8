"""ResNets: published parameter counts, and what the norm does."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jssl.models.norm import BatchNorm
from jssl.models.resnet import ResNet


@pytest.mark.parametrize(
    ("depth", "count"),  # torchvision's models without their last layer
    [(18, 11_176_512), (34, 21_284_672), (50, 23_508_032), (101, 42_500_160)],
)
def test_parameter_counts_are_the_published_ones(depth, count):
    module = ResNet(depth)
    of = jax.eval_shape(module.init, jax.random.key(0), jnp.zeros((1, 224, 224, 3)))
    assert sum(x.size for x in jax.tree.leaves(of["params"])) == count


def test_the_small_stem_keeps_the_resolution():
    module = ResNet(18, "cifar", width=4)
    of = jax.eval_shape(module.init, jax.random.key(0), jnp.zeros((1, 32, 32, 3)))
    assert of["params"]["conv"]["kernel"].shape == (3, 3, 3, 4)
    out = jax.eval_shape(module.apply, of, jnp.zeros((2, 32, 32, 3)))
    assert out.shape == (2, 32)


def test_a_block_begins_as_the_identity():
    module = ResNet(18, "cifar", width=4)
    x = jax.random.normal(jax.random.key(0), (2, 8, 8, 3))
    params = jax.jit(module.init)(jax.random.key(1), x)["params"]
    assert not np.any(params["stage0_0"]["norm1"]["scale"])
    assert np.all(params["stage0_0"]["norm0"]["scale"] == 1)


def test_batch_norm_whitens_each_group_and_remembers_the_mean_of_them():
    x = 3 + 2 * jax.random.normal(jax.random.key(0), (8, 5, 2))
    module = BatchNorm(groups=2, momentum=0.9)
    variables = module.init(jax.random.key(0), x)
    y, moved = module.apply(variables, x, train=True, mutable=["batch_stats"])
    for rows, out in ((x[:4], y[:4]), (x[4:], y[4:])):
        wanted = (rows - rows.mean((0, 1))) / np.sqrt(rows.var((0, 1)) + 1e-5)
        np.testing.assert_allclose(out, wanted, rtol=2e-5, atol=2e-5)
    mean = np.mean([x[:4].mean((0, 1)), x[4:].mean((0, 1))], 0)
    np.testing.assert_allclose(moved["batch_stats"]["mean"], 0.1 * mean, rtol=1e-5)


def test_out_of_training_rows_do_not_see_each_other():
    x = jax.random.normal(jax.random.key(0), (8, 2))
    module = BatchNorm()
    variables = module.init(jax.random.key(0), x)
    np.testing.assert_allclose(module.apply(variables, x), x / np.sqrt(1 + 1e-5), rtol=1e-6)


@pytest.mark.parametrize(("depth", "norms"), [(18, 2), (50, 3)])
@pytest.mark.parametrize("zero", [True, False])
def test_the_last_norm_of_each_block_begins_at_0_by_choice(depth, norms, zero):
    """torchvision's `zero_init_residual`, which is off in MoCo v1 and v2."""
    module = ResNet(depth, "cifar", width=2, zero_last=zero)
    params = jax.jit(module.init)(jax.random.key(0), jnp.zeros((1, 8, 8, 3)))["params"]
    blocks = [tree for name, tree in params.items() if name.startswith("stage")]
    assert len(blocks) == (8 if depth == 18 else 16)
    for block in blocks:
        *first, last = [block[f"norm{i}"]["scale"] for i in range(norms)]
        assert np.all(np.asarray(first) == 1)
        assert np.all(last == (0 if zero else 1))


def test_the_cifar_resnet_18_has_the_published_number_of_weights():
    """11,173,962 with ten classes, github.com/kuangliu/pytorch-cifar, less 5,130."""
    module = ResNet(18, "cifar")
    of = jax.eval_shape(module.init, jax.random.key(0), jnp.zeros((1, 32, 32, 3)))
    assert sum(x.size for x in jax.tree.leaves(of["params"])) == 11_168_832
    _, seen = jax.eval_shape(
        lambda v: module.apply(v, jnp.zeros((2, 32, 32, 3)), mutable=["layers"]), of
    )
    sides = [x.shape for x in seen["layers"]["tap"]]
    assert sides == [(2, 32, 32, 64)] * 2 + [
        (2, 16, 16, 128),
        (2, 8, 8, 256),
        (2, 4, 4, 512),
    ]
