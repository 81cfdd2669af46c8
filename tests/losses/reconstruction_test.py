import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from jssl.losses.reconstruction import (
    bernoulli_cross_entropy,
    emphasized_cross_entropy,
    emphasized_squared_error,
    masked_patch_error,
    rebalanced_cross_entropy,
    rebalancing_weights,
    scaled_cosine_error,
    squared_error,
)
from jssl.ops.patches import normalize_patches

# A loss of two float[n, 3] arrays each, so that one test can run them all.
LOSSES = {
    "squared": squared_error,
    "bernoulli": lambda a, b: bernoulli_cross_entropy(a, (b > 0).astype(b.dtype)),
    "emphasised squared": lambda a, b: emphasized_squared_error(a, b, b > 0, 1, 0),
    "emphasised bernoulli": lambda a, b: emphasized_cross_entropy(
        a, (b > 0).astype(b.dtype), b > 0
    ),
    "patches": lambda a, b: masked_patch_error(a[None], b[None], b[None, :, 0] > 0),
    "no patches": lambda a, b: masked_patch_error(a[None], b[None], 0 * b[None, :, 0]),
    "cosine": scaled_cosine_error,
    "no cosine": lambda a, b: scaled_cosine_error(a, b, jnp.zeros(len(a))),
    "color": lambda a, b: rebalanced_cross_entropy(
        a[:, None, None], jax.nn.softmax(b)[:, None, None], jnp.arange(3.0) / 3
    ),
}


def normal(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape)


# Catalogue, generative A1.7.
CLEAN = np.array([[1, 0, 0.5, 0.2]])
GUESS = np.array([[0.8, 0.1, 0.4, 0.6]])
SELECTED = np.array([[1.0, 0, 0, 1]])


@pytest.mark.parametrize(("beta", "value"), [(1.0, 0.22), (0.5, 0.21)])
def test_emphasized_squared_error_has_its_golden_value(x64, beta, value):
    x, guess, selected = map(jnp.asarray, (CLEAN, GUESS, SELECTED))
    got = emphasized_squared_error(guess, x, selected, 1.0, beta)
    np.testing.assert_allclose(got, value, rtol=1e-12)


@pytest.mark.parametrize(("beta", "value"), [(1.0, 1.8772599550), (0.5, 1.4678006083)])
def test_emphasized_cross_entropy_has_its_golden_value(x64, beta, value):
    x, guess, selected = map(jnp.asarray, (CLEAN, GUESS, SELECTED))
    got = emphasized_cross_entropy(jnp.log(guess / (1 - guess)), x, selected, 1.0, beta)
    np.testing.assert_allclose(got, value, rtol=1e-10)


def test_plain_losses_are_the_emphasized_ones_with_no_emphasis(x64):
    a, b = jnp.asarray(normal(0, 4, 3, 2)), jnp.asarray(normal(1, 4, 3, 2))
    mask = b > 0
    np.testing.assert_allclose(
        emphasized_squared_error(a, b, mask, 1, 1), squared_error(a, b), rtol=1e-12
    )
    np.testing.assert_allclose(
        emphasized_cross_entropy(a, b, mask, 1, 1),
        bernoulli_cross_entropy(a, b),
        rtol=1e-12,
    )


def test_emphasis_splits_into_corrupted_and_untouched(x64):
    a, b = jnp.asarray(normal(0, 4, 5)), jnp.asarray(normal(1, 4, 5))
    mask = jnp.asarray(normal(2, 4, 5) > 0)
    for loss in emphasized_squared_error, emphasized_cross_entropy:
        parts = 0.7 * loss(a, b, mask, 1, 0) + 0.2 * loss(a, b, mask, 0, 1)
        np.testing.assert_allclose(loss(a, b, mask, 0.7, 0.2), parts, rtol=1e-12)
        as_floats = loss(a, b, mask.astype(float), 0.7, 0.2)
        np.testing.assert_allclose(as_floats, parts, rtol=1e-12)


def test_full_emphasis_has_no_gradient_where_nothing_was_corrupted():
    a, b = jnp.asarray(normal(0, 4, 5)), jnp.asarray(normal(1, 4, 5))
    mask = jnp.asarray(normal(2, 4, 5) > 0)
    slope = jax.jit(jax.grad(emphasized_squared_error))(a, b, mask, 1.0, 0.0)
    assert (slope[~mask] == 0).all()
    assert (slope[mask] != 0).all()


def test_squared_error_is_summed_over_entries_and_averaged_over_samples(x64):
    a, b = normal(0, 4, 3, 2), normal(1, 4, 3, 2)
    wanted = np.mean([np.sum((a[i] - b[i]) ** 2) for i in range(4)])
    got = squared_error(jnp.asarray(a), jnp.asarray(b))
    np.testing.assert_allclose(got, wanted, rtol=1e-12)
    by_optax = 2 * optax.losses.l2_loss(jnp.asarray(a), jnp.asarray(b)).sum() / 4
    np.testing.assert_allclose(got, by_optax, rtol=1e-12)


def test_bernoulli_cross_entropy_agrees_with_optax_and_with_probabilities(x64):
    s, x = normal(0, 4, 3), np.random.default_rng(1).uniform(size=(4, 3))
    p = 1 / (1 + np.exp(-s))
    wanted = -np.mean(np.sum(x * np.log(p) + (1 - x) * np.log(1 - p), axis=1))
    got = bernoulli_cross_entropy(jnp.asarray(s), jnp.asarray(x))
    np.testing.assert_allclose(got, wanted, rtol=1e-12)
    by_optax = optax.sigmoid_binary_cross_entropy(jnp.asarray(s), jnp.asarray(x))
    np.testing.assert_allclose(got, by_optax.sum(1).mean(), rtol=1e-12)


def test_a_half_everywhere_costs_log_two_an_entry():
    got = bernoulli_cross_entropy(jnp.zeros((3, 784)), jnp.ones((3, 784)))
    np.testing.assert_allclose(got, 543.427, atol=1e-3)  # 784 log 2


def test_masked_patch_error_is_the_mean_over_hidden_patches(x64):
    pred, target = normal(0, 3, 4, 5), normal(1, 3, 4, 5)
    mask = normal(2, 3, 4) > 0
    hidden = [
        np.mean((pred[i, j] - target[i, j]) ** 2)
        for i in range(3)
        for j in range(4)
        if mask[i, j]
    ]
    pred, target, mask = map(jnp.asarray, (pred, target, mask))
    got = masked_patch_error(pred, target, mask)
    np.testing.assert_allclose(got, np.mean(hidden), rtol=1e-12)
    assert masked_patch_error(pred, target, mask.astype(jnp.float32)) == got


def test_visible_patches_carry_no_gradient():
    pred, target = jnp.asarray(normal(0, 3, 4, 5)), jnp.asarray(normal(1, 3, 4, 5))
    mask = jnp.asarray(normal(2, 3, 4) > 0)
    slope = jax.jit(jax.grad(masked_patch_error))(pred, target, mask)
    assert (slope[~mask] == 0).all()
    assert (slope[mask] != 0).all()


def test_predicting_zero_for_normalized_patches_costs_all_but_one_kth():
    # The unbiased variance is 1, so the mean square is (k - 1) / k.
    patches = jnp.asarray(normal(0, 2, 3, 16))
    target = normalize_patches(patches)
    got = masked_patch_error(jnp.zeros_like(target), target, jnp.ones((2, 3)))
    np.testing.assert_allclose(got, 15 / 16, rtol=1e-5)


def test_hiding_nothing_costs_nothing():
    pred, target = jnp.asarray(normal(0, 3, 4, 5)), jnp.asarray(normal(1, 3, 4, 5))
    run = jax.jit(jax.value_and_grad(masked_patch_error))
    value, slope = run(pred, target, jnp.zeros((3, 4)))
    assert value == 0
    assert (slope == 0).all()


@pytest.mark.parametrize("loss", ["patches", "cosine"])
def test_devices_that_hide_unequal_numbers_agree_with_one(x64, loss):
    pred, target = jnp.asarray(normal(0, 4, 2, 3)), jnp.asarray(normal(1, 4, 2, 3))
    mask = jnp.asarray([[1.0, 1], [1, 1], [0, 0], [0, 1]])

    def value(w, pred, target, mask, axis_name=None):
        pred = w[None, None] * pred
        if loss == "patches":
            return masked_patch_error(pred, target, mask, axis_name)
        pred, target = pred.reshape(-1, 3), target.reshape(-1, 3)
        return scaled_cosine_error(pred, target, mask.ravel(), 2.0, axis_name)

    def on_device(w, *shard):
        got, slope = jax.value_and_grad(value)(w, *shard, "devices")
        return got, jax.lax.pmean(slope, "devices")

    w = jnp.array([0.5, -1.0, 2.0])
    shards = [x.reshape(2, 2, *x.shape[1:]) for x in (pred, target, mask)]
    run = jax.vmap(on_device, in_axes=(None, 0, 0, 0), axis_name="devices")
    got, slope = jax.jit(run)(w, *shards)
    alone = jax.jit(jax.value_and_grad(value))
    wanted, wanted_slope = alone(w, pred, target, mask)
    for device in range(2):
        np.testing.assert_allclose(got[device], wanted, rtol=1e-12)
        np.testing.assert_allclose(slope[device], wanted_slope, rtol=1e-10)


def test_scaled_cosine_error_is_a_power_of_one_less_cosine(x64):
    x, z = normal(0, 6, 4), normal(1, 6, 4)
    lengths = np.linalg.norm(x, axis=1) * np.linalg.norm(z, axis=1)
    distance = 1 - np.sum(x * z, axis=1) / lengths
    keep = np.array([1, 0, 1, 1, 0, 1], bool)
    got = scaled_cosine_error(jnp.asarray(z), jnp.asarray(x), jnp.asarray(keep), 2.5)
    np.testing.assert_allclose(got, np.mean(distance[keep] ** 2.5), rtol=1e-12)
    plain = scaled_cosine_error(jnp.asarray(z), jnp.asarray(x), gamma=1.0)
    by_optax = optax.cosine_distance(jnp.asarray(x), jnp.asarray(z)).mean()
    np.testing.assert_allclose(plain, by_optax, rtol=1e-12)


def test_scaled_cosine_error_of_unit_vectors_is_a_power_of_half_their_distance(x64):
    x, z = (jnp.asarray(normal(seed, 6, 4)) for seed in (0, 1))
    x, z = (v / jnp.linalg.norm(v, axis=1, keepdims=True) for v in (x, z))
    wanted = ((jnp.sum((x - z) ** 2, axis=1) / 2) ** 3).mean()
    np.testing.assert_allclose(scaled_cosine_error(z, x), wanted, rtol=1e-12)


def test_scaled_cosine_error_ignores_length_and_stays_in_its_range(x64):
    x, z = jnp.asarray(normal(0, 6, 4)), jnp.asarray(normal(1, 6, 4))
    scale = jnp.arange(1.0, 7)[:, None]
    got = scaled_cosine_error(scale * z, x)
    np.testing.assert_allclose(got, scaled_cosine_error(z, x), rtol=1e-12)
    np.testing.assert_allclose(scaled_cosine_error(scale * x, x), 0, atol=1e-30)
    np.testing.assert_allclose(scaled_cosine_error(-scale * x, x), 8, rtol=1e-12)


def test_parallel_vectors_have_a_finite_gradient_at_any_power():
    x = jnp.asarray(normal(0, 50, 7), jnp.float32)  # some cosines round above 1
    slope = jax.jit(jax.grad(scaled_cosine_error), static_argnums=3)
    for gamma in 1.0, 1.5, 3.0:
        assert np.isfinite(slope(3 * x, x, None, gamma)).all()


def test_rebalancing_weights_average_to_one_and_favor_the_rare(x64):
    p = jnp.array([0.6, 0.3, 0.1, 0.0])
    weights = rebalancing_weights(p)
    np.testing.assert_allclose((p * weights).sum(), 1, rtol=1e-12)
    ratio = (0.5 * 0.6 + 0.5 / 4) / (0.5 * 0.1 + 0.5 / 4)
    np.testing.assert_allclose(weights[2] / weights[0], ratio, rtol=1e-12)
    np.testing.assert_allclose(rebalancing_weights(p, 1.0), 1, rtol=1e-12)


def test_knowing_nothing_costs_log_q_where_colors_follow_the_prior(x64):
    counts = np.array([5, 3, 2])
    colors = np.repeat(np.eye(3), counts, axis=0).reshape(1, 2, 5, 3)
    weights = rebalancing_weights(jnp.asarray(counts / 10))
    got = rebalanced_cross_entropy(jnp.zeros((1, 2, 5, 3)), jnp.asarray(colors), weights)
    np.testing.assert_allclose(got, np.log(3), rtol=1e-12)


def test_rebalanced_cross_entropy_agrees_with_a_loop(x64):
    rng = np.random.default_rng(0)
    logits, target = normal(0, 2, 3, 2, 4), rng.dirichlet(np.ones(4), size=(2, 3, 2))
    weights, colored = np.array([1.0, 2, 3, 4]), np.array([1.0, 0])
    total = 0.0
    for index in np.ndindex(2, 3, 2):
        s, z = logits[index], target[index]
        nats = -np.sum(z * (s - np.log(np.sum(np.exp(s)))))
        total += colored[index[0]] * weights[np.argmax(z)] * nats
    arguments = map(jnp.asarray, (logits, target, weights, colored))
    np.testing.assert_allclose(rebalanced_cross_entropy(*arguments), total / 12)


@pytest.mark.parametrize("name", LOSSES)
def test_half_precision_is_computed_in_single_and_double_in_double(name):
    a, b = (jnp.asarray(normal(seed, 4, 3), jnp.bfloat16) for seed in (0, 1))
    loss = jax.jit(LOSSES[name])
    got = loss(a, b)
    assert got.dtype == jnp.float32
    # Rounding the inputs is all that half precision may do: bfloat16 in between would
    # be wrong by 1e-2. (The colours' softmax is taken in bfloat16, by this test.)
    wide = loss(a.astype(jnp.float32), b.astype(jnp.float32))
    np.testing.assert_allclose(got, wide, rtol=1e-2 if name == "color" else 1e-6)
    with jax.enable_x64(True):
        double = jax.ShapeDtypeStruct((4, 3), jnp.float64)
        assert jax.eval_shape(loss, double, double).dtype == jnp.float64


EXTREME = st.sampled_from([0.0, 1.0, -1.0, 1e-4, 1e4, -1e4])
STEEP = {name: jax.jit(jax.value_and_grad(f, (0, 1))) for name, f in LOSSES.items()}


@pytest.mark.parametrize("name", LOSSES)
@settings(max_examples=15, deadline=None, derandomize=True)
@given(data=st.data())
def test_extreme_inputs_have_finite_values_and_gradients(name, data):
    n = data.draw(st.sampled_from([1, 2]))
    dtype = data.draw(st.sampled_from([jnp.float32, jnp.bfloat16]))
    a, b = (data.draw(arrays(np.float32, (n, 3), elements=EXTREME)) for _ in "ab")
    value, slopes = STEEP[name](jnp.asarray(a, dtype), jnp.asarray(b, dtype))
    assert np.isfinite(value)
    assert all(np.isfinite(np.asarray(x, np.float32)).all() for x in slopes)


@pytest.mark.parametrize(
    "call",
    [
        lambda: squared_error(jnp.ones((2, 3)), jnp.ones((2, 1))),
        lambda: squared_error(jnp.ones(()), jnp.ones(())),
        lambda: squared_error(jnp.ones((2, 3), int), jnp.ones((2, 3))),
        lambda: bernoulli_cross_entropy(jnp.ones((2, 3)), jnp.ones((2, 3), int)),
        lambda: emphasized_squared_error(*[jnp.ones((2, 3))] * 2, jnp.ones(3)),
        lambda: emphasized_cross_entropy(*[jnp.ones((2, 3))] * 2, jnp.ones((2, 1))),
        lambda: masked_patch_error(*[jnp.ones((2, 3, 4))] * 2, jnp.ones((2, 4))),
        lambda: masked_patch_error(*[jnp.ones((2, 3))] * 2, jnp.ones((2, 3))),
        lambda: scaled_cosine_error(jnp.ones((2, 3)), jnp.ones((3, 3))),
        lambda: scaled_cosine_error(*[jnp.ones((2, 3))] * 2, jnp.ones((2, 1))),
        lambda: scaled_cosine_error(*[jnp.ones((2, 3))] * 2, gamma=0.5),
        lambda: rebalancing_weights(jnp.ones((2, 2))),
        lambda: rebalancing_weights(jnp.ones(2) / 2, mix=0.0),
        lambda: rebalanced_cross_entropy(*[jnp.ones((1, 2, 2, 3))] * 2, jnp.ones(4)),
    ],
)
def test_wrong_arguments_are_refused_while_tracing(unhooked, call):
    with pytest.raises(ValueError, match="must"):
        jax.eval_shape(call)
