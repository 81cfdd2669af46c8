import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jssl.ops.ema import cosine_momentum, ema, ema_decay_warmup, linear_momentum


def tree(value):
    return {"w": jnp.full((2,), value), "deep": [jnp.full((1, 3), -value)]}


def test_at_1_the_target_stays_and_at_0_it_copies():
    old, new = tree(0.1), tree(0.7)
    for momentum, wanted in ((1.0, old), (0.0, new)):
        after = ema(old, new, momentum)
        assert jax.tree.structure(after) == jax.tree.structure(old)
        jax.tree.map(np.testing.assert_array_equal, after, wanted)


def test_a_constant_is_approached_geometrically():
    target, m, c = tree(0.0), 0.9, 5.0
    follow = jax.jit(lambda target: ema(target, tree(c), m))
    for _ in range(20):
        target = follow(target)
    np.testing.assert_allclose(target["w"], (1 - m**20) * c, rtol=1e-6)


def test_no_gradient_passes():
    def total(target, online):
        return ema(target, online, 0.5)["w"].sum()

    slope = jax.grad(total, (0, 1))(tree(1.0), tree(2.0))
    for leaf in jax.tree.leaves(slope):
        np.testing.assert_array_equal(leaf, 0)


def test_counters_are_copied_and_dtypes_kept():
    old = {"count": jnp.int32(3), "w": jnp.ones(2, jnp.bfloat16)}
    new = {"count": jnp.int32(9), "w": jnp.zeros(2)}
    after = ema(old, new, jnp.float32(0.75))
    assert after["count"] == 9
    assert after["count"].dtype == jnp.int32
    assert after["w"].dtype == jnp.bfloat16
    np.testing.assert_array_equal(after["w"], 0.75)


def test_momentum_before_and_after_the_step_agree_from_a_common_start():
    """MoCo's code moves the target first, its pseudo-code last (catalogue, 2.1)."""
    online = [tree(float(x)) for x in (1, 4, 2, 8)]
    first = last = online[0]
    targets = []
    for t, weights in enumerate(online):
        first = ema(first, weights, 0.9)
        targets.append(first)
        if t:
            last = ema(last, weights, 0.9)
        np.testing.assert_allclose(targets[-1]["w"], last["w"], rtol=1e-6)


def test_a_warming_target_is_the_mean_of_all_weights_so_far():
    online = [tree(float(x)) for x in (1, 4, 2, 8, 5)]
    target, decay = online[0], 0.75
    for s, weights in enumerate(online[1:4], 1):  # 1/2, 2/3, 3/4
        target = ema(target, weights, ema_decay_warmup(s, decay))
        mean = np.mean([w["w"] for w in online[: s + 1]], axis=0)
        np.testing.assert_allclose(target["w"], mean, rtol=1e-6)
    assert ema_decay_warmup(4, decay) == decay  # and no longer 4/5


@pytest.mark.parametrize(("step", "wanted"), [(0, 0.9), (50, 0.95), (100, 1), (170, 1)])
def test_schedules_run_from_start_to_1(step, wanted):
    for schedule in (cosine_momentum, linear_momentum):
        value = jax.jit(lambda t, f=schedule: f(t, 100, 0.9))(step)
        np.testing.assert_allclose(value, wanted, rtol=1e-6)


def test_schedules_have_their_shapes():
    quarter = 1 - 0.1 * (1 + np.cos(np.pi / 4)) / 2
    np.testing.assert_allclose(cosine_momentum(25, 100, 0.9), quarter, rtol=1e-6)
    np.testing.assert_allclose(linear_momentum(25, 100, 0.9, 0.98), 0.92, rtol=1e-6)
