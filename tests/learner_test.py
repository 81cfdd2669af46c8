import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jssl.learner import descend, ema_weights, fresh, graft, minimize, rates
from jssl.method import Above, trained
from jssl.models import vit

KEY = jax.random.key(0)

PARAMS = {"encoder": {"w": jnp.array([1.0, 2.0])}, "head": {"b": jnp.array([0.5])}}


def quadratic(params, stats, target):
    value = sum(jnp.sum((x - target) ** 2) for x in jax.tree.leaves(params))
    return value, (stats, {"loss": value})


def test_minimize_is_descend_along_the_gradient():
    tx = optax.adam(0.1)
    learner = fresh(tx, PARAMS)
    moved, metrics = minimize(tx, quadratic, learner, 3.0)
    grads = jax.tree.map(lambda x: 2 * (x - 3.0), PARAMS)
    by_hand = descend(tx, learner, grads)
    jax.tree.map(np.testing.assert_array_equal, moved, by_hand)
    assert metrics["loss"] == 4 + 1 + 6.25


def test_learning_rates_are_named_by_what_tells_them_apart():
    tx = optax.chain(optax.scale(1.0), optax.inject_hyperparams(optax.sgd)(0.5))
    one = fresh(tx, PARAMS)
    two = {"generator": {"learner": one}, "discriminator": {"learner": one}}
    assert set(rates(two)) == {"learning_rate/generator", "learning_rate/discriminator"}
    assert set(rates(two["generator"])) == {"learning_rate"}
    stack = Above(Above(one, one), one)  # the lower ones are frozen
    assert set(rates(trained(stack))) == {"learning_rate"}


def test_the_average_is_of_weights_and_not_of_updates():
    tx = optax.chain(optax.sgd(0.25), ema_weights(0.9))
    learner, average = fresh(tx, PARAMS), PARAMS
    for _ in range(5):
        learner, _ = minimize(tx, quadratic, learner, 3.0)
        average = jax.tree.map(lambda a, w: 0.9 * a + 0.1 * w, average, learner.params)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), learner.weights, average
    )


def test_without_an_average_the_weights_are_the_params():
    learner = fresh(optax.sgd(0.1), PARAMS)
    assert learner.ema is None
    assert learner.weights is learner.params


def test_the_average_counts_real_updates_under_accumulation():
    tx = optax.MultiSteps(optax.chain(optax.sgd(0.25), ema_weights(0.5)), 2)
    learner = fresh(tx, PARAMS)
    once, _ = minimize(tx, quadratic, learner, 3.0)
    np.testing.assert_array_equal(once.ema["head"]["b"], PARAMS["head"]["b"])
    twice, _ = minimize(tx, quadratic, once, 3.0)
    moved = 0.5 - 0.25 * 2 * (0.5 - 3.0)
    np.testing.assert_allclose(twice.ema["head"]["b"], [(0.5 + moved) / 2])


def test_an_average_of_updates_is_none_of_the_weights():
    tx = optax.chain(optax.sgd(0.1), optax.ema(0.9))
    learner, _ = minimize(tx, quadratic, fresh(tx, PARAMS), 3.0)
    assert learner.ema is None
    assert learner.weights is learner.params


def test_both_averages_may_stand_in_one_chain():
    tx = optax.chain(optax.sgd(0.1), optax.ema(0.9), ema_weights(0.5))
    learner, _ = minimize(tx, quadratic, fresh(tx, PARAMS), 3.0)
    halfway = jax.tree.map(lambda a, b: (a + b) / 2, PARAMS, learner.params)
    jax.tree.map(np.testing.assert_allclose, learner.weights, halfway)
    new = graft(learner, encoder=fresh(optax.sgd(0.1), {"encoder": {"w": jnp.ones(2)}}))
    np.testing.assert_array_equal(new.ema["encoder"]["w"], [1.0, 1.0])
    updates = lambda state: optax.tree.get(state, "EmaState").ema
    assert jax.tree.leaves(updates(learner.opt)), "optax's state is found at all"
    jax.tree.map(np.testing.assert_array_equal, updates(new.opt), updates(learner.opt))


def test_gradients_are_averaged_over_a_named_axis():
    tx = optax.sgd(0.5)

    def step(target):
        return minimize(tx, quadratic, fresh(tx, PARAMS), target, axis_name="i")[0].params

    params = jax.pmap(step, axis_name="i")(jnp.array([1.0, 5.0]))
    np.testing.assert_allclose(params["head"]["b"], [[3.0], [3.0]])


def test_a_graft_leaves_new_weights_as_they_begin():
    """MAE's fine-tuning trains positions, which its pre-training has fixed."""
    encoder = vit.Encoder(8, 1, 2, 4)
    images = jnp.zeros((1, 8, 12, 3))
    old = fresh(optax.sgd(0.1), {"encoder": encoder.init(KEY, images)["params"]})
    tuned = encoder.clone(grid=(2, 3), sincos_init=True)
    params = {"encoder": tuned.init(jax.random.key(1), images)["params"]}
    begun = fresh(optax.sgd(0.1), params)
    with pytest.raises(ValueError, match="pretrained network has no encoder/positions"):
        graft(begun, encoder=old)
    found = graft(begun, new=("positions",), encoder=old).params["encoder"]
    wanted = {**old.params["encoder"], "positions": params["encoder"]["positions"]}
    jax.tree.map(np.testing.assert_array_equal, found, wanted)


def test_a_graft_takes_the_named_part_and_leaves_the_rest():
    old = fresh(optax.sgd(0.1), {"encoder": {"w": jnp.ones(2), "norm": 3.0}, "x": 1.0})
    new = graft(fresh(optax.adam(0.1), PARAMS), encoder=old)
    np.testing.assert_array_equal(new.params["encoder"]["w"], [1.0, 1.0])
    assert new.params["head"] is PARAMS["head"]
    assert set(new.params["encoder"]) == {"w"}


def test_a_graft_takes_the_average_and_starts_the_new_one_from_it():
    tx = optax.chain(optax.sgd(1.0), ema_weights(0.5))
    old = descend(tx, fresh(tx, PARAMS), jax.tree.map(jnp.ones_like, PARAMS))
    new = graft(fresh(tx, PARAMS), encoder=old)
    np.testing.assert_array_equal(new.params["encoder"]["w"], [0.5, 1.5])
    np.testing.assert_array_equal(new.ema["encoder"]["w"], [0.5, 1.5])


@pytest.mark.parametrize(
    ("old", "message"),
    [
        (
            {"encoder": {"w": jnp.ones(3)}},
            r"encoder/w has shape \(2,\), pretrained \(3,\)",
        ),
        ({"encoder": {"v": jnp.ones(2)}}, "the pretrained network has no encoder/w"),
        ({"trunk": {}}, "must have a part named 'encoder'"),
    ],
)
def test_a_graft_that_does_not_fit_is_refused(old, message):
    tx = optax.sgd(0.1)
    with pytest.raises(ValueError, match=message):
        graft(fresh(tx, PARAMS), encoder=fresh(tx, old))
