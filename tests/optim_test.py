import chex
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


def test_layers_scale_what_the_adaptive_optimizer_gives():
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


def trajectory(tx, steps=5):
    params = {"w": jnp.arange(1.0, 7.0).reshape(2, 3), "b": jnp.array([0.5, -0.5])}
    state = tx.init(params)
    for i in range(steps):
        grads = jax.tree.map(lambda x, i=i: jnp.sin(x + i), params)
        updates, state = tx.update(grads, state, params)
        params = optax.apply_updates(params, updates)
    return params


def test_decayed_adam_has_the_decay_in_its_moments_as_adam_of_torch():
    rate, decay = 0.1, 0.3
    found = trajectory(optim.decayed_adam(rate, decay=decay))
    w, m, v = np.arange(1.0, 7.0).reshape(2, 3), 0.0, 0.0
    for i in range(5):
        grad = np.sin(w + i) + decay * w
        m, v = 0.9 * m + 0.1 * grad, 0.999 * v + 0.001 * grad**2
        m_hat, v_hat = m / (1 - 0.9 ** (i + 1)), v / (1 - 0.999 ** (i + 1))
        w = w - rate * m_hat / (np.sqrt(v_hat) + 1e-8)
    np.testing.assert_allclose(found["w"], w, rtol=1e-5)
    b = trajectory(optax.adam(rate))["b"]  # a bias is not decayed
    np.testing.assert_allclose(found["b"], b, rtol=1e-6)


def test_a_rate_falls_at_the_nearest_step_of_each_share():
    schedule = optim.falling(2.0, 100, {0.57: 0.1, 0.8: 0.5})  # 0.57 * 100 < 57 in floats
    found = [float(schedule(i)) for i in (56, 57, 79, 80)]
    np.testing.assert_allclose(found, [2.0, 0.2, 0.2, 0.1], rtol=1e-6)


def test_lars_with_the_rate_in_the_momentum_is_that_of_optax():
    schedule = optax.linear_schedule(0.5, 0.1, 5)
    ours = trajectory(optim.lars(schedule, 0.01, rate_in_momentum=True))
    options = dict(weight_decay_mask=optim.matrices, trust_ratio_mask=optim.matrices)
    theirs = trajectory(optax.lars(schedule, 0.01, **options))
    chex.assert_trees_all_close(ours, theirs, rtol=1e-6)


def test_the_two_conventions_of_lars_agree_while_the_rate_stands_still():
    inside, outside = (optim.lars(0.3, 0.01, rate_in_momentum=x) for x in (True, False))
    chex.assert_trees_all_close(trajectory(inside), trajectory(outside), rtol=1e-5)
    falling = optax.linear_schedule(0.5, 0.1, 5)
    inside, outside = (optim.lars(falling, 0.01, rate_in_momentum=x) for x in (True, False))
    assert np.abs(trajectory(inside)["w"] - trajectory(outside)["w"]).max() > 1e-4


def test_barlow_twins_lars_has_a_rate_of_its_own_for_vectors():
    """adjust_learning_rate in main.py of facebookresearch/barlowtwins."""
    rates = optim.warmup_cosine(0.2, 2, 5), optim.warmup_cosine(0.0048, 2, 5)
    one, other = (trajectory(optim.lars(rate, 0.1)) for rate in rates)
    both = trajectory(optim.lars(rates[0], 0.1, vectors=0.0048 / 0.2))
    np.testing.assert_allclose(both["w"], one["w"], rtol=1e-6)
    np.testing.assert_allclose(both["b"], other["b"], rtol=1e-6)


def test_larss_step_does_not_depend_on_the_scale_of_the_gradient():
    tx = optim.lars(0.3)
    params = {"w": jnp.ones((2, 2))}
    small, _ = tx.update({"w": jnp.full((2, 2), 1e-3)}, tx.init(params), params)
    large, _ = tx.update({"w": jnp.full((2, 2), 1e3)}, tx.init(params), params)
    chex.assert_trees_all_close(small, large, rtol=1e-5)


def test_the_named_rows_keep_length_one_whatever_the_optimizer():
    tx = optax.chain(optax.adam(0.3), optim.unit_rows("head/kernel"))
    free = optax.adam(0.3)
    params, loose = PARAMS, PARAMS
    state, other = tx.init(params), free.init(loose)
    for i in range(20):
        grads = jax.tree.map(lambda x, i=i: jnp.cos(jnp.arange(x.size) + i), params)
        grads = jax.tree.map(lambda g, x: g.reshape(x.shape), grads, params)
        updates, state = tx.update(grads, state, params)
        params = optax.apply_updates(params, updates)
        updates, other = free.update(grads, other, loose)
        loose = optax.apply_updates(loose, updates)
        lengths = np.linalg.norm(np.asarray(params["head"]["kernel"], np.float64), axis=1)
        np.testing.assert_allclose(lengths, 1, rtol=1e-6)
    chex.assert_trees_all_equal(params["encoder"], loose["encoder"])
    chex.assert_trees_all_equal(params["head"]["bias"], loose["head"]["bias"])
    assert np.ptp(params["head"]["kernel"]) > 0.1  # directions are free


def test_a_row_goes_where_the_free_update_points():
    tx = optax.chain(optax.sgd(1.0), optim.unit_rows("w"))
    w, g = np.array([[0.6, 0.8], [1.0, 0.0]]), np.array([[0.1, -0.3], [0.5, 0.5]])
    params = {"w": jnp.asarray(w, jnp.float32)}
    grads = {"w": jnp.asarray(g, jnp.float32)}
    updates, _ = tx.update(grads, tx.init(params), params)
    wanted = (w - g) / np.linalg.norm(w - g, axis=1, keepdims=True)
    np.testing.assert_allclose(params["w"] + updates["w"], wanted, rtol=1e-6)


def test_rows_that_are_not_there_are_refused():
    with pytest.raises(ValueError, match="no weight matches 'decoder'; there are enc"):
        optim.unit_rows("decoder").init(PARAMS)
    tx = optim.unit_rows("head")
    with pytest.raises(ValueError, match="unit_rows needs the weights"):
        tx.update(PARAMS, tx.init(PARAMS))


def test_what_is_to_stay_has_no_moments_and_no_decay():
    params = {"embedding": {"kernel": jnp.ones((2, 2))}, "block": {"kernel": jnp.ones(3)}}
    tx = optim.all_but("embedding", optax.adamw(0.1, weight_decay=0.5))
    state = tx.init(params)
    assert sum(x.size for x in jax.tree.leaves(state)) == 2 * 3 + 1
    updates, _ = tx.update(jax.tree.map(jnp.ones_like, params), state, params)
    assert not updates["embedding"]["kernel"].any()
    np.testing.assert_allclose(updates["block"]["kernel"], -0.1 * 1.5, rtol=1e-5)


def test_lars_moves_unscaled_weights_by_sgd_with_momentum_and_decay():
    """Formula of google-research/simclr, where the head's decay is part of its loss."""
    tx = optim.lars(0.3, 0.01, rate_in_momentum=True, unscaled="^head/")
    params, state, velocity = PARAMS, tx.init(PARAMS), 0.0
    before = np.ones((2, 2))
    for i in range(4):
        grads = jax.tree.map(lambda x, i=i: jnp.sin(x + i), params)
        velocity = 0.9 * velocity + 0.3 * (np.sin(before + i) + 0.01 * before)
        before = before - velocity
        updates, state = tx.update(grads, state, params)
        params = optax.apply_updates(params, updates)
        np.testing.assert_allclose(params["head"]["kernel"], before, rtol=1e-5)
    scaled = optim.lars(0.3, 0.01, rate_in_momentum=True)
    chex.assert_trees_all_close(
        params["encoder"], descended(scaled, PARAMS)["encoder"], rtol=1e-6
    )


@pytest.mark.parametrize("inside", [True, False])
def test_lars_begins_late_with_the_last_weights(inside):
    """As a new LARS with the rates from then on; the others do not notice."""
    how = dict(weight_decay=0.5, rate_in_momentum=inside)
    tx = optim.lars(0.3, freeze=2, last="^head/kernel", **how)
    free = descended(optim.lars(0.3, **how), PARAMS)
    after = [descended(tx, PARAMS, steps) for steps in (2, 4)]
    chex.assert_trees_all_close(after[1]["encoder"], free["encoder"], rtol=1e-6)
    kernel = PARAMS["head"]["kernel"]
    np.testing.assert_array_equal(after[0]["head"]["kernel"], kernel)
    late = descended(optim.lars(0.3, **how), {"kernel": kernel}, steps=2, first=2)
    np.testing.assert_allclose(after[1]["head"]["kernel"], late["kernel"], rtol=1e-5)
    with pytest.raises(ValueError, match="held: no weight matches 'tail'"):
        optim.lars(0.3, freeze=2, last="tail").init(PARAMS)


def descended(tx, params, steps=4, first=0):
    state = tx.init(params)
    for i in range(first, first + steps):
        grads = jax.tree.map(lambda x, i=i: jnp.sin(x + i), params)
        updates, state = tx.update(grads, state, params)
        params = optax.apply_updates(params, updates)
    return params


def test_unscaled_weights_that_are_not_there_are_refused():
    with pytest.raises(ValueError, match="lars: no weight matches '.classifier'; there"):
        optim.lars(0.1, unscaled="^classifier").init(PARAMS)


def fitted(tx, kernel):
    """Test accuracy of a head on Gaussian clusters: 100 classes of 13 labels, 760 steps."""
    rng = np.random.default_rng(0)
    centers = 0.9 * rng.standard_normal((100, 64))

    def drawn(each):
        y = np.repeat(np.arange(100), each)
        return np.maximum(centers[y] + rng.standard_normal((len(y), 64)), 0), y

    (x, y), (unseen, wanted) = drawn(13), drawn(20)

    def loss(params):
        logits = x @ params["head"]["kernel"] + params["head"]["bias"]
        return optax.softmax_cross_entropy_with_integer_labels(logits, y).mean()

    def step(carry, _):
        params, opt = carry
        updates, opt = tx.update(jax.grad(loss)(params), opt, params)
        return (optax.apply_updates(params, updates), opt), None

    params = {"head": {"kernel": kernel, "bias": jnp.zeros(100)}}
    run = jax.jit(lambda carry: jax.lax.scan(step, carry, length=760)[0][0])
    head = run((params, tx.init(params)))["head"]
    return (np.argmax(unseen @ head["kernel"] + head["bias"], 1) == wanted).mean()


def test_a_new_head_learns_in_the_steps_of_fine_tuning_on_one_percent_of_labels():
    """At SimCLR v2's rate a head under LARS hardly leaves its start; see `lars`."""
    schedule = optim.warmup_cosine(0.005 * 1024**0.5, 0, 760)
    random = jax.nn.initializers.lecun_normal()(jax.random.key(0), (64, 100))
    old = optim.lars(schedule, rate_in_momentum=True)
    new = optim.lars(schedule, rate_in_momentum=True, unscaled="^head/")
    assert fitted(old, random) < 0.7
    assert fitted(new, jnp.zeros((64, 100))) > 0.95


def test_kernels_shrink_after_the_step_as_in_the_released_mixmatch():
    """mixmatch.py: v * (1 - wd * lr) after Adam's update, for kernels."""
    tx = optax.chain(optax.adam(0.1), optim.shrink(0.02 * 0.1))
    adam = optax.adam(0.1)
    params, state = PARAMS, tx.init(PARAMS)
    theirs, own = PARAMS, adam.init(PARAMS)
    for i in range(3):
        grads = jax.tree.map(lambda x, i=i: jnp.sin(x + i), params)
        updates, state = tx.update(grads, state, params)
        params = optax.apply_updates(params, updates)
        updates, own = adam.update(grads, own, theirs)
        theirs = optax.apply_updates(theirs, updates)
        theirs = jax.tree_util.tree_map_with_path(
            lambda path, w: (1 - 0.002) * w if path[-1].key == "kernel" else w, theirs
        )
        chex.assert_trees_all_close(params, theirs, rtol=1e-6)
    assert not np.allclose(params["head"]["kernel"][0, 0], params["head"]["bias"][0])


def test_what_shrinks_follows_a_schedule():
    tx = optim.shrink(lambda step: 0.5 * step)
    params = {"kernel": jnp.ones(())}
    state = tx.init(params)
    for kept in (1.0, 0.5, 0.0):
        updates, state = tx.update({"kernel": jnp.zeros(())}, state, params)
        np.testing.assert_allclose(1 + updates["kernel"], kept)
    with pytest.raises(ValueError, match="shrink needs the weights"):
        tx.update(params, state)
