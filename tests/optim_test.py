import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jssl import optim

PARAMS = {
    "encoder": {
        "cls": jnp.ones((1, 1, 2)),
        "block0": {"fc1": {"kernel": jnp.ones((2, 2)), "bias": jnp.ones(2)}},
        "block11": {"fc1": {"kernel": jnp.ones((2, 2))}},
    },
    "head": {"kernel": jnp.ones((2, 2)), "bias": jnp.ones(2)},
}


@pytest.mark.parametrize(
    ("decay", "depth", "expected"),
    [(0.65, 12, 0.0036972), (0.75, 12, 0.023757), (0.75, 24, 7.525e-4)],
)
def test_the_embedding_moves_as_the_papers_say(decay, depth, expected):
    scale = optim.scale_by_layer(decay, depth + 1, optim.vit_layer(depth))
    updates, _ = scale.update(PARAMS, scale.init(PARAMS))
    np.testing.assert_allclose(updates["encoder"]["cls"], expected, rtol=1e-4)
    np.testing.assert_allclose(updates["head"]["kernel"], 1.0)


def test_layers_scale_what_the_adaptive_optimiser_gives():
    scale = optim.scale_by_layer(0.5, 13, optim.vit_layer(12))
    tx = optax.chain(optax.scale_by_adam(), scale)
    grads = jax.tree.map(lambda x: 7.0 * x, PARAMS)
    updates, _ = tx.update(grads, tx.init(PARAMS), PARAMS)
    ratio = updates["encoder"]["block11"]["fc1"]["kernel"] / updates["head"]["kernel"]
    np.testing.assert_allclose(ratio, 0.5, rtol=1e-5)


def test_decay_concerns_matrices_and_in_fine_tuning_no_tokens():
    assert optim.matrices(PARAMS)["encoder"]["cls"]
    assert not optim.kernels(PARAMS)["encoder"]["cls"]
    assert not optim.matrices(PARAMS)["head"]["bias"]
    assert optim.kernels(PARAMS)["encoder"]["block0"]["fc1"] == {
        "kernel": True,
        "bias": False,
    }
